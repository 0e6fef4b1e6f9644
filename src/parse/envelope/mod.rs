//! Envelopes: documents that only carry others. SOAP 1.1 and 1.2 say nothing of their contents, and count as if they were
//! not there; EDXL-DE ([`edxl`]) does.

pub(crate) mod edxl;

use super::tree::El;

/// SOAP 1.1 and 1.2.
const SOAP: [&str; 2] = ["http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope"];
/// Envelopes in envelopes.
const MAX_NESTED: usize = 4;

/// A kind of envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// SOAP.
    Soap,
    /// EDXL-DE 1.0 or 2.0.
    Edxl,
}

impl Kind {
    /// Its name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Soap => "SOAP",
            Self::Edxl => "EDXL-DE",
        }
    }
}

/// The envelope that a root element of this name and namespace is.
pub(crate) fn kind(name: &str, space: &str) -> Option<Kind> {
    if name == "Envelope" && SOAP.contains(&space) {
        Some(Kind::Soap)
    } else {
        edxl::is_root(name, space).then_some(Kind::Edxl)
    }
}

/// What is inside envelopes, in the order of the document.
#[derive(Default)]
pub(crate) struct Contents<'d> {
    /// What can be read.
    pub(crate) found: Vec<Content<'d>>,
    /// Why the rest was left out.
    pub(crate) left_out: Vec<String>,
}

/// One thing in an envelope.
pub(crate) struct Content<'d> {
    /// The thing.
    pub(crate) what: What<'d>,
    /// The distributions that it came in, outermost first.
    pub(crate) around: Vec<edxl::Around>,
}

/// An element, or a text that is a document of its own.
pub(crate) enum What<'d> {
    /// The root of what is inside.
    Element(El<'d>),
    /// A document, the element that it stands in, and what was bent to decode it.
    Text(String, El<'d>, Option<String>),
}

/// Unpacks a root element: it itself, where it is no envelope.
pub(crate) fn contents<'d>(root: El<'d>, around: &[edxl::Around]) -> Contents<'d> {
    let mut contents = Contents::default();
    let first = Content { what: What::Element(root), around: around.to_vec() };
    // Last in, first out: what is inside is put there in reverse.
    let mut work = vec![(first, 0)];
    while let Some((content, depth)) = work.pop() {
        let What::Element(el) = content.what else {
            contents.found.push(content);
            continue;
        };
        let inside = match kind(el.name(), el.space()).filter(|_| depth < MAX_NESTED) {
            None => {
                contents.found.push(content);
                continue;
            }
            Some(Kind::Soap) => soap(&el, &content.around),
            Some(Kind::Edxl) => edxl::open(&el, &content.around, &mut contents.left_out),
        };
        work.extend(inside.into_iter().rev().map(|inner| (inner, depth + 1)));
    }
    contents
}

/// What stands in the Body (SOAP 1.2 §5.3).
fn soap<'d>(envelope: &El<'d>, around: &[edxl::Around]) -> Vec<Content<'d>> {
    let bodies = envelope.children().filter(|child| child.name() == "Body" && child.space() == envelope.space());
    let inside = bodies.flat_map(|body| body.children());
    inside.map(|el| Content { what: What::Element(el), around: around.to_vec() }).collect()
}

#[cfg(test)]
mod tests;
