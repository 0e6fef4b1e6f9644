//! One room (XEP-0045): are we in it, and what is to be done about it. Pure: time and chance are arguments.
//!
//! ```text
//! Idle ─ join ─► Joining ─ our own presence comes back ─► In ─ kicked, destroyed, silent ─► Out ─ wait ─► Joining …
//!                   └─ refused, no answer ─► Out
//! ```

use std::time::Duration;

use tokio::time::Instant;
use xmpp_parsers::minidom::Element;

use super::Room as Settings;
use super::stanza;
use super::xml::{CLIENT, condition, cut};
use crate::dispatch::RoomState;
use crate::model::Jid;

/// What a room says about an occupant (XEP-0045 §7).
pub const USER: &str = "http://jabber.org/protocol/muc#user";
const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";

/// Longest wait for the answer to a join.
const ANSWER: Duration = Duration::from_secs(30);
/// First and longest wait before another try: a room that is made, or opens its door, is entered within a minute.
const AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// Who stayed in for so long was welcome: the waits start anew.
const STABLE: Duration = Duration::from_secs(60);
/// Nicks that are tried: the one wished for, then with a number behind it.
const NICKS: u32 = 5;

/// XEP-0045 §15.6.
mod status {
    pub const SELF: &str = "110";
    pub const CREATED: &str = "201";
    pub const BANNED: &str = "301";
    pub const NEW_NICK: &str = "303";
    pub const KICKED: &str = "307";
    pub const NO_MEMBER: [&str; 2] = ["321", "322"];
    pub const SHUTDOWN: &str = "332";
    pub const FAULT: &str = "333";
}

/// What is to be done, in order.
#[derive(Debug, Default)]
pub struct Steps {
    /// To be sent.
    pub send: Vec<Element>,
    /// To be told, where it changed.
    pub news: Option<RoomState>,
}

#[derive(Debug)]
enum State {
    /// No session.
    Idle,
    Joining {
        me: Jid,
        /// Nicks that were tried, this one included.
        tried: u32,
        until: Instant,
    },
    In {
        /// Our occupant JID.
        me: Jid,
        /// Visitors of a moderated room may not speak.
        voice: bool,
        since: Instant,
        heard: Instant,
        /// Id of the self-ping (XEP-0410) that is not answered, and since when.
        ping: Option<(String, Instant)>,
    },
    Out {
        again: Instant,
    },
}

/// A room, and our place in it.
#[derive(Debug)]
pub struct Room {
    settings: Settings,
    /// A room that is silent for so long is asked whether we are in it; as long again without an answer, we are not.
    quiet: Duration,
    state: State,
    /// Tries since we were last welcome.
    failures: u32,
    told: Option<RoomState>,
    pings: u64,
}

impl Room {
    /// Not joined.
    pub fn new(settings: Settings, quiet: Duration) -> Self {
        Self { settings, quiet, state: State::Idle, failures: 0, told: None, pings: 0 }
    }

    /// A new session: joins.
    pub fn begin(&mut self, now: Instant) -> Steps {
        self.told = None;
        self.failures = 0;
        self.join(1, now)
    }

    /// The session goes on after a gap: are we still in?
    pub fn resume(&mut self, now: Instant) -> Steps {
        match &mut self.state {
            State::In { ping, heard, .. } => {
                *ping = None;
                *heard = now;
                self.ping(now)
            }
            // It is among what is written again.
            State::Joining { until, .. } => {
                *until = now + ANSWER;
                Steps::default()
            }
            // New since the session was cut.
            State::Idle => self.begin(now),
            State::Out { .. } => Steps::default(),
        }
    }

    /// The session is over.
    pub fn end(&mut self) {
        self.state = State::Idle;
    }

    /// Our occupant JID, where we are in.
    pub fn me(&self) -> Option<&Jid> {
        match &self.state {
            State::In { me, .. } => Some(me),
            _ => None,
        }
    }

    /// Has it these settings?
    pub fn is(&self, settings: &Settings) -> bool {
        self.settings == *settings
    }

    /// Says goodbye, where we are in or about to be.
    pub fn leave(&self) -> Option<Element> {
        match &self.state {
            State::In { me, .. } | State::Joining { me, .. } => Some(stanza::leave(me)),
            State::Idle | State::Out { .. } => None,
        }
    }

    /// May a message be posted?
    pub fn open(&self) -> bool {
        matches!(self.state, State::In { voice: true, .. })
    }

    /// Something came from the room: it lives.
    pub fn heard(&mut self, now: Instant) {
        if let State::In { heard, .. } = &mut self.state {
            *heard = now;
        }
    }

