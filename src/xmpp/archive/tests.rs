use super::*;

fn own() -> BareJid {
    "alerts@example.test".parse().unwrap()
}

fn jid(name: &str) -> BareJid {
    format!("{name}@example.test").parse().unwrap()
}

fn id(text: &str) -> StanzaId {
    StanzaId(text.into())
}

fn doubt(to: &str, stanza: &str, copy: u32) -> Doubt {
    let since = "2026-11-21T18:42:00Z".parse().unwrap();
    Doubt { to: jid(to), stanza_id: id(stanza), copy, since, after: None }
}

/// An archive that was asked for its pages already.
struct Bed {
    archive: Archive,
    now: Instant,
}

impl Bed {
    fn new(doubts: Vec<Doubt>) -> Self {
        let mut bed = Self { archive: Archive::default(), now: Instant::now() };
        bed.archive.begin(Epoch(7), doubts, bed.now);
        bed
    }

    fn begin(&mut self) -> Element {
        one(self.archive.tick(self.now))
    }

    fn pause(&mut self) -> Vec<Element> {
        assert!(self.archive.tick(self.now).send.is_empty(), "the old session may still be at work");
        self.now += PAUSE;
        self.archive.tick(self.now).send
    }

    /// Through all questions to the pages.
    fn asked(doubts: Vec<Doubt>) -> (Self, Vec<Element>) {
        let mut bed = Self::new(doubts);
        let disco = bed.begin();
        let prefs = one(bed.answer(&disco, FEATURE));
        assert!(prefs.has_child("prefs", MAM) && prefs.attr("type") == Some("get"));
        assert!(bed.answer(&prefs, "<prefs xmlns='urn:xmpp:mam:2' default='always'/>").send.is_empty());
        let pages = bed.pause();
        (bed, pages)
    }

    fn answer(&mut self, to: &Element, payload: &str) -> Todo {
        let (id, kind) = (to.attr("id").unwrap(), if payload.contains("<error") { "error" } else { "result" });
        let iq = format!("<iq xmlns='jabber:client' id='{id}' type='{kind}'>{payload}</iq>");
        self.archive.answered(&iq.parse().unwrap()).expect("an answer to a question of ours")
    }

    fn result(&mut self, query: &str, message: &str) -> Option<Vec<Event>> {
        let result = format!(
            "<message xmlns='jabber:client'><result xmlns='urn:xmpp:mam:2' queryid='{query}' id='1'>\
             <forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='2026-11-21T18:42:01Z'/>{message}\
             </forwarded></result></message>"
        );
        self.archive.result(&own(), &result.parse().unwrap())
    }
}

const FEATURE: &str = "<query xmlns='http://jabber.org/protocol/disco#info'><feature var='urn:xmpp:ping'/><feature var='urn:xmpp:mam:2'/></query>";
const REFUSED: &str = "<error type='cancel'><internal-server-error xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
    <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>Database failure</text></error>";
const COMPLETE: &str = "<fin xmlns='urn:xmpp:mam:2' complete='true'/>";

fn one(todo: Todo) -> Element {
    assert_eq!((todo.send.len(), todo.events.len()), (1, 0), "{todo:?}");
    todo.send.into_iter().next().unwrap()
}

fn cut_at(first: &str) -> String {
    format!(
        "<fin xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><first index='0'>{first}</first>\
         <last>9</last></set></fin>"
    )
}

fn sent(to: &str, stanza: &str, copy: &str) -> String {
    format!(
        "<message xmlns='jabber:client' from='alerts@example.test/mailbell' to='{to}@example.test' id='{stanza}' type='chat'>\
         <body>x</body><origin-id xmlns='urn:xmpp:sid:0' id='{stanza}'/>{copy}</message>"
    )
}

fn number(n: &str) -> String {
    format!("<copy xmlns='urn:mailbell:copy:1' number='{n}'/>")
}

