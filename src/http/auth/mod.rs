//! Who asks: tokens, and the sessions of people who gave theirs to the login.
//!
//! A token has 256 random bits, so that nobody guesses one; what is limited per address is the work that guessing makes. Whoever
//! has a token that is in force is let in however many others failed from the same address. Only the login, which a person's
//! browser does once a day, is closed to everybody of an address for a while.

mod book;
mod session;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::http::StatusCode;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use self::book::{Book, Found};
pub use self::session::Session;
use self::session::Sessions;
use super::limits::{Limits, Rate, seconds};
use crate::control::Problem;
use crate::model::{GroupName, Right, Rights, Secret, TokenName, TokenRecord};
use crate::queue::{StoreError, Tokens};

/// What each token begins with, so that it is known where it does not belong (a log, a public repository).
const PREFIX: &str = "mailbell_";

/// Requests without a token in force, from one address.
const FAILURES: Rate = Rate { burst: 20.0, each_second: 0.5 };
/// Requests that need no token, from one address.
const OPEN: Rate = Rate { burst: 60.0, each_second: 10.0 };
/// Logins that failed, from one address.
const LOGINS: Rate = Rate { burst: 5.0, each_second: 1.0 / 30.0 };

/// A new token: the token itself, and its SHA-256 to be kept.
pub fn new_token() -> (Secret, String) {
    let token = format!("{PREFIX}{}", random());
    let digest = sha256(&token);
    (Secret::new(token), digest)
}

/// SHA-256 in hexadecimal digits.
pub fn sha256(text: &str) -> String {
    digest(text.as_bytes())
}

pub(super) fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// 256 random bits in hexadecimal digits.
fn random() -> String {
    hex(&rand::random::<[u8; 32]>())
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The token's name.
    pub name: TokenName,
    /// What it may do.
    pub rights: Rights,
    /// The only groups that it dispatches to and sees; empty: all.
    pub groups: Vec<GroupName>,
}

impl Caller {
    fn of(token: &TokenRecord) -> Self {
        Self { name: token.name.clone(), rights: token.scopes.clone(), groups: token.groups.clone() }
    }

    /// May it do that?
    pub fn may(&self, right: Right) -> bool {
        self.rights.allow(right)
    }

    /// May it see that group, and dispatch to it?
    pub fn sees(&self, group: &GroupName) -> bool {
        self.groups.is_empty() || self.groups.contains(group)
    }

    /// The group of this name, for whatever is asked of one. Who sees some groups is refused any other, whether there is such a group or
    /// not: nothing is learnt. Who sees all may name any: a history may hold what the config has no more; what is of the config looks there.
    pub(super) fn group(&self, name: &str) -> Result<GroupName, Problem> {
        let group: GroupName = name.parse().map_err(|err| Problem::bad(format!("{err}")).of("group"))?;
        if self.sees(&group) {
            return Ok(group);
        }
        let detail = format!("token {} does not see group {group}", self.name);
        Err(Problem::new(StatusCode::FORBIDDEN, detail).of("group"))
    }
}

/// Tokens, sessions, and how often somebody failed.
pub struct Auth {
    book: Book,
    sessions: Mutex<Sessions>,
    failures: Mutex<Limits<IpAddr>>,
    logins: Mutex<Limits<IpAddr>>,
    open: Mutex<Limits<IpAddr>>,
    rates: Mutex<Limits<TokenName>>,
    /// A token was revoked, or a session was ended.
    revoked: watch::Sender<()>,
}

/// What a request was let in with, for what goes on for long.
#[derive(Debug, Clone)]
pub(super) enum Pass {
    /// SHA-256 of the token.
    Token(String),
    /// SHA-256 of the session's cookie.
    Session(String),
}

impl Pass {
    pub(super) fn token(token: &str) -> Self {
        Self::Token(sha256(token))
    }

    pub(super) fn session(cookie: &str) -> Self {
        Self::Session(sha256(cookie))
    }
}

