//! Access tokens for XOAUTH2: where they come from, and how long they are kept. In memory only.

mod command;
mod endpoint;
pub(super) mod xoauth2;

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::port::MailboxError;
use crate::model::Secret;

/// Renewed so long before its end, or a tenth of its life before, whichever is shorter.
const AHEAD: Duration = Duration::from_secs(60);

/// Where access tokens come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// A program, by its whole path, with its arguments: what it prints is the token.
    Command(Vec<String>),
    /// A token endpoint (RFC 6749 §3.2).
    Endpoint(Box<Endpoint>),
}

/// A token endpoint, and what it is asked with: the refresh token where there is one (RFC 6749 §6), else the client's own
/// credentials (§4.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its `https://` address; `http://` on this machine only.
    pub token_url: String,
    /// The client's name at the endpoint.
    pub client_id: String,
    /// Its password; a public client has none.
    pub client_secret: Option<Secret>,
    /// How the client names itself.
    pub client_auth: ClientAuth,
    /// What a person's consent was once turned into.
    pub refresh_token: Option<Secret>,
    /// What the token is to be good for, separated by blanks.
    pub scope: Option<String>,
}

/// How a client gives its id and secret (RFC 6749 §2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// In the request's body.
    Body,
    /// By HTTP Basic.
    Basic,
}

/// Is this an address at which a token may be asked for: `https://`, or `http://` on this machine? Says why not.
pub fn check_token_url(text: &str) -> Result<(), &'static str> {
    let url = oauth2::url::Url::parse(text).map_err(|_| "is no address")?;
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    let local = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    match url.scheme() {
        _ if !url.username().is_empty() || url.password().is_some() => Err("holds a user or a password"),
        "https" if !host.is_empty() => Ok(()),
        "http" if local => Ok(()),
        "http" => Err("would send secrets in the clear to another machine"),
        _ => Err("is no https:// address"),
    }
}

/// What a source gave.
struct Issued {
    token: Secret,
    /// How long it is good for; `None`: the source did not say.
    life: Option<Duration>,
    /// A refresh token that takes the place of the one that was used.
    refresh: Option<Secret>,
}

/// A token to log in with.
pub(super) struct Token {
    pub(super) secret: Secret,
    /// Was it kept from before? Then the server may have revoked it, and a new one is worth an attempt.
    pub(super) kept: bool,
}

/// The tokens of one mailbox.
pub(super) struct Tokens {
    source: TokenSource,
    tls: Arc<ClientConfig>,
    limit: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kept: Option<Kept>,
    /// The refresh token that the endpoint gave in place of the configured one.
    refresh: Option<Secret>,
}

struct Kept {
    token: Secret,
    renew: Instant,
    end: Instant,
}

impl Tokens {
    /// Each request or program may take `limit`.
    pub(super) fn new(source: TokenSource, tls: Arc<ClientConfig>, limit: Duration) -> Self {
        Self { source, tls, limit, state: Mutex::default() }
    }

    /// A token that is good for some time yet.
    pub(super) async fn token(&self) -> Result<Token, MailboxError> {
        let mut state = self.state.lock().await;
        let now = Instant::now();
        if let Some(kept) = state.kept.as_ref().filter(|kept| now < kept.renew) {
            return Ok(Token { secret: kept.token.clone(), kept: true });
        }
        match self.issue(&mut state).await {
            Ok(secret) => Ok(Token { secret, kept: false }),
            Err(err) => match state.kept.as_ref().filter(|kept| Instant::now() < kept.end) {
                Some(kept) => {
                    tracing::warn!(%err, "no new access token; the old one is good for a moment yet");
                    Ok(Token { secret: kept.token.clone(), kept: true })
                }
                None => Err(err),
            },
        }
    }

    /// A token in place of one that the server refused.
    pub(super) async fn another(&self) -> Result<Token, MailboxError> {
        let mut state = self.state.lock().await;
        state.kept = None;
        Ok(Token { secret: self.issue(&mut state).await?, kept: false })
    }

