//! Events on their way to dispatch, so that a slow dispatch never stops the stream.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll};

use tokio::sync::mpsc::Sender;
use tokio_util::sync::PollSender;

use crate::dispatch::Event;

/// Events that wait here, beyond those in the channel, before the session stops reading from the server.
const MANY: usize = 4096;

/// The session's end of the event channel.
pub struct Outbox {
    sender: PollSender<Event>,
    waiting: VecDeque<Event>,
}

impl Outbox {
    /// Onto this channel.
    pub fn new(sender: Sender<Event>) -> Self {
        Self { sender: PollSender::new(sender), waiting: VecDeque::new() }
    }

    /// Queues an event; never blocks.
    pub fn push(&mut self, event: Event) {
        self.waiting.push_back(event);
    }

    /// Is dispatch so far behind that nothing more should be read?
    pub fn full(&self) -> bool {
        self.waiting.len() >= MANY
    }

    /// Moves on what the channel takes; wakes the task when it takes more.
    pub fn poll_pump(&mut self, cx: &mut Context<'_>) {
        while !self.waiting.is_empty() {
            match self.sender.poll_reserve(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) => {
                    if let Some(event) = self.waiting.pop_front() {
                        // It was reserved: only a receiver that is gone refuses, and the next turn sees that.
                        let _ = self.sender.send_item(event);
                    }
                }
                // Nobody listens any more: the process is about to end.
                Poll::Ready(Err(_)) => self.waiting.clear(),
            }
        }
    }

    /// Moves events on for ever, while something else is awaited.
    pub async fn pump(&mut self) -> std::convert::Infallible {
        poll_fn(|cx| {
            self.poll_pump(cx);
            Poll::Pending
        })
        .await
    }

    /// Moves on all that waits.
    pub async fn drain(&mut self) {
        poll_fn(|cx| {
            self.poll_pump(cx);
            if self.waiting.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;

    fn event(n: usize) -> Event {
        Event::Down { reason: n.to_string() }
    }

    #[tokio::test]
    async fn events_keep_their_order_however_slow_the_reader_is() {
        let (sender, mut receiver) = mpsc::channel(2);
        let mut outbox = Outbox::new(sender);
        (0..MANY).for_each(|n| outbox.push(event(n)));
        assert!(outbox.full());
        let reader = tokio::spawn(async move {
            let mut seen = Vec::new();
            while let Some(event) = receiver.recv().await {
                seen.push(event);
            }
            seen
        });
        tokio::time::timeout(Duration::from_secs(10), outbox.drain()).await.unwrap();
        assert!(!outbox.full());
        drop(outbox);
        assert_eq!(reader.await.unwrap(), (0..MANY).map(event).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_reader_that_is_gone_stops_nothing() {
        let (sender, receiver) = mpsc::channel(1);
        drop(receiver);
        let mut outbox = Outbox::new(sender);
        outbox.push(event(1));
        outbox.push(event(2));
        tokio::time::timeout(Duration::from_secs(10), outbox.drain()).await.unwrap();
    }
}
