//! The transport under async-imap: it lets through only what its parser can bear.
//!
//! The parser allocates whatever size a literal announces, holds a response until it is whole, and recurses into
//! parentheses. So the guard follows the framing of responses (RFC 3501 §2.2, §7) byte by byte: literals belong to FETCH
//! responses only, and lines, literals and nesting are bounded. It also limits how long the next byte may take.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Read from the network at once, bytes.
const CHUNK: usize = 32 * 1024;
/// Longest response outside its literals, bytes.
const LINE: usize = 256 * 1024;
/// Deepest parentheses; a FETCH of ours needs two.
const DEPTH: u32 = 32;
/// Enough of a line's start to tell what it is: `* 4294967295 FETCH (`.
const HEAD: usize = 20;

/// A stream whose input is watched.
pub(super) struct Guard<S> {
    inner: S,
    chunk: Vec<u8>,
    taken: usize,
    frame: Frame,
    patience: Option<Duration>,
    alarm: Pin<Box<Sleep>>,
    armed: bool,
}

impl<S> Guard<S> {
    /// `max_literal`: most literal bytes in one response.
    pub(super) fn new(inner: S, patience: Duration, max_literal: u64) -> Self {
        let frame = Frame::new(max_literal);
        let alarm = Box::pin(tokio::time::sleep(patience));
        Self { inner, chunk: Vec::new(), taken: 0, frame, patience: Some(patience), alarm, armed: false }
    }

    /// How long the next byte may take from now on; `None`: for ever (IDLE).
    pub(super) fn set_patience(&mut self, patience: Option<Duration>) {
        self.patience = patience;
        self.armed = false;
    }

    fn overdue(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(patience) = self.patience else { return false };
        if !self.armed {
            self.armed = true;
            self.alarm.as_mut().reset(Instant::now() + patience);
        }
        self.alarm.as_mut().poll(cx).is_ready()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.taken == this.chunk.len() {
            this.chunk.resize(CHUNK, 0);
            let mut buf = ReadBuf::new(&mut this.chunk);
            let read = Pin::new(&mut this.inner).poll_read(cx, &mut buf);
            let filled = buf.filled().len();
            this.taken = 0;
            this.chunk.truncate(filled);
            match read {
                Poll::Ready(done) => done?,
                Poll::Pending if this.overdue(cx) => return Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Poll::Pending => return Poll::Pending,
            }
            this.armed = false;
            this.frame.check(&mut this.chunk).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
        }
        let rest = this.chunk.get(this.taken..).unwrap_or_default();
        let some = rest.get(..out.remaining()).unwrap_or(rest);
        out.put_slice(some);
        this.taken += some.len();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

/// async-imap wants it; nothing of the content is shown.
impl<S> fmt::Debug for Guard<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

/// What a response is, as far as its framing goes.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    /// Not known yet.
    Head,
    /// Status, continuation, or tagged: text to the end of the line.
    Text,
    /// Data that may hold literals.
    Fetch,
    /// Other data.
    Data,
}

/// `{n}` at the end of a line announces a literal.
#[derive(Clone, Copy, PartialEq)]
enum Brace {
    No,
    Open(u64),
    Closed(u64),
}

/// Where in a response the stream stands.
struct Frame {
    max_literal: u64,
    shape: Shape,
    head: Vec<u8>,
    line: usize,
    literals: u64,
    depth: u32,
    quoted: bool,
    escaped: bool,
    brace: Brace,
    cr: bool,
    /// Bytes of a literal still to come.
    left: u64,
}

impl Frame {
    fn new(max_literal: u64) -> Self {
        Self {
            max_literal,
            shape: Shape::Head,
            head: Vec::with_capacity(HEAD),
            line: 0,
            literals: 0,
            depth: 0,
            quoted: false,
            escaped: false,
            brace: Brace::No,
            cr: false,
            left: 0,
        }
    }