    /// The server refused what was just issued: nothing of it is kept.
    pub(super) async fn forget(&self) {
        self.state.lock().await.kept = None;
    }

    async fn issue(&self, state: &mut State) -> Result<Secret, MailboxError> {
        let asked = Instant::now();
        let issued = match &self.source {
            TokenSource::Command(command) => command::run(command, self.limit).await?,
            TokenSource::Endpoint(endpoint) => {
                let refresh = state.refresh.as_ref().or(endpoint.refresh_token.as_ref());
                endpoint::ask(endpoint, refresh, self.tls.clone(), self.limit).await?
            }
        };
        if let Some(new) = issued.refresh {
            if state.refresh.is_none() {
                tracing::warn!(
                    "the token endpoint gave a new refresh token, which is kept in memory only; should it refuse the \
                     configured one after a restart, sign in again and configure a new one"
                );
            }
            state.refresh = Some(new);
        }
        let kept = issued.life.map(|life| keep(&issued.token, asked, life));
        tracing::debug!(seconds = issued.life.map(|life| life.as_secs()), "new access token");
        state.kept = kept;
        Ok(issued.token)
    }
}

/// Counted from the question: what the answer took is part of the token's life.
fn keep(token: &Secret, asked: Instant, life: Duration) -> Kept {
    // An endpoint may say anything.
    let life = life.min(Duration::from_secs(30 * 86_400));
    let end = asked + life;
    Kept { token: token.clone(), renew: end - AHEAD.min(life / 10), end }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_addresses() {
        for good in [
            "https://login.microsoftonline.com/TENANT/oauth2/v2.0/token",
            "https://[2001:db8::1]:8443/token?x=1",
            "http://127.0.0.1:8080/token",
            "http://[::1]/token",
            "http://localhost:1/",
        ] {
            assert_eq!(check_token_url(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", "is no address"),
            ("login.example.org/token", "is no address"),
            ("ftp://login.example.org/token", "is no https:// address"),
            ("http://login.example.org/token", "would send secrets in the clear to another machine"),
            ("http://localhost.example.org/token", "would send secrets in the clear to another machine"),
            ("http://192.168.0.1/token", "would send secrets in the clear to another machine"),
            ("https://id:secret@login.example.org/token", "holds a user or a password"),
            ("https:///", "is no address"),
        ] {
            assert_eq!(check_token_url(bad), Err(why), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_token_is_renewed_a_minute_or_a_tenth_of_its_life_before_its_end() {
        let asked = Instant::now();
        for (life, ahead) in [(3600, 60_000), (600, 60_000), (100, 10_000), (1, 100), (0, 0)] {
            let kept = keep(&Secret::new("t".into()), asked, Duration::from_secs(life));
            assert_eq!(kept.end, asked + Duration::from_secs(life));
            assert_eq!(kept.end - kept.renew, Duration::from_millis(ahead), "{life}");
        }
        keep(&Secret::new("t".into()), asked, Duration::MAX);
    }

    #[tokio::test]
    async fn a_token_that_cannot_be_renewed_serves_to_its_end() {
        let tls = crate::net::client_config(None).unwrap();
        let limit = Duration::from_secs(30);
        let tokens = Tokens::new(TokenSource::Command(vec!["/nowhere/token".into()]), tls, limit);
        let keep = async |renew, end| {
            tokens.state.lock().await.kept = Some(Kept { token: Secret::new("t".into()), renew, end });
        };
        let (now, hour) = (Instant::now(), Duration::from_secs(3600));
        keep(now + hour, now + hour).await;
        assert!(tokens.token().await.unwrap().kept, "good for long");
        keep(now, now + hour).await;
        let token = tokens.token().await.unwrap();
        assert!(token.kept && token.secret.expose() == "t", "good for a moment yet");
        keep(now, now).await;
        assert!(tokens.token().await.is_err(), "its time is over");
        keep(now + hour, now + hour).await;
        assert!(tokens.another().await.is_err(), "one that was refused is not used again");
        assert!(tokens.token().await.is_err());
    }
}
