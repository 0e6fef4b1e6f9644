//! The other end of the socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::problem::Problem;
use super::reload::{Kept, Reloaded};
use super::router::{Expire, ListQuery, Page, Refusal};
use crate::metrics::Overview;
use crate::model::{AlertId, MessageId, NotificationId};
use crate::queue::{
    self, Archive, ArchiveRow, Desk, ListFilter, MessageView, NotificationView, QuarantineView, SentFilter, StoreError,
    StoreFault,
};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The same for a reload, which waits for mailboxes to be left.
const RELOAD: Duration = Duration::from_secs(60);

/// Largest answer that is taken, bytes: far over any mail that is fetched whole.
const MOST: usize = 256 << 20;

/// The desk of the service behind a control socket.
#[derive(Debug)]
pub struct Remote {
    path: PathBuf,
}

impl Remote {
    /// The service behind this socket; `None` where no process answers.
    ///
    /// # Errors
    /// The socket is there and may not be used: it belongs to another user.
    pub async fn connect(path: &Path) -> io::Result<Option<Self>> {
        match UnixStream::connect(path).await {
            Ok(_) => Ok(Some(Self { path: path.to_owned() })),
            Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
            Err(err) => Err(io::Error::new(
                err.kind(),
                format!("control socket {}: {err}; run this as the user that mailbell runs as", path.display()),
            )),
        }
    }

    /// Makes the service read its config again. `Err` inside: the config is bad, and the old one stays.
    pub async fn reload(&self) -> Result<Result<Reloaded, Kept>, StoreError> {
        let (status, body) = self.send(Method::POST, "/v1/reload", Vec::new(), RELOAD).await?;
        match status {
            StatusCode::UNPROCESSABLE_ENTITY => Ok(Err(self.read::<Refusal>(&body)?.kept)),
            status if status.is_success() => Ok(Ok(self.read(&body)?)),
            status => {
                let problem: Problem =
                    serde_json::from_slice(&body).map_err(|_| self.failed(&format!("it answered {status}")))?;
                Err(problem.into())
            }
        }
    }

    /// How the service is.
    ///
    /// # Errors
    /// It does not answer, or is another version, which answers something else.
    pub async fn status(&self) -> Result<Overview, StoreError> {
        let overview = self.get("/v1/status").await?;
        overview.ok_or_else(|| self.older("has no status"))
    }

    fn failed(&self, what: &dyn std::fmt::Display) -> StoreError {
        StoreError { what: format!("control socket {}: {what}", self.path.display()), fault: StoreFault::Broken }
    }

    pub(super) fn older(&self, lacks: &str) -> StoreError {
        self.failed(&format!("the service is an older one, and {lacks}; restart it"))
    }

    pub(super) fn read<T: DeserializeOwned>(&self, body: &Bytes) -> Result<T, StoreError> {
        serde_json::from_slice(body).map_err(|err| self.failed(&format!("an answer that is not understood: {err}")))
    }

    /// One request; `None`: what it is about is not there (404, 410).
    pub(super) async fn ask(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Option<Bytes>, StoreError> {
        let (status, body) = self.send(method, path, body, PATIENCE).await?;
        if status.is_success() {
            return Ok(Some(body));
        }
        if matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) {
            return Ok(None);
        }
        let problem: Problem =
            serde_json::from_slice(&body).map_err(|_| self.failed(&format!("it answered {status}")))?;
        Err(problem.into())
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        patience: Duration,
    ) -> Result<(StatusCode, Bytes), StoreError> {
        let failed = |what: &dyn std::fmt::Display| self.failed(what);
        let answered = timeout(patience, async {
            let stream = UnixStream::connect(&self.path).await.map_err(|err| failed(&err))?;
            let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
            let (mut sender, connection) = handshake.map_err(|err| failed(&err))?;
            let connection = tokio::spawn(connection);
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header(header::HOST, "localhost")
                .header(header::CONTENT_TYPE, "application/json")
                .body(Full::new(Bytes::from(body)))
                .map_err(|err| failed(&err))?;
            let response = sender.send_request(request).await.map_err(|err| failed(&err))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MOST).collect().await.map_err(|err| failed(&err))?.to_bytes();
            drop(sender);
            // The answer is complete: how the connection ends does not matter.
            let _ = connection.await;
            Ok::<_, StoreError>((status, body))
        });
        answered.await.map_err(|_| failed(&format!("no answer in {} s", patience.as_secs())))?
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, StoreError> {
        let body = self.ask(Method::GET, path, Vec::new()).await?;
        body.map(|body| self.read(&body)).transpose()
    }
}

