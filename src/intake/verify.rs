//! Mails that wait to be verified: their alerts name a port, and a route wants to know whether it answers.
//!
//! Until then a mail stays `ready` in the store, so that nothing is lost by a crash: it is read and verified again. Nobody else
//! waits for it but later reports of the same conditions, which must not overtake it; they are verified meanwhile, so that no mail
//! waits for longer than [`LONGEST`] after it was read. What waits is bounded: where it would be more, all of it goes on at once.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::Rulebook;
use crate::live::Current;
use crate::model::{Key, Labels, MessageId, Planner, PortCheck, Scope};
use crate::queue::{D2Message, Verdict};

/// Longest time for a look. Whoever looks ends before; this is for when it does not.
const LONGEST: Duration = Duration::from_secs(2);
/// After this nothing is waited for any more, also where the task that looks is gone.
const GUARD: Duration = Duration::from_millis(2100);
/// Most mails that wait, and most bytes of them.
const MOST: usize = 128;
const MOST_BYTES: u64 = 8 << 20;

/// Looks whether a port answers that an alert names.
#[async_trait]
pub trait Verify: Send + Sync {
    /// Does an alert with these labels name a port to look at?
    fn names_port(&self, labels: &Labels) -> bool;

    /// Looks at it. What can be known it says within 2 seconds.
    async fn verify(&self, labels: &Labels) -> PortCheck;
}

/// Mails that wait, in the order in which they came.
#[derive(Default)]
pub(super) struct Held {
    mails: Vec<Waiting>,
    looks: JoinSet<(MessageId, Vec<(usize, PortCheck)>)>,
    /// By which they were read.
    rules: Option<Current<Rulebook>>,
}

struct Waiting {
    message: D2Message,
    bytes: u64,
    about: About,
    /// Places of its alerts that are being looked at; empty: it is done, and waits for another one.
    open: Vec<usize>,
    until: Instant,
}

/// What conditions a mail reports on.
struct About {
    conditions: HashSet<(Scope, Key)>,
    scopes: HashSet<Scope>,
    /// It may report on any condition of its scopes, by a reference to an earlier alert.
    refers: bool,
}

impl Held {
    pub(super) fn ids(&self) -> Vec<MessageId> {
        self.mails.iter().map(|mail| mail.message.id).collect()
    }

    /// Forgets all of it where other rules are in force by now; `true`: it did.
    pub(super) fn forget_unless_by(&mut self, rules: &Current<Rulebook>) -> bool {
        let others = !self.mails.is_empty() && self.rules.as_ref().is_some_and(|known| !known.is(rules));
        if others {
            *self = Self::default();
        }
        others
    }

    /// What waits for nothing any more, in order.
    pub(super) fn released(&mut self) -> Vec<D2Message> {
        while let Some(looked) = self.looks.try_join_next() {
            self.note(looked.ok());
        }
        self.end_overdue(Instant::now());
        let (mut released, mut kept) = (Vec::new(), Vec::<Waiting>::new());
        for mail in self.mails.drain(..) {
            if mail.open.is_empty() && !kept.iter().any(|earlier| earlier.about.meets(&mail.about)) {
                released.push(mail.message);
            } else {
                kept.push(mail);
            }
        }
        self.mails = kept;
        if self.mails.is_empty() {
            self.rules = None;
        }
        released
    }

    /// Takes a mail if it has to wait; returns what may be committed now, in order.
    pub(super) fn take(
        &mut self,
        mut message: D2Message,
        bytes: u64,
        rules: &Current<Rulebook>,
        verify: &Arc<dyn Verify>,
    ) -> Vec<D2Message> {
        let open = to_verify(&message, rules, &**verify);
        if open.is_empty() && self.mails.is_empty() {
            return vec![message];
        }
        let about = About::of(&message, rules);
        if open.is_empty() && !self.mails.iter().any(|earlier| earlier.about.meets(&about)) {
            return vec![message];
        }
        let waiting: u64 = self.mails.iter().map(|mail| mail.bytes).sum();
        if self.mails.len() >= MOST || waiting.saturating_add(bytes) > MOST_BYTES {
            let mut all = self.give_up();
            note_all(&mut message, &open, &PortCheck::not_checked("too many mails at a time"));
            all.push(message);
            return all;
        }
        self.look(&message, &open, verify);
        self.rules = Some(rules.clone());
        self.mails.push(Waiting { message, bytes, about, open, until: Instant::now() + GUARD });
        Vec::new()
    }

