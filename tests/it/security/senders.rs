//! Who says so: senders who are not allowed, addresses that only look like allowed ones, and alerts that claim to be another's.

use std::time::Instant;

use crate::storms::limited;
use crate::support::cap::Cap;
use crate::support::lab::{Lab, OPERATORS, alert, critical};
use crate::support::mailbell::{Mailbell, SOON};

const FROM: &str = "From: monitor@example.test";

/// From headers of mails that are not from monitor@example.test, whatever they look like.
const NOT_ALLOWED: [(&str, &str); 22] = [
    ("a stranger", "From: mallory@example.org"),
    ("no address", "From: monitor"),
    ("an empty one", "From:"),
    ("the null address", "From: <>"),
    ("none", "X-From: monitor@example.test"),
    ("two headers", "From: monitor@example.test\nFrom: mallory@example.org"),
    ("two headers, the other way", "From: mallory@example.org\nFrom: monitor@example.test"),
    ("two headers in other letters", "from: mallory@example.org\nFROM: monitor@example.test"),
    ("two headers that agree", "From: monitor@example.test\nFrom: monitor@example.test"),
    ("two addresses", "From: monitor@example.test, mallory@example.org"),
    ("a group", "From: ops: monitor@example.test, mallory@example.org;"),
    ("a display name", "From: \"monitor@example.test\" <mallory@example.org>"),
    ("a bare display name", "From: monitor@example.test <mallory@example.org>"),
    (
        "an encoded display name",
        "From: =?utf-8?Q?monitor=40example=2Etest_=3Cmonitor=40example=2Etest=3E?= <mallory@example.org>",
    ),
    ("an encoded address", "From: =?utf-8?Q?monitor=40example=2Etest?="),
    ("a comment", "From: mallory@example.org (monitor@example.test)"),
    ("a comment in front", "From: (monitor@example.test) mallory@example.org"),
    ("a longer domain", "From: monitor@example.test.example.org"),
    ("a longer name", "From: xmonitor@example.test"),
    ("a quoted local part", "From: \"monitor@example.test\"@example.org"),
    (
        "a Sender that is allowed",
        "From: mallory@example.org\nSender: monitor@example.test\nReply-To: monitor@example.test",
    ),
    ("letters that look alike", "From: m\u{43e}nitor@example.test"),
];

#[tokio::test]
async fn nobody_but_the_allowed_sender_is_believed() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let keys = "senders = [\"monitor@example.test\"]";
    let mailbell = Mailbell::run(&(lab.base() + &lab.imap("inbox", keys) + &lab.everybody("ops") + OPERATORS));
    for (n, (what, from)) in NOT_ALLOWED.into_iter().enumerate() {
        lab.mail(&critical(what, what).replace(FROM, from));
        let (state, reason) = mailbell.judged(n + 1).await.pop().unwrap();
        assert_eq!(state, "rejected", "{what}: {reason}");
        assert!(
            reason.contains("not among the allowed") || reason.contains("exactly one is believed"),
            "{what}: {reason}"
        );
    }
    // And whoever is allowed may be written in many ways.
    let good = [
        "From: Monitor <MONITOR@Example.Test>",
        "From: \"mallory@example.org\" <monitor@example.test> (mallory@example.org)",
    ];
    for (n, from) in good.into_iter().enumerate() {
        lab.mail(&critical(&format!("ok/{n}"), &format!("Allowed {n}")).replace(FROM, from));
        alice.gets(&format!("Allowed {n}")).await;
    }
    assert_eq!((alice.count(), mailbell.notifications().await.len()), (2, 2), "who is rejected is in no queue");
    let listed = mailbell.cli(&["quarantine", "list", "--json"], true);
    assert!(listed.stdout.is_empty(), "nor in quarantine: {listed:?}");
    super::is_a_log(&mailbell.log());
}

