//! Integration tests: real servers on loopback, each with a temporary directory of its own. No test sleeps for luck: it waits
//! for a condition, with a deadline.

// Tests say what must hold by failing: the lints that forbid that are for the product's own code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

/// Makes of each function named, which takes a [`Kind`], a test on each server.
macro_rules! on_each_server {
    ($($test:ident),+ $(,)?) => {
        mod prosody {
            $(#[tokio::test]
            async fn $test() {
                super::$test($crate::support::chat::Kind::Prosody).await;
            })+
        }
        mod ejabberd {
            $(#[tokio::test]
            async fn $test() {
                super::$test($crate::support::chat::Kind::Ejabberd).await;
            })+
        }
    };
}

mod archive;
mod bed_dns;
mod bed_hosts;
mod commands;
mod conditions;
mod config;
mod config_import;
mod config_schema;
mod config_schema_agrees;
mod console;
mod deploy;
mod faults;
mod flow;
mod fuzz;
mod hostile;
mod http_archive;
mod http_auth;
mod http_availability;
mod http_dispatch;
mod http_door;
mod http_events;
mod http_query;
mod http_watch;
mod intake_flow;
mod intake_trouble;
mod layering;
mod lmtp_door;
mod lmtp_servers;
mod lmtp_trouble;
mod mailbox_hostile;
mod mailbox_imap;
mod mailbox_noop;
mod mailbox_pop3;
mod mailbox_xoauth2;
mod metrics;
mod model;
mod notices;
mod openapi;
mod outage;
mod presence;
mod probe_engine;
mod probe_mailed;
mod probe_serve;
mod probe_talk;
mod purge;
mod receipts;
mod rehearsal;
mod reload;
mod reload_people;
mod rooms;
mod routing;
mod rules;
mod rules_ready;
mod security;
mod service;
mod status;
mod storage;
mod store;
mod storms;
mod support;
mod verify;
mod vocabularies;
mod walls;
mod watcher;
mod xmpp_session;
