//! Building XML by hand: values are escaped by the writer, and characters that XML 1.0 forbids never get in.

use xmpp_parsers::minidom::rxml::{Namespace, NcName};
use xmpp_parsers::minidom::{Element, Node};

/// The client namespace (RFC 6120 §4.8.3).
pub const CLIENT: &str = "jabber:client";

/// An element under construction.
#[derive(Debug, Clone)]
pub struct Xml(Element);

impl Xml {
    /// An empty element.
    pub fn new(name: &str, ns: &str) -> Self {
        Self(Element::builder(name, ns).build())
    }

    /// With an attribute. Names are ours; values may be anything.
    pub fn attr(mut self, name: &str, value: &str) -> Self {
        // Only a name that is no XML name fails here, and all names are literals of ours.
        if let Ok(name) = NcName::try_from(name) {
            self.0.set_attr(Namespace::NONE, name, clean(value));
        }
        self
    }

    /// With an attribute, where there is a value for it.
    pub fn attr_opt(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.attr(name, value),
            None => self,
        }
    }

    /// With a text node.
    pub fn text(mut self, text: &str) -> Self {
        self.0.append_node(Node::Text(clean(text)));
        self
    }

    /// With a child.
    pub fn child(mut self, child: impl Into<Element>) -> Self {
        self.0.append_child(child.into());
        self
    }

    /// The element.
    pub fn build(self) -> Element {
        self.0
    }
}

impl From<Xml> for Element {
    fn from(xml: Xml) -> Self {
        xml.0
    }
}

/// The defined condition and the text of an error element (RFC 6120 §4.9, §6.5, §8.3): its children in `ns`.
pub fn condition(error: &Element, ns: &str) -> (String, Option<String>) {
    let in_ns = || error.children().filter(|c| c.ns() == ns);
    let condition = in_ns().find(|c| c.name() != "text").map_or("undefined-condition", Element::name);
    let text = in_ns().find(|c| c.name() == "text").map(Element::text).filter(|t| !t.trim().is_empty());
    (cut(condition, 64).0.to_owned(), text.map(|t| cut(&t, 1000).0.to_owned()))
}

/// Text without the characters that XML 1.0 §2.2 forbids; each becomes U+FFFD, so that a reader sees that something was
/// there. Carriage returns become line feeds, as every XML parser would make of them.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' => {
                if chars.peek() != Some(&'\n') {
                    out.push('\n');
                }
            }
            '\t' | '\n' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'.. => out.push(c),
            _ => out.push(char::REPLACEMENT_CHARACTER),
        }
    }
    out
}

/// At most `limit` bytes of `text` as it will stand in the XML, with every escape counted; says whether it was cut.
pub fn cut(text: &str, limit: usize) -> (&str, bool) {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += match c {
            '<' | '>' | '&' | '"' | '\'' | '\r' => 6,
            _ => c.len_utf8(),
        };
        if used > limit {
            return (text.get(..at).unwrap_or_default(), true);
        }
    }
    (text, false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forbidden_characters_never_get_in() {
        assert_eq!(
            clean("a\u{0}b\u{B}c\u{FFFE}\u{FFFF}d\te\r\nf\rg😀"),
            "a\u{FFFD}b\u{FFFD}c\u{FFFD}\u{FFFD}d\te\nf\ng😀"
        );
    }

    #[test]
    fn cutting_counts_escapes_and_respects_characters() {
        assert_eq!(cut("abc", 3), ("abc", false));
        assert_eq!(cut("abcd", 3), ("abc", true));
        assert_eq!(cut("aä", 2), ("a", true));
        assert_eq!(cut("a&b", 7), ("a&", true));
    }

    proptest! {
        #[test]
        fn what_is_built_reads_back(text in any::<String>(), value in any::<String>()) {
            let element = Xml::new("body", CLIENT).attr("id", &value).text(&text).build();
            let read: Element = String::from(&element).parse().unwrap();
            prop_assert_eq!(read.text(), clean(&text));
            prop_assert_eq!(read.children().count(), 0);
        }

        #[test]
        fn a_cut_is_a_prefix_within_the_limit(text in any::<String>(), limit in 0usize..200) {
            let (kept, was_cut) = cut(&text, limit);
            prop_assert!(text.starts_with(kept));
            prop_assert!(kept.len() <= limit);
            prop_assert_eq!(was_cut, kept.len() < text.len());
        }
    }
}
