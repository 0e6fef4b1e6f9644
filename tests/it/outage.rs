//! The chat server fails: each alert still arrives, copies stay within the bounds, and who must know is told.

use std::time::Duration;

use crate::support::ca::Ca;
use crate::support::chat::{Kind, Options};
use crate::support::client::Client;
use crate::support::lab::{Lab, critical, in_state};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::outcome::{SENT, all_in_state, came_with_one_id, copies_of, notifications};
use crate::support::proxy::{Proxy, Trouble, Way};
use crate::support::wait_for;

on_each_server!(
    a_clean_restart_of_the_chat_server_loses_nothing,
    a_killed_chat_server_loses_nothing,
    a_connection_that_is_cut_is_resumed_without_a_second_copy,
    a_refused_password_is_readable_and_not_hurried_and_the_command_runs,
    what_comes_back_when_a_dead_session_ends_is_sent_again,
);

/// The lab's config with the chat server behind a proxy.
fn through(proxy: &Proxy, lab: &Lab) -> String {
    lab.config().replace(&format!(":{}\"", lab.chat.c2s), &format!(":{}\"", proxy.port))
}

/// Mails flow while the server goes and comes back; `end` ends it. The person comes back too.
async fn restarted(kind: Kind, end: impl Fn(&mut Lab)) {
    const MAILS: usize = 12;
    let mut lab = Lab::on(kind, &["alice"]);
    let before = lab.online("alice").await;
    let mailbell = Mailbell::run(&lab.config());
    let mail = |lab: &Lab, n: usize| lab.mail(&critical(&format!("flow/{n}"), &format!("Flow {n:02}")));
    for n in 0..MAILS / 3 {
        mail(&lab, n);
    }
    before.gets("Flow 00").await;
    end(&mut lab);
    for n in MAILS / 3..MAILS * 2 / 3 {
        mail(&lab, n);
    }
    lab.chat.run();
    let after = lab.online("alice").await;
    for n in MAILS * 2 / 3..MAILS {
        mail(&lab, n);
    }
    all_in_state(&mailbell, "Flow ", MAILS, SENT).await;
    lab.mail(&critical("m", "Marker"));
    after.gets("Marker").await;
    let stored = notifications(&mailbell, "Flow ");
    for n in 0..MAILS {
        let title = format!("Flow {n:02}");
        let copies: Vec<_> = [&before, &after].into_iter().flat_map(|client| copies_of(client, &title)).collect();
        assert!((1..=2).contains(&copies.len()), "{title} came {} times", copies.len());
        let id = stored.iter().find(|v| v["title"] == title.as_str()).unwrap()["stanza_id"].as_str();
        assert!(copies.iter().all(|copy| copy.id() == id), "{copies:#?}");
    }
}

async fn a_clean_restart_of_the_chat_server_loses_nothing(kind: Kind) {
    restarted(kind, |lab| lab.chat.stop()).await;
}

async fn a_killed_chat_server_loses_nothing(kind: Kind) {
    restarted(kind, |lab| lab.chat.kill()).await;
}

async fn a_connection_that_is_cut_is_resumed_without_a_second_copy(kind: Kind) {
    let lab = Lab::on(kind, &["alice"]);
    let alice = lab.online("alice").await;
    let proxy = Proxy::start(lab.chat.c2s).await;
    let mailbell = Mailbell::run(&through(&proxy, &lab));
    lab.mail(&critical("w", "Warm-up"));
    alice.gets("Warm-up").await;

    // The message gets through, its acknowledgement does not.
    all_in_state(&mailbell, "Warm-up", 1, "delivered").await;
    proxy.set(Way::Down, Trouble::Stall(0));
    lab.mail(&critical("a", "Acknowledged to nobody"));
    alice.gets("Acknowledged to nobody").await;
    in_state(&mailbell, "sending", 1).await;
    proxy.sever();
    proxy.heal();
    mailbell.logged("the XMPP session is resumed", 1).await;
    all_in_state(&mailbell, "Acknowledged to nobody", 1, SENT).await;

    // The message itself does not get through.
    proxy.set(Way::Up, Trouble::Stall(0));
    lab.mail(&critical("l", "Lost on the way"));
    in_state(&mailbell, "sending", 1).await;
    assert_eq!(alice.copies("Lost on the way"), 0);
    proxy.sever();
    proxy.heal();
    mailbell.logged("the XMPP session is resumed", 2).await;
    alice.gets("Lost on the way").await;

    lab.mail(&critical("m", "Marker"));
    alice.gets("Marker").await;
    came_with_one_id(&alice, "Acknowledged to nobody", 1);
    came_with_one_id(&alice, "Lost on the way", 1);
}

#[tokio::test]
async fn a_chat_server_that_is_down_at_the_start_is_waited_for() {
    let lab = Lab::new(&["alice"]);
    let proxy = Proxy::start(lab.chat.c2s).await;
    proxy.refuse(true);
    let mailbell = Mailbell::run(&through(&proxy, &lab));
    lab.mail(&critical("a", "Before there was a session"));
    in_state(&mailbell, "queued", 1).await;
    mailbell.logged("no XMPP session", 1).await;
    let alice = lab.online("alice").await;
    proxy.heal();
    alice.gets("Before there was a session").await;
    all_in_state(&mailbell, "Before there was", 1, "delivered").await;
    assert_eq!(alice.count(), 1);
}

