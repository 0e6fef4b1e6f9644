//! The text format of Prometheus, version 0.0.4.

use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;

use super::catalogue::{self as all, Kind, Metric};
use super::family::{Counters, Histogram};
use super::process::Process;
use super::{Metrics, Overview, Sample, lock};

/// Its media type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything, as it is now.
pub async fn render(metrics: &Metrics) -> String {
    let sample = metrics.sample().await;
    let overview = Overview::of(metrics, &sample);
    let mut page = Page::default();
    page.one(&all::BUILD, &[env!("CARGO_PKG_VERSION")], 1);
    page.one(&all::READY, &[], u8::from(overview.ready));
    mailboxes(&mut page, metrics);
    page.counters(&all::STORED, &metrics.store.stored);
    page.counters(&all::MAILS, &metrics.store.mails);
    page.gauges(&all::MAILS_WAITING, sample.backlog.iter().map(|backlog| (String::new(), backlog.mails)));
    page.counters(&all::LMTP_CONNECTIONS, &metrics.doors.connections);
    page.counters(&all::LMTP_MAILS, &metrics.doors.mails);
    notifications(&mut page, metrics, &sample);
    page.gauges(&all::RECIPIENTS, sample.presence.iter().map(|(presence, n)| (presence.clone(), *n)));
    session(&mut page, metrics, &sample);
    page.one(&all::STORE_UP, &[], u8::from(sample.backlog.is_ok()));
    page.histograms(&all::COMMITS, metrics.store.commits());
    let disk = |of: fn(&super::Disk) -> u64| sample.disk.iter().map(move |disk| (String::new(), of(disk)));
    page.gauges(&all::DISK_FREE, disk(|disk| disk.free));
    page.gauges(&all::DISK_RESERVE, disk(|disk| disk.reserve));
    page.gauges(&all::STORE_SIZE, disk(|disk| disk.store));
    page.one(&all::PROBE_TARGETS, &[], sample.targets);
    let told = sample.backlog.iter().flat_map(|backlog| &backlog.probes);
    page.gauges(&all::PROBE_STATES, told.map(|(what, n)| ((*what).to_owned(), *n)));
    page.counters(&all::PROBES, &metrics.probe.outcomes);
    page.histograms(&all::PROBE_TIME, std::iter::once(("", &metrics.probe.open)));
    page.counters(&all::RELOADS, &metrics.reloads);
    page.one(&all::RELOADED, &[], seconds(*lock(&metrics.reloaded)));
    process(&mut page, metrics);
    page.text
}

fn mailboxes(page: &mut Page, metrics: &Metrics) {
    let looks = metrics.looks();
    page.head(&all::MAILBOX_UP);
    for (name, looks) in &looks {
        page.line(&all::MAILBOX_UP, &[name], u8::from(looks.good.is_some() && looks.failing.is_none()));
    }
    page.head(&all::MAILBOX_AGE);
    for (name, looks) in &looks {
        let last = looks.good.map_or(looks.opened, |(at, _)| at);
        page.line(&all::MAILBOX_AGE, &[name], last.elapsed().as_secs_f64());
    }
    page.head(&all::MAILBOX_POLL);
    for (name, poll) in looks.iter().filter_map(|(name, looks)| Some((name, looks.poll?))) {
        page.line(&all::MAILBOX_POLL, &[name], poll.as_secs_f64());
    }
    page.head(&all::MAILBOX_FAILURES);
    for (name, looks) in &looks {
        page.line(&all::MAILBOX_FAILURES, &[name], looks.failures);
    }
}

fn notifications(page: &mut Page, metrics: &Metrics, sample: &Sample) {
    let store = &metrics.store;
    page.counters(&all::ALERTS, &store.alerts);
    page.one(&all::CREATED, &[], store.created.load(Ordering::Relaxed));
    page.counters(&all::ENDED, &store.ended);
    let now = Timestamp::now();
    let states = || sample.backlog.iter().flat_map(|backlog| &backlog.states);
    page.gauges(&all::NOTIFICATIONS, states().map(|(state, (n, _))| (state.clone(), *n)));
    page.gauges(&all::OLDEST, states().map(|(state, (_, oldest))| (state.clone(), age(*oldest, now).as_secs_f64())));
    page.counters(&all::COPIES, &store.copies);
    page.one(&all::ACCEPTED, &[], store.accepted.load(Ordering::Relaxed));
    page.counters(&all::RECEIPTS, &store.receipts);
    page.one(&all::REFUSED, &[], store.refused.load(Ordering::Relaxed));
    page.histograms(&all::TO_ACCEPTED, store.to_accepted());
    page.histograms(&all::TO_DELIVERED, store.to_delivered());
}

fn session(page: &mut Page, metrics: &Metrics, sample: &Sample) {
    let session = metrics.session.get();
    page.one(&all::XMPP_UP, &[], u8::from(session.up));
    page.gauges(&all::XMPP_SESSIONS, [("new".to_owned(), session.new), ("resumed".to_owned(), session.resumed)]);
    page.one(&all::XMPP_LOST, &[], session.lost);
    page.one(&all::XMPP_REFUSED, &[], session.refusals);
    page.one(&all::UNACKNOWLEDGED, &[], sample.unacknowledged);
}

