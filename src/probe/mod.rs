//! The port-probe engine: is anybody listening at this host and port?
//!
//! ```text
//! settings ─► targets ─► engine (names, connections) ─► outcomes ─► monitor (soft, hard, roll-up) ─► alerts
//! ```
//!
//! The [`Target`]s come from the config or from the old health checker's file. Beside that, a [`Verifier`] looks at what an alert
//! from outside tells of, where [`Allow`] lets it.

mod allow;
mod classes;
mod connect;
mod engine;
mod file;
mod healthcheck;
mod limits;
mod lists;
mod monitor;
mod names;
mod outcome;
mod race;
mod report;
mod settings;
mod spool;
mod state;
mod target;
mod verify;

pub use allow::{Allow, Allowed};
pub use classes::{BUILT_IN, built_in_ports};
pub use engine::Engine;
pub use file::StateFile;
pub use healthcheck::{Fault, Healthcheck};
pub use lists::{Class, Listed, parse_port};
pub use monitor::{Ledger, Monitor, Prober};
pub use outcome::{Kind, Outcome};
pub use settings::{Lists, MOST_TARGETS, OWN_LABELS, Probe, Rules, Settings, merge};
pub use spool::{Outlet, hand_on};
pub use target::{Host, Target};
pub use verify::{Verifier, named, refused};
