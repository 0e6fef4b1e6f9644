use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::model::Severity;
use crate::probe::settings::{Flapping, Rules};
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
        rules: Rules {
            interval: Duration::from_secs(60),
            attempts,
            retry_interval: Duration::from_secs(10),
            timeout: Duration::from_secs(3),
            severity: Severity::Major,
            groups: Vec::new(),
            labels: Vec::new(),
            depends_on: Vec::new(),
            flapping: Flapping { on: true, start: 30, stop: 25 },
            talk: None,
        },
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

#[test]
fn a_new_outage_waits_for_the_end_of_a_hold_and_has_its_attempts_then() {
    for hold in [maintenance(), parent(true)] {
        let mut host = host(&[80], 2);
        see(&mut host, 80, Kind::Open, 0);
        assert_eq!(host.hold(vec![hold.clone()]), [0; 0]);
        see(&mut host, 80, Kind::Refused, 60);
        assert_eq!(host.newly_held(), [], "it is no outage yet");
        assert_eq!(see(&mut host, 80, Kind::Refused, 70), Step::WentDown);
        let held: Vec<_> = host.newly_held().into_iter().map(|(probe, why)| (probe.target.port, Some(why))).collect();
        assert_eq!(held, [(80, hold.clone())]);
        see(&mut host, 80, Kind::Refused, 130);
        assert_eq!(host.newly_held(), [], "it is logged once");
        assert_eq!(tell(&mut host, 130), [""; 0]);
        assert_eq!(host.hold(vec![None]), [80]);
        assert_eq!(tell(&mut host, 131), [""; 0]);
        assert_eq!(host.pause(80), Some(Duration::from_secs(10)));
        see(&mut host, 80, Kind::Refused, 131);
        assert_eq!(tell(&mut host, 131), [""; 0]);
        see(&mut host, 80, Kind::Refused, 141);
        assert_eq!(tell(&mut host, 141), ["80 down after 2"]);
        assert_eq!(host.saved().ports[&80].since, at(60), "it is down since then");
    }
}

#[test]
fn what_ends_within_a_hold_was_nothing() {
    let mut host = host(&[80], 1);
    host.hold(vec![maintenance()]);
    see(&mut host, 80, Kind::Refused, 0);
    see(&mut host, 80, Kind::Open, 60);
    assert_eq!(host.hold(vec![None]), [0; 0]);
    assert_eq!(tell(&mut host, 60), [""; 0]);
}

#[test]
fn a_told_outage_ends_within_a_hold_and_is_not_told_again() {
    let mut host = host(&[80], 1);
    see(&mut host, 80, Kind::Refused, 0);
    assert_eq!(tell(&mut host, 0), ["80 down after 1"]);
    host.hold(vec![maintenance()]);
    see(&mut host, 80, Kind::Refused, 4000);
    assert_eq!(tell(&mut host, 4000), [""; 0], "no reminder");
    assert_eq!(host.newly_held(), [], "it is told, not held");
    assert_eq!(host.hold(vec![None]), [0; 0], "it is still down, and people know");
    assert_eq!(tell(&mut host, 4000), ["80 down after 2 again"]);
    host.hold(vec![maintenance()]);
    see(&mut host, 80, Kind::Open, 4060);
    assert_eq!(tell(&mut host, 4060), ["80 up"]);
}

#[test]
fn a_host_of_which_a_part_is_held_is_told_by_its_ports() {
    let mut host = host(&[80, 389], 1);
    host.hold(vec![maintenance(), None]);
    see(&mut host, 80, Kind::TimedOut, 0);
    see(&mut host, 389, Kind::TimedOut, 0);
    assert_eq!(tell(&mut host, 0), ["389 down after 1"]);
    assert_eq!(host.hold(vec![None, None]), [80]);
    see(&mut host, 80, Kind::TimedOut, 60);
    assert_eq!(tell(&mut host, 60), ["host down, 2 ports"]);
    see(&mut host, 80, Kind::Open, 120);
    see(&mut host, 389, Kind::Open, 120);
    assert_eq!(tell(&mut host, 120), ["host up, 2 open, 0 not", "389 up"]);
}

