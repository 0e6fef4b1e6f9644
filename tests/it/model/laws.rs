//! What must hold after each step.

use std::collections::{BTreeMap, BTreeSet};

use mailbell::model::NotificationState::{self as S, *};
use mailbell::model::StanzaId;

use super::chat::{Chat, jid};
use super::eye::Seen;
use super::mails::SENDERS;
use super::play::Play;

/// What a commit may do to a notification's state, beside nothing.
fn ways(commit: &str) -> &'static [(S, S)] {
    match commit {
        "d2_commit" => &[(Queued, Superseded), (Held, Superseded)],
        "d3_intend" => &[(Queued, Sending), (Queued, Superseded)],
        "not_written" => &[(Sending, Queued)],
        "d4_accepted" => &[(Sending, Accepted)],
        // What came back and waits for its next attempt was delivered to another client.
        "d5_delivered" => &[(Sending, Delivered), (Accepted, Delivered), (Unconfirmed, Delivered), (Queued, Delivered)],
        "unconfirm" | "miss" | "unanswered" | "never_again" => &[(Accepted, Unconfirmed)],
        "retry" => &[(Sending, Queued), (Accepted, Queued), (Unconfirmed, Queued)],
        "dead" => &[(Sending, Dead), (Accepted, Dead), (Unconfirmed, Dead)],
        // A digest is not held or skipped: what it covers is.
        "hold" => &[(Queued, Held), (Queued, Superseded)],
        "skip" => &[(Queued, Expired), (Queued, Superseded)],
        "release_held" | "digest" => &[(Held, Queued)],
        "fold" => &[(Queued, Superseded)],
        "expire" => &[(Held, Expired), (Queued, Expired)],
        // A critical alert that reached nobody is sent anyway, also to whom it was skipped for.
        "end_watches" => &[(Held, Queued), (Expired, Queued)],
        "retry_now" => &[(Held, Queued), (Expired, Queued), (Dead, Queued), (Unconfirmed, Queued)],
        "expire_now" => &[(Queued, Expired), (Held, Expired)],
        _ => &[],
    }
}

/// Can these commits take it from here to there?
fn may(from: S, to: S, commits: &BTreeSet<&'static str>) -> bool {
    let ways: Vec<(S, S)> = commits.iter().flat_map(|commit| ways(commit)).copied().collect();
    let mut there = vec![from];
    let mut looked = 0;
    while let Some(at) = there.get(looked).copied() {
        looked += 1;
        let next: Vec<S> = ways.iter().filter(|(from, _)| *from == at).map(|(_, to)| *to).collect();
        there.extend(next.into_iter().filter(|to| !there.contains(to)).collect::<Vec<_>>());
    }
    there.contains(&to)
}

impl Play {
    pub fn check_step(&mut self) {
        let now = self.eye.notifications();
        let commits = std::mem::take(&mut self.book.commits);
        let before = std::mem::take(&mut self.book.before);
        for (id, was) in &before {
            let n = now.get(id).unwrap_or_else(|| panic!("it vanished: {was:?}"));
            assert_eq!(was.stanza, n.stanza, "another stanza id");
            assert!(!n.in_doubt || n.state == Sending, "in doubt, and not on its way: {n:?}");
            assert!(
                may(was.state, n.state, &commits),
                "{} became {} by {commits:?}: {n:?}",
                was.state.as_str(),
                n.state.as_str()
            );
        }
        let mut once = BTreeSet::new();
        for n in now.values().filter(|n| n.alert.is_some()) {
            assert!(once.insert((n.alert, n.jid.clone())), "two for one: {n:?}");
        }
        let refused = self.book.refused.take();
        if let Some(n) = now.values().find(|n| Some(&n.stanza) == refused.as_ref()) {
            let open = matches!(n.state, Sending | Accepted | Unconfirmed) && n.carrier.is_none();
            assert!(!open, "refused, and nothing follows: {n:?}");
        }
        self.note_spent(&before, &now);
        self.check_line(&now);
        self.check_holds(&now);
        self.check_mailbox();
        let aside = now.values().filter(|n| matches!(n.state, Held | Expired)).map(|n| n.id);
        self.book.set_aside.extend(aside);
        self.book.before = now;
    }