#[track_caller]
fn ended(todo: Todo, ids: &[&str], why: Option<&str>) {
    assert!(todo.send.is_empty());
    let [Event::LookedUp { epoch: Epoch(7), found, trouble }] = todo.events.as_slice() else {
        panic!("{todo:?}");
    };
    assert_eq!(*found, ids.iter().map(|text| id(text)).collect::<Vec<_>>());
    match why {
        Some(why) => assert!(trouble.as_deref().is_some_and(|t| t.contains(why)), "{trouble:?}"),
        None => assert_eq!(*trouble, None),
    }
}

#[test]
fn the_question() {
    let (_, pages) = Bed::asked(vec![doubt("alice", "A", 1), doubt("alice", "B", 1)]);
    assert_eq!(pages.len(), 1);
    let text = String::from(&pages[0]).replace(pages[0].attr("id").unwrap(), "ID");
    insta::assert_snapshot!(text, @"<iq xmlns='jabber:client' id='ID' type='set'><query xmlns='urn:xmpp:mam:2' queryid='ID'><x xmlns='jabber:x:data' type='submit'><field type='hidden' var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field><field var='with'><value>alice@example.test</value></field><field var='start'><value>2026-11-21T18:37:00Z</value></field></x><set xmlns='http://jabber.org/protocol/rsm'><max>50</max><before></before></set></query></iq>");
}

#[test]
fn what_is_found_and_what_is_not() {
    let (mut bed, pages) = Bed::asked(vec![doubt("alice", "A", 1), doubt("alice", "B", 1), doubt("bob", "C", 1)]);
    let queries: Vec<_> = pages.iter().map(|page| page.attr("id").unwrap()).collect();
    assert_eq!(bed.result(queries[0], &sent("alice", "A", "")), Some(vec![]));
    assert_eq!(bed.result(queries[0], &sent("alice", "other", "")), Some(vec![]));
    assert_eq!(bed.result(queries[1], &sent("bob", "C", "")), Some(vec![]));
    assert!(bed.answer(&pages[0], COMPLETE).events.is_empty(), "Bob's page is not complete");
    ended(bed.answer(&pages[1], COMPLETE), &["A", "C"], None);
    assert_eq!(bed.archive.due(), None);
}

#[test]
fn pages_are_turned_until_all_is_found_or_there_is_no_more() {
    let (mut bed, pages) = Bed::asked(vec![doubt("alice", "A", 1), doubt("bob", "B", 1)]);
    let next = one(bed.answer(&pages[0], &cut_at("m&amp;1")));
    let query = next.get_child("query", MAM).unwrap();
    assert_eq!(query.get_child("set", RSM).unwrap().get_child("before", RSM).unwrap().text(), "m&1");
    assert_eq!(query.get_child("x", FORM), pages[0].get_child("query", MAM).unwrap().get_child("x", FORM));
    bed.result(next.attr("id").unwrap(), &sent("alice", "A", ""));
    // All of Alice's is found: what is before that page is of no interest.
    assert!(bed.answer(&next, &cut_at("m0")).send.is_empty());
    ended(bed.answer(&pages[1], COMPLETE), &["A"], None);

    let (mut bed, mut pages) = Bed::asked(vec![doubt("alice", "A", 1)]);
    for n in 1..PAGES {
        pages = vec![one(bed.answer(&pages[0], &cut_at(&n.to_string())))];
    }
    ended(bed.answer(&pages[0], &cut_at("last")), &[], Some("over 2000 messages"));
}

#[test]
fn what_the_server_had_before_ends_it() {
    let before = |stanza: &str, n: i64| Doubt {
        since: Timestamp::from_second(n).unwrap(),
        after: Some(id(&format!("before {stanza}"))),
        ..doubt("alice", stanza, 1)
    };
    let asked = || Bed::asked(vec![before("B", 8), before("A", 7), before("C", 9)]);
    let (mut bed, pages) = asked();
    let query = pages[0].attr("id").unwrap();
    bed.result(query, &sent("alice", "before B", ""));
    bed.result(query, &sent("alice", "B", ""));
    let next = one(bed.answer(&pages[0], &cut_at("m1")));
    // What follows on a page is newer.
    let query = next.attr("id").unwrap();
    bed.result(query, &sent("alice", "before A", ""));
    bed.result(query, &sent("alice", "A", ""));
    ended(bed.answer(&next, &cut_at("m0")), &["B", "A"], None);
    // Nobody else can end it, nor an answer that is none.
    let (mut bed, pages) = asked();
    let query = pages[0].attr("id").unwrap();
    let known = sent("alice", "before A", "");
    bed.result(query, &known.replace("from='alerts@", "from='mallory@"));
    bed.result(query, &known.replace("to='alice@", "to='bob@"));
    let next = one(bed.answer(&pages[0], &cut_at("m1")));
    bed.result(next.attr("id").unwrap(), &known);
    ended(bed.answer(&next, REFUSED), &[], Some("Database failure"));
}

