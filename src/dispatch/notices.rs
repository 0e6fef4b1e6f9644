//! What the operators hear: by IM, at most one notice about one thing in `notice_every`; by a command of theirs when XMPP
//! itself is what failed.

use std::process::Stdio;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::digest;
use super::worker::Worker;
use crate::queue::{Ended, Outbox, StoreError, patiently};

/// The operators' command is ended after this.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

impl<Q: Outbox + ?Sized> Worker<Q> {
    /// Queues the notices that are due.
    pub(super) async fn send_notices(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let told_before = self.ago(now, self.settings.notice_every);
        let due = self.queue.notices_due(told_before).await?;
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

    /// Holds that ended with nobody told are an outage of their own.
    pub(super) async fn tell_of_expired(&self, ended: &[Ended], _now: Timestamp) -> Result<(), StoreError> {
        for end in ended {
            tracing::info!(notification = %end.id, recipient = %end.recipient, "a notification expired before it could be sent");
        }
        let mut untold: Vec<_> = ended.iter().filter(|e| e.nobody_told).filter_map(|e| e.alert).collect();
        untold.dedup();
        for alert in untold {
            self.note("expired", &format!("alert {alert} expired, and nobody was told of it")).await?;
        }
        Ok(())
    }

    /// Runs the operators' command once for an outage of XMPP that lasts.
    pub(super) async fn watch_outage(&mut self) -> Result<(), StoreError> {
        let down = self.session.down_since.elapsed();
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
            "since": self.ago(Timestamp::now(), down).to_string(),
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