    /// Until something was found, or something has waited long enough. Says nothing of it: see [`released`](Self::released).
    pub(super) async fn news(&mut self) {
        let Some(first) = self.mails.iter().filter(|mail| !mail.open.is_empty()).map(|mail| mail.until).min() else {
            return std::future::pending().await;
        };
        tokio::select! {
            Some(looked) = self.looks.join_next() => self.note(looked.ok()),
            () = sleep_until(first) => {}
        }
    }

    fn look(&mut self, message: &D2Message, open: &[usize], verify: &Arc<dyn Verify>) {
        let Verdict::Alerts { alerts, .. } = &message.verdict else { return };
        let labels = |place: &usize| Some((*place, alerts.get(*place)?.labels.clone()));
        let all: Vec<(usize, Labels)> = open.iter().filter_map(labels).collect();
        if all.is_empty() {
            return;
        }
        let (id, verify) = (message.id, Arc::clone(verify));
        self.looks.spawn(async move {
            let verify = &*verify;
            let looks = all.iter().map(|(place, labels)| async move {
                let looked = timeout(LONGEST, verify.verify(labels)).await;
                (*place, looked.unwrap_or_else(|_| late()))
            });
            (id, join_all(looks).await)
        });
    }

    /// Notes what was found. Of a look that failed nothing is known, not even whose it was: its time ends.
    fn note(&mut self, looked: Option<(MessageId, Vec<(usize, PortCheck)>)>) {
        let Some((id, found)) = looked else { return };
        let Some(mail) = self.mails.iter_mut().find(|mail| mail.message.id == id) else { return };
        for (place, check) in found {
            note_all(&mut mail.message, &[place], &check);
        }
        mail.open.clear();
    }

    fn end_overdue(&mut self, now: Instant) {
        for mail in self.mails.iter_mut().filter(|mail| mail.until <= now) {
            let open = std::mem::take(&mut mail.open);
            note_all(&mut mail.message, &open, &late());
        }
    }

    /// All of it, whether it was looked at or not.
    fn give_up(&mut self) -> Vec<D2Message> {
        let Self { mails, .. } = std::mem::take(self);
        let done = |mut mail: Waiting| {
            note_all(&mut mail.message, &mail.open, &PortCheck::not_checked("too many mails at a time"));
            mail.message
        };
        mails.into_iter().map(done).collect()
    }
}

fn late() -> PortCheck {
    PortCheck::not_checked("it took too long")
}

fn note_all(message: &mut D2Message, places: &[usize], check: &PortCheck) {
    let Verdict::Alerts { alerts, .. } = &mut message.verdict else { return };
    for place in places {
        let Some(alert) = alerts.get_mut(*place) else { continue };
        check.note(alert);
        let line = PortCheck::line(alert).unwrap_or_default();
        tracing::info!(mail = %message.id, title = %alert.title.escape_debug(), "{}", line.escape_debug());
    }
}

/// Places of the alerts that name a port, where a route wants to know of it.
fn to_verify(message: &D2Message, rules: &Rulebook, verify: &dyn Verify) -> Vec<usize> {
    let Verdict::Alerts { alerts, .. } = &message.verdict else { return Vec::new() };
    let wanted = alerts.iter().enumerate().filter(|(_, alert)| {
        rules.router.verifies(alert, &message.source).is_some() && verify.names_port(&alert.labels)
    });
    wanted.map(|(place, _)| place).collect()
}

impl About {
    fn of(message: &D2Message, rules: &Rulebook) -> Self {
        let Verdict::Alerts { alerts, .. } = &message.verdict else {
            return Self { conditions: HashSet::new(), scopes: HashSet::new(), refers: false };
        };
        let scope = |alert| rules.router.scope(alert, &message.source);
        let conditions: HashSet<_> = alerts.iter().map(|alert| (scope(alert), alert.key.clone())).collect();
        let scopes = conditions.iter().map(|(scope, _)| scope.clone()).collect();
        Self { conditions, scopes, refers: alerts.iter().any(|alert| !alert.references.is_empty()) }
    }

    /// May both report on the same condition?
    fn meets(&self, other: &Self) -> bool {
        match self.refers || other.refers {
            true => !self.scopes.is_disjoint(&other.scopes),
            false => !self.conditions.is_disjoint(&other.conditions),
        }
    }
}

#[cfg(test)]
mod tests;
