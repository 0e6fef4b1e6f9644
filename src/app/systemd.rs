//! What systemd is told (sd_notify(3)); without it these do nothing.

use std::time::Duration;

use sd_notify::NotifyState;

/// Tells systemd; a failure is logged, and is no reason to stop.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(err) = sd_notify::notify(states) {
        tracing::debug!(%err, "systemd was not told");
    }
}

/// The store is open and the loops run.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The config is read again; `Type=notify-reload` waits for [`reloaded`].
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(err) => tracing::debug!(%err, "systemd was not told"),
    }
}

/// That is done. `status` stands in `systemctl status`: a config that was refused is seen there.
pub fn reloaded(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Draining.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Feeds the watchdog twice in its interval, for as long as the runtime runs tasks and they are `alive`. Ends at once where
/// there is none.
pub async fn watchdog(alive: impl Fn() -> bool) {
    let Some(interval) = sd_notify::watchdog_enabled() else { return };
    let mut tick = tokio::time::interval((interval / 2).max(Duration::from_millis(100)));
    loop {
        tick.tick().await;
        if alive() {
            tell(&[NotifyState::Watchdog]);
        }
    }
}
