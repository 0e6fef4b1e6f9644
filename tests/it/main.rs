//! Integration tests: real servers on loopback, each with a temporary directory of its own. No test sleeps for luck: it waits
//! for a condition, with a deadline.

// Tests say what must hold by failing: the lints that forbid that are for the product's own code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod commands;
mod conditions;
mod config;
mod crash;
mod flow;
mod fuzz;
mod hostile;
mod intake_flow;
mod intake_trouble;
mod layering;
mod mailbox_hostile;
mod mailbox_imap;
mod mailbox_noop;
mod mailbox_pop3;
mod mailbox_xoauth2;
mod notices;
mod outage;
mod presence;
mod routing;
mod service;
mod storage;
mod store;
mod storms;
mod support;
mod walls;
mod watcher;
mod xmpp_session;
