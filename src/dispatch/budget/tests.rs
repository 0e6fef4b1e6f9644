use proptest::prelude::*;

use super::*;

const CAP: u32 = 20;
const PAUSE: Duration = Duration::from_secs(10);

fn who(name: &str) -> BareJid {
    format!("{name}@example.test").parse().unwrap()
}

fn budget(max_per_minute: u32) -> Budget {
    Budget::new(Limits { max_per_minute, group_window: PAUSE })
}

fn alert(sender: &str, severity: Severity) -> Ask<'_> {
    Ask { kind: Kind::Alert, sender, severity, condition: None, forced: false, again: false }
}

fn about(condition: i64, severity: Severity) -> Ask<'static> {
    Ask { condition: Some(ConditionId(condition)), ..alert("ups", severity) }
}

fn digest() -> Ask<'static> {
    Ask { kind: Kind::Digest, sender: "", severity: Severity::Warning, condition: None, forced: false, again: false }
}

/// Sends it if it may be sent.
fn sent(budget: &mut Budget, ask: &Ask<'_>, now: Instant) -> bool {
    let answer = budget.judge(&who("alice"), ask, now);
    if answer == Answer::Now {
        budget.spend(&who("alice"), ask, now);
    }
    answer == Answer::Now
}

/// How many of so many may be sent.
fn how_many(budget: &mut Budget, ask: &Ask<'_>, of: usize, now: Instant) -> usize {
    (0..of).filter(|_| sent(budget, ask, now)).count()
}

#[test]
fn the_cap_is_dealt_so_that_who_was_not_heard_and_what_is_critical_still_goes() {
    let (mut b, now) = (budget(CAP), Instant::now());
    assert_eq!(how_many(&mut b, &alert("flood", Severity::Warning), 100, now), 8);
    assert_eq!(how_many(&mut b, &alert("flood", Severity::Critical), 100, now), 4);
    assert!(sent(&mut b, &alert("new", Severity::Info), now));
    assert!(!sent(&mut b, &alert("new", Severity::Critical), now), "it was heard");
    assert!(sent(&mut b, &alert("another", Severity::Info), now));
    assert!(!sent(&mut b, &alert("third", Severity::Info), now));
    assert!(sent(&mut b, &alert("third", Severity::Critical), now));
    assert!(sent(&mut b, &alert("fourth", Severity::Critical), now));
    assert!(!sent(&mut b, &alert("fifth", Severity::Critical), now), "the rest is for digests");
    assert_eq!(how_many(&mut b, &digest(), 100, now), 4);
    let elsewhere = b.judge(&who("bob"), &alert("flood", Severity::Info), now);
    assert_eq!(elsewhere, Answer::Now, "each recipient has their own");
    assert_eq!(how_many(&mut b, &alert("flood", Severity::Warning), 100, now + WINDOW), 8);
}

#[test]
fn the_least_cap_has_a_place_for_each() {
    let (mut b, now) = (budget(LEAST), Instant::now());
    assert_eq!(how_many(&mut b, &alert("flood", Severity::Warning), 9, now), 2);
    assert_eq!(how_many(&mut b, &alert("flood", Severity::Critical), 9, now), 1);
    assert!(sent(&mut b, &alert("new", Severity::Info), now));
    assert!(!sent(&mut b, &alert("newer", Severity::Critical), now));
    assert_eq!(how_many(&mut b, &digest(), 9, now), 1);
}

#[test]
fn what_must_be_sent_and_what_is_sent_again_know_no_pause() {
    let (mut b, now) = (budget(CAP), Instant::now());
    assert!(sent(&mut b, &about(1, Severity::Critical), now));
    assert!(!sent(&mut b, &about(1, Severity::Critical), now));
    assert!(sent(&mut b, &Ask { forced: true, ..about(1, Severity::Critical) }, now));
    let again = Ask { again: true, ..about(1, Severity::Critical) };
    assert_eq!(how_many(&mut b, &again, 100, now), 10, "and keep to the cap");
    assert_eq!(b.judge(&who("alice"), &again, now), Answer::Full(now + WINDOW), "for its own place");
}

#[test]
fn digests_are_spread_and_the_first_gathers() {
    let (mut b, start) = (budget(CAP), Instant::now());
    let after = |seconds: u64| start + Duration::from_secs(seconds);
    let full = |b: &mut Budget, now| match b.judge(&who("alice"), &alert("flood", Severity::Info), now) {
        Answer::Full(at) => at,
        other => panic!("{other:?}"),
    };
    how_many(&mut b, &alert("flood", Severity::Info), 8, start);
    assert_eq!(full(&mut b, after(1)), after(11));
    assert_eq!(full(&mut b, after(9)), after(11), "the same one");
    // Whatever came a moment before.
    assert_eq!(full(&mut b, after(11)), after(21));
    assert!(b.free(&who("alice"), after(11)).digest);
    assert!(sent(&mut b, &digest(), after(11)));
    assert_eq!(full(&mut b, after(12)), after(11) + WINDOW / 4);
    assert!(!b.free(&who("alice"), after(21)).digest);
    assert!(b.free(&who("alice"), after(11) + WINDOW / 4).digest);
    assert_eq!(full(&mut b, after(50)), after(60), "nothing waited: it gathers again");
}

