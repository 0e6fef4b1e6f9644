//! What an [`Expr`] finds in a document. Every node that is looked at and every text that is put together costs [`Work`], of
//! which a mail has so much: whatever the document and the expression, it ends soon.

use std::cell::Cell;

use super::super::tree::{Doc, El, Kind};
use super::{Axis, Comparison, Condition, Expr, Function, Path, Predicate, Step, Test};

/// Steps that all expressions together may take in one mail: far above what mails need, and a fraction of a second.
const MAX_WORK: usize = 5_000_000;

/// So many things may be found more than once before they are looked through.
const MANY: usize = 10_000;

/// What may still be done, and how long a text may get.
#[derive(Debug)]
pub(crate) struct Work {
    left: Cell<usize>,
    longest: usize,
}

/// There was more to do than is allowed for one mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spent;

impl Work {
    /// For one mail; texts are cut at `longest` bytes.
    pub(crate) fn new(longest: usize) -> Self {
        Self { left: Cell::new(MAX_WORK), longest }
    }

    fn take(&self, steps: usize) -> Result<(), Spent> {
        match self.left.get().checked_sub(steps) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => {
                self.left.set(0);
                Err(Spent)
            }
        }
    }

    /// Adds to a text, as long as it may get.
    fn push(&self, text: &mut String, piece: &str) -> Result<(), Spent> {
        let mut room = self.longest.saturating_sub(text.len()).min(piece.len());
        while !piece.is_char_boundary(room) {
            room -= 1;
        }
        text.push_str(piece.get(..room).unwrap_or_default());
        self.take(1 + room / 4)
    }
}

/// One thing in a document, ordered as there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    Document,
    Node(usize),
    Attribute(usize, usize),
}

/// The first value, without white space around; empty where nothing is found.
pub(crate) fn first(expr: &Expr, el: &El<'_>, work: &Work) -> Result<String, Spent> {
    let (doc, at) = el.place();
    Finder { doc, work }.first(expr, Item::Node(at)).map(|text| text.trim().to_owned())
}

/// Every value.
pub(crate) fn values(expr: &Expr, el: &El<'_>, work: &Work) -> Result<Vec<String>, Spent> {
    let (doc, at) = el.place();
    let values = Finder { doc, work }.values(expr, Item::Node(at))?;
    Ok(values.into_iter().map(|text| text.trim().to_owned()).collect())
}

/// The elements that a path finds.
pub(crate) fn elements<'d>(path: &Path, el: &El<'d>, work: &Work) -> Result<Vec<El<'d>>, Spent> {
    let (doc, at) = el.place();
    let found = Finder { doc, work }.items(path, Item::Node(at))?;
    let element = |item| match item {
        Item::Node(at) if matches!(doc.nodes.get(at)?.kind, Kind::Element { .. }) => Some(El::of(doc, at)),
        _ => None,
    };
    Ok(found.into_iter().filter_map(element).collect())
}

struct Finder<'d, 'w> {
    doc: &'d Doc,
    work: &'w Work,
}

impl Finder<'_, '_> {
    fn first(&self, expr: &Expr, here: Item) -> Result<String, Spent> {
        match expr {
            Expr::Text(text) => Ok(text.clone()),
            Expr::Call(function, arguments) => self.call(*function, arguments, here),
            Expr::Path(path) => match (self.items(path, here)?.first(), &path.then) {
                (None, _) => Ok(String::new()),
                (Some(item), None) => self.text(*item),
                (Some(item), Some(then)) => self.first(then, *item),
            },
        }
    }

    fn values(&self, expr: &Expr, here: Item) -> Result<Vec<String>, Spent> {
        let Expr::Path(path) = expr else { return Ok(vec![self.first(expr, here)?]) };
        let items = self.items(path, here)?.into_iter();
        match &path.then {
            None => items.map(|item| self.text(item)).collect(),
            Some(then) => items.map(|item| self.first(then, item)).collect(),
        }
    }

    fn items(&self, path: &Path, here: Item) -> Result<Vec<Item>, Spent> {
        let mut found = vec![if path.absolute { Item::Document } else { here }];
        for step in &path.steps {
            let (mut next, mut most) = (Vec::new(), MANY);
            for item in &found {
                let mut of_one = self.step(step, *item)?;
                for predicate in &step.predicates {
                    of_one = self.filtered(of_one, predicate)?;
                }
                next.append(&mut of_one);
                // The memory is that of the document, not that of the work.
                if next.len() > most {
                    once(&mut next);
                    most = MANY.max(2 * next.len());
                }
            }
            once(&mut next);
            found = next;
        }
        Ok(found)
    }

