//! What the documented config file says of each key, and an example of each.

use std::fmt::Write;

use toml::de::DeTable;

/// The documentation of one key or table.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    /// `mailbox.rule.name`.
    pub(super) path: String,
    /// Its comment, a paragraph a line.
    pub(super) about: String,
}

/// The documented config file, taken apart.
#[derive(Debug, Default)]
pub(super) struct Docs {
    /// Every key and table, in the order of the file.
    pub(super) entries: Vec<Entry>,
    /// A config in which every key stands, with its example where it has one: also those that exclude each other.
    pub(super) specimen: String,
}

/// What a line of the file is.
enum Line<'a> {
    Blank,
    Prose(&'a str),
    /// `---- A heading ----`
    Heading(&'a str),
    /// `Example: key = value`
    Example(&'a str),
    /// `[[table]]` with its path, in force or commented out.
    Table(&'a str, &'a str),
    /// The same of `key = value`, with the key.
    Key(&'a str, &'a str),
}

impl Docs {
    /// Reads the documented config file. A comment belongs to the key or table below it, and to further keys below that one
    /// which have none of their own.
    pub(super) fn of(text: &str) -> Self {
        let mut docs = Self::default();
        let (mut table, mut about, mut example) = (String::new(), String::new(), None);
        // A comment that was used up; the next line of prose begins another.
        let mut used = false;
        for line in text.lines() {
            let line = Line::of(line, table.is_empty());
            if used && matches!(line, Line::Prose(_) | Line::Heading(_) | Line::Example(_)) {
                about.clear();
                used = false;
            }
            match line {
                Line::Blank => about.clear(),
                Line::Prose(text) => join(&mut about, text),
                Line::Heading(text) => paragraph(&mut about, text),
                Line::Example(text) => {
                    paragraph(&mut about, &format!("Example: {text}"));
                    example = Some(text);
                }
                Line::Table(text, path) => {
                    path.clone_into(&mut table);
                    docs.add(path.to_owned(), &about, text);
                    used = true;
                }
                Line::Key(text, key) => {
                    docs.add(format!("{table}.{key}"), &about, example.take().unwrap_or(text));
                    used = true;
                }
            }
        }
        docs
    }

    /// What is said of a key or table.
    pub(super) fn about(&self, path: &str) -> Option<&str> {
        let entry = self.entries.iter().find(|entry| entry.path == path)?;
        Some(entry.about.as_str()).filter(|about| !about.is_empty())
    }

    /// Where it stands in the file.
    pub(super) fn place(&self, path: &str) -> usize {
        self.entries.iter().position(|entry| entry.path == path).unwrap_or(usize::MAX)
    }

    /// Of what is there several times, all comments count for a table, and the first for a key.
    fn add(&mut self, path: String, about: &str, toml: &str) {
        let _ = writeln!(self.specimen, "{toml}");
        match self.entries.iter_mut().find(|entry| entry.path == path) {
            None => self.entries.push(Entry { path, about: about.to_owned() }),
            Some(entry) if toml.starts_with('[') && !about.is_empty() => paragraph(&mut entry.about, about),
            Some(_) => {}
        }
    }
}

impl<'a> Line<'a> {
    /// Above the first table nothing is TOML.
    fn of(line: &'a str, above: bool) -> Self {
        let Some(comment) = line.strip_prefix('#') else {
            return Self::toml(line).unwrap_or(Self::Blank);
        };
        if comment.trim().is_empty() {
            return Self::Blank;
        }
        // `#key = value` is a key without a default, `# key = value` one that takes the place of another.
        if let Some(toml) = Self::toml(comment.trim_start()).filter(|_| !above) {
            return toml;
        }
        let prose = comment.trim();
        if prose.starts_with("----") {
            return Self::Heading(prose.trim_matches(['-', ' ']));
        }
        let example = prose.strip_prefix("Example: ").filter(|text| matches!(Self::toml(text), Some(Self::Key(..))));
        example.map_or(Self::Prose(prose), Self::Example)
    }

    /// A header, or a key of lower-case letters with its value.
    fn toml(text: &'a str) -> Option<Self> {
        if text.starts_with('[') {
            return DeTable::parse(text).is_ok().then(|| Self::Table(text, text.trim_matches(['[', ']'])));
        }
        let (key, _) = text.split_once(" = ")?;
        let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        (plain && DeTable::parse(text).is_ok()).then_some(Self::Key(text, key))
    }
}

fn join(about: &mut String, text: &str) {
    if !about.is_empty() && !about.ends_with('\n') {
        about.push(' ');
    }
    about.push_str(text);
}

fn paragraph(about: &mut String, text: &str) {
    if !about.is_empty() && !about.ends_with('\n') {
        about.push('\n');
    }
    about.push_str(text);
    about.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_belongs_to_what_is_below_it() {
        let docs = Docs::of(
            "# The head: key = 1\n#\n# it goes on\n\n# All of\n# the table.\n[a]\n# Of x,\n# in two lines.\nx = 1\n# Example: y = [2]\n\
             #y = []\n# z = 3\n\nu = 4\n# ---- More ------\n# of it\n#[[b]]\n# key of prose = none\n#v = 'w'\n\n# again\n#[[b]]\n#v = 'x'\n",
        );
        let about: Vec<_> = docs.entries.iter().map(|entry| (entry.path.as_str(), entry.about.as_str())).collect();
        assert_eq!(
            about,
            [
                ("a", "All of the table."),
                ("a.x", "Of x, in two lines."),
                ("a.y", "Example: y = [2]\n"),
                ("a.z", "Example: y = [2]\n"),
                ("a.u", ""),
                ("b", "More\nof it\nagain\n"),
                ("b.v", "key of prose = none"),
            ]
        );
        assert_eq!(docs.specimen, "[a]\nx = 1\ny = [2]\nz = 3\nu = 4\n[[b]]\nv = 'w'\n[[b]]\nv = 'x'\n");
        assert_eq!((docs.about("a.u"), docs.about("nowhere")), (None, None));
        assert!(docs.place("a.x") < docs.place("b.v") && docs.place("b.v") < docs.place("nowhere"));
    }
}
