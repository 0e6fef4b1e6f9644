//! The chat server is not there, or refuses a recipient. What it does in the middle of things is in `faults`.

use crate::support::lab::{Lab, critical, in_state};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::outcome::all_in_state;
use crate::support::proxy::Proxy;
use crate::support::wait_for;

#[tokio::test]
async fn a_chat_server_that_is_down_at_the_start_is_waited_for() {
    let lab = Lab::new(&["alice"]);
    let proxy = Proxy::start(lab.chat.c2s).await;
    proxy.refuse(true);
    let mailbell = Mailbell::run(&lab.through(&proxy));
    lab.mail(&critical("a", "Before there was a session"));
    in_state(&mailbell, "queued", 1).await;
    mailbell.logged("no XMPP session", 1).await;
    let alice = lab.online("alice").await;
    proxy.heal();
    alice.gets("Before there was a session").await;
    all_in_state(&mailbell, "Before there was", 1, "delivered").await;
    assert_eq!(alice.count(), 1);
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
