use super::*;
use crate::dispatch::RoomState;
use crate::xmpp::sm::Sent;
use crate::xmpp::stanza;

const PATIENCE: Duration = LATE;

fn room() -> BareJid {
    "ops@rooms.example.test".parse().unwrap()
}

fn from(nick: &str) -> Jid {
    room().with_resource_str(nick).unwrap().into()
}

fn letter(id: &str, body: &str) -> Letter {
    Letter { to: room(), stanza_id: StanzaId(id.into()), body: body.into(), tracked: true, first_sent: None, copy: 1 }
}

/// A joined room, and the session's ledger.
struct Bed {
    rooms: Rooms,
    ledger: Ledger,
    now: Instant,
}

impl Bed {
    fn new() -> Self {
        let settings = super::super::Room { jid: room(), nick: "bell".into(), password: None };
        let (mut rooms, now) = (Rooms::new(&[settings], PATIENCE), Instant::now());
        assert_eq!(rooms.begin(now).send.len(), 1);
        let joined = "<presence xmlns='jabber:client'><x xmlns='http://jabber.org/protocol/muc#user'>\
                      <status code='110'/></x></presence>";
        let todo = rooms.presence(&from("bell"), &joined.parse().unwrap(), now, 1.0);
        assert_eq!(todo.events, [Event::Room { room: room(), state: RoomState::In }]);
        Self { rooms, ledger: Ledger::default(), now }
    }

    fn post(&mut self, id: &str, body: &str) {
        let letter = letter(id, body);
        let stanza = Arc::new(stanza::post(&letter));
        self.ledger.push(Sent { stanza: stanza.clone(), letter: None });
        let carried = Carried { stanza_id: letter.stanza_id, weight: 7 };
        self.rooms.post(carried, room(), stanza, self.ledger.sent());
    }

    /// A message from an occupant.
    fn says(&mut self, nick: &str, attrs: &str, content: &str) -> Todo {
        let message = format!("<message xmlns='jabber:client' type='groupchat' {attrs}>{content}</message>");
        self.rooms.message(&from(nick), &message.parse().unwrap(), self.now)
    }

    fn later(&mut self, time: Duration) -> Todo {
        self.now += time;
        // The room speaks: it is not asked whether we are in it.
        self.says("bob", "", "<body>hm</body>");
        self.rooms.tick(&self.ledger, self.now, 1.0)
    }
}

fn accepted(id: &str) -> Event {
    Event::Accepted { stanzas: vec![StanzaId(id.into())] }
}

fn unreflected(id: &str) -> Event {
    Event::Unreflected { stanzas: vec![StanzaId(id.into())] }
}

#[test]
fn a_message_is_accepted_when_the_room_reflects_it_and_not_before() {
    let mut bed = Bed::new();
    for id in ["a", "b", "c"] {
        bed.post(id, &format!("text of {id}"));
    }
    bed.ledger.ack(3).unwrap();
    assert_eq!(bed.later(Duration::ZERO).events, [], "our own server has it, the room may not");
    for (nick, attrs) in [("bob", "id='a'"), ("Bell", "id='a'")] {
        assert_eq!(bed.says(nick, attrs, "<body>text of a</body>").events, [], "{nick} is somebody else");
    }
    let todo = bed.says("bell", "id='a'", "<body>text of a</body>");
    assert_eq!((todo.events, todo.done), (vec![accepted("a")], vec![7]));
    let todo = bed.says("bell", "id='new'", "<origin-id xmlns='urn:xmpp:sid:0' id='b'/><body>x</body>");
    assert_eq!((todo.events, todo.done), (vec![accepted("b")], vec![7]));
    // A service that gives ids of its own.
    let todo = bed.says("bell", "id='other'", "<body>text of c</body>");
    assert_eq!((todo.events, todo.done), (vec![accepted("c")], vec![7]));
    assert_eq!(bed.later(PATIENCE).events, []);
    assert!(bed.rooms.give_up().is_empty());
}

#[test]
fn what_is_not_reflected_in_time_is_in_doubt_and_the_room_is_joined_anew() {
    let mut bed = Bed::new();
    bed.post("a", "x");
    // While our own server has not taken it, the room cannot be late.
    assert!(bed.later(PATIENCE * 10).events.is_empty());
    bed.ledger.ack(1).unwrap();
    assert!(bed.later(Duration::ZERO).events.is_empty());
    assert!(bed.later(PATIENCE - Duration::from_secs(1)).events.is_empty());
    let todo = bed.later(Duration::from_secs(1));
    assert_eq!(todo.done, [7]);
    let reason = "the room did not reflect a message".to_owned();
    let out = Event::Room { room: room(), state: RoomState::Out { reason, lasting: false } };
    assert_eq!(todo.events, [out, unreflected("a")]);
    assert_eq!(todo.send.len(), 1);
    assert!(!bed.rooms.open(&room()));
}

