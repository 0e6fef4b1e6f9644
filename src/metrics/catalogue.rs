//! Every metric that there is: the page is written by it, and `config/metrics.md` is checked against it.

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name: the unit is a part of it, and counters end in `_total`.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from the start of the process.
    Counter,
    /// As it is now.
    Gauge,
    /// How long something took.
    Histogram,
}

impl Kind {
    /// As the exposition format has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

macro_rules! metrics {
    ($($id:ident $kind:ident $name:literal [$($label:literal),*] $help:literal;)+) => {
        $(pub(super) const $id: Metric =
            Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };)+
        /// All of them, in the order of the page.
        pub const ALL: &[Metric] = &[$($id),+];
    };
}

metrics! {
    BUILD Gauge "mailbell_build_info" ["version"] "Always 1; the version is in the label.";
    READY Gauge "mailbell_ready" [] "1: /readyz answers 200. 0: it names what is wrong.";
    MAILBOX_UP Gauge "mailbell_mailbox_up" ["mailbox"] "1: the last look into the mailbox succeeded.";
    MAILBOX_AGE Gauge "mailbell_mailbox_last_poll_age_seconds" ["mailbox"]
        "Since the last look into the mailbox that succeeded; before the first one, since the mailbox was opened.";
    MAILBOX_POLL Gauge "mailbell_mailbox_poll_interval_seconds" ["mailbox"]
        "The mailbox's poll, where it is not off: a look is due after it at the latest.";
    MAILBOX_FAILURES Counter "mailbell_mailbox_failures_total" ["mailbox"] "Looks into the mailbox that failed.";
    STORED Counter "mailbell_mails_stored_total" ["mailbox"] "Mails fetched or handed in, and durable (D1).";
    MAILS Counter "mailbell_mails_total" ["mailbox", "outcome"]
        "What came of mails: parsed, ignored, rejected, stale, quarantined, duplicate (D2).";
    MAILS_WAITING Gauge "mailbell_mails_waiting" [] "Mails stored and not parsed yet.";
    LMTP_CONNECTIONS Counter "mailbell_lmtp_connections_total" ["listen", "outcome"]
        "Connections to an LMTP door: taken, or refused because there were too many.";
    LMTP_MAILS Counter "mailbell_lmtp_mails_total" ["outcome"]
        "Mails at the LMTP doors: stored, or refused for now (their senders keep them).";
    ALERTS Counter "mailbell_alerts_total" ["severity", "outcome"]
        "Alerts committed (D2): routed to somebody, unsubscribed (nobody wants it), recorded (kept without a page).";
    CREATED Counter "mailbell_notifications_created_total" []
        "Notifications of alerts that D2 made: one for each alert and recipient.";
    ENDED Counter "mailbell_notifications_ended_total" ["state"]
        "Notifications that reached delivered, unconfirmed, expired or dead. One that was unconfirmed may be delivered later.";
    NOTIFICATIONS Gauge "mailbell_notifications" ["state"] "Notifications in progress, by state.";
    OLDEST Gauge "mailbell_notifications_oldest_age_seconds" ["state"]
        "Since the oldest notification in this state was made; 0: there is none.";
    COPIES Counter "mailbell_messages_sent_total" ["copy"]
        "Messages committed to be sent (D2 or D3): the first copy, or the same once more.";
    ACCEPTED Counter "mailbell_messages_accepted_total" [] "Messages that the XMPP server took (XEP-0198; D4).";
    RECEIPTS Counter "mailbell_receipts_total" ["outcome"]
        "Receipts of clients (XEP-0184): taken (D5), or ignored because nothing was sent to their sender.";
    REFUSED Counter "mailbell_messages_refused_total" [] "Messages that came back, to be tried again later.";
    TO_ACCEPTED Histogram "mailbell_time_to_accepted_seconds" ["way"]
        "From the mail stored (an alert without a mail: raised) to its message accepted by the XMPP server. Way express: sent at once; queued: all else, holds included.";
    TO_DELIVERED Histogram "mailbell_time_to_delivered_seconds" ["way"]
        "The same to the receipt of the recipient's client.";
    RECIPIENTS Gauge "mailbell_recipients" ["presence"] "Recipients by what is known of their presence.";
    XMPP_UP Gauge "mailbell_xmpp_up" [] "1: there is an XMPP session.";
    XMPP_SESSIONS Counter "mailbell_xmpp_sessions_total" ["kind"]
        "XMPP sessions that came up: new, or resumed (XEP-0198). All but the first are reconnects.";
    XMPP_LOST Counter "mailbell_xmpp_disconnects_total" [] "XMPP sessions that went down.";
    XMPP_REFUSED Counter "mailbell_xmpp_refusals_total" [] "Sign-ins that the XMPP server refused, its certificate included.";
    UNACKNOWLEDGED Gauge "mailbell_xmpp_unacknowledged_messages" []
        "Messages written that the XMPP server has not acknowledged yet.";
    STORE_UP Gauge "mailbell_store_up" [] "1: the store answered, and nothing that was written failed.";
    COMMITS Histogram "mailbell_store_commit_seconds" ["step"]
        "Durable commits by step (d1 mails, d2 alerts, d3 intents, d4 acceptance, d5 receipts), waiting for their turn included.";
    DISK_FREE Gauge "mailbell_store_free_bytes" [] "Free space where the store stands.";
    DISK_RESERVE Gauge "mailbell_store_reserve_bytes" [] "Below so much free space no mail is fetched.";
    STORE_SIZE Gauge "mailbell_store_size_bytes" [] "The store's file and its log.";
    PROBE_TARGETS Gauge "mailbell_probe_targets" [] "Targets that are probed.";
    PROBE_STATES Gauge "mailbell_probe_told" ["what"]
        "What is wrong as it was told: hosts down, ports down, ports flapping, certificates that end soon.";
    PROBES Counter "mailbell_probes_total" ["outcome"] "Probes by their outcome: open, refused, timed_out and so on.";
    PROBE_TIME Histogram "mailbell_probe_duration_seconds" [] "How long probes took that found the port open.";
    RELOADS Counter "mailbell_config_reloads_total" ["outcome"] "Config reloads: done, or refused with the old one kept.";
    RELOADED Gauge "mailbell_config_last_reload_success_timestamp_seconds" []
        "When the config in force was read; at first the start.";
    CPU Counter "process_cpu_seconds_total" [] "CPU time of the process, user and system.";
    THREADS Gauge "process_threads" [] "Threads of the process.";
    RESIDENT Gauge "process_resident_memory_bytes" [] "Resident memory.";
    VIRTUAL Gauge "process_virtual_memory_bytes" [] "Virtual memory.";
    OPEN_FDS Gauge "process_open_fds" [] "Open file descriptors.";
    MAX_FDS Gauge "process_max_fds" [] "Most file descriptors that may be open.";
    STARTED Gauge "process_start_time_seconds" [] "When the process started, since 1970.";
}

/// The table of `config/metrics.md`.
pub fn table() -> String {
    let mut lines = vec!["| metric | type | labels | meaning |".to_owned(), "| --- | --- | --- | --- |".to_owned()];
    lines.extend(ALL.iter().map(|Metric { name, kind, labels, help }| {
        let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        format!("| `{name}` | {} | {labels} | {help} |", kind.as_str())
    }));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_documented() {
        let documented = include_str!("../../config/metrics.md");
        assert!(documented.contains(&table()), "the table of config/metrics.md is to be:\n{}", table());
    }

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        for Metric { name, kind, labels, help } in ALL {
            let letters = name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            assert!(letters && (name.starts_with("mailbell_") || name.starts_with("process_")), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert!(*kind != Kind::Histogram || name.ends_with("_seconds"), "{name}");
            assert!(!help.is_empty() && !help.contains(['\n', '|', '\\']), "{name}");
            assert!(labels.iter().all(|label| !label.is_empty() && *label != "le"), "{name}");
            assert_eq!(ALL.iter().filter(|other| other.name == *name).count(), 1, "{name}");
        }
    }
}
