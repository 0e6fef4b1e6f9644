//! Bytes → text, and lines → what they say without their comments.

// An address is a value; what is barred here under std::net are sockets.
use core::net::Ipv6Addr;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use zeroize::Zeroizing;

use super::{Fault, Healthcheck};

/// The key of the password, lower case.
const PASSWORD: &str = "sametime_login_pw";

/// One line without its comments.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Blank,
    /// `[Name]`; `closed`: with its bracket, and nothing behind it.
    Section {
        name: &'a str,
        closed: bool,
    },
    /// `Sametime_login_pw=…`: everything up to ` <- `.
    Password(&'a str),
    /// `Key=Value`.
    Pair {
        key: &'a str,
        value: &'a str,
    },
    /// Anything else: `Host`, `Host;Port,Port`.
    Text(&'a str),
}

/// The text of the file, and what was to be said of it as a whole.
pub(super) fn text(bytes: &[u8]) -> (Zeroizing<String>, Vec<Fault>) {
    let mut faults = Vec::new();
    let (mut encoding, mark) = Encoding::for_bom(bytes).unwrap_or((UTF_8, 0));
    let whole = bytes.get(mark..).unwrap_or_default();
    let body = bounded(whole);
    if let Err(bad) = std::str::from_utf8(body)
        && encoding == UTF_8
    {
        // What is called so nowadays is this one.
        encoding = WINDOWS_1252;
        faults.push(Fault {
            line: body.iter().take(bad.valid_up_to()).filter(|byte| **byte == b'\n').count() + 1,
            wrong: "is not UTF-8: the file was read as ISO-8859-1".into(),
            mend: "save it as UTF-8 if names look wrong".into(),
        });
    }
    let text = Zeroizing::new(encoding.decode_without_bom_handling(body).0.into_owned());
    if body.len() < whole.len() {
        faults.push(Fault {
            line: text.lines().count().max(1),
            wrong: format!("the file has more than {} bytes: what follows was not read", Healthcheck::MOST_BYTES),
            mend: "split it".into(),
        });
    }
    (text, faults)
}

/// The whole lines up to the bound.
fn bounded(bytes: &[u8]) -> &[u8] {
    match bytes.get(..Healthcheck::MOST_BYTES) {
        Some(start) if start.len() < bytes.len() => {
            let end = start.iter().rposition(|byte| *byte == b'\n').map_or(start.len(), |at| at + 1);
            start.get(..end).unwrap_or(start)
        }
        _ => bytes,
    }
}

/// What a line says.
pub(super) fn read(line: &str) -> Line<'_> {
    let line = line.trim();
    if line.is_empty() || line.starts_with([';', '#']) || line.starts_with("<-") {
        return Line::Blank;
    }
    if let Some(section) = section(line) {
        return section;
    }
    // First of all, since nothing else of such a line is a comment.
    if let Some((key, value)) = line.split_once('=')
        && key.trim().eq_ignore_ascii_case(PASSWORD)
    {
        return Line::Password(before_arrow(value).trim());
    }
    let line = before_arrow(line);
    // A `=` in a comment makes no pair.
    match before_mark(line, false).split_once('=') {
        Some((key, value)) => Line::Pair { key: key.trim(), value: value.trim() },
        None => Line::Text(before_mark(line, true).trim()),
    }
}

/// `[Name]`, but not the hosts `[2001:db8::1]` and `[2001:db8::1];80`.
fn section(line: &str) -> Option<Line<'_>> {
    let inner = line.strip_prefix('[')?;
    let Some((name, rest)) = inner.split_once(']') else {
        let name = before_mark(before_arrow(inner), false);
        return Some(Line::Section { name: name.trim(), closed: false });
    };
    let rest = rest.trim();
    let ports =
        rest.strip_prefix(';').is_some_and(|ports| ports.trim_start().starts_with(|c: char| c.is_ascii_digit()));
    if ports || name.parse::<Ipv6Addr>().is_ok() {
        return None;
    }
    let closed = rest.is_empty() || rest.starts_with([';', '#']) || rest.starts_with("<-");
    Some(Line::Section { name: name.trim(), closed })
}

/// What stands before ` <- `, which starts a comment everywhere.
fn before_arrow(text: &str) -> &str {
    let is_arrow = |at: usize| {
        let blank_before = text.get(..at).is_some_and(|before| before.ends_with([' ', '\t']));
        let after = text.get(at + 2..).unwrap_or_default();
        blank_before && (after.is_empty() || after.starts_with([' ', '\t']))
    };
    let at = text.match_indices("<-").map(|(at, _)| at).find(|at| is_arrow(*at));
    at.and_then(|at| text.get(..at)).unwrap_or(text)
}