#[test]
fn a_late_reflection_counts_as_well() {
    let mut bed = Bed::new();
    bed.post("a", "x");
    bed.ledger.ack(1).unwrap();
    bed.later(Duration::ZERO);
    bed.later(PATIENCE);
    let joined = "<presence xmlns='jabber:client'><x xmlns='http://jabber.org/protocol/muc#user'>\
                  <status code='110'/></x></presence>";
    let _ = bed.rooms.presence(&from("bell"), &joined.parse().unwrap(), bed.now, 1.0);
    let todo = bed.says("bell", "id='a'", "<body>x</body>");
    assert_eq!((todo.events, todo.done), (vec![accepted("a")], vec![]));
}

#[test]
fn a_refusal_frees_its_place_and_is_believed_from_the_room_only() {
    let bounce = |from: Option<&str>, condition: &str| Bounce {
        from: from.map(|from| from.parse().unwrap()),
        stanza_id: StanzaId("a".into()),
        kind: ErrorType::Cancel,
        condition: condition.into(),
        text: None,
    };
    let mut bed = Bed::new();
    bed.post("a", "x");
    for strange in
        [None, Some("mallory@example.test"), Some("other@rooms.example.test"), Some("ops@rooms.example.test/bob")]
    {
        assert!(bed.rooms.bounced(&bounce(strange, "forbidden"), bed.now).done.is_empty());
    }
    let todo = bed.rooms.bounced(&bounce(Some("ops@rooms.example.test"), "forbidden"), bed.now);
    assert_eq!((todo.done.len(), todo.send.len(), bed.rooms.open(&room())), (1, 0, true));
    bed.post("a", "x");
    let todo = bed.rooms.bounced(&bounce(Some("ops@rooms.example.test"), "not-acceptable"), bed.now);
    assert_eq!((todo.done.len(), todo.send.len(), bed.rooms.open(&room())), (1, 1, false), "it joins again");
}

#[test]
fn the_end_of_the_session_leaves_in_doubt_what_was_not_reflected() {
    let mut bed = Bed::new();
    bed.post("a", "x");
    bed.post("b", "y");
    bed.ledger.ack(2).unwrap();
    bed.says("bell", "id='a'", "");
    assert_eq!(bed.rooms.give_up(), [Carried { stanza_id: StanzaId("b".into()), weight: 7 }]);
    assert!(!bed.rooms.open(&room()));
}

#[test]
fn after_a_resumption_the_rooms_time_starts_anew() {
    let mut bed = Bed::new();
    bed.post("a", "x");
    bed.ledger.ack(1).unwrap();
    bed.later(Duration::ZERO);
    bed.now += PATIENCE;
    let _ = bed.rooms.resume(bed.now);
    assert!(bed.later(Duration::ZERO).events.is_empty());
    assert!(bed.later(PATIENCE - Duration::from_secs(1)).done.is_empty());
}

#[test]
fn a_reload_joins_what_is_new_and_leaves_what_is_gone() {
    let mut bed = Bed::new();
    let settings = |name: &str, nick: &str| super::super::Room {
        jid: format!("{name}@rooms.example.test").parse().unwrap(),
        nick: nick.into(),
        password: None,
    };
    let said = |todo: Todo| -> Vec<String> {
        let line = |e: &Element| format!("{} {}", e.attr("to").unwrap(), e.attr("type").unwrap_or("joins"));
        todo.send.iter().map(line).collect()
    };
    let (ops, dba) = (settings("ops", "bell"), settings("dba", "bell"));
    let todo = bed.rooms.replace(&[ops.clone(), dba], true, bed.now);
    assert_eq!(said(todo), ["dba@rooms.example.test/bell joins"]);
    assert!(bed.rooms.open(&room()), "it is left alone");
    let todo = bed.rooms.replace(&[settings("ops", "gong")], true, bed.now);
    let expected = [
        "ops@rooms.example.test/bell unavailable",
        "ops@rooms.example.test/gong joins",
        "dba@rooms.example.test/bell unavailable",
    ];
    assert_eq!(said(todo), expected);
    assert_eq!(said(bed.rooms.replace(&[ops], false, bed.now)), ["ops@rooms.example.test/gong unavailable"]);
    assert_eq!(said(bed.rooms.resume(bed.now)), ["ops@rooms.example.test/bell joins"]);
}

#[test]
fn others_are_heard_and_nothing_more() {
    let mut bed = Bed::new();
    for (attrs, content) in [("id='x'", "<body>mailbell: ack</body>"), ("type='chat'", "<body>psst</body>")] {
        let todo = bed.says("bob", attrs.trim_start_matches("type='chat'"), content);
        assert!(todo.events.is_empty() && todo.send.is_empty());
    }
    assert!(!bed.rooms.has(&"bob@example.test".parse().unwrap()));
}
