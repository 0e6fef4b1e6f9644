//! kill -9 at each durable commit, and at random moments: nothing is lost, nothing is sent under a second stanza id, and copies
//! stay within the bounds of the fault matrix (rows 1 to 7).

use std::time::Duration;

use rand::Rng;

use crate::support::chat::Kind;
use crate::support::client::Client;
use crate::support::lab::{Lab, critical};
use crate::support::mailbell::Mailbell;
use crate::support::outcome::{SENT, all_in_state, came_with_one_id};

/// After the crash it runs on without a failpoint; whatever else might come has come when the marker is there.
async fn marker_comes(mailbell: &Mailbell, lab: &Lab, mailbox: &str, client: &Client) {
    let title = format!("Marker of {mailbox}");
    lab.mail_to(mailbox, &critical("marker", &title));
    client.gets(&title).await;
    all_in_state(mailbell, &title, 1, "delivered").await;
}

on_each_server!(killed_at_random_moments_under_load_it_loses_nothing);

async fn killed_at_random_moments_under_load_it_loses_nothing(kind: Kind) {
    const MAILS: usize = 20;
    const KILLS: usize = 4;
    let lab = Lab::on(kind, &["alice"]);
    let alice = lab.online("alice").await;
    let mut mailbell = Mailbell::run(&lab.config());
    for n in 0..MAILS {
        lab.mail(&critical(&format!("load/{n}"), &format!("Load {n:02}")));
        if n % (MAILS / KILLS) == MAILS / KILLS - 1 {
            // Anywhere between the fetch and the last receipt: the moment is what is tested, and any is as good.
            tokio::time::sleep(Duration::from_millis(rand::rng().random_range(0..700))).await;
            mailbell.kill();
            mailbell.start();
        }
    }
    all_in_state(&mailbell, "Load ", MAILS, SENT).await;
    marker_comes(&mailbell, &lab, "inbox", &alice).await;
    let copies: Vec<usize> = (0..MAILS).map(|n| came_with_one_id(&alice, &format!("Load {n:02}"), 1 + KILLS)).collect();
    let extra: usize = copies.iter().map(|n| n - 1).sum();
    println!("{KILLS} kills, {MAILS} mails: {extra} copies too many");
}
