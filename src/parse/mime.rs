//! The parts of a mail (RFC 2045–2049), as a flat list in the order of the mail. A work list instead of recursion: depth and
//! number of parts are bounded, and each level is looked at once, so that the cost is at most depth × size.

use std::borrow::Cow;
use std::ops::Range;

use super::Limits;
use super::decode;
use super::fields::{self, Fields, line_end};
use super::ignore;
use super::xml::shown;

/// A leaf of the MIME tree.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    /// `type/subtype`, lower case.
    pub(crate) media: String,
    /// The charset parameter.
    pub(crate) charset: Option<String>,
    /// File name.
    pub(crate) name: Option<String>,
    /// Meant to be saved, not read.
    pub(crate) attachment: bool,
    /// The mail that it belongs to: 0 is the outer one, others index [`Tree::nested`] from 1.
    pub(crate) mail: usize,
    /// The multipart/alternative that it is a choice of.
    pub(crate) alternative: Option<usize>,
    encoding: String,
    body: Cow<'a, [u8]>,
}

impl Part<'_> {
    /// Its content with the transfer encoding undone.
    pub(crate) fn bytes(&self) -> Cow<'_, [u8]> {
        decode::transfer(&self.body, &self.encoding)
    }

    /// The start of its content, decoded as text, for looking at what it is.
    pub(crate) fn glance(&self, bytes: usize) -> String {
        // Base64 is longer than what it says; a cut group is passed over.
        let raw = self.body.get(..bytes).unwrap_or(&self.body);
        decode::lossy(&decode::transfer(raw, &self.encoding), self.charset.as_deref())
    }

    /// What to call it in a reason: its file name, else its type.
    pub(crate) fn label(&self) -> String {
        match &self.name {
            Some(name) => format!("\"{}\"", shown(name)),
            None => shown(&self.media),
        }
    }
}

/// A mail inside the mail.
#[derive(Debug)]
pub(crate) struct Nested {
    /// Why nothing in it is an alert: it is a bounce, a report, an auto-reply, or is inside one.
    pub(crate) ignored: Option<String>,
}

/// All parts of a mail.
#[derive(Debug, Default)]
pub(crate) struct Tree<'a> {
    /// Leaves, in the order of the mail.
    pub(crate) parts: Vec<Part<'a>>,
    /// Forwarded mails.
    pub(crate) nested: Vec<Nested>,
    /// Containers that are reports (RFC 6522), with their report-type.
    pub(crate) reports: Vec<(usize, String)>,
    /// Why there is more in the mail than was read.
    pub(crate) cut: Option<String>,
}

impl Tree<'_> {
    /// Is this part inside a forwarded bounce or report?
    pub(crate) fn is_ignored(&self, part: &Part<'_>) -> bool {
        part.mail.checked_sub(1).and_then(|n| self.nested.get(n)).is_some_and(|m| m.ignored.is_some())
    }
}

struct Item<'a> {
    bytes: Cow<'a, [u8]>,
    mail: usize,
    alternative: Option<usize>,
    depth: usize,
    in_digest: bool,
}

/// Takes the mail apart.
pub(crate) fn tree<'a>(raw: &'a [u8], limits: &Limits) -> Tree<'a> {
    let mut tree = Tree::default();
    let mut work = vec![Item { bytes: raw.into(), mail: 0, alternative: None, depth: 0, in_digest: false }];
    let mut seen = 0;
    while let Some(item) = work.pop() {
        seen += 1;
        if seen > limits.parts {
            tree.cut = Some(format!("it has more than {} MIME parts; the rest was not read", limits.parts));
            break;
        }
        let children = take(item, &mut tree, limits);
        // Children come next, in order.
        work.extend(children.into_iter().rev());
    }
    tree
}

