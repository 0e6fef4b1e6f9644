//! A listener to the event stream.

use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::time::timeout;

use super::mailbell::SOON;
use super::web::Web;

/// One event that has data.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// `None`: it has none of its own.
    pub id: Option<i64>,
    pub event: String,
    pub data: Value,
}

/// A stream that is open. Dropped, it is closed.
pub struct Listening {
    pub headers: HeaderMap,
    body: Incoming,
    connection: tokio::task::JoinHandle<hyper::Result<()>>,
    /// What came and was not looked at yet.
    rest: Vec<u8>,
    /// The last id that was said, with an event or without.
    pub last: i64,
    /// Lines that say nothing.
    pub comments: usize,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Web {
    /// `GET /api/v1/events` with this query (`?type=alert`, or nothing), from after that event on.
    pub async fn listen(&self, query: &str, token: &str, after: Option<i64>) -> Listening {
        let (mut sender, connection) = http1::handshake(TokioIo::new(self.connect().await)).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut request = Request::get(format!("/api/v1/events{query}"))
            .header(HOST, "localhost")
            .header("authorization", format!("Bearer {token}"));
        if let Some(id) = after {
            request = request.header("Last-Event-ID", id);
        }
        let answered = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        let (head, body) = answered.into_parts();
        assert_eq!(head.status, 200);
        let (rest, last, comments) = (Vec::new(), -1, 0);
        let mut listening = Listening { headers: head.headers, body, connection, rest, last, comments };
        // It says at once where it begins, or that there is a gap.
        listening.more().await;
        if !listening.rest.windows(5).any(|five| five == b"data:")
            && let Some(block) = listening.block()
        {
            listening.read(&block);
        }
        listening
    }
}

impl Listening {
    /// The next event; `None`: the stream has ended.
    pub async fn next(&mut self) -> Option<Told> {
        loop {
            while let Some(block) = self.block() {
                if let Some(told) = self.read(&block) {
                    return Some(told);
                }
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// Events up to the first that is so, and that one.
    pub async fn until(&mut self, is: impl Fn(&Told) -> bool) -> Vec<Told> {
        let mut all = Vec::new();
        loop {
            let Some(told) = self.next().await else { panic!("the stream ended after {all:?}") };
            let found = is(&told);
            all.push(told);
            if found {
                return all;
            }
        }
    }

    /// All that comes until it ends, by itself or because the other end is gone.
    pub async fn until_end(&mut self) -> Vec<Told> {
        let mut all = Vec::new();
        let ended = timeout(SOON * 3, async {
            while let Some(told) = self.next().await {
                all.push(told);
            }
        });
        assert!(ended.await.is_ok(), "the stream does not end");
        all
    }

    /// Reads until so many lines said nothing; no event may come.
    pub async fn comments(&mut self, wanted: usize) {
        while self.comments < wanted {
            while let Some(block) = self.block() {
                assert_eq!(self.read(&block), None);
            }
            assert!(self.comments >= wanted || self.more().await, "the stream ended");
        }
    }

    fn block(&mut self) -> Option<String> {
        let end = self.rest.windows(2).position(|two| two == b"\n\n")?;
        let block = String::from_utf8(self.rest.drain(..end + 2).collect()).unwrap();
        Some(block)
    }

    fn read(&mut self, block: &str) -> Option<Told> {
        let (mut id, mut event, mut data) = (None, "message", None);
        for line in block.lines().filter(|line| !line.is_empty()) {
            match line.split_once(':').unwrap() {
                ("id", value) => id = Some(value.trim().parse().unwrap()),
                ("event", value) => event = value.trim(),
                ("data", value) => data = Some(serde_json::from_str(value).unwrap()),
                ("retry", _) => {}
                ("", _) => self.comments += 1,
                (other, _) => panic!("{other}"),
            }
        }
        self.last = id.unwrap_or(self.last);
        Some(Told { id, event: event.to_owned(), data: data? })
    }

    /// `false`: it has ended.
    async fn more(&mut self) -> bool {
        let limit = SOON * 3 + Duration::from_secs(1);
        let frame = timeout(limit, self.body.frame()).await.expect("nothing comes");
        match frame {
            Some(Ok(frame)) => {
                self.rest.extend_from_slice(&frame.into_data().unwrap_or_default());
                true
            }
            Some(Err(_)) | None => false,
        }
    }
}
