//! A rehearsal: what would become of these mails? They go through the real rules and a store of their own, which is thrown away
//! afterwards; nobody is told, and nothing is opened but that store.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::Exit;
use crate::config::Config;
pub use crate::dispatch::Preview;
use crate::dispatch::{look_at, preview};
use crate::intake::Rules;
use crate::model::{
    AlertId, BareJid, Cursor, Epoch, GroupName, MailboxName, MessageId, MessageState, NewMessage, NotificationId,
    Presence, RecipientName, Source, StanzaId,
};
use crate::probe;
use crate::queue::sqlite::Sqlite;
use crate::queue::{
    self, Ask, Desk, Express, Inbox, MessageView, Outbox, Outgoing, Place, StoreError, Verdict, WatchEnd, Way,
};
use crate::route::Router;

/// Most notifications looked at in one round, and most rounds: fallbacks follow one another, but not in circles.
const ROUND: usize = 10_000;
const ROUNDS: usize = 100;

/// Where people are, by recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presences {
    /// Those who are named.
    pub named: BTreeMap<RecipientName, Presence>,
    /// All others.
    pub others: Presence,
}

/// What became of one mail.
#[derive(Debug, Clone, PartialEq)]
pub struct Rehearsed {
    /// State of the message.
    pub state: MessageState,
    /// Why it is no alert; of alerts: why some of the mail could not be read.
    pub reason: String,
    /// Its alerts.
    pub alerts: Vec<AlertRehearsed>,
    /// What the operators would be told.
    pub notices: Vec<String>,
}

/// What became of one alert.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertRehearsed {
    /// The alert, its state, and why.
    pub view: MessageView,
    /// Within what its key names one condition.
    pub scope: String,
    /// Whom it goes to, in order.
    pub people: Vec<Told>,
    /// Whether its port would be looked at first, and by which route; nothing is looked at here. `None`: no route asks for it.
    pub port_check: Option<String>,
    /// What its groups came to: fallbacks, and criticals that reach nobody.
    pub groups: Vec<String>,
}

/// What becomes of it for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Who.
    pub recipient: RecipientName,
    /// By which groups.
    pub groups: Vec<String>,
    /// What is done.
    pub what: Preview,
}

/// A gateway without mailboxes and without chat.
pub struct Rehearsal {
    store: Arc<Sqlite>,
    router: Router,
    config: Config,
    mails: u32,
    newest: AlertId,
    epoch: Epoch,
    _dir: tempfile::TempDir,
}

impl Rehearsal {
    /// With an empty store: no condition is open.
    pub async fn new(config: Config) -> Result<Self, Exit> {
        let failed = |err: std::io::Error| Exit::Internal(format!("cannot make a directory for the rehearsal: {err}"));
        let dir = tempfile::Builder::new().prefix("mailbell-rehearsal-").tempdir().map_err(failed)?;
        let settings = queue::Settings { path: dir.path().join("mailbell.db"), ..config.store.clone() };
        let store = Sqlite::open(&settings).await?;
        let epoch = store.next_epoch().await?;
        let router = super::router(&config)?;
        Ok(Self { store, router, config, mails: 0, newest: AlertId(0), epoch, _dir: dir })
    }

    /// One mail that is received in this mailbox at `now`, while people are where `presences` says.
    pub async fn mail(
        &mut self,
        mailbox: &MailboxName,
        raw: Vec<u8>,
        presences: &Presences,
        now: Timestamp,
    ) -> Result<Rehearsed, StoreError> {
        let (id, state, reason) = self.take_in(mailbox, raw, now).await?;
        let mut groups: BTreeMap<AlertId, Vec<String>> = BTreeMap::new();
        let mut what: BTreeMap<NotificationId, Preview> = BTreeMap::new();
        for _ in 0..ROUNDS {
            let sent = self.dispatch(presences, &mut what, now).await?;
            let settled = self.settle(presences, &mut groups, now).await?;
            if !sent && !settled {
                break;
            }
        }
        let mut alerts = Vec::new();
        while let Some(view) = self.store.show_alert(AlertId(self.newest.0 + 1)).await? {
            self.newest = view.alert.id;
            let people = view.notifications.iter().map(|n| Told {
                recipient: n.recipient.clone(),
                groups: n.groups.iter().map(ToString::to_string).collect(),
                what: what.remove(&n.id).unwrap_or_else(|| waits(n.not_before, now)),
            });
            let people = people.collect();
            let scope = self.scope(&view);
            alerts.push(AlertRehearsed {
                scope,
                people,
                port_check: self.port_check(&view),
                groups: groups.remove(&view.alert.id).unwrap_or_default(),
                view,
            });
        }
        let notices = self.notices(now).await?;
        debug_assert!(alerts.iter().all(|alert| alert.view.message == Some(id)));
        Ok(Rehearsed { state, reason, alerts, notices })
    }