/// Reads one entity: a leaf goes into the tree, a container gives its children.
fn take<'a>(item: Item<'a>, tree: &mut Tree<'a>, limits: &Limits) -> Vec<Item<'a>> {
    let (header, body) = fields::split(&item.bytes);
    let entity = Entity::of(&header, item.in_digest);
    let body = cut(&item.bytes, body..item.bytes.len());
    let deeper = item.depth + 1;
    let container = entity.boundary.is_some() || entity.is_mail();
    if container && deeper > limits.mime_depth {
        tree.cut =
            Some(format!("its MIME parts are nested more than {} deep; deeper ones were not read", limits.mime_depth));
        return Vec::new();
    }
    if let Some(boundary) = &entity.boundary {
        let ranges = split_parts(&body, boundary.as_bytes(), limits.parts);
        if !ranges.is_empty() {
            let serial = tree.parts.len() + 1;
            if let Some(kind) = entity.report {
                tree.reports.push((item.mail, kind));
            }
            let alternative = if entity.media == "multipart/alternative" { Some(serial) } else { item.alternative };
            let in_digest = entity.media == "multipart/digest";
            return ranges
                .into_iter()
                .map(|range| Item { bytes: cut(&body, range), mail: item.mail, alternative, depth: deeper, in_digest })
                .collect();
        }
    }
    if entity.is_mail() {
        let bytes: Cow<'a, [u8]> = match decode::transfer(&body, &entity.encoding) {
            Cow::Borrowed(_) => body,
            Cow::Owned(decoded) => decoded.into(),
        };
        let around = item.mail.checked_sub(1).and_then(|n| tree.nested.get(n)).and_then(|m| m.ignored.clone());
        let ignored = around.or_else(|| ignore::by_header(&fields::split(&bytes).0));
        tree.nested.push(Nested { ignored });
        // The mark of the quoted mail itself stays in the list: bounces are known by it.
        tree.parts.push(entity.leaf(item.mail, item.alternative, Cow::Borrowed(&[])));
        let mail = tree.nested.len();
        return vec![Item { bytes, mail, alternative: None, depth: deeper, in_digest: false }];
    }
    tree.parts.push(entity.leaf(item.mail, item.alternative, body));
    Vec::new()
}

/// What the header of one entity says about its body.
struct Entity {
    media: String,
    boundary: Option<String>,
    report: Option<String>,
    charset: Option<String>,
    name: Option<String>,
    attachment: bool,
    encoding: String,
}

impl Entity {
    fn of(header: &Fields<'_>, in_digest: bool) -> Self {
        let content = header.media("Content-Type");
        let disposition = header.media("Content-Disposition");
        let media = match content.as_ref().map(|c| (c.ctype(), c.subtype())) {
            Some((main, Some(sub))) if !main.is_empty() && !sub.is_empty() => format!("{main}/{sub}"),
            // `Content-Type: text` and the like: old senders mean plain text.
            _ if in_digest => "message/rfc822".to_owned(),
            _ => "text/plain".to_owned(),
        };
        let media = media.to_ascii_lowercase();
        let parameter = |name: &str| content.as_ref().and_then(|c| c.attribute(name)).map(str::to_owned);
        let file = disposition.as_ref().and_then(|d| d.attribute("filename")).map(str::to_owned);
        let multipart = media.starts_with("multipart/");
        Self {
            boundary: parameter("boundary").filter(|b| multipart && !b.is_empty()),
            report: (media == "multipart/report")
                .then(|| parameter("report-type").unwrap_or_default().to_ascii_lowercase()),
            charset: parameter("charset"),
            name: file.or_else(|| parameter("name")),
            attachment: disposition.is_some_and(|d| d.ctype().eq_ignore_ascii_case("attachment")),
            encoding: header.token("Content-Transfer-Encoding").unwrap_or_default(),
            media: if multipart && parameter("boundary").is_none() { "text/plain".to_owned() } else { media },
        }
    }

    fn is_mail(&self) -> bool {
        matches!(self.media.as_str(), "message/rfc822" | "message/global")
    }

    fn leaf(self, mail: usize, alternative: Option<usize>, body: Cow<'_, [u8]>) -> Part<'_> {
        // A multipart whose boundary never comes is text.
        let media = if self.media.starts_with("multipart/") { "text/plain".to_owned() } else { self.media };
        Part {
            media,
            charset: self.charset,
            name: self.name,
            attachment: self.attachment,
            mail,
            alternative,
            encoding: self.encoding,
            body,
        }
    }
}

/// Where the parts between the boundary lines stand (RFC 2046 §5.1.1); without the line end that belongs to the boundary.
fn split_parts(body: &[u8], boundary: &[u8], most: usize) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut start: Option<usize> = None;
    let mut at = 0;
    while at < body.len() {
        let end = line_end(body, at);
        let line = body.get(at..end).unwrap_or_default();
        let after = line.strip_prefix(b"--").and_then(|l| l.strip_prefix(boundary)).map(<[u8]>::trim_ascii);
        if let Some(after @ (b"" | b"--")) = after {
            if let Some(start) = start.take() {
                found.push(start..before_line_end(body, at).max(start));
            }
            // One more than allowed, so that the caller's count notices.
            if after == b"--" || found.len() > most {
                return found;
            }
            start = Some(end);
        }
        at = end;
    }
    found.extend(start.map(|start| start..body.len()));
    found
}

