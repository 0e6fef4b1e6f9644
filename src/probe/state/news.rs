//! What should be known of a host against what was told.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::saved::FLAPPING;
use super::{Failure, Flaps, HostState, Phase, Port, Saved, Told};
use crate::model::Severity;
use crate::probe::settings::Probe;

/// One thing to be told of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Newsworthy {
    /// A port is down.
    Outage(Arc<Probe>, Failure),
    /// All ports of the host are down.
    HostOutage(Vec<(Arc<Probe>, Failure)>),
    /// A port changes too often; until it does not any more, nothing else is told of it.
    Flaps(Arc<Probe>, Flaps),
    /// All ports of the host do.
    HostFlaps(Vec<(Arc<Probe>, Flaps)>),
    /// A port that was told as down is open again, or is not probed any more (`None`).
    Recovery(u16, Option<Arc<Probe>>),
    /// A host that was told as down answers again: on these ports, and still not on those. Neither: it is not probed any more.
    HostRecovery(Vec<Arc<Probe>>, Vec<(Arc<Probe>, Failure)>),
    /// The certificate of a port ends soon, at this time.
    Expiry(Arc<Probe>, Timestamp),
    /// A certificate that was told to end soon is another one now, or is not looked at any more (`None`).
    Renewal(u16, Option<Arc<Probe>>),
}

/// What is to be told, and what has been told then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Each with the time that it carries, and for an end or a repetition what was told before.
    pub tell: Vec<(Newsworthy, Timestamp, Option<Told>)>,
    /// To be kept with it.
    pub saved: Saved,
}

impl HostState {
    /// What there is to tell; `None`: nothing. `remind`: an outage that lasts is told again after this.
    pub fn news(&self, now: Timestamp, remind: Duration) -> Option<News> {
        let mut news = News { tell: Vec::new(), saved: self.saved.clone() };
        self.ends(now, &mut news);
        self.certificates(now, remind, &mut news);
        match &self.saved.host {
            // Of its ports nothing is told beside it.
            Some(_) => self.host_again(now, remind, &mut news),
            None if self.flaps() => self.host_flaps(now, None, &mut news),
            None if self.is_down() => self.host_begins(now, None, &mut news),
            None => {
                if !self.may_be_down() {
                    self.ports_begin(now, &mut news);
                }
                self.ports_again(now, remind, &mut news);
            }
        }
        let flapping = self.ports.iter().filter(|(_, port)| port.flapping);
        news.saved.flapping = flapping.map(|(number, port)| (*number, port.history.kept())).collect();
        (!news.tell.is_empty()).then_some(news)
    }

    /// Takes note that it was told.
    pub fn told(&mut self, saved: Saved) {
        let host_back = self.saved.host.is_some() && saved.host.is_none();
        self.saved = saved;
        if !host_back {
            return;
        }
        // Services come up one after the other: a port that is still down has its attempts before it is told by itself.
        for (number, port) in &mut self.ports {
            if !self.saved.ports.contains_key(number) && matches!(port.phase, Phase::Down(_)) {
                port.begin_again();
            }
        }
    }

    fn ends(&self, now: Timestamp, news: &mut News) {
        if let Some(told) = &self.saved.host
            && self.is_back(told)
        {
            let up = self.ports.values().filter(|port| port.phase == Phase::Up).map(|port| port.probe.clone());
            let end = Newsworthy::HostRecovery(up.collect(), self.failures());
            news.tell.push((end, told.next(now), Some(told.clone())));
            news.saved.host = None;
        }
        for (number, told) in &self.saved.ports {
            let port = self.ports.get(number);
            if port.is_none_or(Port::is_steadily_up) {
                let end = Newsworthy::Recovery(*number, port.map(|port| port.probe.clone()));
                news.tell.push((end, told.next(now), Some(told.clone())));
                news.saved.ports.remove(number);
            }
        }
    }

    /// Is what was told of the host over? Of a host that flapped only when none of its ports does any more: they do not end together
    /// either.
    fn is_back(&self, told: &Told) -> bool {
        let wild = told.flaps() && self.ports.values().any(|port| port.flapping);
        self.ports.is_empty() || !wild && self.ports.values().any(Port::is_steadily_up)
    }

    fn host_flaps(&self, now: Timestamp, before: Option<&Told>, news: &mut News) {
        let sent = before.map_or(now, |told| told.next(now));
        let since = before.map_or(now, |told| told.since);
        let ports: Vec<_> = self.ports.values().map(|port| (port.probe.clone(), port.flaps(since))).collect();
        let Some(severity) = ports.iter().map(|(probe, _)| probe.rules.severity).max() else { return };
        let Some((_, most)) = ports.iter().max_by_key(|(_, flaps)| flaps.changes) else { return };
        news.saved.host = Some(told_flapping(most, severity, sent));
        news.tell.push((Newsworthy::HostFlaps(ports), sent, before.cloned()));
    }

