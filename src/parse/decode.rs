//! Transfer encodings and charsets: from the bytes of a part to its text.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use mail_parser::decoders::charsets::map::charset_decoder;

use super::xml::shown;

/// Undoes a Content-Transfer-Encoding (RFC 2045 §6). Damage is passed over, not refused: what it did to an XML shows there.
pub(crate) fn transfer<'a>(bytes: &'a [u8], encoding: &str) -> Cow<'a, [u8]> {
    match encoding {
        "base64" => base64(bytes).into(),
        "quoted-printable" => quoted_printable(bytes).into(),
        _ => bytes.into(),
    }
}

/// Characters outside the alphabet are skipped, as RFC 2045 §6.8 asks; text behind the padding is no longer base64.
fn base64(bytes: &[u8]) -> Vec<u8> {
    if let Some(whole) = mail_parser::decoders::base64::base64_decode(bytes) {
        return whole;
    }
    let end = bytes.iter().position(|b| *b == b'=').unwrap_or(bytes.len());
    let kept: Vec<u8> = bytes
        .get(..end)
        .unwrap_or_default()
        .iter()
        .copied()
        .filter(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
        .collect();
    mail_parser::decoders::base64::base64_decode(&kept).unwrap_or_default()
}

/// A `=` that starts no escape stands for itself.
fn quoted_printable(bytes: &[u8]) -> Vec<u8> {
    let hex = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16)).and_then(|n| u8::try_from(n).ok());
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'=' {
            out.push(*first);
            continue;
        }
        if let (Some(high), Some(low)) = (hex(after.first()), hex(after.get(1))) {
            out.push(high << 4 | low);
            rest = after.get(2..).unwrap_or_default();
            continue;
        }
        // A soft line break: servers may have put blanks behind the `=`.
        let blanks = after.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        match after.get(blanks..) {
            Some([b'\r', b'\n', tail @ ..] | [b'\n', tail @ ..]) => rest = tail,
            Some([]) => rest = &[],
            _ => out.push(b'='),
        }
    }
    out
}

/// Decodes XML: the byte order mark wins, then the MIME charset, then the XML declaration, then UTF-8. What does not fit
/// is an error, never a replacement character. Returns the text without its mark, and what was bent to read it.
pub(crate) fn xml(bytes: &[u8], mime: Option<&str>) -> Result<(String, Option<String>), String> {
    if let Some((encoding, length)) = Encoding::for_bom(bytes) {
        return strict(encoding, bytes.get(length..).unwrap_or_default(), "its byte order mark")
            .map(|text| (text, None));
    }
    let declared = declared(bytes);
    let declared_encoding = declared.as_deref().and_then(|label| Encoding::for_label(label.as_bytes()));
    let utf8 = std::str::from_utf8(bytes).ok();
    match mime.map(str::trim).map(|label| (label, Encoding::for_label(label.as_bytes()))) {
        // Many programs stamp US-ASCII on whatever they send. UTF-8 proves itself, anything else does not.
        Some((label, _)) if is_ascii(label) => match utf8 {
            Some(text) if text.is_ascii() => Ok((text.to_owned(), None)),
            Some(text) => Ok((text.to_owned(), Some(format!("the mail says charset {label}, but it is UTF-8")))),
            None => Err(format!("line {}: the mail says charset {label}, but it is not", bad_line(bytes))),
        },
        Some((label, Some(encoding))) => {
            // The declaration and the bytes agree on UTF-8, only the mail says something else that fits any bytes.
            let doubted = encoding.is_single_byte() && declared_encoding == Some(UTF_8) && !bytes.is_ascii();
            if let Some(text) = utf8.filter(|_| doubted) {
                let bent = format!("the mail says charset {label}, its XML and its bytes say UTF-8: read as UTF-8");
                return Ok((text.to_owned(), Some(bent)));
            }
            strict(encoding, bytes, &format!("the mail's charset {label}")).map(|text| (text, None))
        }
        Some((label, None)) => {
            let (text, _) = by_declaration(bytes, declared.as_deref())?;
            Ok((text, Some(format!("the mail's charset \"{}\" is unknown; read by the XML declaration", shown(label)))))
        }
        None => by_declaration(bytes, declared.as_deref()),
    }
}

