//! One condition, many mails: what is a page, what is only kept, who hears of the end; and what an alert's times mean.

use jiff::{Span, Timestamp};

use crate::support::cap::{self, Cap};
use crate::support::lab::{Lab, alert, asks, critical, group, severe};
use crate::support::mailbell::Mailbell;

#[tokio::test]
async fn firing_repeat_raised_resolved() {
    let lab = Lab::new(&["alice", "bob"]);
    let alice = lab.online("alice").await;
    let mailbell = Mailbell::run(&lab.config());
    lab.mail(&severe("ups/7", "minor", "UPS 7 on battery"));
    let first = alice.gets("MINOR: UPS 7 on battery").await;
    let number = short_id(&first);
    mailbell.notified("UPS 7 on battery", "bob", "held").await;

    lab.mail(&severe("ups/7", "minor", "UPS 7 still on battery"));
    lab.mail(&severe("ups/7", "warning", "UPS 7 a little better"));
    let better = mailbell.alert("UPS 7 a little better").await;
    assert_eq!((better.state.as_str(), better.reason.as_str()), ("recorded", "repeat of an open condition"));

    lab.mail(&critical("ups/7", "UPS 7 nearly empty"));
    let raised = alice.gets("CRITICAL: UPS 7 nearly empty").await;
    assert!(raised.contains(&format!("since {number}.")), "{raised}");

    lab.mail(&resolved("ups/7", "UPS 7 on line"));
    let end = alice.gets("RESOLVED: UPS 7 on line").await;
    let second = end.lines().nth(1).unwrap();
    assert!(second.starts_with(&format!("Ends {number} after ")) && second.ends_with(" s."), "{end}");
    assert_eq!(alice.count(), 3);

    // Bob was told nothing, so he hears nothing; what comes next is a condition of its own.
    for title in ["UPS 7 on battery", "UPS 7 nearly empty"] {
        mailbell.notified(title, "bob", "superseded").await;
    }
    let bob = lab.online("bob").await;
    lab.mail(&severe("ups/7", "minor", "UPS 7 on battery again"));
    bob.gets("UPS 7 on battery again").await;
    alice.gets("UPS 7 on battery again").await;
    assert_eq!((bob.count(), alice.count()), (1, 4));
}

#[tokio::test]
async fn an_open_condition_is_paged_again_after_a_while() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let mailbell = Mailbell::run(&lab.config().replace("[dispatch]", "[dispatch]\nrepeat_after = \"2s\""));
    let started = std::time::Instant::now();
    lab.mail(&severe("raid", "major", "RAID degraded"));
    alice.gets("RAID degraded").await;
    lab.mail(&severe("raid", "major", "RAID: too soon"));
    let soon = mailbell.alert("RAID: too soon").await;
    // On a machine that took seconds for it, it was not too soon.
    if started.elapsed() < std::time::Duration::from_secs(2) {
        assert_eq!(soon.state, "recorded");
    }
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    lab.mail(&severe("raid", "major", "RAID: still degraded"));
    let again = alice.gets("RAID: still degraded").await;
    assert!(again.lines().nth(1).unwrap().starts_with("Still open after "), "{again}");
}

#[tokio::test]
async fn an_update_is_a_page_only_when_it_says_something_new() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let mailbell = Mailbell::run(&lab.config());
    let report = |status: &str, text: &str| {
        let body = format!("<title>Flood</title><text>{text}</text>");
        alert(&format!("key=\"flood\" severity=\"major\" status=\"{status}\""), &body)
    };
    lab.mail(&report("firing", "2 m"));
    alice.gets("2 m").await;
    lab.mail(&report("update", "3 m"));
    assert!(alice.gets("3 m").await.starts_with("UPDATE MAJOR: Flood\n"));
    lab.mail(&report("update", "3 m"));
    lab.mail(&report("update", "4 m"));
    alice.gets("4 m").await;
    assert_eq!(alice.count(), 3, "the same words twice are no news");
    let states: Vec<_> = mailbell.alerts().await.into_iter().map(|a| a.state).collect();
    assert_eq!(states, ["routed", "routed", "recorded", "routed"]);
}

#[tokio::test]
async fn what_was_sent_before_the_last_report_changes_nothing() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let mailbell = Mailbell::run(&lab.config());
    let at = |status: &str, minutes_ago: i64, title: &str| {
        let sent = Timestamp::now() - Span::new().minutes(minutes_ago);
        alert(&format!("key=\"link\" status=\"{status}\" sent=\"{sent}\""), &format!("<title>{title}</title>"))
    };
    lab.mail(&at("firing", 5, "Link down"));
    alice.gets("Link down").await;
    lab.mail(&at("resolved", 7, "Link up, of yesterday's fault"));
    assert!(mailbell.alert("Link up, of yesterday's fault").await.reason.starts_with("out of order"));
    lab.mail(&at("resolved", 3, "Link up"));
    alice.gets("RESOLVED: Link up").await;
    // Mail overtook mail: the condition is over, and stays so.
    lab.mail(&at("firing", 4, "Link down, late"));
    assert!(mailbell.alert("Link down, late").await.reason.starts_with("out of order"));
    lab.mail(&critical("marker", "Marker"));
    alice.gets("Marker").await;
    assert_eq!(alice.count(), 3);
}

