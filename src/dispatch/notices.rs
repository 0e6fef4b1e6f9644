//! What the operators hear: by IM, at most one notice about one thing in `notice_every`; by a command of theirs when XMPP
//! itself is what failed.

use std::collections::{BTreeSet, HashMap};
use std::process::Stdio;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::clock::mono;
use super::digest;
use super::worker::Worker;
use crate::model::BareJid;
use crate::queue::{Ended, NoticeDue, Outbox, StoreError, patiently};
use crate::route::Router;

/// The operators' command is ended after this.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// Before the JID in the mark of a recipient whose missing subscription was told.
const UNGRANTED: &str = "subscription:";

/// Most recipients that a notice names.
const LISTED: usize = 10;

/// A topic that still grows is told of when it stops, or after this.
const BURST: Duration = Duration::from_secs(30);

/// Topics that wait for the end of their burst, so that a mailbox of old mails is one notice with their number, and not one
/// for the first few and another, much later, for the rest.
#[derive(Debug, Default)]
pub(super) struct Bursts(HashMap<String, (u64, Instant)>);

impl Bursts {
    /// Those of `due` that did not grow since the last time, or grew for too long. The others wait.
    fn over(&mut self, due: Vec<NoticeDue>, now: Instant) -> Vec<NoticeDue> {
        let before = std::mem::take(&mut self.0);
        let (over, growing): (Vec<_>, Vec<_>) = due.into_iter().partition(|notice| {
            before
                .get(&notice.topic)
                .is_some_and(|(count, since)| *count == notice.count || now.duration_since(*since) >= BURST)
        });
        self.0 = growing
            .into_iter()
            .map(|notice| {
                let since = before.get(&notice.topic).map_or(now, |(_, since)| *since);
                (notice.topic, (notice.count, since))
            })
            .collect();
        over
    }

    /// Is there one to be looked at again soon?
    pub(super) fn waiting(&self) -> bool {
        !self.0.is_empty()
    }
}

/// Stands in the store for "the operators know that this recipient has not granted the subscription".
pub(super) fn ungranted_mark(who: &BareJid) -> String {
    format!("{UNGRANTED}{who}")
}

impl<Q: Outbox + ?Sized> Worker<Q> {
    /// Queues the notices that are due.
    pub(super) async fn send_notices(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let told_before = self.ago(now, self.settings.notice_every);
        let due = self.bursts.over(self.queue.notices_due(told_before).await?, mono());
        if due.is_empty() {
            return Ok(());
        }
        let operators = self.router.operators();
        for notice in due {
            let text = digest::notice(&notice);
            tracing::warn!(topic = %notice.topic, count = notice.count, text = %text.escape_debug(), "told the operators");
            patiently("queue a notice", || self.queue.notice(&notice.topic, &text, &operators, now)).await?;
        }
        Ok(())
    }

    /// Tells, once for each recipient until they grant it, of presence subscriptions that are missing. Not before presence
    /// has settled: who is asked for the first time answers in these seconds, or soon.
    pub(super) async fn note_ungranted(&mut self) -> Result<(), StoreError> {
        if self.ungranted.is_empty() || !self.session.up || self.session.settles.is_some() {
            return Ok(());
        }
        let marks: Vec<String> = std::mem::take(&mut self.ungranted).iter().map(ungranted_mark).collect();
        let untold = self.queue.untold(&marks).await?;
        if untold.is_empty() {
            return Ok(());
        }
        let mut names: Vec<&str> = untold.iter().take(LISTED).filter_map(|mark| mark.strip_prefix(UNGRANTED)).collect();
        let more = format!("{} more", untold.len() - names.len());
        names.extend((untold.len() > names.len()).then_some(more.as_str()));
        let text = format!(
            "no presence subscription from {}: only critical alerts are sent to them, others are held until they grant it",
            names.join(", ")
        );
        patiently("note for the operators", || self.queue.note_once("subscriptions", &text, &untold)).await
    }

