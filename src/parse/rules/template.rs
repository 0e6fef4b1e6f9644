//! Texts with places to be filled: `{host}/{service|none}`.

use super::values::Values;

/// A text with values in braces. `{name|default}` gives a default for a value that is missing or empty, `{name:lower}` writes
/// it in lower case; `{{` and `}}` stand for braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value(Place),
}

/// A place to be filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) lower: bool,
    pub(super) default: Option<String>,
}

impl Template {
    /// Reads one; why not, for people.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = brace.strip_prefix("{{").or_else(|| brace.strip_prefix("}}")) {
                plain.extend(brace.chars().next());
                rest = after;
                continue;
            }
            let Some(open) = brace.strip_prefix('{') else {
                return Err("a } closes nothing; a brace itself is written }}".into());
            };
            let Some((inside, after)) = open.split_once('}') else {
                return Err("a { is never closed; a brace itself is written {{".into());
            };
            let (name, default) = match inside.split_once('|') {
                Some((name, default)) => (name, Some(default.to_owned())),
                None => (inside, None),
            };
            let (name, lower) = match name.split_once(':') {
                Some((name, "lower")) => (name, true),
                Some(_) => return Err("after a : in braces stands `lower`, and nothing else is known".into()),
                None => (name, false),
            };
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
                return Err("what stands in braces is no name of a capture; a brace itself is written {{".into());
            }
            pieces.extend(Some(std::mem::take(&mut plain)).filter(|text| !text.is_empty()).map(Piece::Text));
            pieces.push(Piece::Value(Place { name: name.to_owned(), lower, default }));
            rest = after;
        }
        plain.push_str(rest);
        pieces.extend(Some(plain).filter(|text| !text.is_empty()).map(Piece::Text));
        Ok(Self { pieces })
    }

    /// The places to be filled.
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Value(place) => Some(place),
            Piece::Text(_) => None,
        })
    }

    /// Its one place, where it has nothing else.
    pub(super) fn only(&self) -> Option<&Place> {
        match self.pieces.as_slice() {
            [Piece::Value(place)] => Some(place),
            _ => None,
        }
    }

    /// With its places filled; a value that is missing is empty.
    pub(super) fn fill(&self, values: &Values<'_>) -> String {
        let mut filled = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Value(Place { name, lower, default }) => match values.get(name).filter(|v| !v.is_empty()) {
                    Some(value) if *lower => filled.push_str(&value.to_lowercase()),
                    Some(value) => filled.push_str(value),
                    None => filled.push_str(default.as_deref().unwrap_or_default()),
                },
            }
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_defaults_and_braces() {
        let mut values = Values::default();
        values.add("host", "db1");
        values.add("empty", "");
        let fill = |text: &str| Template::read(text).unwrap().fill(&values);
        assert_eq!(fill("{host}/{empty|none}/{missing|{x}"), "db1/none/{x");
        assert_eq!(fill("a{{{host}}}b{missing}"), "a{db1}b");
        assert_eq!(fill(""), "");
        assert_eq!(fill("{host|}"), "db1");
        values.add("name", "DB1");
        let fill = |text: &str| Template::read(text).unwrap().fill(&values);
        assert_eq!(fill("{name:lower} {none:lower|X}"), "db1 X");
        assert!(Template::read("{host}").unwrap().only().is_some());
        assert!(Template::read("{host} ").unwrap().only().is_none());
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for (text, says) in [
            ("{host", "never closed"),
            ("host}", "closes nothing"),
            ("{}", "no name"),
            ("{a b}", "no name"),
            ("{a:upper}", "lower"),
        ] {
            let why = Template::read(text).unwrap_err();
            assert!(why.contains(says), "{text}: {why}");
        }
    }
}
