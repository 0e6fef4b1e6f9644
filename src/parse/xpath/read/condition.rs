//! What stands in square brackets.

use super::super::{BadExpr, Comparison, Condition, Expr, Predicate};
use super::{MAX_NUMBER, Reader};

impl Reader<'_, '_> {
    pub(super) fn predicate(&mut self) -> Result<Predicate, BadExpr> {
        self.blanks();
        if let Some(number) = self.number() {
            return if self.starts("]") { Ok(Predicate::Nth(number)) } else { self.wanted("`]`") };
        }
        if self.rest.starts_with(|c: char| c.is_ascii_digit()) {
            return self.fail(format!("a place is a whole number from 1 to {MAX_NUMBER}"));
        }
        let start = self.rest;
        if self.word("last") && self.sign("(") && self.sign(")") {
            return if self.starts("]") { Ok(Predicate::Last) } else { self.wanted("`]`") };
        }
        self.rest = start;
        self.condition().map(Predicate::Is)
    }

    fn condition(&mut self) -> Result<Condition, BadExpr> {
        let mut any = vec![self.all_of()?];
        while self.word("or") {
            any.push(self.all_of()?);
        }
        Ok(one_or(any, Condition::Any))
    }

    fn all_of(&mut self) -> Result<Condition, BadExpr> {
        let mut all = vec![self.comparison()?];
        while self.word("and") {
            all.push(self.comparison()?);
        }
        Ok(one_or(all, Condition::All))
    }

    fn comparison(&mut self) -> Result<Condition, BadExpr> {
        self.blanks();
        let start = self.rest;
        for (name, comparison) in [("contains", Comparison::Contains), ("starts-with", Comparison::StartsWith)] {
            if self.word(name) && self.sign("(") {
                let a = self.deeper(Self::expr)?;
                self.must(",")?;
                let b = self.deeper(Self::expr)?;
                self.must(")")?;
                return Ok(Condition::Compare(comparison, a, b));
            }
            self.rest = start;
        }
        let not = self.word("not") && self.starts("(");
        if !not {
            self.rest = start;
        }
        if self.sign("(") {
            let inside = self.deeper(Self::condition)?;
            self.must(")")?;
            return Ok(if not { Condition::Not(Box::new(inside)) } else { inside });
        }
        let left = self.expr()?;
        let comparison = if self.sign("!=") {
            Comparison::Differs
        } else if self.sign("=") {
            Comparison::Equal
        } else {
            return match left {
                Expr::Path(_) => Ok(Condition::Exists(left)),
                _ => self.wanted("`=` or `!=`"),
            };
        };
        Ok(Condition::Compare(comparison, left, self.expr()?))
    }
}

fn one_or(mut all: Vec<Condition>, many: impl FnOnce(Vec<Condition>) -> Condition) -> Condition {
    match all.pop() {
        Some(only) if all.is_empty() => only,
        last => {
            all.extend(last);
            many(all)
        }
    }
}
