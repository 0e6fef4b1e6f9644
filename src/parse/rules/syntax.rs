//! Regular expressions of rules, and what can be told of one without a mail: which captures it always has, what else it must
//! hold, whether it can match at all. All of it is sound: what is said of an expression holds for every mail.

use std::collections::BTreeSet;

use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Class, Hir, HirKind, Look};

/// Largest compiled expression, in bytes: a config is trusted, its slips are not.
const MAX_REGEX: usize = 1 << 20;
/// Largest cache of one expression while it matches, in bytes: a mailbox may have hundreds of them.
const MAX_CACHE: usize = 256 << 10;
/// Most values of a capture that are listed.
const MAX_VALUES: usize = 64;
/// Most characters of one class that are listed.
const MAX_CLASS: usize = 8;

/// What an expression is matched against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Against {
    /// An address: upper and lower case are the same.
    Address,
    /// A header field: one line, in which each run of blanks is one blank.
    Field,
    /// The text of the mail: `^` and `$` stand at every line.
    Body,
    /// One line of the text.
    Line,
}

/// A compiled expression.
#[derive(Debug, Clone)]
pub(super) struct Expression {
    pub(super) text: String,
    pub(super) regex: Regex,
    pub(super) captures: Vec<Capture>,
    /// What it is as a whole, where that is simple.
    whole: Whole,
    /// Texts that every match holds.
    runs: Vec<String>,
    /// The text that every match begins with, and where.
    start: Option<(Look, String)>,
}

/// A named capture.
#[derive(Debug, Clone)]
pub(super) struct Capture {
    pub(super) name: String,
    /// Is it there in every match?
    pub(super) certain: bool,
    /// All that it can be, lower case; `None`: too much to list.
    pub(super) values: Option<BTreeSet<String>>,
}

#[derive(Debug, Clone)]
enum Whole {
    /// Matches everything.
    Anything,
    /// Matches what holds this.
    Holds(String),
    /// Matches what starts with this, at the start of the whole or of a line.
    Starts(Look, String),
    /// More than can be told.
    Other,
}

/// Compiles an expression; why not, for people.
pub(super) fn read(text: &str, against: Against) -> Result<Expression, String> {
    let caseless = against == Against::Address;
    let lines = against == Against::Body;
    let regex = RegexBuilder::new(text)
        .case_insensitive(caseless)
        .multi_line(lines)
        .size_limit(MAX_REGEX)
        .dfa_size_limit(MAX_CACHE)
        .build()
        .map_err(|error| reason(&error))?;
    let parsed = regex_syntax::ParserBuilder::new().case_insensitive(caseless).multi_line(lines).build().parse(text);
    let hir = parsed.map_err(|error| last_line(&error.to_string()))?;
    if hir.properties().minimum_len().is_none() {
        return Err("it can never match".into());
    }
    let mut runs = Vec::new();
    collect_runs(&hir, &mut runs);
    if against == Against::Field && runs.iter().any(|run| run.contains("  ")) {
        return Err("it can never match: each run of blanks in a header field is read as one blank".into());
    }
    let certain = certain(&hir);
    let mut captures = Vec::new();
    collect_captures(&hir, &certain, &mut captures);
    Ok(Expression { text: text.to_owned(), regex, captures, whole: whole(&hir), runs, start: start(&hir) })
}

impl Expression {
    /// Does it match whatever `later` matches, in the same place of a mail?
    pub(super) fn covers(&self, later: &Self) -> bool {
        if self.text == later.text {
            return true;
        }
        match &self.whole {
            Whole::Anything => true,
            Whole::Holds(text) => later.runs.iter().any(|run| run.contains(text)),
            Whole::Starts(look, text) => {
                later.start.as_ref().is_some_and(|(at, start)| at == look && start.starts_with(text))
            }
            Whole::Other => false,
        }
    }

    /// Does it match everything?
    pub(super) fn is_anything(&self) -> bool {
        matches!(self.whole, Whole::Anything)
    }
}

/// The last line of the regex crate's report says what is wrong; the lines before it draw the place.
fn reason(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => "it is too large".into(),
        _ => last_line(&error.to_string()),
    }
}

