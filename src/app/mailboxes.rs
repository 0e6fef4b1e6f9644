//! The mailboxes that are read: each a task of its own, and what a reload changes of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::watched::Looks;
use crate::config::MailboxConfig;
use crate::control::{Change, MailboxChange};
use crate::intake::{self, Disk, Shared, Watcher};
use crate::live::{Setter, live};
use crate::mailbox::{self, Mailbox};
use crate::metrics::Metrics;
use crate::model::MailboxName;
use crate::net::Anchors;
use crate::queue::StoreError;
use crate::queue::sqlite::Sqlite;

/// A mailbox that is left has so long for the look that is under way.
const LEAVE: Duration = Duration::from_secs(8);
/// One that is cut off has so long to log out.
const LOG_OUT: Duration = Duration::from_secs(2);

/// What a mailbox is read by. Equal ones need no other connection.
#[derive(Debug, Clone)]
pub struct Known {
    pub config: MailboxConfig,
    /// Whom its TLS trusts, and that of its token endpoint.
    pub anchors: Anchors,
}

impl Known {
    pub fn new(config: MailboxConfig, system: Anchors) -> Self {
        let anchors = system.with(config.mailbox.ca_file.as_deref());
        Self { config, anchors }
    }

    /// What `next` is to this one.
    fn change(&self, next: &Self) -> Change {
        if self.config.mailbox != next.config.mailbox || self.anchors != next.anchors {
            Change::Restarted
        } else if self.config != next.config {
            Change::Updated
        } else {
            Change::Unchanged
        }
    }
}

/// What a reload does to the mailboxes. Whatever can fail was done for it.
pub struct Plan {
    /// In the order of the config; then those that are removed.
    pub changes: Vec<MailboxChange>,
    /// To be started, those that sign in anew included.
    open: Vec<(Known, Box<dyn Mailbox>)>,
    /// To be ended, likewise.
    leave: Vec<MailboxName>,
    update: Vec<Known>,
}

impl Plan {
    /// From what is read to what the config names.
    ///
    /// # Errors
    /// A mailbox's settings cannot work: one line for each.
    pub fn new(running: &BTreeMap<MailboxName, Known>, next: Vec<Known>) -> Result<Self, Vec<String>> {
        let mut plan = Self { changes: Vec::new(), open: Vec::new(), leave: Vec::new(), update: Vec::new() };
        let mut errors = Vec::new();
        let gone = running.keys().filter(|name| next.iter().all(|n| n.config.mailbox.name != **name));
        let gone: Vec<_> = gone.cloned().collect();
        for next in next {
            let name = next.config.mailbox.name.clone();
            let change = running.get(&name).map_or(Change::Added, |old| old.change(&next));
            plan.changes.push(MailboxChange { name: name.clone(), change });
            match change {
                Change::Added | Change::Restarted => match mailbox::open(next.config.mailbox.clone()) {
                    Ok(mailbox) => {
                        plan.leave.extend((change == Change::Restarted).then_some(name));
                        plan.open.push((next, mailbox));
                    }
                    Err(err) => errors.push(format!("mailbox {name}: {err}")),
                },
                Change::Updated => plan.update.push(next),
                Change::Unchanged | Change::Removed => {}
            }
        }
        plan.changes.extend(gone.iter().map(|name| MailboxChange { name: name.clone(), change: Change::Removed }));
        plan.leave.extend(gone);
        if errors.is_empty() { Ok(plan) } else { Err(errors) }
    }
}

/// The mailboxes that are read.
pub struct Mailboxes {
    shared: Arc<Shared<Sqlite>>,
    disk: Disk,
    running: BTreeMap<MailboxName, Running>,
    tasks: JoinSet<Result<(), StoreError>>,
    cancel: CancellationToken,
    metrics: Arc<Metrics>,
    looks: Arc<Looks>,
}

struct Running {
    known: Known,
    settings: Setter<intake::Settings>,
    look_now: Arc<Notify>,
    leave: CancellationToken,
    cut: CancellationToken,
    /// Cancelled by the end of the task.
    ended: CancellationToken,
}

impl Mailboxes {
    /// None yet. All end with `cancel`.
    pub fn new(
        shared: Arc<Shared<Sqlite>>,
        disk: Disk,
        cancel: CancellationToken,
        metrics: Arc<Metrics>,
        looks: Arc<Looks>,
    ) -> Self {
        Self { shared, disk, running: BTreeMap::new(), tasks: JoinSet::new(), cancel, metrics, looks }
    }

    /// What is read.
    pub fn known(&self) -> BTreeMap<MailboxName, Known> {
        self.running.iter().map(|(name, running)| (name.clone(), running.known.clone())).collect()
    }

    /// Does what was planned. Whoever is left ends the look that is under way; nobody else's connection is touched.
    pub async fn apply(&mut self, plan: Plan) {
        for known in plan.update {
            let Some(running) = self.running.get_mut(&known.config.mailbox.name) else { continue };
            drop(running.settings.replace(known.config.intake.clone()));
            running.known = known;
            // Its poll may be another one.
            running.look_now.notify_one();
        }
        let leaving: Vec<Running> = plan.leave.iter().filter_map(|name| self.running.remove(name)).collect();
        end(&leaving).await;
        for name in &plan.leave {
            self.metrics.close(name.as_str());
            self.looks.close(name.as_str());
        }
        for (known, mailbox) in plan.open {
            self.start(known, mailbox);
        }
    }