    /// Time passed.
    pub fn tick(&mut self, now: Instant, chance: f64) -> Steps {
        match &self.state {
            State::Joining { until, .. } if now >= *until => {
                self.refused("the room does not answer".into(), now, chance)
            }
            State::Out { again } if now >= *again => self.join(1, now),
            State::In { ping: Some((_, at)), .. } if now.duration_since(*at) >= self.quiet => {
                self.rejoin("the room does not answer any more", now)
            }
            State::In { ping: None, heard, .. } if now.duration_since(*heard) >= self.quiet => self.ping(now),
            _ => Steps::default(),
        }
    }

    /// Presence from the room, or from an occupant of it.
    pub fn presence(&mut self, from: &Jid, presence: &Element, now: Instant, chance: f64) -> Steps {
        self.heard(now);
        let kind = presence.attr("type");
        let user = presence.get_child("x", USER);
        let own = |me: &Jid| from == me || codes(user).any(|code| code == status::SELF);
        match (&self.state, kind) {
            (State::Joining { .. }, Some("error")) => self.join_error(presence, now, chance),
            (State::Joining { me, .. }, None) if own(me) => self.entered(from, user, now, chance),
            (State::In { me, .. }, None) if own(me) => self.spoken_of(from, user),
            (State::In { me, .. }, Some("unavailable")) if own(me) => self.left(user, now, chance),
            // An error for a presence that brought us in, hours ago: who knows what the room makes of it.
            (State::In { ping: None, .. }, Some("error")) => self.ping(now),
            _ => Steps::default(),
        }
    }

    /// The answer to a self-ping (XEP-0410 §3): only some errors say that we are out. `false`: it was another question.
    pub fn answered(&mut self, iq: &Element, now: Instant) -> Option<Steps> {
        let State::In { ping, heard, .. } = &mut self.state else { return None };
        let (id, _) = ping.as_ref()?;
        if iq.attr("id") != Some(id) {
            return None;
        }
        let error = iq.get_child("error", CLIENT).filter(|_| iq.attr("type") == Some("error"));
        let said = error.map(|e| condition(e, STANZA_ERRORS).0);
        match said.as_deref() {
            None | Some("service-unavailable" | "feature-not-implemented") => {
                (*ping, *heard) = (None, now);
                Some(Steps::default())
            }
            // No answer at all; its deadline goes on.
            Some("remote-server-not-found" | "remote-server-timeout") => Some(Steps::default()),
            Some(_) => Some(self.rejoin("the room has forgotten us", now)),
        }
    }

    /// The room refused a message because we are not in it, whatever we think.
    pub fn not_in(&mut self, now: Instant) -> Steps {
        match self.state {
            State::In { .. } => self.rejoin("the room has forgotten us", now),
            _ => Steps::default(),
        }
    }

    /// A message was not reflected in time: only a fresh answer says whether we are in.
    pub fn silent(&mut self, now: Instant) -> Steps {
        match self.state {
            State::In { .. } => self.rejoin("the room did not reflect a message", now),
            _ => Steps::default(),
        }
    }

    fn join(&mut self, tried: u32, now: Instant) -> Steps {
        let nick = match tried {
            1 => self.settings.nick.clone(),
            n => format!("{}-{n}", self.settings.nick),
        };
        let Ok(me) = self.settings.jid.with_resource_str(&nick) else {
            // Config let no nick pass that cannot be one; a number behind it may make it too long.
            self.state = State::Out { again: now + AGAIN.1 };
            return self.news(out(format!("the nick {} cannot be used", nick.escape_debug()), true));
        };
        let me = Jid::from(me);
        let join = stanza::join(&me, self.settings.password.as_ref());
        self.state = State::Joining { me, tried, until: now + ANSWER };
        Steps { send: vec![join], news: None }
    }

    /// We may be out: joins again, which does no harm where we are in.
    fn rejoin(&mut self, why: &str, now: Instant) -> Steps {
        let join = self.join(1, now);
        let mut steps = self.news(out(why.into(), false));
        steps.send.extend(join.send);
        steps
    }

    fn entered(&mut self, from: &Jid, user: Option<&Element>, now: Instant, chance: f64) -> Steps {
        if codes(user).any(|code| code == status::CREATED) {
            // Nobody is in a room that we have just made, and nobody would read what we post there.
            let leave = stanza::leave(from);
            let mut steps = self.refused("the room does not exist".into(), now, chance);
            steps.send.push(leave);
            return steps;
        }
        if let State::Joining { tried: 2.., .. } = self.state {
            tracing::warn!(room = %self.settings.jid, nick = ?from.resource().map(|r| r.as_str()),
                "the nick is taken in this room; another one is used");
        }
        self.state = State::In { me: from.clone(), voice: true, since: now, heard: now, ping: None };
        let steps = self.spoken_of(from, user);
        if steps.news == Some(RoomState::In) {
            tracing::info!(room = %self.settings.jid, "joined the room");
        }
        steps
    }

