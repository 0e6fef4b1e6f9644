//! What the session does with what it reads, in the order of the wire.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_xmpp::xmlstream::ReadError;
use xmpp_parsers::minidom::Element;

use super::connect::{explain, is_stream_error};
use super::failure::{Failure, stream_error};
use super::node::Node;
use super::session::{Asked, Phase, Session};
use super::stanza::{self, SM};
use super::xml::CLIENT;
use super::{answers, inbound};
use crate::dispatch::Event;
use crate::model::Jid;

impl Session<'_> {
    /// One item of the stream; an error ends the session.
    pub(super) fn read(&mut self, item: Option<Result<Node, ReadError>>) -> Result<(), Failure> {
        let node = match item {
            Some(Ok(node)) => node,
            Some(Err(ReadError::SoftTimeout)) => return Ok(()),
            Some(Err(err)) => {
                if self.core.poisoned(&err) {
                    // Resuming with this one counted keeps the server from sending it again, for ever.
                    self.core.ledger.receive();
                }
                return Err(Failure::transient(explain(&err)));
            }
            None => return Err(Failure::transient("the server closed the connection")),
        };
        let element = node.element();
        if is_stream_error(element) {
            return Err(stream_error(element, self.core.settings.jid.as_str()));
        }
        match element.ns().as_str() {
            SM => self.management(element),
            CLIENT => self.stanza(&node),
            _ => Ok(()),
        }
    }

    fn management(&mut self, element: &Element) -> Result<(), Failure> {
        match element.name() {
            "r" => self.wire.push(Arc::new(stanza::ack(self.core.ledger.received()))),
            "a" => {
                if let Some(h) = element.attr("h").and_then(|h| h.parse().ok()) {
                    self.asked = None;
                    self.core.acknowledge(h)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn stanza(&mut self, node: &Node) -> Result<(), Failure> {
        let element = node.element();
        if !matches!(element.name(), "message" | "presence" | "iq") {
            return Ok(());
        }
        self.core.ledger.receive();
        if let Node::TooBig(element) = node {
            return match &self.phase {
                Phase::Loading { id, .. } if element.attr("id") == Some(id) => {
                    Err(Failure::transient("the roster is larger than mailbell reads"))
                }
                _ => {
                    self.core.ignored(element, "it is too big");
                    Ok(())
                }
            };
        }
        match element.name() {
            "message" => self.message(element),
            "presence" => self.presence(element),
            _ => return self.iq(element),
        }
        Ok(())
    }

    fn message(&mut self, element: &Element) {
        if self.archived(element) {
            return;
        }
        let from = self.room(element);
        let message = match &from {
            // Nothing in a room is said to us: what is posted there by others is neither read nor answered.
            Some(from) if element.attr("type") != Some("error") => {
                let todo = self.core.rooms.message(from, element, Instant::now());
                return self.take(todo);
            }
            _ => inbound::message(element, &self.core.roster),
        };
        if let (Some(_), [Event::Bounced(bounce)]) = (&from, message.events.as_slice()) {
            let todo = self.core.rooms.bounced(bounce, Instant::now());
            self.take(todo);
        }
        for event in message.events {
            self.core.outbox.push(event);
        }
        if let Some((to, id)) = message.receipt {
            self.send(stanza::receipt(&to, &id), None);
        }
        if let Some(why) = message.ignored {
            self.core.ignored(element, why);
        }
    }

    /// Reads what our own server found in its archive for us; `false`: it is something else.
    fn archived(&mut self, element: &Element) -> bool {
        let core = &mut *self.core;
        if !core.roster.is_own_server(element.attr("from")) {
            return false;
        }
        let Some(receipts) = core.archive.result(&core.settings.jid, element) else { return false };
        receipts.into_iter().for_each(|receipt| core.outbox.push(receipt));
        true
    }

    /// The sender, where it is one of the rooms or somebody in one.
    fn room(&self, element: &Element) -> Option<Jid> {
        let from = Jid::new(element.attr("from")?).ok()?;
        self.core.rooms.has(&from.to_bare()).then_some(from)
    }

    fn presence(&mut self, element: &Element) {
        if let Some(from) = self.room(element) {
            let todo = self.core.rooms.presence(&from, element, Instant::now(), rand::random());
            return self.take(todo);
        }
        match inbound::presence(element, &self.core.roster) {
            inbound::Presence::State(who, state) => self.core.outbox.push(Event::Presence { who, state }),
            inbound::Presence::Wants(who) if self.core.roster.is_contact(&who) => {
                self.send(stanza::subscription("subscribed", &who), None);
                if self.core.roster.ask_back(&who) {
                    self.send(stanza::subscription("subscribe", &who), None);
                }
            }
            inbound::Presence::Wants(who) => {
                self.core.ignored(element, "whoever asks is no configured recipient");
                self.send(stanza::subscription("unsubscribed", &who), None);
            }
            inbound::Presence::Refuses(who) => {
                if let Some(event) = self.core.roster.refused(&who) {
                    self.core.outbox.push(event);
                }
            }
            inbound::Presence::Nothing => {}
        }
    }

    fn iq(&mut self, iq: &Element) -> Result<(), Failure> {
        match iq.attr("type") {
            Some("result" | "error") => self.answered(iq),
            Some("set") if iq.has_child("query", stanza::ROSTER) && self.core.roster.is_own_server(iq.attr("from")) => {
                for event in self.core.roster.push(iq) {
                    self.core.outbox.push(event);
                }
                self.send(answers::result(iq).build(), None);
                Ok(())
            }
            Some("get" | "set") => {
                self.send(answers::answer(iq), None);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// An answer to one of our questions.
    fn answered(&mut self, iq: &Element) -> Result<(), Failure> {
        if let Some(todo) = self.core.rooms.answered(iq, Instant::now()) {
            self.take(todo);
            return Ok(());
        }
        let own = self.core.roster.is_own_server(iq.attr("from"));
        match (&self.phase, &self.asked) {
            (Phase::Loading { id, .. }, _) if own && iq.attr("id") == Some(id) => {
                self.loaded(iq);
                Ok(())
            }
            _ if own && let Some(todo) = self.core.archive.answered(iq) => {
                self.take(todo);
                Ok(())
            }
            _ if own && self.look_up.is_some() && iq.attr("id") == self.look_up.as_deref() => {
                self.look_up = None;
                self.looked_up(iq);
                Ok(())
            }
            (_, Some(Asked { ping: Some((id, mark)), .. })) if own && iq.attr("id") == Some(id) => {
                let mark = *mark;
                self.asked = None;
                self.core.acknowledge(mark)
            }
            _ => Ok(()),
        }
    }

    /// The roster is here for those whom a reload brought. Where they are is not told by itself: our presence went out before.
    fn looked_up(&mut self, iq: &Element) {
        for (who, granted) in self.core.roster.look_up(iq) {
            self.send(stanza::subscription(if granted { "probe" } else { "subscribe" }, &who), None);
            self.core.outbox.push(Event::Subscription { who, granted });
        }
    }

    /// The roster is here: show ourselves, ask for what is missing, and begin.
    fn loaded(&mut self, iq: &Element) {
        if iq.attr("type") == Some("error") {
            tracing::warn!("the server gives us no roster: nobody's presence will be known");
        }
        let (events, ask) = self.core.roster.load(iq);
        self.send(stanza::presence(self.core.settings.show, &self.core.settings.status), None);
        for who in ask {
            self.send(stanza::subscription("subscribe", &who), None);
        }
        for event in events {
            self.core.outbox.push(event);
        }
        self.core.outbox.push(Event::Up { resumed: false });
        self.core.reported_up = true;
        self.phase = Phase::Up { since: Instant::now() };
        let todo = self.core.rooms.begin(Instant::now());
        self.take(todo);
        self.core.gate.open();
    }
}
