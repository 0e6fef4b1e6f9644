//! The console: how mailbell is, for people with a browser.
//!
//! Pages are lines of the [table](super::table) like everything else, and are made on the server: they work without a script.
//! `live.js` fetches the page again when the event stream says that something happened, and puts its `<main>` in the place of the
//! old one. Everything from outside is put into a page by askama, which escapes it; a link is one only with a scheme that is known.

mod alert;
mod assets;
mod errors;
mod login;
mod overview;
mod people;
mod probes;
mod quarantine;
mod queue;
mod show;

pub(super) use errors::for_people;

use askama::Template;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use jiff::Timestamp;

use self::show::When;
use super::auth::{Caller, Session};
use super::table::{Access, Endpoint, on};
use crate::control::Problem;
use crate::model::Right;

/// Where the console begins.
pub(super) const HOME: &str = "/console";

const READ: Access = Access::Scope(Right::Read);
const ACT: Access = Access::Scope(Right::Act);

pub(super) fn endpoints() -> Vec<Endpoint> {
    let start = on(Method::GET, "/", Access::Open, async || Redirect::to(HOME));
    let pages = [
        assets::endpoints(),
        login::endpoints(),
        overview::endpoints(),
        alert::endpoints(),
        queue::endpoints(),
        quarantine::endpoints(),
        people::endpoints(),
        probes::endpoints(),
    ];
    std::iter::once(start).chain(pages.into_iter().flatten()).collect()
}

/// What every page of somebody who is logged in shows around its own content.
struct Frame {
    /// Who it is.
    who: String,
    /// What each form repeats; empty where there is no session.
    csrf: String,
    /// May they retry, expire, replay, resolve?
    acts: bool,
    /// Do they see every group? If not: mailboxes, quarantine and probes are not for them.
    sees_all: bool,
    caller: Caller,
    /// The page's path, and its query.
    path: String,
    query: String,
    now: Timestamp,
}

impl Frame {
    fn when(&self, at: Timestamp) -> When {
        When { at, now: self.now }
    }

    fn maybe(&self, at: Option<Timestamp>) -> Option<When> {
        at.map(|at| self.when(at))
    }

    /// When the page was made.
    fn made(&self) -> String {
        self.when(self.now).exact()
    }

    /// Refuses who sees only some groups.
    fn everything(&self) -> Result<(), Problem> {
        if self.sees_all {
            return Ok(());
        }
        let groups: Vec<_> = self.caller.groups.iter().map(|group| group.as_str()).collect();
        let detail =
            format!("token {} sees the groups {} only; this page is about all of them", self.who, groups.join(", "));
        Err(Problem::new(StatusCode::FORBIDDEN, detail))
    }

    fn nav(&self) -> Vec<Tab> {
        const TABS: [(&str, &str, bool); 6] = [
            ("Overview", HOME, false),
            ("Alerts", "/console/alerts", false),
            ("Queue", "/console/queue", false),
            ("Quarantine", "/console/quarantine", true),
            ("People", "/console/people", false),
            ("Probes", "/console/probes", true),
        ];
        let tabs = TABS.into_iter().filter(|(_, _, everything)| self.sees_all || !everything);
        tabs.map(|(name, href, _)| Tab { name, href, here: self.is_at(href) }).collect()
    }

    /// Is this the page, or one below it?
    fn is_at(&self, href: &str) -> bool {
        let below = self.path.strip_prefix(href);
        below.is_some_and(|below| below.is_empty() || (href != HOME && below.starts_with('/')))
    }

    /// What an action that led here did.
    fn done(&self) -> Option<&'static str> {
        const DONE: [(&str, &str); 5] = [
            ("retried", "It is sent now, whatever the presence says."),
            ("expired", "It is ended, and will not be sent."),
            ("replayed", "The mail is read again, by the rules that are in force now."),
            ("polled", "The mailbox is looked into now."),
            ("resolved", "The condition is closed; who was told of it is told that."),
        ];
        let word = self.query.split('&').find_map(|pair| pair.strip_prefix("done="))?;
        DONE.into_iter().find(|(name, _)| *name == word).map(|(_, text)| text)
    }

    fn style(&self) -> String {
        assets::href("style.css")
    }

    fn script(&self) -> String {
        assets::href("live.js")
    }

    fn icon(&self) -> String {
        assets::href("icon.svg")
    }
}

/// A page in the list of pages.
struct Tab {
    name: &'static str,
    href: &'static str,
    here: bool,
}

impl<S: Sync> FromRequestParts<S> for Frame {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(caller) = parts.extensions.get::<Caller>().cloned() else {
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "log in first"));
        };
        let csrf = parts.extensions.get::<Session>().map(|session| session.csrf.clone()).unwrap_or_default();
        Ok(Self {
            who: caller.name.to_string(),
            // A form of a page that was fetched with a token could not be sent.
            acts: caller.may(Right::Act) && !csrf.is_empty(),
            sees_all: caller.groups.is_empty(),
            csrf,
            caller,
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            now: Timestamp::now(),
        })
    }
}

/// A page as an answer.
fn page(template: &impl Template) -> Result<Response, Problem> {
    match template.render() {
        Ok(html) => Ok(Html(html).into_response()),
        Err(err) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the page could not be made: {err}"))),
    }
}

/// A query's fields.
fn asked<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    query.map(|query| query.0).map_err(|err| Problem::bad(err.body_text()))
}

/// To a page that says what was done: `back` where that is one of the console, else `path`.
fn done(back: &str, path: &str, word: &str) -> Redirect {
    let back = if back.starts_with(HOME) { local(back) } else { path };
    let joint = if back.contains('?') { '&' } else { '?' };
    Redirect::to(&format!("{back}{joint}done={word}"))
}

/// A form's fields.
fn filled<T>(form: Result<Form<T>, FormRejection>) -> Result<T, Problem> {
    form.map(|form| form.0).map_err(|err| Problem::bad(err.body_text()))
}

/// A path of the console to go to, as a request says it; anything else is the start. What a browser would take for another host
/// is no such path.
fn local(path: &str) -> &str {
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let inside = path == HOME || path.strip_prefix(HOME).is_some_and(|rest| rest.starts_with(['/', '?']));
    if plain && inside { path } else { HOME }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_elsewhere() {
        for path in ["/console", "/console/alerts/1a", "/console?done=retried", "/console/alerts?text=a%20b&after=7"] {
            assert_eq!(local(path), path);
        }
        for path in [
            "",
            "/",
            "/consoles",
            "//evil.example/console",
            "https://evil.example/console",
            "/\\evil.example",
            "/console/\\..\\..",
            "/console/a b",
            "/console\r\nSet-Cookie: x",
            "javascript:alert(1)",
        ] {
            assert_eq!(local(path), HOME, "{path}");
        }
    }
}
