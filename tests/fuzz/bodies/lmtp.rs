//! What mail servers say at the LMTP door, and what is said there by who only pretends to be one.

use std::collections::BTreeMap;
use std::sync::Arc;

use mailbell::lmtp::protocol::{Address, Answer, Ask, Book, Mailbox, Session};
use mailbell::model::MessageId;

/// Most bytes of each mailbox's mails.
const SIZES: [u64; 3] = [100, 1000, 100_000];
const MOST_RECIPIENTS: usize = 3;
/// Longest command line, with its CRLF.
const LONGEST_LINE: usize = 2048;
/// What a mail begins with before what was sent of it.
const HEAD: &[u8] = b"Return-Path: <";
/// Bytes at the end that are said again and again where that is chosen, and how often.
const TAIL: usize = 1024;
const AGAIN: usize = 10_000;

/// The first four bytes choose: which questions are answered with yes, in turn; whether the disk is full and LHLO is said; how
/// the bytes are cut; whether their end is said for ever. The rest is said.
pub fn run(data: &[u8]) {
    let Some((&[answers, options, cut, again], said)) = data.split_first_chunk::<4>() else { return };
    address(said);
    let begin = if options & 2 == 0 { &b"LHLO mx.example.org\r\n"[..] } else { b"" };
    let said = [begin, said].concat();
    let mut talk = Talk::new(answers, options & 1 == 1);
    talk.step_by_step(&said);
    let exact = talk.ended();
    let pieces = [vec![said.len()], vec![1], vec![usize::from(cut) % 7 + 1, usize::from(cut) / 7 + 1]];
    for lengths in pieces {
        let mut talk = Talk::new(answers, options & 1 == 1);
        talk.in_pieces(&said, &lengths);
        assert_eq!(talk.ended(), exact, "said in pieces of {lengths:?} it ends otherwise");
    }
    if again % 16 == 15 {
        talk.for_ever(&said[said.len().saturating_sub(TAIL)..]);
    }
}

/// An address of the config: shown and read again it is the same, and mails for it find its mailbox.
fn address(said: &[u8]) {
    let line = said.split(|b| *b == b'\n').next().unwrap_or_default();
    let Ok(text) = std::str::from_utf8(line) else { return };
    let Ok(address) = text.parse::<Address>() else { return };
    assert_eq!(address.to_string().parse(), Ok(address.clone()), "{text:?} is another address when it is read again");
    let to = text.strip_prefix('*').map_or_else(|| text.to_owned(), |rest| format!("somebody{rest}"));
    let book = Book::new(vec![Mailbox { name: "ops".parse().expect("a name"), addresses: vec![address], max_size: 1 }]);
    assert_eq!(book.find(&to), Some(0), "{to:?} does not find {text:?}");
}

fn book() -> Arc<Book> {
    let mailbox = |name: &str, address: &str, max_size| Mailbox {
        name: name.parse().expect("a name"),
        addresses: vec![address.parse().expect("an address")],
        max_size,
    };
    Arc::new(Book::new(vec![
        mailbox("ops", "*@ops.example", SIZES[0]),
        mailbox("db", "db@db.example", SIZES[1]),
        mailbox("big", "big@db.example", SIZES[2]),
    ]))
}

/// A session, the store behind it, and what is known of both.
struct Talk {
    session: Session,
    /// The nth question gets yes where the nth bit is set, round and round.
    answers: u8,
    asks: Vec<Ask>,
    /// All replies so far, and those that nobody looked at yet.
    told: Vec<u8>,
    new: Vec<Reply>,
    /// Mailboxes of the recipients that were accepted for the mail that is under way.
    accepted: Vec<usize>,
    /// Messages that are stored.
    stored: i64,
    too_large: BTreeMap<Option<usize>, u64>,
}

/// What all ways of saying the same must come to.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    told: String,
    asks: Vec<Ask>,
    too_large: BTreeMap<Option<usize>, u64>,
    steps: u64,
    in_mail: bool,
    closed: bool,
}

/// A whole reply.
#[derive(Debug)]
struct Reply {
    code: String,
    /// Of its last line.
    text: String,
}

impl Talk {
    fn new(answers: u8, full: bool) -> Self {
        let mut session = Session::new(book(), MOST_RECIPIENTS);
        session.set_full(full);
        let mut talk = Self {
            session,
            answers,
            asks: Vec::new(),
            told: Vec::new(),
            new: Vec::new(),
            accepted: Vec::new(),
            stored: 0,
            too_large: BTreeMap::new(),
        };
        talk.listen();
        assert_eq!(talk.new.pop().map(|reply| reply.code).as_deref(), Some("220"));
        talk
    }

