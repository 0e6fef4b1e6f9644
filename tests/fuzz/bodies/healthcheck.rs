//! The old health checker's file, and the config that is made of it.

use std::path::Path;

use mailbell::config::{self, Config};
use mailbell::model::plays_tricks;
use mailbell::probe::Healthcheck;

use super::assert_told_well;

/// The bytes of the file. What is wrong is told well, and what is made of it loads once its JIDs are filled in, and checks the same.
pub fn run(data: &[u8]) {
    let old = Healthcheck::read(data);
    // Of UTF-16 a line end is two bytes: there are fewer lines than this.
    let lines = data.iter().filter(|byte| **byte == b'\n').count() + 1;
    for fault in &old.faults {
        assert_told_well("a fault", &fault.to_string(), 1000);
        assert!((1..=lines).contains(&fault.line), "{fault:?} of {lines} lines");
    }
    let toml = config::import(&old, "old.properties", "xmpp.secret");
    assert!(!toml.contains(|c| plays_tricks(c) && c != '\n'), "{toml:?}");
    let parts = toml.split("jid = \"\"").enumerate();
    let fill =
        |(n, part): (usize, &str)| if n == 0 { part.to_owned() } else { format!("jid = \"filled-{n}@x.org\"{part}") };
    let filled = parts.map(fill).collect::<String>().replace("password_file = \"", "password_env = \"");
    match Config::of(&filled, Path::new("/nowhere/mailbell.toml"), |_| Some("x".into())) {
        Ok(config) => assert_eq!(config.probe.probes, old.probes(&config.probe.defaults), "{filled}"),
        Err(errors) => panic!("what is made of it does not load: {errors}\n{filled}"),
    }
}
