//! The state of one connection.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::book::Book;
use super::command::{self, Command};
use super::data::Data;
use crate::model::{MessageId, Size};

/// Longest command line with its CRLF. RFC 5321 §4.5.3.1.4 wants 512, and extensions add to it.
const LINE: usize = 2048;
/// So many refused commands end the connection: what talks is no mail server, or it talks past us.
const ERRORS: u32 = 20;

/// What has to be found out before it goes on. Until the [`Answer`] nothing more is taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Ask {
    /// May one more mail for the mailbox at this place of the book be stored, or do too many wait?
    Room(usize),
    /// Memory for a mail of so many bytes, until it is stored or dropped.
    Memory(u64),
    /// D1.
    Store(Letter),
}

/// The answer to an [`Ask`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Room, memory: yes.
    Yes,
    /// Not now, or it failed: the other side keeps the mail and comes again.
    No,
    /// Stored, under these numbers: one for each mailbox of the letter.
    Stored(Vec<MessageId>),
}

/// A mail that is complete.
#[derive(Debug, PartialEq, Eq)]
pub struct Letter {
    /// Places in the book, each once.
    pub mailboxes: Vec<usize>,
    /// The mail as it is to be stored: with a Return-Path (RFC 5321 §4.4) before it.
    pub raw: Vec<u8>,
}

/// A mail that was refused for its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooLarge {
    /// For which mailbox; `None`: it would be for any, and no recipient was named.
    pub mailbox: Option<usize>,
    /// Its size in bytes, or what the sender said it is.
    pub size: u64,
}

#[derive(Debug)]
enum Phase {
    /// Before LHLO.
    Start,
    /// Between mails.
    Ready,
    /// After MAIL.
    Mail(Envelope),
    /// After the 354.
    Data(Envelope, Data),
    /// An answer is waited for.
    Asking(Envelope, Asked),
    Closed,
}

#[derive(Debug)]
enum Asked {
    Room(usize),
    Memory,
    Store(u64),
}

#[derive(Debug, Default)]
struct Envelope {
    from: String,
    size: u64,
    /// The mailbox of each accepted recipient, in order.
    to: Vec<usize>,
}

/// One connection's conversation.
#[derive(Debug)]
pub struct Session {
    book: Arc<Book>,
    max_recipients: usize,
    phase: Phase,
    /// The command line so far; cut where it is too long.
    line: Vec<u8>,
    long: bool,
    replies: Vec<u8>,
    errors: u32,
    full: bool,
    steps: u64,
    too_large: BTreeMap<Option<usize>, u64>,
}

impl Session {
    /// Begins with the greeting among the replies.
    pub fn new(book: Arc<Book>, max_recipients: usize) -> Self {
        let mut session = Self {
            book,
            max_recipients,
            phase: Phase::Start,
            line: Vec::new(),
            long: false,
            replies: Vec::new(),
            errors: 0,
            full: false,
            steps: 0,
            too_large: BTreeMap::new(),
        };
        session.reply("220 mailbell LMTP");
        session
    }

    /// Takes bytes as they come, in any pieces. Returns how many were taken: all, unless it has to ask something, or is
    /// closed.
    pub fn feed(&mut self, input: &[u8]) -> (usize, Option<Ask>) {
        let mut rest = input;
        let ask = loop {
            if rest.is_empty() || matches!(self.phase, Phase::Asking(..) | Phase::Closed) {
                break None;
            }
            let (taken, ask) = if let Phase::Data(..) = self.phase { self.data(rest) } else { self.command(rest) };
            rest = rest.get(taken..).unwrap_or_default();
            if ask.is_some() {
                break ask;
            }
        };
        (input.len() - rest.len(), ask)
    }

    /// Answers what was asked; without a question it says nothing.
    pub fn answer(&mut self, answer: Answer) {
        let phase = std::mem::replace(&mut self.phase, Phase::Ready);
        let Phase::Asking(mut envelope, asked) = phase else {
            self.phase = phase;
            return;
        };
        let yes = answer == Answer::Yes;
        self.phase = match asked {
            Asked::Room(place) => {
                self.reply(if yes {
                    "250 2.1.5 ok"
                } else {
                    "452 4.3.1 too many mails wait for this mailbox; come again"
                });
                envelope.to.extend(yes.then_some(place));
                Phase::Mail(envelope)
            }
            Asked::Memory if yes => {
                self.reply("354 go on, and end with CRLF.CRLF");
                let data = self.begin(&envelope);
                Phase::Data(envelope, data)
            }
            Asked::Memory => {
                self.reply("452 4.3.1 too many mails at a time; come again");
                Phase::Ready
            }
            Asked::Store(size) => {
                let ids = if let Answer::Stored(ids) = answer { ids } else { Vec::new() };
                self.stored(&envelope, size, &ids);
                Phase::Ready
            }
        };
    }

