//! The stream as the session uses it: a queue of elements to write, and reading that never waits for it.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::{Sink, Stream};
use tokio::time::Instant;
use tokio_xmpp::xmlstream::ReadError;
use xmpp_parsers::minidom::Element;

use super::connect::Link;
use super::node::Node;

/// A stream and what is to be written to it.
pub struct Wire {
    link: Link,
    out: VecDeque<Arc<Element>>,
    unflushed: bool,
    /// When something to write was last added to an idle wire.
    busy_since: Instant,
}

impl Wire {
    /// Over a stream that is signed in.
    pub fn new(link: Link) -> Self {
        Self { link, out: VecDeque::new(), unflushed: false, busy_since: Instant::now() }
    }

    /// Queues an element; `poll_write` writes it.
    pub fn push(&mut self, element: Arc<Element>) {
        if !self.busy() {
            self.busy_since = Instant::now();
        }
        self.out.push_back(element);
    }

    /// Elements not yet handed to the stream.
    pub fn queued(&self) -> usize {
        self.out.len()
    }

    fn busy(&self) -> bool {
        self.unflushed || !self.out.is_empty()
    }

    /// Since when the server has taken nothing, though there is something to write.
    pub fn stuck_since(&self) -> Option<Instant> {
        self.busy().then(|| self.busy_since.max(self.link.get_stream().get_ref().wrote))
    }

    /// When the server last sent something.
    pub fn heard(&self) -> Instant {
        self.link.get_stream().get_ref().heard
    }

    /// Writes what is queued, as far as it goes without waiting; ready when all of it has left.
    pub fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(element) = self.out.front() {
            ready!(Sink::<&Element>::poll_ready(Pin::new(&mut self.link), cx))?;
            Sink::<&Element>::start_send(Pin::new(&mut self.link), element)?;
            self.out.pop_front();
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Sink::<&Element>::poll_flush(Pin::new(&mut self.link), cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// The next element that the server sent.
    pub fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Node, ReadError>>> {
        Pin::new(&mut self.link).poll_next(cx)
    }

    /// Ends the stream on our side: `</stream:stream>`, and TLS's own end.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.link).poll_shutdown(cx)
    }
}
