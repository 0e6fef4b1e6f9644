//! Patterns of senders and routes: exact, `*` `?`, or `~` and a regular expression for the whole value.

use super::item::Item;
use super::report::quote;

/// A pattern that compiles.
pub(super) fn pattern<'r>(item: &Item<'r, '_>) -> Option<&'r str> {
    let text = item.text()?;
    if text.is_empty() || text == "~" {
        return item.fail("is an empty pattern", "write a value, a pattern with * and ?, or \"~REGEX\"");
    }
    let Some(expression) = text.strip_prefix('~') else { return Some(text) };
    // Alone first: `a)|(b` would be well-formed inside the group.
    let compiled = regex::Regex::new(expression).and_then(|_| regex::Regex::new(&format!("^(?:{expression})$")));
    match compiled {
        Ok(_) => Some(text),
        Err(err) => item.fail(
            format!("{} is no regular expression: {}", quote(text), reason(&err)),
            "after ~ comes an expression of the Rust regex syntax, for the whole value",
        ),
    }
}

/// The last line; the others draw the expression with a mark under it.
fn reason(err: &regex::Error) -> String {
    match err {
        regex::Error::Syntax(text) => {
            text.lines().last().unwrap_or_default().trim_start_matches("error: ").trim().to_owned()
        }
        regex::Error::CompiledTooBig(_) => "it is too large".into(),
        other => other.to_string(),
    }
}

/// Is it an exact value rather than a pattern?
pub(super) fn exact(text: &str) -> bool {
    !text.starts_with('~') && !text.contains(['*', '?'])
}

/// A pattern of From addresses, in lower case as addresses are compared.
pub(super) fn sender(item: &Item<'_, '_>) -> Option<String> {
    let text = pattern(item)?;
    if text.starts_with('~') {
        return Some(text.to_owned());
    }
    // Without an @ it could only match by chance, and nobody would notice that mails are refused.
    let (local, domain) = text.split_once('@').unwrap_or_default();
    if text != "*" && (local.is_empty() || domain.is_empty()) {
        let mended = text.trim_start_matches('@');
        return item
            .fail(format!("{} is no address", quote(text)), format!("write one, or a pattern such as \"*@{mended}\""));
    }
    Some(text.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_a_bad_expression_is_one_line() {
        let bad = String::from("db[");
        let err = regex::Regex::new(&bad).unwrap_err();
        assert_eq!(reason(&err), "unclosed character class");
    }

    #[test]
    fn exact_values_hold_no_pattern() {
        assert!(exact("db1") && !exact("db*") && !exact("db?") && !exact("~db"));
    }
}
