//! Whole conversations; and that pieces make no difference, and nothing makes it panic or grow.

use std::sync::Arc;

use proptest::prelude::*;

use super::session::{Answer, Ask, Letter, Session, TooLarge};
use super::{Book, Mailbox};
use crate::model::MessageId;

const SMALL: u64 = 100;
const LARGE: u64 = 1000;

fn book() -> Arc<Book> {
    let mailbox = |name: &str, address: &str, max_size| Mailbox {
        name: name.parse().unwrap(),
        addresses: vec![address.parse().unwrap()],
        max_size,
    };
    Arc::new(Book::new(vec![mailbox("ops", "*@ops.example", SMALL), mailbox("db", "db@db.example", LARGE)]))
}

/// A session with a store that does what it is told.
struct Talk {
    session: Session,
    stored: Vec<Letter>,
    asked: Vec<u64>,
    room: bool,
    memory: bool,
    works: bool,
}

impl Talk {
    fn new() -> Self {
        let session = Session::new(book(), 3);
        let mut talk = Self { session, stored: Vec::new(), asked: Vec::new(), room: true, memory: true, works: true };
        assert_eq!(talk.replies(), "220 mailbell LMTP\r\n");
        talk
    }

    fn greeted() -> Self {
        let mut talk = Self::new();
        talk.say("LHLO mx\r\n");
        talk
    }

    fn replies(&mut self) -> String {
        String::from_utf8(self.session.take_replies()).unwrap()
    }

    fn feed(&mut self, mut input: &[u8]) {
        while !input.is_empty() && !self.session.is_closed() {
            let (taken, ask) = self.session.feed(input);
            assert!(taken > 0 || ask.is_some(), "no headway");
            input = &input[taken..];
            let yes = |yes| if yes { Answer::Yes } else { Answer::No };
            let answer = match ask {
                None => continue,
                Some(Ask::Room(_)) => yes(self.room),
                Some(Ask::Memory(bytes)) => {
                    self.asked.push(bytes);
                    yes(self.memory)
                }
                Some(Ask::Store(letter)) if self.works => {
                    let first = self.stored.iter().map(|l| l.mailboxes.len()).sum::<usize>() as i64;
                    let ids = (first + 1..).map(MessageId).take(letter.mailboxes.len()).collect();
                    self.stored.push(letter);
                    Answer::Stored(ids)
                }
                Some(Ask::Store(_)) => Answer::No,
            };
            self.session.answer(answer);
        }
    }

    /// The codes of the replies, without continuation lines.
    fn say(&mut self, input: &str) -> Vec<String> {
        self.feed(input.as_bytes());
        let replies = self.replies();
        let last = |line: &&str| line.as_bytes()[3] == b' ';
        replies.lines().filter(last).map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
    }
}

/// MAIL, RCPT for each, DATA.
fn begun(to: &[&str]) -> String {
    let to: String = to.iter().map(|to| format!("RCPT TO:<{to}>\r\n")).collect();
    format!("MAIL FROM:<a@b>\r\n{to}DATA\r\n")
}

#[test]
fn a_mail_is_stored_once_a_mailbox_and_answered_once_a_recipient() {
    let mut talk = Talk::greeted();
    let mail = begun(&["x@ops.example", "db@db.example", "Y@OPS.example"]) + "Subject: x\r\n\r\n..dot\r\n.\r\n";
    assert_eq!(
        talk.say(&mail),
        ["250 2.1.0", "250 2.1.5", "250 2.1.5", "250 2.1.5", "354 go", "250 2.0.0", "250 2.0.0", "250 2.0.0"]
    );
    let raw = b"Return-Path: <a@b>\r\nSubject: x\r\n\r\n.dot\r\n".to_vec();
    assert_eq!(talk.stored, [Letter { mailboxes: vec![0, 1], raw }]);
    assert_eq!(talk.asked, [LARGE]);
    talk.feed((begun(&["x@ops.example", "db@db.example", "x@ops.example"]) + ".\r\n").as_bytes());
    let replies = talk.replies();
    let numbers: Vec<_> = replies.lines().filter_map(|l| l.split_once("message ")).map(|(_, n)| n).collect();
    assert_eq!(numbers, ["3", "4", "3"], "{replies}");
    assert_eq!(talk.say("QUIT\r\nNOOP\r\n"), ["221 2.0.0"]);
    assert!(talk.session.is_closed());
}

#[test]
fn lhlo_says_what_is_possible() {
    let mut talk = Talk::new();
    talk.feed(b"LHLO mx\r\n");
    assert_eq!(
        talk.replies(),
        "250-mailbell\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE 1000\r\n"
    );
}

