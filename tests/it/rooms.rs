//! Rooms as recipients (XEP-0045), on both servers.

use crate::support::cap::Cap;
use crate::support::chat::Kind;
use crate::support::client::Received;
use crate::support::lab::{Lab, asks, group};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::outcome::came_with_one_id;
#[cfg(feature = "failpoints")]
use crate::support::outcome::copies_of;
use crate::support::proxy::{Proxy, Trouble, Way};
use crate::support::room::{address, recipient};

on_each_server!(
    an_alert_and_its_end_reach_the_room_once_and_a_kick_is_not_the_end_of_it,
    what_is_for_a_room_that_is_gone_waits_until_it_is_back,
    refusals_are_told_and_a_taken_nick_gets_a_number,
    after_a_restart_of_the_chat_server_the_room_is_joined_again,
);

/// One mailbox, olga for the operators, and the group `team`, which is the room `ops`.
fn config(lab: &Lab) -> String {
    lab.operated_by("olga") + &recipient("ops", "") + &group("team", &["opsroom"], "")
}

fn resolves(title: &str) -> String {
    asks("team", "warning", title).replace(" severity=", " status=\"resolved\" severity=")
}

async fn an_alert_and_its_end_reach_the_room_once_and_a_kick_is_not_the_end_of_it(kind: Kind) {
    let lab = Lab::on(kind, &["olga", "alice"]);
    let (olga, alice) = (lab.online("olga").await, lab.online("alice").await);
    alice.make_room("ops", "Alice", &[]).await;
    let caps = "[[route]]\nmatch = { sender = \"storms@example.test\" }\ngroups = [\"team\"]\n";
    let mailbell = Mailbell::run(&(config(&lab) + caps));
    lab.mail(&asks("team", "warning", "Fan broken"));
    let message = alice.wait_message(|m| m.body().unwrap().contains("Fan broken"), SOON).await;
    assert_eq!(message.from(), address("ops") + "/mailbell");
    assert_eq!(message.attr("type"), Some("groupchat"));
    assert!(!message.element.has_child("request", "urn:xmpp:receipts"), "{}", message.raw);
    mailbell.notified("Fan broken", "opsroom", "accepted").await;
    lab.mail(&resolves("Fan broken"));
    alice.gets("RESOLVED: Fan broken").await;

    // What people say there is not for mailbell, and never answered.
    let bot = address("ops") + "/mailbell";
    alice.raw(&format!("<message type='groupchat' to='{}'><body>who are you?</body></message>", address("ops"))).await;
    alice.raw(&format!("<message type='chat' to='{bot}'><body>who are you?</body></message>")).await;
    alice.raw(&format!("<presence type='subscribe' to='{bot}'/>")).await;

    // Nobody knows here who reads in a room.
    lab.mail(&Cap::alert("r1").scope("Restricted").info("Extreme", "Restricted news", "").mail());
    let named = format!("opsroom {}", address("ops"));
    lab.mail(&Cap::alert("p1").scope("Private").addresses(&named).info("Extreme", "Private news", "").mail());
    for title in ["Restricted news", "Private news"] {
        let alert = mailbell.alert(title).await;
        assert!(alert.reason.contains("opsroom: it is a room, the alert is not public"), "{}", alert.reason);
    }
    olga.gets(" news` from storms@example.test: nobody is told").await;
    let public = Cap::alert("u1").info("Extreme", "Public news", "");
    lab.mail(&public.mail());
    alice.gets("Public news").await;
    lab.mail(&Cap::cancel("u2", &[&public]).scope("Restricted").info("Extreme", "Restricted end", "").mail());
    let end = mailbell.alert("Restricted end").await;
    assert!(end.reason.contains("left out opsroom: it is a room, the alert is not public"), "{}", end.reason);

    alice.kick("ops", "mailbell").await;
    mailbell.logged("we were kicked out of the room: too loud", 1).await;
    lab.mail(&asks("team", "major", "While outside"));
    alice.gets("While outside").await;
    alice.sees_enter("ops", "mailbell", 2).await;
    for (text, copies) in [("WARNING: Fan broken", 1), ("RESOLVED: Fan broken", 1), ("While outside", 1)] {
        assert_eq!(alice.copies(text), copies, "{text}");
    }
    for unsaid in ["Restricted", "Private", "cannot read answers"] {
        assert_eq!(alice.copies(unsaid), 0, "{unsaid}");
    }
    assert_eq!(olga.copies("not in the room"), 0, "back at once: nothing to tell");
}

