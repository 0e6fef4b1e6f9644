//! Random sequences of reports against a store in memory that does with a plan what the queue's adapters do.

use proptest::prelude::*;

use super::*;

const STEP_SECONDS: i64 = 600;

/// One thing that happens, ten minutes after the last one.
#[derive(Debug, Clone)]
enum Step {
    /// A report, so many steps older than now by its own clock.
    Report { status: Status, severity: Severity, text: u8, age: i64 },
    /// Everything queued for these recipients (bits) is sent.
    Send(u8),
    /// The sender's group changes: only those (bits) are members from now on.
    Members(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let status = prop_oneof![4 => Just(Status::Firing), 2 => Just(Status::Update), 2 => Just(Status::Resolved)];
    let severity = prop::sample::select(Severity::ALL.to_vec());
    let age = prop_oneof![5 => Just(0_i64), 1 => 1..6_i64];
    let step = prop_oneof![
        6 => (status, severity, 0..3_u8, age).prop_map(|(status, severity, text, age)| Step::Report { status, severity, text, age }),
        4 => (0..8_u8).prop_map(Step::Send),
        1 => (0..8_u8).prop_map(Step::Members),
    ];
    prop::collection::vec(step, 1..60)
}

const NAMES: [&str; 3] = ["alice", "bob", "carol"];

fn chosen(bits: u8) -> Vec<&'static str> {
    NAMES.into_iter().enumerate().filter(|(i, _)| bits & (1 << i) != 0).map(|(_, name)| name).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Queued,
    Sent,
    Superseded,
}

#[derive(Debug, Clone)]
struct Queued {
    who: Recipient,
    delivery: Delivery,
    /// Which opening of the condition it is of.
    round: usize,
    resolved: bool,
    state: State,
}

/// What the store knows, and what it must have done.
#[derive(Default)]
struct Store {
    condition: Option<ConditionView>,
    queue: Vec<Queued>,
    round: usize,
    alerts: i64,
    pages: Vec<(Timestamp, Severity, Status)>,
}

impl Store {
    fn told(&self) -> Vec<Told> {
        let mut told: Vec<Told> = Vec::new();
        for n in self.queue.iter().filter(|n| n.round == self.round && !n.resolved && n.state == State::Sent) {
            if told.iter().all(|t| t.recipient != n.who) {
                told.push(Told { recipient: n.who.clone(), delivery: n.delivery });
            }
        }
        told
    }

    fn report(&mut self, router: &Router, alert: &Alert, now: Timestamp) -> Plan {
        self.alerts += 1;
        let told = self.told();
        let known: Vec<_> = self.condition.iter().cloned().map(|c| ConditionView { told: told.clone(), ..c }).collect();
        let plan = router.plan(&seen(alert, &mailbox(), &known, now));
        if plan.supersede {
            let pending = self.queue.iter_mut().filter(|n| !n.resolved && n.state == State::Queued);
            pending.for_each(|n| n.state = State::Superseded);
        }
        self.apply(alert, &plan, now);
        for n in &plan.notifications {
            self.queue.push(Queued {
                who: n.recipient.clone(),
                delivery: n.delivery,
                round: self.round,
                resolved: alert.status == Status::Resolved,
                state: State::Queued,
            });
        }
        plan
    }

    fn apply(&mut self, alert: &Alert, plan: &Plan, now: Timestamp) {
        let sent = alert.sent.unwrap_or(now);
        let was_open = self.condition.as_ref().is_some_and(|c| c.open);
        let mut c = self.condition.take().unwrap_or(ConditionView {
            open: false,
            severity: Severity::Info,
            last_sent: sent,
            last_paged: None,
            opened_by: None,
            last_said: None,
            ..open_condition(Severity::Info)
        });
        c.last_sent = c.last_sent.max(sent);
        if plan.open == Some(true) && !was_open {
            self.round += 1;
            (c.severity, c.last_paged, c.last_said) = (Severity::Info, None, None);
            c.opened_by = Some((AlertId(self.alerts), now));
        }
        if plan.paged {
            c.severity = c.severity.max(alert.severity);
            c.last_paged = Some(now);
            c.last_said = Some((alert.title.clone(), alert.text.clone()));
            self.pages.push((now, alert.severity, alert.status));
        }
        c.open = plan.open.unwrap_or(c.open);
        self.condition = Some(c);
    }
}

