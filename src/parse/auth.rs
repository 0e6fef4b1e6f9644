//! Did a mail server that we trust say that a mail's From is not forged? What RFC 8601 calls Authentication-Results, as far as
//! DMARC (RFC 7489) is concerned.
//!
//! Anyone can write such a field into a mail. RFC 8601 §5 asks a mail server to take those out that bear its own name, but not
//! all do, so a field is believed for where it stands too: what our servers add stands above everything that came with the mail,
//! and the line that parts the two is the Received field of the server that let the mail in.

use std::borrow::Cow;

use super::fields::{self, Fields};
use super::xml::shown;

/// Most fields of one name that are looked at; a server adds a handful.
const MAX_RESULTS: usize = 100;
/// Method and version that are understood (RFC 8601 §2.2; the version is 1 where none is given).
const METHOD: &str = "dmarc";
const VERSION: &str = "1";

/// Does `authserv_id` say that DMARC passed for the domain of `from`? `Err`: why it cannot be believed.
///
/// Believed is a field whose first word is exactly `authserv_id`, above the topmost Received field that names `authserv_id` behind
/// its `by`; where none does, above the topmost Received field altogether. All of them count, and whichever of them says anything
/// but `pass` for this domain wins.
pub(crate) fn dmarc(raw: &[u8], authserv_id: &str, from: &str) -> Result<(), String> {
    let fields = fields::split(raw).0;
    let Some((_, domain)) = from.rsplit_once('@').filter(|(_, domain)| !domain.is_empty()) else {
        return Err(format!("its From address {} has no domain that could be vouched for", shown(from)));
    };
    let mut found = Vec::new();
    let mut others = Vec::new();
    for (id, rest) in trusted(&fields, authserv_id).into_iter().filter_map(|value| Scanner::of(value).id()) {
        if id == authserv_id { found.push(rest) } else { others.push(id) }
    }
    if found.is_empty() {
        return Err(nobody(authserv_id, &others, fields.has("Authentication-Results")));
    }
    let mut passed = false;
    for scanner in found {
        for result in results(scanner, authserv_id)? {
            result.vouches_for(domain, authserv_id)?;
            passed = true;
        }
    }
    if passed { Ok(()) } else { Err(format!("{authserv_id} says nothing of DMARC about it")) }
}

/// Why there is nothing to believe: what stands there instead helps whoever set the name.
fn nobody(authserv_id: &str, others: &[String], below: bool) -> String {
    let also = match others.first() {
        Some(other) => format!("; there is one of {}", shown(other)),
        None if below => "; what stands below is not believed".to_owned(),
        None => String::new(),
    };
    format!("no Authentication-Results of {authserv_id} stands above its Received line{also}")
}

/// Authentication-Results that no sender can have written, topmost first. A mail without Received has none.
fn trusted<'a>(fields: &Fields<'a>, authserv_id: &str) -> Vec<&'a [u8]> {
    let border = fields.position("Received", |value| is_by(value, authserv_id)).or_else(|| {
        // None of ours is known by its name: only what the last of them put on top is certain.
        fields.position("Received", |_| true)
    });
    fields.above(border.unwrap_or(0), "Authentication-Results").take(MAX_RESULTS).collect()
}

/// Does a Received field name this host behind `by` (RFC 5321 §4.4)? Comments are looked at as well: a sender chooses part of this
/// line (its HELO), and must not be able to hide the host. To see it where it is not only makes us believe less.
fn is_by(value: &[u8], host: &str) -> bool {
    let value = String::from_utf8_lossy(value);
    let mut words = value.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | ';' | '"' | '[' | ']'));
    let mut by = false;
    words.any(|word| {
        let hit = by && word.eq_ignore_ascii_case(host);
        by = (by && word.is_empty()) || word.eq_ignore_ascii_case("by");
        hit
    })
}

/// One `dmarc=…` with its properties.
struct Dmarc {
    result: String,
    /// Values of `header.from`.
    from: Vec<String>,
}

impl Dmarc {
    fn vouches_for(&self, domain: &str, authserv_id: &str) -> Result<(), String> {
        if !self.result.eq_ignore_ascii_case("pass") {
            return Err(format!("{authserv_id} says dmarc={}", shown(&self.result)));
        }
        match self.from.as_slice() {
            [from] if same_domain(from, domain) => Ok(()),
            [from] => Err(format!("{authserv_id} says dmarc=pass for {}, not for {}", shown(from), shown(domain))),
            [] => Err(format!("{authserv_id} says dmarc=pass, but not for which header.from")),
            [..] => Err(format!("{authserv_id} says dmarc=pass for several header.from")),
        }
    }
}

/// Some servers write the whole address.
fn same_domain(from: &str, domain: &str) -> bool {
    let named = from.rsplit_once('@').map_or(from, |(_, domain)| domain);
    named.trim_end_matches('.').eq_ignore_ascii_case(domain.trim_end_matches('.'))
}

