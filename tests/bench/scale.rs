//! How much is measured.

use std::time::Duration;

/// Numbers of one run.
pub struct Scale {
    /// Single alerts whose way is timed.
    pub singles: u32,
    /// Mailboxes that they go to in turn: Dovecot batches its notices per mailbox, so that one alone would take minutes.
    pub mailboxes: usize,
    /// Alerts handed in over HTTP in batches; a fifth of them one at a time.
    pub dispatched: u32,
    /// Mails in the mailbox at start.
    pub backlog: u32,
    /// Recipients of the fan-out.
    pub crowd: usize,
    /// Alerts for all of them.
    pub fanned: u32,
    /// Times that a rate is measured; the median counts.
    pub runs: usize,
    /// Commits timed.
    pub commits: usize,
    /// How long processor time of quiet mailboxes is counted.
    pub quiet: Duration,
    /// Notifications of the past.
    pub past: u32,
    /// Notifications that are held.
    pub held: u32,
    /// Sign-ins timed.
    pub logins: u32,
    /// Short rounds of probes; the median counts.
    pub rounds: usize,
    /// Targets, to see how the cost grows.
    pub targets: &'static [usize],
    /// Who listen to events.
    pub listeners: usize,
    /// Alerts that they are told of.
    pub told: usize,
}

impl Scale {
    pub fn full() -> Self {
        Self {
            singles: 300,
            mailboxes: 6,
            dispatched: 20_000,
            backlog: 10_000,
            crowd: 100,
            fanned: 200,
            runs: 3,
            commits: 2_000,
            quiet: Duration::from_secs(30),
            past: 1_000_000,
            held: 100_000,
            logins: 20,
            rounds: 9,
            targets: &[100, 1_000, 10_000],
            listeners: 1_000,
            told: 300,
        }
    }

    /// Small enough to try it, too small to quote it.
    pub fn quick() -> Self {
        Self {
            singles: 36,
            mailboxes: 6,
            dispatched: 2_000,
            backlog: 2_000,
            crowd: 100,
            fanned: 50,
            runs: 1,
            commits: 300,
            quiet: Duration::from_secs(10),
            past: 50_000,
            held: 5_000,
            logins: 3,
            rounds: 1,
            targets: &[100, 1_000],
            listeners: 1_000,
            told: 30,
        }
    }
}
