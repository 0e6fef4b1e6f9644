//! Maintenance, and what a port depends on.

use super::*;

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
