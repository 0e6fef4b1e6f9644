//! A client that keeps its connection, and a gateway that hands nothing on: its chat server is not there.

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::support::free_port;
use super::support::mailbell::Mailbell;
use super::support::web::{alone, token};

/// The gateway, started, and a token that may do everything.
pub struct Gateway {
    pub mailbell: Mailbell,
    pub port: u16,
    pub token: String,
}

impl Gateway {
    /// With these keys of `[http]`.
    pub fn start(more: &str) -> Self {
        let port = free_port();
        let mailbell = Mailbell::run(&alone(port, &format!("rate = 0\n{more}")));
        let token = token(&mailbell, "bench", "admin", &[]);
        Self { mailbell, port, token }
    }

    pub async fn client(&self) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        // It ends with its client.
        tokio::spawn(connection);
        Client { sender, bearer: format!("Bearer {}", self.token) }
    }
}

/// One connection.
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
    bearer: String,
}

impl Client {
    /// Hands alerts of these titles in; how many became alerts.
    pub async fn post(&mut self, titles: impl Iterator<Item = String>) -> usize {
        let alerts: Vec<Value> = titles
            .map(|title| json!({ "key": title, "title": title, "severity": "minor", "text": "Disk of this node is nearly full." }))
            .collect();
        let request = Request::post("/api/v1/alerts")
            .header("host", "localhost")
            .header("authorization", &self.bearer)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(serde_json::to_vec(&alerts).unwrap())))
            .unwrap();
        self.sender.ready().await.unwrap();
        let (head, body) = self.sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        assert_eq!(head.status, 202, "{}", String::from_utf8_lossy(&body));
        serde_json::from_slice::<Value>(&body).unwrap()["alerts"].as_array().unwrap().len()
    }
}
