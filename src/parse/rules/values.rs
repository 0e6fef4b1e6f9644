//! What a rule found in one mail, by name.

use std::borrow::Cow;

/// Most `key="value"` pairs of one text that are read.
const MAX_PAIRS: usize = 64;
/// Before the name of a pair, in a template.
pub(super) const PAIR: &str = "pair.";

/// Values by name; of two with one name the first counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Values<'m> {
    values: Vec<(Cow<'m, str>, Cow<'m, str>)>,
}

impl<'m> Values<'m> {
    /// Adds a value without the blanks around it.
    pub(super) fn add(&mut self, name: impl Into<Cow<'m, str>>, value: impl Into<Cow<'m, str>>) {
        let value = match value.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
            Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
        };
        self.values.push((name.into(), value));
    }

    /// These values, and those of `others` where these have none.
    pub(super) fn followed_by<'o>(self, others: &Values<'o>) -> Values<'o>
    where
        'm: 'o,
    {
        let mut values: Vec<_> = self.values;
        values.extend(others.values.iter().cloned());
        Values { values }
    }

    /// The value of a name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_ref())
    }
}

/// The `key="value"` and `key=value` pairs of a text, in order; inside quotes, `\` takes the next character as it is. What
/// is no pair is passed over.
pub(super) fn pairs(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('=')
        && found.len() < MAX_PAIRS
    {
        let (before, after) = (rest.get(..at).unwrap_or_default(), rest.get(at + 1..).unwrap_or_default());
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let start = before.rfind(|c: char| !named(c)).map_or(0, |n| n + before.get(n..).map_or(1, first_len));
        let name = before.get(start..).unwrap_or_default();
        let (value, tail) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let end = after.find(char::is_whitespace).unwrap_or(after.len());
                let (value, tail) = after.split_at(end);
                (value.to_owned(), tail)
            }
        };
        if !name.is_empty() {
            found.push((name.to_owned(), value));
        }
        rest = tail;
    }
    found
}

fn first_len(text: &str) -> usize {
    text.chars().next().map_or(1, char::len_utf8)
}

/// What stands before the closing quote, and what comes behind it.
fn unquoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, text.get(at + 1..).unwrap_or_default()),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            _ => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> Vec<String> {
        pairs(text).into_iter().map(|(name, value)| format!("{name}:{value}")).collect()
    }

    #[test]
    fn pairs_of_all_kinds() {
        assert_eq!(seen(r#"a="x y" b=z c="say \"hi\" \\" d="""#), ["a:x y", "b:z", r#"c:say "hi" \"#, "d:"]);
        assert_eq!(seen(r#"cut="never closed"#), ["cut:never closed"]);
        assert_eq!(seen("= x= ü=y éa=1 ==b"), ["x:", "a:1"]);
        assert_eq!(seen(&"a=1 ".repeat(1000)).len(), MAX_PAIRS);
        assert_eq!(seen("no pair here"), [""; 0]);
    }

    #[test]
    fn the_first_value_counts_and_blanks_do_not() {
        let mut values = Values::default();
        values.add("a", " 1 ");
        values.add("a", "2");
        assert_eq!((values.get("a"), values.get("b")), (Some("1"), None));
    }
}
