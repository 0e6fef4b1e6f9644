//! Presence of its members → availability of a group.

use crate::model::{Availability, Delivery, GroupAvailability, Presence};

use super::policy::reachable;

/// How a group is whose members are told by `delivery`, which is that of the group for one severity.
///
/// *Ready* is who would be delivered to now by the policy and is known to be there: not who is sent to without regard to presence
/// (`offline = "send"`, or a critical alert to who does not share it). Storm limits, walls and audiences are matters of one alert
/// and left out.
pub fn availability(delivery: &Delivery, members: &[Presence]) -> GroupAvailability {
    let status = members.iter().copied().map(Availability::from).max().unwrap_or(Availability::Offline);
    let ready = members.iter().filter(|presence| reachable(delivery, **presence) == Some(true)).count();
    GroupAvailability { status, ready, members: members.len() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Offline, Severity, Show, ShowSet};
    use crate::presence::policy::{Decision, decide};

    const ON: Presence = Presence::Online(Show::Available);
    const AWAY: Presence = Presence::Online(Show::Away);
    const XA: Presence = Presence::Online(Show::Xa);
    const DND: Presence = Presence::Online(Show::Dnd);

    fn quiet(offline: Offline) -> Delivery {
        let shows: ShowSet = Show::ALL.into_iter().filter(|show| *show != Show::Dnd).collect();
        Delivery { shows, offline, hold_for_ms: 1 }
    }

    fn of(members: &[Presence]) -> (Availability, usize) {
        let found = availability(&quiet(Offline::Hold), members);
        assert_eq!(found.members, members.len());
        (found.status, found.ready)
    }

    #[test]
    fn the_best_of_its_members() {
        use Presence::{NotJoined, NotShared, Offline, Unknown};
        assert_eq!(of(&[Offline, DND, XA, ON]), (Availability::Active, 2));
        assert_eq!(of(&[Presence::Online(Show::Chat)]), (Availability::Active, 1));
        assert_eq!(of(&[Unknown, XA]), (Availability::Away, 1));
        assert_eq!(of(&[AWAY, DND]), (Availability::Away, 1));
        assert_eq!(of(&[DND, Unknown]), (Availability::Busy, 0), "spared by the policy");
        assert_eq!(of(&[Offline, NotShared]), (Availability::Unknown, 0), "they may be there");
        assert_eq!(of(&[Offline, Unknown]), (Availability::Unknown, 0));
        assert_eq!(of(&[Offline, NotJoined]), (Availability::Offline, 0));
        assert_eq!(of(&[]), (Availability::Offline, 0));
    }

    #[test]
    fn who_is_ready_would_be_told() {
        let all = [Presence::Unknown, Presence::NotShared, Presence::NotJoined, Presence::Offline, ON, AWAY, XA, DND];
        for offline in [Offline::Hold, Offline::Send, Offline::Skip] {
            for presence in all {
                let delivery = quiet(offline);
                let told = decide(&delivery, Severity::Warning, presence, false) == Decision::Deliver;
                let ready = availability(&delivery, &[presence]).ready == 1;
                assert!(told || !ready, "{presence:?}");
                assert_eq!(ready, matches!(presence, Presence::Online(show) if show != Show::Dnd), "{presence:?}");
            }
        }
        let everybody = Delivery { shows: ShowSet::all(), ..quiet(Offline::Hold) };
        assert_eq!(availability(&everybody, &[DND, ON]).ready, 2);
    }

    #[test]
    fn its_words_are_told_best_first() {
        assert!(Availability::ALL.is_sorted_by(|a, b| a > b));
        for word in Availability::ALL {
            assert_eq!(serde_json::to_value(word).unwrap(), word.as_str());
        }
    }
}
