//! The sending side: a bounded window of letters on their way, and what a reload changes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use tokio::sync::mpsc;

use super::Change;
use super::stanza::weight;
use crate::dispatch::{Full, Letter, Messenger};
use crate::model::{Doubt, Epoch};

/// Most bytes of letters in flight. A server that throttles the bot to 3 kB/s still gets through them, and answers the
/// sign of life that was asked behind them, before the link is taken for dead.
const MAX_BYTES: usize = 128 * 1024;

/// A letter's weight before any was seen: rather too much, so that what is promised is taken.
const FIRST_GUESS: usize = 5 * 1024;

#[derive(Debug)]
struct Window {
    open: bool,
    letters: usize,
    bytes: usize,
    /// About the heaviest of the last letters: what the next ones may weigh.
    heavy: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self { open: false, letters: 0, bytes: 0, heavy: FIRST_GUESS }
    }
}

#[derive(Debug)]
struct Shared {
    limit: usize,
    window: Mutex<Window>,
    change: Mutex<Option<Change>>,
    /// The last one that was asked for and not begun.
    look_up: Mutex<Option<(Epoch, Vec<Doubt>)>>,
    /// There is a change, or a look-up.
    changed: AtomicWaker,
}

impl Shared {
    fn window(&self) -> MutexGuard<'_, Window> {
        // The numbers are changed in one go each: a panic elsewhere leaves them whole.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many letters will be taken, unless they are heavier than the last ones were: who reserves places commits to
    /// them, and a letter that comes back costs a commit more.
    fn room(&self, window: &Window) -> usize {
        if !window.open {
            return 0;
        }
        let by_bytes = MAX_BYTES.saturating_sub(window.bytes).div_ceil(window.heavy.max(1));
        by_bytes.min(self.limit.saturating_sub(window.letters))
    }
}

/// The session's [`Messenger`]. Clones share one window.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    letters: mpsc::UnboundedSender<Letter>,
}

impl Messenger for Handle {
    fn send(&self, letter: Letter) -> Result<(), Full> {
        let mut window = self.shared.window();
        if self.shared.room(&window) == 0 {
            return Err(Full(letter));
        }
        let weight = weight(&letter);
        // Sent under the lock: once the gate is closed, no letter can slip in behind it.
        self.letters.send(letter).map_err(|back| Full(back.0))?;
        window.letters += 1;
        window.bytes += weight;
        window.heavy = weight.max(window.heavy - window.heavy / 16);
        Ok(())
    }

    fn room(&self) -> usize {
        self.shared.room(&self.shared.window())
    }

    fn in_flight(&self) -> usize {
        self.shared.window().letters
    }

    fn look_up(&self, epoch: Epoch, doubts: Vec<Doubt>) {
        *self.shared.look_up.lock().unwrap_or_else(PoisonError::into_inner) = Some((epoch, doubts));
        self.shared.changed.wake();
    }
}

impl Handle {
    /// Other recipients, or another way to sign in. Takes effect without a new session: who is new is looked up and asked for
    /// the subscription; other credentials are for the next time.
    pub fn change(&self, mut change: Change) {
        let mut slot = self.shared.change.lock().unwrap_or_else(PoisonError::into_inner);
        // One that the session has not seen yet.
        let older = slot.take().and_then(|older| older.credentials);
        change.credentials = change.credentials.or(older);
        *slot = Some(change);
        drop(slot);
        self.shared.changed.wake();
    }
}

/// The session's end of the window.
#[derive(Debug)]
pub struct Gate {
    shared: Arc<Shared>,
    /// Letters taken and not yet turned into stanzas; the window bounds them.
    pub letters: mpsc::UnboundedReceiver<Letter>,
}

impl Gate {
    /// From now on letters are taken.
    pub fn open(&self) {
        self.shared.window().open = true;
    }

    /// From now on none is taken.
    pub fn close(&self) {
        self.shared.window().open = false;
    }

    /// What a reload changed, when it did.
    pub fn poll_change(&self, cx: &mut Context<'_>) -> Poll<Change> {
        self.shared.changed.register(cx.waker());
        let change = self.shared.change.lock().unwrap_or_else(PoisonError::into_inner).take();
        change.map_or(Poll::Pending, Poll::Ready)
    }

