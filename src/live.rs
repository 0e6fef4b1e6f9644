//! What is in force, and may be replaced while others use it.
//!
//! Whoever decides something takes one [`Current`] for the whole decision, so that no half of it is decided by another config.
//! Who replaces it can wait until nobody uses the old one any more.

use std::convert::Infallible;
use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::{oneshot, watch};

/// What is in force, for those who use it.
#[derive(Debug)]
pub struct Live<T>(watch::Receiver<Current<T>>);

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Live<T> {
    /// What is in force now. Held for one decision, not for long: see [`Setter::replace`].
    pub fn get(&self) -> Current<T> {
        self.0.borrow().clone()
    }
}

/// One of them, as it was when it was asked for. Stays as it is.
#[derive(Debug)]
pub struct Current<T>(Arc<Held<T>>);

#[derive(Debug)]
struct Held<T> {
    value: T,
    /// Dropped with the last use.
    _in_use: oneshot::Sender<Infallible>,
}

impl<T> Clone for Current<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Current<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> Current<T> {
    fn new(value: T) -> (Self, oneshot::Receiver<Infallible>) {
        let (in_use, given_back) = oneshot::channel();
        (Self(Arc::new(Held { value, _in_use: in_use })), given_back)
    }

    /// Is it the very same, not just an equal one?
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Replaces what is in force.
#[derive(Debug)]
pub struct Setter<T> {
    sender: watch::Sender<Current<T>>,
    given_back: oneshot::Receiver<Infallible>,
}

/// `first` is in force until it is replaced.
pub fn live<T>(first: T) -> (Setter<T>, Live<T>) {
    let (first, given_back) = Current::new(first);
    let (sender, receiver) = watch::channel(first);
    (Setter { sender, given_back }, Live(receiver))
}

impl<T> Setter<T> {
    /// From now on `next` is in force. The future is ready when nobody uses the old one any more.
    pub fn replace(&mut self, next: T) -> impl Future<Output = ()> + Send + use<T> {
        let (next, given_back) = Current::new(next);
        let old = std::mem::replace(&mut self.given_back, given_back);
        drop(self.sender.send_replace(next));
        async move {
            // Nothing is ever sent: the error is the news.
            let _ = old.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_decision_is_made_by_one() {
        let (mut setter, live) = live(1);
        let (one, again) = (live.get(), live.clone().get());
        assert!(one.is(&again));
        let mut gone = Box::pin(setter.replace(2));
        assert_eq!((*one, *live.get()), (1, 2));
        assert!(!one.is(&live.get()));
        drop(one);
        assert!(gone.as_mut().now_or_never().is_none(), "somebody still decides by it");
        drop(again);
        assert!(gone.as_mut().now_or_never().is_some());
        assert!(setter.replace(3).now_or_never().is_some(), "nobody had the second");
        assert_eq!(*live.get(), 3);
    }

    #[test]
    fn it_stays_in_force_when_nobody_can_replace_it() {
        let (setter, live) = live("x");
        drop(setter);
        assert_eq!(*live.get(), "x");
    }
}
