//! One mail to one SMTP server, by lettre, with errors that say what to do.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use lettre::Message;
use lettre::message::header::{ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0};
use lettre::message::{Mailbox, MessageBuilder};
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::extension::ClientId;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::upgrade::{self, NoTls};
use crate::app::exit::{EX_DATAERR, EX_NOINPUT, EX_TEMPFAIL, EX_UNAVAILABLE};
use crate::model::{Secret, plays_tricks};
use crate::net::TlsMode;

/// Longest wait for each answer of the server, and for the whole of it.
const ANSWER: Duration = Duration::from_secs(30);
const WHOLE: Duration = Duration::from_secs(120);
/// Longest wait for the goodbye of a server that took the mail.
const BYE: Duration = Duration::from_secs(5);

/// Why nothing was sent.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Failure {
    /// Exit code, as in sysexits.h.
    pub code: u8,
    /// What happened, and what mends it.
    pub what: String,
}

/// How a mail is sent: options that every command with a mail has.
#[derive(Debug, Clone, Args)]
pub struct Way {
    /// Sender [default: mailbell@ this machine's name]
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<Mailbox>,
    /// How the connection is protected [default: direct on port 465, else starttls]
    #[arg(long, value_enum, value_name = "HOW")]
    pub tls: Option<Tls>,
    /// Allow --tls none to other machines: alert and password go over the network in the clear
    #[arg(long)]
    pub allow_plaintext: bool,
    /// Trust anchors beside those of the system, PEM
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Login name
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub user: Option<String>,
    /// File whose first line is the password; only its owner may read it
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
}

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tls {
    /// Upgraded, or not used
    Starttls,
    /// From the first byte
    Direct,
    /// In the clear; to this machine only
    None,
}

impl Way {
    /// The server, with the login, whose password is read now.
    pub(super) fn server(&self, host: String, port: Option<u16>) -> Result<Server, Failure> {
        let tls = match (self.tls, port) {
            (Some(Tls::Direct), _) | (None, Some(465)) => TlsMode::Direct,
            (Some(Tls::None), _) => TlsMode::None,
            _ => TlsMode::StartTls,
        };
        let login = match (&self.user, &self.password_file) {
            (Some(user), Some(file)) => {
                let password = crate::config::read_secret(file)
                    .map_err(|err| Failure { code: EX_NOINPUT, what: format!("--password-file: {err}") })?;
                Some((user.clone(), password))
            }
            _ => None,
        };
        let (allow_plaintext, ca_file) = (self.allow_plaintext, self.ca_file.clone());
        Ok(Server { host, port, tls, allow_plaintext, ca_file, login, hello: hostname() })
    }

    /// A mail with alerts as XML.
    pub(super) fn mail(
        &self,
        to: &[Mailbox],
        id: &str,
        subject: &str,
        now: Timestamp,
        xml: String,
    ) -> Result<Message, Failure> {
        let from = match &self.from {
            Some(from) => from.clone(),
            None => format!("mailbell@{}", hostname()).parse().map_err(wrong("--from"))?,
        };
        let builder = Message::builder()
            .from(from)
            .date(now.into())
            .message_id(Some(format!("<{id}>")))
            .subject(subject)
            // RFC 3834 §5: nobody's vacation program answers it.
            .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".into()));
        let builder = to.iter().cloned().fold(builder, MessageBuilder::to);
        let kind = ContentType::parse("application/xml; charset=utf-8").map_err(wrong("content type"))?;
        builder.header(MIME_VERSION_1_0).header(kind).body(xml).map_err(wrong("the mail"))
    }
}

/// One that no other mail has.
pub(super) fn message_id(now: Timestamp) -> String {
    format!("{}.{:016x}@{}", now.as_millisecond(), rand::random::<u64>(), hostname())
}

pub(super) fn wrong<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> Failure {
    move |err| Failure { code: EX_DATAERR, what: format!("{what}: {err}") }
}

/// The server that takes the mail.
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: Option<u16>,
    pub(super) tls: TlsMode,
    pub(super) allow_plaintext: bool,
    pub(super) ca_file: Option<PathBuf>,
    /// User and password.
    pub(super) login: Option<(String, Secret)>,
    /// Name that we give in EHLO.
    pub(super) hello: String,
}

impl Server {
    /// The port given, else the usual one (RFC 8314 §7.3, RFC 6409 §3.1, RFC 5321 §4.5.4.2).
    pub(super) fn port(&self) -> u16 {
        self.port.unwrap_or(match self.tls {
            TlsMode::Direct => 465,
            TlsMode::StartTls => 587,
            TlsMode::None => 25,
        })
    }

    /// Sends it: when this returns `Ok`, the server took it for all its addressees.
    pub(super) async fn send(&self, mail: &Message) -> Result<(), Failure> {
        let sent = timeout(WHOLE, self.talk(mail)).await;
        sent.unwrap_or_else(|_| Err(self.failure(EX_TEMPFAIL, "no answer within 120 s")))
    }

    async fn talk(&self, mail: &Message) -> Result<(), Failure> {
        let mut connection = self.connect().await?;
        let sent = async {
            if let Some((user, password)) = &self.login {
                let credentials = Credentials::new(user.clone(), password.expose().to_owned());
                connection.auth(DEFAULT_MECHANISMS, &credentials).await?;
            }
            connection.send(mail.envelope(), &mail.formatted()).await
        };
        sent.await.map_err(|err| self.explain(&err))?;
        // It has the mail: how it says goodbye does not matter.
        let _ = timeout(BYE, connection.quit()).await;
        Ok(())
    }