    /// Replies to be written, in order.
    pub fn take_replies(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.replies)
    }

    /// Mails that were refused for their size since the last call: the largest for each mailbox.
    pub fn take_too_large(&mut self) -> Vec<TooLarge> {
        let taken = std::mem::take(&mut self.too_large);
        taken.into_iter().map(|(mailbox, size)| TooLarge { mailbox, size }).collect()
    }

    /// Below the disk reserve: no mail is begun.
    pub fn set_full(&mut self, full: bool) {
        self.full = full;
    }

    /// Is it in the middle of a mail?
    pub fn in_mail(&self) -> bool {
        matches!(self.phase, Phase::Data(..) | Phase::Asking(_, Asked::Store(_)))
    }

    /// Nothing more is taken; what is left to do is to write the replies.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Commands and mails that were complete so far: what has no step in a while makes no headway.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Ends it with a last reply: `421 …`.
    pub fn close(&mut self, reply: &str) {
        if !self.is_closed() {
            self.reply(reply);
            self.phase = Phase::Closed;
        }
    }

    fn reply(&mut self, line: &str) {
        self.replies.extend_from_slice(line.as_bytes());
        self.replies.extend_from_slice(b"\r\n");
    }

    /// Takes bytes up to the end of a command line.
    fn command(&mut self, input: &[u8]) -> (usize, Option<Ask>) {
        let end = input.iter().position(|b| *b == b'\n');
        let piece = input.get(..end.unwrap_or(input.len())).unwrap_or_default();
        // A line that ends inside LINE has its CR there too.
        let fits = LINE.saturating_sub(1 + self.line.len());
        self.long |= piece.len() > fits;
        self.line.extend_from_slice(piece.get(..fits.min(piece.len())).unwrap_or_default());
        let Some(end) = end else { return (input.len(), None) };
        self.steps += 1;
        let line = std::mem::take(&mut self.line);
        let result = match line.split_last() {
            _ if std::mem::take(&mut self.long) => Err("500 5.5.2 the line is too long"),
            Some((b'\r', line)) => command::parse(line),
            _ => Err("500 5.5.2 end each line with CRLF"),
        };
        (end + 1, self.execute(result))
    }

    fn execute(&mut self, command: Result<Command, &'static str>) -> Option<Ask> {
        let phase = std::mem::replace(&mut self.phase, Phase::Ready);
        match (command, phase) {
            (Err(refusal), phase) => self.refuse(refusal, phase),
            (Ok(Command::Lhlo), _) => self.lhlo(),
            (Ok(Command::Quit), _) => self.close("221 2.0.0 goodbye"),
            (Ok(Command::Noop), phase) => self.say("250 2.0.0 ok", phase),
            (Ok(Command::Help), phase) => {
                self.say("214 2.0.0 RFC 2033: LHLO MAIL RCPT DATA RSET NOOP VRFY QUIT", phase)
            }
            (Ok(Command::Vrfy), phase) => self.say("252 2.1.5 hand a mail in and see", phase),
            (Ok(Command::Rset), Phase::Start) => self.say("250 2.0.0 ok", Phase::Start),
            (Ok(Command::Rset), _) => self.say("250 2.0.0 ok", Phase::Ready),
            (Ok(_), Phase::Start) => self.refuse("503 5.5.1 say LHLO first", Phase::Start),
            (Ok(Command::Mail { from, size }), Phase::Ready) => self.mail(from, size.unwrap_or(0)),
            (Ok(Command::Mail { .. }), phase) => self.refuse("503 5.5.1 a mail is begun already; say RSET", phase),
            (Ok(Command::Rcpt(to)), Phase::Mail(envelope)) => return self.rcpt(&to, envelope),
            (Ok(Command::Data), Phase::Mail(envelope)) => return self.begin_data(envelope),
            (Ok(Command::Rcpt(_) | Command::Data), phase) => self.refuse("503 5.5.1 say MAIL first", phase),
        }
        None
    }

    fn say(&mut self, reply: &str, phase: Phase) {
        self.reply(reply);
        self.phase = phase;
    }

    fn refuse(&mut self, refusal: &str, phase: Phase) {
        self.say(refusal, phase);
        self.errors += 1;
        if self.errors >= ERRORS {
            self.close("421 4.7.0 too many bad commands");
        }
    }

    fn lhlo(&mut self) {
        let size = self.book.max_size();
        for line in ["250-mailbell", "250-PIPELINING", "250-8BITMIME", "250-SMTPUTF8", "250-ENHANCEDSTATUSCODES"] {
            self.reply(line);
        }
        self.say(&format!("250 SIZE {size}"), Phase::Ready);
    }

    fn mail(&mut self, from: String, size: u64) {
        if size > self.book.max_size() {
            self.say(&too_large(self.book.max_size()), Phase::Ready);
            self.note_too_large(None, size);
        } else if self.full {
            self.say("452 4.3.1 the disk is nearly full; come again", Phase::Ready);
        } else {
            self.say("250 2.1.0 ok", Phase::Mail(Envelope { from, size, to: Vec::new() }));
        }
    }

    fn rcpt(&mut self, to: &str, envelope: Envelope) -> Option<Ask> {
        let found = self.book.find(to).and_then(|place| Some((place, self.book.get(place)?.max_size)));
        let Some((place, max_size)) = found else {
            self.say("550 5.1.1 no mailbox here has this address", Phase::Mail(envelope));
            return None;
        };
        if envelope.to.len() >= self.max_recipients {
            self.say("452 4.5.3 too many recipients; send the mail again to the others", Phase::Mail(envelope));
            return None;
        }
        if envelope.size > max_size {
            self.note_too_large(Some(place), envelope.size);
            self.say(&too_large(max_size), Phase::Mail(envelope));
            return None;
        }
        self.phase = Phase::Asking(envelope, Asked::Room(place));
        Some(Ask::Room(place))
    }

    fn begin_data(&mut self, envelope: Envelope) -> Option<Ask> {
        if envelope.to.is_empty() {
            self.refuse("503 5.5.1 no recipient was accepted", Phase::Mail(envelope));
            return None;
        }
        // SIZE is an estimate (RFC 1870 §6.1): what may come is what is allowed.
        let limit = self.limit(&envelope);
        self.phase = Phase::Asking(envelope, Asked::Memory);
        Some(Ask::Memory(limit))
    }

    fn begin(&self, envelope: &Envelope) -> Data {
        Data::new(format!("Return-Path: <{}>\r\n", envelope.from).into_bytes(), self.limit(envelope))
    }

    /// The largest that any of the recipients takes.
    fn limit(&self, envelope: &Envelope) -> u64 {
        envelope.to.iter().map(|place| self.max_size(*place)).max().unwrap_or(0)
    }

    fn max_size(&self, place: usize) -> u64 {
        self.book.get(place).map_or(0, |mailbox| mailbox.max_size)
    }

    fn note_too_large(&mut self, mailbox: Option<usize>, size: u64) {
        let largest = self.too_large.entry(mailbox).or_default();
        *largest = size.max(*largest);
    }

    /// Takes bytes of a mail up to its end.
    fn data(&mut self, input: &[u8]) -> (usize, Option<Ask>) {
        let Phase::Data(_, data) = &mut self.phase else { return (0, None) };
        let (taken, ended) = data.feed(input);
        if !ended {
            return (taken, None);
        }
        self.steps += 1;
        let phase = std::mem::replace(&mut self.phase, Phase::Ready);
        let Phase::Data(envelope, data) = phase else { return (taken, None) };
        (taken, self.end(envelope, data))
    }

    fn end(&mut self, envelope: Envelope, data: Data) -> Option<Ask> {
        let size = data.size();
        let mut mailboxes: Vec<usize> = Vec::new();
        for place in &envelope.to {
            if size > self.max_size(*place) {
                self.note_too_large(Some(*place), size);
            } else if !mailboxes.contains(place) {
                mailboxes.push(*place);
            }
        }
        if mailboxes.is_empty() {
            self.stored(&envelope, size, &[]);
            return None;
        }
        self.phase = Phase::Asking(envelope, Asked::Store(size));
        Some(Ask::Store(Letter { mailboxes, raw: data.into_kept() }))
    }

    /// One reply for each recipient that was accepted (RFC 2033 §4.2).
    fn stored(&mut self, envelope: &Envelope, size: u64, ids: &[MessageId]) {
        let mut known: Vec<(usize, Option<MessageId>)> = Vec::new();
        let mut ids = ids.iter().copied();
        for place in &envelope.to {
            let max_size = self.max_size(*place);
            if size > max_size {
                self.reply(&too_large(max_size));
                continue;
            }
            let found = known.iter().find(|(known, _)| known == place).map(|(_, id)| *id);
            let id = found.unwrap_or_else(|| {
                let id = ids.next();
                known.push((*place, id));
                id
            });
            match id {
                Some(id) => self.reply(&format!("250 2.0.0 stored as message {id}")),
                None => self.reply("451 4.3.0 it could not be stored; come again"),
            }
        }
    }
}

fn too_large(max_size: u64) -> String {
    format!("552 5.3.4 it is too large: at most {}", Size(max_size))
}
