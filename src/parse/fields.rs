//! A header as fields (RFC 5322 §2.2). The splitting is our own, so that the cost stays linear whatever a field holds;
//! what stands in one field is read by `mail-parser`.

use std::borrow::Cow;
use std::ops::Range;

use jiff::Timestamp;
use mail_parser::parsers::MessageStream;
use mail_parser::{ContentType, DateTime, HeaderValue};

/// Longest field body that is looked at, in bytes. RFC 5322 allows lines of 998 bytes; real fields stay far below this.
const MAX_FIELD: usize = 64 * 1024;

/// Most fields of a header that are looked at.
const MAX_FIELDS: usize = 5000;
/// No header line is longer than 998 bytes (RFC 5322 §2.1.1): a header without a line end in so many has none.
const LINE_END_GLANCE: usize = 2048;

/// The fields of one header, in order, as they stand in the mail.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    raw: &'a [u8],
    fields: Vec<(Range<usize>, Range<usize>)>,
}

/// Splits a mail, or a MIME part, into its header and the offset of its body. The header ends at an empty line or, as
/// mail servers hold it, before the first line that cannot be a field. An mbox `From ` line before it is skipped.
pub(crate) fn split(raw: &[u8]) -> (Fields<'_>, usize) {
    let mut fields: Vec<(Range<usize>, Range<usize>)> = Vec::new();
    let mut at = 0;
    // Does the last field that was seen stand in the list?
    let mut kept = true;
    while at < raw.len() {
        let end = line_end(raw, at);
        let line = raw.get(at..end).unwrap_or_default();
        if line.iter().all(|b| matches!(b, b'\r' | b'\n')) {
            at = end;
            break;
        }
        let folded = line.first().is_some_and(|b| matches!(b, b' ' | b'\t'));
        match (folded, fields.last_mut(), name_len(line)) {
            (true, Some((_, value)), _) if kept => value.end = end,
            (true, Some(_), _) => {}
            (false, _, Some((name, colon))) => {
                // A From that nobody counts could let a forged one pass.
                let is_from = line.get(..name).is_some_and(|name| name.eq_ignore_ascii_case(b"From"));
                kept = fields.len() < if is_from { MAX_FIELDS + 10 } else { MAX_FIELDS };
                if kept {
                    fields.push((at..at + name, at + colon + 1..end));
                }
            }
            (false, None, None) if at == 0 && (line.starts_with(b"From ") || line.starts_with(b">From ")) => {}
            _ => break,
        }
        at = end;
    }
    (Fields { raw, fields }, at)
}

/// Some programs end lines with a lone CR. Where the header is written like that, the mail with LF instead.
pub(crate) fn with_line_feeds(raw: &[u8]) -> Cow<'_, [u8]> {
    let start = raw.get(..LINE_END_GLANCE).unwrap_or(raw);
    if start.contains(&b'\n') || !start.contains(&b'\r') {
        return raw.into();
    }
    raw.iter().map(|b| if *b == b'\r' { b'\n' } else { *b }).collect::<Vec<u8>>().into()
}

/// Offset behind the line that starts at `at`.
pub(crate) fn line_end(raw: &[u8], at: usize) -> usize {
    let rest = raw.get(at..).unwrap_or_default();
    rest.iter().position(|b| *b == b'\n').map_or(raw.len(), |n| at + n + 1)
}

/// Length of the field name that a line starts with, and the offset of its colon. By the letter of RFC 5322 a name may
/// start with any sign, but a line that does is XML or JSON without a header.
fn name_len(line: &[u8]) -> Option<(usize, usize)> {
    let colon = line.iter().take(256).position(|b| *b == b':')?;
    let name = line.get(..colon)?.trim_ascii_end();
    let legal = name.first().is_some_and(u8::is_ascii_alphanumeric) && name.iter().all(u8::is_ascii_graphic);
    legal.then_some((name.len(), colon))
}