    fn host_begins(&self, now: Timestamp, before: Option<&Told>, news: &mut News) {
        let failures = self.failures();
        let rules = self.ports.values().map(|port| &port.probe.rules);
        let (Some(severity), Some(first)) =
            (rules.map(|rules| rules.severity).max(), failures.iter().min_by_key(|(_, failure)| failure.since))
        else {
            return;
        };
        let sent = before.map_or(now, |told| told.next(now));
        let failure = Failure { since: before.map_or(first.1.since, |told| told.since), ..first.1.clone() };
        news.saved.host = Some(told(&failure, severity, sent));
        news.tell.push((Newsworthy::HostOutage(failures), sent, before.cloned()));
    }

    fn host_again(&self, now: Timestamp, remind: Duration, news: &mut News) {
        let Some(before) = news.saved.host.clone() else { return };
        let due = before.is_due(now, remind);
        if self.flaps() && (due || !before.flaps()) {
            self.host_flaps(now, Some(&before), news);
        } else if self.is_down() && (due || before.flaps()) {
            self.host_begins(now, Some(&before), news);
        }
    }

    fn ports_begin(&self, now: Timestamp, news: &mut News) {
        for (number, port) in &self.ports {
            if news.saved.ports.contains_key(number) || port.hold.is_some() {
                continue;
            }
            match &port.phase {
                _ if port.flapping && self.may_flap() => {}
                _ if port.flapping => port_flaps(*number, port, now, None, news),
                Phase::Down(failure) => port_down(*number, port, failure, now, None, news),
                Phase::Unknown | Phase::Up | Phase::Failing(_) => {}
            }
        }
    }

    fn ports_again(&self, now: Timestamp, remind: Duration, news: &mut News) {
        for (number, before) in &self.saved.ports {
            let Some(port) = self.ports.get(number).filter(|port| port.hold.is_none()) else { continue };
            let due = before.is_due(now, remind);
            if port.flapping {
                let begins = !before.flaps() && !self.may_flap();
                if begins || due && before.flaps() {
                    port_flaps(*number, port, now, Some(before), news);
                }
            } else if let Phase::Down(failure) = &port.phase
                && (due || before.flaps())
            {
                let failure = Failure { since: before.since, ..failure.clone() };
                port_down(*number, port, &failure, now, Some(before), news);
            }
        }
    }

    fn failures(&self) -> Vec<(Arc<Probe>, Failure)> {
        let failing = |port: &Port| match &port.phase {
            Phase::Failing(failure) | Phase::Down(failure) => Some((port.probe.clone(), failure.clone())),
            Phase::Unknown | Phase::Up => None,
        };
        self.ports.values().filter_map(failing).collect()
    }
}

impl Port {
    /// Open, and to be believed.
    fn is_steadily_up(&self) -> bool {
        self.phase == Phase::Up && !self.flapping
    }
}

fn port_down(number: u16, port: &Port, failure: &Failure, now: Timestamp, before: Option<&Told>, news: &mut News) {
    let sent = before.map_or(now, |told| told.next(now));
    news.saved.ports.insert(number, told(failure, port.probe.rules.severity, sent));
    news.tell.push((Newsworthy::Outage(port.probe.clone(), failure.clone()), sent, before.cloned()));
}

fn port_flaps(number: u16, port: &Port, now: Timestamp, before: Option<&Told>, news: &mut News) {
    let sent = before.map_or(now, |told| told.next(now));
    let flaps = port.flaps(before.map_or(now, |told| told.since));
    news.saved.ports.insert(number, told_flapping(&flaps, port.probe.rules.severity, sent));
    news.tell.push((Newsworthy::Flaps(port.probe.clone(), flaps), sent, before.cloned()));
}

fn told_flapping(flaps: &Flaps, severity: Severity, sent: Timestamp) -> Told {
    let reason = flaps.to_string();
    Told { since: flaps.since, last: sent, severity, attempts: flaps.changes, kind: FLAPPING.to_owned(), reason }
}

fn told(failure: &Failure, severity: Severity, sent: Timestamp) -> Told {
    Told {
        since: failure.since,
        last: sent,
        severity,
        attempts: failure.attempts,
        kind: failure.kind.as_str().to_owned(),
        reason: failure.reason.clone(),
    }
}