/// Runs with a chat server that does not let it in; returns what the operators' command was told, and the log.
async fn refused(lab: &Lab, proxy: &Proxy, config: &str) -> (serde_json::Value, String) {
    let config = config
        .replace("[operators]\n", "[operators]\ncommand = [\"/bin/sh\", \"-c\", \"cat >{dir}/t; mv {dir}/t {dir}/told\"]\ncommand_after = \"1s\"\n");
    let mailbell = Mailbell::run(&config);
    lab.mail(&critical("a", "Kept for later"));
    let told = mailbell.path("told");
    let told = wait_for("the operators' command", SOON, async || std::fs::read_to_string(&told).ok()).await;
    in_state(&mailbell, "queued", 1).await;
    assert!(proxy.connections() <= 2, "{} connections: a loop", proxy.connections());
    (serde_json::from_str(&told).unwrap(), mailbell.log())
}

async fn a_refused_password_is_readable_and_not_hurried_and_the_command_runs(kind: Kind) {
    let lab = Lab::on(kind, &["alice"]);
    let proxy = Proxy::start(lab.chat.c2s).await;
    let config = through(&proxy, &lab).replace("pw-alerts", "s3cret-and-wrong");
    let (told, log) = refused(&lab, &proxy, &config).await;
    assert_eq!(told["event"], "xmpp-down");
    assert_eq!(told["account"], "alerts@example.test");
    assert!(told["reason"].as_str().unwrap().contains("password"), "{told}");
    assert!(log.contains("the login was refused") && !log.contains("s3cret"), "{log}");
}

#[tokio::test]
async fn an_unknown_certificate_is_readable_and_not_hurried_and_the_command_runs() {
    let lab = Lab::new(&["alice"]);
    let proxy = Proxy::start(lab.chat.c2s).await;
    let other = Ca::new();
    let config = through(&proxy, &lab).replacen(lab.ca.ca().to_str().unwrap(), other.ca().to_str().unwrap(), 1);
    let (told, log) = refused(&lab, &proxy, &config).await;
    let reason = told["reason"].as_str().unwrap();
    assert!(reason.contains("certificate") && reason.contains("ca_file"), "{told}");
    assert!(log.contains("certificate"), "{log}");
}

#[tokio::test]
async fn an_account_that_does_not_exist_is_tried_again_then_dead_and_told() {
    let ghost = "[[recipient]]\nname = \"ghost\"\njid = \"ghost@example.test\"\n";
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let group = "[[group]]\nname = \"haunted\"\nmembers = [\"alice\", \"ghost\"]\n";
    let route = "[[route]]\ngroups = [\"haunted\"]\n";
    let config = lab.config().replace("settle = ", "max_attempts = 2\nsettle = ") + ghost + group + route;
    let mailbell = Mailbell::run(&config);
    lab.mail(&critical("a", "For both"));
    alice.gets("For both").await;
    // The server says service-unavailable, as it does for who is just offline: later, perhaps.
    let refused = wait_for("the refusal", SOON, async || {
        let waiting = mailbell.queue(&["--state", "queued", "--recipient", "ghost"]);
        waiting.into_iter().find(|n| n["not_before"].is_string())
    })
    .await;
    assert!(refused["reason"].as_str().unwrap().contains("service-unavailable"), "{refused}");
    let wait = refused["not_before"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap() - jiff::Timestamp::now();
    assert!(wait.get_seconds() > 20, "{wait:?}");
    // Somebody presses it on: the last attempt.
    let retried = mailbell.cli(&["queue", "retry", &refused["id"].to_string()], true);
    assert!(retried.status.success(), "{retried:?}");
    let told = alice.gets("could not be sent to ghost").await;
    assert!(told.contains("given up after 2 attempts"), "{told}");
    in_state(&mailbell, "dead", 1).await;
}

async fn what_comes_back_when_a_dead_session_ends_is_sent_again(kind: Kind) {
    let options = Options { offline: false, hibernation: 4, ..Options::on(kind) };
    let lab = Lab::with(&["alice", "bob"], &["inbox"], options);
    let alice: Client = lab.online("alice").await;
    // Bob's phone is out of range. The server does not know that yet: he looks online, and his message is taken.
    let bob = lab.login("bob").resumable().without_receipts().connect().await;
    let mailbell = Mailbell::run(&lab.config().replace("settle = ", "receipt_timeout = \"1s\"\nsettle = "));
    lab.mail(&critical("w", "Warm-up"));
    bob.gets("Warm-up").await;
    bob.cut();
    lab.mail(&critical("a", "Out of range"));
    alice.gets("Out of range").await;
    // Long after nobody expects a receipt any more, the server gives up on his session, and the message comes back.
    let returned = wait_for("the message to come back", Duration::from_secs(40), async || {
        let waiting = mailbell.queue(&["--state", "queued", "--recipient", "bob"]);
        waiting.into_iter().find(|n| n["title"] == "Out of range")
    })
    .await;
    assert_eq!(returned["attempts"], 1, "{returned}");
    assert!(returned["not_before"].is_string(), "{returned}");
}