#[test]
fn a_doubt_holds_and_leaves_no_trace() {
    let mut host = host(&[80], 2);
    see(&mut host, 80, Kind::Refused, 0);
    host.hold(vec![parent(false)]);
    see(&mut host, 80, Kind::Refused, 10);
    assert_eq!(tell(&mut host, 10), [""; 0]);
    assert_eq!(host.newly_held(), []);
    assert_eq!(host.hold(vec![None]), [0; 0]);
    assert_eq!(tell(&mut host, 11), ["80 down after 2"]);
}

#[test]
fn how_a_host_is_for_what_depends_on_it() {
    let mut host = host(&[22, 80], 2);
    assert_eq!(host.standing(None, at(0)), Standing::Undecided, "nobody looked yet");
    assert_eq!(host.standing(Some(22), at(17)), Standing::Undecided);
    assert_eq!(
        host.standing(None, at(18)),
        Standing::Fine,
        "nobody waits for ever: {START} and the time-out are over",
        START = "15 s"
    );
    see(&mut host, 22, Kind::Local, 1);
    assert_eq!(host.standing(Some(22), at(1)), Standing::Fine, "nobody can tell");
    see(&mut host, 22, Kind::Refused, 2);
    see(&mut host, 80, Kind::Open, 2);
    assert_eq!((host.standing(None, at(2)), host.standing(Some(22), at(2))), (Standing::Fine, Standing::Failing));
    assert_eq!(host.doubt(None), [80], "what fails is looked at soon anyway");
    assert_eq!(host.standing(None, at(3)), Standing::Undecided);
    see(&mut host, 80, Kind::TimedOut, 4);
    assert_eq!(host.standing(None, at(4)), Standing::Failing);
    see(&mut host, 80, Kind::Local, 5);
    assert_eq!((host.standing(Some(80), at(5)), host.standing(None, at(5))), (Standing::Fine, Standing::Failing));
    for second in 6..8 {
        see(&mut host, 80, Kind::TimedOut, second);
    }
    see(&mut host, 80, Kind::Local, 9);
    assert_eq!(host.standing(Some(80), at(9)), Standing::Failing, "it was down when it was seen last");
    assert_eq!(host.standing(Some(443), at(9)), Standing::Fine, "it is not probed any more");
}

/// Open, closed, open, …
fn toggle(host: &mut HostState, port: u16, times: i64, from: i64) {
    for n in 0..times {
        see(host, port, if n % 2 == 0 { Kind::Open } else { Kind::Refused }, from + 60 * n);
    }
}

#[test]
fn what_flaps_is_told_so_once_and_its_end_when_it_is_at_rest() {
    let mut host = host(&[80], 3);
    toggle(&mut host, 80, 6, 0);
    assert_eq!(tell(&mut host, 360), [""; 0], "five changes of 20, the newest: 28.9 %");
    see(&mut host, 80, Kind::Open, 360);
    assert_eq!(tell(&mut host, 360), ["80 flaps, 6 changes in the last 7 probes"], "34.4 %");
    toggle(&mut host, 80, 20, 420);
    assert_eq!(tell(&mut host, 1620), [""; 0]);
    // It comes to rest: changes get old, and count less; below 25 % it is over, and not before.
    let mut rest = 0;
    while host.is_flapping(80) {
        assert_eq!(tell(&mut host, 1620), [""; 0]);
        see(&mut host, 80, Kind::Open, 1620 + 60 * rest);
        rest += 1;
    }
    // The six oldest changes that there can be are 25.6 %, the five oldest 21.1 %.
    assert_eq!(rest, 16);
    assert_eq!(tell(&mut host, 3000), ["80 up"]);
    assert!(host.saved().is_empty());
    see(&mut host, 80, Kind::Refused, 3060);
    assert!(!host.is_flapping(80), "from here on it has to reach 30 % again");
}

