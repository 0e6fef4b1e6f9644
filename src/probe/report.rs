//! What the news of a host say to people, as alerts.

mod certificate;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::outcome::Kind;
use super::settings::Probe;
use super::state::{Failure, Flaps, News, Newsworthy, Told};
use super::target::{Host, Target};
use crate::model::{Alert, Format, Key, Severity, Status, human};

/// What is said of what flaps.
const AT_REST: &str = "Nothing more is told of it until it stays up or down.";
/// Most ports of a host that a text lists.
const LISTED: usize = 20;

/// The alerts of a host's news, in order.
pub fn alerts(host: &Host, news: &News) -> Vec<Alert> {
    news.tell.iter().map(|(what, sent, before)| alert(host, what, *sent, before.as_ref())).collect()
}

fn alert(host: &Host, what: &Newsworthy, sent: Timestamp, before: Option<&Told>) -> Alert {
    let flaps = matches!(what, Newsworthy::Flaps(..) | Newsworthy::HostFlaps(..));
    let mut alert = worded(host, what, sent, before);
    // What people know changes although the condition stays open: no repetition, which would be kept back.
    if alert.status == Status::Firing && before.is_some_and(|told| told.flaps() != flaps) {
        alert.status = Status::Update;
    }
    alert
}

fn worded(host: &Host, what: &Newsworthy, sent: Timestamp, before: Option<&Told>) -> Alert {
    match what {
        Newsworthy::Outage(probe, failure) => outage(probe, failure, sent),
        Newsworthy::HostOutage(ports) => host_outage(host, ports, sent),
        Newsworthy::Flaps(probe, flaps) => port_flaps(probe, flaps, sent),
        Newsworthy::HostFlaps(ports) => host_flaps(host, ports, sent),
        Newsworthy::Recovery(port, probe) => recovery(host, *port, probe.as_ref(), sent, before),
        Newsworthy::HostRecovery(up, down) => host_recovery(host, up, down, sent, before),
        Newsworthy::Expiry(probe, ends) => certificate::expiry(probe, *ends, sent),
        Newsworthy::Renewal(port, probe) => certificate::renewal(host, *port, probe.as_ref(), sent, before),
    }
}

fn outage(probe: &Arc<Probe>, failure: &Failure, sent: Timestamp) -> Alert {
    let Target { host, port } = &probe.target;
    let mut alert = blank(host, &probe.target.to_string(), Status::Firing, sent);
    alert.severity = probe.rules.severity;
    alert.title = format!("{} is down: {}", probe.target, failure.kind.words());
    alert.text = [
        format!("Outage since {}", at(failure.since)),
        format!("Host: {host}"),
        format!("Port: {port}{}", in_classes(probe)),
        format!("Failure: {}", failure.kind.words()),
        format!("Reason: {}", failure.reason),
        format!("Attempts: {}", failure.attempts),
    ]
    .join("\n");
    label(&mut alert, std::slice::from_ref(probe));
    alert.labels.add("failure", failure.kind.as_str());
    alert.labels.add("reason", &*failure.reason);
    alert.labels.add("since", failure.since.to_string());
    alert.labels.add("attempts", failure.attempts.to_string());
    alert
}

fn host_outage(host: &Host, ports: &[(Arc<Probe>, Failure)], sent: Timestamp) -> Alert {
    let mut alert = blank(host, host.as_str(), Status::Firing, sent);
    let probes: Vec<Arc<Probe>> = ports.iter().map(|(probe, _)| probe.clone()).collect();
    alert.severity = probes.iter().map(|probe| probe.rules.severity).max().unwrap_or(Severity::Major);
    let first = ports.iter().map(|(_, failure)| failure).min_by_key(|failure| failure.since);
    let mut kinds: Vec<Kind> = ports.iter().map(|(_, failure)| failure.kind).collect();
    kinds.sort();
    kinds.dedup();
    let how: Vec<&str> = kinds.iter().map(|kind| kind.words()).collect();
    alert.title = format!("{host} is down: none of its {} ports answers: {}", ports.len(), how.join(", "));
    let mut lines = vec![format!("Outage since {}", first.map_or_else(|| at(sent), |failure| at(failure.since)))];
    lines.push(format!("Host: {host}"));
    lines.extend(listed(ports));
    alert.text = lines.join("\n");
    label(&mut alert, &probes);
    for kind in kinds {
        alert.labels.add("failure", kind.as_str());
    }
    if let Some(failure) = first {
        alert.labels.add("reason", &*failure.reason);
        alert.labels.add("since", failure.since.to_string());
        alert.labels.add("attempts", failure.attempts.to_string());
    }
    alert
}