fn by_declaration(bytes: &[u8], declared: Option<&str>) -> Result<(String, Option<String>), String> {
    if bytes.starts_with(&[0, b'<']) {
        return strict(UTF_16BE, bytes, "its first bytes").map(|text| (text, None));
    }
    if bytes.starts_with(&[b'<', 0]) {
        return strict(UTF_16LE, bytes, "its first bytes").map(|text| (text, None));
    }
    let Some(label) = declared else {
        return strict(UTF_8, bytes, "UTF-8, which it is without a declaration").map(|text| (text, None));
    };
    match Encoding::for_label(label.as_bytes()) {
        // Whoever could read the declaration byte by byte does not read UTF-16.
        Some(encoding) if encoding == UTF_16BE || encoding == UTF_16LE => strict(UTF_8, bytes, "UTF-8")
            .map(|text| (text, Some(format!("its XML declaration says {label}, which it is not: read as UTF-8")))),
        Some(_) if is_ascii(label) && !bytes.is_ascii() => strict(UTF_8, bytes, &format!("its declaration {label}"))
            .map(|text| (text, Some(format!("its XML declaration says {label}, but it is UTF-8")))),
        Some(encoding) => strict(encoding, bytes, &format!("its XML declaration {label}")).map(|text| (text, None)),
        None => Err(format!("line 1: the XML declaration names an unknown encoding \"{}\"; write UTF-8", shown(label))),
    }
}

fn strict(encoding: &'static Encoding, bytes: &[u8], says: &str) -> Result<String, String> {
    let misfit = |line| format!("line {line}: the bytes do not fit {says}; send it as UTF-8 and say so");
    if encoding == UTF_8 {
        return match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(misfit(bad_line(bytes))),
        };
    }
    match encoding.decode_without_bom_handling_and_without_replacement(bytes) {
        Some(text) => Ok(text.into_owned()),
        None => Err(misfit(1)),
    }
}

/// Line of the first byte that is no UTF-8.
fn bad_line(bytes: &[u8]) -> usize {
    let good = std::str::from_utf8(bytes).map_or_else(|e| e.valid_up_to(), str::len);
    1 + bytes.get(..good).unwrap_or_default().iter().filter(|b| **b == b'\n').count()
}

/// `windows-1252` is what the web reads for it, but in mail US-ASCII means that no other byte occurs.
fn is_ascii(label: &str) -> bool {
    let label = label.trim().to_ascii_lowercase();
    matches!(label.as_str(), "us-ascii" | "ascii" | "ansi_x3.4-1968" | "iso-ir-6" | "iso646-us" | "us")
}

/// The encoding that an XML declaration (XML 1.0 §2.8) names, if the bytes are some superset of ASCII.
fn declared(bytes: &[u8]) -> Option<String> {
    let start = bytes.trim_ascii_start();
    let head = start.strip_prefix(b"<?xml")?;
    let head = head.get(..head.len().min(256))?;
    let end = head.windows(2).position(|w| w == b"?>")?;
    let head = std::str::from_utf8(head.get(..end)?).ok()?;
    let (_, value) = head.split_once("encoding")?;
    let value = value.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let (label, _) = value.get(1..)?.split_once(quote)?;
    Some(label.trim().to_owned())
}

