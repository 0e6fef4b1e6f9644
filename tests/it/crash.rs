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

#[cfg(feature = "failpoints")]
mod at_each_commit {
    use super::marker_comes;
    use crate::support::lab::{Lab, OPERATORS, critical, in_state, severe};
    use crate::support::mailbell::Mailbell;
    use crate::support::outcome::{SENT, aborted, all_in_state, came_with_one_id};
    use crate::support::prosody::Options;

    /// The commits, and the most copies that a crash there may cause. Only a crash between the write and the record of its
    /// acknowledgement leaves open whether the message arrived.
    const COMMITS: [(&str, usize); 10] = [
        ("before_d1", 1),
        ("after_d1", 1),
        ("inside_d2", 1),
        ("after_d2", 1),
        ("before_d3", 1),
        ("after_d3", 1),
        ("before_d4", 2),
        ("after_d4", 1),
        ("before_d5", 2),
        ("after_d5", 1),
    ];

    /// A mailbox for each commit, so that the rounds of one test share the servers and nothing else.
    fn lab_for_each_commit(people: &[&str]) -> Lab {
        let mailboxes = COMMITS.map(|(commit, _)| commit);
        Lab::with(people, &mailboxes, Options::default())
    }

    fn config(lab: &Lab, mailbox: &str) -> String {
        lab.base() + &lab.imap(mailbox, "") + &lab.everybody("ops") + OPERATORS
    }

    #[tokio::test]
    async fn an_alert_on_the_express_lane_survives_an_abort_at_each_commit() {
        let lab = lab_for_each_commit(&["alice"]);
        let alice = lab.online("alice").await;
        // There is no D3 on the express lane: D2 is the intent.
        for (commit, most) in COMMITS.into_iter().filter(|(commit, _)| !commit.ends_with("d3")) {
            let mut mailbell = Mailbell::new(&config(&lab, commit));
            // The first alert shows that presence is known; the second is then born `sending`, and meets the failpoint.
            mailbell.env("FAILPOINTS", &format!("{commit}=1*off->panic"));
            mailbell.start();
            let (first, second) = (format!("First, {commit}"), format!("Second, {commit}"));
            lab.mail_to(commit, &critical("first", &first));
            alice.gets(&first).await;
            all_in_state(&mailbell, &first, 1, "delivered").await;
            lab.mail_to(commit, &critical("second", &second));
            aborted(&mut mailbell).await;

            mailbell.env("FAILPOINTS", "");
            mailbell.start();
            alice.gets(&second).await;
            all_in_state(&mailbell, &second, 1, SENT).await;
            marker_comes(&mailbell, &lab, commit, &alice).await;
            came_with_one_id(&alice, &second, most);
            came_with_one_id(&alice, &first, 1);
            mailbell.stop();
        }
    }

    #[tokio::test]
    async fn a_held_alert_survives_an_abort_at_each_commit() {
        let lab = lab_for_each_commit(&["alice", "bob"]);
        let alice = lab.online("alice").await;
        for (commit, most) in COMMITS {
            // Alice is the operators' eye: that something was held for Bob shows that presence is known.
            let config = lab.base()
                + &lab.imap(commit, "")
                + "[[group]]\nname = \"bobs\"\nmembers = [\"bob\"]\n[[group]]\nname = \"ops\"\nmembers = [\"alice\"]\n"
                + "[[route]]\nmatch = { severity = [\"major\"] }\ngroups = [\"bobs\"]\n"
                + OPERATORS;
            let mut mailbell = Mailbell::new(&config);
            mailbell.env("FAILPOINTS", &format!("{commit}=panic"));
            mailbell.start();
            let title = format!("Held, {commit}");
            lab.mail_to(commit, &severe("held", "major", &title));
            let at_intake = commit.ends_with("d1") || commit.ends_with("d2");
            if at_intake {
                aborted(&mut mailbell).await;
                mailbell.env("FAILPOINTS", "");
                mailbell.start();
            }
            in_state(&mailbell, "held", 1).await;
            let bob = lab.online("bob").await;
            if !at_intake {
                aborted(&mut mailbell).await;
                mailbell.env("FAILPOINTS", "");
                mailbell.start();
            }
            bob.gets(&title).await;
            all_in_state(&mailbell, &title, 1, SENT).await;
            marker_comes(&mailbell, &lab, commit, &alice).await;
            came_with_one_id(&bob, &title, most);
            mailbell.stop();
            bob.logout().await;
        }
    }
}
