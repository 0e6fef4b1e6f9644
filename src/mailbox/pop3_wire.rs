//! POP3 commands and their replies (RFC 1939): lines, and multi-line replies with their dots undone.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::failure::{classify, code, quote};
use super::port::{Failure, MailboxError};
use crate::net::Stream;

/// Read from the network at once, bytes.
const CHUNK: usize = 32 * 1024;
/// Longest status line, bytes. RFC 2449 §4 wants no more than 512.
const LINE: usize = 8 * 1024;

/// A status line.
#[derive(Debug)]
pub(super) struct Reply {
    /// `+OK`, or `+` where more is asked for.
    pub(super) ok: bool,
    /// `+`: the server asks for more.
    pub(super) more: bool,
    /// The response code's first word.
    pub(super) code: Option<String>,
    /// The server's words, raw: `quote` them.
    pub(super) text: String,
}

impl Reply {
    /// What follows from a refusal; `otherwise` where the server does not say.
    pub(super) fn failure(&self, otherwise: Failure) -> Failure {
        classify(self.code.as_deref(), &self.text).unwrap_or(otherwise)
    }
}

/// One connection.
pub(super) struct Wire {
    stream: Stream,
    chunk: Vec<u8>,
    taken: usize,
    patience: Duration,
    /// `HOST:PORT`, with which every error begins.
    pub(super) place: String,
}

impl Wire {
    pub(super) fn new(stream: Stream, place: String, patience: Duration) -> Self {
        Self { stream, chunk: Vec::with_capacity(CHUNK), taken: 0, patience, place }
    }

    /// Sends a line and reads its status.
    pub(super) async fn ask(&mut self, line: &str) -> Result<Reply, MailboxError> {
        self.send(line).await?;
        self.status().await
    }

    /// Sends a line; or several, with CR LF between them.
    pub(super) async fn send(&mut self, line: &str) -> Result<(), MailboxError> {
        let line = zeroize::Zeroizing::new(format!("{line}\r\n"));
        let sent = async {
            self.stream.write_all(line.as_bytes()).await?;
            self.stream.flush().await
        };
        match timeout(self.patience, sent).await {
            Ok(done) => done.map_err(|err| self.error(&err.to_string())),
            Err(_) => Err(self.silent()),
        }
    }

    /// Reads a status line.
    pub(super) async fn status(&mut self) -> Result<Reply, MailboxError> {
        let mut line = Vec::new();
        loop {
            let rest = self.rest().await?;
            let end = rest.iter().position(|&b| b == b'\n').map(|at| at + 1);
            let part = end.and_then(|end| rest.get(..end)).unwrap_or(rest);
            line.extend_from_slice(part);
            self.taken += part.len();
            if line.len() > LINE {
                return Err(self.error("a status line is too long"));
            }
            if end.is_some() {
                break;
            }
        }
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches(['\r', '\n']);
        let upper = line.get(..4).unwrap_or(line).to_ascii_uppercase();
        let (ok, more, text) = match upper.as_str() {
            "-ERR" => (false, false, line.get(4..)),
            other if other.starts_with("+OK") => (true, false, line.get(3..)),
            other if other.starts_with('+') => (true, true, line.get(1..)),
            _ => return Err(self.error("the server sent something that is not POP3")),
        };
        let text = text.unwrap_or_default().trim().to_owned();
        Ok(Reply { ok, more, code: code(&text), text })
    }

    /// Reads what follows the status of a multi-line reply, to its end; keeps the first `keep` bytes.
    pub(super) async fn body(&mut self, keep: u64) -> Result<Body, MailboxError> {
        let mut body = Body::new(keep);
        while !body.done {
            let rest = self.rest().await?;
            let used = body.feed(rest);
            self.taken += used;
        }
        Ok(body)
    }

    /// What was received and not taken yet; waits for more where there is nothing.
    async fn rest(&mut self) -> Result<&[u8], MailboxError> {
        if self.taken == self.chunk.len() {
            self.chunk.clear();
            self.taken = 0;
            match timeout(self.patience, self.stream.read_buf(&mut self.chunk)).await {
                Ok(Ok(0)) => return Err(self.error("the server closed the connection")),
                Ok(Ok(_)) => {}
                Ok(Err(err)) => return Err(self.error(&err.to_string())),
                Err(_) => return Err(self.silent()),
            }
        }
        Ok(self.chunk.get(self.taken..).unwrap_or_default())
    }

    pub(super) fn error(&self, what: &str) -> MailboxError {
        MailboxError::transient(format!("{}: {what}", self.place))
    }

    pub(super) fn refused(&self, what: &str, reply: &Reply, otherwise: Failure) -> MailboxError {
        let what = format!("{}: the server refused {what}: {}", self.place, quote(&reply.text));
        MailboxError::new(reply.failure(otherwise), what)
    }

