//! A strict XML 1.0 reader: `quick-xml` finds the tags, this module checks what it lets pass (one root, legal characters and
//! names, nothing after the root, no DOCTYPE, no entity but the five predefined ones) and bounds what it does not bound.
//! The result is a flat list of nodes, so that nothing recurses however deep the document is.

use quick_xml::NsReader;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::name::ResolveResult;

use super::Limits;
use super::tree::{Doc, Kind, Node};
use crate::model::plays_tricks;

/// Elements and texts in one document: bounds the memory at some 60 MB whatever the mail holds.
const MAX_NODES: usize = 400_000;
/// Namespace declarations in force at once: each element is looked up in all of them.
const MAX_BINDINGS: usize = 256;
/// Different namespaces in one document.
const MAX_SPACES: usize = 256;
/// Longest that the XML reader's own words may be, in characters.
const REASON: usize = 200;

/// Why a text is no document.
#[derive(Debug)]
pub(crate) struct XmlError {
    /// `line N: …`.
    pub(crate) what: String,
    /// What was read before it broke.
    pub(crate) doc: Doc,
}

/// Reads a document. Errors name the line. White space before it is passed over: bodies of mails begin with empty lines.
pub(crate) fn read(text: &str, limits: &Limits) -> Result<Doc, XmlError> {
    let mut builder = Builder::new(limits);
    if let Some(at) = text.find(|c| !legal(c)) {
        let (before, after) = text.split_at(at);
        let line = 1 + before.matches('\n').count();
        let code = after.chars().next().map_or(0, u32::from);
        let what = format!("line {line}: U+{code:04X} is no character that XML allows");
        return Err(XmlError { what, doc: builder.doc });
    }
    let document = text.trim_ascii_start();
    builder.line += newlines(text, 0, text.len() - document.len());
    match builder.run(document) {
        Ok(()) => Ok(builder.doc),
        Err((line, what)) => Err(XmlError { what: format!("line {line}: {what}"), doc: builder.doc }),
    }
}

/// XML 1.0 §2.2 `Char`.
fn legal(c: char) -> bool {
    !matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

struct Builder<'l> {
    limits: &'l Limits,
    doc: Doc,
    /// Indices of the open elements.
    open: Vec<usize>,
    started: bool,
    line: usize,
    /// The last node is a text that may grow.
    in_text: bool,
}

impl<'l> Builder<'l> {
    fn new(limits: &'l Limits) -> Self {
        let doc = Doc { nodes: Vec::new(), spaces: vec![String::new()] };
        Self { limits, doc, open: Vec::new(), started: false, line: 1, in_text: false }
    }

    fn run(&mut self, text: &str) -> Result<(), (usize, String)> {
        let mut reader = NsReader::from_str(text);
        reader.config_mut().check_comments = true;
        reader.resolver_mut().set_max_namespace_bindings(MAX_BINDINGS);
        let mut counted = 0;
        loop {
            let at = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
            self.line += newlines(text, counted, at);
            counted = at;
            let step = match reader.read_resolved_event() {
                Ok((_, Event::Eof)) => return self.finish(),
                Ok((space, event)) => self.event(space, event),
                Err(e) => {
                    let at = usize::try_from(reader.error_position()).unwrap_or(usize::MAX);
                    self.line += newlines(text, counted, at);
                    Err(told(&e))
                }
            };
            step.map_err(|what| (self.line, what))?;
            self.started = true;
        }
    }