/// What a field says of DMARC. A field of this server that cannot be read is no reason to believe another one.
fn results(mut scanner: Scanner<'_>, authserv_id: &str) -> Result<Vec<Dmarc>, String> {
    let unreadable = || format!("what {authserv_id} says of it cannot be read (RFC 8601)");
    let mut found = Vec::new();
    loop {
        let (words, last) = scanner.statement().ok_or_else(unreadable)?;
        if let Some(dmarc) = statement(words).ok_or_else(unreadable)? {
            found.push(dmarc);
        }
        if last {
            return Ok(found);
        }
    }
}

/// `dmarc=pass reason="…" policy.p=none header.from=example.org`; `Some(None)`: of another method. `None`: not to be read.
fn statement(words: Vec<Word>) -> Option<Option<Dmarc>> {
    let mut pairs = pairs(words)?.into_iter();
    // `none`, and nothing between two semicolons, say nothing.
    let Some((method, result)) = pairs.next() else { return Some(None) };
    let (method, version) = method.split_once('/').unwrap_or((&method, VERSION));
    if !method.eq_ignore_ascii_case(METHOD) {
        return Some(None);
    }
    let from = pairs.filter(|(name, _)| name.eq_ignore_ascii_case("header.from")).map(|(_, value)| value).collect();
    (version == VERSION).then_some(Some(Dmarc { result, from }))
}

/// `name=value`s; blanks and comments may stand around every sign.
fn pairs(words: Vec<Word>) -> Option<Vec<(String, String)>> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut name = String::new();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        match word {
            Word::Equals => {
                let mut value = match words.next()? {
                    Word::Atom(text) | Word::Quoted(text) => text,
                    Word::Equals => return None,
                };
                // A quoted local part goes on with its domain.
                if let Some(Word::Atom(domain)) = words.next_if(|w| matches!(w, Word::Atom(a) if a.starts_with('@'))) {
                    value += &domain;
                }
                if name.is_empty() {
                    return None;
                }
                pairs.push((std::mem::take(&mut name), value));
            }
            Word::Atom(text) => name += &text,
            Word::Quoted(_) => return None,
        }
    }
    (name.is_empty() || (pairs.is_empty() && name.eq_ignore_ascii_case("none"))).then_some(pairs)
}

/// A word of a field's body, comments left out.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    Atom(String),
    Quoted(String),
    Equals,
}

/// Reads a field's body word by word.
struct Scanner<'t> {
    text: Cow<'t, str>,
    at: usize,
}

impl<'t> Scanner<'t> {
    fn of(value: &'t [u8]) -> Self {
        Self { text: String::from_utf8_lossy(value), at: 0 }
    }

    /// The authserv-id, which comes first, with a version behind it or none. `None`: it cannot be read, or the version is unknown.
    fn id(mut self) -> Option<(String, Self)> {
        let (words, _) = self.statement()?;
        let id = |word: &Word| match word {
            Word::Atom(id) | Word::Quoted(id) => Some(id.clone()),
            Word::Equals => None,
        };
        let found = match words.as_slice() {
            [word] => id(word)?,
            [word, Word::Atom(version)] if version == VERSION => id(word)?,
            _ => return None,
        };
        Some((found, self))
    }

    /// The words up to the next semicolon, and whether the field ends there. `None`: a comment or a quoted text has no end.
    fn statement(&mut self) -> Option<(Vec<Word>, bool)> {
        let mut words = Vec::new();
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(c) = rest.chars().next() else { return Some((words, true)) };
            let taken = match c {
                ';' => {
                    self.at += 1;
                    return Some((words, false));
                }
                '(' => comment(rest)?,
                '"' => {
                    let (text, taken) = quoted(rest)?;
                    words.push(Word::Quoted(text));
                    taken
                }
                '=' => {
                    words.push(Word::Equals);
                    1
                }
                c if c.is_whitespace() => c.len_utf8(),
                _ => {
                    let ends = |c: char| c.is_whitespace() || matches!(c, ';' | '(' | '"' | '=');
                    let atom = rest.split(ends).next().unwrap_or_default();
                    words.push(Word::Atom(atom.to_owned()));
                    atom.len()
                }
            };
            self.at += taken;
        }
    }
}

/// Length of the comment that begins here; comments nest (RFC 5322 §3.2.2).
fn comment(text: &str) -> Option<usize> {
    let (mut depth, mut escaped) = (0_usize, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '(' => depth += 1,
            ')' if depth == 1 => return Some(at + 1),
            ')' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The quoted text that begins here, and its length with the quotes.
fn quoted(text: &str) -> Option<(String, usize)> {
    let (mut said, mut escaped) = (String::new(), false);
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return Some((said, at + 1)),
            '\\' if !escaped => escaped = true,
            _ => {
                said.push(c);
                escaped = false;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests;