fn last_line(text: &str) -> String {
    let last = text.lines().last().unwrap_or_default().trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// Captures that take part in every match.
fn certain(hir: &Hir) -> BTreeSet<String> {
    match hir.kind() {
        HirKind::Capture(capture) => {
            let mut names = certain(&capture.sub);
            names.extend(capture.name.as_deref().map(str::to_owned));
            names
        }
        HirKind::Repetition(repetition) if repetition.min > 0 => certain(&repetition.sub),
        HirKind::Concat(subs) => subs.iter().flat_map(certain).collect(),
        HirKind::Alternation(subs) => {
            let mut all = subs.iter().map(certain);
            let first = all.next().unwrap_or_default();
            all.fold(first, |common, next| common.intersection(&next).cloned().collect())
        }
        _ => BTreeSet::new(),
    }
}

fn collect_captures(hir: &Hir, certain: &BTreeSet<String>, found: &mut Vec<Capture>) {
    if let HirKind::Capture(capture) = hir.kind()
        && let Some(name) = capture.name.as_deref()
    {
        let certain = certain.contains(name);
        found.push(Capture { name: name.to_owned(), certain, values: values(&capture.sub) });
    }
    hir.kind().subs().iter().for_each(|sub| collect_captures(sub, certain, found));
}

/// Literal texts that stand in every match.
fn collect_runs(hir: &Hir, runs: &mut Vec<String>) {
    match hir.kind() {
        HirKind::Literal(literal) => runs.push(String::from_utf8_lossy(&literal.0).into_owned()),
        HirKind::Capture(capture) => collect_runs(&capture.sub, runs),
        HirKind::Repetition(repetition) if repetition.min > 0 => collect_runs(&repetition.sub, runs),
        HirKind::Concat(subs) => subs.iter().for_each(|sub| collect_runs(sub, runs)),
        _ => {}
    }
}

fn whole(hir: &Hir) -> Whole {
    let looks = hir.properties().look_set();
    let only = |allowed: [Look; 2]| looks.iter().all(|look| allowed.contains(&look));
    // What may be empty is found at the very start, or the very end, of anything.
    let may_be_empty = hir.properties().minimum_len() == Some(0);
    if may_be_empty && (only([Look::Start, Look::StartLF]) || only([Look::End, Look::EndLF])) {
        return Whole::Anything;
    }
    if let Some(text) = literal(hir) {
        return Whole::Holds(text);
    }
    match hir.kind() {
        HirKind::Concat(subs) => match subs.as_slice() {
            [first, second] => match (first.kind(), literal(second)) {
                (HirKind::Look(look @ (Look::Start | Look::StartLF)), Some(text)) => Whole::Starts(*look, text),
                _ => Whole::Other,
            },
            _ => Whole::Other,
        },
        _ => Whole::Other,
    }
}

fn start(hir: &Hir) -> Option<(Look, String)> {
    let HirKind::Concat(subs) = hir.kind() else { return None };
    let (first, rest) = subs.split_first()?;
    match first.kind() {
        HirKind::Look(look @ (Look::Start | Look::StartLF)) => Some((*look, literal(rest.first()?)?)),
        _ => None,
    }
}

fn literal(hir: &Hir) -> Option<String> {
    match hir.kind() {
        HirKind::Literal(literal) => Some(String::from_utf8_lossy(&literal.0).into_owned()),
        HirKind::Capture(capture) => literal(&capture.sub),
        _ => None,
    }
}

/// Everything that an expression can match, in lower case; `None`: too much to list.
fn values(hir: &Hir) -> Option<BTreeSet<String>> {
    let found: BTreeSet<String> = match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => [String::new()].into(),
        HirKind::Literal(literal) => [String::from_utf8_lossy(&literal.0)].map(|text| caseless(&text)).into(),
        HirKind::Class(Class::Unicode(class)) => {
            let size: usize = class.ranges().iter().map(|range| range.len()).sum();
            let chars = class.ranges().iter().flat_map(|range| range.start()..=range.end());
            let listed = |chars: BTreeSet<String>| (size <= MAX_CLASS).then_some(chars);
            listed(chars.take(MAX_CLASS).map(|c| caseless(&c.to_string())).collect())?
        }
        HirKind::Class(Class::Bytes(_)) => return None,
        HirKind::Capture(capture) => values(&capture.sub)?,
        HirKind::Repetition(repetition) => match (repetition.min, repetition.max) {
            (0, Some(1)) => values(&repetition.sub)?.into_iter().chain([String::new()]).collect(),
            _ => return None,
        },
        HirKind::Concat(subs) => subs.iter().try_fold([String::new()].into(), |all: BTreeSet<String>, sub| {
            let next = values(sub)?;
            let joined = all.iter().flat_map(|a| next.iter().map(move |b| format!("{a}{b}")));
            (all.len() * next.len() <= MAX_VALUES).then(|| joined.collect())
        })?,
        HirKind::Alternation(subs) => {
            subs.iter().map(values).collect::<Option<Vec<_>>>()?.into_iter().flatten().collect()
        }
    };
    (found.len() <= MAX_VALUES).then_some(found)
}

/// How values of a table are compared: without the blanks around them, and without case.
pub(super) fn fold(text: &str) -> String {
    caseless(text.trim())
}

