//! How arguments of IMAP commands are written: strings, folder names, sets of UIDs.

use std::fmt::Write;

use super::common::base64;

/// Longest set of UIDs in one command, bytes. RFC 7162 §4: servers should take lines of 8,192.
const SET: usize = 4096;

/// A quoted string (RFC 3501 §4.3); `None` where only a literal can carry it.
pub(super) fn quoted(text: &str) -> Option<String> {
    if text.bytes().any(|b| !(0x20..0x7f).contains(&b)) {
        return None;
    }
    Some(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// A folder's name as the wire wants it: modified UTF-7 (RFC 3501 §5.1.3), quoted.
pub(super) fn folder(name: &str) -> String {
    let mut out = String::from("\"");
    let mut shifted: Vec<u16> = Vec::new();
    for c in name.chars() {
        if (' '..='~').contains(&c) {
            unshift(&mut shifted, &mut out);
            match c {
                '&' => out.push_str("&-"),
                '"' | '\\' => out.extend(['\\', c]),
                _ => out.push(c),
            }
        } else {
            shifted.extend(c.encode_utf16(&mut [0; 2]).iter());
        }
    }
    unshift(&mut shifted, &mut out);
    out.push('"');
    out
}

fn unshift(units: &mut Vec<u16>, out: &mut String) {
    if !units.is_empty() {
        let bytes: Vec<u8> = units.drain(..).flat_map(u16::to_be_bytes).collect();
        let encoded = base64(&bytes).trim_end_matches('=').replace('/', ",");
        let _ = write!(out, "&{encoded}-");
    }
}

/// These UIDs as sets with ranges, each short enough for one command, together with the UIDs that it names.
pub(super) fn uid_sets(uids: &[u32]) -> Vec<(String, Vec<u32>)> {
    let mut sorted = uids.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut sets: Vec<(String, Vec<u32>)> = Vec::new();
    for run in sorted.chunk_by(|a, b| a.checked_add(1) == Some(*b)) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        let word = if first == last { first.to_string() } else { format!("{first}:{last}") };
        match sets.last_mut() {
            Some((set, members)) if set.len() + word.len() < SET => {
                set.push(',');
                set.push_str(&word);
                members.extend(run);
            }
            _ => sets.push((word, run.to_vec())),
        }
    }
    sets
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn strings_and_folder_names() {
        assert_eq!(quoted(r#"pa"ss\word"#).unwrap(), r#""pa\"ss\\word""#);
        assert_eq!(quoted("grüße"), None);
        assert_eq!(quoted("a\r\nb"), None);
        // The examples of RFC 3501 §5.1.3.
        assert_eq!(folder("~peter/mail/台北/日本語"), "\"~peter/mail/&U,BTFw-/&ZeVnLIqe-\"");
        assert_eq!(folder("Ärger & \"Lob\""), "\"&AMQ-rger &- \\\"Lob\\\"\"");
        assert_eq!(folder("🔔"), "\"&2D3dFA-\"");
    }

    #[test]
    fn uids_become_ranges() {
        assert_eq!(uid_sets(&[5, 1, 2, 3, 3, 9, u32::MAX])[0].0, "1:3,5,9,4294967295");
        assert!(uid_sets(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn sets_name_every_uid_once_and_stay_short(uids in proptest::collection::vec(1u32..200_000, 0..3000)) {
            let mut want = uids.clone();
            want.sort_unstable();
            want.dedup();
            let mut named = Vec::new();
            for (set, members) in uid_sets(&uids) {
                prop_assert!(set.len() <= SET);
                let mut of_set = Vec::new();
                for part in set.split(',') {
                    let (a, b) = part.split_once(':').unwrap_or((part, part));
                    of_set.extend(a.parse::<u32>().unwrap()..=b.parse::<u32>().unwrap());
                }
                prop_assert_eq!(&of_set, &members);
                named.extend(of_set);
            }
            prop_assert_eq!(named, want);
        }
    }
}
