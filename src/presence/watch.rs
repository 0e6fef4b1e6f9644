//! Is there anybody of a group to tell of an alert; and if not, what then?

use crate::model::{Delivery, FallbackWhen, NotificationState, Offline, Presence, Severity};

use super::policy::reachable;

/// One notification that the group brought, and where its recipient is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its state.
    pub state: NotificationState,
    /// Accepted, and its receipt is missing.
    pub missed: bool,
    /// Its policy.
    pub delivery: Delivery,
    /// Where its recipient is.
    pub presence: Presence,
    /// Sent whatever the presence says.
    pub forced: bool,
}

/// What a look at the group says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Judgement {
    /// Not known yet: look again.
    Undecided,
    /// Somebody can be told, or was.
    Reached,
    /// Nobody: add the fallback group.
    AddFallback,
    /// Nobody, critical and no fallback: send to all of them anyway, and tell the operators.
    Force,
    /// Nothing more to watch: nobody, and the holds stay; or the condition was resolved meanwhile.
    Give,
}

/// Looks at one group of one alert. `fallback`: when the group's fallback is added; `None`: it has none.
pub fn judge(severity: Severity, fallback: Option<FallbackWhen>, members: &[Member]) -> Judgement {
    if fallback == Some(FallbackWhen::HoldExpired) {
        return judge_ended(members);
    }
    let found: Vec<_> = members.iter().map(somebody).collect();
    if found.contains(&Some(true)) {
        return Judgement::Reached;
    }
    if resolved(members) {
        return Judgement::Give;
    }
    if found.contains(&None) {
        return Judgement::Undecided;
    }
    match fallback {
        Some(_) => Judgement::AddFallback,
        None if severity == Severity::Critical => Judgement::Force,
        None => Judgement::Give,
    }
}

/// Looks once more at a group that was told, of whom a receipt is missing. Only who has it for certain counts as told now; who
/// was just sent it has their time for the receipt. `fallback`: it has one, whenever that would have been added otherwise.
pub fn judge_unanswered(fallback: bool, members: &[Member]) -> Judgement {
    use NotificationState as S;
    if members.iter().any(|m| matches!(m.state, S::Delivered | S::Acknowledged)) || resolved(members) {
        Judgement::Reached
    } else if members.iter().any(|m| m.state == S::Sending || (m.state == S::Accepted && !m.missed)) {
        Judgement::Undecided
    } else if fallback {
        Judgement::AddFallback
    } else {
        Judgement::Force
    }
}

/// The fallback waits until every notification of the group ended.
fn judge_ended(members: &[Member]) -> Judgement {
    if members.iter().any(|m| m.state.told()) {
        Judgement::Reached
    } else if resolved(members) {
        Judgement::Give
    } else if members.iter().all(|m| m.state.ended()) {
        Judgement::AddFallback
    } else {
        Judgement::Undecided
    }
}

/// Is this one told? `None`: not known yet. Who can be reached and has not been sent it will be in a moment: unless they
/// leave before, or the session goes down.
fn somebody(member: &Member) -> Option<bool> {
    use NotificationState as S;
    match member.state {
        S::Delivered | S::Acknowledged => Some(true),
        // On its way to somebody who was there.
        S::Sending | S::Accepted | S::Unconfirmed if !sent_blindly(member) => Some(true),
        S::Sending | S::Accepted | S::Unconfirmed => reachable(&member.delivery, member.presence),
        S::Queued | S::Held => reachable(&member.delivery, member.presence).filter(|reachable| !reachable),
        S::Expired | S::Superseded | S::Dead => Some(false),
    }
}

/// Sent without regard to presence: that it is on its way does not mean that somebody is there.
fn sent_blindly(member: &Member) -> bool {
    member.forced || member.delivery.offline == Offline::Send || member.presence == Presence::NotShared
}

/// A resolved ends what waits as superseded: there is nothing left to page anybody for.
fn resolved(members: &[Member]) -> bool {
    members.iter().any(|m| m.state == NotificationState::Superseded)
}

