//! The check as a web page: one file, which shows the failures first.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use jiff::Timestamp;

use super::Checked;
use super::report::{ms, open, sorted};
use crate::model::plays_tricks;
use crate::probe::Kind;

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --bad: #b3261e; --odd: #8a6d00; --good: #1b6e3c; }
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a80; --odd: #e6c34a; --good: #7ddc9c; } }
body { font: 16px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.3rem; margin: 0; } p { margin: .3rem 0 1.2rem; }
div { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .35rem .7rem; border-bottom: 1px solid var(--line); vertical-align: top; }
td:nth-child(2), td:nth-child(4) { text-align: right; font-variant-numeric: tabular-nums; }
.down td:nth-child(3) { color: var(--bad); font-weight: 600; } .unknown td:nth-child(3) { color: var(--odd); }
.open td:nth-child(3) { color: var(--good); }
";

/// Writes the page beside the file, and then into its place: who looks at it never sees half of one.
pub(super) fn write(file: &Path, results: &[Checked], now: Timestamp) -> io::Result<()> {
    let failed = |err: io::Error| io::Error::new(err.kind(), format!("--html {}: {err}", file.display()));
    let name = file.file_name().ok_or_else(|| failed(io::Error::other("it names no file")))?;
    let mut beside = name.to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let new = file.with_file_name(beside);
    let written = OpenOptions::new().write(true).create_new(true).open(&new).and_then(|mut page| {
        page.write_all(page_of(results, now).as_bytes())?;
        std::fs::rename(&new, file)
    });
    written.map_err(|err| {
        // It may not be there.
        let _ = std::fs::remove_file(&new);
        failed(err)
    })
}

fn page_of(results: &[Checked], now: Timestamp) -> String {
    let (all, open) = (results.len(), open(results));
    let title = match open == all {
        true => format!("{open} of {all} ports open"),
        false => format!("{} of {all} ports not open", all - open),
    };
    let at = now.strftime("%Y-%m-%d %H:%M:%S UTC");
    let rows: String = sorted(results).into_iter().map(row).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<p>Checked at <time \
         datetime=\"{now}\">{at}</time> by mailbell {}.</p>\n<div>\n<table>\n<thead><tr><th scope=\"col\">Host</th>\
         <th scope=\"col\">Port</th><th scope=\"col\">Outcome</th><th scope=\"col\">ms</th><th scope=\"col\">Reason</th>\
         </tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n</div>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    )
}

fn row((target, outcome): &Checked) -> String {
    let class = match outcome.kind {
        Kind::Open => "open",
        Kind::Local => "unknown",
        _ => "down",
    };
    let (host, reason) = (escape(target.host.as_str()), escape(&outcome.reason));
    let (port, words, ms) = (target.port, escape(outcome.kind.words()), ms(outcome.took));
    format!(
        "<tr class=\"{class}\"><td>{host}</td><td>{port}</td><td>{words}</td><td>{ms:.1}</td><td>{reason}</td></tr>\n"
    )
}

/// A reason may hold what a server said: text, whatever is in it.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if plays_tricks(c) => safe.extend(c.escape_default()),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::result;
    use super::*;

    fn now() -> Timestamp {
        "2026-11-21T18:42:00Z".parse().unwrap()
    }

    #[test]
    fn failures_come_first_and_what_a_server_says_is_text() {
        let mut hostile = result("bad:80", Kind::Refused);
        hostile.1.reason = "<script>alert(1)</script> & \"'\u{202e}\u{1b}[2J".into();
        let page = page_of(&[result("good:80", Kind::Open), hostile, result("odd:80", Kind::Local)], now());
        assert!(page.contains("<title>2 of 3 ports not open</title>"), "{page}");
        let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("no {text} in {page}"));
        assert!(place("<tr class=\"down\"><td>bad") < place("<tr class=\"unknown\"><td>odd"));
        assert!(place("<tr class=\"unknown\"><td>odd") < place("<tr class=\"open\"><td>good"));
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;&#39;\\u{202e}\\u{1b}[2J"), "{page}");
        assert!(
            !page.contains("<script") && !page.contains("http://") && !page.contains("https://"),
            "it needs nothing else"
        );
    }

    #[test]
    fn the_file_is_replaced_whole_and_a_bad_place_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("report.html");
        for kind in [Kind::Refused, Kind::Open] {
            write(&file, &[result("a:80", kind)], now()).unwrap();
        }
        assert!(std::fs::read_to_string(&file).unwrap().contains("1 of 1 ports open"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let nowhere = dir.path().join("missing/report.html");
        let err = write(&nowhere, &[], now()).unwrap_err().to_string();
        assert!(err.starts_with(&format!("--html {}: ", nowhere.display())), "{err}");
    }
}
