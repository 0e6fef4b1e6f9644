//! Reloads that change who is told; and reloads while much goes on.

use crate::support::lab::{Lab, OPERATORS, alert, asks, critical, group, in_state, severe};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::outcome::{all_in_state, came_with_one_id};
use crate::support::prosody::{Options, Roster};

/// Without `[[recipient]]` NAME.
fn without(config: &str, name: &str) -> String {
    let table = format!("[[recipient]]\nname = \"{name}\"\njid = \"{name}@example.test\"\n");
    assert!(config.contains(&table), "{config}");
    config.replace(&table, "")
}

fn ops(members: &[&str]) -> String {
    group("ops", members, "") + OPERATORS
}

#[tokio::test]
async fn a_new_recipient_is_asked_for_the_subscription_and_told() {
    let lab = Lab::with(&["alice", "carol"], &["inbox"], Options { roster: Roster::Empty, ..Options::default() });
    let (alice, carol) = (lab.online("alice").await, lab.online("carol").await);
    let all = lab.base() + &lab.imap("inbox", "");
    let mailbell = Mailbell::run(&(without(&all, "carol") + &ops(&["alice"])));
    lab.mail(&critical("1", "Before"));
    alice.gets("Before").await;
    let said = mailbell.reload(&(all + &ops(&["alice", "carol"])));
    assert!(said.contains("recipient carol: added\n"), "{said}");
    // Not critical: it waits until she is seen to be there.
    lab.mail(&severe("2", "minor", "Afterwards"));
    carol.gets("Afterwards").await;
    alice.gets("Afterwards").await;
    assert_eq!(carol.copies("Before"), 0);
}

#[tokio::test]
async fn a_new_recipient_who_was_on_the_roster_all_along_is_seen_at_once() {
    let lab = Lab::new(&["alice", "carol"]);
    let (alice, carol) = (lab.online("alice").await, lab.online("carol").await);
    let all = lab.base() + &lab.imap("inbox", "");
    let mailbell = Mailbell::run(&(without(&all, "carol") + &ops(&["alice"])));
    lab.mail(&critical("1", "Before"));
    alice.gets("Before").await;
    mailbell.reload(&(all + &ops(&["alice", "carol"])));
    lab.mail(&severe("2", "minor", "Afterwards"));
    carol.gets("Afterwards").await;
    assert_eq!(carol.copies("Before"), 0);
}

#[tokio::test]
async fn what_waits_for_a_removed_recipient_expires_and_the_operators_hear_of_critical_ones() {
    let lab = Lab::new(&["alice", "bob", "carol", "dave"]);
    let alice = lab.online("alice").await;
    let all = lab.base() + &lab.imap("inbox", "");
    let ops = |members: &[&str]| {
        let operators = "[operators]\ngroup = \"alice\"\ndefault_group = \"ops\"\nnotice_every = \"1s\"\n";
        group("ops", members, "") + &group("alice", &["alice"], "") + operators
    };
    let mut mailbell = Mailbell::run(&(all.clone() + &ops(&["alice", "bob", "carol", "dave"])));
    lab.mail(&critical("1", "Critical one"));
    lab.mail(&severe("2", "minor", "Minor one"));
    in_state(&mailbell, "held", 6).await;

    // Bob is removed; carol only leaves the group.
    let config = without(&all, "bob") + &ops(&["alice", "dave"]);
    let said = mailbell.reload(&config);
    assert!(said.contains("recipient bob: removed; 2 waiting notifications expired, 1 of them critical\n"), "{said}");
    let expired = in_state(&mailbell, "expired", 2).await;
    assert!(expired.iter().all(|n| n["recipient"] == "bob"), "{expired:?}");
    assert!(expired.iter().all(|n| n["reason"] == "recipient bob was removed from the config"), "{expired:?}");
    let notice = alice.gets("ended unsent").await;
    assert!(notice.contains("bob (bob@example.test: 2 ended, 1 critical)"), "{notice}");
    let alert = expired[0]["alert"].as_str().unwrap();
    let timeline = mailbell.cli(&["queue", "show", alert], true);
    let timeline = String::from_utf8(timeline.stdout).unwrap();
    assert!(timeline.contains("recipient bob was removed from the config"), "{timeline}");
    let bob = lab.online("bob").await;
    let carol = lab.online("carol").await;
    for title in ["Critical one", "Minor one"] {
        carol.gets(title).await;
    }
    assert_eq!(bob.count(), 0);

    // The same where a recipient is removed while the service is stopped.
    mailbell.stop();
    mailbell.configure(&(without(&without(&all, "bob"), "dave") + &ops(&["alice"])));
    mailbell.start();
    let expired = in_state(&mailbell, "expired", 4).await;
    assert!(expired.iter().any(|n| n["reason"] == "recipient dave was removed from the config"), "{expired:?}");
    alice.gets("dave (dave@example.test: 2 ended, 1 critical)").await;

    // Nor does he hear of the end.
    lab.mail(&alert_resolved("1"));
    alice.gets("RESOLVED").await;
    carol.gets("RESOLVED").await;
    assert_eq!(bob.count(), 0);
}