#[cfg(test)]
mod tests {
    use NotificationState as S;
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Show, ShowSet};

    const AT_ONCE: Option<FallbackWhen> = Some(FallbackWhen::Unreachable);
    const LATER: Option<FallbackWhen> = Some(FallbackWhen::HoldExpired);

    fn member(state: S, presence: Presence) -> Member {
        let delivery = Delivery { shows: ShowSet::all(), offline: Offline::Hold, hold_for_ms: 1 };
        Member { state, missed: false, delivery, presence, forced: false }
    }

    fn blind(state: S, presence: Presence) -> Member {
        let held = member(state, presence);
        Member { delivery: Delivery { offline: Offline::Send, ..held.delivery }, ..held }
    }

    const OFF: Presence = Presence::Offline;
    const ON: Presence = Presence::Online(Show::Away);

    #[test]
    fn nobody_reachable_adds_the_fallback_at_once() {
        let held = member(S::Held, OFF);
        assert_eq!(judge(Severity::Major, AT_ONCE, &[held, member(S::Queued, OFF)]), Judgement::AddFallback);
        assert_eq!(judge(Severity::Major, None, &[held]), Judgement::Give);
        assert_eq!(judge(Severity::Critical, None, &[held]), Judgement::Force);
        assert_eq!(judge(Severity::Critical, AT_ONCE, &[]), Judgement::AddFallback, "an empty group reaches nobody");
        assert_eq!(judge(Severity::Critical, None, &[member(S::Dead, ON)]), Judgement::Force);
    }

    #[test]
    fn one_who_can_be_told_is_enough() {
        for one in [member(S::Sending, ON), member(S::Sending, OFF), blind(S::Delivered, OFF)] {
            assert_eq!(judge(Severity::Critical, AT_ONCE, &[member(S::Held, OFF), one]), Judgement::Reached);
        }
    }

    #[test]
    fn who_can_be_told_is_not_told_yet() {
        for one in [member(S::Queued, ON), member(S::Held, ON)] {
            assert_eq!(judge(Severity::Critical, AT_ONCE, &[member(S::Held, OFF), one]), Judgement::Undecided);
        }
    }

    #[test]
    fn unknown_never_triggers_a_fallback() {
        let unknown = member(S::Queued, Presence::Unknown);
        for fallback in [AT_ONCE, LATER, None] {
            assert_eq!(judge(Severity::Critical, fallback, &[member(S::Held, OFF), unknown]), Judgement::Undecided);
        }
    }

    #[test]
    fn what_was_sent_blindly_reaches_nobody_until_it_is_delivered() {
        for state in [S::Sending, S::Accepted, S::Unconfirmed] {
            assert_eq!(judge(Severity::Major, AT_ONCE, &[blind(state, OFF)]), Judgement::AddFallback);
            assert_eq!(judge(Severity::Major, AT_ONCE, &[blind(state, Presence::Unknown)]), Judgement::Undecided);
            assert_eq!(
                judge(Severity::Critical, AT_ONCE, &[member(state, Presence::NotShared)]),
                Judgement::AddFallback
            );
        }
    }

    #[test]
    fn the_end_of_the_holds_is_waited_for_where_the_policy_says_so() {
        let held = member(S::Held, OFF);
        let expired = member(S::Expired, OFF);
        assert_eq!(judge(Severity::Major, LATER, &[held, expired]), Judgement::Undecided);
        assert_eq!(judge(Severity::Major, LATER, &[expired, member(S::Dead, OFF)]), Judgement::AddFallback);
        assert_eq!(judge(Severity::Major, LATER, &[expired, member(S::Accepted, OFF)]), Judgement::Reached);
        assert_eq!(judge(Severity::Major, LATER, &[]), Judgement::AddFallback);
    }

    #[test]
    fn without_a_receipt_only_a_delivered_copy_of_another_member_is_enough() {
        let missed = Member { missed: true, ..member(S::Accepted, ON) };
        for other in [member(S::Held, OFF), member(S::Unconfirmed, ON), member(S::Dead, OFF), missed] {
            assert_eq!(judge_unanswered(true, &[missed, other]), Judgement::AddFallback);
            assert_eq!(judge_unanswered(false, &[missed, other]), Judgement::Force);
        }
        for other in [member(S::Accepted, ON), member(S::Sending, ON)] {
            assert_eq!(judge_unanswered(true, &[missed, other]), Judgement::Undecided, "it may yet come");
        }
        for other in [member(S::Delivered, OFF), member(S::Acknowledged, OFF), member(S::Superseded, OFF)] {
            assert_eq!(judge_unanswered(true, &[missed, other]), Judgement::Reached);
        }
    }

    #[test]
    fn a_resolved_condition_needs_no_fallback() {
        for fallback in [AT_ONCE, LATER, None] {
            let members = [member(S::Superseded, OFF), member(S::Expired, OFF)];
            assert_eq!(judge(Severity::Critical, fallback, &members), Judgement::Give);
        }
    }

    fn any_member() -> impl Strategy<Value = Member> {
        let presences = vec![Presence::Unknown, Presence::NotShared, OFF, ON, Presence::Online(Show::Dnd)];
        let offline = prop::sample::select(vec![Offline::Hold, Offline::Send, Offline::Skip]);
        (prop::sample::select(S::ALL.to_vec()), prop::sample::select(presences), offline, any::<bool>()).prop_map(
            |(state, presence, offline, forced)| {
                let shows = [Show::Available, Show::Away].into_iter().collect();
                Member { state, missed: false, presence, forced, delivery: Delivery { shows, offline, hold_for_ms: 1 } }
            },
        )
    }

    proptest! {
        #[test]
        fn a_critical_alert_is_never_given_up_unless_it_is_resolved(
            members in prop::collection::vec(any_member(), 0..6),
            fallback in prop::sample::select(vec![AT_ONCE, LATER, None]),
        ) {
            let judgement = judge(Severity::Critical, fallback, &members);
            prop_assert_eq!(judgement == Judgement::Give, judgement != Judgement::Reached && resolved(&members));
            prop_assert!(judgement != Judgement::Force || fallback.is_none());
            prop_assert!(judgement != Judgement::AddFallback || fallback.is_some());
            if members.iter().any(|m| m.state == S::Delivered) {
                prop_assert_eq!(judgement, Judgement::Reached);
            }
        }
    }
}
