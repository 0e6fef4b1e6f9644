//! What an attacker tries, each defence by itself. tests/README.md tells which check is which test.

mod bombs;
mod certificates;
mod fields;
mod forged;
mod lines;
mod secrets;
mod senders;
mod starttls;
mod vouched;

use crate::support::client::{Client, Received};

/// Every line begins with its time, and holds nothing that drives a terminal or reorders text: nothing from outside begins a line.
pub fn is_a_log(log: &str) {
    for line in log.lines() {
        assert!(line.starts_with("20") && line.get(4..5) == Some("-"), "no line of ours: {line:?}");
    }
    is_plain(log);
}

/// Text for a terminal: nothing in it moves the cursor, or reorders what stands around it.
pub fn is_plain(text: &str) {
    for line in text.split('\n') {
        assert_eq!(line.chars().find(|c| mailbell::model::plays_tricks(*c)), None, "{line:?}");
    }
}

/// Every message so far is one stanza with one body, and its text plays no tricks; nothing else came of them.
pub fn are_tame(client: &Client) {
    client.messages().iter().for_each(is_tame);
}

fn is_tame(message: &Received) {
    let children: Vec<&str> = message.element.children().map(|child| child.name()).collect();
    assert_eq!(children.iter().filter(|name| **name == "body").count(), 1, "{}", message.raw);
    for name in &children {
        let ours = ["body", "origin-id", "request", "store", "unstyled", "delay", "stanza-id", "active"];
        assert!(ours.contains(name), "<{name}> in {}", message.raw);
    }
    let body = message.body().unwrap();
    assert_eq!(body.chars().find(|c| mailbell::model::plays_tricks(*c) && *c != '\n'), None, "{body:?}");
    assert!(!message.raw.chars().any(|c| mailbell::model::plays_tricks(c) && c != '\n'), "{:?}", message.raw);
}
