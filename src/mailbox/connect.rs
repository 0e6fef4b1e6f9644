//! From a host name to a protected connection: dialling, TLS from the first byte, or STARTTLS and STLS.

use std::future::Future;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::failure::{classify, code, quote};
use super::oauth::{Token, Tokens};
use super::port::{Failure, MailboxError};
use super::{Auth, Protocol, Settings};
use crate::model::Secret;
use crate::net::{self, DialError, Road, Stream, TlsError, TlsMode};

/// Longest line before TLS, bytes.
const LINE: usize = 8 * 1024;
/// Slowest link that is still of use, bytes a second.
const SLOWEST: u64 = 8 * 1024;
/// Most lines that a server may say before it answers STARTTLS.
const LINES: usize = 64;

/// Where to connect, and how.
pub(super) struct Dialer {
    pub(super) settings: Settings,
    road: Road,
    /// With `auth = "xoauth2"`.
    tokens: Option<Tokens>,
}

/// What to log in with.
pub(super) enum Login {
    Password(Secret),
    Token(Token),
}

impl Dialer {
    pub(super) fn new(settings: Settings) -> Result<Self, MailboxError> {
        let tls = net::client_config(settings.ca_file.as_deref()).map_err(tls_error)?;
        let tokens = match &settings.auth {
            Auth::Password(_) => None,
            Auth::Xoauth2(source) => Some(Tokens::new(source.clone(), tls.clone(), settings.timeout)),
        };
        Ok(Self { settings, road: Road::network(tls), tokens })
    }

    /// Over another road than the network. There are no tokens on it.
    pub(super) fn over(settings: Settings, road: Road) -> Self {
        Self { settings, road, tokens: None }
    }

    /// What to log in with; a token may have to be asked for first.
    pub(super) async fn login(&self) -> Result<Login, MailboxError> {
        match (&self.settings.auth, &self.tokens) {
            (_, Some(tokens)) => Ok(Login::Token(tokens.token().await?)),
            (Auth::Password(password), None) => Ok(Login::Password(password.clone())),
            (Auth::Xoauth2(_), None) => Err(MailboxError::permanent("there is nothing to log in with")),
        }
    }

    /// The login to try next, after this one failed so; else the error. A token that was kept and is refused may have been revoked:
    /// then once more with a new one. One that was just issued is as good as it gets.
    pub(super) async fn login_after(&self, failed: Login, err: MailboxError) -> Result<Login, MailboxError> {
        match (failed, &self.tokens) {
            (Login::Token(token), Some(tokens)) if err.failure == Failure::Auth => {
                if token.kept {
                    return tokens.another().await.map(Login::Token);
                }
                tokens.forget().await;
                Err(err)
            }
            _ => Err(err),
        }
    }

    /// `HOST:PORT`, with which every error begins.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.settings.host, self.settings.port)
    }

    /// Connects. With TLS by STARTTLS or STLS the greeting is taken already; else the server is about to greet.
    pub(super) async fn connect(&self) -> Result<Stream, MailboxError> {
        let s = &self.settings;
        let loopback_only = s.tls == TlsMode::None && !s.allow_plaintext;
        let stream = self.road.dial(&s.host, s.port, s.timeout, loopback_only).await.map_err(dial_error)?;
        match s.tls {
            TlsMode::None => Ok(stream),
            TlsMode::Direct => self.handshake(stream).await,
            TlsMode::StartTls => {
                let stream = self.upgrade(stream).await?;
                self.handshake(stream).await
            }
        }
    }

    async fn handshake(&self, stream: Stream) -> Result<Stream, MailboxError> {
        let s = &self.settings;
        let name = s.tls_name.as_deref().unwrap_or(&s.host);
        self.road.secure(stream, name, None, s.timeout).await.map_err(|err| {
            let mut err = tls_error(err);
            err.what = format!("{}: {}", self.place(), err.what);
            err
        })
    }

    /// STARTTLS (RFC 3501 §6.2.1) or STLS (RFC 2595 §4). What was said before TLS is forgotten, capabilities included.
    async fn upgrade(&self, stream: Stream) -> Result<Stream, MailboxError> {
        let mut clear = ClearText { stream, buf: Vec::new(), limit: self.settings.timeout, place: self.place() };
        match self.settings.protocol {
            Protocol::Imap => clear.starttls().await?,
            Protocol::Pop3 => clear.stls().await?,
        }
        // Whatever stands behind the OK was sent before TLS by nobody knows whom, and would be read as if it came after it.
        if !clear.buf.is_empty() {
            return Err(MailboxError::permanent(format!(
                "{}: bytes came behind the OK to STARTTLS; somebody may be tampering with the connection, it was closed. \
                 Use tls = \"direct\"",
                clear.place
            )));
        }
        Ok(clear.stream)
    }

    /// Bounds an operation that moves about so many bytes: the time-out counts for each next byte, so a server that sends
    /// one now and then would never meet it.
    pub(super) async fn bounded<T>(
        &self,
        bytes: u64,
        work: impl Future<Output = Result<T, MailboxError>>,
    ) -> Result<T, MailboxError> {
        let limit = self.settings.timeout.saturating_mul(10) + Duration::from_secs(bytes / SLOWEST);
        timeout(limit, work).await.unwrap_or_else(|_| {
            let what = format!("{}: not done after {} s; the server is too slow", self.place(), limit.as_secs());
            Err(MailboxError::transient(what))
        })
    }
}

