//! What is due, sent: who may have it now, the intent (D3), and the write.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use super::letter::letter;
use super::worker::Worker;
use crate::model::{BareJid, Epoch, Notification, NotificationId, Presence};
use crate::presence::policy::{Decision, decide};
use crate::queue::{Content, Outbox, Outgoing, SKIPPED, StoreError, Unwritten, Wait, patiently};

/// Most notifications that one D3 commits: enough to fill the window, few enough to stay fair.
const CLAIM: usize = 256;
/// Most of them for one recipient.
const CLAIM_EACH: usize = 64;
/// So many times the room is looked at, spread over the recipients.
const CLAIM_MORE: usize = 4;

impl<Q: Outbox + ?Sized> Worker<Q> {
    /// Sends what is due for everybody who can be reached, until the window is full or nothing is left.
    pub(super) async fn send_due(&mut self) -> Result<(), StoreError> {
        loop {
            let room = self.lane.room().min(CLAIM);
            // With most of the window on its way, the next acknowledgement makes more room: a commit for a handful costs as much
            // as one for many.
            let worth_it = room > self.messenger.in_flight() / 4;
            let (Some(epoch), true, true) = (self.session.epoch, self.session.up, worth_it) else { return Ok(()) };
            let now = (self.wall)();
            let mut recipients = self.queue.recipients_due(now).await?;
            recipients.retain(|who| self.lane.presence(who) != Presence::Unknown);
            self.set_rooms_aside(&mut recipients, epoch, now).await?;
            if recipients.is_empty() {
                return Ok(());
            }
            let due = self.due(&recipients, room, now).await?;
            if !self.send(due, epoch, now).await? {
                return Ok(());
            }
        }
    }

    /// What is due, at most `room` in all. A few for each recipient are enough to fill the window when many have something
    /// waiting; unless those few are all more urgent than what others would get in their stead.
    async fn due(&self, recipients: &[BareJid], room: usize, now: Timestamp) -> Result<Vec<Outgoing>, StoreError> {
        let each = (room * CLAIM_MORE).div_ceil(recipients.len().max(1)).min(CLAIM_EACH);
        let due = self.queue.due(recipients, each, room, now).await?;
        if each < CLAIM_EACH && cut_short(&due, each) {
            return self.queue.due(recipients, CLAIM_EACH, room, now).await;
        }
        Ok(due)
    }

