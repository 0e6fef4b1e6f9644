//! One session on one stream, from the login to its end.
//!
//! Invariants:
//! - Reading never waits for writing: both are polled in one turn, and what is to be written waits in a queue.
//! - Letters are taken over only while the session is up; each stands in the ledger until the server acknowledged it.
//! - What dispatch does not fetch waits in the outbox; when that is full, nothing more is read, but all else goes on.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_xmpp::xmlstream::ReadError;
use xmpp_parsers::minidom::Element;

use super::connect::is_stream_error;
use super::core::Core;
use super::failure::Failure;
use super::node::Node;
use super::rooms::{self, Todo};
use super::sm::{Carried, Sent};
use super::wire::Wire;
use super::{Change, stanza};
use crate::dispatch::{Event, Letter};
use crate::model::{Doubt, Epoch};

/// Stanzas that are gathered before they are written in one go.
const BURST: usize = 64;
/// With stream management the server is asked after so many: while it works on the second half of the window, the first is
/// acknowledged and more is made ready.
const ASK_AFTER: usize = 32;
/// Answers that may wait for a server that does not read, before we stop reading as well.
const MAX_QUEUED: usize = 1024;
/// Time for a polite end: what is written and acknowledged, and the closing of the stream.
const LAST_WORDS: Duration = Duration::from_millis(600);
const CLOSING: Duration = Duration::from_millis(300);

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    /// Why; `None`: we were asked to end.
    pub failure: Option<Failure>,
    /// How long it had been up, if it was.
    pub up: Option<Duration>,
}

/// What the session waits for.
enum Step {
    Letter(Letter),
    Change(Change),
    LookUp(Epoch, Vec<Doubt>),
    Read(Option<Result<Node, ReadError>>),
    WriteFailed(std::io::Error),
    Tick,
    Cancelled,
}

pub(super) enum Phase {
    /// The roster is on its way.
    Loading {
        id: String,
        until: Instant,
    },
    Up {
        since: Instant,
    },
}

/// The server was asked for a sign of life.
pub(super) struct Asked {
    at: Instant,
    /// The ping's id, and the number of the last stanza before it was answered; `None` with stream management.
    pub(super) ping: Option<(String, u32)>,
}

/// A session on a stream.
pub struct Session<'a> {
    pub(super) core: &'a mut Core,
    pub(super) wire: Wire,
    /// The server acknowledges by XEP-0198.
    managed: bool,
    pub(super) phase: Phase,
    pub(super) asked: Option<Asked>,
    /// The roster was asked for once more, for who is new since a reload.
    pub(super) look_up: Option<String>,
    /// Stanzas, and letters among them, since the server was last asked.
    unasked: usize,
    unasked_letters: usize,
    /// When reading was last held back: silence counts from then.
    held_back: Instant,
}

impl<'a> Session<'a> {
    /// A new session: the roster first (RFC 6121 §2.2).
    pub fn begin(core: &'a mut Core, wire: Wire, managed: bool) -> Self {
        let id = format!("roster-{:08x}", rand::random::<u32>());
        let until = Instant::now() + core.settings.connect_timeout;
        let mut session = Self::on(core, wire, managed, Phase::Loading { id: id.clone(), until });
        session.send(stanza::roster_get(&id), None);
        session
    }

    /// The old session on a new stream: what the server had not handled is written again.
    pub fn resume(core: &'a mut Core, wire: Wire) -> Self {
        let mut session = Self::on(core, wire, true, Phase::Up { since: Instant::now() });
        for sent in session.core.ledger.unacked() {
            session.wire.push(sent.stanza.clone());
            session.unasked += 1;
            session.unasked_letters += usize::from(sent.letter.is_some());
        }
        session.core.outbox.push(Event::Up { resumed: true });
        let todo = session.core.rooms.resume(Instant::now());
        session.take(todo);
        session.core.gate.open();
        session.look_up_new();
        session
    }

    fn on(core: &'a mut Core, wire: Wire, managed: bool, phase: Phase) -> Self {
        let held_back = Instant::now();
        Self { core, wire, managed, phase, asked: None, look_up: None, unasked: 0, unasked_letters: 0, held_back }
    }