/// By way of upper case: some letters (ſ, K) are another's only there, and `(?i)` knows them all.
fn caseless(text: &str) -> String {
    text.to_uppercase().to_lowercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_body(text: &str) -> Expression {
        read(text, Against::Body).unwrap()
    }

    #[test]
    fn captures_are_certain_where_no_match_lacks_them() {
        let seen = |text: &str| -> Vec<(String, bool)> {
            read_body(text).captures.into_iter().map(|c| (c.name, c.certain)).collect()
        };
        let of = |name: &str, certain: bool| (name.to_owned(), certain);
        assert_eq!(seen("(?<a>x)(?<b>y)?"), [of("a", true), of("b", false)]);
        assert_eq!(seen("(?:(?<a>x)|(?<b>y))z"), [of("a", false), of("b", false)]);
        assert_eq!(seen("(?:(?<a>x))+|(?<b>y)"), [of("a", false), of("b", false)]);
        assert_eq!(seen("(?:(?<a>x)z){2,3}"), [of("a", true)]);
        assert_eq!(seen("(?<a>x|(?<b>y))"), [of("a", true), of("b", false)]);
    }

    #[test]
    fn values_of_a_capture_are_listed_where_they_are_few() {
        let seen = |text: &str| {
            let values = read_body(text).captures.remove(0).values;
            values.map(|v| v.into_iter().collect::<Vec<_>>().join(","))
        };
        assert_eq!(seen("(?<s>OK|WARNING|CRITICAL)").as_deref(), Some("critical,ok,warning"));
        assert_eq!(seen("(?i)(?<s>on|off)").as_deref(), Some("off,on"));
        assert_eq!(seen("(?<s>WARNING(?: M(?:AJ|IN)OR)?)").as_deref(), Some("warning,warning major,warning minor"));
        assert_eq!(seen("(?<s>[A-Z]+)"), None);
        assert_eq!(seen("(?<s>.)"), None);
    }

    #[test]
    fn what_can_never_match_is_refused() {
        let why = |text: &str, against| read(text, against).unwrap_err();
        assert_eq!(why("a[^\\s\\S]", Against::Body), "it can never match");
        assert!(why("monit alert --  .*", Against::Field).starts_with("it can never match: each run of blanks"));
        assert!(read("monit alert --  .*", Against::Body).is_ok());
        assert_eq!(why("(", Against::Field), "unclosed group");
        assert_eq!(why("(?=x)", Against::Field), "look-around, including look-ahead and look-behind, is not supported");
        assert_eq!(why("(a{1000}){1000}", Against::Field), "it is too large");
    }

    #[test]
    fn what_one_takes_is_told_where_it_is_plain() {
        for (earlier, later, covers) in [
            ("PROBLEM", "^\\*\\* PROBLEM (?<host>.+)", true),
            ("PROBLEM", "^\\*\\* (?<type>PROBLEM|RECOVERY)", false),
            ("^Problem", "^Problem: (?<name>.+)$", true),
            ("^Problem", "Problem: (?<name>.+)$", false),
            (".*", "x", true),
            ("", "x", true),
            ("^", "x", true),
            ("^.*", "x", true),
            (".*$", "x", true),
            ("^$", "x", false),
            ("(?:a$)?^", "x", false),
            ("\\b", "x", false),
            ("[a-z]+", "x", false),
            ("x{2}", "x{2}", true),
            ("(?i)problem", "PROBLEM", false),
        ] {
            assert_eq!(read_body(earlier).covers(&read_body(later)), covers, "{earlier} / {later}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        /// Whatever is said to be covered is.
        #[test]
        fn what_is_covered_never_comes_to_the_later_one(
            earlier in "[\\^$]{0,1}[ab.*?]{0,3}[$]{0,1}",
            later in "\\^{0,1}[ab]{0,3}(\\([ab]\\||[.*])?[ab]{0,2}",
            text in "[ab\n]{0,8}",
        ) {
            if let (Ok(earlier), Ok(later)) = (read(&earlier, Against::Body), read(&later, Against::Body))
                && earlier.covers(&later) && later.regex.is_match(&text)
            {
                prop_assert!(earlier.regex.is_match(&text));
            }
        }

        #[test]
        fn a_certain_capture_is_in_every_match(parts in proptest::collection::vec(0..6_usize, 1..5), text in "[abc]{0,8}") {
            let pieces = ["(?<NAME>a)", "(?<NAME>b)?", "(?:(?<NAME>c)|b)", "(?:x|(?<NAME>a|b))*", "(?<NAME>a?)", "(?:b(?<NAME>c))+"];
            let regex: String = parts.iter().enumerate().map(|(n, p)| pieces[*p].replace("NAME", &format!("n{n}"))).collect();
            let read = read_body(&regex);
            if let Some(found) = read.regex.captures(&text) {
                for capture in &read.captures {
                    let value = found.name(&capture.name).map(|m| m.as_str().to_owned());
                    prop_assert!(!capture.certain || value.is_some());
                    if let (Some(all), Some(value)) = (&capture.values, value) {
                        prop_assert!(all.contains(&value));
                    }
                }
            }
        }
    }
}