#[test]
fn what_is_out_of_order_is_refused() {
    let mut talk = Talk::new();
    assert_eq!(
        talk.say("MAIL FROM:<a@b>\r\nDATA\r\nRSET\r\nNOOP\r\n"),
        ["503 5.5.1", "503 5.5.1", "250 2.0.0", "250 2.0.0"]
    );
    assert_eq!(talk.say("EHLO a\r\nHELO a\r\n"), ["500 5.5.1", "500 5.5.1"]);
    assert_eq!(talk.say("LHLO a\r\nRCPT TO:<a@b>\r\nDATA\r\n"), ["250 SIZE", "503 5.5.1", "503 5.5.1"]);
    let mail = "MAIL FROM:<a@b>\r\nMAIL FROM:<a@b>\r\nDATA\r\nRSET\r\nDATA\r\n";
    assert_eq!(talk.say(mail), ["250 2.1.0", "503 5.5.1", "503 5.5.1", "250 2.0.0", "503 5.5.1"]);
    assert_eq!(
        talk.say("MAIL FROM:<>\r\nLHLO a\r\nRCPT TO:<x@ops.example>\r\n"),
        ["250 2.1.0", "250 SIZE", "503 5.5.1"]
    );
    assert_eq!(talk.say("VRFY x\r\nHELP\r\n"), ["252 2.1.5", "214 2.0.0"]);
}

#[test]
fn an_address_that_nobody_has_is_refused_and_the_others_get_it() {
    let mut talk = Talk::greeted();
    let mail = begun(&["x@elsewhere.example", "db@db.example"]) + "x\r\n.\r\n";
    assert_eq!(talk.say(&mail), ["250 2.1.0", "550 5.1.1", "250 2.1.5", "354 go", "250 2.0.0"]);
    assert_eq!(talk.stored[0].mailboxes, [1]);
    assert_eq!(talk.say(&begun(&["x@elsewhere.example"])), ["250 2.1.0", "550 5.1.1", "503 5.5.1"]);
}

#[test]
fn more_recipients_than_allowed_get_a_mail_of_their_own() {
    let mut talk = Talk::greeted();
    let to = ["1@ops.example", "2@ops.example", "3@ops.example", "4@ops.example"];
    let replies = talk.say(&(begun(&to) + ".\r\n"));
    assert_eq!(replies[3..5], ["250 2.1.5", "452 4.5.3"]);
    assert_eq!(replies[6..], ["250 2.0.0", "250 2.0.0", "250 2.0.0"]);
}

#[test]
fn size_is_minded_before_and_while_it_is_read() {
    let mut talk = Talk::greeted();
    assert_eq!(talk.say("MAIL FROM:<a@b> SIZE=1001\r\n"), ["552 5.3.4"]);
    let to = "RCPT TO:<x@ops.example>\r\nRCPT TO:<db@db.example>\r\nRSET\r\n";
    assert_eq!(
        talk.say(&format!("MAIL FROM:<a@b> SIZE=101\r\n{to}")),
        ["250 2.1.0", "552 5.3.4", "250 2.1.5", "250 2.0.0"]
    );
    let told = |mailbox, size| TooLarge { mailbox, size };
    assert_eq!(talk.session.take_too_large(), [told(None, 1001), told(Some(0), 101)]);
    // It says nothing of its size, or lies.
    for size in ["", " SIZE=1"] {
        let to = begun(&["x@ops.example", "db@db.example"]).replace("<a@b>", &format!("<a@b>{size}"));
        assert_eq!(talk.say(&to)[3], "354 go");
        let text = "x".repeat(198) + "\r\n";
        assert_eq!(talk.say(&format!("{text}.\r\n")), ["552 5.3.4", "250 2.0.0"]);
        assert_eq!(talk.stored.pop().unwrap().mailboxes, [1]);
        talk.say(&to);
        assert_eq!(talk.say(&format!("{}.\r\nNOOP\r\n", text.repeat(6))), ["552 5.3.4", "552 5.3.4", "250 2.0.0"]);
        assert!(talk.stored.is_empty());
        assert_eq!(talk.session.take_too_large(), [told(Some(0), 1200), told(Some(1), 1200)]);
    }
    // Just as large as it may be.
    talk.say(&begun(&["x@ops.example"]));
    assert_eq!(talk.say(&format!("{}\r\n.\r\n", "x".repeat(98))), ["250 2.0.0"]);
}

#[test]
fn what_is_not_possible_now_is_refused_for_now() {
    let mut talk = Talk::greeted();
    talk.session.set_full(true);
    assert_eq!(talk.say("MAIL FROM:<a@b>\r\n"), ["452 4.3.1"]);
    talk.session.set_full(false);
    talk.room = false;
    assert_eq!(talk.say(&begun(&["x@ops.example"])), ["250 2.1.0", "452 4.3.1", "503 5.5.1"]);
    talk.say("RSET\r\n");
    (talk.room, talk.memory) = (true, false);
    assert_eq!(talk.say(&begun(&["x@ops.example"])), ["250 2.1.0", "250 2.1.5", "452 4.3.1"]);
    (talk.memory, talk.works) = (true, false);
    let to = ["x@ops.example", "db@db.example"];
    assert_eq!(talk.say(&(begun(&to) + "x\r\n.\r\n"))[4..], ["451 4.3.0", "451 4.3.0"]);
    talk.works = true;
    assert_eq!(talk.say(&(begun(&to) + "x\r\n.\r\n"))[4..], ["250 2.0.0", "250 2.0.0"]);
}

