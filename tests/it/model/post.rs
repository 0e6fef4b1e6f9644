//! The monitored mailbox, and the mails in it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use mailbell::mailbox::{After, Clearing, Entry, Failure, Generation, Listing, Mailbox, MailboxError, Mark, Woke};
use mailbell::model::{Cursor, NewMessage};
use tokio::sync::Notify;

/// What stands in the mailbox. It outlives the gateway.
#[derive(Default)]
pub struct Post {
    pub uidvalidity: u32,
    next: u32,
    mails: Vec<(u32, Vec<u8>, Timestamp)>,
    /// Cleared, by what they were found under.
    pub cleared: BTreeSet<(u32, u32)>,
    /// The next operation fails.
    pub fails: bool,
}

impl Post {
    pub fn new() -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { uidvalidity: 1, next: 1, ..Self::default() }))
    }

    pub fn arrive(&mut self, raw: Vec<u8>, at: Timestamp) {
        self.mails.push((self.next, raw, at));
        self.next += 1;
    }

    /// The server lost its index: what is left has other numbers.
    pub fn renumber(&mut self) {
        self.uidvalidity += 1;
        self.next = 1;
        for (uid, ..) in &mut self.mails {
            *uid = self.next;
            self.next += 1;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.mails.is_empty()
    }

    fn may(&mut self) -> Result<(), MailboxError> {
        if std::mem::take(&mut self.fails) {
            return Err(MailboxError { failure: Failure::Transient, what: "connection lost".into() });
        }
        Ok(())
    }
}

/// A connection to it.
pub struct Postbox(pub Arc<Mutex<Post>>);

#[async_trait]
impl Mailbox for Postbox {
    async fn list(&mut self, mark: Option<Mark>) -> Result<Listing, MailboxError> {
        let mut post = self.0.lock().unwrap();
        post.may()?;
        let uidvalidity = post.uidvalidity;
        let after = mark.filter(|m| m.uidvalidity == uidvalidity).map(|m| m.uid);
        let new = post.mails.iter().filter(|(uid, ..)| after.is_none_or(|after| *uid > after));
        let entry = |uid: &u32| Entry { cursor: Cursor::Imap { uidvalidity, uid: *uid }, size: None };
        let entries = new.map(|(uid, ..)| entry(uid)).collect();
        Ok(Listing { generation: Generation::UidValidity(uidvalidity), entries, complete: after.is_none() })
    }

    async fn fetch(&mut self, wanted: &[Entry], _: u64) -> Result<Vec<NewMessage>, MailboxError> {
        let mut post = self.0.lock().unwrap();
        post.may()?;
        let uidvalidity = post.uidvalidity;
        let mail = |(uid, raw, at): &(u32, Vec<u8>, Timestamp)| NewMessage {
            cursor: Cursor::Imap { uidvalidity, uid: *uid },
            raw: raw.clone(),
            internal_date: Some(*at),
            oversize: None,
        };
        let all = post.mails.iter().map(mail);
        Ok(all.filter(|mail| wanted.iter().any(|entry| entry.cursor == mail.cursor)).collect())
    }

    async fn clear(&mut self, stored: &[Cursor], how: &After) -> Result<Clearing, MailboxError> {
        assert_eq!(*how, After::Delete);
        let mut post = self.0.lock().unwrap();
        post.may()?;
        for cursor in stored {
            let Cursor::Imap { uidvalidity, uid } = cursor else { panic!("{cursor} is no place here") };
            if *uidvalidity == post.uidvalidity {
                post.mails.retain(|(there, ..)| there != uid);
                post.cleared.insert((*uidvalidity, *uid));
            }
        }
        Ok(Clearing { done: stored.to_vec(), warning: None })
    }

    async fn rest(&mut self) -> Result<(), MailboxError> {
        Ok(())
    }

    async fn wait(&mut self, _: Option<Duration>, poke: &Notify) -> Result<Woke, MailboxError> {
        poke.notified().await;
        Ok(Woke::Poked)
    }

    async fn close(&mut self) {}
}
