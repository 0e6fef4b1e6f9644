use super::*;
use crate::model::{BareJid, Secret};

const CHANCE: f64 = 1.0;
const QUIET: Duration = Duration::from_secs(30);

fn room() -> BareJid {
    "ops@rooms.example.test".parse().unwrap()
}

fn me(nick: &str) -> Jid {
    room().with_resource_str(nick).unwrap().into()
}

fn new() -> Room {
    let password = Some(Secret::new("s3cret".into()));
    Room::new(Settings { jid: room(), nick: "bell".into(), password }, QUIET)
}

fn presence(attrs: &str, content: &str) -> Element {
    format!("<presence xmlns='jabber:client' {attrs}>{content}</presence>").parse().unwrap()
}

/// With these status codes, and this in its item.
fn about(attrs: &str, codes: &[&str], item: &str) -> Element {
    let codes: String = codes.iter().map(|code| format!("<status code='{code}'/>")).collect();
    presence(attrs, &format!("<x xmlns='{USER}'>{item}{codes}</x>"))
}

fn refusal(condition: &str, text: &str) -> Element {
    presence(
        "type='error'",
        &format!(
            "<error type='auth'><{condition} xmlns='{STANZA_ERRORS}'/><text xmlns='{STANZA_ERRORS}'>{text}</text></error>"
        ),
    )
}

fn pong(id: &str, condition: Option<&str>) -> Element {
    let error = condition.map(|c| format!("<error type='cancel'><{c} xmlns='{STANZA_ERRORS}'/></error>"));
    let kind = if error.is_some() { "error" } else { "result" };
    format!("<iq xmlns='jabber:client' id='{id}' type='{kind}'>{}</iq>", error.unwrap_or_default()).parse().unwrap()
}

/// A room that we are in since `now`.
fn entered(now: Instant) -> Room {
    let mut room = new();
    assert_eq!(to(&room.begin(now)), "ops@rooms.example.test/bell");
    let steps = room.presence(&me("bell"), &about("", &["110"], "<item role='participant'/>"), now, CHANCE);
    assert_eq!((steps.send.len(), steps.news), (0, Some(RoomState::In)));
    assert!(room.open());
    room
}

/// Whom the only stanza is for.
fn to(steps: &Steps) -> &str {
    assert_eq!(steps.send.len(), 1, "{steps:?}");
    steps.send[0].attr("to").unwrap()
}