/// `path?query`, percent-encoded (RFC 3986 §2.1).
fn with_query(path: &str, query: &impl Serialize) -> String {
    let pairs = serde_json::to_value(query).ok().and_then(|v| v.as_object().cloned()).unwrap_or_default();
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={}", encode(value.as_str().unwrap_or(&value.to_string()))))
        .collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

pub(super) fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}

fn absent(id: NotificationId) -> StoreError {
    StoreError::refused(format!("there is no notification {id}"))
}

#[async_trait]
impl Desk for Remote {
    async fn list(&self, filter: &ListFilter) -> Result<Vec<NotificationView>, StoreError> {
        Ok(self.get(&with_query("/v1/notifications", &ListQuery::from(filter))).await?.unwrap_or_default())
    }

    async fn show_alert(&self, id: AlertId) -> Result<Option<MessageView>, StoreError> {
        self.get(&format!("/v1/alerts/{}", encode(id.to_string().trim_start_matches('#')))).await
    }

    async fn show(&self, id: NotificationId) -> Result<Option<NotificationView>, StoreError> {
        self.get(&format!("/v1/notifications/{id}")).await
    }

    async fn retry_now(&self, id: NotificationId, _: Timestamp) -> Result<(), StoreError> {
        let done = self.ask(Method::POST, &format!("/v1/notifications/{id}/retry"), Vec::new()).await?;
        done.map(drop).ok_or_else(|| absent(id))
    }

    async fn expire_now(&self, id: NotificationId, reason: &str, _: Timestamp) -> Result<(), StoreError> {
        let body = serde_json::to_vec(&Expire { reason: reason.to_owned() }).unwrap_or_default();
        let done = self.ask(Method::POST, &format!("/v1/notifications/{id}/expire"), body).await?;
        done.map(drop).ok_or_else(|| absent(id))
    }

    async fn quarantine(&self, after: Option<MessageId>, limit: usize) -> Result<Vec<QuarantineView>, StoreError> {
        let page = Page { after: after.map(|id| id.0), limit: (limit > 0).then_some(limit) };
        Ok(self.get(&with_query("/v1/quarantine", &page)).await?.unwrap_or_default())
    }

    async fn quarantined(&self, id: MessageId) -> Result<Option<(QuarantineView, Option<Vec<u8>>)>, StoreError> {
        let Some(view) = self.get(&format!("/v1/quarantine/{id}")).await? else { return Ok(None) };
        let raw = self.ask(Method::GET, &format!("/v1/quarantine/{id}/raw"), Vec::new()).await?;
        Ok(Some((view, raw.map(Vec::from))))
    }

    async fn replay(&self, id: MessageId) -> Result<(), StoreError> {
        let done = self.ask(Method::POST, &format!("/v1/quarantine/{id}/replay"), Vec::new()).await?;
        done.map(drop).ok_or_else(|| StoreError::refused(format!("message {id} is not in quarantine")))
    }
}

#[async_trait]
impl Archive for Remote {
    async fn archive(&self, filter: &SentFilter) -> Result<queue::Page<ArchiveRow>, StoreError> {
        let body = serde_json::to_vec(filter).unwrap_or_default();
        let answer = self.ask(Method::POST, "/v1/archive", body).await?;
        self.read(&answer.ok_or_else(|| self.older("has no archive"))?)
    }
}
