//! The main job: a mail goes in, an instant message comes out.

use crate::support::chat::Kind;
use crate::support::lab::{Lab, critical};
use crate::support::mailbell::Mailbell;

on_each_server!(a_mailed_alert_reaches_who_is_online);

async fn a_mailed_alert_reaches_who_is_online(kind: Kind) {
    let lab = Lab::on(kind, &["alice", "bob"]);
    let alice = lab.online("alice").await;
    let mailbell = Mailbell::run(&lab.config());
    lab.mail(&critical("ups/7", "UPS 7 on battery"));
    let text = alice.gets("UPS 7 on battery").await;
    assert!(text.starts_with("CRITICAL: UPS 7 on battery\n"), "{text}");
    assert!(text.contains("ops · mailbox:inbox · "), "{text}");
    drop(mailbell);
}
