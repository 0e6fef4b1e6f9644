//! Reading stream elements within bounds.
//!
//! Whatever a stranger may send to the bot's address arrives here. A stanza of ten thousand nested elements would overflow
//! the stack of a recursive reader, and one of a hundred thousand siblings would cost a hundred times its size in memory.
//! This reader keeps a stack of its own and gives up on an element, not on the stream, when it grows beyond the limits.

use xmpp_parsers::minidom::Element;
use xmpp_parsers::minidom::rxml::{AttrMap, Event, QName};
use xso::error::{Error, FromEventsError};
use xso::{Context, FromEventsBuilder, FromXml};

/// Deepest nesting that is kept; XMPP stanzas in use have fewer than ten levels.
const MAX_DEPTH: usize = 32;
/// Most elements in one stanza: a roster of 20,000 contacts with a group each still fits.
const MAX_ELEMENTS: usize = 50_000;
/// Most bytes of names, attributes and text in one stanza.
const MAX_BYTES: usize = 4 << 20;

/// One element directly under `<stream:stream>`.
#[derive(Debug)]
pub enum Node {
    /// As it came.
    Element(Element),
    /// It was beyond the limits and its content was thrown away; the stream goes on.
    TooBig(Element),
}

impl Node {
    /// The element, without its content where that was too big.
    pub fn element(&self) -> &Element {
        match self {
            Self::Element(element) | Self::TooBig(element) => element,
        }
    }
}

impl FromXml for Node {
    type Builder = Builder;

    fn from_events(name: QName, attrs: AttrMap, _: &Context<'_>) -> Result<Builder, FromEventsError> {
        let bytes = size(&name, &attrs);
        Ok(Builder { open: vec![element(name, attrs)], depth: 1, elements: 1, bytes, too_big: false })
    }
}

/// Builds a [`Node`].
#[derive(Debug)]
pub struct Builder {
    /// The open elements, outermost first; only the outermost once it is too big.
    open: Vec<Element>,
    depth: usize,
    elements: usize,
    bytes: usize,
    too_big: bool,
}

impl Builder {
    fn check(&mut self) {
        if self.depth > MAX_DEPTH || self.elements > MAX_ELEMENTS || self.bytes > MAX_BYTES {
            self.too_big = true;
            self.open.truncate(1);
            if let Some(root) = self.open.first_mut() {
                root.take_nodes();
            }
        }
    }

    fn close(&mut self) -> Option<Node> {
        self.depth -= 1;
        if self.depth > 0 && self.too_big {
            return None;
        }
        let closed = self.open.pop()?;
        match self.open.last_mut() {
            Some(parent) => {
                parent.append_child(closed);
                None
            }
            None if self.too_big => Some(Node::TooBig(closed)),
            None => Some(Node::Element(closed)),
        }
    }
}

impl FromEventsBuilder for Builder {
    type Output = Node;

    fn feed(&mut self, event: Event, _: &Context<'_>) -> Result<Option<Node>, Error> {
        match event {
            Event::StartElement(_, name, attrs) => {
                self.depth += 1;
                if !self.too_big {
                    self.elements += 1;
                    self.bytes += size(&name, &attrs);
                    self.open.push(element(name, attrs));
                    self.check();
                }
            }
            Event::Text(_, text) => {
                if !self.too_big {
                    self.bytes += text.len();
                    if let Some(open) = self.open.last_mut() {
                        open.append_text(text);
                    }
                    self.check();
                }
            }
            Event::EndElement(_) => return Ok(self.close()),
            Event::XmlDeclaration(..) => {}
        }
        Ok(None)
    }
}

fn element(name: QName, attrs: AttrMap) -> Element {
    let mut builder = Element::builder(name.1, name.0);
    for ((ns, name), value) in attrs {
        builder = builder.attr_ns(ns, name, value);
    }
    builder.build()
}

fn size(name: &QName, attrs: &AttrMap) -> usize {
    name.1.len() + attrs.iter().map(|((_, name), value)| name.len() + value.len()).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use tokio::io::{AsyncWriteExt, BufStream};
    use tokio_xmpp::xmlstream::{ReadError, StreamHeader, Timeouts, initiate_stream};

    use super::*;

    /// Feeds a server's stream to a client and gives what it reads until the stream ends.
    async fn read(stanzas: String) -> Vec<Result<Node, ReadError>> {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move {
            let header = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
                xmlns:stream='http://etherx.jabber.org/streams' version='1.0' id='1'>";
            theirs.write_all(header.as_bytes()).await.unwrap();
            theirs.write_all(stanzas.as_bytes()).await.unwrap();
            theirs.write_all(b"</stream:stream>").await.unwrap();
            let mut rest = Vec::new();
            tokio::io::AsyncReadExt::read_to_end(&mut theirs, &mut rest).await.unwrap();
        });
        let header = StreamHeader { to: Some("example.test".into()), ..StreamHeader::default() };
        let pending =
            initiate_stream(BufStream::new(ours), "jabber:client", header, Timeouts::default()).await.unwrap();
        let mut stream = pending.skip_features::<Node>();
        let mut out = Vec::new();
        while let Some(item) = stream.next().await {
            let end = item.is_err();
            out.push(item);
            if end {
                break;
            }
        }
        out
    }

    #[tokio::test]
    async fn elements_arrive_as_they_are() {
        let items = read(
            "<message id='a&amp;b'><body>x &lt; y<![CDATA[<z>]]></body><b xmlns='urn:b'><c/></b></message>".into(),
        );
        let items = items.await;
        let Ok(Node::Element(message)) = &items[0] else { panic!("{items:?}") };
        assert_eq!(message.attr("id"), Some("a&b"));
        assert_eq!(message.get_child("body", "jabber:client").unwrap().text(), "x < y<z>");
        assert!(message.get_child("b", "urn:b").unwrap().has_child("c", "urn:b"));
        assert!(matches!(items[1], Err(ReadError::StreamFooterReceived)));
    }

    #[tokio::test]
    async fn what_is_too_big_costs_only_itself() {
        let deep = format!("<message id='deep'>{}{}</message>", "<a>".repeat(10_000), "</a>".repeat(10_000));
        let wide = format!("<message id='wide'>{}</message>", "<a/>".repeat(MAX_ELEMENTS));
        let long = format!("<message id='long'><body>{}</body></message>", "x".repeat(MAX_BYTES));
        let items = read(format!("{deep}{wide}{long}<message id='next'><body>x</body></message>")).await;
        for (item, id) in items.iter().zip(["deep", "wide", "long"]) {
            let Ok(Node::TooBig(element)) = item else { panic!("{id}: {item:?}") };
            assert_eq!(element.attr("id"), Some(id));
            assert_eq!(element.nodes().count(), 0);
        }
        let Ok(Node::Element(next)) = &items[3] else { panic!("{:?}", items[3]) };
        assert_eq!(next.attr("id"), Some("next"));
    }

    #[tokio::test]
    async fn thirty_levels_are_kept() {
        let levels = MAX_DEPTH - 1;
        let items = read(format!("<message>{}{}</message>", "<a>".repeat(levels), "</a>".repeat(levels))).await;
        assert!(matches!(items[0], Ok(Node::Element(_))));
    }
}