impl<'a> Fields<'a> {
    /// Is there no field at all?
    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Raw values of all fields of this name, topmost first, each with its line end.
    pub(crate) fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a [u8]> + 's {
        self.above(self.fields.len(), name)
    }

    /// Place of the topmost field of this name whose value `is` so.
    pub(crate) fn position(&self, name: &str, is: impl Fn(&[u8]) -> bool) -> Option<usize> {
        self.fields
            .iter()
            .position(|(n, value)| self.is_named(n, name) && is(self.raw.get(value.clone()).unwrap_or_default()))
    }

    /// Raw values of the fields of this name above that place, topmost first.
    pub(crate) fn above<'s>(&'s self, place: usize, name: &'s str) -> impl Iterator<Item = &'a [u8]> + 's {
        let fields = self.fields.iter().take(place).filter(move |(n, _)| self.is_named(n, name));
        fields.map(|(_, value)| self.raw.get(value.clone()).unwrap_or_default())
    }

    fn is_named(&self, found: &Range<usize>, name: &str) -> bool {
        self.raw.get(found.clone()).is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// Is there such a field?
    pub(crate) fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// The topmost value of this name as it stands there, unfolded, lower case: for fields made of tokens.
    pub(crate) fn token(&self, name: &str) -> Option<String> {
        let value = String::from_utf8_lossy(limited(self.all(name).next()?)).to_lowercase();
        Some(one_line(&value))
    }

    /// The topmost value of this name, with its encoded words (RFC 2047) decoded, on one line.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.texts(name, 1).pop()
    }

    /// The first `most` values of this name, topmost first, each as [`Self::text`] gives it.
    pub(crate) fn texts(&self, name: &str, most: usize) -> Vec<String> {
        let text = |value: &[u8]| match MessageStream::new(&with_end(value)).parse_unstructured() {
            HeaderValue::Text(text) => Some(one_line(&text)).filter(|t| !t.is_empty()),
            _ => None,
        };
        self.all(name).take(most).filter_map(text).collect()
    }

    /// Content-Type or Content-Disposition, RFC 2231 parameters decoded.
    pub(crate) fn media(&self, name: &str) -> Option<ContentType<'static>> {
        let value = with_end(self.all(name).next()?);
        match MessageStream::new(&value).parse_content_type().into_owned() {
            HeaderValue::ContentType(media) => Some(media),
            _ => None,
        }
    }

    /// The topmost date field of this name, as an instant.
    pub(crate) fn date(&self, name: &str) -> Option<Timestamp> {
        let value = with_end(self.all(name).next()?);
        match MessageStream::new(&value).parse_date() {
            HeaderValue::DateTime(date) => instant(&date),
            _ => None,
        }
    }

    /// Date of the topmost Received field: it stands behind the last semicolon (RFC 5321 §4.4).
    pub(crate) fn received(&self) -> Option<Timestamp> {
        let value = limited(self.all("Received").next()?);
        let at = value.iter().rposition(|b| *b == b';')?;
        let value = with_end(value.get(at + 1..)?);
        match MessageStream::new(&value).parse_date() {
            HeaderValue::DateTime(date) => instant(&date),
            _ => None,
        }
    }

    /// The addresses of all fields of this name, as written, with their display names.
    pub(crate) fn addresses(&self, name: &str) -> Vec<(Option<String>, String)> {
        let mut found = Vec::new();
        for value in self.all(name) {
            let value = with_end(value);
            if let HeaderValue::Address(list) = MessageStream::new(&value).parse_address() {
                found.extend(list.iter().filter_map(|a| Some((a.name().map(one_line), one_line(a.address()?)))));
            }
        }
        found
    }
}

/// An instant, if the date exists.
pub(crate) fn instant(date: &DateTime) -> Option<Timestamp> {
    // A leap second is the last second of its minute, for our purposes.
    let date = DateTime { second: date.second.min(59), ..*date };
    date.is_valid().then(|| Timestamp::from_second(date.to_timestamp()).ok()).flatten()
}

/// Runs of white space become one space: what has to stand on one line.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

fn limited(value: &[u8]) -> &[u8] {
    value.get(..MAX_FIELD).unwrap_or(value)
}

