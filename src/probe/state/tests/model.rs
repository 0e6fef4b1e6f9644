//! Whatever comes, in whatever order: who was told of a beginning is told of its end, once.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

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