fn process(page: &mut Page, metrics: &Metrics) {
    let Process { cpu, threads, resident, virtual_memory, fds, max_fds } = Process::read();
    let some = |value: Option<u64>| value.map(|value| (String::new(), value));
    page.gauges(&all::CPU, cpu.map(|cpu| (String::new(), cpu.as_secs_f64())));
    page.gauges(&all::THREADS, some(threads));
    page.gauges(&all::RESIDENT, some(resident));
    page.gauges(&all::VIRTUAL, some(virtual_memory));
    page.gauges(&all::OPEN_FDS, some(fds));
    page.gauges(&all::MAX_FDS, some(max_fds));
    page.one(&all::STARTED, &[], seconds(metrics.started.1));
}

/// How long ago; 0 where there is nothing.
pub(super) fn age(at: Option<Timestamp>, now: Timestamp) -> Duration {
    at.and_then(|at| Duration::try_from(now.duration_since(at)).ok()).unwrap_or_default()
}

fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn head(&mut self, metric: &Metric) {
        let Metric { name, kind, help, .. } = metric;
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.as_str()));
    }

    fn line(&mut self, metric: &Metric, labels: &[&str], value: impl std::fmt::Display) {
        self.write(format_args!("{}{} {value}\n", metric.name, Shown(metric, labels, None)));
    }

    fn one(&mut self, metric: &Metric, labels: &[&str], value: impl std::fmt::Display) {
        self.head(metric);
        self.line(metric, labels, value);
    }

    /// Of metrics with one label, or none.
    fn gauges<T: std::fmt::Display>(&mut self, metric: &Metric, values: impl IntoIterator<Item = (String, T)>) {
        self.head(metric);
        for (label, value) in values {
            let labels = [label.as_str()];
            self.line(metric, labels.get(..metric.labels.len()).unwrap_or_default(), value);
        }
    }

    fn counters(&mut self, metric: &Metric, counters: &Counters) {
        self.head(metric);
        for (labels, n) in counters.all() {
            let labels: Vec<&str> = labels.iter().map(AsRef::as_ref).collect();
            self.line(metric, &labels, n);
        }
    }

    /// Of metrics with one label, or none.
    fn histograms<'a>(&mut self, metric: &Metric, histograms: impl Iterator<Item = (&'static str, &'a Histogram)>) {
        debug_assert_eq!(metric.kind, Kind::Histogram);
        self.head(metric);
        let name = metric.name;
        for (label, histogram) in histograms {
            let labels = [label];
            let labels = labels.get(..metric.labels.len()).unwrap_or_default();
            let (buckets, sum) = histogram.read();
            let count = buckets.last().map_or(0, |(_, n)| *n);
            for (bound, n) in buckets {
                let le = bound.map_or_else(|| "+Inf".to_owned(), |bound| bound.to_string());
                self.write(format_args!("{name}_bucket{} {n}\n", Shown(metric, labels, Some(&le))));
            }
            let shown = Shown(metric, labels, None);
            self.write(format_args!("{name}_sum{shown} {sum}\n{name}_count{shown} {count}\n"));
        }
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        // Into a string it cannot fail.
        let _ = self.text.write_fmt(text);
    }
}

/// `{name="value",le="1"}`, or nothing.
struct Shown<'a>(&'a Metric, &'a [&'a str], Option<&'a str>);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(metric, values, le) = self;
        let labels = metric.labels.iter().copied().zip(values.iter().copied()).chain(le.map(|le| ("le", le)));
        let mut before = '{';
        for (name, value) in labels {
            write!(f, "{before}{name}=\"{}\"", escaped(value))?;
            before = ',';
        }
        if before == ',' { f.write_char('}') } else { Ok(()) }
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped() {
        let mut page = Page::default();
        page.line(&all::MAILBOX_UP, &["a\"b\\c\nd"], 1);
        page.line(&all::READY, &[], 0);
        assert_eq!(page.text, "mailbell_mailbox_up{mailbox=\"a\\\"b\\\\c\\nd\"} 1\nmailbell_ready 0\n");
    }

    #[test]
    fn a_histogram_has_its_buckets_sum_and_count() {
        let histogram = Histogram::new(&[0.001, 1.0]);
        histogram.observe(Duration::from_millis(1));
        histogram.observe(Duration::from_secs(2));
        let mut page = Page::default();
        page.histograms(&all::TO_ACCEPTED, std::iter::once(("express", &histogram)));
        let lines: Vec<&str> = page.text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "mailbell_time_to_accepted_seconds_bucket{way=\"express\",le=\"0.001\"} 1",
                "mailbell_time_to_accepted_seconds_bucket{way=\"express\",le=\"1\"} 1",
                "mailbell_time_to_accepted_seconds_bucket{way=\"express\",le=\"+Inf\"} 2",
                "mailbell_time_to_accepted_seconds_sum{way=\"express\"} 2.001",
                "mailbell_time_to_accepted_seconds_count{way=\"express\"} 2",
            ]
        );
    }

    #[tokio::test]
    async fn the_page_has_exactly_what_the_catalogue_lists() {
        let metrics = Metrics::new(std::sync::Arc::default());
        metrics.open("ops");
        let text = render(&metrics).await;
        let typed: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let listed: Vec<String> = all::ALL.iter().map(|m| format!("{} {}", m.name, m.kind.as_str())).collect();
        assert_eq!(typed, listed);
        assert!(text.contains("mailbell_mails_total{mailbox=\"ops\",outcome=\"quarantined\"} 0\n"), "{text}");
        assert!(text.contains("mailbell_store_up 0\n"), "nobody has looked yet: {text}");
    }
}