fn reason(steps: &Steps) -> (&str, bool) {
    match &steps.news {
        Some(RoomState::Out { reason, lasting }) => (reason, *lasting),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_join_asks_for_no_history_and_shows_the_password() {
    let join = new().begin(Instant::now());
    insta::assert_snapshot!(String::from(&join.send[0]), @"<presence xmlns='jabber:client' to='ops@rooms.example.test/bell'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/><password>s3cret</password></x></presence>");
}

#[test]
fn others_presence_is_not_ours() {
    let now = Instant::now();
    let mut room = new();
    room.begin(now);
    for other in [presence("", ""), about("", &[], "<item role='moderator'/>"), presence("type='unavailable'", "")] {
        assert_eq!(room.presence(&me("bob"), &other, now, CHANCE).news, None);
        assert!(!room.open());
    }
    let mut room = entered(now);
    assert_eq!(room.presence(&me("bob"), &about("type='unavailable'", &["307"], ""), now, CHANCE).news, None);
    assert!(room.open());
}

#[test]
fn the_service_may_change_the_nick_and_so_may_we() {
    let now = Instant::now();
    let mut room = new();
    room.begin(now);
    room.presence(&me("Bell"), &about("", &["210", "110"], "<item role='participant'/>"), now, CHANCE);
    assert_eq!(room.me(), Some(&me("Bell")));
    let renamed = about("type='unavailable'", &["303", "110"], "<item nick='Bells'/>");
    assert_eq!(room.presence(&me("Bell"), &renamed, now, CHANCE).news, None);
    assert!(room.open());
    assert_eq!(room.me(), Some(&me("Bells")));
}

#[test]
fn a_nick_that_is_taken_gets_a_number() {
    let now = Instant::now();
    let mut room = new();
    room.begin(now);
    for n in 2..=5 {
        let steps = room.presence(&me("bell"), &refusal("conflict", ""), now, CHANCE);
        assert_eq!(to(&steps), format!("ops@rooms.example.test/bell-{n}"));
    }
    let steps = room.presence(&me("bell-5"), &refusal("conflict", ""), now, CHANCE);
    assert_eq!(reason(&steps), ("the nick is taken; choose another one (conflict)", true));
    assert_eq!(to(&room.tick(now + AGAIN.0, CHANCE)), "ops@rooms.example.test/bell", "from the beginning");
}

#[test]
fn every_refusal_has_a_reason_that_is_told_once() {
    for (condition, text, expected) in [
        ("not-authorized", "", "the room refuses the password; correct it (not-authorized)"),
        ("registration-required", "", "only members may enter the room; make us one (registration-required)"),
        ("forbidden", "go\naway", "we are banned from the room (forbidden: go\\naway)"),
        ("item-not-found", "", "the room does not exist (item-not-found)"),
        ("not-allowed", "", "the room does not exist (not-allowed)"),
        ("not-acceptable", "", "the room wants another nick (not-acceptable)"),
        ("service-unavailable", "", "the room is full, or there is no such service (service-unavailable)"),
        ("remote-server-not-found", "", "the room cannot be entered (remote-server-not-found)"),
    ] {
        let mut now = Instant::now();
        let mut room = new();
        room.begin(now);
        let steps = room.presence(&me("bell"), &refusal(condition, text), now, CHANCE);
        assert_eq!(reason(&steps), (expected, true));
        assert!(!room.open() && steps.send.is_empty());
        let mut waits = Vec::new();
        for _ in 0..8 {
            let start = now;
            while room.tick(now, CHANCE).send.is_empty() {
                now += Duration::from_secs(1);
            }
            waits.push((now - start).as_secs());
            let again = room.presence(&me("bell"), &refusal(condition, text), now, CHANCE);
            assert_eq!(again.news, None, "told already");
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60, 60]);
    }
    let mut open = Room::new(Settings { jid: room(), nick: "bell".into(), password: None }, QUIET);
    open.begin(Instant::now());
    let steps = open.presence(&me("bell"), &refusal("not-authorized", ""), Instant::now(), CHANCE);
    assert_eq!(reason(&steps).0, "the room wants a password; give it to this recipient (not-authorized)");
}

#[test]
fn no_room_is_made() {
    let now = Instant::now();
    let mut room = new();
    room.begin(now);
    let made = about("", &["201", "110"], "<item role='moderator' affiliation='owner'/>");
    let steps = room.presence(&me("bell"), &made, now, CHANCE);
    assert_eq!(reason(&steps), ("the room does not exist", true));
    assert_eq!((to(&steps), steps.send[0].attr("type")), ("ops@rooms.example.test/bell", Some("unavailable")));
    assert!(!room.open());
    let left = about("type='unavailable'", &["110"], "");
    assert_eq!(room.presence(&me("bell"), &left, now, CHANCE).news, None);
}

#[test]
fn a_join_without_an_answer_is_tried_again() {
    let now = Instant::now();
    let mut room = new();
    room.begin(now);
    assert!(room.tick(now + ANSWER - Duration::from_secs(1), CHANCE).news.is_none());
    assert_eq!(reason(&room.tick(now + ANSWER, CHANCE)), ("the room does not answer", true));
    assert_eq!(room.tick(now + ANSWER + AGAIN.0, CHANCE).send.len(), 1);
}

#[test]
fn whoever_throws_us_out_is_not_fought_but_asked_again() {
    for (codes, inside, expected) in [
        (&["110", "307"][..], "<item><reason>too loud</reason></item>", "we were kicked out of the room: too loud"),
        (&["110", "301"], "", "we were banned from the room"),
        (&["110", "321"], "", "only members may stay in the room, and we are none"),
        (&["110", "332"], "", "the room's service was shut down"),
        (&["110", "333", "307"], "", "the room lost us by a fault"),
        (&["110"], "", "we are no longer in the room"),
        (&[], "<destroy jid='x@y.test'><reason>moved</reason></destroy>", "the room was destroyed: moved"),
    ] {
        let now = Instant::now();
        let mut room = entered(now);
        let steps = room.presence(&me("bell"), &about("type='unavailable'", codes, inside), now, CHANCE);
        assert_eq!(reason(&steps), (expected, false));
        assert!(!room.open() && room.me().is_none());
        assert!(room.tick(now + AGAIN.0 - Duration::from_millis(1), CHANCE).send.is_empty());
        assert_eq!(room.tick(now + AGAIN.0, CHANCE).send.len(), 1);
    }
    // Again and again: later and later; after a while of peace as at first.
    let mut now = Instant::now();
    let mut room = entered(now);
    let kicked = about("type='unavailable'", &["110", "307"], "");
    let mut waits = Vec::new();
    for stay in [0, 0, 0, 100, 0] {
        now += Duration::from_secs(stay);
        room.presence(&me("bell"), &kicked, now, CHANCE);
        let start = now;
        while room.tick(now, CHANCE).send.is_empty() {
            now += Duration::from_secs(1);
        }
        waits.push((now - start).as_secs());
        room.presence(&me("bell"), &about("", &["110"], ""), now, CHANCE);
    }
    assert_eq!(waits, [2, 4, 8, 2, 4]);
}

#[test]
fn without_voice_nothing_can_be_posted() {
    let now = Instant::now();
    let mut room = new();
    room.begin(now);
    let visitor = about("", &["110"], "<item role='visitor'/>");
    let steps = room.presence(&me("bell"), &visitor, now, CHANCE);
    assert_eq!(reason(&steps), ("the room is moderated and lets us only listen; give us voice there", true));
    assert!(!room.open() && room.me().is_some());
    let given = about("", &["110"], "<item role='participant'/>");
    assert_eq!(room.presence(&me("bell"), &given, now, CHANCE).news, Some(RoomState::In));
    assert!(room.open());
    assert!(!reason(&room.presence(&me("bell"), &visitor, now, CHANCE)).0.is_empty());
}

#[test]
fn silence_is_asked_about_and_the_answer_decides() {
    for (answer, stays) in [
        (None, true),
        (Some("service-unavailable"), true),
        (Some("feature-not-implemented"), true),
        (Some("not-acceptable"), false),
        (Some("item-not-found"), false),
        (Some("not-allowed"), false),
    ] {
        let now = Instant::now();
        let mut room = entered(now);
        room.heard(now + QUIET / 2);
        assert!(room.tick(now + QUIET, CHANCE).send.is_empty(), "it spoke meanwhile");
        let now = now + QUIET + QUIET / 2;
        let ping = room.tick(now, CHANCE);
        assert_eq!(to(&ping), "ops@rooms.example.test/bell");
        assert!(ping.send[0].has_child("ping", stanza::PING));
        let id = ping.send[0].attr("id").unwrap().to_owned();
        assert!(room.tick(now, CHANCE).send.is_empty(), "one at a time");
        assert!(room.answered(&pong("other", None), now).is_none());
        let steps = room.answered(&pong(&id, answer), now).unwrap();
        assert_eq!(room.open(), stays, "{answer:?}");
        match stays {
            true => assert!(steps.send.is_empty() && steps.news.is_none()),
            false => {
                assert_eq!(reason(&steps), ("the room has forgotten us", false));
                assert_eq!(to(&steps), "ops@rooms.example.test/bell", "it joins again at once");
            }
        }
    }
}

#[test]
fn a_room_that_cannot_be_reached_is_given_time_and_then_joined_anew() {
    let now = Instant::now();
    let mut room = entered(now);
    let now = now + QUIET;
    let id = room.tick(now, CHANCE).send[0].attr("id").unwrap().to_owned();
    let steps = room.answered(&pong(&id, Some("remote-server-timeout")), now).unwrap();
    assert!(steps.news.is_none() && room.open(), "that says nothing of us");
    let steps = room.tick(now + QUIET, CHANCE);
    assert_eq!(reason(&steps), ("the room does not answer any more", false));
    assert_eq!(steps.send.len(), 1);
    // Still silent: told.
    assert_eq!(reason(&room.tick(now + QUIET + ANSWER, CHANCE)), ("the room does not answer", true));
}

#[test]
fn a_resumed_session_asks_whether_we_are_still_in() {
    let now = Instant::now();
    let mut room = entered(now);
    let ping = room.resume(now);
    assert!(ping.send[0].has_child("ping", stanza::PING) && room.open());
    room.end();
    assert!(!room.open() && room.leave().is_none());
    assert_eq!(room.resume(now).send.len(), 1, "new since the cut");
    let news = room.presence(&me("bell"), &about("", &["110"], ""), now, CHANCE).news;
    assert_eq!(news, Some(RoomState::In), "a new session is told anew");
}