    /// Until the stream ends, or `cancel`.
    pub async fn run(mut self, cancel: &CancellationToken) -> Ended {
        let longest = Duration::from_secs(if self.core.rooms.any() { 1 } else { 5 });
        let period = (self.core.settings.ping_after / 8).clamp(Duration::from_millis(20), longest);
        let mut tick = interval(period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut alarm = pin!(sleep_until(Instant::now()));
        let mut cancelled = pin!(cancel.cancelled());
        let failure = loop {
            let step = poll_fn(|cx| self.poll_step(cx, cancelled.as_mut(), &mut tick, alarm.as_mut())).await;
            let result = match step {
                Step::Cancelled => break None,
                Step::Letter(letter) => {
                    self.letter(&letter);
                    Ok(())
                }
                Step::Change(change) => {
                    let (_, todo) = self.core.change(change, matches!(self.phase, Phase::Up { .. }));
                    self.take(todo);
                    self.look_up_new();
                    Ok(())
                }
                Step::LookUp(epoch, doubts) => {
                    self.core.archive.begin(epoch, doubts, Instant::now());
                    Ok(())
                }
                Step::Read(node) => self.read(node),
                Step::Tick => self.check(Instant::now()),
                Step::WriteFailed(err) => Err(self.last_read(&err).await),
            };
            if let Err(failure) = result {
                break Some(failure);
            }
        };
        let up = match self.phase {
            Phase::Up { since } => Some(since.elapsed()),
            Phase::Loading { .. } => None,
        };
        self.core.gate.close();
        if failure.is_none() {
            self.farewell().await;
        }
        Ended { failure, up }
    }

    fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        cancelled: Pin<&mut impl Future<Output = ()>>,
        tick: &mut Interval,
        mut alarm: Pin<&mut Sleep>,
    ) -> Poll<Step> {
        if cancelled.poll(cx).is_ready() {
            return Poll::Ready(Step::Cancelled);
        }
        if let Poll::Ready(change) = self.core.gate.poll_change(cx) {
            return Poll::Ready(Step::Change(change));
        }
        let up = matches!(self.phase, Phase::Up { .. });
        if up && let Some((epoch, doubts)) = self.core.gate.look_up() {
            return Poll::Ready(Step::LookUp(epoch, doubts));
        }
        // Letters first: they gather into a burst, and only then something is written.
        if up
            && self.wire.queued() < BURST
            && let Poll::Ready(Some(letter)) = self.core.gate.letters.poll_recv(cx)
        {
            return Poll::Ready(Step::Letter(letter));
        }
        if let Poll::Ready(step) = self.poll_io(cx) {
            return Poll::Ready(step);
        }
        // After reading: what waits in the socket after a pause of ours is no silence of the server's.
        if tick.poll_tick(cx).is_ready() {
            return Poll::Ready(Step::Tick);
        }
        let Some(at) = self.core.archive.due().filter(|_| up) else { return Poll::Pending };
        if alarm.deadline() != at {
            alarm.as_mut().reset(at);
        }
        alarm.poll(cx).map(|()| Step::Tick)
    }

    fn poll_io(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        self.core.outbox.poll_pump(cx);
        self.ask_if_due();
        if let Poll::Ready(Err(err)) = self.wire.poll_write(cx) {
            return Poll::Ready(Step::WriteFailed(err));
        }
        if self.core.outbox.full() || self.wire.queued() > MAX_QUEUED {
            self.held_back = Instant::now();
            return Poll::Pending;
        }
        self.wire.poll_read(cx).map(Step::Read)
    }

    // ---- Writing

    fn letter(&mut self, letter: &Letter) {
        let carried = Carried { stanza_id: letter.stanza_id.clone(), weight: stanza::weight(letter) };
        if self.core.rooms.has(&letter.to) {
            return self.post(letter, carried);
        }
        let element = stanza::letter(letter, &self.core.settings.jid);
        self.send(element, Some(carried));
    }

    /// Asks for the roster where a reload brought contacts of whom it has not been read.
    fn look_up_new(&mut self) {
        let up = matches!(self.phase, Phase::Up { .. });
        if up && self.look_up.is_none() && self.core.roster.has_new() {
            let id = format!("roster-{:08x}", rand::random::<u32>());
            self.look_up = Some(id.clone());
            self.send(stanza::roster_get(&id), None);
        }
    }

    /// To a room: that our server took it is not yet that the room did.
    fn post(&mut self, letter: &Letter, carried: Carried) {
        if !self.core.rooms.open(&letter.to) {
            self.core.gate.release(carried.weight);
            self.core.outbox.push(rooms::not_in(letter));
            return;
        }
        let stanza = self.send(stanza::post(letter), None);
        self.unasked_letters += 1;
        self.core.rooms.post(carried, letter.to.clone(), stanza, self.core.ledger.sent());
    }

    /// Does what the rooms ask for.
    pub(super) fn take(&mut self, todo: Todo) {
        for element in todo.send {
            self.send(element, None);
        }
        for weight in todo.done {
            self.core.gate.release(weight);
        }
        for event in todo.events {
            self.core.outbox.push(event);
        }
    }