    /// Our nick and our role as the room tells them.
    fn spoken_of(&mut self, from: &Jid, user: Option<&Element>) -> Steps {
        let role = user.and_then(|x| x.get_child("item", USER)).and_then(|item| item.attr("role"));
        let speaks = role != Some("visitor");
        if let State::In { me, voice, .. } = &mut self.state {
            *voice = speaks;
            *me = from.clone();
        }
        self.news(match speaks {
            true => RoomState::In,
            false => out("the room is moderated and lets us only listen; give us voice there".into(), true),
        })
    }

    fn left(&mut self, user: Option<&Element>, now: Instant, chance: f64) -> Steps {
        let has = |code: &str| codes(user).any(|c| c == code);
        let item = user.and_then(|x| x.get_child("item", USER));
        if has(status::NEW_NICK) {
            let nick = item.and_then(|item| item.attr("nick"));
            let renamed = nick.and_then(|nick| self.settings.jid.with_resource_str(nick).ok());
            if let (State::In { me, .. }, Some(renamed)) = (&mut self.state, renamed) {
                *me = renamed.into();
                return Steps::default();
            }
        }
        let destroyed = user.and_then(|x| x.get_child("destroy", USER));
        let what = match () {
            () if destroyed.is_some() => "the room was destroyed",
            () if has(status::BANNED) => "we were banned from the room",
            () if has(status::FAULT) => "the room lost us by a fault",
            () if has(status::KICKED) => "we were kicked out of the room",
            () if status::NO_MEMBER.into_iter().any(has) => "only members may stay in the room, and we are none",
            () if has(status::SHUTDOWN) => "the room's service was shut down",
            () => "we are no longer in the room",
        };
        let reason = destroyed.or(item).and_then(|e| e.get_child("reason", USER)).map(Element::text);
        if let State::In { since, .. } = self.state
            && now.duration_since(since) >= STABLE
        {
            self.failures = 0;
        }
        self.wait(now, chance);
        self.news(out(with(what, reason.as_deref()), false))
    }

    fn join_error(&mut self, presence: &Element, now: Instant, chance: f64) -> Steps {
        let error = presence.get_child("error", CLIENT);
        let (condition, text) =
            error.map_or_else(|| ("undefined-condition".to_owned(), None), |e| condition(e, STANZA_ERRORS));
        let what = match (condition.as_str(), &self.state) {
            ("conflict", State::Joining { tried, .. }) if *tried < NICKS => {
                let next = *tried + 1;
                return self.join(next, now);
            }
            ("conflict", _) => "the nick is taken; choose another one",
            ("not-authorized", _) if self.settings.password.is_some() => "the room refuses the password; correct it",
            ("not-authorized", _) => "the room wants a password; give it to this recipient",
            ("registration-required", _) => "only members may enter the room; make us one",
            ("forbidden", _) => "we are banned from the room",
            ("item-not-found" | "not-allowed", _) => "the room does not exist",
            ("not-acceptable", _) => "the room wants another nick",
            ("service-unavailable", _) => "the room is full, or there is no such service",
            ("jid-malformed", _) => "the room's service does not take its address",
            _ => "the room cannot be entered",
        };
        let said = with(&condition, text.as_deref());
        self.refused(format!("{what} ({said})"), now, chance)
    }

    fn refused(&mut self, reason: String, now: Instant, chance: f64) -> Steps {
        self.wait(now, chance);
        self.news(out(reason, true))
    }

    fn wait(&mut self, now: Instant, chance: f64) {
        let full = AGAIN.0.saturating_mul(1 << self.failures.min(10)).min(AGAIN.1);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Out { again: now + full.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0) };
    }

    fn ping(&mut self, now: Instant) -> Steps {
        let State::In { me, ping, .. } = &mut self.state else { return Steps::default() };
        self.pings += 1;
        let id = format!("in-{}", self.pings);
        let ask = stanza::ping(&id, me.as_str());
        *ping = Some((id, now));
        Steps { send: vec![ask], news: None }
    }

    fn news(&mut self, state: RoomState) -> Steps {
        let new = self.told.as_ref() != Some(&state);
        self.told = Some(state.clone());
        Steps { send: Vec::new(), news: new.then_some(state) }
    }
}

fn out(reason: String, lasting: bool) -> RoomState {
    RoomState::Out { reason, lasting }
}

/// With what the other side said, which is data from outside.
fn with(what: &str, said: Option<&str>) -> String {
    match said.map(str::trim).filter(|said| !said.is_empty()) {
        Some(said) => format!("{what}: {}", cut(said, 200).0.escape_debug()),
        None => what.to_owned(),
    }
}

fn codes(user: Option<&Element>) -> impl Iterator<Item = &str> {
    user.into_iter().flat_map(Element::children).filter(|c| c.is("status", USER)).filter_map(|c| c.attr("code"))
}

#[cfg(test)]
mod tests;
