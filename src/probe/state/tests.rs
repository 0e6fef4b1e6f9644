mod certificates;
mod flapping;
mod holds;
mod model;

use super::*;
use crate::probe::settings::Rules;
use crate::probe::settings::tests::rules;
use crate::probe::talk::{Talk, Tls};

const REMIND: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn probe(port: u16, attempts: u32) -> Arc<Probe> {
    Arc::new(Probe {
        target: format!("db1.example.org:{port}").parse().unwrap(),
        classes: Vec::new(),
        rules: Rules { attempts, ..rules() },
    })
}

fn host(ports: &[u16], attempts: u32) -> HostState {
    let mut host = HostState::default();
    host.configure(ports.iter().map(|port| probe(*port, attempts)), at(0));
    host
}

fn outcome(kind: Kind) -> Outcome {
    let reason = format!("192.0.2.1 {}", kind.words());
    Outcome { kind, reason, took: Duration::from_millis(1), certificate: None }
}

fn see(host: &mut HostState, port: u16, kind: Kind, seconds: i64) -> Step {
    host.begins(port);
    host.observe(port, &outcome(kind), at(seconds))
}

/// Takes the news, and says them in short.
fn tell(host: &mut HostState, seconds: i64) -> Vec<String> {
    let Some(news) = host.news(at(seconds), REMIND) else { return Vec::new() };
    let short = news.tell.iter().map(|(what, _, before)| {
        let again = if before.is_some() { " again" } else { "" };
        match what {
            Newsworthy::Outage(probe, failure) => {
                format!("{} down after {}{again}", probe.target.port, failure.attempts)
            }
            Newsworthy::HostOutage(ports) => format!("host down, {} ports{again}", ports.len()),
            Newsworthy::Flaps(probe, flaps) => format!("{} flaps, {flaps}{again}", probe.target.port),
            Newsworthy::HostFlaps(ports) => format!("host flaps, {} ports{again}", ports.len()),
            Newsworthy::Recovery(port, probe) => format!("{port} up{}", if probe.is_none() { ", gone" } else { "" }),
            Newsworthy::HostRecovery(up, down) => format!("host up, {} open, {} not", up.len(), down.len()),
            Newsworthy::Expiry(probe, ends) => {
                let days = ends.duration_since(at(seconds)).as_hours() / 24;
                format!("certificate of {} ends in {days} days{again}", probe.target.port)
            }
            Newsworthy::Renewal(port, probe) => {
                format!("certificate of {port} renewed{}", if probe.is_none() { ", gone" } else { "" })
            }
        }
    });
    let short = short.collect();
    host.told(news.saved);
    short
}

#[test]
fn an_outage_counts_after_its_attempts_and_ends_once() {
    let mut host = host(&[80], 3);
    assert_eq!(see(&mut host, 80, Kind::Open, 0), Step::Same);
    assert_eq!(see(&mut host, 80, Kind::Refused, 60), Step::Fails);
    assert_eq!(host.pause(80), Some(Duration::from_secs(10)));
    assert_eq!(see(&mut host, 80, Kind::TimedOut, 70), Step::FailsAgain);
    assert_eq!(tell(&mut host, 70), [""; 0]);
    assert_eq!(see(&mut host, 80, Kind::Refused, 80), Step::WentDown);
    assert_eq!(host.failure(80).unwrap().since, at(60), "since the first failure");
    assert_eq!(tell(&mut host, 80), ["80 down after 3"]);
    assert_eq!(see(&mut host, 80, Kind::Refused, 140), Step::Same);
    assert_eq!(tell(&mut host, 140), [""; 0]);
    assert_eq!(see(&mut host, 80, Kind::Open, 200), Step::CameBack);
    assert_eq!(tell(&mut host, 200), ["80 up"]);
    assert_eq!(tell(&mut host, 200), [""; 0]);
    assert!(host.saved().is_empty());
}