    /// Follows these bytes; replaces those that no response has outside a literal (8-bit, NUL), which the parser would
    /// refuse together with all that follows.
    fn check(&mut self, bytes: &mut [u8]) -> Result<(), &'static str> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.left > 0 {
                let skip = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest.len());
                self.left -= skip as u64;
                rest = rest.get_mut(skip..).unwrap_or_default();
                continue;
            }
            let Some((byte, tail)) = rest.split_first_mut() else { break };
            if *byte == 0 || *byte >= 0x80 {
                *byte = b'?';
            }
            self.step(*byte)?;
            rest = tail;
        }
        Ok(())
    }

    fn step(&mut self, byte: u8) -> Result<(), &'static str> {
        self.line += 1;
        if self.line > LINE {
            return Err("a response line is too long");
        }
        if byte == b'\n' {
            return self.end_of_line();
        }
        if byte == b'\r' {
            self.cr = true;
            return Ok(());
        }
        self.cr = false;
        if self.shape == Shape::Head {
            self.head.push(byte);
            self.shape = shape(&self.head);
        }
        let brace = std::mem::replace(&mut self.brace, Brace::No);
        if self.quoted {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.quoted = false,
                _ => {}
            }
            return Ok(());
        }
        let data = matches!(self.shape, Shape::Fetch | Shape::Data);
        match (byte, brace) {
            (b'"', _) if data => self.quoted = true,
            (b'(', _) if data && self.depth == DEPTH => return Err("a response is nested too deep"),
            (b'(', _) if data => self.depth += 1,
            (b')', _) if data => self.depth = self.depth.saturating_sub(1),
            (b'{', _) => self.brace = Brace::Open(0),
            (b'0'..=b'9', Brace::Open(n)) => {
                self.brace = Brace::Open(n.saturating_mul(10).saturating_add(u64::from(byte - b'0')));
            }
            (b'}', Brace::Open(n)) => self.brace = Brace::Closed(n),
            _ => {}
        }
        Ok(())
    }

    fn end_of_line(&mut self) -> Result<(), &'static str> {
        if !std::mem::take(&mut self.cr) {
            return Err("a line does not end with CR LF");
        }
        if let Brace::Closed(size) = std::mem::replace(&mut self.brace, Brace::No) {
            // Text that ends so does not occur; the parser would see a literal in some of it ([BADCHARSET).
            if self.shape != Shape::Fetch {
                return Err("a literal where none belongs");
            }
            self.literals = self.literals.saturating_add(size);
            if self.literals > self.max_literal {
                return Err("a literal is larger than what was asked for");
            }
            self.left = size;
            return Ok(());
        }
        self.shape = Shape::Head;
        self.head.clear();
        (self.line, self.literals, self.depth, self.quoted, self.escaped) = (0, 0, 0, false, false);
        Ok(())
    }
}

/// Tells the shape from a line's start, as soon as that is possible.
fn shape(head: &[u8]) -> Shape {
    let Some(rest) = head.strip_prefix(b"* ") else {
        return if b"* ".starts_with(head) { Shape::Head } else { Shape::Text };
    };
    let upper = rest.to_ascii_uppercase();
    if [&b"OK"[..], b"NO", b"BAD", b"PREAUTH", b"BYE"].iter().any(|word| upper.starts_with(word)) {
        // NOMODSEQ and its like begin so too, but hold no literal either.
        return Shape::Text;
    }
    let digits = upper.iter().take_while(|b| b.is_ascii_digit()).count();
    let word = upper.get(digits..).unwrap_or_default();
    if digits > 0 && word.starts_with(b" FETCH ") {
        return Shape::Fetch;
    }
    if head.len() >= HEAD { Shape::Data } else { undecided(digits, word) }
}