fn alert_resolved(key: &str) -> String {
    alert(&format!("key=\"{key}\" status=\"resolved\""), "<title>It is over</title>")
}

#[tokio::test]
async fn a_fallback_group_that_was_removed_is_none() {
    let lab = Lab::new(&["alice", "bob"]);
    let alice = lab.online("alice").await;
    let base = lab.base() + &lab.imap("inbox", "sender_may_choose_group = true");
    let first = group("night", &["bob"], "hold_for = \"5m\"\nfallback = \"@day\"\nfallback_when = \"hold_expired\"");
    let config = base.clone() + &first + &group("day", &["alice"], "") + &ops(&["alice"]);
    let mailbell = Mailbell::run(&config);
    lab.mail(&asks("night", "minor", "Nobody is there"));
    let held = in_state(&mailbell, "held", 1).await;
    mailbell.reload(&(base + &group("night", &["bob"], "") + &ops(&["alice"])));
    let ended = mailbell.cli(&["queue", "expire", &held[0]["id"].to_string()], true);
    assert!(ended.status.success(), "{ended:?}");
    mailbell.logged("the fallback group is not in the config any more", 1).await;
    lab.mail(&asks("ops", "minor", "Marker"));
    alice.gets("Marker").await;
    assert_eq!(alice.copies("Nobody is there"), 0);
}

#[tokio::test]
async fn a_reload_while_xmpp_is_down_is_in_force_when_it_is_back() {
    let mut lab = Lab::new(&["alice", "carol"]);
    let all = lab.base() + &lab.imap("inbox", "");
    let mailbell = Mailbell::run(&(without(&all, "carol") + &ops(&["alice"])));
    mailbell.logged("XMPP session is up", 1).await;
    lab.chat.stop();
    mailbell.logged("no XMPP session", 1).await;
    lab.mail(&critical("1", "Before"));
    in_state(&mailbell, "queued", 1).await;
    let said = mailbell.reload(&(without(&all, "alice") + &ops(&["carol"])));
    assert!(
        said.contains("recipient carol: added\nrecipient alice: removed; 1 waiting notification expired"),
        "{said}"
    );
    lab.mail(&critical("2", "Meanwhile"));
    in_state(&mailbell, "queued", 1).await;
    lab.chat.run();
    let (alice, carol) = (lab.online("alice").await, lab.online("carol").await);
    carol.gets("Meanwhile").await;
    carol.gets("ended unsent").await;
    assert_eq!(alice.count(), 0);
}

#[tokio::test]
async fn reloads_under_load_lose_nothing_and_repeat_nothing() {
    const MAILS: usize = 300;
    const RELOADS: usize = 20;
    let lab = Lab::with(&["alice", "bob"], &["inbox", "pop", "quiet"], Options::default());
    let alice = lab.online("alice").await;
    // Each time: a mailbox comes or goes, one signs in anew, one has other rules, a recipient comes or goes.
    let config = |n: usize| {
        let odd = n % 2 == 1;
        let base = if odd { without(&lab.base(), "bob") } else { lab.base() };
        let quiet = if odd { String::new() } else { lab.imap("quiet", "") };
        let after = if odd { "after = \"seen\"" } else { "after = \"keep\"" };
        let pop = if odd { "max_age = \"2d\"" } else { "" };
        base + &quiet + &lab.imap("inbox", after) + &lab.pop3("pop", pop) + &ops(&["alice"])
    };
    // Their folders are made before anybody reads them.
    ["inbox", "pop"].iter().for_each(|user| lab.put(user, &[]));
    let mailbell = Mailbell::run(&config(0));
    let mail = |n: usize| critical(&format!("l/{n}"), &format!("Load {n:03}."));
    for n in 0..RELOADS {
        let from = n * MAILS / RELOADS;
        let mails: Vec<_> = (from..from + MAILS / RELOADS).map(mail).collect();
        lab.put(if n % 3 == 0 { "pop" } else { "inbox" }, &mails);
        if n % 4 == 3 {
            // Any number of them while one is under way are one more.
            (0..3).for_each(|_| mailbell.signal("HUP"));
        }
        mailbell.reload(&config(n + 1));
    }
    all_in_state(&mailbell, "Load ", MAILS, "delivered").await;
    alice.wait_count(MAILS, SOON).await;
    for n in 0..MAILS {
        came_with_one_id(&alice, &format!("Load {n:03}."), 1);
    }
    assert_eq!(alice.count(), MAILS);
}
