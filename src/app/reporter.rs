//! Tells the event log what no commit tells: who came and went, and which mailbox can be read. It looks every so often and writes
//! down what has changed, in one commit: the loops that find it out have nothing to do with that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::people::show;
use crate::dispatch::{self, ExpressLane};
use crate::live::Live;
use crate::metrics::{Mailbox, Metrics};
use crate::model::{Availability, GroupName, RecipientName};
use crate::queue::{Events, Happened, MailboxEvent, PresenceEvent, StoreError, patiently};

/// Between two looks.
const EVERY: Duration = Duration::from_millis(500);

/// What it looks at, and where it writes.
pub struct Reporter {
    pub log: Arc<dyn Events>,
    pub lane: Arc<ExpressLane>,
    pub rules: Live<dispatch::Rules>,
    pub metrics: Arc<Metrics>,
}

type News = Vec<(Happened, Vec<GroupName>)>;

/// As it was told last.
#[derive(Default)]
struct Told {
    presence: BTreeMap<RecipientName, (Availability, Option<String>)>,
    mailboxes: BTreeMap<String, (String, Option<String>)>,
}

impl Reporter {
    /// Looks until cancelled. While the disk is full it waits.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), StoreError> {
        let mut told = Told::default();
        loop {
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                () = sleep(EVERY) => {}
            }
            let news = self.news(&mut told);
            if !news.is_empty() {
                tokio::select! {
                    () = cancel.cancelled() => return Ok(()),
                    done = patiently("write events", || self.log.tell(&news)) => done?,
                }
            }
        }
    }

    fn news(&self, told: &mut Told) -> News {
        let rules = self.rules.get();
        let mut news = News::new();
        let mut presence = BTreeMap::new();
        for recipient in rules.router.recipients() {
            let seen = self.lane.presence(&recipient.jid);
            let now = (Availability::from(seen), show(recipient, seen));
            // At the start nobody's presence is known: that is no news.
            if told.presence.get(&recipient.name).unwrap_or(&(Availability::Unknown, None)) != &now {
                let groups = rules.router.groups_of(&recipient.name).into_iter().cloned().collect();
                let (presence, show) = now.clone();
                let event = PresenceEvent { recipient: recipient.name.clone(), presence, show };
                news.push((Happened::Presence(event), groups));
            }
            presence.insert(recipient.name.clone(), now);
        }
        told.presence = presence;
        let mut mailboxes = BTreeMap::new();
        for Mailbox { name, state, error, .. } in self.metrics.mailboxes() {
            let new = || ("starting".to_owned(), None);
            if told.mailboxes.get(&name).cloned().unwrap_or_else(new) != (state.clone(), error.clone()) {
                let event = MailboxEvent { mailbox: name.clone(), state: state.clone(), error: error.clone() };
                news.push((Happened::Mailbox(event), Vec::new()));
            }
            mailboxes.insert(name, (state, error));
        }
        told.mailboxes = mailboxes;
        news
    }
}