/// Decodes text for people: never fails, doubtful bytes are shown as something.
pub(crate) fn lossy(bytes: &[u8], mime: Option<&str>) -> String {
    // Charsets that only mail knows (UTF-7).
    let only_in_mail = |label: &&str| Encoding::for_label(label.trim().as_bytes()).is_none() && !is_ascii(label);
    let decoder = mime.filter(only_in_mail).and_then(|label| charset_decoder(label.trim().as_bytes()));
    if let Some(decoder) = decoder {
        return decoder(bytes);
    }
    let named = mime.filter(|label| !is_ascii(label)).and_then(|label| Encoding::for_label(label.trim().as_bytes()));
    match (named, std::str::from_utf8(bytes)) {
        (Some(encoding), _) if encoding != UTF_8 => encoding.decode(bytes).0.into_owned(),
        (_, Ok(text)) => text.strip_prefix('\u{feff}').unwrap_or(text).to_owned(),
        (Some(_), Err(_)) => UTF_8.decode(bytes).0.into_owned(),
        (None, Err(_)) => match Encoding::for_bom(bytes) {
            Some((encoding, _)) => encoding.decode(bytes).0.into_owned(),
            None => WINDOWS_1252.decode(bytes).0.into_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfer_encodings_survive_damage() {
        assert_eq!(&*transfer(b"YWxl\r\ncnQ=\r\n", "base64"), b"alert");
        assert_eq!(&*transfer(b"YWxl!cnQ=\r\n_____\r\na list footer", "base64"), b"alert");
        assert_eq!(&*transfer(b"a=3D=\r\nb= \nc=zz=", "quoted-printable"), b"a=bc=zz");
        assert_eq!(&*transfer(b"as it is", "8bit"), b"as it is");
    }

    fn text(bytes: &[u8], mime: Option<&str>) -> String {
        xml(bytes, mime).unwrap().0
    }

    #[test]
    fn mark_then_mime_then_declaration() {
        let latin = b"<?xml version='1.0' encoding='iso-8859-1'?><a>\xfc</a>";
        assert!(text(latin, None).contains('ü'));
        // The mail's charset wins over the declaration, which a relay may have left behind.
        let relayed = "<?xml version='1.0' encoding='iso-8859-1'?><a>ü</a>".as_bytes();
        assert!(text(relayed, Some("utf-8")).contains("<a>ü"));
        // The mark wins over both.
        let marked = [b"\xef\xbb\xbf".as_slice(), relayed].concat();
        assert!(text(&marked, Some("iso-8859-1")).contains("<a>ü"));
        let wide: Vec<u8> = "\u{feff}<a>ü</a>".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(text(&wide, Some("utf-8")), "<a>ü</a>");
        let wide: Vec<u8> = "<?xml version='1.0'?><a>ü</a>".encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert!(text(&wide, None).contains("<a>ü"));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_line() {
        let latin = b"<?xml version='1.0' encoding='iso-8859-1'?>\n<a>\xfc</a>";
        assert_eq!(
            xml(latin, Some("utf-8")).unwrap_err(),
            "line 2: the bytes do not fit the mail's charset utf-8; send it as UTF-8 and say so"
        );
        assert!(xml(b"<a>\xfc</a>", None).unwrap_err().starts_with("line 1: the bytes do not fit UTF-8"));
        assert!(xml(b"<a>\xfc</a>", Some("us-ascii")).is_err());
        assert!(xml(b"<?xml version='1.0' encoding='martian'?><a/>", None).unwrap_err().contains("martian"));
    }

    #[test]
    fn mojibake_is_avoided_where_the_bytes_prove_utf8() {
        let doc = "<?xml version='1.0' encoding='UTF-8'?><a>ü</a>".as_bytes();
        for label in ["iso-8859-1", "windows-1252", "us-ascii"] {
            let (text, bent) = xml(doc, Some(label)).unwrap();
            assert!(text.contains("<a>ü"), "{label}");
            assert!(bent.unwrap().contains(label));
        }
        let doc = "<?xml version='1.0' encoding='utf-16'?><a>ü</a>".as_bytes();
        assert!(text(doc, None).contains("<a>ü"));
    }

    #[test]
    fn text_for_people_never_fails() {
        assert_eq!(lossy(b"\xfc", None), "ü");
        assert_eq!(lossy("ü".as_bytes(), Some("us-ascii")), "ü");
        assert_eq!(lossy(b"\xfc", Some("utf-8")), "\u{fffd}");
        assert_eq!(lossy(b"Fr+APY-sche", Some("UTF-7")), "Frösche");
        assert_eq!(lossy("ü".as_bytes(), Some("martian")), "ü");
        assert_eq!(lossy(b"\x1b$B%K%c!<%s\x1b(B", Some("iso-2022-jp")), "ニャーン");
    }
}
