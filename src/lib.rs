//! mailbell: an email-to-IM alert gateway.
//!
//! Data flows one way, and the modules are declared in that order:
//!
//! ```text
//! mailbox (IMAP, POP3) ─┬► intake ─► parse ─► route ─► queue ─► presence ─► dispatch ─► IM (XMPP)
//! mail server ─► lmtp ──┤
//! probe ────────────────┘
//! ```
//!
//! # Invariants
//! - A mailbox is touched only after the raw mail is durable in the store (D1).
//! - A mail that is handed in is answered for only after D1.
//! - What the probe engine knows of a host, and the alerts that follow from it, are durable in the same commit (D2).
//! - A socket is written only after the intent to send is durable (D3, or D2 for the express lane).
//! - A notification has one stanza id from D2 on; every copy of it carries the same.
//! - *Accepted* (the server took it), *delivered* (a client has it) and *acknowledged* (a human said so) are three things.
//! - Unknown presence is not offline: it never holds, skips or falls back.
//! - Whatever waits is bounded; whatever fails is told once, where it is handled.
//! - Pure modules (`model`, `parse`, `route`, `presence`, and the decisions in `dispatch`) have no clock and no I/O: time is an
//!   argument.
//! - Imports go downward only; `tests/it/layering.rs` checks it.

// How it is run.
pub mod app;
pub mod cli;
pub mod config;

// Pure: what the words mean, and every decision.
pub mod model;
pub mod parse;
pub mod presence;
pub mod route;

// Ports, and the loops over them.
pub mod control;
pub mod dispatch;
pub mod http;
pub mod intake;
pub mod lmtp;
pub mod mailbox;
pub mod probe;
pub mod queue;

// Adapters, and what they share.
pub mod live;
pub mod metrics;
pub mod net;
pub mod telemetry;
pub mod xmpp;
