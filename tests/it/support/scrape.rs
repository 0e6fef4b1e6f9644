//! What the running service tells about itself: asked at its control socket, and read by a strict parser of the text format of
//! Prometheus (version 0.0.4).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::mailbell::{Mailbell, SOON};
use super::wait_for;

/// Status and body of `GET path`.
pub fn get(mailbell: &Mailbell, path: &str) -> (u16, String) {
    let mut socket = UnixStream::connect(mailbell.path("mailbell.db.sock")).unwrap();
    get_from(&mut socket, path)
}

/// The same, where the store is elsewhere.
pub fn get_from(socket: &mut UnixStream, path: &str) -> (u16, String) {
    socket.set_read_timeout(Some(SOON)).unwrap();
    write!(socket, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// What `/v1/readyz` says.
pub fn ready(mailbell: &Mailbell) -> (u16, serde_json::Value) {
    let (status, body) = get(mailbell, "/v1/readyz");
    (status, serde_json::from_str(&body).unwrap())
}

/// Waits until it is ready, or not.
pub async fn is_ready(mailbell: &Mailbell, wanted: bool) -> serde_json::Value {
    wait_for(&format!("ready to be {wanted}"), SOON * 3, async || {
        let (status, body) = ready(mailbell);
        assert_eq!(status, if body["ready"] == true { 200 } else { 503 });
        tokio::time::sleep(Duration::from_millis(20)).await;
        (body["ready"] == wanted).then_some(body)
    })
    .await
}

/// A page, read.
pub struct Scrape {
    pub text: String,
    /// By name and labels as they stand on the page.
    pub values: BTreeMap<String, f64>,
    /// Name and type, in the order of the page.
    pub metrics: Vec<(String, String)>,
}

impl Scrape {
    pub fn of(mailbell: &Mailbell) -> Self {
        let (status, text) = get(mailbell, "/v1/metrics");
        assert_eq!(status, 200, "{text}");
        Self::parse(text)
    }

    /// Fails on whatever the format does not allow.
    pub fn parse(text: String) -> Self {
        assert!(text.ends_with('\n'), "the last line has no end");
        let (mut values, mut metrics) = (BTreeMap::new(), Vec::<(String, String)>::new());
        let mut helped: Option<String> = None;
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, meaning) = help.split_once(' ').unwrap();
                assert!(!meaning.is_empty() && metrics.iter().all(|(known, _)| known != name), "{line}");
                helped = Some(name.to_owned());
            } else if let Some(of) = line.strip_prefix("# TYPE ") {
                let (name, kind) = of.split_once(' ').unwrap();
                assert_eq!(helped.take().as_deref(), Some(name), "HELP and TYPE belong together: {line}");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                metrics.push((name.to_owned(), kind.to_owned()));
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
                let (metric, kind) = metrics.last().unwrap_or_else(|| panic!("no TYPE before {line}"));
                check_series(series, metric, kind);
                let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
                assert!(value.is_finite() && (kind == "gauge" || value >= 0.0), "{line}");
                assert!(values.insert(series.to_owned(), value).is_none(), "twice: {line}");
            }
        }
        let scrape = Self { text, values, metrics };
        scrape.check_histograms();
        scrape
    }

    /// One value; 0 would be something else than absent.
    pub fn value(&self, series: &str) -> f64 {
        *self.values.get(series).unwrap_or_else(|| panic!("there is no {series} in:\n{}", self.text))
    }

    /// Buckets rise, and end with the count.
    fn check_histograms(&self) {
        for (name, _) in self.metrics.iter().filter(|(_, kind)| kind == "histogram") {
            let prefix = format!("{name}_bucket");
            let mut of: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
            for (series, value) in self.values.iter().filter(|(series, _)| series.starts_with(&prefix)) {
                let mut labels = labels(series);
                let le = labels.remove("le").unwrap();
                let bound = if le == "+Inf" { f64::INFINITY } else { le.parse().unwrap() };
                of.entry(format!("{labels:?}")).or_default().push((bound, *value));
            }
            assert!(!of.is_empty(), "{name} has no buckets");
            let counts: BTreeMap<String, f64> = (self.values.iter())
                .filter(|(series, _)| series.starts_with(&format!("{name}_count")))
                .map(|(series, value)| (format!("{:?}", labels(series)), *value))
                .collect();
            assert_eq!(of.keys().collect::<BTreeSet<_>>(), counts.keys().collect(), "{name}");
            for (labels, mut buckets) in of {
                buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
                assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{name}{labels}: {buckets:?}");
                let last = buckets.last().unwrap();
                assert!(last.0.is_infinite() && last.1 == counts[&labels], "{name}{labels}");
            }
        }
    }
}

fn check_series(series: &str, metric: &str, kind: &str) {
    let name = series.split('{').next().unwrap();
    let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
    assert!(suffixes.iter().any(|suffix| name == format!("{metric}{suffix}")), "{series} under {metric}");
    let labels = labels(series);
    assert_eq!(labels.contains_key("le"), name.ends_with("_bucket") && kind == "histogram", "{series}");
}

/// `name{a="x",b="y"}`; escapes are `\\`, `\"` and `\n`.
fn labels(series: &str) -> BTreeMap<String, String> {
    let Some((_, rest)) = series.split_once('{') else { return BTreeMap::new() };
    let mut rest = rest.strip_suffix('}').unwrap_or_else(|| panic!("no end: {series}"));
    let mut labels = BTreeMap::new();
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("no value: {series}"));
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !name.starts_with("__"), "{series}");
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().unwrap_or_else(|| panic!("no end: {series}")) {
                (at, '"') => break at,
                (_, '\\') => match chars.next().unwrap().1 {
                    'n' => value.push('\n'),
                    c @ ('\\' | '"') => value.push(c),
                    c => panic!("\\{c}: {series}"),
                },
                (_, c) => value.push(c),
            }
        };
        assert!(labels.insert(name.to_owned(), value).is_none(), "{series}");
        rest = &after[end + 1..];
        if let Some(more) = rest.strip_prefix(',') {
            assert!(!more.is_empty(), "{series}");
            rest = more;
        } else {
            assert!(rest.is_empty(), "{series}");
        }
    }
    labels
}