fn before_line_end(body: &[u8], at: usize) -> usize {
    match body.get(..at) {
        Some([.., b'\r', b'\n']) => at - 2,
        Some([.., b'\n']) => at - 1,
        _ => at,
    }
}

fn cut<'a>(bytes: &Cow<'a, [u8]>, range: Range<usize>) -> Cow<'a, [u8]> {
    match bytes {
        Cow::Borrowed(bytes) => bytes.get(range).unwrap_or_default().into(),
        Cow::Owned(bytes) => bytes.get(range).unwrap_or_default().to_vec().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(raw: &[u8]) -> Vec<(String, String, usize)> {
        tree(raw, &Limits::default())
            .parts
            .iter()
            .map(|p| (p.media.clone(), String::from_utf8_lossy(&p.bytes()).into_owned(), p.mail))
            .collect()
    }

    fn leaf(media: &str, text: &str, mail: usize) -> (String, String, usize) {
        (media.to_owned(), text.to_owned(), mail)
    }

    #[test]
    fn parts_come_in_order_with_their_encodings_undone() {
        let raw = b"Content-Type: multipart/mixed; boundary=\"b\"\r\n\r\npreamble\r\n--b\r\n\r\nhello\r\n--b\r\n\
            Content-Type: multipart/alternative; boundary=bb\r\n\r\n--bb\r\nContent-Type: text/html\r\n\r\n<p>x\r\n--bb--\r\n\
            --b\r\nContent-Type: application/xml\r\nContent-Transfer-Encoding: BASE64\r\n\r\nPGEvPg==\r\n--b--\r\nepilogue";
        assert_eq!(
            shape(raw),
            [leaf("text/plain", "hello", 0), leaf("text/html", "<p>x", 0), leaf("application/xml", "<a/>", 0)]
        );
    }

    #[test]
    fn forwarded_mails_are_read_also_when_encoded() {
        let inner = "Subject: i\n\ninner";
        let raw = format!(
            "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\n{inner}\n--b\n\
             Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDogaQoKaW5uZXI=\n--b--\n"
        );
        let mail = |n| [leaf("message/rfc822", "", 0), leaf("text/plain", "inner", n)];
        assert_eq!(shape(raw.as_bytes()), [mail(1), mail(2)].concat());
    }

    #[test]
    fn missing_ends_and_boundaries_lose_nothing() {
        assert_eq!(shape(b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n"), [leaf("text/plain", "x\n", 0)]);
        assert_eq!(shape(b"Content-Type: multipart/mixed; boundary=b\n\nx\n"), [leaf("text/plain", "x\n", 0)]);
        assert_eq!(shape(b"Content-Type: multipart/mixed\n\nx\n"), [leaf("text/plain", "x\n", 0)]);
        assert_eq!(shape(b""), [leaf("text/plain", "", 0)]);
    }

    #[test]
    fn depth_and_number_are_bounded_with_a_reason() {
        let mut deep = String::new();
        for n in 0..5000 {
            deep += &format!("Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n");
        }
        let limits = Limits::default();
        assert!(tree(deep.as_bytes(), &limits).cut.unwrap().contains("nested more than 16 deep"));
        let nested = "Content-Type: message/rfc822\n\n".repeat(100_000);
        assert!(tree(nested.as_bytes(), &limits).cut.unwrap().contains("nested more than 16 deep"));
        let wide = format!("Content-Type: multipart/mixed; boundary=b\n\n{}", "--b\n\nx\n".repeat(5000));
        let wide = tree(wide.as_bytes(), &limits);
        assert!(wide.cut.unwrap().contains("more than 200 MIME parts"));
        assert_eq!(wide.parts.len(), 199);
    }
}
