//! What became of alerts: in the store, and at the client.

use std::collections::HashSet;

use serde_json::Value;

use super::client::{Client, Received};
use super::mailbell::{Mailbell, SOON};
use super::wait_for;

/// Every state of a notification.
const STATES: &str = "queued,held,sending,accepted,delivered,acknowledged,unconfirmed,expired,superseded,dead";

/// All notifications whose title or first line holds this, whatever became of them.
pub fn notifications(mailbell: &Mailbell, title: &str) -> Vec<Value> {
    let mut all = mailbell.queue(&["--state", STATES, "--limit", "1000"]);
    all.retain(|n| n["title"].as_str().unwrap().contains(title));
    all
}

/// Waits until so many notifications with this title exist and all are in that state (or in one of several, with
/// commas), and returns them.
pub async fn all_in_state(mailbell: &Mailbell, title: &str, count: usize, state: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let limit = SOON * 2;
    wait_for(&format!("{count} notifications of {title:?} that are {state}"), limit, async || {
        found = notifications(mailbell, title);
        let done = found.len() == count && found.iter().all(|n| state.split(',').any(|s| n["state"] == s));
        if !done {
            // Each look is a process of its own: no need to crowd out what is waited for.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        done.then(|| std::mem::take(&mut found))
    })
    .await
}

/// It was sent, and nothing more will be: a receipt may have gone to the session that died.
pub const SENT: &str = "accepted,delivered,unconfirmed";

/// All copies of the messages that hold this text, in the order in which they came.
pub fn copies_of(client: &Client, text: &str) -> Vec<Received> {
    let mut messages = client.messages();
    messages.retain(|m| m.body().is_some_and(|b| b.contains(text)));
    messages
}

/// The oracle of the fault matrix for one alert and one recipient: it came, in no more than `most` copies, all with one
/// stanza id, and the store knows one notification. Returns the number of copies.
pub fn came_with_one_id(client: &Client, text: &str, most: usize) -> usize {
    let copies = copies_of(client, text);
    assert!(!copies.is_empty(), "{text} was lost");
    assert!(copies.len() <= most, "{} copies of {text}, at most {most} may be: {copies:#?}", copies.len());
    let ids: HashSet<_> = copies.iter().map(|m| m.id().map(str::to_owned)).collect();
    assert_eq!(ids.len(), 1, "copies of {text} with several stanza ids: {copies:#?}");
    copies.len()
}

/// Waits for the end by an armed failpoint, which aborts as kill -9 would. The clients of the test go on meanwhile: it may be a
/// receipt of theirs that triggers it.
#[cfg(feature = "failpoints")]
pub async fn aborted(mailbell: &mut Mailbell) {
    use std::os::unix::process::ExitStatusExt;
    let status = wait_for("the abort at the failpoint", SOON, async || mailbell.has_ended()).await;
    assert_eq!(status.signal(), Some(6), "not by the failpoint ({status}):\n{}", mailbell.log());
}
