//! `depends_on`: what of it is there, and whether it goes round.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use crate::config::item::Item;
use crate::config::reader::Section;
use crate::config::report::quote;
use crate::config::schema::Want;
use crate::model::BadServer;
use crate::probe::{Host, Parent, Probe, Target};

/// Most names of a circle that are told.
const NAMED: usize = 12;

/// Reads it of a class or a target.
pub(super) fn read(table: &Section<'_, '_>) -> Option<Vec<Parent>> {
    table.optional("depends_on").map_or(Some(Vec::new()), |item| item.each(parent))
}

fn parent(item: &Item<'_, '_>) -> Option<Parent> {
    item.wants(Want::like(r"^(\[[0-9A-Fa-f:.]+\]|[0-9A-Fa-f:.]+|[A-Za-z0-9._\-]+)(:[ 0-9]+)?$"));
    match item.some_text()?.parse() {
        Ok(parent) => Some(parent),
        Err(BadServer { wrong, allowed }) => item.fail(wrong, allowed),
    }
}

/// One `depends_on`: where it stands, and whose it is.
pub(super) struct Depends<'s, 'r, 'a> {
    pub(super) table: &'s Section<'r, 'a>,
    pub(super) parents: &'s [Parent],
    pub(super) targets: Vec<Target>,
}

/// Refuses what is no target, and circles: in them everybody would wait for everybody.
pub(super) fn check(all: &[Depends<'_, '_, '_>], probes: &[Probe]) -> Option<()> {
    let mut fine = true;
    let targets: HashSet<&Target> = probes.iter().map(|probe| &probe.target).collect();
    let hosts: HashSet<&Host> = targets.iter().map(|target| &target.host).collect();
    let known = |parent: &Parent| match parent.target() {
        Some(target) => targets.contains(&target),
        None => hosts.contains(&parent.host),
    };
    for depends in all.iter().filter(|depends| !depends.parents.is_empty()) {
        let items = depends.table.optional("depends_on").and_then(|item| item.list()).unwrap_or_default();
        for (item, parent) in items.iter().zip(depends.parents) {
            if !known(parent) {
                let wrong =
                    format!("{} is no target: only what is probed is known to be down", quote(&parent.to_string()));
                item.fail::<()>(wrong, "add it to targets of [probe], or take it out here");
                fine = false;
            }
        }
    }
    match circle(probes) {
        Some(names) => {
            refuse(all, &names);
            None
        }
        None => fine.then_some(()),
    }
}

/// A target, or a host as a whole, which is between those that depend on it and its targets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    Target(Target),
    Host(Host),
}

impl Node {
    fn of(parent: &Parent) -> Self {
        parent.target().map_or_else(|| Self::Host(parent.host.clone()), Self::Target)
    }

    fn name(&self) -> String {
        match self {
            Self::Target(target) => target.to_string(),
            Self::Host(host) => host.to_string(),
        }
    }
}

/// What goes round, from one that depends on the next to itself.
fn circle(probes: &[Probe]) -> Option<Vec<Node>> {
    let mut next: BTreeMap<Node, Vec<Node>> = BTreeMap::new();
    let mut whole = BTreeSet::new();
    for probe in probes {
        let parents: Vec<Node> = probe.rules.depends_on.iter().map(Node::of).collect();
        whole.extend(probe.rules.depends_on.iter().filter(|parent| parent.port.is_none()).map(|parent| &parent.host));
        next.insert(Node::Target(probe.target.clone()), parents);
    }
    for probe in probes.iter().filter(|probe| whole.contains(&probe.target.host)) {
        let host = Node::Host(probe.target.host.clone());
        next.entry(host).or_default().push(Node::Target(probe.target.clone()));
    }
    // Whoever is depended on by nobody is in no circle; without it, the next ones may be so (Kahn, 1962). What is left is in one, or
    // depended on by one.
    let mut children: BTreeMap<&Node, usize> = BTreeMap::new();
    next.values().flatten().for_each(|parent| *children.entry(parent).or_default() += 1);
    let mut free: VecDeque<&Node> = next.keys().filter(|node| !children.contains_key(node)).collect();
    let mut left: BTreeSet<&Node> = next.keys().collect();
    while let Some(node) = free.pop_front() {
        left.remove(node);
        for parent in next.get(node).into_iter().flatten() {
            if let Some(count) = children.get_mut(parent) {
                *count -= 1;
                if *count == 0 {
                    free.push_back(parent);
                }
            }
        }
    }
    // Each of those that are left depends on somebody, and is depended on by one that is left, who comes before it.
    let mut before: BTreeMap<&Node, &Node> = BTreeMap::new();
    for node in &left {
        next.get(*node).into_iter().flatten().for_each(|parent| _ = before.entry(parent).or_insert(node));
    }
    let mut way: Vec<&Node> = vec![left.first()?];
    let mut places: BTreeMap<&Node, usize> = BTreeMap::new();
    loop {
        let last = *way.last()?;
        if let Some(start) = places.insert(last, way.len() - 1) {
            let mut round: Vec<Node> = way.get(start + 1..)?.iter().rev().map(|node| (*node).clone()).collect();
            // It begins with a target: that is who depends on something.
            let first = round.iter().position(|node| matches!(node, Node::Target(_))).unwrap_or_default();
            round.rotate_left(first);
            round.extend(round.first().cloned());
            return Some(round);
        }
        way.push(before.get(last)?);
    }
}

/// Said where the first of them says what it depends on.
fn refuse(all: &[Depends<'_, '_, '_>], names: &[Node]) {
    let (Some(Node::Target(target)), Some(next)) = (names.first(), names.get(1)) else { return };
    let says = |depends: &&Depends<'_, '_, '_>| {
        depends.targets.contains(target) && depends.parents.iter().any(|parent| Node::of(parent) == *next)
    };
    let Some(depends) = all.iter().find(says) else { return };
    let mut shown: Vec<String> = names.iter().take(NAMED).map(Node::name).collect();
    if names.len() > NAMED {
        shown.push("…".to_owned());
    }
    let line = depends.table.line_of_key("depends_on");
    let wrong = format!("goes round: {}", shown.join(" → "));
    depends.table.reader.error(line, &depends.table.key("depends_on"), wrong, "break the circle");
}
