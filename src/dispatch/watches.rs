//! The watch over each alert's groups: when nobody of a group can be reached its fallback is added at once.

use jiff::Timestamp;

use super::worker::Worker;
use crate::model::{AlertId, BareJid, FallbackWhen, GroupName, Presence, Severity, Source};
use crate::presence::watch::{Judgement, Member, judge, judge_unanswered};
use crate::queue::{Outbox, StoreError, Watch, WatchEnd, patiently};
use crate::route::Router;

/// Most watches settled at a time.
const LOOK_AT: usize = 256;

/// How the watch over one group of one alert ends, where people are at these presences; `None`: that is not known yet.
pub async fn look_at<Q: Outbox + ?Sized>(
    watch: &Watch,
    presence: impl Fn(&BareJid) -> Presence,
    queue: &Q,
    router: &Router,
    now: Timestamp,
) -> Result<Option<WatchEnd>, StoreError> {
    let members: Vec<Member> = watch
        .members
        .iter()
        .map(|m| Member {
            state: m.state,
            missed: m.missed,
            delivery: m.delivery,
            presence: presence(&m.jid),
            forced: m.forced,
        })
        .collect();
    let next = fallback_of(watch, router);
    let judgement = if watch.unanswered {
        judge_unanswered(next.is_some(), &members)
    } else {
        judge(watch.severity, next.as_ref().map(|(_, when)| *when), &members)
    };
    Ok(match judgement {
        Judgement::Undecided => None,
        Judgement::Reached => Some(WatchEnd::Reached),
        Judgement::AddFallback => Some(fallback(watch, next.map(|(group, _)| group), queue, router, now).await?),
        Judgement::Force => Some(WatchEnd::Forced),
        Judgement::Give => Some(WatchEnd::Given),
    })
}

/// The group's fallback, as frozen at D2. A watch that ended once and began anew has none: it is what the policy says now.
fn fallback_of(watch: &Watch, router: &Router) -> Option<(GroupName, FallbackWhen)> {
    let now = || router.next(&watch.group, watch.severity).filter(|_| watch.unanswered);
    watch.fallback.clone().or_else(now)
}

async fn fallback<Q: Outbox + ?Sized>(
    watch: &Watch,
    first: Option<GroupName>,
    queue: &Q,
    router: &Router,
    now: Timestamp,
) -> Result<WatchEnd, StoreError> {
    let Some(first) = first else { return Ok(WatchEnd::Given) };
    let Some(record) = queue.alert(watch.alert).await? else { return Ok(WatchEnd::Given) };
    let Ok(source) = record.source.parse::<Source>() else { return Ok(WatchEnd::Given) };
    let critical = watch.severity == Severity::Critical;
    let mut left_out = Vec::new();
    let mut next = Some(first.clone());
    while let Some(group) = next {
        if !router.has_group(&group) {
            tracing::warn!(alert = %watch.alert, group = %watch.group, fallback = %group,
                "the fallback group is not in the config any more; there is none");
            return Ok(if critical { WatchEnd::Forced } else { WatchEnd::Given });
        }
        let brought = router.fallback(&record.alert, &source, &group, now);
        left_out.extend(brought.left_out);
        let after = router.next(&group, record.alert.severity);
        if !brought.notifications.is_empty() {
            let notifications = brought.notifications;
            return Ok(WatchEnd::Fallback { group, next: after, notifications, left_out });
        }
        // Nobody of it may be told: its own fallback is asked at once.
        next = after.map(|(group, _)| group);
    }
    if critical {
        let left_out = left_out.join("; ");
        tracing::warn!(alert = %watch.alert, group = %watch.group, %left_out, "nobody of the fallback may be told; there is none");
        return Ok(WatchEnd::Forced);
    }
    Ok(WatchEnd::Fallback { group: first, next: None, notifications: Vec::new(), left_out })
}

impl<Q: Outbox + ?Sized> Worker<Q> {
    /// Settles what can be settled: the alerts that came since the last look, and now and then all that are undecided.
    /// Without a session nothing is known, and nothing falls back. `true`: there is more to send now.
    pub(super) async fn settle_watches(&mut self, all: bool) -> Result<bool, StoreError> {
        if !self.session.up {
            return Ok(false);
        }
        let newest = self.queue.newest_watch().await?;
        let mut after = if all { None } else { self.watched_to.clone() };
        if newest <= after {
            return Ok(false);
        }
        // Looked at, whatever comes of it: what cannot be settled yet waits for the next look at all, so that a backlog is
        // not read again with each alert that is added to it.
        self.watched_to = self.watched_to.take().max(newest);
        let mut more = false;
        loop {
            let watches = self.queue.watches(after.clone(), LOOK_AT).await?;
            let Some(last) = watches.last() else { return Ok(more) };
            after = Some((last.alert, last.group.clone()));
            let now = Timestamp::now();
            let mut ends = Vec::new();
            for watch in &watches {
                let presence = |jid: &BareJid| self.lane.presence(jid);
                if let Some(end) = look_at(watch, presence, &*self.queue, &self.router, now).await? {
                    ends.push((watch.alert, watch.group.clone(), end));
                }
            }
            if !ends.is_empty() {
                more |= ends.iter().any(|(_, _, end)| matches!(end, WatchEnd::Fallback { .. } | WatchEnd::Forced));
                self.tell_of(&watches, &ends).await?;
                patiently("settle groups", || self.queue.end_watches(ends.clone(), now)).await?;
            }
        }
    }

    /// Nothing can be sent to a room that we are not in.
    fn but_not_to_rooms(&self, watches: &[Watch], alert: AlertId, group: &GroupName) -> String {
        let members = watches.iter().filter(|w| w.alert == alert && w.group == *group).flat_map(|w| &w.members);
        let out = members.filter(|m| self.lane.presence(&m.jid) == Presence::NotJoined);
        let rooms: Vec<_> = out.map(|m| m.jid.to_string()).collect();
        if rooms.is_empty() { String::new() } else { format!(", but not to {}: not in the room", rooms.join(", ")) }
    }

    /// Says in the log who is added, and tells the operators of critical alerts that reached nobody.
    async fn tell_of(&self, watches: &[Watch], ends: &[(AlertId, GroupName, WatchEnd)]) -> Result<(), StoreError> {
        for (alert, group, end) in ends {
            let watch = watches.iter().find(|w| w.alert == *alert && w.group == *group);
            let severity = watch.map_or(Severity::Info, |w| w.severity);
            let unanswered = watch.is_some_and(|w| w.unanswered);
            let why = if unanswered { "no receipt came from the group" } else { "nobody of the group can be reached" };
            match end {
                WatchEnd::Reached => {}
                WatchEnd::Fallback { group: fallback, notifications, .. } => {
                    tracing::warn!(%alert, %group, %fallback, recipients = notifications.len(),
                        "{why}; its fallback is added");
                }
                WatchEnd::Forced => {
                    tracing::warn!(%alert, %group, "{why}, and it has no fallback; sent anyway");
                    let rooms = self.but_not_to_rooms(watches, *alert, group);
                    let (topic, text) = if unanswered {
                        (
                            "unanswered",
                            format!("nobody of {group}, who was told, has confirmed it, and there is no fallback"),
                        )
                    } else {
                        (
                            "unreachable",
                            format!("nobody of {group} is reachable; it was sent to all of them anyway{rooms}"),
                        )
                    };
                    self.note(&format!("{topic}:{group}"), &format!("critical alert {alert}: {text}")).await?;
                }
                WatchEnd::Given => tracing::warn!(%alert, %group, %severity, "{why}, and it has no fallback"),
            }
        }
        Ok(())
    }
}
