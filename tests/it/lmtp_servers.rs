//! The door as real mail servers use it: Postfix, which keeps and tries again what it could not hand in, and Dovecot, which
//! passes the answer on.

use std::path::Path;

#[cfg(feature = "failpoints")]
use crate::lmtp_door::without_key;
use crate::lmtp_door::{address, config, door, lab, mailbox};
use crate::support::dovecot::Dovecot;
use crate::support::free_port;
use crate::support::lab::critical;
use crate::support::lmtp::Session;
use crate::support::mailbell::{Mailbell, SOON};
#[cfg(feature = "failpoints")]
use crate::support::outcome::came_with_one_id;
use crate::support::postfix::Postfix;

/// Waits for a line of Postfix's log that holds all of these.
async fn logged(postfix: &Postfix, parts: &[&str]) {
    let start = std::time::Instant::now();
    while !postfix.log().lines().any(|line| parts.iter().all(|part| line.contains(part))) {
        assert!(start.elapsed() < SOON * 3, "no {parts:?} in Postfix's log:\n{}", postfix.log());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn postfix_hands_mails_in_and_keeps_what_was_not_answered() {
    let dir = tempfile::Builder::new().prefix("mailbell-door-").tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let socket = dir.path().join("lmtp.sock");
    let Some(postfix) = Postfix::start(&format!("unix:{}", socket.display())) else { return };
    let lab = lab();
    let alice = lab.online("alice").await;
    let config = config(&lab, &[by_socket(&socket), mailbox("direct", ""), mailbox("other", "")]);

    // Nobody listens yet: Postfix keeps it.
    postfix.mail(&[&address("direct")], &critical("e", "Early"));
    logged(&postfix, &["status=deferred", "to=<direct@example.test>"]).await;
    let mut mailbell = Mailbell::run(&config);
    logged(&postfix, &["status=sent", "stored as message 1"]).await;
    alice.gets("Early").await;

    // One mail for two mailboxes and somebody who is not there: an answer for each.
    postfix.mail(&[&address("direct"), &address("other"), &address("who")], &critical("t", "For two"));
    logged(&postfix, &["to=<direct@example.test>", "status=sent", "stored as message 2"]).await;
    logged(&postfix, &["to=<other@example.test>", "status=sent", "stored as message 3"]).await;
    logged(&postfix, &["to=<who@example.test>", "status=bounced", "no mailbox here has this address"]).await;
    alice.wait_count(3, SOON).await;

    // What came from Postfix's own users, and a mail with dots and long lines, arrive as they are.
    let odd =
        critical("o", "Odd").replace("</title>", &format!("</title><text>\n.\n..\n{}\n</text>", "long ".repeat(2_000)));
    postfix.mail(&[&address("direct")], &odd);
    alice.gets("Odd").await;
    mailbell.stop();
    assert!(!socket.exists());
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn postfix_sends_again_what_was_stored_and_not_answered_and_it_pages_once() {
    use crate::support::outcome::aborted;
    let port = free_port();
    let Some(postfix) = Postfix::start(&format!("inet:127.0.0.1:{port}")) else { return };
    let lab = lab();
    let alice = lab.online("alice").await;
    let mut mailbell = Mailbell::new(&config(&lab, &[door(port, ""), mailbox("direct", "")]));
    mailbell.env("FAILPOINTS", "after_d1=panic");
    mailbell.start();
    // With no Message-ID: Postfix's Received header tells that it is the same mail.
    let mail = without_key("Stored, not answered");
    let mail: String = mail.lines().filter(|l| !l.starts_with("Message-ID")).map(|l| format!("{l}\n")).collect();
    postfix.mail(&[&address("direct")], &mail);
    aborted(&mut mailbell).await;
    logged(&postfix, &["status=deferred"]).await;
    mailbell.env("FAILPOINTS", "");
    mailbell.start();
    logged(&postfix, &["status=sent", "stored as message 2"]).await;
    postfix.mail(&[&address("direct")], &critical("m", "Marker"));
    alice.gets("Marker").await;
    let states: Vec<_> = mailbell.judged(3).await.into_iter().map(|(state, _)| state).collect();
    assert_eq!(states, ["parsed", "duplicate", "parsed"]);
    came_with_one_id(&alice, "Stored, not answered", 1);
}

#[tokio::test]
async fn dovecot_passes_mails_and_answers_on() {
    let port = free_port();
    let mut lab = lab();
    let proxy = format!(
        "lmtp_proxy = yes\npassdb {{\n  driver = static\n  args = proxy=y host=127.0.0.1 port={port} protocol=lmtp nopassword=y\n}}\n"
    );
    lab.dovecot = Dovecot::start_with(&lab.ca, &[], &proxy);
    let alice = lab.online("alice").await;
    let parts = [door(port, ""), mailbox("direct", ""), mailbox("short", "max_size = \"1KiB\"")];
    let mut mailbell = Mailbell::run(&config(&lab, &parts));
    let mut session = Session::connect(lab.dovecot.lmtp).unwrap();
    for n in 1..=3 {
        let title = format!("Through Dovecot {n}");
        let replies = session.hand_in(&[&address("direct")], &critical(&title, &title)).unwrap();
        assert!(replies[0].starts_with("250 2.0.0"), "{replies:?}");
        alice.gets(&title).await;
    }
    // A refusal is the sender's, as it was said.
    let large = critical("l", "Large").replace("</title>", &format!("</title><text>{}</text>", "word ".repeat(400)));
    let replies = session.hand_in(&[&address("direct"), &address("short")], &large).unwrap();
    assert!(replies[0].starts_with("250") && replies[1].starts_with("552 5.3.4"), "{replies:?}");
    alice.gets("Large").await;
    drop(session);
    // While nobody is behind the door the sender keeps it.
    mailbell.stop();
    let mut session = Session::connect(lab.dovecot.lmtp).unwrap();
    session.ask("MAIL FROM:<a@b>\r\n").unwrap();
    let refused = session.ask(&format!("RCPT TO:<{}>\r\n", address("direct"))).unwrap();
    let refused = if refused.starts_with("250") {
        session.ask("DATA\r\n").unwrap();
        session.ask("Subject: x\r\n\r\n.\r\n").unwrap()
    } else {
        refused
    };
    assert!(refused.starts_with('4'), "{refused}");
}

fn by_socket(path: &Path) -> String {
    format!("[[lmtp]]\nlisten = \"unix:{}\"\nmode = \"0666\"\n", path.display())
}