    /// What is to be looked up, if anything. Who asks this polls for a change as well, which is what wakes them.
    pub fn look_up(&self) -> Option<(Epoch, Vec<Doubt>)> {
        self.shared.look_up.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A letter of this weight is no longer in flight.
    pub fn release(&self, weight: usize) {
        let mut window = self.shared.window();
        window.letters = window.letters.saturating_sub(1);
        window.bytes = window.bytes.saturating_sub(weight);
    }
}

/// A window of `limit` letters, closed.
pub fn window(limit: usize) -> (Handle, Gate) {
    let shared = Arc::new(Shared {
        limit: limit.max(1),
        window: Mutex::default(),
        change: Mutex::default(),
        look_up: Mutex::default(),
        changed: AtomicWaker::new(),
    });
    let (sender, letters) = mpsc::unbounded_channel();
    (Handle { shared: shared.clone(), letters: sender }, Gate { shared, letters })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::StanzaId;

    fn letter(body: String) -> Letter {
        Letter {
            to: "a@example.test".parse().unwrap(),
            stanza_id: StanzaId::random(),
            body,
            tracked: true,
            first_sent: None,
            copy: 1,
        }
    }

    #[test]
    fn the_window_bounds_letters() {
        let (handle, mut gate) = window(2);
        assert_eq!((handle.room(), handle.send(letter("x".into())).is_err()), (0, true));
        gate.open();
        assert_eq!(handle.room(), 2);
        for _ in 0..2 {
            handle.send(letter("x".into())).unwrap();
        }
        let third = letter("y".into());
        assert_eq!(handle.clone().send(third.clone()), Err(Full(third)));
        let sent = gate.letters.try_recv().unwrap();
        assert_eq!(handle.room(), 0, "being taken over is not being acknowledged");
        gate.release(weight(&sent));
        assert_eq!((handle.room(), handle.in_flight()), (1, 1));
        gate.close();
        assert_eq!(handle.room(), 0);
    }

    #[test]
    fn the_window_bounds_bytes() {
        let (handle, gate) = window(1000);
        gate.open();
        let mut sent = 0;
        while handle.send(letter("x".repeat(1 << 20))).is_ok() {
            sent += 1;
        }
        assert_eq!(sent, 3);
        assert_eq!(handle.room(), 0);
        (0..sent).for_each(|_| gate.release(weight(&letter("x".repeat(1 << 20)))));
        assert_eq!(handle.room(), 3, "the next ones may be as heavy");
        for _ in 0..100 {
            let light = letter("x".into());
            gate.release(weight(&light));
            handle.send(light).unwrap();
        }
        assert!(handle.room() > 200, "{}", handle.room());
    }

    #[test]
    fn what_is_promised_is_taken() {
        for size in [1, 100, 1000, 1500, 4000] {
            let (handle, gate) = window(128);
            gate.open();
            for _ in 0..3 {
                let promised = handle.room();
                assert!(promised > 0);
                for n in 0..promised {
                    handle.send(letter("x".repeat(size))).unwrap_or_else(|_| panic!("{size}: {n} of {promised}"));
                }
                (0..promised).for_each(|_| gate.release(size + 400));
            }
        }
    }

    #[test]
    fn changes_that_nobody_saw_yet_become_one() {
        use std::task::Waker;
        let (handle, gate) = window(1);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(gate.poll_change(&mut cx).is_pending());
        let password = crate::model::Secret::new("new".into());
        let tls = crate::net::client_config(None).unwrap();
        let credentials = Some(super::super::Credentials { password, tls });
        handle.change(Change { contacts: vec!["a@example.test".parse().unwrap()], rooms: Vec::new(), credentials });
        handle.clone().change(Change {
            contacts: vec!["b@example.test".parse().unwrap()],
            rooms: Vec::new(),
            credentials: None,
        });
        let Poll::Ready(change) = gate.poll_change(&mut cx) else { panic!("nothing changed") };
        assert_eq!(change.contacts, ["b@example.test".parse::<crate::model::BareJid>().unwrap()]);
        assert!(change.credentials.is_some(), "the first one's");
        assert!(gate.poll_change(&mut cx).is_pending());
    }

    #[test]
    fn without_a_session_letters_come_back() {
        let (handle, gate) = window(2);
        gate.open();
        drop(gate);
        assert!(handle.send(letter("x".into())).is_err());
        assert_eq!(handle.room(), 2);
    }
}