#[test]
fn an_outage_that_begins_to_flap_is_the_same_condition_and_so_is_the_flapping_that_ends_down() {
    let mut host = host(&[80], 1);
    let mut told = Vec::new();
    for n in 0..7 {
        see(&mut host, 80, if n % 2 == 0 { Kind::Open } else { Kind::Refused }, 60 * n);
        told.extend(tell(&mut host, 60 * n));
    }
    assert_eq!(told[4..], ["80 down after 1", "80 flaps, 6 changes in the last 7 probes again"], "{told:?}");
    let mut down = 0;
    while host.is_flapping(80) {
        assert_eq!(tell(&mut host, 420), [""; 0]);
        see(&mut host, 80, Kind::Refused, 420 + down);
        down += 1;
    }
    assert_eq!(tell(&mut host, 500), [format!("80 down after {down} again")]);
    see(&mut host, 80, Kind::Open, 600);
    assert_eq!(tell(&mut host, 600), ["80 up"]);
}

#[test]
fn a_restart_does_not_begin_the_flapping_anew() {
    let mut before = host(&[80], 3);
    toggle(&mut before, 80, 7, 0);
    assert_eq!(tell(&mut before, 360).len(), 1);
    let json = serde_json::to_string(before.saved()).unwrap();
    assert!(json.ends_with(r#""flapping":{"80":213}}"#), "a one, and +-+-+-+: {json}");
    let mut after = HostState::new(serde_json::from_str(&json).unwrap());
    after.configure([probe(80, 3)], at(400));
    assert!(after.is_flapping(80));
    toggle(&mut after, 80, 2, 420);
    assert_eq!(tell(&mut after, 480), [""; 0]);
    (0..21).for_each(|n| _ = see(&mut after, 80, Kind::Open, 540 + n));
    assert_eq!(tell(&mut after, 600), ["80 up"]);
    // Where nobody looks at it any more, what people know is put right.
    let mut off = HostState::new(serde_json::from_str(&json).unwrap());
    let mut rules = probe(80, 1);
    Arc::make_mut(&mut rules).rules.flapping.on = false;
    off.configure([rules], at(400));
    see(&mut off, 80, Kind::Refused, 420);
    assert_eq!(tell(&mut off, 420), ["80 down after 1 again"]);
}

#[test]
fn our_own_failures_are_no_changes_and_a_hold_begins_no_flapping() {
    let mut host = host(&[80], 3);
    for n in 0..20 {
        see(&mut host, 80, if n % 2 == 0 { Kind::Open } else { Kind::Local }, n);
    }
    assert!(!host.is_flapping(80));
    host.hold(vec![maintenance()]);
    toggle(&mut host, 80, 20, 20);
    assert!(!host.is_flapping(80), "that is what maintenance is");
    host.hold(vec![None]);
    toggle(&mut host, 80, 7, 50);
    assert!(host.is_flapping(80));
    // What flapped before comes to rest within a hold.
    assert_eq!(tell(&mut host, 60).len(), 1);
    host.hold(vec![maintenance()]);
    (0..21).for_each(|n| _ = see(&mut host, 80, Kind::Open, 70 + n));
    assert_eq!(tell(&mut host, 100), ["80 up"]);
}

#[test]
fn a_host_whose_ports_flap_together_is_one_alert_and_one_recovery() {
    let mut host = host(&[80, 389], 3);
    let mut told = Vec::new();
    for n in 0..40 {
        let kind = if n % 2 == 0 || n > 12 { Kind::Open } else { Kind::TimedOut };
        for port in [80, 389] {
            see(&mut host, port, kind, 60 * n);
            told.extend(tell(&mut host, 60 * n));
        }
    }
    assert_eq!(told, ["host flaps, 2 ports", "host up, 2 open, 0 not"]);
    // One of them alone is told by itself.
    for n in 40..80 {
        see(&mut host, 80, Kind::Open, 60 * n);
        see(&mut host, 389, if n % 2 == 0 || n > 60 { Kind::Open } else { Kind::TimedOut }, 60 * n);
        told.extend(tell(&mut host, 60 * n));
    }
    assert_eq!(told[2..], ["389 flaps, 6 changes in the last 21 probes", "389 up"]);
}

/// The same with its certificate looked at.
fn tls_probe(port: u16, attempts: u32) -> Arc<Probe> {
    let mut probe = Arc::unwrap_or_clone(probe(port, attempts));
    let tls = Tls { name: None, ca_file: None, warning: 14 * DAY };
    probe.rules.talk = Some(Arc::new(Talk { tls: Some(tls), exchange: None }));
    Arc::new(probe)
}

fn show(host: &mut HostState, port: u16, certificate: Certificate, seconds: i64) -> Step {
    host.observe(port, &Outcome { certificate: Some(certificate), ..outcome(Kind::Open) }, at(seconds))
}

/// It ends so many days after the start.
fn ends(days: i64) -> Certificate {
    Certificate::Ends(at(days * 86_400))
}

#[test]
fn a_certificate_is_warned_of_once_and_no_outage() {
    let mut host = HostState::default();
    host.configure([tls_probe(443, 2)], at(0));
    assert_eq!(show(&mut host, 443, Certificate::Lasts, 0), Step::Same);
    assert!(!host.is_troubled());
    assert_eq!(show(&mut host, 443, ends(10), 60), Step::Same);
    assert!(host.is_troubled(), "it is looked at what there is to tell");
    assert_eq!(tell(&mut host, 60), ["certificate of 443 ends in 9 days"]);
    show(&mut host, 443, ends(10), 7200);
    assert_eq!(tell(&mut host, 7200), [""; 0], "once a day at most, although outages are told of each hour");
    // An outage comes and goes beside it, and for want of a certificate nothing is known of it.
    see(&mut host, 443, Kind::Certificate, 7260);
    see(&mut host, 443, Kind::Certificate, 7270);
    assert_eq!(tell(&mut host, 7270), ["443 down after 2"]);
    show(&mut host, 443, ends(10), 7300);
    assert_eq!(tell(&mut host, 7300), ["443 up"]);
    assert_eq!(tell(&mut host, 86_461), ["certificate of 443 ends in 8 days again"]);
    show(&mut host, 443, Certificate::Lasts, 90_000);
    assert_eq!(tell(&mut host, 90_000), ["certificate of 443 renewed"]);
    assert!(host.saved().is_empty() && !host.is_troubled());
}

#[test]
fn a_warning_outlives_a_restart_and_ends_with_what_asked_for_it() {
    let mut before = HostState::default();
    before.configure([tls_probe(443, 2)], at(0));
    show(&mut before, 443, ends(10), 0);
    tell(&mut before, 0);
    let json = serde_json::to_string(before.saved()).unwrap();
    insta::assert_snapshot!(json, @r#"{"certificates":{"443":{"since":"2027-01-15T08:00:00Z","last":"2027-01-15T08:00:00Z","severity":"warning","attempts":1,"kind":"certificate_expires","reason":"its certificate expires 2027-01-25 08:00:00 UTC"}}}"#);
    let again = || HostState::new(serde_json::from_str(&json).unwrap());
    let mut after = again();
    after.configure([tls_probe(443, 2)], at(0));
    assert_eq!(tell(&mut after, 100), [""; 0], "nothing was seen yet");
    show(&mut after, 443, ends(10), 110);
    assert_eq!(tell(&mut after, 110), [""; 0], "it was told");
    show(&mut after, 443, Certificate::Lasts, 120);
    assert_eq!(tell(&mut after, 120), ["certificate of 443 renewed"]);
    // Its TLS is not looked at any more; then not even the port.
    for probes in [vec![probe(443, 2)], Vec::new()] {
        let mut gone = again();
        gone.configure([tls_probe(443, 2)], at(0));
        show(&mut gone, 443, ends(10), 50);
        gone.configure(probes, at(0));
        assert_eq!(tell(&mut gone, 100), ["certificate of 443 renewed, gone"]);
        assert!(gone.saved().is_empty());
        gone.configure([tls_probe(443, 2)], at(0));
        assert_eq!(tell(&mut gone, 110), [""; 0], "what was seen under other rules is forgotten");
    }
}

#[derive(Debug, Clone)]
enum Event {
    See(u16, Kind),
    /// It is open, and shows a certificate.
    Show(u16, Certificate),
    /// The TLS of all ports is looked at from now on, or is not.
    Tls(bool),
    Tell,
    /// The commit fails.
    Fail,
    Restart,
    /// A commit is under way while this comes.
    Meanwhile(Box<Event>),
    /// From now on these ports.
    Configure(Vec<u16>),
    /// A hold on a port begins, ends, or becomes another one.
    Hold(u16, Option<Hold>),
    /// What depends on it fails.
    Doubt(Option<u16>),
    /// Flapping is looked at from now on, or is not.
    Flapping(bool),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let kinds = prop::sample::select(vec![Kind::Open, Kind::Refused, Kind::TimedOut, Kind::Local]);
    let shown = prop::sample::select(vec![Certificate::Lasts, ends(10), ends(3)]);
    let ports = prop::collection::btree_set(1u16..5, 0..4).prop_map(|ports| ports.into_iter().collect());
    let holds = prop::sample::select(vec![None, maintenance(), parent(true), parent(false)]);
    let one = prop_oneof![
        8 => (1u16..5, kinds).prop_map(|(port, kind)| Event::See(port, kind)),
        4 => (1u16..5, shown).prop_map(|(port, certificate)| Event::Show(port, certificate)),
        1 => any::<bool>().prop_map(Event::Tls),
        1 => Just(Event::Restart),
        1 => ports.prop_map(Event::Configure),
        2 => (1u16..5, holds).prop_map(|(port, hold)| Event::Hold(port, hold)),
        1 => prop::option::of(1u16..5).prop_map(Event::Doubt),
        1 => prop::bool::weighted(0.8).prop_map(Event::Flapping),
    ];
    let one = prop_oneof![
        12 => one.clone(),
        6 => Just(Event::Tell),
        1 => Just(Event::Fail),
        3 => one.prop_map(|event| Event::Meanwhile(Box::new(event))),
    ];
    prop::collection::vec(one, 1..240)
}

/// The host, and what its config and its parents say.
struct Bed {
    state: HostState,
    ports: Vec<u16>,
    holds: BTreeMap<u16, Hold>,
    attempts: u32,
    flapping: bool,
    tls: bool,
}

impl Bed {
    fn come(&mut self, event: Event, now: i64) {
        match event {
            Event::See(port, kind) => _ = see(&mut self.state, port, kind, now),
            Event::Show(port, certificate) => _ = show(&mut self.state, port, certificate, now),
            Event::Tls(on) => {
                self.tls = on;
                self.configure(now);
            }
            Event::Restart => {
                let json = serde_json::to_string(self.state.saved()).unwrap();
                self.state = HostState::new(serde_json::from_str(&json).unwrap());
                self.configure(now);
            }
            Event::Configure(next) => {
                self.ports = next;
                self.configure(now);
            }
            Event::Hold(port, Some(hold)) => _ = self.holds.insert(port, hold),
            Event::Hold(port, None) => _ = self.holds.remove(&port),
            Event::Doubt(port) => _ = self.state.doubt(port),
            Event::Flapping(on) => {
                self.flapping = on;
                self.configure(now);
            }
            Event::Tell | Event::Fail | Event::Meanwhile(_) => unreachable!(),
        }
        self.hold();
    }

    fn configure(&mut self, now: i64) {
        let probes = self.ports.iter().map(|port| {
            let mut probe = if self.tls { tls_probe } else { probe }(*port, self.attempts);
            Arc::make_mut(&mut probe).rules.flapping.on = self.flapping;
            probe
        });
        self.state.configure(probes, at(now));
    }

    fn hold(&mut self) {
        let holds = self.state.probes().map(|probe| self.holds.get(&probe.target.port).cloned()).collect();
        self.state.hold(holds);
        self.state.newly_held();
    }
}

proptest! {
    /// Whoever is told of an outage is told of its end exactly once, whatever comes in between.
    #[test]
    fn every_outage_that_is_told_ends_once(events in events(), attempts in 1u32..4) {
        let mut bed = Bed { state: host(&[1, 2, 3], attempts), ports: vec![1, 2, 3], holds: BTreeMap::new(), attempts, flapping: true, tls: true };
        bed.configure(0);
        // What people know: a condition is open or not. 0 stands for the host, 100 and more for a certificate.
        let mut open: BTreeMap<u16, Timestamp> = BTreeMap::new();
        let mut last: BTreeMap<u16, Timestamp> = BTreeMap::new();
        let mut now = 0;
        for event in events.into_iter().chain([Event::Tell]) {
            now += 5;
            match event {
                Event::Tell => learn(&mut bed, now, None, &mut open, &mut last)?,
                Event::Meanwhile(event) => learn(&mut bed, now, Some(*event), &mut open, &mut last)?,
                Event::Fail => _ = bed.state.news(at(now), REMIND),
                event => bed.come(event, now),
            }
        }
        // Everything comes back, in whatever hold it is: nobody is left believing that it burns.
        for _ in 0..21 {
            now += 1;
            for port in bed.ports.clone() {
                show(&mut bed.state, port, Certificate::Lasts, now);
            }
            learn(&mut bed, now, None, &mut open, &mut last)?;
        }
        prop_assert!(open.is_empty(), "never told that it is over: {open:?}");
        prop_assert!(bed.state.saved().is_empty());
        prop_assert_eq!(bed.state.news(at(now + 20), REMIND), None);
        // Everything fails where nothing is held any more: that is told, however it was held before.
        bed.holds.clear();
        for round in 0..30 {
            for port in bed.ports.clone() {
                see(&mut bed.state, port, Kind::TimedOut, now + 30 + round);
                bed.hold();
            }
        }
        learn(&mut bed, now + 60, None, &mut open, &mut last)?;
        prop_assert_eq!(open.is_empty(), bed.ports.is_empty());
    }
}

/// People read the news; each must make sense by what they know.
fn learn(
    bed: &mut Bed,
    now: i64,
    meanwhile: Option<Event>,
    open: &mut BTreeMap<u16, Timestamp>,
    last: &mut BTreeMap<u16, Timestamp>,
) -> Result<(), TestCaseError> {
    let Some(news) = bed.state.news(at(now), REMIND) else {
        meanwhile.into_iter().for_each(|event| bed.come(event, now));
        return Ok(());
    };
    for (what, sent, before) in &news.tell {
        let (key, ends) = match what {
            Newsworthy::Outage(probe, _) | Newsworthy::Flaps(probe, _) => (probe.target.port, false),
            Newsworthy::HostOutage(_) | Newsworthy::HostFlaps(_) => (0, false),
            Newsworthy::Recovery(port, _) => (*port, true),
            Newsworthy::HostRecovery(..) => (0, true),
            Newsworthy::Expiry(probe, _) => (100 + probe.target.port, false),
            Newsworthy::Renewal(port, _) => (100 + *port, true),
        };
        prop_assert!(last.get(&key).is_none_or(|earlier| sent > earlier), "{key} goes back in time");
        last.insert(key, *sent);
        if ends {
            prop_assert!(open.remove(&key).is_some(), "{key} ends and nobody was told of it");
            continue;
        }
        prop_assert_eq!(open.insert(key, *sent).is_some(), before.is_some(), "{} begins twice", key);
        let held = bed.ports.iter().any(|port| (key == 0 || key == *port) && bed.holds.contains_key(port));
        prop_assert!(!held, "{} is told although it is held", key);
    }
    match meanwhile {
        // A commit that is done when the process ends is known to the next one.
        Some(Event::Restart) => {
            bed.state.told(news.saved);
            bed.come(Event::Restart, now);
        }
        event => {
            event.into_iter().for_each(|event| bed.come(event, now));
            bed.state.told(news.saved);
        }
    }
    Ok(())
}