#[test]
fn few_are_asked_about_at_a_time() {
    let (mut bed, mut pages) = Bed::asked((0..10).map(|n| doubt(&format!("p{n}"), &n.to_string(), 1)).collect());
    assert_eq!(pages.len(), AT_ONCE);
    let mut asked = pages.len();
    while let Some(page) = pages.pop() {
        let todo = bed.answer(&page, COMPLETE);
        asked += todo.send.len();
        pages.extend(todo.send);
        assert!(pages.len() <= AT_ONCE);
        assert_eq!(todo.events.len(), usize::from(pages.is_empty()));
    }
    assert_eq!(asked, 10);
}

#[test]
fn only_the_copy_in_question_or_a_later_one_counts() {
    for (copy, there) in [("", false), ("1", false), ("2", true), ("3", true), ("x", false), ("-2", false)] {
        let (mut bed, pages) = Bed::asked(vec![doubt("alice", "A", 2)]);
        let copy = if copy.is_empty() { String::new() } else { number(copy) };
        bed.result(pages[0].attr("id").unwrap(), &sent("alice", "A", &copy));
        ended(bed.answer(&pages[0], COMPLETE), if there { &["A"] } else { &[] }, None);
    }
}

#[test]
fn only_what_we_sent_to_the_recipient_counts() {
    let ours = sent("alice", "A", "");
    for forged in [
        ours.replace("from='alerts@example.test/mailbell'", "from='mallory@example.test/mailbell'"),
        ours.replace("from='alerts@example.test/mailbell'", ""),
        ours.replace("to='alice@example.test'", "to='bob@example.test'"),
        ours.replace("type='chat'", "type='error'"),
        ours.replace("type='chat'", "type='groupchat'"),
        ours.replace("id='A'", "id='a'"),
        format!("<x xmlns='y'>{ours}</x>"),
    ] {
        let (mut bed, pages) = Bed::asked(vec![doubt("alice", "A", 1)]);
        bed.result(pages[0].attr("id").unwrap(), &forged);
        ended(bed.answer(&pages[0], COMPLETE), &[], None);
    }
    // A server that gives messages ids of its own leaves the origin-id.
    let (mut bed, pages) = Bed::asked(vec![doubt("alice", "A", 1)]);
    bed.result(pages[0].attr("id").unwrap(), &ours.replacen("id='A'", "id='server'", 1));
    ended(bed.answer(&pages[0], COMPLETE), &["A"], None);
}

#[test]
fn a_receipt_in_the_archive_is_told_of() {
    let receipt = |from: &str, id: &str| {
        format!(
            "<message xmlns='jabber:client' from='{from}@example.test/pc' to='alerts@example.test/mailbell'>\
             <received xmlns='urn:xmpp:receipts' id='{id}'/></message>"
        )
    };
    let (mut bed, pages) = Bed::asked(vec![doubt("alice", "A", 2)]);
    let query = pages[0].attr("id").unwrap();
    assert_eq!(bed.result(query, &receipt("bob", "A")), Some(vec![]), "not hers");
    assert_eq!(bed.result(query, &receipt("alice", "B")), Some(vec![]), "not in doubt");
    let told = Event::Receipt { from: "alice@example.test/pc".parse().unwrap(), stanza_id: id("A") };
    assert_eq!(bed.result(query, &receipt("alice", "A")), Some(vec![told]));
    assert_eq!(bed.result(query, &sent("alice", "A", &number("2"))), Some(vec![]));
    ended(bed.answer(&pages[0], COMPLETE), &["A"], None);
}