#[test]
fn a_blip_is_told_to_nobody() {
    let mut host = host(&[80], 3);
    see(&mut host, 80, Kind::Refused, 0);
    see(&mut host, 80, Kind::Refused, 10);
    assert_eq!(see(&mut host, 80, Kind::Open, 20), Step::CameBack);
    see(&mut host, 80, Kind::Refused, 30);
    see(&mut host, 80, Kind::Refused, 40);
    assert_eq!(tell(&mut host, 40), [""; 0], "failures in a row count");
}

#[test]
fn our_own_failure_is_neither_an_outage_nor_its_end() {
    let mut host = host(&[80], 2);
    for second in 0..5 {
        assert_eq!(see(&mut host, 80, Kind::Local, second), Step::Unclear);
    }
    assert_eq!(tell(&mut host, 5), [""; 0]);
    see(&mut host, 80, Kind::Refused, 6);
    see(&mut host, 80, Kind::Local, 7);
    see(&mut host, 80, Kind::Refused, 8);
    assert_eq!(tell(&mut host, 8), ["80 down after 2"]);
    see(&mut host, 80, Kind::Local, 9);
    assert_eq!(tell(&mut host, 9), [""; 0]);
}

#[test]
fn a_dead_host_is_one_alert_and_one_recovery() {
    let mut host = host(&[80, 389, 1352], 2);
    for port in [80, 389, 1352] {
        see(&mut host, port, Kind::Open, 0);
    }
    assert_eq!(see(&mut host, 80, Kind::TimedOut, 60), Step::Fails);
    assert_eq!(host.doubted().collect::<Vec<_>>(), [389, 1352], "the others are looked at at once");
    see(&mut host, 80, Kind::TimedOut, 70);
    assert_eq!(tell(&mut host, 70), [""; 0], "it waits for what the others say");
    see(&mut host, 389, Kind::TimedOut, 71);
    see(&mut host, 1352, Kind::TimedOut, 71);
    see(&mut host, 389, Kind::TimedOut, 81);
    assert_eq!(tell(&mut host, 81), [""; 0]);
    see(&mut host, 1352, Kind::TimedOut, 81);
    assert_eq!(tell(&mut host, 81), ["host down, 3 ports"]);
    // It comes back with one port; the others have their attempts again before they are told by themselves.
    see(&mut host, 389, Kind::Open, 200);
    assert_eq!(tell(&mut host, 200), ["host up, 1 open, 2 not"]);
    see(&mut host, 80, Kind::Open, 205);
    see(&mut host, 1352, Kind::Refused, 210);
    assert_eq!(tell(&mut host, 210), [""; 0]);
    see(&mut host, 1352, Kind::Refused, 220);
    assert_eq!(tell(&mut host, 220), ["1352 down after 2"]);
    see(&mut host, 1352, Kind::Open, 300);
    assert_eq!(tell(&mut host, 300), ["1352 up"]);
}

#[test]
fn one_dead_port_does_not_wait_for_ports_that_are_open() {
    let mut host = host(&[80, 389], 1);
    see(&mut host, 80, Kind::Open, 0);
    see(&mut host, 389, Kind::Open, 0);
    assert_eq!(see(&mut host, 80, Kind::Refused, 60), Step::WentDown);
    assert_eq!(tell(&mut host, 60), [""; 0], "the other one is looked at first");
    see(&mut host, 389, Kind::Open, 60);
    assert_eq!(tell(&mut host, 60), ["80 down after 1"]);
    // The rest dies later: the host is told as well, and the port's own alert stays open until the port is back.
    see(&mut host, 389, Kind::Refused, 90);
    assert_eq!(tell(&mut host, 90), ["host down, 2 ports"]);
    see(&mut host, 389, Kind::Open, 120);
    assert_eq!(tell(&mut host, 120), ["host up, 1 open, 1 not"]);
    see(&mut host, 80, Kind::Refused, 121);
    assert_eq!(tell(&mut host, 121), [""; 0]);
    see(&mut host, 80, Kind::Open, 130);
    assert_eq!(tell(&mut host, 130), ["80 up"]);
}