    /// Says it command by command and mail by mail, and knows of each what must be replied and stored.
    fn step_by_step(&mut self, said: &[u8]) {
        let mut rest = said;
        while !rest.is_empty() && !self.session.is_closed() {
            let step = if self.session.in_mail() { self.mail(rest) } else { self.command(rest) };
            rest = &rest[step..];
        }
        if self.session.is_closed() {
            assert_eq!(self.session.feed(b"NOOP\r\n"), (0, None), "it is closed and still listens");
        }
        self.session.answer(Answer::Yes);
        assert_eq!(self.session.take_replies(), b"", "nothing was asked");
    }

    /// One reply to each command line, and one more where that was one bad command too many.
    fn command(&mut self, rest: &[u8]) -> usize {
        let end = rest.iter().position(|b| *b == b'\n');
        let line = &rest[..end.map_or(rest.len(), |end| end + 1)];
        self.say(line);
        let replies = std::mem::take(&mut self.new);
        let codes: Vec<&str> = replies.iter().map(|reply| reply.code.as_str()).collect();
        assert!(
            line.len() <= LONGEST_LINE || codes.iter().all(|code| *code != "250"),
            "a line of {} bytes",
            line.len()
        );
        match (end, self.session.is_closed(), &codes[..]) {
            (None, false, []) | (Some(_), false, [_]) | (Some(_), true, ["221"]) => {}
            (Some(_), true, [refusal, "421"]) if refusal.starts_with('5') => {}
            _ => panic!("{:?} is replied to with {replies:?}", line.escape_ascii().to_string()),
        }
        line.len()
    }

    /// One reply for each recipient at the end of a mail, and nothing before it.
    fn mail(&mut self, rest: &[u8]) -> usize {
        let before = self.asks.len();
        let recipients = self.accepted.clone();
        let Some((mail, end)) = sent(rest) else {
            self.say(rest);
            assert!(self.session.in_mail() && self.new.is_empty() && self.asks.len() == before, "it ended too early");
            return rest.len();
        };
        self.say(&rest[..end]);
        assert!(!self.session.in_mail(), "its end was not seen");
        let size = mail.len() as u64;
        let fits = |place: &usize| size <= SIZES[*place];
        let mut wanted: Vec<usize> = Vec::new();
        recipients.iter().filter(|place| fits(place)).for_each(|place| {
            if !wanted.contains(place) {
                wanted.push(*place);
            }
        });
        match &self.asks[before..] {
            [] => assert!(wanted.is_empty(), "a mail of {size} bytes for {recipients:?} is not stored"),
            [Ask::Store(letter)] => {
                assert_eq!(letter.mailboxes, wanted);
                let head = letter.raw.len().checked_sub(mail.len()).expect("it has become smaller");
                let (head, kept) = letter.raw.split_at(head);
                assert_eq!(kept.escape_ascii().to_string(), mail.escape_ascii().to_string(), "it is another mail");
                let from = head.strip_prefix(HEAD).and_then(|rest| rest.strip_suffix(b">\r\n")).expect("a head");
                assert!(!from.contains(&b'\n') && !from.contains(&b'\r'), "a head of several lines");
            }
            asks => panic!("one mail, and these questions: {asks:?}"),
        }
        let stored = !wanted.is_empty() && self.answered_yes(before);
        let first = self.stored - wanted.len() as i64 + 1;
        let replies = std::mem::take(&mut self.new);
        assert_eq!(replies.len(), recipients.len(), "{recipients:?}: {replies:?}");
        for (place, reply) in recipients.iter().zip(&replies) {
            let nth = wanted.iter().position(|wanted| wanted == place);
            let code = match nth {
                None => "552",
                Some(_) if stored => "250",
                Some(_) => "451",
            };
            assert_eq!(reply.code, code, "{recipients:?}: {replies:?}");
            if let Some(nth) = nth.filter(|_| stored) {
                let number = (first + nth as i64).to_string();
                assert!(reply.text.ends_with(&format!(" message {number}")), "not as message {number}: {reply:?}");
            }
            assert!(nth.is_some() || self.too_large.get(&Some(*place)) >= Some(&size), "no word of {size} bytes");
        }
        end
    }

    fn in_pieces(&mut self, said: &[u8], lengths: &[usize]) {
        let mut lengths = lengths.iter().cycle();
        let mut rest = said;
        while !rest.is_empty() && !self.session.is_closed() {
            let length = lengths.next().copied().unwrap_or(1).clamp(1, rest.len());
            self.say(&rest[..length]);
            rest = &rest[length..];
        }
    }

    /// Whatever is said for ever, nothing of it is kept: the meter of the fuzz program looks at that.
    fn for_ever(&mut self, tail: &[u8]) {
        for _ in 0..AGAIN {
            if self.session.is_closed() {
                return;
            }
            self.say(tail);
            self.asks.clear();
            self.told.clear();
            self.new.clear();
        }
    }

