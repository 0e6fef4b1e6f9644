//! A token endpoint (RFC 6749) that also tells Dovecot whose a token is (RFC 7662, as far as Dovecot's oauth2 passdb asks).

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::ca::Ca;

/// What the client has to know.
pub const CLIENT: &str = "mailbell";
pub const CLIENT_SECRET: &str = "s3cret/of+the client";
pub const REFRESH: &str = "refresh-0";
pub const SCOPE: &str = "mail.read offline";

/// How the endpoint behaves.
#[derive(Clone)]
pub struct Manner {
    /// How long tokens are good for; what it says of that.
    pub life: Duration,
    pub says: Option<u64>,
    /// Answers every request for a token so: status and body.
    pub instead: Option<(u16, String)>,
    /// Each refresh token serves once.
    pub rotates: bool,
    /// Gives tokens that are good for nothing.
    pub useless: bool,
}

impl Default for Manner {
    fn default() -> Self {
        Self { life: Duration::from_secs(3600), says: Some(3600), instead: None, rotates: false, useless: false }
    }
}

#[derive(Default)]
struct Books {
    manner: Manner,
    /// Until when each token is good.
    tokens: HashMap<String, Instant>,
    refresh: Option<String>,
    /// The body of each request for a token, and its Authorization.
    requests: Vec<(String, Option<String>)>,
    /// Tokens that were refused to Dovecot.
    refused: usize,
}

/// A running endpoint.
pub struct Oauth {
    pub port: u16,
    tls: bool,
    books: Arc<Mutex<Books>>,
    task: JoinHandle<()>,
}

/// TLS with the certificate of a throw-away authority.
pub fn acceptor(ca: &Ca) -> TlsAcceptor {
    let certs = CertificateDer::pem_file_iter(ca.cert()).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(ca.key()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certs, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

impl Oauth {
    /// In the clear; its tokens are good for the mailbox of `user`.
    pub async fn start(user: &str) -> Self {
        Self::serve(user, None).await
    }

    /// With TLS, by a certificate for 127.0.0.1.
    pub async fn start_tls(user: &str, ca: &Ca) -> Self {
        Self::serve(user, Some(acceptor(ca))).await
    }

    async fn serve(user: &str, acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let books = Arc::new(Mutex::new(Books { refresh: Some(REFRESH.into()), ..Books::default() }));
        let (shared, name, tls) = (books.clone(), user.to_owned(), acceptor.is_some());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (books, user, acceptor) = (shared.clone(), name.clone(), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => talk(stream, &user, &books).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                talk(stream, &user, &books).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, tls, books, task }
    }

    pub fn token_url(&self) -> String {
        format!("{}://127.0.0.1:{}/token", if self.tls { "https" } else { "http" }, self.port)
    }

    /// Dovecot's oauth2 passdb, which asks here about each token.
    pub fn dovecot_settings(&self) -> String {
        format!(
            "introspection_mode = auth\nintrospection_url = http://127.0.0.1:{}/introspect\nforce_introspection = yes\n\
             username_attribute = user\nactive_attribute = active\nactive_value = true\ntimeout_msecs = 5000\n",
            self.port
        )
    }

    pub fn set(&self, manner: Manner) {
        self.books.lock().unwrap().manner = manner;
    }

    /// A token is good no more.
    pub fn revoke_all(&self) {
        self.books.lock().unwrap().tokens.clear();
    }

    /// A token as the endpoint would issue it.
    pub fn issue(&self) -> String {
        self.books.lock().unwrap().issue()
    }

    /// The requests for tokens so far.
    pub fn requests(&self) -> Vec<(String, Option<String>)> {
        self.books.lock().unwrap().requests.clone()
    }

    /// Tokens that Dovecot was told to refuse so far.
    pub fn refused(&self) -> usize {
        self.books.lock().unwrap().refused
    }
}

impl Drop for Oauth {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Books {
    fn issue(&mut self) -> String {
        let token = format!("ya29.{}", mailbell::model::StanzaId::random());
        if !self.manner.useless {
            self.tokens.insert(token.clone(), Instant::now() + self.manner.life);
        }
        token
    }

    fn token(&mut self, form: &HashMap<String, String>, authorization: Option<&str>) -> (u16, String) {
        if let Some(instead) = &self.manner.instead {
            return instead.clone();
        }
        let field = |name: &str| form.get(name).map_or("", String::as_str);
        let by_body = field("client_id") == CLIENT && field("client_secret") == CLIENT_SECRET;
        // RFC 6749 §2.3.1: each part is form-encoded before.
        let by_basic = authorization == Some("Basic bWFpbGJlbGw6czNjcmV0JTJGb2YlMkJ0aGUrY2xpZW50");
        let known = by_body || by_basic || (field("client_id") == CLIENT && field("grant_type") == "refresh_token");
        if !known {
            return (401, error("invalid_client"));
        }
        let new = match field("grant_type") {
            "client_credentials" if by_body || by_basic => None,
            "refresh_token" if Some(field("refresh_token")) == self.refresh.as_deref() => {
                self.manner.rotates.then(|| format!("refresh-{}", self.requests.len()))
            }
            "refresh_token" => return (400, error("invalid_grant")),
            _ => return (400, error("unsupported_grant_type")),
        };
        self.refresh = new.clone().or(self.refresh.take());
        let mut answer = serde_json::json!({ "access_token": self.issue(), "token_type": "Bearer" });
        if let Some(seconds) = self.manner.says {
            answer["expires_in"] = seconds.into();
        }
        if let Some(new) = new {
            answer["refresh_token"] = new.into();
        }
        (200, answer.to_string())
    }

    fn introspect(&mut self, user: &str, authorization: Option<&str>) -> (u16, String) {
        let token = authorization.and_then(|text| text.strip_prefix("Bearer ")).unwrap_or_default();
        if self.tokens.get(token).is_some_and(|end| Instant::now() < *end) {
            return (200, serde_json::json!({ "active": true, "user": user, "scope": "mail.read" }).to_string());
        }
        self.refused += 1;
        (200, serde_json::json!({ "active": false }).to_string())
    }
}

fn error(code: &str) -> String {
    serde_json::json!({ "error": code, "error_description": format!("it is {code}") }).to_string()
}

/// One request, one answer.
async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin, user: &str, books: &Mutex<Books>) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    let Ok(1..) = stream.read_line(&mut line).await else { return };
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut length, mut authorization) = (0usize, None);
    loop {
        let mut header = String::new();
        let Ok(1..) = stream.read_line(&mut header).await else { return };
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "authorization" => authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    if stream.read_exact(&mut body).await.is_err() {
        return;
    }
    let body = String::from_utf8(body).unwrap();
    let (status, answer) = {
        let mut books = books.lock().unwrap();
        if path == "/token" {
            books.requests.push((body.clone(), authorization.clone()));
            books.token(&form(&body), authorization.as_deref())
        } else {
            books.introspect(user, authorization.as_deref())
        }
    };
    let kind = if answer.starts_with('{') { "application/json" } else { "text/html" };
    let head = format!(
        "HTTP/1.1 {status} So\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        answer.len()
    );
    let _ = stream.write_all(format!("{head}{answer}").as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// `application/x-www-form-urlencoded`.
pub fn form(body: &str) -> HashMap<String, String> {
    body.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), decoded(value)))
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = text.replace('+', " ").into_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            let hex = std::str::from_utf8(&bytes[at + 1..at + 3]).unwrap();
            bytes[at] = u8::from_str_radix(hex, 16).unwrap();
            bytes.drain(at + 1..at + 3);
        }
        at += 1;
    }
    String::from_utf8(bytes).unwrap()
}
