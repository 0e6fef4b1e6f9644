//! The archive as lines of CSV (RFC 4180). A spreadsheet takes a cell that begins with one of some characters for a formula: such a
//! cell gets an apostrophe before it, since its text is from a mail.

use jiff::Timestamp;

use super::ArchiveRow;

/// The names of the columns.
pub const CSV_HEAD: &str = "id,created,kind,alert,source,sender,status,severity,title,text,recipient,jid,groups,state,reason,\
                            attempts,intended,accepted,delivered,ended,digest\r\n";

/// What makes a formula of a cell, also in the full width of East Asian fonts; a tab or a line end is skipped by some.
const FORMULA: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// One message as a line, with its end.
pub fn csv_line(row: &ArchiveRow) -> String {
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
    let groups: Vec<_> = row.groups.iter().map(|group| group.as_str()).collect();
    let cells = [
        row.id.to_string(),
        row.created.to_string(),
        row.kind.as_str().to_owned(),
        row.alert.clone().unwrap_or_default(),
        row.source.clone(),
        row.sender.clone(),
        row.status.clone(),
        row.severity.to_string(),
        row.title.clone(),
        row.text.clone(),
        row.recipient.to_string(),
        row.jid.clone(),
        groups.join(" "),
        row.state.as_str().to_owned(),
        row.reason.clone(),
        row.attempts.to_string(),
        time(row.intended),
        time(row.accepted),
        time(row.delivered),
        time(row.ended),
        row.digest.map(|id| id.to_string()).unwrap_or_default(),
    ];
    cells.map(|cell| self::cell(&cell)).join(",") + "\r\n"
}

fn cell(text: &str) -> String {
    let formula = text.trim_start_matches([' ', '\u{a0}', '\u{feff}']).starts_with(FORMULA);
    let text = format!("{}{text}", if formula { "'" } else { "" });
    match text.contains([',', '"', '\r', '\n', ';', '\t']) || text.starts_with(' ') || text.ends_with(' ') {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_never_a_formula_and_never_two() {
        for (text, expected) in [
            ("plain", "plain"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("say \"a\"", "\"say \"\"a\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=1+1", "'=1+1"),
            ("=HYPERLINK(\"http://x\")", "\"'=HYPERLINK(\"\"http://x\"\")\""),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "\"'\t=1\""),
            ("\n=1", "\"'\n=1\""),
            (" =1", "' =1"),
            ("\u{feff}=1", "'\u{feff}=1"),
            ("＝1", "'＝1"),
            ("a=1", "a=1"),
        ] {
            assert_eq!(cell(text), expected, "{text:?}");
        }
    }
}