fn port_flaps(probe: &Arc<Probe>, flaps: &Flaps, sent: Timestamp) -> Alert {
    let Target { host, port } = &probe.target;
    let mut alert = blank(host, &probe.target.to_string(), Status::Firing, sent);
    alert.severity = probe.rules.severity;
    alert.title = format!("{} flaps: {flaps}", probe.target);
    alert.text = [
        format!("Up and down since {}", at(flaps.since)),
        format!("Host: {host}"),
        format!("Port: {port}{}", in_classes(probe)),
        AT_REST.to_owned(),
    ]
    .join("\n");
    label(&mut alert, std::slice::from_ref(probe));
    flapping(&mut alert, flaps);
    alert
}

fn host_flaps(host: &Host, ports: &[(Arc<Probe>, Flaps)], sent: Timestamp) -> Alert {
    let mut alert = blank(host, host.as_str(), Status::Firing, sent);
    let probes: Vec<Arc<Probe>> = ports.iter().map(|(probe, _)| probe.clone()).collect();
    alert.severity = probes.iter().map(|probe| probe.rules.severity).max().unwrap_or(Severity::Major);
    alert.title = format!("{host} flaps: all of its ports ({}) go up and down", ports.len());
    let line =
        |(probe, flaps): &(Arc<Probe>, Flaps)| format!("Port {}{}: {flaps}", probe.target.port, in_classes(probe));
    let first = ports.first().map(|(_, flaps)| *flaps);
    let mut lines = vec![format!("Up and down since {}", at(first.map_or(sent, |flaps| flaps.since)))];
    lines.push(format!("Host: {host}"));
    lines.extend(at_most(ports, line));
    lines.push(AT_REST.to_owned());
    alert.text = lines.join("\n");
    label(&mut alert, &probes);
    first.iter().for_each(|flaps| flapping(&mut alert, flaps));
    alert
}

fn flapping(alert: &mut Alert, flaps: &Flaps) {
    alert.labels.add("failure", "flapping");
    alert.labels.add("reason", flaps.to_string());
    alert.labels.add("since", flaps.since.to_string());
}

fn recovery(host: &Host, port: u16, probe: Option<&Arc<Probe>>, sent: Timestamp, before: Option<&Told>) -> Alert {
    let target = Target { host: host.clone(), port };
    let mut alert = blank(host, &target.to_string(), Status::Resolved, sent);
    alert.title = match probe {
        Some(_) if before.is_some_and(Told::flaps) => format!("{target} answers steadily again"),
        Some(_) => format!("{target} answers again"),
        None => format!("{target} is not probed any more"),
    };
    alert.text = ended(probe.is_some(), sent, before);
    end(&mut alert, before);
    label_end(&mut alert, &target, probe);
    alert
}

fn host_recovery(
    host: &Host,
    up: &[Arc<Probe>],
    down: &[(Arc<Probe>, Failure)],
    sent: Timestamp,
    before: Option<&Told>,
) -> Alert {
    let mut alert = blank(host, host.as_str(), Status::Resolved, sent);
    let probed = !up.is_empty() || !down.is_empty();
    let ports: Vec<String> = up.iter().map(|probe| probe.target.port.to_string()).take(LISTED).collect();
    alert.title = match probed {
        true => format!("{host} answers again on port {}", ports.join(", ")),
        false => format!("{host} is not probed any more"),
    };
    let mut lines = vec![ended(probed, sent, before)];
    if !down.is_empty() {
        lines.push("Not yet:".to_owned());
        lines.extend(listed(down));
    }
    alert.text = lines.join("\n");
    end(&mut alert, before);
    let all: Vec<Arc<Probe>> = up.iter().cloned().chain(down.iter().map(|(probe, _)| probe.clone())).collect();
    label(&mut alert, &all);
    alert.labels.add("host", host.as_str());
    alert
}

