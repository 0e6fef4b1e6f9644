//! What a check found: a line of JSON each, or a table.

use std::collections::HashMap;
use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::Checked;
use crate::cli::table::write as table_of;
use crate::probe::{Host, Kind, Outcome, Target};

#[derive(Serialize)]
struct Line<'a> {
    host: &'a str,
    port: u16,
    outcome: &'static str,
    reason: &'a str,
    ms: f64,
}

/// One target as a line of JSON.
pub(super) fn line(target: &Target, outcome: &Outcome) -> io::Result<String> {
    Ok(crate::cli::json::line(&Line {
        host: target.host.as_str(),
        port: target.port,
        outcome: outcome.kind.as_str(),
        reason: &outcome.reason,
        ms: ms(outcome.took),
    })?)
}

/// To a tenth.
pub(super) fn ms(took: Duration) -> f64 {
    (took.as_secs_f64() * 10_000.0).round() / 10.0
}

/// By host, those with a failure first, and within a host the failures.
pub(super) fn sorted(results: &[Checked]) -> Vec<&Checked> {
    let mut order: HashMap<&Host, (bool, usize)> = HashMap::new();
    for (n, (target, outcome)) in results.iter().enumerate() {
        let (fine, _) = order.entry(&target.host).or_insert((true, n));
        *fine &= outcome.kind == Kind::Open;
    }
    let mut sorted: Vec<&Checked> = results.iter().collect();
    sorted.sort_by_key(|(target, outcome)| (order.get(&target.host).copied(), outcome.kind == Kind::Open));
    sorted
}

/// How many are open.
pub(super) fn open(results: &[Checked]) -> usize {
    results.iter().filter(|(_, outcome)| outcome.kind == Kind::Open).count()
}

/// A table for people.
pub(super) fn table(out: &mut dyn Write, results: &[Checked]) -> io::Result<()> {
    let rows: Vec<[String; 5]> = sorted(results)
        .into_iter()
        .map(|(target, outcome)| {
            let ms = format!("{:.1}", ms(outcome.took));
            let (host, port) = (target.host.to_string(), target.port.to_string());
            [host, port, outcome.kind.words().to_owned(), ms, outcome.reason.clone()]
        })
        .collect();
    table_of(out, ["HOST", "PORT", "OUTCOME", "MS", "REASON"], &rows)?;
    writeln!(out, "{} of {} open", open(results), results.len())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::cli::check) fn result(target: &str, kind: Kind) -> (Target, Outcome) {
        let reason = format!("192.0.2.1 says {}", kind.as_str());
        (target.parse().unwrap(), Outcome { kind, reason, took: Duration::from_micros(1250), certificate: None })
    }

    #[test]
    fn failures_come_first_and_hosts_stay_together() {
        let results = [
            result("good:80", Kind::Open),
            result("half:80", Kind::Open),
            result("bad:80", Kind::NoSuchName),
            result("half:443", Kind::Refused),
        ];
        let mut out = Vec::new();
        table(&mut out, &results).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r"
        HOST  PORT  OUTCOME                     MS   REASON
        half  443   refused                     1.3  192.0.2.1 says refused
        half  80    open                        1.3  192.0.2.1 says open
        bad   80    unknown host: no such name  1.3  192.0.2.1 says no_such_name
        good  80    open                        1.3  192.0.2.1 says open
        2 of 4 open
        ");
    }

    #[test]
    fn scripts_get_one_object_a_line() {
        let (target, outcome) = result("[2001:db8::1]:443", Kind::TimedOut);
        let want =
            r#"{"host":"2001:db8::1","port":443,"outcome":"timed_out","reason":"192.0.2.1 says timed_out","ms":1.3}"#;
        assert_eq!(line(&target, &outcome).unwrap(), want);
    }
}