/// An alert of monitor@ is open; none of these may end it, whatever it repeats of it.
#[tokio::test]
async fn a_resolved_of_another_sender_ends_nothing() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let mailbell = Mailbell::run(&lab.config());
    lab.mail(&alert("id=\"id-1\" key=\"disk\" severity=\"critical\"", "<title>Disk full</title>"));
    let storm = Cap::alert("storm-1").info("Extreme", "Storm comes", "");
    lab.mail(&storm.mail());
    alice.gets("Disk full").await;
    alice.gets("Storm comes").await;

    let over = |title: &str, more: &str| {
        alert("id=\"id-1\" key=\"disk\" status=\"resolved\"", &format!("<title>{title}</title>{more}"))
    };
    let claim = "<sender>monitor@example.test</sender>";
    let cancel = |title: &str| Cap::cancel("storm-1x", &[&storm]).info("Minor", title, "").mail();
    let by = |mail: String, from: &str| mail.replace(FROM, from);
    let mallory = "From: mallory@example.org";
    let forged = [
        by(over("Forged 0", ""), mallory),
        by(over("Forged 1", claim), mallory),
        by(over("Forged 2", claim), "From: \"monitor@example.test\" <mallory@example.org>"),
        by(over("Forged 3", ""), "From: Monitor@example.test.example.org"),
        by(over("Forged 4", claim), "From: mallory@example.org\nSender: monitor@example.test"),
        by(over("Forged 5", "<sender>MONITOR@example.test</sender>"), mallory),
        by(over("Forged 6", "<sender> monitor@example.test </sender>"), mallory),
        // CAP says who its sender is: the victim's word for it is not enough.
        by(cancel("Forged 7"), mallory),
        by(cancel("Forged 8").replace("<sender>storms@", "<sender>STORMS@"), mallory),
        cancel("Forged 9").replace("<sender>storms@", "<sender>mallory@"),
        // The same triple as the one that is cancelled.
        by(cancel("Forged 10").replace("storm-1x", "storm-1"), mallory),
    ];
    for (n, mail) in forged.iter().enumerate() {
        lab.mail(mail);
        let title = format!("Forged {n}");
        let found = mailbell.alert(&title).await;
        assert_eq!(found.state, "recorded", "{title}: {}", found.reason);
    }
    // Nor may a stranger claim the next report before it comes, so that it looks like a copy.
    lab.mail(&by(Cap::update("storm-2", &[&storm]).info("Extreme", "Claimed", "").mail(), mallory));
    mailbell.alert("Claimed").await;
    // Both are still open: their own sender ends them, and says since when.
    lab.mail(&over("Disk is well", ""));
    let well = alice.gets("Disk is well").await;
    assert!(well.starts_with("RESOLVED: ") && well.contains("\nEnds #"), "{well}");
    lab.mail(&Cap::cancel("storm-1c", &[&storm]).info("Minor", "Storm is over", "").mail());
    let over = alice.gets("Storm is over").await;
    assert!(over.starts_with("RESOLVED: ") && over.contains("\nEnds #"), "{over}");
    assert_eq!(alice.copies("Forged"), 0);
}

/// What is said of a flood in storms.rs holds where each of its mails claims another sender, the victim among them.
#[tokio::test]
async fn a_flood_that_names_other_senders_is_one_senders_flood() {
    const CAP: u32 = 20;
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let mailbell = Mailbell::run(&limited(&lab, CAP, "0s"));
    lab.mail(&critical("w", "Warm-up").replace(FROM, "From: warm-up@example.test"));
    alice.gets("Warm-up").await;
    let flood: Vec<String> = (0..100)
        .map(|n| {
            let claim = if n % 2 == 0 { "monitor@example.test".to_owned() } else { format!("bot{n}@example.test") };
            let cap = Cap::alert(&format!("flood-{n}")).info("Extreme", &format!("Flood {n}"), "").mail();
            cap.replace("<sender>storms@example.test", &format!("<sender>{claim}"))
                .replace(FROM, "From: mallory@example.org")
        })
        .collect();
    lab.put("inbox", &flood);
    mailbell.alert("Flood 99").await;
    let singly = || alice.messages().iter().filter(|m| m.body().unwrap().starts_with("CRITICAL: Flood")).count();
    crate::support::wait_for("its share to be used up", SOON, async || (singly() >= 8).then_some(())).await;
    let mailed = Instant::now();
    lab.mail(&critical("db", "Database down"));
    alice.wait_message(|m| m.body().unwrap().starts_with("CRITICAL: Database down\n"), SOON).await;
    println!("{:?} from mailing to the message", mailed.elapsed());
    // Three fifths are for critical alerts of who was heard already, and one more was the first of it.
    assert!(singly() <= 12, "{} of one sender's flood, one by one", singly());
}

/// Only what is proven helps where the From address itself is forged: then it costs the victim nothing.
#[tokio::test]
async fn a_flood_with_the_victims_own_address_is_kept_out_by_dmarc() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let keys = "require_auth = \"dmarc\"\nauthserv_id = \"mx.example.test\"\n";
    let config = limited(&lab, 20, "10s").replace("[[mailbox]]\n", &format!("[[mailbox]]\n{keys}"));
    let mailbell = Mailbell::run(&config);
    let received = "Received: from x by mx.example.test; Sun, 22 Nov 2026 10:00:00 +0000\n";
    let said = |result: &str| {
        format!("Authentication-Results: mx.example.test; dmarc={result} header.from=example.test\n{received}")
    };
    let flood: Vec<String> =
        (0..200).map(|n| said("fail") + &critical("db", &format!("Database is well, {n}"))).collect();
    // Opens the mailbox, whose files are then put there without a server.
    lab.mail(&flood[0]);
    lab.put("inbox", &flood[1..]);
    lab.mail(&(said("pass") + &critical("db", "Database down")));
    alice.wait_message(|m| m.body().unwrap().starts_with("CRITICAL: Database down\n"), SOON).await;
    lab.mail(&(said("pass") + &alert("key=\"db\" status=\"resolved\"", "<title>Database up</title>")));
    alice.gets("Database up").await;
    let judged = mailbell.judged(202).await;
    assert_eq!(judged.iter().filter(|(state, _)| state == "rejected").count(), 200);
    assert_eq!(alice.count(), 2, "{:#?}", alice.messages());
}