/// One report of the condition `probe/WHAT`. Its id is its own for ever: one that is sent twice is known as the same.
fn blank(host: &Host, what: &str, status: Status, sent: Timestamp) -> Alert {
    let key = format!("probe/{what}");
    Alert {
        id: format!("{key}/{}", sent.as_millisecond()),
        key: Key(key),
        sender: host.to_string(),
        status,
        sent: Some(sent),
        ..Alert::empty(Format::Native)
    }
}

/// What the config says of the ports: labels, classes, groups.
fn label(alert: &mut Alert, probes: &[Arc<Probe>]) {
    for probe in probes {
        alert.labels.add("host", probe.target.host.as_str());
        alert.labels.add("port", probe.target.port.to_string());
        for class in &probe.classes {
            alert.labels.add("class", class);
        }
        for (name, value) in &probe.rules.labels {
            alert.labels.add(name, value);
        }
        for group in &probe.rules.groups {
            if !alert.groups.iter().any(|known| known == group.as_str()) {
                alert.groups.push(group.to_string());
            }
        }
    }
}

/// The same of what is over, and may not be in the config any more.
fn label_end(alert: &mut Alert, target: &Target, probe: Option<&Arc<Probe>>) {
    alert.labels.add("host", target.host.as_str());
    alert.labels.add("port", target.port.to_string());
    label(alert, probe.map(std::slice::from_ref).unwrap_or_default());
}

fn listed(ports: &[(Arc<Probe>, Failure)]) -> impl Iterator<Item = String> {
    let line = |(probe, failure): &(Arc<Probe>, Failure)| {
        format!("Port {}{}: {}, {}", probe.target.port, in_classes(probe), failure.reason, times(failure.attempts))
    };
    at_most(ports, line)
}

fn at_most<T>(all: &[T], line: impl Fn(&T) -> String) -> impl Iterator<Item = String> {
    let more = all.len().saturating_sub(LISTED);
    let more = (more > 0).then(|| format!("and {more} more"));
    all.iter().take(LISTED).map(line).chain(more).collect::<Vec<_>>().into_iter()
}

fn times(attempts: u32) -> String {
    if attempts == 1 { "1 attempt".to_owned() } else { format!("{attempts} attempts") }
}

fn in_classes(probe: &Probe) -> String {
    if probe.classes.is_empty() { String::new() } else { format!(" ({})", probe.classes.join(", ")) }
}

fn ended(probed: bool, sent: Timestamp, before: Option<&Told>) -> String {
    let Some(told) = before else { return String::new() };
    let lasted = human(Duration::try_from(sent.duration_since(told.since)).unwrap_or_default());
    let was = if told.flaps() { "up and down" } else { "down" };
    let mut begin = was.to_owned();
    begin.get_mut(..1).into_iter().for_each(str::make_ascii_uppercase);
    match probed {
        true => format!("{begin} for {lasted}, since {}.", at(told.since)),
        false => format!("It was {was} for {lasted}, since {}; the config does not name it any more.", at(told.since)),
    }
}

fn end(alert: &mut Alert, before: Option<&Told>) {
    let Some(told) = before else { return };
    alert.severity = told.severity;
    alert.labels.add("failure", &*told.kind);
    alert.labels.add("since", told.since.to_string());
}

