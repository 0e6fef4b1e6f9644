//! The mail itself (RFC 5321 §4.5.2): up to CRLF.CRLF and nothing that only looks like it.

/// Where it stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Behind a CRLF, or at the very start, which is behind that of DATA.
    LineStart,
    Text,
    /// Behind a CR.
    Cr,
    /// Behind a dot at the start of a line.
    Dot,
    /// Behind such a dot and a CR.
    DotCr,
}

/// A mail that is coming in. Only CRLF.CRLF ends it: a bare CR or LF is text and makes neither an end nor the start of a line,
/// so that no mail can hold another one that this side sees and the sender did not. Over its limit it is counted and not kept.
#[derive(Debug)]
pub(super) struct Data {
    at: At,
    kept: Vec<u8>,
    size: u64,
    limit: u64,
}

impl Data {
    /// `head` is put before it, and does not count.
    pub(super) fn new(head: Vec<u8>, limit: u64) -> Self {
        Self { at: At::LineStart, kept: head, size: 0, limit }
    }

    /// Takes bytes up to the end of the mail. Returns how many, and whether that is it.
    pub(super) fn feed(&mut self, input: &[u8]) -> (usize, bool) {
        let mut rest = input;
        while let Some((&byte, tail)) = rest.split_first() {
            // Most of a mail: from here to the next CR.
            if self.at == At::Text && byte != b'\r' {
                let text = rest.iter().position(|b| *b == b'\r').unwrap_or(rest.len());
                let (text, tail) = rest.split_at(text);
                self.keep(text);
                rest = tail;
                continue;
            }
            rest = tail;
            self.at = match (self.at, byte) {
                (At::LineStart, b'.') => At::Dot,
                (At::Dot, b'\r') => At::DotCr,
                (At::DotCr, b'\n') => return (input.len() - rest.len(), true),
                (at, byte) => {
                    // The dot is gone, what it was taken for stays.
                    if at == At::DotCr {
                        self.keep(b"\r");
                    }
                    self.keep(&[byte]);
                    match byte {
                        b'\r' => At::Cr,
                        b'\n' if at == At::Cr => At::LineStart,
                        _ => At::Text,
                    }
                }
            };
        }
        (input.len(), false)
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.size = self.size.saturating_add(bytes.len() as u64);
        if self.is_over() {
            self.kept = Vec::new();
        } else {
            self.kept.extend_from_slice(bytes);
        }
    }

    /// Is it over its limit?
    pub(super) fn is_over(&self) -> bool {
        self.size > self.limit
    }

    /// Bytes of the mail so far, without stuffed dots.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// What was put before it, and the mail; empty where it is over its limit.
    pub(super) fn into_kept(self) -> Vec<u8> {
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept, and what is left behind the end; `None`: no end.
    fn read(input: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
        let mut data = Data::new(Vec::new(), 1 << 20);
        let (taken, ended) = data.feed(input);
        (data.into_kept(), ended.then(|| input[taken..].to_vec()))
    }

    #[test]
    fn only_crlf_dot_crlf_ends_it() {
        for (input, kept) in [
            (&b".\r\nREST"[..], &b""[..]),
            (b"\r\n.\r\nREST", b"\r\n"),
            (b"a\r\n.\r\nREST", b"a\r\n"),
            (b"a\r\n..\r\n.\r\nREST", b"a\r\n.\r\n"),
            (b"..a\r\n.b\r\n...\r\n.\r\nREST", b".a\r\nb\r\n..\r\n"),
            (b"a\r\r\n.\r\nREST", b"a\r\r\n"),
        ] {
            assert_eq!(read(input), (kept.to_vec(), Some(b"REST".to_vec())), "{}", input.escape_ascii());
        }
        for (input, kept) in [
            (&b"a\n.\nQUIT\r\n"[..], &b"a\n.\nQUIT\r\n"[..]),
            (b"a\n.\r\nQUIT\r\n", b"a\n.\r\nQUIT\r\n"),
            (b"a\r.\r\nQUIT\r\n", b"a\r.\r\nQUIT\r\n"),
            (b"a\r\n.\nQUIT\r\n", b"a\r\n\nQUIT\r\n"),
            (b"a\r\n.\rQUIT\r\n", b"a\r\n\rQUIT\r\n"),
            (b"a\r\n.\r\r\nQUIT\r\n", b"a\r\n\r\r\nQUIT\r\n"),
            (b"a\r\n.\0\r\nQUIT\r\n", b"a\r\n\0\r\nQUIT\r\n"),
            (b"a\r\n. \r\nQUIT\r\n", b"a\r\n \r\nQUIT\r\n"),
            (b"a\n\r.\r\n", b"a\n\r.\r\n"),
            (b"\n.\r\nQUIT\r\n", b"\n.\r\nQUIT\r\n"),
            (b"a\r\n\n.\r\nQUIT\r\n", b"a\r\n\n.\r\nQUIT\r\n"),
            (b"", b""),
            (b".", b""),
            (b".\r", b""),
        ] {
            assert_eq!(read(input), (kept.to_vec(), None), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn over_its_limit_nothing_is_held_and_the_end_is_still_found() {
        let mut data = Data::new(b"Head: 1\r\n".to_vec(), 10);
        assert_eq!(data.feed(b"12345678\r\n"), (10, false));
        assert_eq!((data.is_over(), data.kept.len(), data.size()), (false, 19, 10));
        assert_eq!(data.feed(b"9\r\n.\r\nX"), (6, true));
        assert_eq!((data.is_over(), data.kept.capacity(), data.size()), (true, 0, 13));
        assert!(data.into_kept().is_empty());
    }
}
