//! Who is told, and who of them is there.

use askama::Template;
use axum::extract::State;
use axum::http::Method;
use axum::response::Response;

use super::show::{Chip, presence};
use super::{Frame, READ, page};
use crate::control::Problem;
use crate::http::Door;
use crate::http::table::{Endpoint, on};
use crate::model::{GroupName, Severity};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![on(Method::GET, "/console/people", READ, show)]
}

/// `people.html`
#[derive(Template)]
#[template(path = "people.html", config = "src/http/console/askama.toml")]
struct Page {
    frame: Frame,
    groups: Vec<Group>,
    people: Vec<Person>,
}

struct Group {
    name: String,
    chip: Chip,
    ready: usize,
    members: usize,
    names: String,
    contains: String,
    fallback: Option<String>,
}

struct Person {
    name: String,
    jid: String,
    /// Opens a chat.
    link: String,
    chip: Chip,
    room: bool,
    not_shared: bool,
    groups: String,
}

async fn show(State(door): State<Door>, frame: Frame) -> Result<Response, Problem> {
    let seen = |group: &GroupName| frame.caller.sees(group);
    let names = door.people.groups().into_iter().filter(seen);
    // What an alert is that does not say.
    let groups = names.filter_map(|name| door.people.group(&name, Severity::Warning));
    let groups = groups.map(|group| Group {
        name: group.name.to_string(),
        chip: presence(group.availability.status.as_str()),
        ready: group.availability.ready,
        members: group.availability.members,
        names: joined(group.recipients.iter().map(|name| name.as_str())),
        contains: joined(group.contains.iter().filter(|name| seen(name)).map(|name| name.as_str())),
        fallback: group.fallback.filter(seen).map(|name| name.to_string()),
    });
    let people = door.people.people().into_iter().filter(|one| frame.sees_all || one.groups.iter().any(seen));
    let people = people.map(|one| Person {
        name: one.name.to_string(),
        // RFC 5122: what a JID may hold and a URI not is escaped.
        link: format!("xmpp:{}{}", escaped(&one.jid.to_string()), if one.room { "?join" } else { "?message" }),
        jid: one.jid.to_string(),
        chip: match one.show.as_deref() {
            Some(show) => presence(show),
            None => presence(one.presence.as_str()),
        },
        room: one.room,
        not_shared: one.granted == Some(false),
        groups: joined(one.groups.iter().filter(|name| seen(name)).map(|name| name.as_str())),
    });
    page(&Page { groups: groups.collect(), people: people.collect(), frame })
}

fn joined<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

fn escaped(jid: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'@').remove(b'.').remove(b'-').remove(b'_').remove(b'~');
    utf8_percent_encode(jid, KEPT).to_string()
}