    /// The gateway had the time to look, and knows who is there: where nobody of a group can be reached, its fallback is asked.
    pub fn check_fallbacks(&mut self) {
        for alert in self.eye.alerts() {
            let falls_back = alert.sender == SENDERS[0] && alert.severity == "critical" && alert.status != "resolved";
            let of: Vec<&Seen> = self.book.before.values().filter(|n| n.alert == Some(alert.id)).collect();
            let waits = |n: &&Seen| n.state == Held && n.attempts == 0 && n.jid != jid("eve");
            let in_vain = !of.is_empty() && of.iter().all(waits);
            assert!(
                !falls_back || !in_vain,
                "nobody of the group can be reached, and nobody else is asked: {alert:?} {of:?}"
            );
        }
    }

    /// What is sent anew, other than for want of a receipt, has to be acknowledged anew.
    fn note_spent(&mut self, before: &BTreeMap<i64, Seen>, now: &BTreeMap<i64, Seen>) {
        let acked = self.chat().acked.clone();
        for n in now.values() {
            let sent_anew = before.get(&n.id).is_some_and(|was| {
                matches!(was.state, Accepted | Unconfirmed) && n.attempts > was.attempts && !n.second
            });
            let by_then = match n.state {
                Queued if n.attempts > 0 => acked.get(&n.stanza),
                _ if sent_anew => self.book.acked.get(&n.stanza),
                _ => None,
            };
            if let Some(copy) = by_then {
                self.book.spent.insert(n.stanza.clone(), *copy);
            }
        }
        self.book.acked = acked;
    }

    /// What the store says of the line is so.
    fn check_line(&self, now: &BTreeMap<i64, Seen>) {
        let chat = self.chat();
        let by_stanza: BTreeMap<_, _> = now.values().map(|n| (&n.stanza, n)).collect();
        for (stanza, sent) in &chat.sent {
            let n = by_stanza.get(stanza).unwrap_or_else(|| panic!("{stanza} was sent, and is not in the store"));
            assert!(*sent <= n.attempts, "sent {sent} times with {} intents: {n:?}", n.attempts);
        }
        let mut copies: BTreeMap<_, usize> = BTreeMap::new();
        for letter in &chat.taken {
            let n = by_stanza[&letter.stanza_id];
            assert_eq!(n.jid, letter.to.as_str(), "to somebody else: {n:?}");
            *copies.entry(&letter.stanza_id).or_default() += 1;
        }
        for (stanza, copies) in copies {
            let doubtful = self.book.doubtful.get(stanza).map_or(0, BTreeSet::len);
            let faults = doubtful + self.book.asked.get(stanza).copied().unwrap_or_default();
            let bounced = chat.bounced.get(stanza).copied().unwrap_or_default();
            let n = by_stanza[stanza];
            let resent = self.book.resent.get(&n.id).copied().unwrap_or_default();
            assert!(
                copies <= 1 + faults + bounced + resent,
                "{copies} copies for {faults} faults, {bounced} bounces and {resent} receipts that did not come: {n:?}"
            );
            assert!(resent <= 1 + faults + bounced, "sent again for want of a receipt {resent} times: {n:?}");
        }
        for n in now.values() {
            let carrier = n.carrier.map(|id| &now[&id].stanza);
            let holds = |of: &dyn Fn(&StanzaId) -> bool| of(&n.stanza) || carrier.is_some_and(of);
            match n.state {
                Accepted | Unconfirmed => {
                    let spent = |s: &StanzaId| {
                        if n.carrier.is_some() { 0 } else { self.book.spent.get(s).copied().unwrap_or(0) }
                    };
                    let acked = |s: &StanzaId| chat.acked.get(s).is_some_and(|copy| *copy > spent(s));
                    assert!(holds(&acked), "nobody acknowledged it, or only what came back: {n:?}");
                }
                Delivered => assert!(holds(&|s| chat.receipts.contains(s)), "nobody sent a receipt for it: {n:?}"),
                _ => {}
            }
        }
    }

    /// What was cleared from the mailbox is in the store.
    fn check_mailbox(&mut self) {
        let stored: BTreeSet<(u32, u32)> = self.eye.mails().iter().map(|mail| mail.place).collect();
        let cleared = self.post().cleared.clone();
        let lost: Vec<_> = cleared.difference(&stored).collect();
        assert!(lost.is_empty(), "cleared and not stored: {lost:?}");
    }
}

impl Chat {
    /// The places in `taken` at which a text came that names it, to somebody.
    pub fn named<'a>(&'a self, to: &'a str, name: &'a str) -> impl Iterator<Item = usize> + 'a {
        let holds = move |(_, letter): &(usize, &mailbell::dispatch::Letter)| {
            letter.to.as_str() == to && letter.body.contains(name)
        };
        self.taken.iter().enumerate().filter(holds).map(|(place, _)| place)
    }
}