    fn event(&mut self, space: ResolveResult<'_>, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::Start(tag) => self.start(space, &tag, false),
            Event::Empty(tag) => self.start(space, &tag, true),
            Event::End(_) => {
                self.close();
                Ok(())
            }
            Event::Text(text) => {
                let content = text.xml10_content();
                if content.contains("]]>") {
                    return Err("`]]>` stands in text; write `]]&gt;`".to_owned());
                }
                self.text(&content, content.contains('\n'))
            }
            Event::CData(text) if self.open.is_empty() => Err(self.outside(&text)),
            Event::GeneralRef(reference) if self.open.is_empty() => Err(self.outside(&format!("&{};", &*reference))),
            Event::CData(text) => self.text(&text.xml10_content(), false),
            Event::GeneralRef(reference) => {
                let c = resolve(&reference)?;
                self.text(c.encode_utf8(&mut [0; 4]), false)
            }
            Event::Decl(_) if self.started => Err("an XML declaration stands behind the start".to_owned()),
            Event::PI(pi) if pi.target().eq_ignore_ascii_case("xml") => {
                Err("`<?xml` stands behind the start".to_owned())
            }
            Event::DocType(_) => Err("it has a DOCTYPE; no alert needs one, and it is refused".to_owned()),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) | Event::Eof => Ok(()),
        }
    }

    fn start(&mut self, space: ResolveResult<'_>, tag: &BytesStart<'_>, empty: bool) -> Result<(), String> {
        let qualified = tag.name();
        let name = qualified.into_inner();
        if self.open.is_empty() && !self.doc.nodes.is_empty() {
            return Err(format!("<{}> stands after the end of the root element", shown(name)));
        }
        if self.open.len() >= self.limits.xml_depth {
            return Err(format!("<{}>: elements are nested more than {} deep", shown(name), self.limits.xml_depth));
        }
        if !is_qualified_name(name) {
            return Err(format!("<{}> is no name of an element", shown(name)));
        }
        let space = match space {
            ResolveResult::Bound(space) => self.intern(space.into_inner())?,
            ResolveResult::Unbound => 0,
            ResolveResult::Unknown(_) => return Err(format!("<{}>: its prefix is not declared", shown(name))),
        };
        let attributes = self.attributes(tag, name)?;
        let name = qualified.local_name().into_inner().to_owned();
        self.push(Kind::Element { space, name, attributes })?;
        self.open.push(self.doc.nodes.len() - 1);
        self.in_text = false;
        if empty {
            self.close();
        }
        Ok(())
    }

    fn attributes(&self, tag: &BytesStart<'_>, name: &str) -> Result<Vec<(String, String)>, String> {
        let fail = |what: String| format!("<{}>: {what}", shown(name));
        if !blanks_between(tag.attributes_raw()) {
            return Err(fail("two attributes stand without a blank between them".to_owned()));
        }
        let mut found = Vec::new();
        for (n, attribute) in tag.attributes().enumerate() {
            if n >= self.limits.attributes {
                return Err(fail(format!("it has more than {} attributes", self.limits.attributes)));
            }
            let attribute = attribute.map_err(|e| fail(told(&e)))?;
            let key = attribute.key.into_inner();
            if !is_qualified_name(key) || attribute.value.contains('<') {
                return Err(fail(format!("attribute {:?} is not well-formed", shown(key))));
            }
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|e| fail(told(&e)))?;
            if !value.chars().all(legal) {
                return Err(fail(format!("attribute {} holds a character that XML forbids", shown(key))));
            }
            if key != "xmlns" && !key.starts_with("xmlns:") {
                found.push((key.to_owned(), value.into_owned()));
            }
        }
        Ok(found)
    }

    fn text(&mut self, text: &str, indents: bool) -> Result<(), String> {
        if self.open.is_empty() {
            return if text.trim_ascii().is_empty() { Ok(()) } else { Err(self.outside(text)) };
        }
        if self.in_text
            && let Some(Node { kind: Kind::Text(grown), .. }) = self.doc.nodes.last_mut()
        {
            grown.push_str(text);
            return Ok(());
        }
        if indents && text.trim_ascii().is_empty() {
            return Ok(());
        }
        self.in_text = true;
        self.push(Kind::Text(text.to_owned()))
    }

    fn outside(&self, text: &str) -> String {
        let place =
            if self.doc.nodes.is_empty() { "before the root element" } else { "after the end of the root element" };
        format!("text stands {place}: {:?}", shown(text.trim()))
    }

    fn push(&mut self, kind: Kind) -> Result<(), String> {
        if self.doc.nodes.len() >= MAX_NODES {
            return Err(format!("it has more than {MAX_NODES} elements and texts"));
        }
        let end = self.doc.nodes.len() + 1;
        let parent = self.open.last().copied().unwrap_or(0);
        self.doc.nodes.push(Node { line: self.line, parent, end, kind });
        Ok(())
    }

    fn close(&mut self) {
        let end = self.doc.nodes.len();
        if let Some(node) = self.open.pop().and_then(|at| self.doc.nodes.get_mut(at)) {
            node.end = end;
        }
        self.in_text = false;
    }

    fn finish(&self) -> Result<(), (usize, String)> {
        match self.open.last().and_then(|at| self.doc.nodes.get(*at)) {
            Some(Node { kind: Kind::Element { name, .. }, line, .. }) => {
                Err((self.line, format!("it ends inside <{}>, which line {line} opens", shown(name))))
            }
            _ if self.doc.nodes.is_empty() => Err((self.line, "there is no element".to_owned())),
            _ => Ok(()),
        }
    }

    fn intern(&mut self, space: &str) -> Result<usize, String> {
        if let Some(at) = self.doc.spaces.iter().rposition(|known| known == space) {
            return Ok(at);
        }
        if self.doc.spaces.len() >= MAX_SPACES {
            return Err(format!("it uses more than {MAX_SPACES} namespaces"));
        }
        self.doc.spaces.push(space.to_owned());
        Ok(self.doc.spaces.len() - 1)
    }
}