    pub(super) fn send(&mut self, element: Element, letter: Option<Carried>) -> Arc<Element> {
        let stanza = Arc::new(element);
        self.unasked += 1;
        self.unasked_letters += usize::from(letter.is_some());
        self.wire.push(stanza.clone());
        self.core.ledger.push(Sent { stanza: stanza.clone(), letter });
        if self.managed && self.unasked >= ASK_AFTER {
            self.ask();
        }
        stanza
    }

    /// Asks for an acknowledgement when there is something to acknowledge. Not before the last one came, so that single
    /// letters do not cost an `<r/>` each under load; `send` does so where many are sent.
    fn ask_if_due(&mut self) {
        let due = self.unasked_letters > 0 || self.unasked >= ASK_AFTER;
        if due && self.asked.is_none() {
            self.ask();
        }
    }

    fn ask(&mut self) {
        let at = self.asked.as_ref().map_or_else(Instant::now, |asked| asked.at);
        if self.managed {
            self.wire.push(Arc::new(stanza::ask()));
            self.asked = Some(Asked { at, ping: None });
        } else {
            // Servers handle the stanzas of a stream in order (RFC 6120 §10.1): who answers this has seen those before.
            let id = format!("ping-{:016x}", rand::random::<u64>());
            self.send(stanza::ping(&id, self.core.settings.jid.domain().as_str()), None);
            self.asked = Some(Asked { at, ping: Some((id, self.core.ledger.sent())) });
        }
        self.unasked = 0;
        self.unasked_letters = 0;
    }

    // ---- The dead link

    fn check(&mut self, now: Instant) -> Result<(), Failure> {
        let patience = self.core.settings.ping_after;
        if let Phase::Up { .. } = self.phase {
            let todo = self.core.rooms.tick(&self.core.ledger, now, rand::random());
            self.take(todo);
            let todo = self.core.archive.tick(now);
            self.take(todo);
        }
        if let Phase::Loading { until, .. } = self.phase
            && now >= until
        {
            return Err(Failure::transient("the server did not send the roster in time"));
        }
        if self.wire.stuck_since().is_some_and(|since| now - since >= patience * 2) {
            return Err(Failure::transient(format!("the server took no data for {} s", (patience * 2).as_secs_f32())));
        }
        let silence = now - self.wire.heard().max(self.held_back);
        match &self.asked {
            None if silence >= patience => self.ask(),
            Some(asked) if silence >= patience * 2 && now - asked.at >= patience => {
                return Err(Failure::transient(format!("the server was silent for {:.0} s", silence.as_secs_f32())));
            }
            Some(asked) if now - asked.at >= patience * 4 => {
                return Err(Failure::transient("the server acknowledges nothing any more"));
            }
            _ => {}
        }
        Ok(())
    }

    // ---- The end

    /// Writing failed; the server may have said why before it closed.
    async fn last_read(&mut self, err: &std::io::Error) -> Failure {
        let read_all = async {
            loop {
                let item = poll_fn(|cx| self.wire.poll_read(cx)).await;
                let said_why = matches!(&item, Some(Ok(node)) if is_stream_error(node.element()));
                match self.read(item) {
                    Err(failure) if said_why => return Some(failure),
                    Err(_) => return None,
                    Ok(()) => {}
                }
            }
        };
        let said = timeout(CLOSING, read_all).await.ok().flatten();
        said.unwrap_or_else(|| Failure::transient(format!("the connection broke: {err}")))
    }

    /// Writes what was taken over, says goodbye, and closes; bounded, whatever the server does.
    async fn farewell(mut self) {
        while let Ok(letter) = self.core.gate.letters.try_recv() {
            self.letter(&letter);
        }
        self.send(stanza::unavailable(), None);
        if self.managed {
            self.ask();
        }
        let last_words = async {
            loop {
                let waits = self.managed && self.core.ledger.unacked().len() > 0;
                let step = poll_fn(|cx| match self.poll_io(cx) {
                    Poll::Pending if self.wire.queued() == 0 && !waits => Poll::Ready(None),
                    other => other.map(Some),
                });
                let Some(Step::Read(item)) = step.await else { return };
                if self.read(item).is_err() {
                    return;
                }
            }
        };
        // Out of time is as good as done: the stream is closed now.
        let _ = timeout(LAST_WORDS, last_words).await;
        if self.managed {
            self.wire.push(Arc::new(stanza::ack(self.core.ledger.received())));
        }
        let close = async {
            poll_fn(|cx| self.wire.poll_write(cx)).await?;
            poll_fn(|cx| self.wire.poll_shutdown(cx)).await?;
            // The server closes its side in turn.
            while let Some(Ok(node)) = poll_fn(|cx| self.wire.poll_read(cx)).await {
                let _ = self.read(Some(Ok(node)));
            }
            std::io::Result::Ok(())
        };
        let _ = timeout(CLOSING, close).await;
    }
}
