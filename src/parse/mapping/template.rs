//! Templates: text with expressions in braces, such as `{host}/{service}`.

use super::super::tree::El;
use super::super::xpath::{self, BadExpr, Expr, Spaces, Spent, Work};

/// Text, and what is put into it. `{{` and `}}` are braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(Expr),
}

impl Template {
    /// Reads a template; `at` of the error counts its characters.
    pub fn read(source: &str, spaces: Spaces<'_>) -> Result<Self, BadExpr> {
        let fail = |rest: &str, at: usize, what: &str| {
            let before = source.len() - rest.len();
            BadExpr { at: source.get(..before).map_or(0, |s| s.chars().count()) + at, what: what.to_owned() }
        };
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, here) = rest.split_at(at);
            text.push_str(before);
            if let Some(after) = here.strip_prefix("{{").or_else(|| here.strip_prefix("}}")) {
                text.push_str(here.get(..1).unwrap_or_default());
                rest = after;
                continue;
            }
            let Some(inside) = here.strip_prefix('{') else {
                return Err(fail(here, 0, "a } that closes nothing; a brace is written }}"));
            };
            let (expr, after) =
                xpath::read_some(inside, spaces, false).map_err(|err| fail(inside, err.at, &err.what))?;
            let Some(after) = after.strip_prefix('}') else {
                return Err(fail(after, 0, "expected `}` at the end of the expression; a brace is written {{"));
            };
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(Part::Value(expr));
            rest = after;
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Self { source: source.to_owned(), parts })
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text for an element; `None` where one of its expressions has no value.
    pub(super) fn fill(&self, el: &El<'_>, work: &Work) -> Result<Option<String>, Spent> {
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Value(expr) => {
                    let value = xpath::first(expr, el, work)?;
                    if value.is_empty() {
                        return Ok(None);
                    }
                    filled.push_str(&value);
                }
            }
        }
        Ok(Some(filled).filter(|text| !text.trim().is_empty()))
    }

    /// Every text for an element: several only where the template is one path.
    pub(super) fn fill_all(&self, el: &El<'_>, work: &Work) -> Result<Vec<String>, Spent> {
        match self.parts.as_slice() {
            [Part::Value(expr @ Expr::Path(_))] => xpath::values(expr, el, work),
            _ => Ok(self.fill(el, work)?.into_iter().collect()),
        }
    }
}

/// A path to elements, as it was written and as it is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathText {
    source: String,
    pub(super) path: xpath::Path,
}

impl PathText {
    /// Reads a path.
    pub fn read(source: &str, spaces: Spaces<'_>) -> Result<Self, BadExpr> {
        let (expr, rest) = xpath::read_some(source, spaces, true)?;
        if !rest.is_empty() {
            let at = source.chars().count() - rest.chars().count();
            return Err(BadExpr { at, what: format!("expected the end of the path, found `{}`", rest.escape_debug()) });
        }
        match expr {
            Expr::Path(path) => Ok(Self { source: source.to_owned(), path }),
            _ => Err(BadExpr { at: 0, what: "a path is wanted here".to_owned() }),
        }
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.source
    }
}
