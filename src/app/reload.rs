//! One reload: prepare, then replace. What can fail fails before anything is changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::join3;
use tokio::time::timeout;

use super::keeper::{Keeper, end_removed};
use super::prepare::{Before, Prepared, prepare};
use crate::config::Config;
use crate::control::{Change, Kept, Reloaded, RemovedRecipient};
use crate::intake::{self, Rulebook, Rules};
use crate::model::{BareJid, MailboxName, Recipient};
use crate::queue::{Inbox, Removed, StoreError};
use crate::route::{KeyScope, Router};
use crate::{dispatch, xmpp};

/// Longest wait for the files: they may be on a share that hangs.
const READ: Duration = Duration::from_secs(20);
/// Longest wait for those who still decide by the old config.
const IN_USE: Duration = Duration::from_secs(5);

impl Keeper {
    /// Reads the config and puts it in force, or says why not.
    ///
    /// # Errors
    /// The store is broken.
    pub async fn reload(&mut self) -> Result<Result<Reloaded, Kept>, StoreError> {
        self.forget_gone().await;
        let before = Before {
            config: self.config.clone(),
            mailboxes: self.mailboxes.known(),
            anchors: self.anchors,
            gone: self.gone.iter().map(|(name, (_, scope))| (name.clone(), *scope)).collect(),
        };
        let file = self.file.clone();
        let why = match timeout(READ, tokio::task::spawn_blocking(move || prepare(&file, &before))).await {
            Ok(Ok(Ok(prepared))) => return Ok(Ok(self.replace(prepared).await?)),
            Ok(Ok(Err(kept))) => return Ok(Err(kept)),
            Ok(Err(err)) => format!("a fault of mailbell while it read the config: {err}"),
            Err(_) => format!("the config, its secrets or CAs were not read within {} s", READ.as_secs()),
        };
        Ok(Err(Kept { file: self.file.display().to_string(), errors: vec![why] }))
    }

    /// Mails of a mailbox that is gone were all parsed: its rules are not needed any more.
    async fn forget_gone(&mut self) {
        for name in self.gone.keys().cloned().collect::<Vec<_>>() {
            if matches!(self.store.waiting(&name).await, Ok(0)) {
                self.gone.remove(&name);
            }
        }
    }

    async fn replace(&mut self, next: Prepared) -> Result<Reloaded, StoreError> {
        let Prepared { config, router, plan, anchors, credentials, tls, restart, warnings } = next;
        let mut done = Reloaded {
            file: self.file.display().to_string(),
            mailboxes: plan.changes.clone(),
            restart,
            next_sign_in: credentials.is_some(),
            warnings,
            ..Reloaded::default()
        };
        let old = std::mem::replace(&mut self.config, config);
        let new = &self.config;
        for change in &done.mailboxes {
            match change.change {
                Change::Removed => self.gone.extend(rules_of(&old, &change.name).map(|of| (change.name.clone(), of))),
                _ => drop(self.gone.remove(&change.name)),
            }
        }
        // New recipients are known before anything is routed to them, and nobody's absence is believed too early.
        let contacts = new.xmpp.contacts.clone();
        let settle = new.dispatch.settle;
        self.lane.tracker(|tracker| tracker.replace(contacts.clone(), settle, Instant::now()));
        self.lane.tracker(|tracker| tracker.replace_rooms(new.xmpp.rooms.iter().map(|room| room.jid.clone())));
        self.lane.set_limits(new.dispatch.limits);
        let dispatched = self.dispatch.replace(dispatch_rules(new, router.clone()));
        let planned = self.rulebook.replace(rulebook(new, router, &self.gone));
        self.xmpp.change(xmpp::Change { contacts, rooms: new.xmpp.rooms.clone(), credentials });
        self.anchors = anchors;
        self.filter.set(&new.log.filter);
        self.http.with(&new.http, tls);
        self.reserve.store(reserve(new), Ordering::Relaxed);
        if **self.probed.borrow() != new.probe {
            self.probed.send_replace(Arc::new(new.probe.clone()));
        }
        self.poke.notify_one();
        self.mailboxes.apply(plan).await;
        done.added = without(&new.route.recipients, &old.route.recipients).map(|who| who.name.clone()).collect();
        let removed: Vec<Recipient> = without(&old.route.recipients, &new.route.recipients).cloned().collect();
        // Whoever decides by an old config may still queue something for those who are removed by the new one.
        let earlier = self.owed.in_use.take().unwrap_or_else(|| std::future::ready(()).boxed());
        let mut in_use = join3(earlier, dispatched, planned).map(drop).boxed();
        let wait = if removed.is_empty() { Duration::ZERO } else { IN_USE };
        let late = timeout(wait, &mut in_use).await.is_err();
        self.owed.in_use = late.then_some(in_use);
        if !removed.is_empty() {
            let ended = end_removed(&self.store, &self.config).await?;
            self.owed.owed = late || ended.is_none();
            done.removed = removed.iter().map(|who| told(who, ended.as_deref().unwrap_or_default())).collect();
        }
        done.owed = self.owed.owed;
        // Fallbacks of groups whose members are gone, and notices.
        self.poke.notify_one();
        Ok(done)
    }
}