#[test]
fn an_answer_to_no_open_question_is_not_taken() {
    let (mut bed, pages) = Bed::asked(vec![doubt("alice", "A", 1)]);
    assert_eq!(bed.result("archive-1", &sent("alice", "A", "")), None);
    let strange = format!("<iq xmlns='jabber:client' id='archive-1' type='result'>{COMPLETE}</iq>");
    assert!(bed.archive.answered(&strange.parse().unwrap()).is_none());
    ended(bed.answer(&pages[0], COMPLETE), &[], None);
    assert_eq!(bed.result(pages[0].attr("id").unwrap(), &sent("alice", "A", "")), None, "it is over");
}

#[test]
fn a_server_without_an_archive_or_with_one_that_is_off_is_not_asked_further() {
    for (answer, why) in [
        ("<query xmlns='http://jabber.org/protocol/disco#info'/>", "no archive (XEP-0313) of our account"),
        ("", "no archive"),
        (REFUSED, "(`internal-server-error`: `Database failure`)"),
    ] {
        let mut bed = Bed::new(vec![doubt("alice", "A", 1)]);
        let disco = bed.begin();
        ended(bed.answer(&disco, answer), &[], Some(why));
    }
    for (prefs, off) in [
        ("<prefs xmlns='urn:xmpp:mam:2' default='never'/>", true),
        ("<prefs xmlns='urn:xmpp:mam:2' default='never'><always/></prefs>", true),
        ("<prefs xmlns='urn:xmpp:mam:2' default='never'><always><jid>a@example.test</jid></always></prefs>", false),
        ("<prefs xmlns='urn:xmpp:mam:2' default='roster'/>", false),
        ("", false),
        (REFUSED, false),
    ] {
        let mut bed = Bed::new(vec![doubt("alice", "A", 1)]);
        let disco = bed.begin();
        let ask = one(bed.answer(&disco, FEATURE));
        let todo = bed.answer(&ask, prefs);
        if off {
            ended(todo, &[], Some("switched off"));
        } else {
            assert!(todo.send.is_empty() && todo.events.is_empty());
            assert!(bed.pause()[0].has_child("query", MAM), "{prefs}");
        }
    }
}

#[test]
fn an_error_or_a_cut_or_silence_leaves_the_doubt() {
    for (answer, why) in [
        (REFUSED, "`internal-server-error`: `Database failure`"),
        ("", "without its end"),
        ("<fin xmlns='urn:xmpp:mam:2'/>", "without its end"),
        (&cut_at(""), "without its end"),
        (&cut_at(&"x".repeat(MAX_ID + 1)), "without its end"),
    ] {
        let (mut bed, pages) = Bed::asked(vec![doubt("alice", "A", 1), doubt("bob", "B", 1)]);
        assert!(bed.answer(&pages[0], answer).events.is_empty());
        bed.result(pages[1].attr("id").unwrap(), &sent("bob", "B", ""));
        // What was found with another recipient is there all the same.
        ended(bed.answer(&pages[1], COMPLETE), &["B"], Some(why));
    }
    let (mut bed, pages) = Bed::asked(vec![doubt("alice", "A", 1), doubt("alice", "B", 1)]);
    bed.result(pages[0].attr("id").unwrap(), &sent("alice", "B", ""));
    bed.now += LIMIT - Duration::from_millis(1);
    assert!(bed.archive.tick(bed.now).events.is_empty());
    bed.now += Duration::from_millis(1);
    ended(bed.archive.tick(bed.now), &["B"], Some("within 10 s"));
    assert!(bed.archive.tick(bed.now + LIMIT).events.is_empty(), "told once");
}

#[test]
fn the_end_of_the_session_ends_it_without_a_word() {
    let (mut bed, pages) = Bed::asked(vec![doubt("alice", "A", 1)]);
    bed.archive.give_up();
    assert_eq!((bed.archive.due(), bed.result(pages[0].attr("id").unwrap(), &sent("alice", "A", ""))), (None, None));
    assert!(bed.archive.tick(bed.now + LIMIT * 2).events.is_empty());
}