#[test]
fn a_port_that_cannot_be_looked_at_holds_back_nobody() {
    let mut host = host(&[80, 389], 1);
    see(&mut host, 389, Kind::Local, 0);
    see(&mut host, 80, Kind::Refused, 0);
    see(&mut host, 389, Kind::Local, 0);
    assert_eq!(tell(&mut host, 0), ["80 down after 1"]);
}

#[test]
fn what_was_told_is_known_after_a_restart() {
    let mut before = host(&[80], 2);
    see(&mut before, 80, Kind::Refused, 0);
    see(&mut before, 80, Kind::Refused, 10);
    tell(&mut before, 10);
    let json = serde_json::to_string(before.saved()).unwrap();
    insta::assert_snapshot!(json, @r#"{"ports":{"80":{"since":"2027-01-15T08:00:00Z","last":"2027-01-15T08:00:10Z","severity":"major","attempts":2,"kind":"refused","reason":"192.0.2.1 refused"}}}"#);
    let mut after = HostState::new(serde_json::from_str(&json).unwrap());
    after.configure([probe(80, 2)], at(100));
    see(&mut after, 80, Kind::Refused, 100);
    assert_eq!(tell(&mut after, 100), [""; 0], "it was told");
    let mut back = HostState::new(serde_json::from_str(&json).unwrap());
    back.configure([probe(80, 2)], at(100));
    see(&mut back, 80, Kind::Open, 100);
    assert_eq!(tell(&mut back, 100), ["80 up"]);
    let mut gone = HostState::new(serde_json::from_str(&json).unwrap());
    assert_eq!(tell(&mut gone, 100), ["80 up, gone"]);
    assert!(gone.is_over());
}

#[test]
fn an_outage_that_lasts_is_told_again() {
    let mut host = host(&[80], 1);
    see(&mut host, 80, Kind::Refused, 0);
    assert_eq!(tell(&mut host, 0), ["80 down after 1"]);
    see(&mut host, 80, Kind::TimedOut, 3599);
    assert_eq!(tell(&mut host, 3599), [""; 0]);
    assert_eq!(tell(&mut host, 3600), ["80 down after 2 again"]);
    assert_eq!(host.saved().ports[&80].since, at(0));
}

#[test]
fn reports_of_a_condition_never_go_back_in_time() {
    let mut host = host(&[80], 1);
    see(&mut host, 80, Kind::Refused, 100);
    tell(&mut host, 100);
    // The clock was set back by a minute.
    see(&mut host, 80, Kind::Open, 40);
    let news = host.news(at(40), REMIND).unwrap();
    assert!(news.tell[0].1 > at(100));
    // It was an hour ahead, and is right again: the receiver knows that by itself.
    let news = host.news(at(-3600), REMIND).unwrap();
    assert_eq!(news.tell[0].1, at(-3600));
}

fn maintenance() -> Option<Hold> {
    Some(Hold::Maintenance(None))
}

fn parent(firm: bool) -> Option<Hold> {
    let parent = "gw1:22".parse().unwrap();
    Some(if firm { Hold::Parent(parent) } else { Hold::Doubt(parent) })
}

/// The same with its certificate looked at.
fn tls_probe(port: u16, attempts: u32) -> Arc<Probe> {
    let mut probe = Arc::unwrap_or_clone(probe(port, attempts));
    let tls = Tls { name: None, ca_file: None, warning: 14 * DAY };
    probe.rules.talk = Some(Arc::new(Talk { tls: Some(tls), exchange: None }));
    Arc::new(probe)
}

fn show(host: &mut HostState, port: u16, certificate: Certificate, seconds: i64) -> Step {
    host.begins(port);
    host.observe(port, &Outcome { certificate: Some(certificate), ..outcome(Kind::Open) }, at(seconds))
}

/// It ends so many days after the start.
fn ends(days: i64) -> Certificate {
    Certificate::Ends(at(days * 86_400))
}