/// The parsers want the line end that closes a field, which the last field of a cut mail lacks, and UTF-8, which old
/// senders do not write.
fn with_end(value: &[u8]) -> Vec<u8> {
    let mut value = match std::str::from_utf8(limited(value)) {
        Ok(text) => text.as_bytes().to_vec(),
        Err(_) => encoding_rs::WINDOWS_1252.decode_without_bom_handling(limited(value)).0.into_owned().into_bytes(),
    };
    value.extend_from_slice(b"\r\n");
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(raw: &[u8]) -> (Fields<'_>, &[u8]) {
        let (fields, body) = split(raw);
        (fields, &raw[body..])
    }

    #[test]
    fn folding_both_line_ends_and_the_mbox_line() {
        let (f, body) = fields(b"From x@y Thu Jan 1\r\nSubject: a\r\n b\nX-Y : z\r\n\r\nbody\n");
        assert_eq!(f.text("subject").as_deref(), Some("a b"));
        assert_eq!(f.token("x-y").as_deref(), Some("z"));
        assert_eq!(body, b"body\n");
    }

    #[test]
    fn encoded_words_addresses_and_dates_are_read() {
        let (f, _) = fields(
            b"From: =?utf-8?q?J=C3=B6rg?= <Joerg@Example.ORG>, b@c\r\nDate: Sat, 21 Nov 2026 19:42:00 +0100\r\n\
              Received: from a by b; Sat, 21 Nov 2026 18:43:00 GMT\r\nSubject: =?iso-8859-1?Q?Gr=FC=DFe?=\r\n\r\n",
        );
        assert_eq!(f.addresses("From"), [(Some("Jörg".into()), "Joerg@Example.ORG".into()), (None, "b@c".to_owned())]);
        assert_eq!(f.date("Date").unwrap().to_string(), "2026-11-21T18:42:00Z");
        assert_eq!(f.received().unwrap().to_string(), "2026-11-21T18:43:00Z");
        assert_eq!(f.text("Subject").as_deref(), Some("Grüße"));
    }

    #[test]
    fn a_line_that_is_no_field_ends_the_header() {
        let (f, body) = fields(b"Subject: a\nthis is text\nmore: of it\n");
        assert!(!f.has("more"));
        assert_eq!(body, b"this is text\nmore: of it\n");
        let (f, body) = fields(b"<a:b c=\"d:e\"/>");
        assert!(f.is_empty());
        assert_eq!(body, b"<a:b c=\"d:e\"/>");
    }

    #[test]
    fn a_field_without_its_line_end_still_counts() {
        let (f, body) = fields(b"Subject: cut");
        assert_eq!(f.text("Subject").as_deref(), Some("cut"));
        assert!(body.is_empty());
    }

    #[test]
    fn lone_carriage_returns_and_eight_bit_subjects() {
        let raw = with_line_feeds(b"Subject: Gr\xfc\xdfe\rX: y\r\rbody\r");
        let (f, body) = fields(&raw);
        assert_eq!(f.text("Subject").as_deref(), Some("Grüße"));
        assert_eq!(body, b"body\n");
        assert!(matches!(with_line_feeds(b"Subject: a\r\n\r\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_header_without_end_is_bounded_but_every_from_counts() {
        let raw = "X: y\n z\n".repeat(100_000) + "From: a@b\nFrom: c@d\n\nbody";
        let (f, body) = fields(raw.as_bytes());
        assert_eq!(f.all("X").count(), MAX_FIELDS);
        assert_eq!(f.all("From").count(), 2);
        assert_eq!(body, b"body");
    }

    #[test]
    fn json_is_no_header() {
        assert!(fields(b"{\"a\": 1}").0.is_empty());
        assert!(fields(b"[{\"a\": 1}]").0.is_empty());
    }

    #[test]
    fn impossible_dates_are_none() {
        let (f, _) = fields(b"Date: yesterday\r\nReceived: from a by b\r\n\r\n");
        assert_eq!((f.date("Date"), f.received()), (None, None));
    }
}
