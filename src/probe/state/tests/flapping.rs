//! What changes too often to be told.

use super::*;

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