/// The conversation before TLS: line by line, bounded.
struct ClearText {
    stream: Stream,
    buf: Vec<u8>,
    limit: Duration,
    place: String,
}

impl ClearText {
    async fn starttls(&mut self) -> Result<(), MailboxError> {
        let greeting = self.line().await?;
        let word = greeting.strip_prefix("* ").unwrap_or_default().to_ascii_uppercase();
        if word.starts_with("PREAUTH") {
            return Err(MailboxError::permanent(format!(
                "{}: the server greets with PREAUTH, so STARTTLS is impossible; the connection was closed. Use tls = \"direct\"",
                self.place
            )));
        }
        if !word.starts_with("OK") {
            return Err(self.refused_greeting(greeting.trim_start_matches("* BYE").trim_start_matches("* ")));
        }
        self.say("S1 STARTTLS\r\n").await?;
        for _ in 0..LINES {
            let line = self.line().await?;
            if let Some(reply) = line.strip_prefix("S1 ") {
                return if reply.to_ascii_uppercase().starts_with("OK") { Ok(()) } else { Err(self.no_upgrade(reply)) };
            }
        }
        Err(MailboxError::transient(format!("{}: no answer to STARTTLS in {LINES} lines", self.place)))
    }

    async fn stls(&mut self) -> Result<(), MailboxError> {
        let greeting = self.line().await?;
        if !greeting.starts_with("+OK") {
            return Err(self.refused_greeting(greeting.trim_start_matches("-ERR")));
        }
        self.say("STLS\r\n").await?;
        let reply = self.line().await?;
        if reply.starts_with("+OK") { Ok(()) } else { Err(self.no_upgrade(&reply)) }
    }

    fn refused_greeting(&self, said: &str) -> MailboxError {
        let failure = classify(code(said).as_deref(), said).unwrap_or(Failure::Transient);
        MailboxError::new(failure, format!("{}: the server turns us away: {}", self.place, quote(said)))
    }

    fn no_upgrade(&self, said: &str) -> MailboxError {
        let failure = classify(code(said).as_deref(), said).unwrap_or(Failure::Permanent);
        let what = format!(
            "{}: the server does not offer STARTTLS here ({}); use tls = \"direct\" with its TLS port, or switch STARTTLS on",
            self.place,
            quote(said)
        );
        MailboxError::new(failure, what)
    }

    async fn say(&mut self, line: &str) -> Result<(), MailboxError> {
        match timeout(self.limit, self.stream.write_all(line.as_bytes())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(err)) => Err(MailboxError::transient(format!("{}: {err}", self.place))),
            Err(_) => Err(self.silent()),
        }
    }

    async fn line(&mut self) -> Result<String, MailboxError> {
        loop {
            if let Some(end) = self.buf.iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = self.buf.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned());
            }
            if self.buf.len() > LINE {
                return Err(MailboxError::transient(format!("{}: a line of over {LINE} bytes before TLS", self.place)));
            }
            match timeout(self.limit, self.stream.read_buf(&mut self.buf)).await {
                Ok(Ok(0)) => {
                    return Err(MailboxError::transient(format!("{}: the server closed the connection", self.place)));
                }
                Ok(Ok(_)) => {}
                Ok(Err(err)) => return Err(MailboxError::transient(format!("{}: {err}", self.place))),
                Err(_) => return Err(self.silent()),
            }
        }
    }

    fn silent(&self) -> MailboxError {
        MailboxError::transient(format!(
            "{}: no answer within {} s; if that is a port with TLS from the first byte, use tls = \"direct\"",
            self.place,
            self.limit.as_secs_f32()
        ))
    }
}

fn dial_error(err: DialError) -> MailboxError {
    let failure = match err {
        DialError::NotLoopback { .. } => Failure::Permanent,
        DialError::Resolve { .. } | DialError::Connect { .. } => Failure::Transient,
    };
    MailboxError::new(failure, err.to_string())
}

fn tls_error(err: TlsError) -> MailboxError {
    let failure = match err {
        TlsError::CaFile { .. } | TlsError::Name(_) | TlsError::Certificate { .. } => Failure::Permanent,
        TlsError::Handshake { .. } => Failure::Transient,
    };
    let mut what = err.to_string();
    if let TlsError::Handshake { source, .. } = &err
        && let Some(rustls::Error::InvalidMessage(_)) = source.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>())
    {
        what.push_str("; the port does not speak TLS from the first byte: use tls = \"starttls\"");
    }
    MailboxError::new(failure, what)
}
