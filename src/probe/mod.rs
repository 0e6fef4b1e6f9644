//! The port-probe engine: is anybody listening at this host and port? And, where that is asked: does it say what it should, and is
//! its certificate good?
//!
//! ```text
//! settings ─► targets ─► engine (names, connections, talk) ─► outcomes ─► monitor (soft, hard, roll-up) ─► alerts
//! ```
//!
//! The [`Target`]s come from the config or from the old health checker's file. Beside that, a [`Verifier`] looks at what an alert
//! from outside tells of, where [`Allow`] lets it.

mod allow;
mod classes;
mod clock;
mod connect;
mod engine;
mod file;
mod healthcheck;
mod lists;
mod maintenance;
mod monitor;
mod names;
mod outcome;
mod parent;
mod race;
mod report;
mod settings;
mod spool;
mod state;
mod talk;
mod target;
mod verify;

pub use allow::{Allow, Allowed};
pub use classes::{BUILT_IN, built_in_ports};
pub use clock::now;
pub use engine::Engine;
pub use file::StateFile;
pub use healthcheck::{Fault, Healthcheck};
pub use lists::{Class, Listed, parse_port};
pub use maintenance::{Covers, LONGEST_WINDOW, Maintenance, When};
pub use monitor::{Ledger, Monitor, Prober};
pub use outcome::{Certificate, Kind, Outcome};
pub use parent::Parent;
pub use settings::{Flapping, Lists, MOST_TARGETS, OWN_LABELS, Probe, Rules, Settings, merge};
pub use spool::{Outlet, hand_on};
pub use state::{Saved, Told, told};
pub use talk::{Exchange, Expect, Talk, Tls};
pub use target::{Host, Target};
pub use verify::{Verifier, named, refused};