fn told(who: &Recipient, ended: &[Removed]) -> RemovedRecipient {
    let of_them = || ended.iter().filter(|removed| removed.jid == who.jid);
    RemovedRecipient {
        name: who.name.clone(),
        expired: of_them().map(|removed| removed.ended).sum(),
        critical: of_them().map(|removed| removed.critical).sum(),
    }
}

/// Recipients whose address is not among the others.
fn without<'a>(some: &'a [Recipient], others: &'a [Recipient]) -> impl Iterator<Item = &'a Recipient> {
    let others: std::collections::HashSet<&BareJid> = others.iter().map(|who| &who.jid).collect();
    some.iter().filter(move |who| !others.contains(&who.jid))
}

fn rules_of(config: &Config, name: &MailboxName) -> Option<(Rules, KeyScope)> {
    let entry = config.mailboxes.iter().find(|entry| entry.mailbox.name == *name)?;
    Some((Rules::new(&entry.intake, entry.mailbox.max_size), entry.key_scope))
}

/// What the parser needs of a config. Mails that a removed mailbox left are parsed by the rules that they came in under.
pub fn rulebook(config: &Config, router: Arc<Router>, gone: &BTreeMap<MailboxName, (Rules, KeyScope)>) -> Rulebook {
    let gone = gone.iter().map(|(name, (rules, _))| (name.clone(), rules.clone()));
    let known = config.mailboxes.iter().map(|m| (m.mailbox.name.clone(), Rules::new(&m.intake, m.mailbox.max_size)));
    let handed = config.lmtp_mailboxes.iter();
    let handed = handed.map(|m| (m.mailbox.name.clone(), Rules::new(&m.intake, m.mailbox.max_size)));
    Rulebook {
        router,
        mailboxes: gone.chain(known).chain(handed).collect(),
        limits: config.parse.clone(),
        mappings: config.mappings.clone(),
    }
}

/// What dispatch needs of it.
pub fn dispatch_rules(config: &Config, router: Arc<Router>) -> dispatch::Rules {
    dispatch::Rules { router, settings: config.dispatch.clone(), grace: config.serve.shutdown_grace }
}

/// Free bytes below which no mail is fetched: that of the config, and at least what one turn of any mailbox, or
/// all that may be under way at the doors, may need.
pub fn reserve(config: &Config) -> u64 {
    let turns = config.mailboxes.iter().map(|m| intake::room_for_turn(m.mailbox.max_size, m.intake.batch));
    // What is under way at the doors comes after the look at the disk.
    let under_way = config.doors.iter().map(|d| intake::room_for_turn(d.in_flight, 1)).fold(0, u64::saturating_add);
    turns.max().unwrap_or(0).max(config.store.reserve).max(under_way)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipient(name: &str, jid: &str) -> Recipient {
        Recipient { name: name.parse().unwrap(), jid: jid.parse().unwrap(), lang: None, room: false }
    }

    #[test]
    fn a_recipient_is_known_by_the_address() {
        let old = [recipient("a", "a@x.test"), recipient("b", "b@x.test"), recipient("c", "c@x.test")];
        let new = [recipient("renamed", "a@x.test"), recipient("b", "new@x.test"), recipient("c", "c@x.test")];
        let names = |some: &[Recipient], others: &[Recipient]| -> Vec<String> {
            without(some, others).map(|who| who.name.to_string()).collect()
        };
        assert_eq!((names(&old, &new), names(&new, &old)), (vec!["b".to_owned()], vec!["b".to_owned()]));
    }

    #[test]
    fn what_ended_is_counted_by_address() {
        let removed = |name: &str, ended, critical| Removed {
            recipient: name.parse().unwrap(),
            jid: "b@x.test".parse().unwrap(),
            ended,
            critical,
        };
        // Some were queued under a name that they had before.
        let ended = [removed("b", 2, 1), removed("bob", 3, 0)];
        let told = told(&recipient("bob", "b@x.test"), &ended);
        assert_eq!((told.name.as_str(), told.expired, told.critical), ("bob", 5, 1));
    }

    #[test]
    fn mails_of_a_removed_mailbox_keep_their_rules() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/config/good.toml");
        let mut config = Config::load(file.as_ref(), |name| (name == "PASSWORD").then(|| "x".into())).unwrap();
        let name: MailboxName = "ops".parse().unwrap();
        let gone = rules_of(&config, &name).unwrap();
        config.mailboxes.clear();
        let router = Arc::new(Router::new(&config.route).unwrap());
        let with = rulebook(&config, router.clone(), &[(name.clone(), gone)].into());
        assert!(with.mailboxes.contains_key(&name));
        assert!(!rulebook(&config, router, &BTreeMap::new()).mailboxes.contains_key(&name));
    }
}