    /// Says some bytes, answers what is asked, and hears the replies.
    fn say(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.session.is_closed() {
            let (taken, ask) = self.session.feed(bytes);
            bytes = &bytes[taken..];
            self.listen();
            let Some(ask) = ask else {
                assert!(bytes.is_empty() || self.session.is_closed(), "it stops without a question");
                return;
            };
            assert_eq!(self.session.feed(b"x"), (0, None), "it waits for an answer and still listens");
            self.answer(ask);
            self.listen();
        }
    }

    fn answer(&mut self, ask: Ask) {
        let yes = self.answers >> (self.asks.len() % 8) & 1 == 1;
        let answer = match &ask {
            _ if !yes => Answer::No,
            Ask::Room(place) => {
                self.accepted.push(*place);
                assert!(self.accepted.len() <= MOST_RECIPIENTS, "{} recipients", self.accepted.len());
                Answer::Yes
            }
            Ask::Memory(bytes) => {
                let most = self.accepted.iter().map(|place| SIZES[*place]).max();
                assert_eq!(Some(*bytes), most, "memory for a mail to {:?}", self.accepted);
                Answer::Yes
            }
            Ask::Store(letter) => {
                let first = self.stored + 1;
                self.stored += letter.mailboxes.len() as i64;
                Answer::Stored((first..=self.stored).map(MessageId).collect())
            }
        };
        self.asks.push(ask);
        self.session.answer(answer);
    }

    fn answered_yes(&self, nth: usize) -> bool {
        self.answers >> (nth % 8) & 1 == 1
    }

    fn listen(&mut self) {
        let told = self.session.take_replies();
        let replies = replies(&told);
        if replies.iter().any(|reply| reply.code == "250" && reply.text.starts_with("2.1.0 ")) {
            self.accepted.clear();
        }
        self.new.extend(replies);
        self.told.extend(told);
        for refused in self.session.take_too_large() {
            let largest = self.too_large.entry(refused.mailbox).or_default();
            *largest = refused.size.max(*largest);
        }
    }

    fn ended(&mut self) -> Ended {
        Ended {
            told: String::from_utf8_lossy(&self.told).into_owned(),
            asks: std::mem::take(&mut self.asks),
            too_large: self.too_large.clone(),
            steps: self.session.steps(),
            in_mail: self.session.in_mail(),
            closed: self.session.is_closed(),
        }
    }
}

/// The mail that these bytes begin with, and the bytes up to its end, straight from RFC 5321 (§4.5.2): it ends with a dot between
/// two CRLF, and each of its lines has lost a dot that it began with. `None`: it does not end here.
fn sent(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    const END: &[u8] = b"\r\n.\r\n";
    // The CRLF of DATA is the first of these.
    let behind_data = [b"\r\n", bytes].concat();
    let end = behind_data.windows(END.len()).position(|window| window == END)?;
    let mut mail = Vec::new();
    let mut line = behind_data.get(2..end + 2)?;
    while !line.is_empty() {
        let next = line.windows(2).position(|window| window == b"\r\n").map_or(line.len(), |at| at + 2);
        mail.extend(line[..next].strip_prefix(b".").unwrap_or(&line[..next]));
        line = &line[next..];
    }
    Some((mail, end + END.len() - 2))
}

/// Replies as RFC 5321 (§4.2) has them: each line ends with CRLF, is short, plain, and begins with the code of its reply.
fn replies(told: &[u8]) -> Vec<Reply> {
    let text = std::str::from_utf8(told).expect("replies are ASCII");
    assert!(text.is_empty() || text.ends_with("\r\n"), "a reply is cut: {text:?}");
    let mut whole = Vec::new();
    let mut begun: Option<&str> = None;
    for line in text.split_terminator("\r\n") {
        assert!(line.len() <= 510 && line.bytes().all(|b| (b' '..=b'~').contains(&b)), "{line:?} is no reply");
        let (code, rest) = line.split_at_checked(3).expect("a code");
        assert!(code.bytes().all(|b| b.is_ascii_digit()) && "245".contains(&code[..1]) || code == "354", "{line:?}");
        assert!(begun.is_none_or(|begun| begun == code), "a reply of two codes: {text:?}");
        let last = rest.starts_with(' ');
        assert!(last || rest.starts_with('-'), "{line:?}");
        let text = rest[1..].to_owned();
        // RFC 2034: the enhanced code is of the same class.
        let class = text.bytes().next().filter(|_| text.as_bytes().get(1) == Some(&b'.'));
        assert!(class.is_none_or(|class| class == code.as_bytes()[0]), "{line:?}");
        begun = Some(code).filter(|_| !last);
        if last {
            whole.push(Reply { code: code.to_owned(), text });
        }
    }
    assert_eq!(begun, None, "a reply without its last line");
    whole
}
