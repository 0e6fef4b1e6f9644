//! Circles in a graph of groups.

use std::collections::HashMap;

use crate::model::GroupName;

/// Circles among groups that point at others, at least one of each set of groups that reach each other; each as the groups
/// on the way round, starting with the one that comes first in `edges`. Unknown names are no circle.
pub(super) fn cycles<'a>(edges: &[(&'a GroupName, Vec<&'a GroupName>)]) -> Vec<Vec<&'a GroupName>> {
    let mut walk = Walk { to: HashMap::new(), done: HashMap::new(), path: Vec::new(), found: Vec::new() };
    for (from, to) in edges {
        walk.to.entry(from).or_insert(to);
    }
    for (from, _) in edges {
        walk.visit(from);
    }
    walk.found
}

struct Walk<'a, 'b> {
    to: HashMap<&'a GroupName, &'b Vec<&'a GroupName>>,
    /// Seen: `false` while it is on the path.
    done: HashMap<&'a GroupName, bool>,
    path: Vec<&'a GroupName>,
    found: Vec<Vec<&'a GroupName>>,
}

impl<'a, 'b> Walk<'a, 'b> {
    fn visit(&mut self, group: &'a GroupName) {
        match self.done.get(group) {
            Some(true) => {}
            Some(false) => {
                let round = self.path.iter().skip_while(|name| **name != group).copied().collect();
                self.found.push(round);
            }
            None => {
                self.done.insert(group, false);
                self.path.push(group);
                let to: Option<&'b Vec<&'a GroupName>> = self.to.get(group).copied();
                for next in to.into_iter().flatten() {
                    self.visit(next);
                }
                self.path.pop();
                self.done.insert(group, true);
            }
        }
    }
}
