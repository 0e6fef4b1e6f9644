//! The console in a real browser.

mod hostile;
mod login;
mod pages;
mod work;

use crate::support::browser::Browser;
use crate::support::free_port;
use crate::support::lab::{Lab, OPERATORS, group};
use crate::support::mailbell::Mailbell;
use crate::support::web::{Web, token};

/// A gateway with its mail and chat server, and a browser.
struct Scene {
    browser: Browser,
    mailbell: Mailbell,
    web: Web,
    admin: String,
    lab: Lab,
}

/// Alice and Bob are `ops`, and `bobs` is Bob alone. What mails say of groups counts.
async fn scene(more: &str) -> Scene {
    let lab = Lab::new(&["alice", "bob"]);
    let port = free_port();
    let http = format!("[http]\nlisten = \"127.0.0.1:{port}\"\n");
    let groups = lab.everybody("ops") + &group("bobs", &["bob"], "");
    let inbox = lab.imap("inbox", "sender_may_choose_group = true");
    let mailbell = Mailbell::run(&(lab.base() + &http + &inbox + &groups + OPERATORS + more));
    let admin = token(&mailbell, "admin", "admin", &[]);
    Scene { browser: Browser::start(port).await, web: Web::new(port), mailbell, admin, lab }
}

impl Scene {
    /// Somebody with this token is logged in, and sees the overview.
    async fn enter(&self, token: &str) {
        self.browser.open("/login").await;
        self.browser.log_in(token).await;
        self.browser.arrives("/console").await;
    }
}