/// Data for certain, once neither a status nor a FETCH can come of it.
fn undecided(digits: usize, word: &[u8]) -> Shape {
    let could_be = |whole: &[u8]| whole.starts_with(word);
    let status = digits == 0 && [&b"OK"[..], b"NO", b"BAD", b"PREAUTH", b"BYE"].iter().any(|whole| could_be(whole));
    let fetch = digits > 0 && could_be(b" FETCH ");
    if status || fetch { Shape::Head } else { Shape::Data }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn check(bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
        let mut frame = Frame::new(1000);
        let mut copy = bytes.to_vec();
        frame.check(&mut copy)?;
        Ok(copy)
    }

    #[test]
    fn ordinary_responses_pass_unchanged() {
        for line in [
            &b"* OK [CAPABILITY IMAP4rev1] ready {5} \r\n* BYE\r\n"[..],
            b"+ idling\r\nA1 OK done ((((((((((((((((((((((((((((((((((((((((\r\n",
            b"* 1 FETCH (UID 5 BODY[]<0> {5}\r\n((\"\xff\0 INTERNALDATE \"1 {9}\")\r\n* 2 EXISTS\r\n",
            b"* LIST (\\Noselect) \"/\" \"a {5}\"\r\n* SEARCH 1 2 3\r\n* CAPABILITY IMAP4rev1\r\n",
        ] {
            assert_eq!(check(line).as_deref(), Ok(line), "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn what_would_hurt_the_parser_is_refused() {
        for (line, why) in [
            (&b"* 1 FETCH (BODY[] {536000000}\r\n"[..], "larger"),
            (b"* 1 FETCH (BODY[] {600}\r\n", ""),
            (b"* 1 FETCH (BODY[] {99999999999999999999999}\r\n", "larger"),
            (b"* LIST () \"/\" {5}\r\n", "none belongs"),
            (b"* OK [BADCHARSET ({536000000}\r\n", "none belongs"),
            (b"A1 NO {5}\r\n", "none belongs"),
            (b"* 1 FETCH (UID 1\n", "CR LF"),
        ] {
            match check(line) {
                Ok(_) => assert_eq!(why, ""),
                Err(err) => assert!(!why.is_empty() && err.contains(why), "{err}"),
            }
        }
        let deep = [b"* 1 FETCH (BODYSTRUCTURE ".to_vec(), vec![b'('; 100]].concat();
        assert!(check(&deep).unwrap_err().contains("deep"));
        assert!(check(&vec![b'x'; LINE + 1]).unwrap_err().contains("too long"));
        let mut two = b"* 1 FETCH (BODY[] {600}\r\n".to_vec();
        two.extend([b'x'; 600]);
        two.extend(b" BODY[] {600}\r\n");
        assert!(check(&two).unwrap_err().contains("larger"), "literals of one response are summed up");
    }

    #[test]
    fn eight_bit_text_outside_literals_is_replaced() {
        assert_eq!(check(b"* OK [ALERT]\xc3\xa9\0\r\n").unwrap(), b"* OK [ALERT]???\r\n");
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_makes_no_difference(
            bytes in proptest::collection::vec(
                proptest::sample::select(b"* 1 FETCH(\"\\){25}\r\nOKx\0\xff".to_vec()), 0..120),
            cut in 1usize..40,
        ) {
            let whole = check(&bytes);
            let mut frame = Frame::new(1000);
            let mut copy = bytes.clone();
            let parts: Result<(), _> = copy.chunks_mut(cut).try_for_each(|part| frame.check(part));
            prop_assert_eq!(whole.map(|_| ()), parts);
        }
    }

    #[tokio::test]
    async fn a_stall_is_a_time_out_unless_patience_is_endless() {
        let (mut server, client) = tokio::io::duplex(100);
        let mut guard = Guard::new(client, Duration::from_millis(60), 1000);
        server.write_all(b"* OK hi\r\n").await.unwrap();
        let mut buf = [0; 50];
        assert_eq!(guard.read(&mut buf).await.unwrap(), 9);
        let start = Instant::now();
        let err = guard.read(&mut buf).await.unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() >= Duration::from_millis(60));
        guard.set_patience(None);
        assert!(tokio::time::timeout(Duration::from_millis(200), guard.read(&mut buf)).await.is_err());
        guard.set_patience(Some(Duration::from_secs(60)));
        assert!(tokio::time::timeout(Duration::from_millis(100), guard.read(&mut buf)).await.is_err(), "counted anew");
    }
}
