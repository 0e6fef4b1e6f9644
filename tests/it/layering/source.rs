//! Rust sources as far as the import law needs them: the code without comments, texts and tests, and the paths it names.

use std::collections::{BTreeMap, BTreeSet};

/// One file.
#[derive(Debug)]
pub struct Source {
    /// Its module: `["route", "router"]`.
    pub module: Vec<String>,
    /// What it names of the crate, and where.
    pub imports: Vec<Import>,
    /// Its code, in the lines of the file; all else is blank.
    pub code: String,
    /// Its length without tests.
    pub lines: usize,
}

/// A path from the crate's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    pub line: usize,
    pub path: Vec<String>,
}

/// Reads all files; those that are for tests only are left out.
pub fn read_all(files: Vec<(String, String)>) -> BTreeMap<String, Source> {
    let modules: BTreeSet<Vec<String>> = files.iter().map(|(name, _)| module(name)).collect();
    let mut tests_only: Vec<Vec<String>> = Vec::new();
    let mut read = BTreeMap::new();
    for (name, text) in &files {
        let module = module(name);
        let (code, lines, test_modules) = without_tests(&blank(text), text);
        tests_only.extend(test_modules.into_iter().map(|child| [module.clone(), vec![child]].concat()));
        let imports = imports(&code, &module, &modules);
        read.insert(name.clone(), Source { module, imports, code, lines });
    }
    read.retain(|_, source| !tests_only.iter().any(|module| source.module.starts_with(module)));
    read
}

/// Does the code name this, as a whole word?
pub fn holds(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (line[..at].chars().next_back(), line[at + word.len()..].chars().next());
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

/// `src/a/b.rs` and `src/a/b/mod.rs` → `["a", "b"]`; `src/lib.rs` → `[]`.
fn module(file: &str) -> Vec<String> {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    if path == "lib" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

/// Comments, texts and character literals replaced by spaces; line breaks stay.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = skipped(rest).unwrap_or(0);
        if length == 0 {
            // A word is taken whole: the `r` of `for"` starts no raw text.
            let word = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').map(char::len_utf8).sum::<usize>();
            let taken = word.max(c.len_utf8());
            out.push_str(&rest[..taken]);
            rest = &rest[taken..];
        } else {
            out.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[length..];
        }
    }
    out
}

/// Length of the comment or literal that starts here.
fn skipped(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        let (mut depth, mut at) = (0_usize, 0);
        while at < rest.len() {
            if rest[at..].starts_with("/*") {
                (depth, at) = (depth + 1, at + 2);
            } else if rest[at..].starts_with("*/") {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    return Some(at);
                }
            } else {
                at += rest[at..].chars().next().map_or(1, char::len_utf8);
            }
        }
        return Some(rest.len());
    }
    let raw = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'));
    if let Some(raw) = raw {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = &raw[hashes + 1..];
            let length = body.find(&end).map_or(body.len(), |at| at + end.len());
            return Some(rest.len() - body.len() + length);
        }
    }
    let quoted = rest.strip_prefix('b').unwrap_or(rest);
    let quote = quoted.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut chars = quoted.char_indices().skip(1).peekable();
    if quote == '\'' {
        // A lifetime has no second quote after one character.
        let (_, first) = *chars.peek()?;
        let second = quoted[1 + first.len_utf8()..].chars().next();
        if first != '\\' && second != Some('\'') {
            return None;
        }
    }
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            c if c == quote => return Some(rest.len() - quoted.len() + at + 1),
            _ => {}
        }
    }
    Some(rest.len())
}

/// Blanks what stands under `#[cfg(test)]`; gives the count of lines that remain, and the names of modules in files of
/// their own that are for tests only.
fn without_tests(code: &str, text: &str) -> (String, usize, Vec<String>) {
    let mut kept = code.to_owned();
    let (mut gone, mut modules) = (0, Vec::new());
    while let Some(start) = kept.find("#[cfg(test)]") {
        let item = &kept[start..];
        let (mut depth, mut end) = (0_usize, item.len());
        for (at, c) in item.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 1 => {
                    end = at + 1;
                    break;
                }
                '}' => depth = depth.saturating_sub(1),
                ';' if depth == 0 => {
                    let words: Vec<_> = item[..at].split_whitespace().collect();
                    modules.extend(words.windows(2).filter(|w| w[0] == "mod").map(|w| w[1].to_owned()));
                    end = at + 1;
                    break;
                }
                _ => {}
            }
        }
        gone += item[..end].lines().count();
        let blanked: String = item[..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        kept.replace_range(start..start + end, &blanked);
    }
    (kept, text.lines().count() - gone, modules)
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Sep,
    Other(char),
}

fn tokens(code: &str) -> Vec<(usize, Token)> {
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line;
        while let Some(c) = rest.chars().next() {
            let word: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let (token, length) = if !word.is_empty() {
                (Token::Word(word.clone()), word.len())
            } else if rest.starts_with("::") {
                (Token::Sep, 2)
            } else {
                (Token::Other(c), c.len_utf8())
            };
            if !matches!(&token, Token::Other(c) if c.is_whitespace()) {
                found.push((number + 1, token));
            }
            rest = &rest[length..];
        }
    }
    found
}