    fn start(&mut self, known: Known, mailbox: Box<dyn Mailbox>) {
        let MailboxConfig { mailbox: connection, intake, .. } = known.config.clone();
        let (settings, live) = live(intake);
        let (look_now, leave) = (Arc::new(Notify::new()), CancellationToken::new());
        let (cut, ended) = (self.cancel.child_token(), CancellationToken::new());
        let name = connection.name.clone();
        let watcher = Watcher::new(self.shared.clone(), live, connection, mailbox, self.disk.clone(), look_now.clone())
            .seen_by(self.metrics.open(name.as_str()));
        self.looks.open(name.as_str(), look_now.clone());
        let (leaves, is_cut, end) = (leave.clone(), cut.clone(), ended.clone().drop_guard());
        self.tasks.spawn(async move {
            let _end = end;
            watcher.run(leaves, is_cut).await
        });
        self.running.insert(name, Running { known, settings, look_now, leave, cut, ended });
    }

    /// Every mailbox is looked into now.
    pub fn look_now(&self) {
        self.running.values().for_each(|running| running.look_now.notify_one());
    }

    /// Waits for one that fails: only the store can make it, or a fault of ours. Ends are no failures.
    pub async fn failure(&mut self) -> StoreError {
        loop {
            match self.tasks.join_next().await {
                Some(ended) => {
                    if let Err(err) = flat(ended) {
                        return err;
                    }
                }
                None => std::future::pending().await,
            }
        }
    }

    /// Waits until all have ended, as `cancel` asks them to.
    pub async fn ended(&mut self) -> Result<(), StoreError> {
        while let Some(ended) = self.tasks.join_next().await {
            flat(ended)?;
        }
        Ok(())
    }
}

/// A panic goes on: it is the supervisor's.
fn flat(ended: Result<Result<(), StoreError>, tokio::task::JoinError>) -> Result<(), StoreError> {
    match ended {
        Ok(done) => done,
        Err(err) if err.is_panic() => std::panic::resume_unwind(err.into_panic()),
        Err(_) => Ok(()),
    }
}

async fn end(leaving: &[Running]) {
    let all_ended = || join_all(leaving.iter().map(|running| running.ended.cancelled()));
    leaving.iter().for_each(|running| running.leave.cancel());
    if timeout(LEAVE, all_ended()).await.is_ok() {
        return;
    }
    for running in leaving.iter().filter(|running| !running.ended.is_cancelled()) {
        tracing::warn!(mailbox = %running.known.config.mailbox.name,
            "its look did not end in time and was cut off; what is stored is safe, the rest is still in the mailbox");
        running.cut.cancel();
    }
    // Its task holds nothing that the next one needs.
    let _ = timeout(LOG_OUT, all_ended()).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::model::Secret;

    fn known(name: &str, change: impl FnOnce(&mut MailboxConfig)) -> Known {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/config/good.toml");
        let config = Config::load(file.as_ref(), |name| (name == "PASSWORD").then(|| "x".into())).unwrap();
        let mut entry = config.mailboxes.into_iter().next().unwrap();
        entry.mailbox.name = name.parse().unwrap();
        change(&mut entry);
        Known::new(entry, Anchors::of_system())
    }

    fn plan(next: Vec<Known>) -> Plan {
        let names = ["a", "b", "c"];
        let running = names.iter().map(|name| (name.parse().unwrap(), known(name, |_| ()))).collect();
        Plan::new(&running, next).unwrap_or_else(|errors| panic!("{errors:?}"))
    }

    fn changes(plan: &Plan) -> Vec<(&str, Change)> {
        plan.changes.iter().map(|change| (change.name.as_str(), change.change)).collect()
    }

    #[test]
    fn who_changed_signs_in_anew_and_nobody_else_does() {
        let plan = plan(vec![
            known("b", |_| ()),
            known("a", |entry| entry.mailbox.auth = mailbox::Auth::Password(Secret::new("new".into()))),
            known("d", |_| ()),
        ]);
        let expected =
            [("b", Change::Unchanged), ("a", Change::Restarted), ("d", Change::Added), ("c", Change::Removed)];
        assert_eq!(changes(&plan), expected);
        let open: Vec<_> = plan.open.iter().map(|(known, _)| known.config.mailbox.name.as_str()).collect();
        assert_eq!(open, ["a", "d"]);
        let leave: Vec<_> = plan.leave.iter().map(MailboxName::as_str).collect();
        assert_eq!(leave, ["a", "c"]);
        assert!(plan.update.is_empty());
    }

    #[test]
    fn what_is_done_with_the_mails_needs_no_other_connection() {
        let plan = plan(vec![
            known("a", |entry| entry.intake.senders = vec!["*@example.org".into()]),
            known("b", |entry| entry.key_scope = crate::route::KeyScope::Mailbox),
            known("c", |entry| entry.mailbox.after = crate::mailbox::After::Seen),
        ]);
        let expected = [("a", Change::Updated), ("b", Change::Updated), ("c", Change::Restarted)];
        assert_eq!(changes(&plan), expected);
        assert_eq!((plan.update.len(), plan.open.len()), (2, 1));
    }

    #[test]
    fn another_ca_is_another_connection() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let with_ca = |text: &str| {
            std::fs::write(&path, text).unwrap();
            known("a", |entry| {
                entry.mailbox.ca_file = Some(path.clone());
            })
        };
        let (old, same, new) = (with_ca("one"), with_ca("one"), with_ca("two"));
        assert_eq!((old.change(&same), old.change(&new)), (Change::Unchanged, Change::Restarted));
    }

    #[test]
    fn a_mailbox_that_cannot_work_is_told_before_anything_changes() {
        let next = known("a", |entry| entry.mailbox.ca_file = Some("/nonexistent.pem".into()));
        let errors = Plan::new(&BTreeMap::new(), vec![next]).err().unwrap();
        assert!(errors[0].starts_with("mailbox a: ") && errors[0].contains("/nonexistent.pem"), "{errors:?}");
    }
}