    fn silent(&self) -> MailboxError {
        self.error(&format!("the server sent nothing for {} s", self.patience.as_secs_f32()))
    }
}

/// The lines of a multi-line reply (RFC 1939 §3): it ends with a line of one dot, and a dot at a line's start is doubled.
/// A line starts behind CR LF only: a bare LF and a dot in a mail do not end it.
pub(super) struct Body {
    /// What was kept, without the doubled dots.
    pub(super) bytes: Vec<u8>,
    /// How long it was, kept or not.
    pub(super) total: u64,
    keep: u64,
    at: At,
    done: bool,
}

#[derive(Clone, Copy)]
enum At {
    LineStart,
    Dot,
    DotCr,
    Within,
    Cr,
}

impl Body {
    fn new(keep: u64) -> Self {
        Self { bytes: Vec::new(), total: 0, keep, at: At::LineStart, done: false }
    }

    /// Takes of these bytes what belongs to it; gives how many.
    fn feed(&mut self, bytes: &[u8]) -> usize {
        let mut used = 0;
        while let Some(&byte) = bytes.get(used) {
            if self.done {
                break;
            }
            match (self.at, byte) {
                (At::LineStart, b'.') => self.at = At::Dot,
                (At::Dot, b'\r') => self.at = At::DotCr,
                (At::DotCr, b'\n') => self.done = true,
                (At::DotCr, _) => {
                    self.put(b"\r");
                    self.at = At::Cr;
                    continue;
                }
                (At::Cr, b'\n') => {
                    self.put(b"\n");
                    self.at = At::LineStart;
                }
                _ => {
                    let rest = bytes.get(used..).unwrap_or_default();
                    let run = rest.iter().position(|&b| b == b'\r').map_or(rest.len(), |at| at + 1);
                    self.put(rest.get(..run).unwrap_or_default());
                    self.at = if rest.get(run - 1) == Some(&b'\r') { At::Cr } else { At::Within };
                    used += run;
                    continue;
                }
            }
            used += 1;
        }
        used
    }

    fn put(&mut self, bytes: &[u8]) {
        let room = usize::try_from(self.keep.saturating_sub(self.bytes.len() as u64)).unwrap_or(usize::MAX);
        self.bytes.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        self.total = self.total.saturating_add(bytes.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(wire: &[u8], cut: usize) -> (Vec<u8>, bool, usize) {
        let mut body = Body::new(u64::MAX);
        let mut used = 0;
        for part in wire.chunks(cut) {
            used += body.feed(part);
        }
        assert_eq!(body.total, body.bytes.len() as u64);
        (body.bytes, body.done, used)
    }

    #[test]
    fn dots_and_ends() {
        for (wire, want, left) in [
            (&b".\r\n"[..], &b""[..], 0),
            (b"a\r\n.\r\n+OK", b"a\r\n", 3),
            (b"..\r\n...x\r\n.\r\n", b".\r\n..x\r\n", 0),
            (b"a\n.\r\nb\r\n.\r\n", b"a\n.\r\nb\r\n", 0),
            (b".\rx\r\n.\r\n", b"\rx\r\n", 0),
            (b".\r\r\n.\r\n", b"\r\r\n", 0),
            (b"\xff\0\r\r\n.\r\n", b"\xff\0\r\r\n", 0),
        ] {
            for cut in 1..=wire.len() {
                let (bytes, done, used) = read(wire, cut);
                assert_eq!((bytes.as_slice(), done, wire.len() - used), (want, true, left), "{wire:?} cut at {cut}");
            }
        }
        assert!(!read(b"a\r\n.\r", 100).1, "without its end it is not done");
    }

    #[test]
    fn no_more_is_kept_than_asked_for() {
        let mut body = Body::new(4);
        body.feed(b"12\r\n3456\r\n.\r\n");
        assert_eq!((body.bytes.as_slice(), body.total, body.done), (&b"12\r\n"[..], 10, true));
    }

    proptest! {
        #[test]
        fn what_is_stuffed_comes_back(
            lines in proptest::collection::vec(proptest::collection::vec(
                proptest::sample::select(b"..\n\rx\0\xff ".to_vec()), 0..8), 0..20),
            cut in 1usize..50,
        ) {
            // A line of a mail holds no CR LF.
            let lines: Vec<Vec<u8>> = lines.into_iter()
                .map(|l| { let mut l = l; l.retain(|b| *b != b'\r'); l }).collect();
            let mut wire = Vec::new();
            let mut want = Vec::new();
            for line in &lines {
                if line.starts_with(b".") { wire.push(b'.'); }
                wire.extend(line); wire.extend(b"\r\n");
                want.extend(line); want.extend(b"\r\n");
            }
            wire.extend(b".\r\nnext");
            let (bytes, done, used) = read(&wire, cut);
            prop_assert_eq!((bytes, done, wire.len() - used), (want, true, 4));
        }
    }
}