fn newlines(text: &str, from: usize, to: usize) -> usize {
    text.as_bytes().get(from..to.min(text.len())).unwrap_or_default().iter().filter(|b| **b == b'\n').count()
}

/// The five predefined entities and character references (XML 1.0 §4.1, §4.6); anything else would need a DOCTYPE.
fn resolve(reference: &BytesRef<'_>) -> Result<char, String> {
    match &**reference {
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "amp" => Ok('&'),
        "apos" => Ok('\''),
        "quot" => Ok('"'),
        name => match reference.resolve_char_ref() {
            Ok(Some(c)) if legal(c) => Ok(c),
            Ok(Some(_)) | Err(_) => Err(format!("`&{};` is no character that XML allows", shown(name))),
            Ok(None) => Err(format!("the entity `&{};` is not defined; write the character itself", shown(name))),
        },
    }
}

/// Is there white space between any two attributes (XML 1.0 §3.1)?
fn blanks_between(raw: &str) -> bool {
    let mut quote: Option<char> = None;
    let mut closed = false;
    for c in raw.chars() {
        if closed && !c.is_ascii_whitespace() {
            return false;
        }
        closed = false;
        match quote {
            Some(q) if c == q => {
                quote = None;
                closed = true;
            }
            Some(_) => {}
            None if matches!(c, '"' | '\'') => quote = Some(c),
            None => {}
        }
    }
    true
}

/// XML 1.0 §2.3 `Name` with at most one colon, as Namespaces in XML §4 wants; the ranges of letters are those of Unicode.
fn is_qualified_name(name: &str) -> bool {
    let part = |part: &str| {
        let mut chars = part.chars();
        chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
            && chars.all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '·' | '\u{300}'..='\u{36f}'))
    };
    match name.split_once(':') {
        Some((prefix, local)) => part(prefix) && part(local),
        None => part(name),
    }
}

/// A piece of the document in a reason: short, and nothing that could harm a terminal.
pub(crate) fn shown(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    short.escape_debug().to_string()
}

/// What the XML reader says of an error. It quotes the document, whole tags of it, as they are.
fn told(error: &impl std::fmt::Display) -> String {
    on_one_line(&error.to_string(), REASON)
}