async fn what_is_for_a_room_that_is_gone_waits_until_it_is_back(kind: Kind) {
    let lab = Lab::on(kind, &["olga", "alice"]);
    let (olga, alice) = (lab.online("olga").await, lab.online("alice").await);
    alice.make_room("ops", "Alice", &[]).await;
    let mailbell = Mailbell::run(&config(&lab));
    alice.sees_enter("ops", "mailbell", 1).await;
    alice.destroy("ops").await;
    mailbell.logged("the room was destroyed: closed", 1).await;
    // Nobody is told what need not be: a room may be back before the next try.
    let notice = olga.gets("not in the room opsroom (ops@conference.example.test): the room does not exist").await;
    assert!(notice.contains("What is for it is held until mailbell is in"), "{notice}");
    lab.mail(&asks("team", "major", "Waits"));
    assert_eq!(mailbell.notified("Waits", "opsroom", "held").await.reason, "mailbell is not in the room");
    lab.mail(&asks("team", "critical", "Presses"));
    olga.gets("was sent to all of them anyway, but not to ops@conference.example.test: not in the room").await;
    mailbell.notified("Presses", "opsroom", "held").await;

    alice.make_room("ops", "Alice", &[]).await;
    alice.gets("Presses").await;
    alice.gets("Waits").await;
    lab.mail(&asks("team", "info", "Marker"));
    alice.gets("Marker").await;
    assert_eq!((alice.copies("Waits"), alice.copies("Presses"), olga.copies("not in the room opsroom")), (1, 1, 1));
}

#[tokio::test]
async fn a_room_that_a_reload_brings_is_joined_and_told_and_one_that_it_takes_is_left() {
    let lab = Lab::new(&["olga", "alice"]);
    let alice = lab.online("alice").await;
    alice.make_room("ops", "Alice", &[]).await;
    let without = lab.operated_by("olga") + &group("team", &["olga"], "");
    let mailbell = Mailbell::run(&without);
    mailbell.reload(&config(&lab));
    alice.sees_enter("ops", "mailbell", 1).await;
    lab.mail(&asks("team", "warning", "In the new room"));
    alice.gets("In the new room").await;
    mailbell.reload(&without);
    let bot = address("ops") + "/mailbell";
    let left = |s: &Received| s.from() == bot && s.attr("type") == Some("unavailable");
    alice.wait("mailbell to leave the room", SOON, left).await;
}

async fn refusals_are_told_and_a_taken_nick_gets_a_number(kind: Kind) {
    let lab = Lab::on(kind, &["olga", "alice"]);
    let (olga, alice) = (lab.online("olga").await, lab.online("alice").await);
    alice.make_room("ops", "mailbell", &[]).await;
    alice.make_room("secret", "Alice", &[("passwordprotectedroom", "1"), ("roomsecret", "right")]).await;
    alice.make_room("wrong", "Alice", &[("passwordprotectedroom", "1"), ("roomsecret", "right")]).await;
    alice.make_room("members", "Alice", &[("membersonly", "1")]).await;
    let mailbell = Mailbell::run(
        &(lab.operated_by("olga")
            + &recipient("ops", "")
            + &recipient("secret", "password = \"right\"\nnick = \"Bell\"")
            + &recipient("wrong", "password = \"s3cret-and-wrong\"")
            + &recipient("members", "")
            + &group("team", &["opsroom", "secretroom"], "")),
    );
    for (room, why) in [
        ("wrong", "the room refuses the password; correct it"),
        ("members", "only members may enter the room; make us one"),
    ] {
        olga.gets(&format!("not in the room {room}room ({}): {why}", address(room))).await;
    }
    lab.mail(&asks("team", "warning", "Smoke"));
    for from in [address("ops") + "/mailbell-2", address("secret") + "/Bell"] {
        let message = |m: &crate::support::client::Received| m.from() == from && m.body().unwrap().contains("Smoke");
        alice.wait_message(message, SOON).await;
    }
    assert!(!mailbell.log().contains("s3cret"));
    mailbell.logged("the nick is taken in this room", 1).await;
}

async fn after_a_restart_of_the_chat_server_the_room_is_joined_again(kind: Kind) {
    let mut lab = Lab::on(kind, &["olga", "alice"]);
    let alice = lab.online("alice").await;
    let persistent = [("persistentroom", "1"), ("moderatedroom", "0")];
    alice.make_room("ops", "Alice", &persistent).await;
    let mailbell = Mailbell::run(&config(&lab));
    lab.mail(&asks("team", "warning", "Before"));
    alice.gets("Before").await;
    lab.chat.stop();
    lab.mail(&asks("team", "warning", "Meanwhile"));
    mailbell.notified("Meanwhile", "opsroom", "queued").await;
    lab.chat.run();
    let alice = lab.online("alice").await;
    alice.enter("ops", "Alice").await;
    lab.mail(&asks("team", "warning", "After"));
    alice.gets("After").await;
    mailbell.notified("Meanwhile", "opsroom", "accepted").await;
}

