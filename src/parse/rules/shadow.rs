//! Rules that can never match, because an earlier one takes every mail that they want.

use super::Rule;
use super::compile::{Condition, Field};

/// A rule that an earlier one leaves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadow {
    /// Place of the rule that never comes to be.
    pub rule: usize,
    /// Place of the earlier one.
    pub by: usize,
    /// Does the earlier one take every mail there is?
    pub takes_all: bool,
}

/// Finds them. Sound but not complete: where it cannot be told, nothing is said.
pub fn shadows(rules: &[Rule]) -> Vec<Shadow> {
    let mut found = Vec::new();
    for (n, later) in rules.iter().enumerate() {
        let by = rules.iter().take(n).position(|earlier| covers(earlier, later));
        found.extend(by.map(|by| Shadow { rule: n, by, takes_all: rules.get(by).is_some_and(takes_all) }));
    }
    found
}

fn covers(earlier: &Rule, later: &Rule) -> bool {
    let (earlier, later) = (&earlier.compiled, &later.compiled);
    let conditions = earlier.conditions.iter().all(|needed| is_implied(needed, &later.conditions));
    let lines = match (&earlier.each_line, &later.each_line) {
        (None, _) => true,
        (Some(needed), Some(line)) => needed.covers(line),
        // An empty text has no line.
        (Some(_), None) => false,
    };
    conditions && lines
}

/// Does a mail that fits all conditions fit this one as well?
fn is_implied(needed: &Condition, conditions: &[Condition]) -> bool {
    if is_always(needed) {
        return true;
    }
    let same_field = |field: &Field| match (field, &needed.field) {
        (Field::Header(a), Field::Header(b)) => a.eq_ignore_ascii_case(b),
        (a, b) => a == b,
    };
    conditions.iter().any(|given| same_field(&given.field) && needed.expression.covers(&given.expression))
}

/// A field of the header may be missing, and then nothing matches it.
fn is_always(condition: &Condition) -> bool {
    !matches!(condition.field, Field::Header(_)) && condition.expression.is_anything()
}

fn takes_all(rule: &Rule) -> bool {
    rule.compiled.each_line.is_none() && rule.compiled.conditions.iter().all(is_always)
}