#[test]
fn what_follows_about_a_condition_waits_unless_it_is_worse() {
    let (mut b, now) = (budget(0), Instant::now());
    assert!(sent(&mut b, &about(1, Severity::Minor), now));
    let soon = now + Duration::from_secs(3);
    assert_eq!(b.judge(&who("alice"), &about(1, Severity::Minor), soon), Answer::Pause(now + PAUSE));
    assert_eq!(b.judge(&who("alice"), &about(2, Severity::Minor), soon), Answer::Now);
    assert_eq!(b.judge(&who("bob"), &about(1, Severity::Minor), soon), Answer::Now);
    assert!(sent(&mut b, &about(1, Severity::Major), soon));
    assert_eq!(b.judge(&who("alice"), &about(1, Severity::Major), soon), Answer::Pause(soon + PAUSE));
    assert_eq!(b.judge(&who("alice"), &about(1, Severity::Major), soon + PAUSE), Answer::Now);
}

#[test]
fn what_was_not_sent_does_not_count() {
    let (mut b, now) = (budget(CAP), Instant::now());
    how_many(&mut b, &alert("flood", Severity::Info), 7, now);
    assert!(sent(&mut b, &about(1, Severity::Info), now));
    assert!(!sent(&mut b, &about(1, Severity::Info), now));
    b.refund(&who("alice"), Some(ConditionId(1)));
    assert!(sent(&mut b, &about(1, Severity::Info), now));
}

#[test]
fn memory_is_bounded_and_given_back() {
    let (mut b, now) = (budget(CAP), Instant::now());
    for n in 0..5_000 {
        how_many(&mut b, &about(n, Severity::Critical), 1, now);
        b.spend(&who(&format!("p{n}")), &alert("flood", Severity::Info), now);
    }
    let alice = &b.spent[&who("alice")];
    assert!(alice.sent.len() <= 20 && alice.told.len() <= CONDITIONS);
    b.judge(&who("bob"), &digest(), now + 2 * WINDOW);
    assert_eq!(b.spent.len(), 1, "only bob was asked for lately");
    let mut endless = budget(0);
    for n in 0..5_000 {
        assert!(sent(&mut endless, &about(n, Severity::Info), now));
    }
    assert_eq!(endless.spent[&who("alice")].told.len(), CONDITIONS);
}

#[derive(Debug, Clone)]
struct Step {
    after: u64,
    sender: u8,
    critical: bool,
    digest: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..3_000u64, 0..6u8, any::<bool>(), 0..8u8);
    proptest::collection::vec(
        step.prop_map(|(after, sender, critical, kind)| Step { after, sender, critical, digest: kind == 0 }),
        1..400,
    )
}

proptest! {
    #[test]
    fn never_more_than_the_cap_in_any_window(cap in LEAST..60, steps in steps()) {
        let mut b = budget(cap);
        let start = Instant::now();
        let (mut now, mut times) = (start, Vec::new());
        for step in steps {
            now += Duration::from_millis(step.after);
            let name = step.sender.to_string();
            let severity = if step.critical { Severity::Critical } else { Severity::Info };
            let ask = if step.digest { digest() } else { alert(&name, severity) };
            let free = b.free(&who("alice"), now);
            let was_sent = sent(&mut b, &ask, now);
            if !step.digest && (free.any > 0 || step.critical && free.critical > 0) {
                prop_assert!(was_sent, "there was room");
            }
            times.extend(was_sent.then_some(now));
        }
        for (place, first) in times.iter().enumerate() {
            let within = times[place..].iter().take_while(|at| **at < *first + WINDOW).count();
            prop_assert!(within <= cap as usize, "{within} in a window");
        }
    }

    /// However many critical alerts the others send, and whenever: somebody who was silent for a window is heard at once, as long
    /// as no more than the reserve are new in that window.
    #[test]
    fn a_flood_never_starves_who_was_not_heard(cap in LEAST..100, bursts in proptest::collection::vec((0..20_000u64, 1..80usize), 1..30)) {
        let mut b = budget(cap);
        let mut now = Instant::now();
        for (after, n) in bursts {
            now += Duration::from_millis(after);
            how_many(&mut b, &alert("flood", Severity::Critical), n, now);
        }
        let reserve = cap as usize / 5;
        for n in 0..reserve {
            let name = format!("silent{n}");
            prop_assert!(sent(&mut b, &alert(&name, Severity::Critical), now), "{name} of {reserve}");
        }
    }

    /// Whatever else is sent, the next digest is never further away than a window.
    #[test]
    fn a_digest_always_comes(cap in LEAST..100, steps in steps()) {
        let mut b = budget(cap);
        let mut now = Instant::now();
        for step in steps {
            now += Duration::from_millis(step.after);
            let name = step.sender.to_string();
            let severity = if step.critical { Severity::Critical } else { Severity::Info };
            if let Answer::Full(at) = b.judge(&who("alice"), &alert(&name, severity), now) {
                prop_assert!(at > now && at <= now + WINDOW);
                if step.digest {
                    now = at;
                    // More of the flood, before the worker looks.
                    b.judge(&who("alice"), &alert(&name, severity), now);
                    prop_assert!(b.free(&who("alice"), now).digest && sent(&mut b, &digest(), now));
                }
            } else {
                b.spend(&who("alice"), &alert(&name, severity), now);
            }
        }
    }
}
