//! The way in that costs the least: mails handed to the gateway by LMTP.

use std::time::Instant;

use super::lab::HANDED;
use super::mails::{self, Ticket};
use super::support::{DOMAIN, lmtp};

/// A session with the gateway.
pub struct Door(Option<lmtp::Session>);

impl Door {
    pub fn open(port: u16) -> Self {
        Self(Some(lmtp::Session::connect(port).unwrap()))
    }

    /// Hands an alert in; when its last dot was sent, and when the gateway had taken it.
    pub async fn hand_in(&mut self, ticket: Ticket) -> (Instant, Instant) {
        let mut session = self.0.take().unwrap();
        let (sent, answered);
        (session, sent, answered) = tokio::task::spawn_blocking(move || {
            session.begin(&[&format!("{HANDED}@{DOMAIN}")]).unwrap();
            let mail = lmtp::stuffed(&mails::mail(ticket));
            let sent = Instant::now();
            session.send(&mail).unwrap();
            let reply = session.reply().unwrap();
            assert!(reply.starts_with("250"), "{reply}");
            (session, sent, Instant::now())
        })
        .await
        .unwrap();
        self.0 = Some(session);
        (sent, answered)
    }
}
