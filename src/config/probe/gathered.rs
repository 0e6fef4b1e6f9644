//! The probes of all lists, taken together.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::config::reader::Reader;
use crate::config::report::quote;
use crate::model::Span;
use crate::probe::{MOST_TARGETS, Probe, Talk, Target, merge};

/// The probes of all lists, with the last place of each target.
pub(super) struct Gathered<'r, 'a> {
    reader: &'r Reader<'a>,
    probes: Vec<Probe>,
    places: HashMap<Target, (Option<usize>, String)>,
    /// What is looked at beyond the connection, where something is.
    talks: HashMap<Target, Arc<Talk>>,
    full: bool,
}

impl<'r, 'a> Gathered<'r, 'a> {
    pub(super) fn new(reader: &'r Reader<'a>) -> Self {
        Self { reader, probes: Vec::new(), places: HashMap::new(), talks: HashMap::new(), full: false }
    }

    /// Adds the probes of one list, of which there are `size`.
    pub(super) fn add(&mut self, line: Option<usize>, key: &str, size: usize, probes: impl Iterator<Item = Probe>) {
        if self.full || self.probes.len().saturating_add(size) > MOST_TARGETS {
            if !std::mem::replace(&mut self.full, true) {
                let wrong = format!("up to here there are more than {MOST_TARGETS} targets");
                self.reader.error(line, key, wrong, "leave some out");
            }
            return;
        }
        let mut here = HashSet::new();
        for probe in probes {
            if !here.insert(probe.target.clone()) {
                let wrong = format!("{} is there twice", quote(&probe.target.to_string()));
                self.reader.warn(line, key, wrong, "name it once");
            }
            if let Some(talk) = &probe.rules.talk
                && let Some(other) = self.talks.insert(probe.target.clone(), talk.clone())
                && other != *talk
            {
                let wrong = format!(
                    "{} is in several lists, which differ in what is expected of it, or in TLS",
                    quote(&probe.target.to_string())
                );
                self.reader.error(line, key, wrong, "say all of it in one of them");
            }
            self.places.insert(probe.target.clone(), (line, key.to_owned()));
            self.probes.push(probe);
        }
    }

    /// One probe for each target. What several lists say of it, each for itself right, may be wrong together: it is told where the
    /// last of them stands.
    pub(super) fn merged(self) -> Vec<Probe> {
        let merged = merge(self.probes);
        let mut told = BTreeSet::new();
        for Probe { target, rules, .. } in merged.iter().filter(|probe| probe.rules.timeout >= probe.rules.interval) {
            let Some((line, key)) = self.places.get(target) else { continue };
            if told.insert((line, key)) {
                let (timeout, interval) = (Span(rules.timeout), Span(rules.interval));
                let wrong = format!(
                    "{} is in several lists: the longest timeout ({timeout}) is not shorter than the shortest interval ({interval})",
                    quote(&target.to_string())
                );
                self.reader.error(
                    *line,
                    key,
                    wrong,
                    "lower that timeout, raise that interval, or name the target once",
                );
            }
        }
        merged
    }
}