    fn step(&self, step: &Step, from: Item) -> Result<Vec<Item>, Spent> {
        self.work.take(1)?;
        match step.axis {
            Axis::Itself => Ok(vec![from]),
            Axis::Parent => Ok(self.parent(from).into_iter().collect()),
            Axis::Attribute => self.attributes(&step.test, from),
            Axis::Child => self.children(from, |kind| is_element(self.doc, &step.test, kind)),
            Axis::Text => self.children(from, |kind| matches!(kind, Kind::Text(_))),
            Axis::Descendants => {
                let (start, end) = match from {
                    Item::Document => (0, self.doc.nodes.len()),
                    Item::Node(at) => (at, self.doc.nodes.get(at).map_or(at, |node| node.end)),
                    Item::Attribute(..) => (0, 0),
                };
                self.work.take(end - start)?;
                let element =
                    |at: &usize| matches!(self.doc.nodes.get(*at).map(|n| &n.kind), Some(Kind::Element { .. }));
                let inside = (start..end).filter(element).map(Item::Node);
                Ok(Some(from).filter(|item| *item == Item::Document).into_iter().chain(inside).collect())
            }
        }
    }

    fn parent(&self, from: Item) -> Option<Item> {
        match from {
            Item::Document => None,
            Item::Node(0) => Some(Item::Document),
            Item::Node(at) => self.doc.nodes.get(at).map(|node| Item::Node(node.parent)),
            Item::Attribute(at, _) => Some(Item::Node(at)),
        }
    }

    fn children(&self, from: Item, wanted: impl Fn(&Kind) -> bool) -> Result<Vec<Item>, Spent> {
        let (mut at, end) = match from {
            Item::Document => (0, self.doc.nodes.len().min(1)),
            Item::Node(at) => (at + 1, self.doc.nodes.get(at).map_or(0, |node| node.end)),
            Item::Attribute(..) => (0, 0),
        };
        let mut found = Vec::new();
        while let Some(node) = self.doc.nodes.get(at).filter(|_| at < end) {
            self.work.take(1)?;
            if wanted(&node.kind) {
                found.push(Item::Node(at));
            }
            at = node.end.max(at + 1);
        }
        Ok(found)
    }

    fn attributes(&self, test: &Test, from: Item) -> Result<Vec<Item>, Spent> {
        let Item::Node(at) = from else { return Ok(Vec::new()) };
        let all = El::of(self.doc, at).attributes();
        self.work.take(all.len())?;
        let fits = |name: &str| {
            let (prefix, local) = name.split_once(':').unwrap_or(("", name));
            test.space.as_ref().is_none_or(|_| prefix.is_empty()) && test.name.as_ref().is_none_or(|n| n == local)
        };
        Ok(all.iter().enumerate().filter(|(_, (name, _))| fits(name)).map(|(n, _)| Item::Attribute(at, n)).collect())
    }

    fn filtered(&self, items: Vec<Item>, predicate: &Predicate) -> Result<Vec<Item>, Spent> {
        match predicate {
            Predicate::Nth(n) => Ok(items.into_iter().skip(n - 1).take(1).collect()),
            Predicate::Last => Ok(items.into_iter().next_back().into_iter().collect()),
            Predicate::Is(condition) => {
                let mut kept = Vec::new();
                for item in items {
                    if self.holds(condition, item)? {
                        kept.push(item);
                    }
                }
                Ok(kept)
            }
        }
    }