/// To the second: an outage is looked for in other logs.
fn at(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::super::outcome::Outcome;
    use super::super::settings::{Flapping, Rules};
    use super::super::state::HostState;
    use super::*;

    fn probe(port: u16) -> Arc<Probe> {
        let second = Duration::from_secs(1);
        Arc::new(Probe {
            target: format!("db1.example.org:{port}").parse().unwrap(),
            classes: vec!["domino".into()],
            rules: Rules {
                interval: second * 60,
                attempts: 1,
                retry_interval: second,
                timeout: second,
                severity: if port == 80 { Severity::Critical } else { Severity::Major },
                groups: vec!["ops".parse().unwrap()],
                labels: vec![("site".into(), "berlin".into())],
                depends_on: Vec::new(),
                flapping: Flapping { on: true, start: 30, stop: 25 },
                talk: None,
            },
        })
    }

    fn see(state: &mut HostState, port: u16, kind: Kind, seconds: i64) -> Vec<Alert> {
        let now = Timestamp::from_second(1_800_000_000 + seconds).unwrap();
        let reason = "192.0.2.7 refused the connection".into();
        state.observe(port, &Outcome { kind, reason, took: Duration::ZERO, certificate: None }, now);
        let Some(news) = state.news(now, Duration::from_secs(3600)) else { return Vec::new() };
        state.told(news.saved.clone());
        alerts(&"db1.example.org".parse().unwrap(), &news)
    }

    #[test]
    fn an_outage_says_when_where_how_and_why_and_the_end_how_long() {
        let mut state = HostState::default();
        state.configure([probe(1352)], Timestamp::UNIX_EPOCH);
        let down = see(&mut state, 1352, Kind::Refused, 0);
        let up = see(&mut state, 1352, Kind::Open, 754);
        insta::assert_json_snapshot!([&down, &up]);
        assert_eq!(down[0].key, up[0].key);
    }

    #[test]
    fn a_host_lists_its_ports() {
        let mut state = HostState::default();
        state.configure([probe(80), probe(1352)], Timestamp::UNIX_EPOCH);
        see(&mut state, 80, Kind::Refused, 0);
        let down = see(&mut state, 1352, Kind::TimedOut, 1);
        let up = see(&mut state, 1352, Kind::Open, 61);
        insta::assert_json_snapshot!([&down, &up]);
    }

    #[test]
    fn what_flaps_says_how_often_it_changed() {
        for ports in [&[1352][..], &[80, 1352]] {
            let mut state = HostState::default();
            state.configure(ports.iter().map(|port| probe(*port)), Timestamp::UNIX_EPOCH);
            let mut told = Vec::new();
            for n in 0..40 {
                let kind = if n % 2 == 0 || n > 12 { Kind::Open } else { Kind::Refused };
                for port in ports {
                    told.extend(see(&mut state, *port, kind, 60 * n));
                }
            }
            let flapping: Vec<&Alert> = told.iter().skip_while(|alert| !alert.title.contains("flaps")).collect();
            assert_eq!(flapping.len(), 2, "{told:?}");
            insta::assert_json_snapshot!(flapping);
        }
    }

    #[test]
    fn a_certificate_that_ends_soon_is_a_warning_with_a_condition_of_its_own() {
        use super::super::outcome::Certificate;
        use super::super::talk::{Talk, Tls};
        let day = Duration::from_secs(86_400);
        let mut probe = Arc::unwrap_or_clone(probe(443));
        let tls = Tls { name: None, ca_file: None, warning: 14 * day };
        probe.rules.talk = Some(Arc::new(Talk { tls: Some(tls), exchange: None }));
        let mut state = HostState::default();
        state.configure([Arc::new(probe)], Timestamp::UNIX_EPOCH);
        let mut see = |certificate, days: i64| {
            let now = Timestamp::from_second(1_800_000_000 + days * 86_400).unwrap();
            let outcome =
                Outcome { kind: Kind::Open, reason: String::new(), took: day, certificate: Some(certificate) };
            state.observe(443, &outcome, now);
            let news = state.news(now, Duration::from_secs(3600)).unwrap();
            state.told(news.saved.clone());
            alerts(&"db1.example.org".parse().unwrap(), &news)
        };
        let ends = Certificate::Ends(Timestamp::from_second(1_800_000_000 + 10 * 86_400 - 60).unwrap());
        let (soon, again, renewed) = (see(ends, 0), see(ends, 9), see(Certificate::Lasts, 10));
        insta::assert_json_snapshot!([&soon, &again, &renewed]);
    }

    #[test]
    fn what_is_not_probed_any_more_is_over() {
        let mut state = HostState::default();
        state.configure([probe(80)], Timestamp::UNIX_EPOCH);
        see(&mut state, 80, Kind::Refused, 0);
        state.configure([], Timestamp::UNIX_EPOCH);
        let gone = see(&mut state, 80, Kind::Open, 60);
        assert_eq!(
            (gone[0].status, gone[0].title.as_str()),
            (Status::Resolved, "db1.example.org:80 is not probed any more")
        );
        assert_eq!(gone[0].labels.get("port"), ["80"]);
    }
}
