//! When each target is probed next.
//!
//! Each target has a place of its own in its interval, by its host's name: so probes are spread, the ports of a host are probed
//! together, and a restart or a reload moves nothing.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::Instant;

use crate::probe::target::Target;

/// After a start every target is probed within this, however long its interval is.
const FIRST: Duration = Duration::from_secs(10);

pub(super) struct Schedule {
    start: Instant,
    due: BTreeSet<(Instant, Target)>,
    /// When each target is due; `None`: it is being probed.
    at: HashMap<Target, (Duration, Option<Instant>)>,
}

impl Schedule {
    pub(super) fn new(start: Instant) -> Self {
        Self { start, due: BTreeSet::new(), at: HashMap::new() }
    }

    /// A new target, or one with another interval: its first probe comes soon.
    pub(super) fn begin(&mut self, target: &Target, interval: Duration, now: Instant) {
        if let Some((known, None)) = self.at.get_mut(target) {
            // It is being probed at this moment.
            *known = interval;
            return;
        }
        let first = interval.min(FIRST).mul_f64(place(target));
        self.put(target, interval, now + first);
    }

    pub(super) fn forget(&mut self, target: &Target) {
        if let Some((_, Some(at))) = self.at.remove(target) {
            self.due.remove(&(at, target.clone()));
        }
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes those that are due: they are being probed until they are [`done`](Self::done).
    pub(super) fn due(&mut self, now: Instant) -> Vec<Target> {
        let mut due = Vec::new();
        while let Some((at, _)) = self.due.first()
            && *at <= now
            && let Some((_, target)) = self.due.pop_first()
        {
            if let Some((_, at)) = self.at.get_mut(&target) {
                *at = None;
            }
            due.push(target);
        }
        due
    }

    /// It was probed; the next time is after `pause`, and where that is the whole interval at the target's own place in it.
    pub(super) fn done(&mut self, target: &Target, pause: Duration, whole: bool, now: Instant) {
        let Some((interval, None)) = self.at.get(target).copied() else { return };
        let at = if whole { self.own_time(target, interval, now) } else { now + pause };
        self.put(target, interval, at);
    }

    /// It is due now, unless it is being probed.
    pub(super) fn hurry(&mut self, target: &Target, now: Instant) {
        if let Some((interval, Some(at))) = self.at.get(target).copied()
            && at > now
        {
            self.put(target, interval, now);
        }
    }

    fn put(&mut self, target: &Target, interval: Duration, at: Instant) {
        if let Some((_, Some(old))) = self.at.insert(target.clone(), (interval, Some(at))) {
            self.due.remove(&(old, target.clone()));
        }
        self.due.insert((at, target.clone()));
    }

    /// The target's own time that is nearest to an interval from now.
    fn own_time(&self, target: &Target, interval: Duration, now: Instant) -> Instant {
        let offset = interval.mul_f64(place(target));
        let since = now.duration_since(self.start).as_secs_f64();
        let rounds = ((since - offset.as_secs_f64()) / interval.as_secs_f64()).round() + 1.0;
        let at = self.start + offset + interval.mul_f64(rounds.max(0.0));
        if at > now { at } else { now + interval }
    }
}

/// Where in an interval, from 0 to 1, the targets of a host have their place.
fn place(target: &Target) -> f64 {
    let mut hasher = DefaultHasher::new();
    target.host.hash(&mut hasher);
    f64::from((hasher.finish() >> 32) as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn target(text: &str) -> Target {
        text.parse().unwrap()
    }

    #[test]
    fn a_thousand_hosts_are_spread_and_the_ports_of_one_stay_together() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);
        for n in 0..1000 {
            for port in [80, 443] {
                schedule.begin(&target(&format!("host{n}:{port}")), MINUTE, now);
            }
        }
        let first = schedule.due(now + FIRST);
        assert_eq!(first.len(), 2000, "all within the first seconds");
        for target in &first {
            schedule.done(target, MINUTE, true, now + FIRST);
        }
        let mut most = 0;
        let mut seen = 0;
        for second in 0..=100 {
            let due = schedule.due(now + FIRST + Duration::from_secs(second));
            let together = due.chunk_by(|a, b| a.host == b.host).all(|ports| ports.len() == 2);
            assert!(together, "{due:?}");
            most = most.max(due.len());
            seen += due.len();
        }
        assert_eq!(seen, 2000);
        assert!(most < 100, "2000 in a minute are about 33 a second, not {most}");
    }

    #[test]
    fn the_interval_holds_however_long_a_probe_takes() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        let one = target("a:1");
        schedule.begin(&one, MINUTE, start);
        let mut times = Vec::new();
        for _ in 0..5 {
            let at = schedule.next().unwrap();
            assert_eq!(schedule.due(at), std::slice::from_ref(&one));
            assert_eq!(schedule.next(), None, "never twice at a time");
            times.push(at);
            schedule.done(&one, MINUTE, true, at + Duration::from_secs(3));
        }
        for pair in times[1..].windows(2) {
            assert_eq!((pair[1] - pair[0]).as_millis(), 60_000);
        }
    }

    #[test]
    fn who_is_in_a_hurry_is_next_and_who_is_gone_never() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);
        for name in ["a:1", "b:1"] {
            schedule.begin(&target(name), MINUTE, now);
        }
        schedule.hurry(&target("b:1"), now);
        assert_eq!(schedule.due(now), [target("b:1")]);
        schedule.hurry(&target("b:1"), now);
        assert_eq!(schedule.due(now), [], "it is being probed");
        schedule.done(&target("b:1"), Duration::from_secs(10), false, now);
        schedule.forget(&target("a:1"));
        assert_eq!(schedule.next(), Some(now + Duration::from_secs(10)));
    }
}