/// What stands before ` ;` or ` #`, which start a comment. In a line with a host the first `;`, also behind a blank, is followed by
/// its ports where a digit follows.
fn before_mark(text: &str, host: bool) -> &str {
    let mut separated = !host;
    let mut previous = None;
    for (at, c) in text.char_indices() {
        let blank_before = previous.is_some_and(|c| c == ' ' || c == '\t');
        let rest = || text.get(at + 1..).unwrap_or_default().trim_start();
        let separator = c == ';' && !separated && (!blank_before || rest().starts_with(|c: char| c.is_ascii_digit()));
        separated |= separator;
        if matches!(c, ';' | '#') && blank_before && !separator {
            return text.get(..at).unwrap_or_default();
        }
        previous = Some(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_told_from_what_is_meant() {
        let text = |line| match read(line) {
            Line::Text(text) => text,
            other => panic!("{line}: {other:?}"),
        };
        for (line, meant) in [
            ("im1.example.org", "im1.example.org"),
            ("  im1 \r", "im1"),
            ("im1 <- the first", "im1"),
            ("im1\t<-", "im1"),
            ("im1 <-old", "im1 <-old"),
            ("im1;80,1024", "im1;80,1024"),
            ("im1 ; 80 , 1024", "im1 ; 80 , 1024"),
            ("im1 ;80 ;web", "im1 ;80"),
            ("im1;80 # web", "im1;80"),
            ("im1;80 ; 443", "im1;80"),
            ("im1 ; in the cellar", "im1"),
            ("im1 #2", "im1"),
            ("im1; in the cellar", "im1; in the cellar"),
            ("im1 <- a=b", "im1"),
            ("im1 ; a=b", "im1"),
            ("[2001:db8::1];80", "[2001:db8::1];80"),
        ] {
            assert_eq!(text(line), meant, "{line}");
        }
        for line in ["", " \t", ";im1", "  # im1", "<- im1", "#a=b", ";[Hosts]"] {
            assert_eq!(read(line), Line::Blank, "{line}");
        }
    }

    #[test]
    fn pairs_sections_and_the_password() {
        let pair = |key, value| Line::Pair { key, value };
        assert_eq!(read("Check_Interval = 60 ;seconds"), pair("Check_Interval", "60"));
        assert_eq!(read("Domino_Ports=1352;80 <- both"), pair("Domino_Ports", "1352;80"));
        assert_eq!(read("Users= A b/C/D, E #2"), pair("Users", "A b/C/D, E"));
        assert_eq!(read("x="), pair("x", ""));
        let section = |name, closed| Line::Section { name, closed };
        assert_eq!(read("[ Ports ]  ; all"), section("Ports", true));
        assert_eq!(read("[Ports <- all"), section("Ports", false));
        assert_eq!(read("[Ports] x"), section("Ports", false));
        assert_eq!(read("[]"), section("", true));
        assert_eq!(read(" SAMETIME_Login_PW =  a ;b #c=[d]<-e <- f <- g"), Line::Password("a ;b #c=[d]<-e"));
        assert_eq!(read("Sametime_login_pw=x <-"), Line::Password("x"));
    }

    #[test]
    fn every_encoding_of_an_old_windows_tool_is_read() {
        let utf16 = |text: &str, units: fn(u16) -> [u8; 2]| -> Vec<u8> {
            "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(units).collect()
        };
        for bytes in [
            "[Hösts]\r\n".as_bytes().to_vec(),
            "\u{feff}[Hösts]\r\n".as_bytes().to_vec(),
            utf16("[Hösts]\r\n", u16::to_le_bytes),
            utf16("[Hösts]\r\n", u16::to_be_bytes),
        ] {
            let (text, faults) = text(&bytes);
            assert_eq!((text.as_str(), faults), ("[Hösts]\r\n", Vec::new()), "{bytes:?}");
        }
        let (text, faults) = text(b"a\nb\n[H\xf6sts]\n\xe4");
        assert_eq!(text.as_str(), "a\nb\n[Hösts]\nä");
        assert_eq!(
            faults[0].to_string(),
            "line 3: is not UTF-8: the file was read as ISO-8859-1; save it as UTF-8 if names look wrong"
        );
    }

    #[test]
    fn what_is_too_large_is_cut_and_told() {
        let (text, faults) = text(&b"a\n".repeat(Healthcheck::MOST_BYTES));
        assert_eq!(text.len(), Healthcheck::MOST_BYTES);
        assert_eq!((faults.len(), faults[0].line), (1, Healthcheck::MOST_BYTES / 2));
    }
}