    fn holds(&self, condition: &Condition, here: Item) -> Result<bool, Spent> {
        match condition {
            Condition::Any(all) => {
                for one in all {
                    if self.holds(one, here)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Condition::All(all) => {
                for one in all {
                    if !self.holds(one, here)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Condition::Not(inside) => Ok(!self.holds(inside, here)?),
            Condition::Exists(Expr::Path(path)) => Ok(!self.items(path, here)?.is_empty()),
            Condition::Exists(expr) => Ok(!self.first(expr, here)?.is_empty()),
            Condition::Compare(comparison, a, b) => {
                let (a, b) = (self.values(a, here)?, self.values(b, here)?);
                for (a, b) in a.iter().flat_map(|a| b.iter().map(move |b| (a, b))) {
                    self.work.take(1 + a.len().max(b.len()) / 16)?;
                    if compare(*comparison, a.trim(), b.trim()) {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    /// The text of a thing: of an element, all text in it.
    fn text(&self, item: Item) -> Result<String, Spent> {
        let mut text = String::new();
        match item {
            Item::Document => self.inside(0, &mut text)?,
            Item::Node(at) => self.inside(at, &mut text)?,
            Item::Attribute(at, n) => {
                let attributes = El::of(self.doc, at).attributes();
                self.work.push(&mut text, attributes.get(n).map_or("", |(_, value)| value))?;
            }
        }
        Ok(text)
    }

    fn inside(&self, at: usize, text: &mut String) -> Result<(), Spent> {
        let end = self.doc.nodes.get(at).map_or(at, |node| node.end);
        let nodes = self.doc.nodes.get(at..end).unwrap_or_default();
        self.work.take(nodes.len())?;
        for node in nodes {
            if let Kind::Text(piece) = &node.kind {
                self.work.push(text, piece)?;
            }
        }
        Ok(())
    }

    fn call(&self, function: Function, arguments: &[Expr], here: Item) -> Result<String, Spent> {
        self.work.take(1)?;
        let argument = |n: usize| match arguments.get(n) {
            Some(expr) => self.first(expr, here),
            None if n == 0 => self.text(here),
            None => Ok(String::new()),
        };
        match function {
            Function::Concat => {
                let mut text = String::new();
                for n in 0..arguments.len() {
                    self.work.push(&mut text, &argument(n)?)?;
                }
                Ok(text)
            }
            Function::StringJoin => {
                let (mut text, between) = (String::new(), argument(1)?);
                let Some(all) = arguments.first() else { return Ok(text) };
                for (n, value) in self.values(all, here)?.into_iter().enumerate() {
                    self.work.push(&mut text, if n > 0 { &between } else { "" })?;
                    self.work.push(&mut text, value.trim())?;
                }
                Ok(text)
            }
            Function::SubstringBefore => {
                Ok(argument(0)?.split_once(&argument(1)?).map_or(String::new(), |(before, _)| before.to_owned()))
            }
            Function::SubstringAfter => {
                Ok(argument(0)?.split_once(&argument(1)?).map_or(String::new(), |(_, after)| after.to_owned()))
            }
            Function::Substring => {
                let number = |text: String| text.parse::<usize>().ok();
                let from = number(argument(1)?).unwrap_or(1) - 1;
                let length = number(argument(2)?).unwrap_or(usize::MAX);
                Ok(argument(0)?.chars().skip(from).take(length).collect())
            }
            Function::NormalizeSpace => Ok(argument(0)?.split_whitespace().collect::<Vec<_>>().join(" ")),
            Function::LowerCase => Ok(argument(0)?.to_lowercase()),
            Function::UpperCase => Ok(argument(0)?.to_uppercase()),
            Function::Translate => {
                let (text, from, to) = (argument(0)?, argument(1)?, argument(2)?);
                self.work.take(text.len().saturating_mul(from.len()) / 4)?;
                let to: Vec<char> = to.chars().collect();
                let place = |c: char| from.chars().position(|f| f == c);
                Ok(text.chars().filter_map(|c| place(c).map_or(Some(c), |n| to.get(n).copied())).collect())
            }
        }
    }
}

/// In order and each once: from elements inside each other the same thing is found again and again.
fn once(items: &mut Vec<Item>) {
    items.sort_unstable();
    items.dedup();
}

fn is_element(doc: &Doc, test: &Test, kind: &Kind) -> bool {
    let Kind::Element { space, name, .. } = kind else { return false };
    let space_of = || doc.spaces.get(*space).map_or("", String::as_str);
    test.name.as_ref().is_none_or(|wanted| wanted == name) && test.space.as_ref().is_none_or(|s| s == space_of())
}

fn compare(comparison: Comparison, a: &str, b: &str) -> bool {
    match comparison {
        Comparison::Equal => a == b,
        Comparison::Differs => a != b,
        Comparison::Contains => a.contains(b),
        Comparison::StartsWith => a.starts_with(b),
    }
}