#[tokio::test]
async fn nobody_ends_what_another_reported_unless_the_mailbox_says_so() {
    let lab = Lab::with(&["alice"], &["inbox", "shared"], Default::default());
    let alice = lab.online("alice").await;
    let config = lab.config() + &lab.imap("shared", "key_scope = \"mailbox\"");
    let mailbell = Mailbell::run(&config);
    let other = |mail: String| mail.replace("From: monitor@example.test", "From: Other <other@example.test>");
    for mailbox in ["inbox", "shared"] {
        lab.mail_to(mailbox, &severe("link", "major", &format!("Down in {mailbox}")));
        alice.gets(&format!("Down in {mailbox}")).await;
        lab.mail_to(mailbox, &other(resolved("link", &format!("Up in {mailbox}"))));
    }
    alice.gets("RESOLVED: Up in shared").await;
    let strange = mailbell.alert("Up in inbox").await;
    assert_eq!(strange.reason, "resolves a condition that is not known");
    // The condition is open still: a repeat is no page.
    lab.mail(&severe("link", "major", "Down still"));
    assert_eq!(mailbell.alert("Down still").await.reason, "repeat of an open condition");
    assert_eq!(alice.count(), 3);
}

#[tokio::test]
async fn the_end_goes_to_who_was_told_whatever_the_routes_say_now() {
    let lab = Lab::new(&["alice", "bob"]);
    let (alice, bob) = (lab.online("alice").await, lab.online("bob").await);
    let with = |members: &[&str]| {
        lab.base()
            + &lab.imap("inbox", "")
            + &group("ops", members, "")
            + "[operators]\ngroup = \"ops\"\ndefault_group = \"ops\"\n"
    };
    let mut mailbell = Mailbell::run(&with(&["alice"]));
    lab.mail(&severe("fan", "major", "Fan stopped"));
    alice.gets("Fan stopped").await;
    mailbell.stop();
    mailbell.configure(&with(&["bob"]));
    mailbell.start();
    lab.mail(&resolved("fan", "Fan runs"));
    alice.gets("RESOLVED: Fan runs").await;
    lab.mail(&critical("marker", "Marker"));
    bob.gets("Marker").await;
    assert_eq!(bob.count(), 1);
}

#[tokio::test]
async fn what_is_over_is_not_told_but_critical_alerts_always_are() {
    let lab = Lab::new(&["olga", "alice"]);
    let olga = lab.online("olga").await;
    let mailbell = Mailbell::run(&(lab.operated_by("olga") + &group("both", &["alice"], "")));
    let until = |severity: &str, seconds: i64, title: &str| {
        let expires = Timestamp::now() + Span::new().seconds(seconds);
        asks("both", severity, title).replace("</alert>", &format!("<expires>{expires}</expires></alert>"))
    };
    lab.mail(&until("info", -60, "Over on arrival"));
    lab.mail(&until("info", 2, "Over soon"));
    let over = mailbell.alert("Over on arrival").await;
    assert_eq!((over.state.as_str(), over.reason.as_str()), ("recorded", "expired before it was received"));
    mailbell.notified("Over soon", "alice", "held").await;
    assert_eq!(mailbell.notified("Over soon", "alice", "expired").await.reason, "of no use any more");
    olga.gets("expired, and nobody was told of it").await;

    let alice = lab.online("alice").await;
    lab.mail(&until("critical", -60, "Critical, and late"));
    let late = alice.gets("CRITICAL: Critical, and late").await;
    assert!(late.contains("\nExpired ") && late.contains(": it may be over.\n"), "{late}");
    assert_eq!(alice.count(), 1);
}

#[tokio::test]
async fn what_takes_effect_later_is_told_then_and_not_before() {
    let lab = Lab::new(&["olga", "alice", "bob"]);
    let (olga, alice) = (lab.online("olga").await, lab.online("alice").await);
    let mailbell = Mailbell::run(
        &(lab.operated_by("olga")
            + "[[route]]\nmatch = { \"label.cap.event\" = \"storm\" }\ngroups = [\"watch\"]\n"
            + &group("watch", &["bob"], "fallback = \"@managers\"")
            + &group("managers", &["alice"], "")),
    );
    // CAP times are whole seconds.
    let effective = Timestamp::from_second(Timestamp::now().as_second() + 6).unwrap();
    let more = format!("<effective>{}</effective>", cap::time(effective));
    lab.mail(&Cap::alert("storm-1").info("Moderate", "Storm ahead", &more).mail());
    // Nobody of the group is there while it waits: that must not bring the fallback before its time.
    mailbell.notified("Storm ahead", "bob", "queued").await;
    lab.mail(&critical("x", "Bad").replace("</alert>", ""));
    olga.gets("message 2 is in quarantine").await;
    let bob = lab.online("bob").await;
    let in_time = Timestamp::now() < effective;
    bob.gets("MINOR: Storm ahead").await;
    assert!(Timestamp::now() >= effective, "told before it takes effect");
    lab.mail(&asks("managers", "critical", "Marker"));
    alice.gets("Marker").await;
    assert!(!in_time || alice.copies("Storm ahead") == 0, "somebody was there when it mattered");
}

#[tokio::test]
async fn what_comes_late_says_so() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let _mailbell = Mailbell::run(&lab.config());
    let sent = Timestamp::now() - Span::new().hours(2);
    lab.mail(&alert(&format!("key=\"slow\" sent=\"{sent}\""), "<title>Slow relay</title>"));
    let late = alice.gets("Slow relay").await;
    let of = sent.strftime("%Y-%m-%d %H:%M UTC").to_string();
    assert!(late.contains(&format!("\nLate: of {of}, 2 h")), "{late}");
    assert!(late.contains(&format!(" · {of} · #")), "{late}");
}

fn resolved(key: &str, title: &str) -> String {
    alert(&format!("key=\"{key}\" status=\"resolved\""), &format!("<title>{title}</title>"))
}

/// `#1a3f` at the end of a message.
fn short_id(text: &str) -> String {
    text.rsplit(' ').next().unwrap().to_owned()
}