    /// Whoever is no recipient any more owes nobody a subscription; should they be one again, that is told again.
    pub(super) async fn forget_removed(&mut self, old: &Router) -> Result<(), StoreError> {
        let gone = old.recipients().iter().filter(|who| self.router.recipient(&who.jid).is_none());
        for who in gone {
            self.ungranted.remove(&who.jid);
            let mark = ungranted_mark(&who.jid);
            patiently("note for the operators", || self.queue.unmark(&mark)).await?;
        }
        Ok(())
    }

    /// Holds that ended with nobody told are an outage of their own.
    pub(super) async fn tell_of_expired(&self, ended: &[Ended]) -> Result<(), StoreError> {
        for end in ended {
            tracing::info!(notification = %end.id, recipient = %end.recipient, "a notification expired before it could be sent");
        }
        let untold: BTreeSet<_> = ended.iter().filter(|e| e.nobody_told).filter_map(|e| e.alert).collect();
        for alert in untold {
            self.note("expired", &format!("alert {alert} expired, and nobody was told of it")).await?;
        }
        Ok(())
    }

    /// How long until the outage is one that the operators' command is run for.
    pub(super) fn until_outage(&self) -> Option<Duration> {
        let waiting = !self.session.up && !self.session.commanded;
        waiting.then(|| {
            self.settings.command_after.saturating_sub(mono().saturating_duration_since(self.session.down_since))
        })
    }

    /// Runs the operators' command once for an outage of XMPP that lasts.
    pub(super) async fn watch_outage(&mut self) -> Result<(), StoreError> {
        let down = mono().saturating_duration_since(self.session.down_since);
        if self.session.up || self.session.commanded || down < self.settings.command_after {
            return Ok(());
        }
        self.session.commanded = true;
        tracing::error!(seconds = down.as_secs(), why = %self.session.why.escape_debug(), "XMPP is down; no alert can be delivered");
        let Some((program, arguments)) = self.settings.command.split_first() else { return Ok(()) };
        let told = serde_json::json!({
            "event": "xmpp-down",
            "account": self.own.to_string(),
            "seconds": down.as_secs(),
            "reason": self.session.why,
            "since": self.ago((self.wall)(), down).to_string(),
        });
        tokio::spawn(command(program.clone(), arguments.to_vec(), told.to_string()));
        Ok(())
    }
}

/// Runs the command with `input` on stdin. Its failure is logged: there is nobody else to tell.
async fn command(program: String, arguments: Vec<String>, input: String) {
    let started = Instant::now();
    let run = async {
        let mut child = Command::new(&program)
            .args(&arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that does not read its input is fine.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        child.wait().await
    };
    match tokio::time::timeout(COMMAND_LIMIT, run).await {
        Ok(Ok(status)) if status.success() => {
            tracing::info!(program, ms = started.elapsed().as_millis(), "the operators' command ran");
        }
        Ok(Ok(status)) => tracing::error!(program, %status, "the operators' command failed"),
        Ok(Err(err)) => {
            tracing::error!(program, %err, "the operators' command cannot be run; correct [operators] command")
        }
        Err(_) => tracing::error!(program, "the operators' command did not end within 60 s and was killed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_grows_is_told_of_when_it_stops() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let due = |count| vec![NoticeDue { topic: "stale:inbox".into(), text: "old".into(), count }];
        let mut bursts = Bursts::default();
        assert!(bursts.over(due(100), at(0)).is_empty());
        assert!(bursts.over(due(200), at(1)).is_empty());
        assert!(bursts.waiting());
        assert_eq!(bursts.over(due(200), at(2)), due(200));
        assert!(!bursts.waiting());
        assert!(bursts.over(due(1), at(10)).is_empty());
        assert_eq!(bursts.over(due(2), at(40)), due(2), "one that never stops growing is told of all the same");
    }
}
