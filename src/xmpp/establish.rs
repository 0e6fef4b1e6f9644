//! From nothing to a session: every server in turn, each within the time limit.

use std::collections::VecDeque;

use tokio::time::timeout;
use xmpp_parsers::minidom::Element;

use super::Settings;
use super::bind::{Management, Resumed, bind, enable, location, offers_sm, open_session, resume};
use super::connect::{Link, open};
use super::failure::{Class, Failure};
use super::login::login;
use super::sm::Resumption;
use super::targets::{Target, targets};
use crate::net::Road;

/// A stream that is signed in.
pub struct Established {
    /// The stream.
    pub link: Link,
    /// Old session or new.
    pub session: Kind,
    /// For the log: server, protection, mechanism.
    pub how: String,
}

/// Old session or new.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    /// The old session goes on; the server handled so many of our stanzas.
    Resumed(u32),
    /// A new session.
    New {
        /// How far the old session came, where the server says so.
        old_handled: Option<u32>,
        /// What the server can do for us.
        management: Management,
    },
}

/// The session to be resumed, and how many stanzas we handled in it.
pub type Old = Option<(Resumption, u32)>;

/// Connects and signs in. `sent_to`: where the server sent us when it ended the last session. The certificate must be for
/// our domain wherever that is.
pub async fn establish(
    settings: &Settings,
    road: &Road,
    old: Old,
    sent_to: Option<&str>,
) -> Result<Established, Failure> {
    let mut candidates: VecDeque<Target> = targets(settings, settings.connect_timeout).await.into();
    let port = candidates.front().map_or(5222, |c| c.1);
    let resumes_at = old.as_ref().and_then(|(resumption, _)| resumption.location.as_deref());
    for preferred in [resumes_at, sent_to].into_iter().flatten().filter_map(|text| location(text, port)) {
        candidates.retain(|c| *c != preferred);
        candidates.push_front(preferred);
    }
    let mut failures = Vec::new();
    let mut followed = false;
    while let Some(target) = candidates.pop_front() {
        let failure = match attempt(settings, road, &target, &old).await {
            Ok(established) => return Ok(established),
            Err(failure) => failure,
        };
        // Once: servers that point at each other would keep us going round.
        let elsewhere = failure.elsewhere.as_deref().filter(|_| !followed).and_then(|text| location(text, port));
        if let Some(elsewhere) = elsewhere {
            tracing::info!(host = elsewhere.0, port = elsewhere.1, "the server sends us to another one");
            followed = true;
            candidates.retain(|c| *c != elsewhere);
            candidates.push_front(elsewhere);
        }
        failures.push(failure);
        // A password that one server refuses is not shown to the next; a certificate may be wrong on one server only.
        if failures.last().is_some_and(|f| f.class != Class::Transient && f.reason.starts_with(settings.jid.as_str())) {
            break;
        }
    }
    Err(summary(failures))
}

async fn attempt(settings: &Settings, road: &Road, target: &Target, old: &Old) -> Result<Established, Failure> {
    let limit = settings.connect_timeout;
    let (host, port) = target;
    let place = format!("{host}:{port}");
    let result = timeout(limit, sign_in(settings, road, target, old)).await;
    let failure = match result {
        Ok(Ok(established)) => return Ok(established),
        Ok(Err(failure)) => failure,
        Err(_) => Failure::transient(format!("no session within {} s", limit.as_secs_f32())),
    };
    let placed = failure.class == Class::Refused || failure.reason.contains(&place);
    Err(if placed { failure } else { failure.at(&place) })
}

async fn sign_in(settings: &Settings, road: &Road, target: &Target, old: &Old) -> Result<Established, Failure> {
    let opened = open(settings, road, target).await?;
    let tls_word = if opened.encrypted { "TLS" } else { "no TLS" };
    let (mut link, features, mechanism) = login(opened, settings).await?;
    let how = format!("{}:{}, {tls_word}, {mechanism}", target.0, target.1);
    let session = session(&mut link, &features, settings, old).await?;
    Ok(Established { link, session, how })
}

async fn session(link: &mut Link, features: &Element, settings: &Settings, old: &Old) -> Result<Kind, Failure> {
    let managed = offers_sm(features);
    let mut old_handled = None;
    if let Some((resumption, h)) = old.as_ref().filter(|_| managed) {
        match resume(link, resumption, *h, settings).await? {
            Resumed::Yes(h) => return Ok(Kind::Resumed(h)),
            Resumed::No(h) => old_handled = h,
        }
    }
    let jid = bind(link, settings).await?;
    if jid.resource().map(|r| r.as_str()) != Some(&settings.resource) {
        tracing::warn!(%jid, "the server gave the session another resource than the one asked for");
    }
    open_session(link, features, settings).await?;
    let management = if managed { enable(link, settings).await? } else { Management::None };
    Ok(Kind::New { old_handled, management })
}

/// One failure out of many: what somebody must change comes first.
fn summary(mut failures: Vec<Failure>) -> Failure {
    if let Some(at) = failures.iter().position(|f| f.class != Class::Transient) {
        return failures.swap_remove(at);
    }
    let reasons: Vec<_> = failures.into_iter().map(|f| f.reason).collect();
    Failure::transient(if reasons.is_empty() { "there is no server to try".into() } else { reasons.join("; ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_be_changed_comes_first() {
        let all = vec![Failure::transient("a: refused"), Failure::refused("certificate"), Failure::transient("c")];
        assert_eq!(summary(all), Failure::refused("certificate"));
        assert_eq!(summary(vec![Failure::transient("a"), Failure::transient("b")]), Failure::transient("a; b"));
    }
}
