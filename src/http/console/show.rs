//! How single things are shown: times, words with a colour, links.

use std::fmt;

use askama::filters::HtmlSafe;
use jiff::Timestamp;

use crate::model::{NotificationState, Severity};

/// A moment: how long ago, for people; exactly, for whoever points at it and for programs.
#[derive(Debug, Clone, Copy)]
pub(super) struct When {
    pub at: Timestamp,
    pub now: Timestamp,
}

impl When {
    /// In UTC, to the second.
    pub fn exact(&self) -> String {
        self.at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
    }

    /// Without `ago` or `in`.
    pub fn lasting(&self) -> Lasting {
        Lasting(*self)
    }
}

/// Nothing but digits and words of ours.
impl HtmlSafe for When {}

/// How long since then, or until then: `8 s`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lasting(When);

/// Nothing but digits and words of ours.
impl HtmlSafe for Lasting {}

impl fmt::Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let When { at, now } = self.0;
        let lasts = span(now.duration_since(at).as_secs().unsigned_abs());
        write!(f, "<time datetime=\"{}\" title=\"{}\">{lasts}</time>", machine(at), self.0.exact())
    }
}

fn machine(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = ago(self.at, self.now);
        write!(f, "<time datetime=\"{}\" title=\"{}\">{said}</time>", machine(self.at), self.exact())
    }
}

/// `just now`, `40 s ago`, `in 5 min`.
fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs();
    match seconds {
        -1..=1 => "just now".to_owned(),
        2.. => format!("{} ago", span(seconds.unsigned_abs())),
        _ => format!("in {}", span(seconds.unsigned_abs())),
    }
}

/// A span in its largest unit.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..90 => format!("{seconds} s"),
        90..5400 => format!("{} min", seconds.saturating_add(30) / 60),
        5400..129_600 => format!("{} h", seconds.saturating_add(1800) / 3600),
        _ => format!("{} d", seconds.saturating_add(43_200) / 86_400),
    }
}

/// A word that has a colour as well: the colour says nothing that the word does not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chip {
    /// The word; of ours, never from outside.
    pub word: &'static str,
    /// `good`, `bad`, `warn`, `calm`, or a severity: a class of the style sheet.
    pub tone: &'static str,
}

/// Both are ours.
impl HtmlSafe for Chip {}

impl fmt::Display for Chip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { word, tone } = self;
        write!(f, "<span class=\"chip {tone}\">{word}</span>")
    }
}

impl Chip {
    pub const fn new(word: &'static str, tone: &'static str) -> Self {
        Self { word, tone }
    }
}

/// A severity by its name.
pub(super) fn severity(name: &str) -> Chip {
    name.parse::<Severity>()
        .map_or(Chip::new("unknown", "calm"), |severity| Chip::new(severity.as_str(), severity.as_str()))
}

/// State of a notification by its name.
pub(super) fn state(name: &str) -> Chip {
    use NotificationState::{
        Accepted, Acknowledged, Dead, Delivered, Expired, Held, Queued, Sending, Superseded, Unconfirmed,
    };
    let Ok(state) = name.parse::<NotificationState>() else { return Chip::new("unknown", "calm") };
    let tone = match state {
        Delivered | Acknowledged => "good",
        Dead | Expired => "bad",
        Held | Unconfirmed => "warn",
        Queued | Sending | Accepted | Superseded => "calm",
    };
    Chip::new(state.as_str(), tone)
}

/// Presence by its name.
pub(super) fn presence(word: &str) -> Chip {
    match word {
        "available" | "active" => Chip::new("active", "good"),
        "chat" => Chip::new("free to chat", "good"),
        "away" => Chip::new("away", "warn"),
        "xa" => Chip::new("long away", "warn"),
        "dnd" | "busy" => Chip::new("busy", "warn"),
        "offline" | "not in the room" => Chip::new("offline", "calm"),
        _ => Chip::new("unknown", "calm"),
    }
}

/// A size in its largest unit: `1.4 GiB`.
pub(super) fn rough(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = UNITS.into_iter().find(|(_, each)| bytes >= *each);
    unit.map_or_else(
        || format!("{bytes} B"),
        |(name, each)| {
            let tenths = u128::from(bytes) * 10 / u128::from(each);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        },
    )
}

/// Is it a link that may be followed? Anything else is shown as text.
pub(super) fn is_link(text: &str) -> bool {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    matches!(scheme.as_deref(), Some("http" | "https" | "xmpp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_as_far_away_as_people_say_it() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let at = |seconds: i64| ago(now - jiff::SignedDuration::from_secs(seconds), now);
        assert_eq!([at(0), at(1), at(2), at(89)], ["just now", "just now", "2 s ago", "89 s ago"]);
        assert_eq!([at(90), at(300), at(5399)], ["2 min ago", "5 min ago", "90 min ago"]);
        assert_eq!([at(7200), at(86_400 * 3), at(-1)], ["2 h ago", "3 d ago", "just now"]);
        assert_eq!([at(-40), at(-3600 * 8)], ["in 40 s", "in 8 h"]);
        let when = When { at: "2026-11-22T11:59:18.123Z".parse().unwrap(), now };
        let html = "<time datetime=\"2026-11-22T11:59:18Z\" title=\"2026-11-22 11:59:18 UTC\">41 s ago</time>";
        assert_eq!(when.to_string(), html);
        assert_eq!(when.lasting().to_string(), html.replace("41 s ago", "41 s"));
    }

    #[test]
    fn sizes_are_rough() {
        assert_eq!(rough(606), "606 B");
        assert_eq!([rough(1 << 20), rough(1_500 << 20), rough(u64::MAX)], ["1.0 MiB", "1.4 GiB", "16777215.9 TiB"]);
    }

    #[test]
    fn only_known_schemes_are_links() {
        for link in ["https://example.test/a?b", "HTTP://x", "xmpp:ann@example.test?message"] {
            assert!(is_link(link), "{link}");
        }
        for text in
            ["javascript:alert(1)", " javascript:alert(1)", "data:text/html,x", "/console", "https", "java\nscript:x"]
        {
            assert!(!is_link(text), "{text}");
        }
    }
}
