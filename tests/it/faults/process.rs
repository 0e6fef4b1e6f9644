//! Rows 8, 9 and 31: the process is stopped, is not alone, is told to end.

use std::time::{Duration, Instant};

use crate::support::client::Received;
use crate::support::lab::{Lab, OPERATORS, group, in_state};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::oracle::Oracle;
use crate::support::outcome::all_in_state;
use crate::support::prosody::Options;
use crate::support::wait_for;
use crate::support::witness::Witness;

#[tokio::test]
async fn row08_stopped_under_load() {
    let lab = Lab::new(&["alice"]);
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let mailbell = Mailbell::run(&lab.config());
    let oracle = Oracle::new(8, "SIGSTOP for 3 s under load");
    oracle.mail(&lab, 11);
    mailbell.signal("STOP");
    oracle.mail(&lab, 19);
    // This is the fault.
    tokio::time::sleep(Duration::from_secs(3)).await;
    mailbell.signal("CONT");
    oracle.over();
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    oracle.all_told(&verdict, 1);
}

/// Stopped until both servers have given its sessions up, and until every timer of its own is over: as after minutes, with time-outs
/// that are shorter.
#[tokio::test]
async fn row08_stopped_until_every_session_has_expired() {
    let extra = "network_settings = { nagle = false, read_timeout = 2 }\n";
    let options = Options { hibernation: 2, extra: extra.into(), ..Options::default() };
    let mut lab = Lab::with(&["alice", "bob", "carol", "olga"], &["inbox"], options);
    let alice = Witness::start(lab.login("alice"), "alice").await;
    // What she has is accepted, and no more: only that keeps it from being sent again.
    let carol = Witness::start(lab.login("carol").without_receipts(), "carol").await;
    let olga = lab.online("olga").await;
    let config = lab.base().replace("[dispatch]\n", "ping_after = \"1s\"\n[dispatch]\nreceipt_timeout = \"2s\"\n")
        + &lab.imap("inbox", "timeout = \"2s\"\nidle_for = \"2s\"")
        + &group("ops", &["alice", "carol"], "")
        + &group("bobs", &["bob"], "")
        + "[[route]]\nmatch = { severity = [\"major\"] }\ngroups = [\"bobs\"]\n"
        + OPERATORS;
    let mailbell = Mailbell::run(&config);
    let told = Oracle::new(8, "SIGSTOP until both servers gave its sessions up");
    let held = Oracle::new(8, "SIGSTOP until both servers gave its sessions up, held").severity("major");
    told.mail(&lab, 5);
    held.mail(&lab, 3);
    told.settled(&mailbell, &[&alice, &carol]).await;
    in_state(&mailbell, "held", 3).await;
    // Olga hears that the gateway has left; and she heard it before it was there.
    let left = || {
        let of_bot = |s: &&Received| s.element.name() == "presence" && s.from().starts_with("alerts@");
        olga.stanzas().iter().filter(of_bot).filter(|s| s.attr("type") == Some("unavailable")).count()
    };
    let before = left();
    mailbell.signal("STOP");
    told.mail(&lab, 10);
    lab.dovecot.restart();
    wait_for("the chat server to give the session up", SOON * 2, async || (left() > before).then_some(())).await;
    mailbell.signal("CONT");
    mailbell.logged("XMPP session is up resumed=false", 2).await;
    told.over();
    held.over();
    let verdict = told.verdict(&mailbell, &lab, &[&alice, &carol]).await;
    told.all_told(&verdict, 1);
    assert_eq!(mailbell.queue(&["--state", "held"]).len(), 3, "what was held is held");
    let bob = Witness::start(lab.login("bob"), "bob").await;
    let verdict = held.verdict(&mailbell, &lab, &[&bob]).await;
    held.all_told(&verdict, 1);
}

