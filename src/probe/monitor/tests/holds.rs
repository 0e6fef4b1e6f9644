//! Outages that are held back: by maintenance, and behind a parent that is down.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_fails_in_its_maintenance_is_told_after_it() {
    let mut settings = settings(&["a:1", "b:1", "c:1"]);
    // Its end comes between two probes: the monitor has to wake by itself.
    settings.maintenance = vec![window("a", 5, 65), window("c", 5, 65)];
    settings.probes.iter_mut().for_each(|probe| probe.rules.interval = 40 * MINUTE);
    let bed = Bed::start_by(settings);
    pass(10 * MINUTE).await;
    for target in ["a:1", "b:1", "c:1"] {
        bed.world.set(target, Kind::Refused);
    }
    pass(50 * MINUTE).await;
    bed.world.set("c:1", Kind::Open);
    assert_eq!(bed.book.titles(), ["b:1 is down: refused"]);
    pass(5 * MINUTE - SECOND).await;
    assert_eq!(bed.book.told().len(), 1);
    let before = bed.world.times("a:1").len();
    pass(25 * SECOND).await;
    assert_eq!(bed.world.times("a:1").len(), before + 3, "its attempts begin at once");
    let told = bed.book.told();
    assert_eq!(told[1], (65 * 60 + 20, "a:1 is down: refused".to_owned()));
    pass(5 * MINUTE).await;
    assert_eq!(bed.book.told().len(), 2, "{told:?}: the other one was back before");
}

#[tokio::test(start_paused = true)]
async fn an_outage_from_before_ends_within_the_maintenance() {
    let mut settings = settings(&["a:1"]);
    settings.maintenance = vec![window("a", 5, 300)];
    let bed = Bed::start_by(settings);
    bed.world.set("a:1", Kind::Refused);
    pass(200 * MINUTE).await;
    assert_eq!(bed.book.titles(), ["a:1 is down: refused"], "no reminder");
    bed.world.set("a:1", Kind::Open);
    pass(2 * MINUTE).await;
    assert_eq!(bed.book.titles()[1..], ["a:1 answers again"]);
}

