//! An HTTP client for the gateway's own door, and a gateway that has little else.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::ca::Ca;
use super::contract;
use super::mailbell::{Mailbell, SOON};

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|err| panic!("{err}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// It must be a problem of this status, with its media type; returns `detail`.
    pub fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let json = self.json();
        assert_eq!(json["status"], status);
        assert_eq!(json["title"], StatusCode::from_u16(status).unwrap().canonical_reason().unwrap());
        json["detail"].as_str().unwrap().to_owned()
    }
}

/// Where requests go.
#[derive(Clone)]
pub struct Web {
    pub port: u16,
    tls: Option<Arc<ClientConfig>>,
}

impl Web {
    pub fn new(port: u16) -> Self {
        Self { port, tls: None }
    }

    /// By `https://`.
    pub fn tls(port: u16, ca: &Ca) -> Self {
        Self { port, tls: Some(mailbell::net::client_config(Some(&ca.ca())).unwrap()) }
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    /// One request on a connection of its own.
    pub async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let stream = self.connect().await;
        let answer = match &self.tls {
            None => exchange(stream, method, path, headers, body.into()).await,
            Some(config) => {
                let name = ServerName::try_from("localhost").unwrap();
                let stream = TlsConnector::from(config.clone()).connect(name, stream).await.unwrap();
                exchange(stream, method, path, headers, body.into()).await
            }
        };
        contract::check(method, path, &answer);
        answer
    }

    pub async fn get(&self, path: &str, token: &str) -> Answer {
        self.ask("GET", path, &[("authorization", &format!("Bearer {token}"))], "").await
    }

    /// JSON with a token.
    pub async fn post(&self, path: &str, token: &str, body: &Value) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), (CONTENT_TYPE.as_str(), "application/json")];
        self.ask("POST", path, &headers, body.to_string()).await
    }

    /// Sends these bytes as they are, and reads until the other end closes.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // It may be closed before all of it is written.
        let _ = stream.write_all(bytes).await;
        read_to_end(stream).await
    }
}

/// All that comes until the other end closes, which it has to.
pub async fn read_to_end(mut stream: TcpStream) -> String {
    let mut all = Vec::new();
    let done = tokio::time::timeout(SOON + Duration::from_secs(20), stream.read_to_end(&mut all)).await;
    assert!(done.is_ok(), "the connection stays open after {:?}", String::from_utf8_lossy(&all));
    String::from_utf8_lossy(&all).into_owned()
}

async fn exchange<S>(stream: S, method: &str, path: &str, headers: &[(&str, &str)], body: Bytes) -> Answer
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header(HOST, "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answered = sender.send_request(request.body(Full::new(body)).unwrap()).await;
    let response = answered.unwrap_or_else(|err| panic!("{method} {path}: {err}"));
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    drop(sender);
    // The answer is complete: how the connection ends does not matter.
    let _ = connection.await;
    let body = String::from_utf8_lossy(&body).into_owned();
    Answer { status: head.status.as_u16(), headers: head.headers, body }
}

/// A gateway whose chat server is not there: for what nobody has to hear of. The last argument are more keys of `[http]`.
pub fn alone(port: u16, more: &str) -> String {
    format!(
        r#"
[store]
path = "{{dir}}/mailbell.db"
reserve = "1MiB"
[xmpp]
jid = "alerts@example.test"
password = "pw"
servers = ["127.0.0.1:1"]
[operators]
group = "ops"
default_group = "ops"
[[recipient]]
name = "ann"
jid = "ann@example.test"
[[group]]
name = "ops"
members = ["ann"]
[[group]]
name = "dba"
members = ["ann"]
[http]
listen = "127.0.0.1:{port}"
{more}
"#
    )
}

/// A token that the command makes.
pub fn token(mailbell: &Mailbell, name: &str, scopes: &str, more: &[&str]) -> String {
    let output = mailbell.cli(&[&["token", "create", name, "--scope", scopes], more].concat(), true);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