#[tokio::test]
async fn row09_second_instance_on_the_same_store() {
    let lab = Lab::new(&["alice"]);
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let mut first = Mailbell::run(&lab.config());
    let store = first.path("mailbell.db");
    let oracle = Oracle::new(9, "a second instance on the same store").store(store.clone());
    oracle.mail(&lab, 3);
    let mut second = Mailbell::new(&lab.config().replace("{dir}/mailbell.db", store.to_str().unwrap()));
    second.spawn();
    let status = wait_for("the end of the second", SOON, async || second.has_ended()).await;
    let said = second.log();
    assert_eq!(status.code(), Some(74), "{said}");
    assert!(said.contains("is in use by") && said.contains(&first.pid().to_string()), "{said}");
    oracle.mail(&lab, 3);
    oracle.settled(&first, &[&alice]).await;
    first.kill();
    second.start();
    oracle.over();
    let verdict = oracle.verdict(&second, &lab, &[&alice]).await;
    oracle.all_told(&verdict, 1);
}

/// Documented at `after`: nothing is lost, and each of the two may tell of a mail.
#[tokio::test]
async fn row09_two_stores_on_one_mailbox() {
    let lab = Lab::with(&["alice"], &["keep", "delete"], Options::default());
    lab.chat.add_user("alerts2");
    let alice = Witness::start(lab.login("alice"), "alice").await;
    for after in ["keep", "delete"] {
        let inbox = lab.imap(after, &format!("after = {after:?}"));
        let config = lab.base() + &inbox + &group("ops", &["alice"], "") + OPERATORS;
        let mut first = Mailbell::run(&config);
        // Each with an account of its own.
        let other = config.replace("jid = \"alerts@", "jid = \"alerts2@").replace("pw-alerts", "pw-alerts2");
        let mut second = Mailbell::run(&other);
        let injected = format!("two stores on one mailbox, after = {after:?}");
        let oracle = Oracle::new(9, &injected).in_mailbox(after).read_by(2);
        for n in 0..10 {
            oracle.mail(&lab, 1);
            let title = oracle.title(n);
            wait_for(&title, SOON, async || alice.has(&title).then_some(())).await;
        }
        oracle.over();
        let verdict = if after == "keep" {
            oracle.verdict(&first, &lab, &[&alice]).await;
            oracle.verdict(&second, &lab, &[&alice]).await
        } else {
            let cleared = async || (lab.dovecot.count(after, "INBOX") == 0).then_some(());
            wait_for("the mails to be cleared", SOON, cleared).await;
            first.stop();
            second.stop();
            oracle.look(&first, &[&alice]).await
        };
        oracle.all_told(&verdict, 2);
        if after == "keep" {
            assert!(verdict.fates.iter().all(|fate| fate.copies.len() == 2), "both tell of each: {verdict:#?}");
            // A copy of the whole config: the account is the same as well.
            let _third = Mailbell::run(&config);
            first.logged("is a second mailbell running", 1).await;
        }
    }
}

#[tokio::test]
async fn row31_sigterm_under_load() {
    const MAILS: usize = 600;
    let lab = Lab::new(&["alice"]);
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let mut mailbell = Mailbell::run(&lab.config());
    let oracle = Oracle::new(31, "SIGTERM thrice while 600 mails are sent");
    oracle.mail(&lab, 1);
    all_in_state(&mailbell, &oracle.title(0), 1, "delivered").await;
    let mails: Vec<String> = (0..MAILS).map(|_| oracle.next().1).collect();
    lab.put("inbox", &mails);
    let came = || alice.messages().len();
    for starts in 0..3 {
        wait_for("some of the mails", SOON, async || (came() > 20 * (starts + 1)).then_some(())).await;
        let start = Instant::now();
        mailbell.signal("TERM");
        let status = wait_for("the end", SOON, async || mailbell.has_ended()).await;
        assert!(status.success(), "{status}:\n{}", mailbell.log());
        assert!(start.elapsed() < Duration::from_secs(14), "{:?}", start.elapsed());
        assert!(starts > 0 || came() < MAILS, "it was not under load any more");
        mailbell.start();
    }
    oracle.over();
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    oracle.all_told(&verdict, 1);
}