    /// Connected, and greeted inside TLS where that is asked for.
    async fn connect(&self) -> Result<AsyncSmtpConnection, Failure> {
        let (ca, port) = (self.ca_file(), self.port());
        let stream: Box<dyn AsyncTokioStream> = match self.tls {
            TlsMode::None => Box::new(self.in_the_clear().await?),
            TlsMode::Direct => {
                Box::new(upgrade::direct(&self.host, port, ca?, ANSWER).await.map_err(|err| self.no_tls(&err))?)
            }
            TlsMode::StartTls => {
                let stream = upgrade::starttls(&self.host, port, &self.hello, ca?, ANSWER).await;
                Box::new(stream.map_err(|err| self.no_tls(&err))?)
            }
        };
        let hello = ClientId::Domain(self.hello.clone());
        let connection = timeout(ANSWER, AsyncSmtpConnection::connect_with_transport(stream, &hello)).await;
        let slow = || self.failure(EX_TEMPFAIL, &format!("no answer within {} s", ANSWER.as_secs()));
        connection.map_err(|_| slow())?.map_err(|err| self.explain(&err))
    }

    async fn in_the_clear(&self) -> Result<TcpStream, Failure> {
        // The very address that was looked at is dialled: the name could stand for another one the next moment.
        let address = self.address_in_the_clear().await?;
        let connected = timeout(ANSWER, TcpStream::connect(address)).await;
        let slow = || self.failure(EX_TEMPFAIL, &format!("no answer within {} s", ANSWER.as_secs()));
        connected.map_err(|_| slow())?.map_err(|err| self.failure(EX_TEMPFAIL, &err.to_string()))
    }

    async fn address_in_the_clear(&self) -> Result<SocketAddr, Failure> {
        let found = timeout(ANSWER, lookup_host((self.host.as_str(), self.port()))).await;
        let addresses: Vec<SocketAddr> = match found {
            Ok(Ok(addresses)) => addresses.collect(),
            Ok(Err(err)) => return Err(self.failure(EX_TEMPFAIL, &format!("cannot resolve the name: {err}"))),
            Err(_) => return Err(self.failure(EX_TEMPFAIL, "cannot resolve the name: no answer")),
        };
        let Some(address) = addresses.first() else {
            return Err(self.failure(EX_TEMPFAIL, "the name has no address"));
        };
        if !self.allow_plaintext && !address.ip().is_loopback() {
            let ip = address.ip();
            let why = format!("{ip} is not on this machine; use --tls starttls or direct, or add --allow-plaintext");
            return Err(self.failure(EX_UNAVAILABLE, &why));
        }
        Ok(*address)
    }

    /// The file with more authorities, if it can be used.
    fn ca_file(&self) -> Result<Option<&Path>, Failure> {
        let Some(path) = &self.ca_file else { return Ok(None) };
        match crate::net::client_config(Some(path)) {
            Ok(_) => Ok(Some(path)),
            Err(err) => Err(Failure {
                code: EX_NOINPUT,
                what: format!("--ca-file {}: {err}; name a file with certificates in PEM form", path.display()),
            }),
        }
    }

    fn no_tls(&self, err: &NoTls) -> Failure {
        if let NoTls::Handshake(err) = err
            && let Some(why) = certificate_refused(err)
        {
            return self.failure(EX_UNAVAILABLE, &format!("its certificate was refused: {why}"));
        }
        let hint = match err {
            NoTls::Refused(what, _) if !what.contains("--tls") => "; use --tls direct, or --tls none to this machine",
            _ => "",
        };
        let code = match err {
            NoTls::Tls(_) | NoTls::Handshake(_) | NoTls::Refused(_, true) => EX_UNAVAILABLE,
            NoTls::Dial(_) | NoTls::Broken(_) | NoTls::Refused(_, false) => EX_TEMPFAIL,
        };
        self.failure(code, &format!("{err}{hint}"))
    }

    fn explain(&self, err: &lettre::transport::smtp::Error) -> Failure {
        let text = err.to_string();
        let login = self.login.is_some() && err.status().is_some_and(|code| matches!(u16::from(code), 530 | 534 | 535));
        let hint = if login { "; check --user and --password-file" } else { "" };
        let code = if err.is_permanent() || err.is_client() || err.is_tls() { EX_UNAVAILABLE } else { EX_TEMPFAIL };
        self.failure(code, &format!("{text}{hint}"))
    }

    fn failure(&self, code: u8, why: &str) -> Failure {
        // A server's answer is data from outside.
        let why: String = why.chars().map(|c| if plays_tricks(c) { ' ' } else { c }).take(500).collect();
        Failure { code, what: format!("{}:{}: {why}", self.host, self.port()) }
    }
}

fn certificate_refused(err: &std::io::Error) -> Option<String> {
    use rustls::CertificateError as C;
    let rustls::Error::InvalidCertificate(why) = err.get_ref()?.downcast_ref()? else { return None };
    Some(match why {
        C::UnknownIssuer => "its authority is not trusted here; give the authority's certificate as --ca-file".into(),
        C::BadSignature => {
            "its signature is not by the authority of that name that is trusted here; give the authority's present \
                            certificate as --ca-file"
                .into()
        }
        C::NotValidForName | C::NotValidForNameContext { .. } => {
            "it is for another name; give --smtp the name in the certificate".into()
        }
        C::Expired | C::ExpiredContext { .. } => "it has expired; renew it on the server".into(),
        C::NotValidYet | C::NotValidYetContext { .. } => {
            "it is not valid yet; look at the clocks of the server and of this machine".into()
        }
        other => other.to_string(),
    })
}

/// This machine's name, as far as it can stand in a mail address.
pub(super) fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    match crate::model::parse_server(name) {
        Ok((host, None)) if host.parse::<std::net::IpAddr>().is_err() => host,
        _ => "localhost".into(),
    }
}