#[test]
fn lines_end_with_crlf_and_are_not_long() {
    let mut talk = Talk::greeted();
    assert_eq!(talk.say("NOOP\nNOOP\r\n"), ["500 5.5.2", "250 2.0.0"]);
    assert_eq!(talk.say("NOOP\rNOOP\r\n"), ["500 5.5.2"]);
    assert_eq!(talk.say(&format!("NOOP {}\r\n", "x".repeat(2041))), ["250 2.0.0"], "2048 bytes");
    assert_eq!(talk.say(&format!("NOOP {}\r\n", "x".repeat(2042))), ["500 5.5.2"]);
    assert_eq!(talk.say(&format!("NOOP {}\r\nNOOP\r\n", "x".repeat(100_000))), ["500 5.5.2", "250 2.0.0"]);
}

#[test]
fn what_talks_nonsense_is_cut_off() {
    let mut talk = Talk::greeted();
    let replies = talk.say(&"GET / HTTP/1.1\r\n".repeat(30));
    assert_eq!(replies.len(), 21);
    assert_eq!(replies[20], "421 4.7.0");
    assert!(talk.session.is_closed());
}

#[test]
fn a_mail_that_holds_a_mail_is_one_mail() {
    for end in ["\n.\n", "\n.\r\n", "\r.\r", "\r.\r\n", "\r\n.\n", "\r\n.\r", "\r\n.\r\r\n", "\r\n.\0\r\n"] {
        let mut talk = Talk::greeted();
        let mail = format!("one{end}MAIL FROM:<evil@b>\r\nRCPT TO:<db@db.example>\r\nDATA\r\ntwo\r\n.\r\n");
        talk.say(&begun(&["db@db.example"]));
        assert_eq!(talk.say(&mail), ["250 2.0.0"], "{end:?}");
        assert_eq!(talk.stored.len(), 1);
    }
}

/// What a hostile or a clumsy sender might write.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => proptest::sample::select(vec![
            "LHLO a\r\n", "MAIL FROM:<a@b>\r\n", "MAIL FROM:<a@b> SIZE=500\r\n", "RCPT TO:<x@ops.example>\r\n",
            "RCPT TO:<db@db.example>\r\n", "RCPT TO:<no@one>\r\n", "DATA\r\n", "\r\n.\r\n", ".\r\n", "..", ".", "\r", "\n",
            "text\r\n", "RSET\r\n", "NOOP\r\n", "QUIT\r\n", "EHLO a\r\n", "\r\n.\n", "\n.\r\n", "\"", "<", ">", "@", "=",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        2 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => (any::<u8>(), 0..3000usize).prop_map(|(byte, count)| vec![byte; count]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever the pieces: the same replies, and the same mails.
    #[test]
    fn pieces_make_no_difference(
        fragments in proptest::collection::vec(fragment(), 0..40),
        cuts in proptest::collection::vec(1..200usize, 1..40),
        (room, memory, works) in any::<(bool, bool, bool)>(),
    ) {
        let input = [b"LHLO a\r\n".to_vec(), fragments.concat()].concat();
        let talk = || Talk { room, memory, works, ..Talk::new() };
        let (mut whole, mut pieces) = (talk(), talk());
        whole.feed(&input);
        let (mut rest, mut cut) = (&input[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, more) = rest.split_at((*cut.next().unwrap()).min(rest.len()));
            pieces.feed(piece);
            rest = more;
        }
        prop_assert_eq!(whole.replies(), pieces.replies());
        prop_assert_eq!(&whole.stored, &pieces.stored);
        prop_assert_eq!(whole.session.is_closed(), pieces.session.is_closed());
        // What was stored is no larger than allowed.
        for letter in &whole.stored {
            let most = if letter.mailboxes.contains(&0) { SMALL } else { LARGE };
            prop_assert!(letter.raw.len() as u64 <= most + "Return-Path: <>\r\n".len() as u64 + 2048);
        }
    }

    /// A mail comes out as it went in, whatever is in it.
    #[test]
    fn a_mail_is_stored_as_it_was_sent(lines in proptest::collection::vec("[.a\\n\\r]{0,5}", 0..12)) {
        // No line may hold the CRLF by which lines are told apart.
        let lines: Vec<_> = lines.iter().map(|l| l.replace('\r', "")).collect();
        let mail: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let stuffed: String = lines
            .iter()
            .map(|line| if line.starts_with('.') { format!(".{line}\r\n") } else { format!("{line}\r\n") })
            .collect();
        let mut talk = Talk::greeted();
        talk.say(&begun(&["db@db.example"]));
        prop_assert_eq!(talk.say(&format!("{stuffed}.\r\n")), ["250 2.0.0"]);
        prop_assert_eq!(&talk.stored[0].raw, &format!("Return-Path: <a@b>\r\n{mail}").into_bytes());
    }
}
