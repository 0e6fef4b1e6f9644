//! A document as the reader leaves it: a flat list of nodes, and elements as views into it.

/// A well-formed document.
#[derive(Debug)]
pub(crate) struct Doc {
    pub(super) nodes: Vec<Node>,
    pub(super) spaces: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    /// Index of the element that it stands in; of the root, its own.
    pub(super) parent: usize,
    /// Index behind the last node inside this one.
    pub(super) end: usize,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Element { space: usize, name: String, attributes: Vec<(String, String)> },
    Text(String),
}

/// One element of a document.
#[derive(Debug, Clone, Copy)]
pub(crate) struct El<'d> {
    doc: &'d Doc,
    at: usize,
}

impl Doc {
    /// The root element.
    pub(crate) fn root(&self) -> Option<El<'_>> {
        (!self.nodes.is_empty()).then_some(El { doc: self, at: 0 })
    }
}

impl<'d> El<'d> {
    /// The element with this index.
    pub(crate) fn of(doc: &'d Doc, at: usize) -> Self {
        Self { doc, at }
    }

    /// Its document, and its index in it.
    pub(crate) fn place(&self) -> (&'d Doc, usize) {
        (self.doc, self.at)
    }

    /// The outermost elements inside it, or it itself, for which `wanted` says yes, in order.
    pub(crate) fn outermost(&self, wanted: impl Fn(&El<'_>) -> bool) -> Vec<El<'d>> {
        let mut found = Vec::new();
        let mut at = self.at;
        let end = self.node().map_or(0, |n| n.end);
        while let Some(node) = self.doc.nodes.get(at).filter(|_| at < end) {
            let el = El { doc: self.doc, at };
            if matches!(node.kind, Kind::Element { .. }) && wanted(&el) {
                found.push(el);
                at = node.end.max(at + 1);
            } else {
                at += 1;
            }
        }
        found
    }

    fn node(&self) -> Option<&'d Node> {
        self.doc.nodes.get(self.at)
    }

    /// Local name.
    pub(crate) fn name(&self) -> &'d str {
        match self.node().map(|n| &n.kind) {
            Some(Kind::Element { name, .. }) => name,
            _ => "",
        }
    }

    /// Namespace; empty where there is none.
    pub(crate) fn space(&self) -> &'d str {
        match self.node().map(|n| &n.kind) {
            Some(Kind::Element { space, .. }) => self.doc.spaces.get(*space).map_or("", String::as_str),
            _ => "",
        }
    }

    /// Line of its start tag, from 1.
    pub(crate) fn line(&self) -> usize {
        self.node().map_or(0, |n| n.line)
    }

    /// Attributes by their qualified name, without namespace declarations.
    pub(crate) fn attributes(&self) -> &'d [(String, String)] {
        match self.node().map(|n| &n.kind) {
            Some(Kind::Element { attributes, .. }) => attributes,
            _ => &[],
        }
    }

    /// Elements right inside it.
    pub(crate) fn children(&self) -> impl Iterator<Item = Self> + use<'d> {
        let doc = self.doc;
        let end = self.node().map_or(0, |n| n.end);
        let mut next = self.at + 1;
        std::iter::from_fn(move || {
            while next < end {
                let at = next;
                let node = doc.nodes.get(at)?;
                next = node.end.max(at + 1);
                if matches!(node.kind, Kind::Element { .. }) {
                    return Some(Self { doc, at });
                }
            }
            None
        })
    }

    /// All text inside it, also that of elements in it; without the white space around.
    pub(crate) fn text(&self) -> String {
        let end = self.node().map_or(0, |n| n.end);
        let inside = self.doc.nodes.get(self.at + 1..end).unwrap_or_default();
        let mut text = String::new();
        for node in inside {
            if let Kind::Text(piece) = &node.kind {
                text.push_str(piece);
            }
        }
        text.trim().to_owned()
    }
}