impl Auth {
    /// With the tokens of this store.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn new(store: Arc<dyn Tokens>) -> Result<Self, StoreError> {
        Ok(Self {
            book: Book::read(store).await?,
            sessions: Mutex::default(),
            failures: Mutex::default(),
            logins: Mutex::default(),
            open: Mutex::default(),
            rates: Mutex::default(),
            revoked: watch::Sender::default(),
        })
    }

    /// Is there any token at all?
    pub fn has_tokens(&self) -> bool {
        self.book.len() > 0
    }

    /// Who has this token.
    pub(super) fn by_token(&self, token: &str, client: IpAddr, now: Timestamp) -> Result<Caller, Problem> {
        match self.book.find(&sha256(token), now) {
            Found::InForce(token) => Ok(Caller::of(&token)),
            found => Err(self.failed(client, refusal(found))),
        }
    }

    /// The session of this cookie. It ends with its token.
    pub(super) fn by_cookie(&self, cookie: &str, client: IpAddr, now: Timestamp) -> Result<(Caller, Session), Problem> {
        let session = held(&self.sessions).find(&sha256(cookie), now);
        let token = session.as_ref().map_or(Found::Unknown, |session| self.book.find(&session.token, now));
        match (session, token) {
            (Some(session), Found::InForce(token)) => Ok((Caller::of(&token), session)),
            _ => {
                held(&self.sessions).end(&sha256(cookie));
                let detail = "the session has ended; log in again";
                Err(self.failed(client, Problem::new(StatusCode::UNAUTHORIZED, detail)))
            }
        }
    }

    /// A session for whoever has this token, and the cookie for it.
    ///
    /// # Errors
    /// 401; 429 after several of these from the same address, also for a good token.
    pub fn log_in(&self, token: &str, client: IpAddr, now: Timestamp) -> Result<(Caller, Session, Secret), Problem> {
        let client = network(client);
        if let Some(wait) = held(&self.logins).wait(&client, LOGINS, Instant::now()) {
            return Err(closed("too many logins failed from this address", wait));
        }
        match self.book.find(&sha256(token), now) {
            Found::InForce(found) => {
                let cookie = random();
                let session = held(&self.sessions).begin(sha256(&cookie), found.sha256.clone(), random(), now);
                tracing::info!(token = %found.name, %client, "a person logged in");
                Ok((Caller::of(&found), session, Secret::new(cookie)))
            }
            found => {
                tracing::warn!(%client, "a login was refused");
                // What is left was looked at above; another may have taken the last one since.
                let _ = held(&self.logins).take(&client, LOGINS, Instant::now());
                Err(refusal(found))
            }
        }
    }

    /// Ends the session of this cookie.
    pub fn log_out(&self, cookie: &str) {
        held(&self.sessions).end(&sha256(cookie));
        self.revoked.send_replace(());
    }

    /// Is it still good? That is no use of the session.
    pub(super) fn lasts(&self, pass: &Pass, now: Timestamp) -> bool {
        let token = match pass {
            Pass::Token(token) => Some(token.clone()),
            Pass::Session(cookie) => held(&self.sessions).token(cookie, now),
        };
        token.is_some_and(|token| matches!(self.book.find(&token, now), Found::InForce(_)))
    }

    /// Changes when something that was good may not be any more, but for what expires.
    pub(super) fn revoked(&self) -> watch::Receiver<()> {
        self.revoked.subscribe()
    }

    /// Counts a request without a token in force; after many of them the answer is to come later.
    pub(super) fn failed(&self, client: IpAddr, problem: Problem) -> Problem {
        match held(&self.failures).take(&network(client), FAILURES, Instant::now()) {
            Ok(()) => problem,
            Err(wait) => closed("too many requests without a valid token from this address", wait),
        }
    }

    /// One more request of an address for what needs no token.
    pub(super) fn openly(&self, client: IpAddr) -> Result<(), Problem> {
        let taken = held(&self.open).take(&network(client), OPEN, Instant::now());
        taken.map_err(|wait| closed("too many requests from this address", wait))
    }

    /// One more request of a token; `rate` a second, and twice as many at once.
    pub(super) fn within_rate(&self, token: &TokenName, rate: u32) -> Result<(), Problem> {
        let rate = f64::from(rate);
        let rate = Rate { burst: rate * 2.0, each_second: rate };
        let taken = held(&self.rates).take(token, rate, Instant::now());
        taken.map_err(|wait| closed(&format!("token {token} makes too many requests"), wait))
    }

    /// Writes down which tokens were used, until `ended`: once in a while, and at the end.
    pub async fn note_use(&self, ended: impl Future<Output = ()>) {
        const EVERY: Duration = Duration::from_secs(60);
        tokio::pin!(ended);
        loop {
            let last = tokio::select! {
                () = &mut ended => true,
                () = tokio::time::sleep(EVERY) => false,
            };
            self.book.note_use().await;
            if last {
                return;
            }
        }
    }
}

/// Changes are durable first, and in force at once.
#[async_trait]
impl Tokens for Auth {
    async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        Ok(self.book.all())
    }

    async fn add_token(&self, token: &TokenRecord) -> Result<(), StoreError> {
        self.book.add(token).await?;
        tracing::info!(token = %token.name, scopes = %token.scopes, "there is a new token");
        Ok(())
    }

    async fn revoke_token(&self, name: &TokenName) -> Result<(), StoreError> {
        let revoked = self.book.revoke(name).await;
        // In force no more, even where the store failed.
        self.revoked.send_replace(());
        revoked?;
        tracing::info!(token = %name, "the token is revoked");
        Ok(())
    }

    async fn tokens_used(&self, used: &[(TokenName, Timestamp)]) -> Result<(), StoreError> {
        self.book.store.tokens_used(used).await
    }
}

fn refusal(found: Found) -> Problem {
    let detail = match found {
        Found::Expired(name, at) => format!("token {name} expired {at}; make another with `mailbell token create`"),
        Found::InForce(_) | Found::Unknown => "this token is unknown, or was revoked".to_owned(),
    };
    Problem::new(StatusCode::UNAUTHORIZED, detail)
}

fn closed(why: &str, wait: Duration) -> Problem {
    let seconds = seconds(wait);
    let detail = format!("{why}; try again in {seconds} s");
    Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(seconds)
}

/// An IPv6 network of 64 bits is one customer's.
fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & (u128::MAX << 64)).into()),
        v4 => v4,
    }
}

/// Whatever panicked while it held this left it whole: each change is one step.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