#[tokio::test(start_paused = true)]
async fn a_maintenance_that_a_reload_takes_away_is_over() {
    let mut first = settings(&["a:1"]);
    first.maintenance = vec![window("a", 0, 3000)];
    let bed = Bed::start_by(first);
    bed.world.set("a:1", Kind::Refused);
    pass(20 * MINUTE).await;
    assert_eq!(bed.book.titles(), [""; 0]);
    bed.settings.send(Arc::new(settings(&["a:1"]))).unwrap();
    pass(25 * SECOND).await;
    assert_eq!(bed.book.titles(), ["a:1 is down: refused"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_behind_a_dead_gateway_is_not_told() {
    for parent in ["gw:22", "gw"] {
        let mut settings = settings(&["a:1", "gw:22"]);
        settings.probes[0].rules.depends_on = vec![parent.parse().unwrap()];
        let bed = Bed::start_by(settings);
        pass(5 * MINUTE).await;
        // The child is looked at first, and has all of its attempts before the gateway's time comes.
        let now = || Instant::now() - START.get().unwrap();
        while bed.world.times("gw:22").last().unwrap() < bed.world.times("a:1").last().unwrap() {
            pass(SECOND).await;
        }
        bed.world.set("a:1", Kind::TimedOut);
        bed.world.set("gw:22", Kind::TimedOut);
        let died = now();
        pass(10 * MINUTE).await;
        assert_eq!(bed.book.titles(), ["gw:22 is down: timed out"]);
        let first = bed.world.times("a:1").into_iter().find(|at| *at - START.get().unwrap() > died).unwrap();
        assert!(
            bed.world.times("gw:22").into_iter().any(|at| at > first && at - first <= 4 * SECOND),
            "it is looked at when the child fails"
        );
        // The gateway is back; what is behind it is still coming up.
        bed.world.set("gw:22", Kind::Open);
        pass(61 * SECOND).await;
        assert_eq!(bed.book.titles()[1..], ["gw:22 answers again"]);
        bed.world.set("a:1", Kind::Open);
        pass(10 * MINUTE).await;
        assert_eq!(bed.book.told().len(), 2, "{:?}", bed.book.told());
        bed.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_still_dead_when_its_gateway_is_back_is_told_after_its_attempts() {
    let bed = Bed::start_by(behind("a:1", "gw:22", &["b:1"]));
    pass(5 * MINUTE).await;
    for target in ["a:1", "gw:22", "b:1"] {
        bed.world.set(target, Kind::Refused);
    }
    pass(10 * MINUTE).await;
    assert_eq!(bed.book.titles().len(), 2, "{:?}", bed.book.told());
    bed.world.set("gw:22", Kind::Open);
    pass(10 * MINUTE).await;
    let told = bed.book.told();
    assert_eq!(told[2].1, "gw:22 answers again");
    assert_eq!(told[3].1, "a:1 is down: refused");
    assert!((20..=21).contains(&(told[3].0 - told[2].0)), "three attempts, the first at once: {told:?}");
}

#[tokio::test(start_paused = true)]
async fn what_dies_alone_is_told_as_fast_as_without_a_gateway() {
    let bed = Bed::start_by(behind("a:1", "gw:22", &[]));
    pass(5 * MINUTE).await;
    bed.world.set("a:1", Kind::Refused);
    pass(5 * MINUTE).await;
    let told = bed.book.told();
    let first = bed.world.times("a:1").into_iter().find(|at| *at - START.get().unwrap() > 5 * MINUTE).unwrap();
    let after = told[0].0 - (first - START.get().unwrap()).as_secs();
    assert_eq!((told.len(), after), (1, 20), "{told:?}");
    // It is told, and its gateway dies: its end is told all the same, and no reminder before.
    bed.world.set("gw:22", Kind::Refused);
    pass(100 * MINUTE).await;
    assert_eq!(bed.book.titles()[1..], ["gw:22 is down: refused", "gw:22 is down: refused"]);
    bed.world.set("a:1", Kind::Open);
    pass(2 * MINUTE).await;
    assert_eq!(bed.book.titles()[3..], ["a:1 answers again"]);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_died_while_it_was_looked_at_is_looked_at_again() {
    for (child, parent) in [("a:1", "gw:22"), ("a:1", "gw")] {
        let mut settings = settings(&[child, "gw:22"]);
        settings.probes[0].rules.depends_on = vec![parent.parse().unwrap()];
        // One failure is an outage: there is no second look at the gateway by itself.
        settings.probes.iter_mut().for_each(|probe| probe.rules.attempts = 1);
        settings.probes[0].rules.interval = SECOND;
        let bed = Bed::start_by(settings);
        bed.world.slow.lock().unwrap().insert("gw:22".parse().unwrap(), 2 * SECOND);
        pass(5 * MINUTE).await;
        let before = bed.world.times("gw:22").len();
        while bed.world.times("gw:22").len() == before {
            pass(Duration::from_millis(10)).await;
        }
        // Its probe has found it open, and is about to say so.
        bed.world.set("gw:22", Kind::Refused);
        bed.world.set("a:1", Kind::Refused);
        pass(5 * MINUTE).await;
        assert_eq!(bed.book.titles(), ["gw:22 is down: refused"], "behind {parent}");
        bed.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_cannot_be_looked_at_holds_back_nobody_for_ever() {
    let bed = Bed::start_by(behind("a:1", "gw:22", &[]));
    bed.world.set("gw:22", Kind::Local);
    bed.world.set("a:1", Kind::Refused);
    pass(2 * MINUTE).await;
    assert_eq!(bed.book.titles(), ["a:1 is down: refused"]);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_gone_and_a_gateway_that_is_gone() {
    let bed = Bed::start_by(behind("a:1", "gw:22", &["b:1"]));
    bed.world.set("gw:22", Kind::Refused);
    bed.world.set("a:1", Kind::Refused);
    pass(5 * MINUTE).await;
    assert_eq!(bed.book.titles(), ["gw:22 is down: refused"]);
    // Nothing was told of the child, and nothing is when it goes.
    bed.settings.send(Arc::new(settings(&["gw:22", "b:1"]))).unwrap();
    pass(MINUTE).await;
    assert_eq!(bed.book.told().len(), 1);
    bed.settings.send(Arc::new(behind("a:1", "gw:22", &[]))).unwrap();
    pass(5 * MINUTE).await;
    assert_eq!(bed.book.told().len(), 1);
    bed.settings.send(Arc::new(settings(&["a:1"]))).unwrap();
    pass(MINUTE).await;
    assert_eq!(bed.book.titles()[1..], ["gw:22 is not probed any more", "a:1 is down: refused"]);
}
