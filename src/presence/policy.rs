//! Presence × policy → what happens to one notification.

use crate::model::{Delivery, Offline, Presence, Severity};

/// What to do with a notification that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Send it now.
    Deliver,
    /// Keep it until its recipient is reachable.
    Hold,
    /// End it unsent: the policy says so.
    Skip,
    /// Leave it as it is: where its recipient is will be known in a moment.
    Wait,
}

/// What to do with one notification. `forced`: nobody of a critical alert's group was reachable, or an operator asked: send
/// it whatever the presence says.
pub fn decide(delivery: &Delivery, severity: Severity, presence: Presence, forced: bool) -> Decision {
    if presence == Presence::NotJoined {
        // No server keeps a message for a room that we are not in.
        return if delivery.offline == Offline::Skip && !forced { Decision::Skip } else { Decision::Hold };
    }
    if forced {
        return Decision::Deliver;
    }
    match presence {
        Presence::Unknown => Decision::Wait,
        Presence::Online(show) if delivery.shows.contains(show) => Decision::Deliver,
        // We cannot see them, so a skip would be a guess. Who is to be sent to in any presence is sent to here as well.
        Presence::NotShared if severity == Severity::Critical || delivery.offline == Offline::Send => Decision::Deliver,
        Presence::NotShared => Decision::Hold,
        Presence::Online(_) | Presence::Offline | Presence::NotJoined => match delivery.offline {
            Offline::Send => Decision::Deliver,
            Offline::Hold => Decision::Hold,
            Offline::Skip => Decision::Skip,
        },
    }
}

/// Can the recipient be reached now? `None`: not known yet. Who does not share their presence counts as not reachable: what
/// is sent to them may be seen, but nobody knows.
pub fn reachable(delivery: &Delivery, presence: Presence) -> Option<bool> {
    match presence {
        Presence::Unknown => None,
        Presence::NotShared | Presence::NotJoined | Presence::Offline => Some(false),
        Presence::Online(show) => Some(delivery.shows.contains(show)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Show, ShowSet};

    fn delivery(offline: Offline, shows: &[Show]) -> Delivery {
        Delivery { shows: shows.iter().copied().collect(), offline, hold_for_ms: 1 }
    }

    const ALL: [Presence; 9] = [
        Presence::Unknown,
        Presence::NotShared,
        Presence::NotJoined,
        Presence::Offline,
        Presence::Online(Show::Dnd),
        Presence::Online(Show::Xa),
        Presence::Online(Show::Away),
        Presence::Online(Show::Available),
        Presence::Online(Show::Chat),
    ];

    #[test]
    fn the_whole_table() {
        let mut table = String::new();
        for offline in [Offline::Hold, Offline::Send, Offline::Skip] {
            for severity in [Severity::Critical, Severity::Major] {
                let delivery = delivery(offline, &[Show::Available, Show::Chat]);
                let row: Vec<_> = ALL.iter().map(|p| format!("{:?}", decide(&delivery, severity, *p, false))).collect();
                table.push_str(&format!("{offline:?} {severity}: {}\n", row.join(" ")));
            }
        }
        // unknown, not shared, not joined, offline, dnd, xa, away, available, chat
        insta::assert_snapshot!(table, @r"
        Hold critical: Wait Deliver Hold Hold Hold Hold Hold Deliver Deliver
        Hold major: Wait Hold Hold Hold Hold Hold Hold Deliver Deliver
        Send critical: Wait Deliver Hold Deliver Deliver Deliver Deliver Deliver Deliver
        Send major: Wait Deliver Hold Deliver Deliver Deliver Deliver Deliver Deliver
        Skip critical: Wait Deliver Skip Skip Skip Skip Skip Deliver Deliver
        Skip major: Wait Hold Skip Skip Skip Skip Skip Deliver Deliver
        ");
    }

    #[test]
    fn forced_is_sent_whatever_the_presence_but_not_to_a_room_that_we_are_not_in() {
        for offline in [Offline::Hold, Offline::Send, Offline::Skip] {
            let forced = decide(&delivery(offline, &[]), Severity::Info, Presence::NotJoined, true);
            assert_eq!(forced, Decision::Hold);
        }
        for presence in ALL.into_iter().filter(|p| *p != Presence::NotJoined) {
            for offline in [Offline::Hold, Offline::Send, Offline::Skip] {
                assert_eq!(decide(&delivery(offline, &[]), Severity::Info, presence, true), Decision::Deliver);
            }
        }
    }

    #[test]
    fn who_is_reachable_is_delivered_to() {
        for presence in ALL {
            for offline in [Offline::Hold, Offline::Send, Offline::Skip] {
                for shows in [&[][..], &[Show::Dnd], &Show::ALL] {
                    let delivery = delivery(offline, shows);
                    let decision = decide(&delivery, Severity::Minor, presence, false);
                    match reachable(&delivery, presence) {
                        None => assert_eq!(decision, Decision::Wait),
                        Some(true) => assert_eq!(decision, Decision::Deliver),
                        Some(false) => {
                            let sent = offline == Offline::Send && presence != Presence::NotJoined;
                            assert_eq!(decision == Decision::Deliver, sent);
                        }
                    }
                }
            }
        }
        let all = Delivery { shows: ShowSet::all(), ..delivery(Offline::Hold, &[]) };
        assert_eq!(reachable(&all, Presence::Online(Show::Dnd)), Some(true));
    }
}