    /// Decides on each and sends what may be sent. `false`: nothing changed, looking again is of no use.
    pub(super) async fn send(&mut self, due: Vec<Outgoing>, epoch: Epoch, now: Timestamp) -> Result<bool, StoreError> {
        let mut deliver = Vec::new();
        let mut wait: HashMap<(Timestamp, &'static str), Vec<NotificationId>> = HashMap::new();
        let mut hold: HashMap<(Timestamp, String), Vec<NotificationId>> = HashMap::new();
        let mut skip = Vec::new();
        for out in due {
            let n = &out.notification;
            let presence = self.lane.presence(&n.jid);
            match decide(&n.delivery, n.severity, presence, n.forced || out.in_doubt) {
                Decision::Deliver => match self.lane.take(&out, now) {
                    Ok(()) => deliver.push(out),
                    Err(Wait { until, why }) => wait.entry((until, why)).or_default().push(n.id),
                },
                Decision::Hold => hold.entry((held_until(&out, now), absence(presence))).or_default().push(n.id),
                Decision::Skip => skip.push(n.id),
                Decision::Wait => {}
            }
        }
        let changed = !deliver.is_empty() || !wait.is_empty() || !hold.is_empty() || !skip.is_empty();
        for ((until, why), ids) in wait {
            let wait = Wait { until, why };
            patiently("let wait", || self.queue.wait(&ids, &wait)).await?;
        }
        for ((until, why), ids) in hold {
            patiently("hold", || self.queue.hold(&ids, until, &why, now)).await?;
        }
        if !skip.is_empty() {
            patiently("skip", || self.queue.skip(&skip, SKIPPED, now)).await?;
        }
        let seen = |n: &Notification| (n.id, self.lane.presence(&n.jid));
        let seen: Vec<_> = deliver.iter().map(|out| seen(&out.notification)).collect();
        if !seen.is_empty() {
            let intended = patiently("commit the intent to send", || self.queue.d3_seen(&seen, epoch, now)).await?;
            let taken = |out: &Outgoing| intended.contains(&out.notification.id);
            deliver.iter().filter(|out| !taken(out)).for_each(|out| self.lane.give_back(&out.notification));
            deliver.retain(taken);
            self.write(deliver, now).await?;
        }
        Ok(changed)
    }

    /// Hands over what is committed as `sending`.
    async fn write(&mut self, sending: Vec<Outgoing>, now: Timestamp) -> Result<(), StoreError> {
        let mut unwritten = Vec::new();
        for out in sending {
            // D3 counted this one.
            let attempts = out.notification.attempts + 1;
            let letter = letter(&out, attempts, &self.router, self.settings.text_max, now);
            let Err(full) = self.messenger.send(letter) else { continue };
            // The session went away between the look at the window and now.
            self.lane.give_back(&out.notification);
            unwritten.push(Unwritten { stanza_id: full.0.stanza_id, attempts, in_doubt: out.in_doubt });
        }
        patiently("queue again", || self.queue.not_written(&unwritten)).await
    }
}

/// Did somebody get as many as were asked for, all of them more urgent than the least urgent of the others'?
fn cut_short(due: &[Outgoing], each: usize) -> bool {
    let Some(least) = due.iter().map(|out| out.notification.severity).min() else { return false };
    let mut urgent: HashMap<&BareJid, usize> = HashMap::new();
    for out in due.iter().filter(|out| out.notification.severity > least) {
        *urgent.entry(&out.notification.jid).or_default() += 1;
    }
    urgent.values().any(|n| *n >= each)
}

/// Why somebody is held for, as people read it in the queue.
pub(super) fn absence(presence: Presence) -> String {
    match presence {
        Presence::Online(show) => format!("the recipient shows {}", show.as_str()),
        Presence::NotJoined => "mailbell is not in the room".to_owned(),
        Presence::NotShared => "the recipient has not granted the presence subscription".to_owned(),
        Presence::Offline | Presence::Unknown => "the recipient is offline".to_owned(),
    }
}

/// End of a hold that starts now: `hold_for` counts from when the notification was committed, or the alert took effect.
pub(super) fn held_until(out: &Outgoing, now: Timestamp) -> Timestamp {
    let n = &out.notification;
    let effective = match &out.content {
        Content::Alert(record) => record.alert.effective,
        Content::Text(_) => None,
    };
    let from = n.created.max(effective.unwrap_or(n.created)).min(now);
    let hold = i64::try_from(n.delivery.hold_for_ms).map_or(SignedDuration::MAX, SignedDuration::from_millis);
    from.saturating_add(hold).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::render::tests::{alert, notification, record};
    use super::*;

    #[test]
    fn a_hold_counts_from_the_commit_or_from_when_the_alert_took_effect() {
        let at = |minutes: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes);
        let held = |effective, now| {
            let mut n = notification();
            (n.created, n.delivery.hold_for_ms) = (at(60), 10 * 60 * 1000);
            let content = Content::Alert(Arc::new(record(1, crate::model::Alert { effective, ..alert() })));
            held_until(&Outgoing { notification: n, content, in_doubt: false }, now)
        };
        assert_eq!(held(None, at(60)), at(70));
        assert_eq!(held(None, at(65)), at(70), "whoever comes and goes is not held for longer");
        assert_eq!(held(Some(at(30)), at(65)), at(70));
        assert_eq!(held(Some(at(90)), at(95)), at(100));
        assert_eq!(held(Some(at(9000)), at(65)), at(75), "told now: a wrong clock");
    }
}
