//! The check as a Nagios plugin: Monitoring Plugins Development Guidelines, "Plugin Output" and "Plugin Return Codes".

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use super::Checked;
use super::report::{open, sorted};
use crate::probe::Kind;

const OK: u8 = 0;
const CRITICAL: u8 = 2;
const UNKNOWN: u8 = 3;
/// Most failures that the line names, and most targets that have performance data of their own.
const NAMED: usize = 10;
const MEASURED: usize = 50;

/// The check came to nothing.
pub(in crate::cli) fn unknown(why: &str) -> ExitCode {
    let why: Vec<String> = why.lines().map(plain).collect();
    println!("MAILBELL UNKNOWN - {}", why.join(" "));
    ExitCode::from(UNKNOWN)
}

/// One line: what is wrong, and behind the bar what it took. Gives the exit code.
pub(super) fn line(out: &mut dyn Write, results: &[Checked], took: Duration) -> io::Result<u8> {
    let (all, open) = (results.len(), open(results));
    let bad: Vec<String> = sorted(results)
        .into_iter()
        .filter(|(_, outcome)| outcome.kind != Kind::Open)
        .map(|(target, outcome)| format!("{target} {}", outcome.kind.words()))
        .collect();
    let any = |up| results.iter().any(|(_, outcome)| outcome.kind.up() == up);
    let (code, word) = match () {
        () if any(Some(false)) => (CRITICAL, "CRITICAL"),
        () if any(None) => (UNKNOWN, "UNKNOWN"),
        () => (OK, "OK"),
    };
    let named = match bad.len() {
        0 => String::new(),
        n if n > NAMED => {
            format!(": {}, and {} more", bad.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", "), n - NAMED)
        }
        _ => format!(": {}", bad.join(", ")),
    };
    // 'label'=value[UOM];[warn];[crit];[min];[max]
    let mut data = format!("open={open};;{all}:;0;{all} time={:.3}s;;;0", took.as_secs_f64());
    if all <= MEASURED {
        for (target, outcome) in results.iter().filter(|(_, outcome)| outcome.kind == Kind::Open) {
            data.push_str(&format!(" '{target}'={:.4}s;;;0", outcome.took.as_secs_f64()));
        }
    }
    writeln!(out, "MAILBELL {word} - {open} of {all} open{} | {data}", plain(&named))?;
    Ok(code)
}

/// On one line, and without the bar that performance data begins with.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c == '|' || c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::result;
    use super::*;

    fn of(results: &[Checked]) -> (u8, String) {
        let mut out = Vec::new();
        let code = line(&mut out, results, Duration::from_millis(113)).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn one_line_tells_it_and_the_exit_code_is_that_of_a_plugin() {
        let fine = [result("a:80", Kind::Open), result("[2001:db8::1]:443", Kind::Open)];
        let want = "MAILBELL OK - 2 of 2 open | open=2;;2:;0;2 time=0.113s;;;0 'a:80'=0.0013s;;;0 \
            '[2001:db8::1]:443'=0.0013s;;;0\n";
        assert_eq!(of(&fine), (0, want.to_owned()));
        let bad = [result("a:80", Kind::Open), result("b:80", Kind::Refused), result("c:80", Kind::Local)];
        let want = "MAILBELL CRITICAL - 1 of 3 open: b:80 refused, c:80 not checked | open=1;;3:;0;3 time=0.113s;;;0 \
            'a:80'=0.0013s;;;0\n";
        assert_eq!(of(&bad), (2, want.to_owned()));
        assert_eq!(of(&bad[2..]).0, 3);
    }

    #[test]
    fn the_line_is_bounded() {
        let many: Vec<Checked> = (1..=60000).map(|port| result(&format!("host:{port}"), Kind::TimedOut)).collect();
        let (code, line) = of(&many);
        assert_eq!((code, line.lines().count()), (2, 1));
        assert!(line.contains("host:10 timed out, and 59990 more |") && line.len() < 1000, "{line}");
    }
}
