//! Patterns of senders and routes: what routing makes of them decides, and here it is said with its place.

use super::item::Item;
use super::report::quote;
use super::schema::Want;
use crate::route::Pattern;

/// A pattern that compiles; `caseless`: of mail addresses.
pub(super) fn pattern(item: &Item<'_, '_>, caseless: bool) -> Option<Pattern> {
    let text = item.text()?;
    if text.is_empty() || text == "~" {
        return item.fail("is an empty pattern", "write a value, a pattern with * and ?, or \"~REGEX\"");
    }
    match if caseless { Pattern::parse_caseless(text) } else { Pattern::parse(text) } {
        Ok(pattern) => Some(pattern),
        Err(err) => item.fail(
            format!("{} is no regular expression: {}", quote(text), err.why()),
            "after ~ comes an expression of the Rust regex syntax, for the whole value",
        ),
    }
}

/// A pattern of From addresses, in lower case as addresses are compared.
pub(super) fn sender(item: &Item<'_, '_>) -> Option<String> {
    item.wants(Want::like(r"^(~.|\*$|[^~@][^@]*@.)"));
    let text = pattern(item, true)?.to_string();
    if text.starts_with('~') {
        return Some(text);
    }
    // Without an @ it could only match by chance, and nobody would notice that mails are refused.
    let (local, domain) = text.split_once('@').unwrap_or_default();
    if text != "*" && (local.is_empty() || domain.is_empty()) {
        let mended = text.trim_start_matches('@');
        return item.fail(
            format!("{} is no address", quote(&text)),
            format!("write one, or a pattern such as \"*@{mended}\""),
        );
    }
    Some(text.to_lowercase())
}