    /// D1 and D2.
    async fn take_in(
        &mut self,
        mailbox: &MailboxName,
        raw: Vec<u8>,
        now: Timestamp,
    ) -> Result<(MessageId, MessageState, String), StoreError> {
        let found = self.config.intakes().find(|(name, ..)| *name == mailbox);
        let (_, intake, max_size) =
            found.ok_or_else(|| StoreError::refused(format!("there is no mailbox {mailbox}")))?;
        let rules = Rules::new(intake, max_size);
        self.mails += 1;
        let size = raw.len() as u64;
        let message = NewMessage {
            cursor: Cursor::Imap { uidvalidity: 1, uid: self.mails },
            raw,
            internal_date: Some(now),
            oversize: (size > max_size).then_some(size),
        };
        self.store.d1_keep(mailbox, vec![message], now).await?;
        let ready = self.store.ready(1, u64::MAX, &[]).await?;
        let stored = ready.first().ok_or_else(|| StoreError::refused("the mail is not in the store"))?;
        let judged = rules.judge(stored, &self.config.parse, &self.config.mappings, now);
        let reason = match &judged.verdict {
            Verdict::Alerts { bad, .. } => bad.join("; "),
            Verdict::Ends(_, reason) => reason.clone(),
        };
        let report = self.store.d2_commit(vec![judged], &self.router, &NoLane, now).await?;
        let state = report.messages.first().map_or(MessageState::Ready, |(_, state)| *state);
        let reason = if state == MessageState::Duplicate { "it was here before".into() } else { reason };
        Ok((stored.id, state, reason))
    }

    /// Everything that is due, decided on. `true`: something changed.
    async fn dispatch(
        &self,
        presences: &Presences,
        what: &mut BTreeMap<NotificationId, Preview>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let recipients = self.store.recipients_due(now).await?;
        let due = self.store.due(&recipients, ROUND, ROUND, now).await?;
        let mut changed = false;
        for out in &due {
            let n = &out.notification;
            let presence = presences.of(&n.recipient);
            let seen = preview(out, presence, &self.router, self.config.dispatch.text_max, now);
            match &seen {
                Preview::Sent(_) => {
                    let sent = self.store.d3_intend(&[n.id], self.epoch, now).await?;
                    if !sent.is_empty() {
                        self.store.d4_accepted(std::slice::from_ref(&n.stanza_id), now).await?;
                    }
                }
                Preview::Held { until, why } => self.store.hold(&[n.id], *until, why, now).await?,
                Preview::Skipped(why) => self.store.skip(&[n.id], why, now).await?,
                Preview::Waits => continue,
            }
            changed = true;
            what.insert(n.id, seen);
        }
        Ok(changed)
    }

    /// Is there anybody of each group to tell; and if not, what then?
    async fn settle(
        &self,
        presences: &Presences,
        told: &mut BTreeMap<AlertId, Vec<String>>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut ends = Vec::new();
        for watch in self.store.watches(None, ROUND).await? {
            let presence = |jid: &BareJid| {
                let recipient = self.router.recipient(jid);
                recipient.map_or(Presence::Offline, |recipient| presences.of(&recipient.name))
            };
            let Some(end) = look_at(&watch, presence, &*self.store, &self.router, now).await? else { continue };
            told.entry(watch.alert).or_default().extend(in_words(&watch.group, &end));
            ends.push((watch.alert, watch.group, end));
        }
        let settled = !ends.is_empty();
        self.store.end_watches(ends, now).await?;
        Ok(settled)
    }

    /// What the operators would be told; told once.
    async fn notices(&self, now: Timestamp) -> Result<Vec<String>, StoreError> {
        let due = self.store.notices_due(Timestamp::MAX).await?;
        for notice in &due {
            self.store.notice(&notice.topic, &notice.text, &[], now).await?;
        }
        Ok(due.into_iter().map(|notice| notice.text).collect())
    }

    fn port_check(&self, view: &MessageView) -> Option<String> {
        let alert = &view.alert.alert;
        let route = self.router.verifies(alert, &view.alert.source.parse().ok()?)?;
        let said = match probe::named(&alert.labels)? {
            Ok(target) => match probe::refused(&target, &self.config.probe.allow) {
                None => format!("{target} would be looked at"),
                Some(why) => format!("{target} would not be looked at: {why}"),
            },
            Err(why) => format!("would not be looked at: {why}"),
        };
        Some(format!("{said} ({route})"))
    }

    fn scope(&self, view: &MessageView) -> String {
        use crate::model::Planner;
        let source = view.alert.source.parse::<Source>();
        source.map(|source| self.router.scope(&view.alert.alert, &source).0).unwrap_or_default()
    }
}

impl Presences {
    fn of(&self, recipient: &RecipientName) -> Presence {
        self.named.get(recipient).copied().unwrap_or(self.others)
    }
}

/// What a group came to; nothing where somebody of it is there.
fn in_words(group: &GroupName, end: &WatchEnd) -> Option<String> {
    let then = match end {
        WatchEnd::Reached => return None,
        WatchEnd::Forced => "sent to all of them anyway".to_owned(),
        WatchEnd::Given => "it waits for them".to_owned(),
        WatchEnd::Fallback { group: fallback, left_out, .. } => {
            let left_out: String = left_out.iter().map(|who| format!("; left out {who}")).collect();
            format!("{fallback} is added{left_out}")
        }
    };
    Some(format!("nobody of {group} is reachable: {then}"))
}

/// Not due: it takes effect later, or waits behind another one of its condition.
fn waits(not_before: Option<Timestamp>, now: Timestamp) -> Preview {
    match not_before.filter(|at| *at > now) {
        Some(until) => Preview::Held { until, why: "it takes effect then".into() },
        None => Preview::Waits,
    }
}

/// Nothing is born `sending`: every step of the queue is gone through.
pub(super) struct NoLane;

impl Express for NoLane {
    fn epoch(&self) -> Option<Epoch> {
        None
    }

    fn reserve(&self, _: &Ask<'_>) -> Way {
        Way::Queue
    }

    fn release(&self, _: &[Place]) {}

    fn hand_over(&self, _: Option<Epoch>, born: Vec<Outgoing>, _: Timestamp) -> Vec<StanzaId> {
        born.into_iter().map(|out| out.notification.stanza_id).collect()
    }
}