fn members(bits: u8) -> Router {
    let mut s = settings(&NAMES, &[group("ops", &chosen(bits))]);
    s.default_group = Some("ops".parse().unwrap());
    router(&s)
}

fn report(status: Status, severity: Severity, text: u8, sent: Timestamp) -> Alert {
    let mut a = alert("k", severity);
    (a.status, a.text, a.sent) = (status, format!("text {text}"), Some(sent));
    a
}

proptest! {
    /// Whoever was told of a firing gets exactly one resolved for it; nobody else hears one; a page has a reason.
    #[test]
    fn whoever_was_told_hears_the_end_once_and_nobody_else(steps in steps()) {
        let mut store = Store::default();
        let mut router = members(7);
        let mut now = noon();
        for step in steps {
            now += jiff::SignedDuration::from_secs(STEP_SECONDS);
            match step {
                Step::Members(bits) => router = members(bits),
                Step::Send(bits) => {
                    let names = chosen(bits);
                    let due = store.queue.iter_mut().filter(|n| n.state == State::Queued && names.contains(&n.who.name.as_str()));
                    due.for_each(|n| n.state = State::Sent);
                }
                Step::Report { status, severity, text, age } => {
                    let sent = now - jiff::SignedDuration::from_secs(STEP_SECONDS * age);
                    let before = store.condition.clone();
                    let told = store.told();
                    let round = store.round;
                    let a = report(status, severity, text, sent);
                    let plan = store.report(&router, &a, now);
                    let open = before.as_ref().is_some_and(|c| c.open);
                    let late = before.as_ref().is_some_and(|c| sent < c.last_sent);
                    if late {
                        prop_assert!(plan.notifications.is_empty() && plan.open.is_none() && !plan.supersede);
                    } else if status == Status::Resolved {
                        let heard: Vec<_> = plan.notifications.iter().map(|n| n.recipient.clone()).collect();
                        let expected: Vec<_> = told.iter().filter(|_| open).map(|t| t.recipient.clone()).collect();
                        prop_assert_eq!(heard, expected);
                        prop_assert_eq!(store.round, round);
                    } else if plan.paged && open {
                        let c = before.unwrap();
                        let waited = c.last_paged.is_none_or(|at| now.duration_since(at) >= jiff::SignedDuration::from_hours(4));
                        let news = status == Status::Update && c.last_said != Some((a.title.clone(), a.text.clone()));
                        prop_assert!(waited || severity > c.severity || news);
                    } else if !open && !store.pages.is_empty() && plan.notifications.is_empty() {
                        // Only an empty group keeps an opening condition from being paged.
                        prop_assert!(plan.tell_operators.is_some());
                    }
                }
            }
        }
        // Over the whole history: one resolved at most for each recipient and opening, and only after a firing was sent.
        for round in 0..=store.round {
            for name in NAMES {
                let of = |resolved: bool| store.queue.iter().filter(move |n| n.round == round && n.who.name.as_str() == name && n.resolved == resolved);
                let resolved = of(true).count();
                let told = of(false).any(|n| n.state == State::Sent);
                let closed = round < store.round || store.condition.as_ref().is_some_and(|c| !c.open);
                prop_assert_eq!(resolved, usize::from(told && closed), "round {}, {}", round, name);
            }
        }
    }

    /// Firings alone page no more often than severities can rise and `repeat_after` can pass.
    #[test]
    fn a_flapping_severity_pages_within_bounds(severities in prop::collection::vec(prop::sample::select(Severity::ALL.to_vec()), 1..100)) {
        let (mut store, router, mut now) = (Store::default(), members(7), noon());
        for severity in &severities {
            now += jiff::SignedDuration::from_secs(STEP_SECONDS);
            store.report(&router, &report(Status::Firing, *severity, 0, now), now);
        }
        let hours = usize::try_from(STEP_SECONDS).unwrap() * severities.len() / 3600;
        prop_assert!(store.pages.len() <= 5 + hours / 4, "{:?}", store.pages);
        for pair in store.pages.windows(2) {
            let rose = pair[1].1 > pair[0].1;
            prop_assert!(rose || pair[1].0.duration_since(pair[0].0) >= jiff::SignedDuration::from_hours(4));
        }
    }
}