#[tokio::test]
async fn who_is_only_listened_to_holds_what_is_for_the_room() {
    let lab = Lab::new(&["olga", "alice"]);
    let (olga, alice) = (lab.online("olga").await, lab.online("alice").await);
    alice.make_room("ops", "Alice", &[("moderatedroom", "1")]).await;
    let mailbell = Mailbell::run(&config(&lab));
    olga.gets("the room is moderated and lets us only listen; give us voice there").await;
    lab.mail(&asks("team", "major", "Speechless"));
    mailbell.notified("Speechless", "opsroom", "held").await;
    alice.give_role("ops", "mailbell", "participant").await;
    alice.gets("Speechless").await;
}

#[tokio::test]
async fn a_room_that_forgot_us_is_noticed_by_asking_and_by_posting() {
    let lab = Lab::new(&["olga", "alice"]);
    let alice = lab.online("alice").await;
    alice.make_room("ops", "Alice", &[]).await;
    let forget = async || {
        let forget = "<forget xmlns='urn:test:ghosts'>mailbell</forget>";
        let answer = alice.iq(&address("ops"), "set", forget).await;
        assert_eq!(answer.attr("type"), Some("result"), "{}", answer.raw);
    };
    // By posting: the room refuses the message.
    let mut mailbell = Mailbell::run(&config(&lab));
    alice.sees_enter("ops", "mailbell", 1).await;
    forget().await;
    lab.mail(&asks("team", "major", "Not lost"));
    alice.gets("Not lost").await;
    mailbell.logged("the room has forgotten us", 1).await;
    mailbell.stop();

    // By asking now and then.
    mailbell.configure(&config(&lab).replace("[xmpp]", "[xmpp]\nping_after = \"3s\""));
    mailbell.start();
    mailbell.logged("joined the room", 3).await;
    forget().await;
    mailbell.logged("the room has forgotten us", 2).await;
    mailbell.logged("joined the room", 4).await;
    lab.mail(&asks("team", "major", "Here again"));
    alice.gets("Here again").await;
    assert_eq!(alice.copies("Not lost"), 1);
}

#[tokio::test]
async fn what_the_room_has_is_not_posted_again_after_a_cut() {
    let lab = Lab::new(&["olga", "alice"]);
    let alice = lab.online("alice").await;
    alice.make_room("ops", "Alice", &[]).await;
    let proxy = Proxy::start(lab.chat.c2s).await;
    let through = config(&lab).replace(&format!(":{}\"", lab.chat.c2s), &format!(":{}\"", proxy.port));
    let mailbell = Mailbell::run(&through);
    lab.mail(&asks("team", "major", "Warm-up"));
    alice.gets("Warm-up").await;
    mailbell.notified("Warm-up", "opsroom", "accepted").await;
    // The message gets there, its reflection does not come back.
    proxy.set(Way::Down, Trouble::Stall(0));
    lab.mail(&asks("team", "major", "Reflected to nobody"));
    alice.gets("Reflected to nobody").await;
    mailbell.notified("Reflected to nobody", "opsroom", "sending").await;
    proxy.sever();
    proxy.heal();
    mailbell.logged("the XMPP session is resumed", 1).await;
    mailbell.notified("Reflected to nobody", "opsroom", "accepted").await;
    lab.mail(&asks("team", "major", "Marker"));
    alice.gets("Marker").await;
    came_with_one_id(&alice, "Reflected to nobody", 1);
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn what_may_be_in_the_room_already_is_posted_again_with_the_same_id_and_says_so() {
    let lab = Lab::new(&["olga", "alice"]);
    let alice = lab.online("alice").await;
    alice.make_room("ops", "Alice", &[]).await;
    let mut mailbell = Mailbell::new(&config(&lab));
    mailbell.env("FAILPOINTS", "before_d4=panic");
    mailbell.start();
    lab.mail(&asks("team", "major", "In doubt"));
    crate::support::outcome::aborted(&mut mailbell).await;
    alice.gets("In doubt").await;
    mailbell.env("FAILPOINTS", "");
    mailbell.start();
    mailbell.notified("In doubt", "opsroom", "accepted").await;
    crate::support::wait_for("the second copy", SOON, async || {
        (copies_of(&alice, "In doubt").len() == 2).then_some(())
    })
    .await;
    came_with_one_id(&alice, "In doubt", 2);
    let second = copies_of(&alice, "In doubt").remove(1);
    assert!(second.body().unwrap().contains("Sent again"), "{}", second.raw);
    assert!(!second.element.has_child("delay", "urn:xmpp:delay"), "clients take that for history");
}
