//! Stop: in the order of the flow, each step bounded.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::Exit;
use super::run::{Running, fault};
use crate::queue::sqlite::Sqlite;

/// For what is not bounded by the grace: a task that was cancelled, a farewell on the wire.
const FAREWELL: Duration = Duration::from_secs(2);

/// No new mails, then no new messages; what is in flight is waited for. At most `grace`.
pub async fn drain(running: &mut Running, grace: Duration) -> Result<(), Exit> {
    let deadline = Instant::now() + grace;
    running.doors_token.cancel();
    // Before the parser ends: what is still handed in is an alert sooner than after the next start. However slow a sender is,
    // half of the time is left for the rest.
    let half = Instant::now() + grace / 2;
    while let Ok(Some(ended)) = timeout_at(half, running.doors.join_next()).await {
        if !matches!(ended, Ok(Ok(()))) {
            return Err(fault("the LMTP or HTTP door", ended));
        }
    }
    running.doors.abort_all();
    running.intake_token.cancel();
    while let Ok(Some(ended)) = timeout_at(deadline, running.intake.join_next()).await {
        if !matches!(ended, Ok(Ok(()))) {
            return Err(fault("intake", ended));
        }
    }
    running.dispatch_token.cancel();
    // The worker keeps the deadline itself; it is not cut off in the middle of a commit.
    while let Ok(Some(ended)) = timeout_at(deadline + FAREWELL, running.dispatch.join_next()).await {
        if !matches!(ended, Ok(Ok(()))) {
            return Err(fault("dispatch", ended));
        }
    }
    Ok(())
}

/// Ends whatever still runs, and closes the store.
pub async fn end(mut running: Running, store: Arc<Sqlite>) {
    running.doors.abort_all();
    running.intake.abort_all();
    running.dispatch.abort_all();
    running.last_token.cancel();
    let farewell = async {
        while running.xmpp.join_next().await.is_some() {}
        while running.control.join_next().await.is_some() {}
    };
    if timeout(FAREWELL, farewell).await.is_err() {
        tracing::warn!("the XMPP session or the control socket did not end in time and was cut off");
    }
    running.xmpp.abort_all();
    running.control.abort_all();
    if timeout(FAREWELL, store.close()).await.is_err() {
        tracing::warn!("the store did not close in time; it is verified at the next start");
    }
    tracing::info!("stopped");
}