/// A text for a reason: nothing in it breaks the line or plays tricks, and there is not too much of it.
pub(crate) fn on_one_line(text: &str, most: usize) -> String {
    let escaped = |c: char| if plays_tricks(c) { c.escape_debug().collect() } else { vec![c] };
    let mut short: String = text.chars().take(most).flat_map(escaped).collect();
    if text.chars().nth(most).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::super::tree::El;
    use super::*;

    fn read(text: &str) -> Result<Doc, XmlError> {
        super::read(text, &Limits::default())
    }

    fn why(text: &str) -> String {
        read(text).unwrap_err().what
    }

    #[test]
    fn elements_texts_and_lines() {
        let doc = read(
            "<?xml version='1.0'?>\n<a xmlns='u' x='1&#10;2'>\n<b>one &amp; <![CDATA[<two>]]></b>\n<p:c xmlns:p='v'/>\n</a>\n<!-- end -->\n",
        )
        .unwrap();
        let root = doc.root().unwrap();
        assert_eq!((root.name(), root.space(), root.line()), ("a", "u", 2));
        assert_eq!(root.attributes(), [("x".to_owned(), "1\n2".to_owned())]);
        let children: Vec<_> = root.children().map(|c| (c.name(), c.space(), c.line(), c.text())).collect();
        assert_eq!(children, [("b", "u", 3, "one & <two>".to_owned()), ("c", "v", 4, String::new())]);
    }

    #[test]
    fn what_is_not_well_formed_is_refused_with_its_line() {
        for (text, want) in [
            ("", "line 1: there is no element"),
            ("  \n ", "there is no element"),
            ("<a>\n<b></a>", "line 2"),
            ("<a>\n<b>\n", "line 3: it ends inside <b>, which line 2 opens"),
            ("<a/>\n<b/>", "line 2: <b> stands after the end of the root element"),
            ("<a/>\ntrailing", "text stands after the end of the root element: \"trailing\""),
            ("leading<a/>", "text stands before the root element"),
            ("<a/>&amp;", "text stands after"),
            ("<a/><![CDATA[ ]]>", "text stands after"),
            ("<a>x ]]> y</a>", "`]]>`"),
            ("<a>&nbsp;</a>", "the entity `&nbsp;` is not defined"),
            ("<a>&#0;</a>", "no character that XML allows"),
            ("<a>&#xFFFE;</a>", "no character that XML allows"),
            ("<a b='&#1;'/>", "a character that XML forbids"),
            ("<a b='&x;'/>", "<a>:"),
            ("<a>\n\u{1}</a>", "line 2: U+0001 is no character that XML allows"),
            ("<a>\0</a>", "U+0000"),
            ("<!DOCTYPE a><a/>", "it has a DOCTYPE"),
            ("<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>", "it has a DOCTYPE"),
            ("<a><!DOCTYPE a></a>", "DOCTYPE"),
            ("<a b='1' b='2'/>", "duplicated"),
            ("<a b='1'c='2'/>", "without a blank"),
            ("<a b=1/>", "<a>:"),
            ("<a b/>", "<a>:"),
            ("<a b='<'/>", "not well-formed"),
            ("<1a/>", "no name"),
            ("<a:b:c xmlns:a='u'/>", "no name"),
            ("<p:a/>", "its prefix is not declared"),
            ("<a><!-- -- --></a>", "line 1"),
            ("<a>&</a>", "line 1"),
            ("<a><?xml version='1.0'?></a>", "declaration"),
            ("<!-- --><?xml version='1.0'?><a/>", "declaration"),
            ("<a", "line 1"),
            ("<a><", "line 1"),
        ] {
            assert!(why(text).contains(want), "{text:?}: {}", why(text));
        }
    }

    #[test]
    fn what_is_quoted_stays_on_one_short_line() {
        let broken = format!("<title>UPS 7</ti\u{202e}\u{7f}\r\n{}>", "x".repeat(1000));
        let why = why(&broken);
        assert!(
            why.starts_with("line 1: ill-formed document: expected `</title>`, but `</ti\\u{202e}\\u{7f}\\r\\nxx"),
            "{why}"
        );
        assert!(why.chars().count() < 300, "{why}");
    }

    #[test]
    fn hostile_documents_are_bounded() {
        let deep = "<a>".repeat(10_000) + &"</a>".repeat(10_000);
        assert!(why(&deep).contains("nested more than 64 deep"));
        let wide: String = (0..100_000).map(|n| format!(" a{n}='x'")).collect();
        assert!(why(&format!("<a{wide}/>")).contains("more than 64 attributes"));
        let many = format!("<a>{}</a>", "<b/>".repeat(MAX_NODES));
        assert!(why(&many).contains("more than 400000 elements"));
        let spaces: String = (0..60).map(|n| format!(" xmlns:a{n}='{n}'")).collect();
        let nested = format!("<a{spaces}>").repeat(60);
        assert!(read(&nested).is_err());
    }

    #[test]
    fn the_root_is_known_even_where_the_rest_is_broken() {
        let doc = read("<x xmlns='u'><y></x>").unwrap_err().doc;
        let root = doc.root().unwrap();
        assert_eq!((root.space(), root.name()), ("u", "x"));
    }

    #[test]
    fn outermost_elements_are_found_at_any_depth() {
        let doc = read("<r><x><a>1<a>2</a></a></x><a>3</a></r>").unwrap();
        let texts: Vec<_> = doc.root().unwrap().outermost(|e| e.name() == "a").iter().map(El::text).collect();
        assert_eq!(texts, ["12", "3"]);
    }
}