/// Everything of the crate that is named: in `use` (also by a child module's name), by a path from `crate`, `self` or
/// `super`, or by a path from a module that was imported.
fn imports(code: &str, module: &[String], modules: &BTreeSet<Vec<String>>) -> Vec<Import> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut at = 0;
    let mut uses = Vec::new();
    while at < tokens.len() {
        if tokens[at].1 == Token::Word("use".into()) {
            let start = at + 1;
            while at < tokens.len() && tokens[at].1 != Token::Other(';') {
                at += 1;
            }
            let mut leaves = Vec::new();
            tree(&tokens[start..at], &[], &mut leaves);
            for (line, path, alias) in leaves {
                let child = path.first().map(|first| [module, std::slice::from_ref(first)].concat());
                let of_child = child.filter(|child| modules.contains(child));
                let resolved =
                    resolve(&path, module).or_else(|| of_child.map(|child| [&child[..], &path[1..]].concat()));
                if let Some(path) = resolved {
                    known.insert(alias, path.clone());
                    found.push(Import { line, path });
                }
            }
            uses.push(start..at);
        }
        at += 1;
    }
    let mut at = 0;
    while at < tokens.len() {
        let (line, path) = (tokens[at].0, path_at(&tokens, at));
        let length = path.len();
        let in_use = uses.iter().any(|range| range.contains(&at));
        let starts = at == 0 || tokens[at - 1].1 != Token::Sep;
        if length > 1 && starts && !in_use {
            let by_import = || known.get(&path[0]).map(|base| [&base[..], &path[1..]].concat());
            found.extend(resolve(&path, module).or_else(by_import).map(|path| Import { line, path }));
        }
        at += (2 * length).max(1);
    }
    found.retain(|import| !import.path.is_empty());
    found
}

/// The words of the path that starts at this token.
fn path_at(tokens: &[(usize, Token)], mut at: usize) -> Vec<String> {
    let mut path = Vec::new();
    while let Some((_, Token::Word(word))) = tokens.get(at) {
        path.push(word.clone());
        if tokens.get(at + 1).map(|t| &t.1) != Some(&Token::Sep) {
            break;
        }
        at += 2;
    }
    path
}

/// Leaves of a use tree: line, path, and the name by which it is known here.
fn tree(tokens: &[(usize, Token)], base: &[String], leaves: &mut Vec<(usize, Vec<String>, String)>) {
    let mut path = base.to_vec();
    let mut line = tokens.first().map_or(0, |t| t.0);
    let mut alias = None;
    let mut at = 0;
    while let Some((here, token)) = tokens.get(at) {
        match token {
            Token::Word(word) if word == "as" => {
                if let Some((_, Token::Word(name))) = tokens.get(at + 1) {
                    alias = Some(name.clone());
                }
                at += 1;
            }
            Token::Word(word) if word == "self" && !path.is_empty() => line = *here,
            Token::Word(word) => {
                line = *here;
                path.push(word.clone());
            }
            Token::Other('*') => path.push("*".into()),
            Token::Other('{') => {
                let end = closing(tokens, at);
                for part in parts(&tokens[at + 1..end]) {
                    tree(part, &path, leaves);
                }
                return;
            }
            _ => {}
        }
        at += 1;
    }
    let name = alias.or_else(|| path.last().cloned()).unwrap_or_default();
    if path.len() > base.len() || !tokens.is_empty() {
        leaves.push((line, path, name));
    }
}

fn closing(tokens: &[(usize, Token)], open: usize) -> usize {
    let mut depth = 0;
    for (at, (_, token)) in tokens.iter().enumerate().skip(open) {
        match token {
            Token::Other('{') => depth += 1,
            Token::Other('}') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len()
}

/// Splits at the commas of the outermost level.
fn parts(tokens: &[(usize, Token)]) -> Vec<&[(usize, Token)]> {
    let mut depth = 0;
    tokens
        .split(|(_, token)| {
            match token {
                Token::Other('{') => depth += 1,
                Token::Other('}') => depth -= 1,
                _ => {}
            }
            depth == 0 && *token == Token::Other(',')
        })
        .filter(|part| !part.is_empty())
        .collect()
}

/// A path from the crate's root, where `path` starts with `crate` (or the crate's name, in `main`), `self` or `super`.
fn resolve(path: &[String], module: &[String]) -> Option<Vec<String>> {
    let first = path.first()?;
    if first == "crate" || first == "mailbell" {
        return Some(path[1..].to_vec());
    }
    let up = path.iter().take_while(|word| *word == "super").count();
    let rest = if first == "self" { &path[1..] } else { &path[up..] };
    if first != "self" && up == 0 {
        return None;
    }
    let base = module.get(..module.len().checked_sub(up)?)?;
    Some([base, rest].concat())
}
