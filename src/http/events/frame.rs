//! An event as it is sent.

use axum::body::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use crate::model::GroupName;
use crate::queue::{Event, EventKind, Happened, Reach};

/// An event, ready to be sent; all who get it share its bytes.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) id: i64,
    pub(super) kind: EventKind,
    pub(super) groups: Vec<GroupName>,
    text: Bytes,
    /// Where its groups begin in `text`, to the end.
    cut: usize,
}

#[derive(Serialize)]
struct Data<'a> {
    at: Timestamp,
    #[serde(flatten)]
    what: &'a Happened,
}

impl Frame {
    pub(super) fn new(event: &Event) -> Self {
        let Event { id, at, groups, what } = event;
        let kind = what.kind();
        // JSON has no line ends within: it is one `data` line. It can be written, as it has no keys but words.
        let data = serde_json::to_string(&Data { at: *at, what }).unwrap_or_default();
        let mut text = format!("id: {id}\nevent: {}\ndata: {}", kind.as_str(), data.strip_suffix('}').unwrap_or(&data));
        let cut = text.len();
        text.push_str(&tail(groups));
        Self { id: *id, kind, groups: groups.clone(), text: text.into(), cut }
    }

    /// For who sees everything.
    pub(super) fn whole(&self) -> Bytes {
        self.text.clone()
    }

    /// For who sees only some groups: of the others not even their names are told.
    pub(super) fn with(&self, groups: &[GroupName]) -> Bytes {
        let mut text = self.text.get(..self.cut).unwrap_or_default().to_vec();
        text.extend_from_slice(tail(groups).as_bytes());
        text.into()
    }

    /// Bytes that it takes.
    pub(super) fn size(&self) -> usize {
        self.text.len() + size_of::<Self>()
    }
}

fn tail(groups: &[GroupName]) -> String {
    format!(",\"groups\":{}}}\n\n", serde_json::to_string(groups).unwrap_or_else(|_| "[]".into()))
}

/// Connect again after so many milliseconds; a place in the log without an event. Who is cut off before the first event comes back
/// to where it was.
pub(super) fn beginning(id: i64) -> Bytes {
    format!("retry: 1000\nid: {id}\n\n").into()
}

/// A sign of life, with the place in the log, which moves on where nothing passes the filter.
pub(super) fn alive(id: i64) -> Bytes {
    format!(":\nid: {id}\n\n").into()
}

/// What was asked for is not in the log any more (or never was, of this store).
pub(super) fn reset(span: Reach) -> Bytes {
    #[derive(Serialize)]
    struct Reset {
        /// The oldest event that is still there.
        oldest: i64,
        /// The stream goes on after this one.
        newest: i64,
    }
    let Reach { oldest, newest } = span;
    let data = serde_json::to_string(&Reset { oldest, newest }).unwrap_or_default();
    format!("id: {newest}\nevent: reset\ndata: {data}\n\n").into()
}

/// Why a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    Slow,
    Token,
    Stopping,
    Store,
}

/// The last event of a stream.
pub(super) fn dropped(why: Why) -> Bytes {
    #[derive(Serialize)]
    struct Dropped {
        reason: &'static str,
        detail: &'static str,
    }
    let (reason, detail) = match why {
        Why::Slow => ("slow", "too far behind to be served from memory; connect again and go on with Last-Event-ID"),
        Why::Token => ("token", "the token was revoked or has expired, or the session has ended"),
        Why::Stopping => ("stopping", "mailbell stops; connect again and go on with Last-Event-ID"),
        Why::Store => ("store", "the log cannot be read now; connect again and go on with Last-Event-ID"),
    };
    let data = serde_json::to_string(&Dropped { reason, detail }).unwrap_or_default();
    format!("event: dropped\ndata: {data}\n\n").into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::queue::{MailboxEvent, ProbeEvent};

    fn event(what: Happened) -> Event {
        let groups = ["ops", "dba"].map(|name| name.parse().unwrap()).to_vec();
        Event { id: 7, at: Timestamp::UNIX_EPOCH, groups, what }
    }

    fn data(bytes: &Bytes) -> Value {
        let text = std::str::from_utf8(bytes).unwrap();
        let (head, data) = text.split_once("\ndata: ").unwrap();
        assert!(head.starts_with("id: 7\nevent: "), "{text}");
        assert!(data.ends_with("}\n\n") && data.trim_end().lines().count() == 1, "{text}");
        serde_json::from_str(data).unwrap()
    }

    #[test]
    fn it_is_one_line_of_json_whatever_is_in_it() {
        let error = Some("line\nfeed\r}}\u{2028}".to_owned());
        let mailbox = MailboxEvent { mailbox: "ops".into(), state: "failing".into(), error: error.clone() };
        let frame = Frame::new(&event(Happened::Mailbox(mailbox)));
        let wanted = json!({ "at": "1970-01-01T00:00:00Z", "mailbox": "ops", "state": "failing", "error": error,
            "groups": ["ops", "dba"] });
        assert_eq!(data(&frame.whole()), wanted);
        let told = json!({ "ports": { "5432": { "kind": "refused" } } });
        let probe = ProbeEvent { host: "db1".into(), state: "partly down".into(), told: told.clone() };
        let frame = Frame::new(&event(Happened::Probe(probe)));
        assert_eq!(data(&frame.whole())["told"], told, "nested to the end");
        let some = data(&frame.with(&["dba".parse().unwrap()]));
        assert_eq!((&some["groups"], &some["told"]), (&json!(["dba"]), &told));
    }
}
