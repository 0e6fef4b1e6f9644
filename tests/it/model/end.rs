//! What must hold at the end, when all is healed and nothing moves any more.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use mailbell::model::NotificationState::{Dead, Expired, Superseded};
use mailbell::model::Severity;

use super::PEOPLE;
use super::chat::{Chat, jid};
use super::eye::{Seen, SeenAlert};
use super::mails::{Mail, SENDERS, audience};
use super::play::Play;
use super::steps::World;

/// An open condition is paged again after this, in microseconds.
const REPEAT_AFTER: u64 = 4 * 3600 * 1_000_000;

/// What the reports of one condition come to, in their order.
#[derive(Default)]
struct Condition {
    open: bool,
    severity: Option<Severity>,
    paged: Option<i64>,
    /// Its pages since it opened.
    pages: Vec<i64>,
    /// When the newest report of it was mailed.
    mailed: Option<Timestamp>,
}

/// What an alert is.
#[derive(Debug, PartialEq, Eq)]
enum Is {
    Page,
    /// The end of what these alerts told.
    End(Vec<i64>),
    Record,
}

impl Condition {
    fn take(&mut self, alert: &SeenAlert, mailed: Timestamp) -> Is {
        // A mail that was too old when it was found first, and comes once more after newer ones.
        if self.mailed.is_some_and(|newest| mailed < newest) {
            return Is::Record;
        }
        self.mailed = Some(mailed);
        let severity: Severity = alert.severity.parse().unwrap();
        if alert.status == "resolved" {
            let was = std::mem::replace(self, Self { mailed: Some(mailed), ..Self::default() });
            return if was.open { Is::End(was.pages) } else { Is::Record };
        }
        if !std::mem::replace(&mut self.open, true) {
            *self = Self { open: true, mailed: Some(mailed), ..Self::default() };
        }
        let news = match self.paged {
            None => true,
            Some(last) => {
                alert.status == "update"
                    || self.severity.is_some_and(|known| severity > known)
                    || alert.created.abs_diff(last) >= REPEAT_AFTER
            }
        };
        if !news || audience(&alert.sender).is_empty() {
            return Is::Record;
        }
        self.severity = self.severity.max(Some(severity));
        self.paged = Some(alert.created);
        self.pages.push(alert.id);
        Is::Page
    }
}

impl Play {
    pub fn check_end(&mut self, world: &World) {
        self.check_mails(world);
        let now = self.eye.notifications();
        for n in now.values() {
            assert!(n.state.ended(), "it is stuck: {n:?}");
        }
        assert_eq!(self.eye.watches(), 0, "groups of which nobody knows whether somebody was told");
        let alerts = self.eye.alerts();
        let mut conditions: BTreeMap<i64, Condition> = BTreeMap::new();
        for alert in &alerts {
            let of: Vec<&Seen> = now.values().filter(|n| n.alert == Some(alert.id)).collect();
            match conditions
                .entry(alert.condition)
                .or_default()
                .take(alert, self.book.mailed[Mail::number(&alert.title)])
            {
                Is::Page => {
                    self.check_page(alert, &of, &now, world);
                    check_fallback(alert, &of, &alerts);
                }
                Is::End(pages) => self.check_final(alert, &of, &pages, &alerts, &now),
                Is::Record => assert!(of.is_empty(), "nobody should be told: {alert:?} {of:?}"),
            }
        }
        self.check_order(&now, &alerts);
        self.check_told(&now, &alerts);
    }

    /// Each mail came to alerts at most once, ended visibly, and what cannot be read is in quarantine.
    fn check_mails(&mut self, world: &World) {
        let found = self.eye.mails();
        let alerts = self.eye.alerts();
        for mail in &world.mails {
            let id = format!("m{}@test", mail.n);
            let states: Vec<&str> =
                found.iter().filter(|f| f.mail.as_deref() == Some(&*id)).map(|f| f.state.as_str()).collect();
            let firsts: Vec<&str> = states.iter().copied().filter(|state| *state != "duplicate").collect();
            // A copy that was found much later, or is looked at only now, may be too old by then.
            let expected = if mail.junk { "quarantined" } else { "parsed" };
            let once: BTreeSet<&str> = firsts.iter().copied().collect();
            let known = once.iter().all(|state| [expected, "stale"].contains(state));
            assert!(known && !once.is_empty() && once.len() == firsts.len(), "mail {}: {states:?}", mail.n);
            for nth in 0..mail.reports.len() {
                let name = Mail::name(mail.n, nth);
                let n = alerts.iter().filter(|alert| alert.title == name).count();
                assert_eq!(n, usize::from(firsts.contains(&"parsed")), "alerts of {name}");
            }
        }
        assert!(found.iter().all(|mail| (mail.state == "quarantined") == mail.quarantined), "{found:?}");
    }

    /// Everybody whom it is for has a notification; it was told, or ended for a reason that holds.
    fn check_page(&self, alert: &SeenAlert, of: &[&Seen], now: &BTreeMap<i64, Seen>, world: &World) {
        let whole = audience(&alert.sender);
        let who: BTreeSet<&str> = of.iter().map(|n| n.jid.split('@').next().unwrap()).collect();
        let missing: Vec<&&str> = whole.iter().filter(|name| !who.contains(*name)).collect();
        assert!(missing.is_empty(), "{missing:?} have no notification of {alert:?}");
        let fallback = alert.sender == SENDERS[0] && alert.severity == "critical";
        let others: Vec<_> = who.iter().filter(|name| !whole.contains(*name)).collect();
        assert!(others.is_empty() || (others == [&"eve"] && fallback), "{others:?} should not be told of {alert:?}");
        for n in of {
            self.check_reason(n, alert, now, world);
        }
    }

    fn check_reason(&self, n: &Seen, alert: &SeenAlert, now: &BTreeMap<i64, Seen>, world: &World) {
        let name = PEOPLE.into_iter().find(|name| jid(name) == n.jid).unwrap();
        let ended = self.book.ended.contains(&n.id);
        let left_out = || n.reason.strip_prefix("left out for notification ").map(|id| &now[&id.parse().unwrap()]);
        let holds = match n.state {
            Expired => ended || (self.book.away.contains(name) && !n.reason.is_empty()),
            Superseded if n.reason.starts_with("by #") => true,
            Superseded => {
                let newer = left_out().filter(|newer| newer.condition == n.condition && newer.jid == n.jid);
                world.capped && newer.is_some_and(|newer| newer.id > n.id)
            }
            Dead => bounced(&self.chat(), n, now),
            _ => true,
        };
        assert!(holds, "it ended without a reason that holds: {n:?} of {alert:?}");
    }

    /// Whoever was told of the beginning hears of the end, or it ends visibly; nobody else does.
    fn check_final(
        &self,
        end: &SeenAlert,
        of: &[&Seen],
        pages: &[i64],
        alerts: &[SeenAlert],
        now: &BTreeMap<i64, Seen>,
    ) {
        let step = self.book.alerts[&end.id];
        let titles: Vec<&str> = alerts.iter().filter(|a| pages.contains(&a.id)).map(|a| a.title.as_str()).collect();
        let chat = self.chat();
        for name in PEOPLE {
            let told = of.iter().find(|n| n.jid == jid(name));
            let saw = chat.people[name].saw.iter().zip(&self.book.saw[name]);
            let page = |body: &str| titles.iter().any(|title| body.contains(title));
            let before = saw.clone().any(|((_, body), at)| *at < step && page(body));
            // Or an operator sent anew what was dead when the end came.
            let dead = |n: &Seen| matches!(n.state, Dead | Expired) || self.book.asked.contains_key(&n.stanza);
            let ended = |n: &Seen| n.jid == jid(name) && dead(n);
            let visible = now.values().any(|n| n.alert.is_some_and(|a| pages.contains(&a)) && ended(n));
            assert!(told.is_some() || !before || visible, "{name} was told of {titles:?} and hears nothing of {end:?}");
            let intended = |n: &&Seen| {
                n.jid == jid(name)
                    && n.alert.is_some_and(|a| pages.contains(&a))
                    && (n.attempts > 0 || n.carrier.is_some())
            };
            let firings: Vec<&Seen> = now.values().filter(intended).collect();
            assert!(told.is_none() || !firings.is_empty(), "{name} was told nothing of {titles:?}, and then: {end:?}");
            let excused = firings
                .iter()
                .any(|n| chat.lost.contains(&n.stanza) || bounced(&chat, n, now) || self.book.ended.contains(&n.id));
            let first = saw.clone().position(|((_, body), _)| page(body));
            let over = chat.people[name].saw.iter().position(|(_, body)| body.contains(&end.title));
            if let (Some(over), false) = (over, excused) {
                assert!(first.is_some_and(|first| first <= over), "{name} saw the end {end:?} before {titles:?}");
            }
        }
    }

    /// First in, first out for each recipient and condition; what was set aside may come later.
    fn check_order(&mut self, now: &BTreeMap<i64, Seen>, alerts: &[SeenAlert]) {
        let held: BTreeSet<i64> = self.eye.ever_held().into_iter().collect();
        let aside = |id: &i64| held.contains(id) || self.book.set_aside.contains(id);
        let chat = self.chat();
        let title = |n: &Seen| alerts.iter().find(|a| Some(a.id) == n.alert).map(|a| a.title.as_str());
        let first = |n: &Seen| title(n).and_then(|title| chat.named(&n.jid, title).next());
        let mut newest: BTreeMap<(&str, i64), (usize, i64)> = BTreeMap::new();
        for n in now.values().filter(|n| n.kind == "alert" && !aside(&n.id)) {
            let (Some(place), Some(condition)) = (first(n), n.condition) else { continue };
            let known = newest.entry((&n.jid, condition)).or_insert((place, n.id));
            assert!(known.0 <= place, "{n:?} came before the older {:?}", now[&known.1]);
            *known = (place, n.id);
        }
        // One stanza id for each alert and recipient, over all copies.
        let mut ids: BTreeMap<(&str, Option<i64>), BTreeSet<&str>> = BTreeMap::new();
        for letter in &chat.taken {
            let n = now.values().find(|n| n.stanza == letter.stanza_id).unwrap();
            let Some(title) = title(n) else { continue };
            assert!(letter.body.contains(title), "the text of another: {letter:?} of {n:?}");
            ids.entry((letter.to.as_str(), n.alert)).or_default().insert(&letter.stanza_id.0);
        }
        assert!(ids.values().all(|ids| ids.len() == 1), "more than one stanza id: {ids:?}");
    }

    /// Who is told of by the store saw it, unless the server lost it.
    fn check_told(&self, now: &BTreeMap<i64, Seen>, alerts: &[SeenAlert]) {
        let chat = self.chat();
        for n in now.values().filter(|n| n.state.told()) {
            let name = PEOPLE.into_iter().find(|name| jid(name) == n.jid).unwrap();
            let by: Vec<_> = n.carrier.map(|id| &now[&id].stanza).into_iter().chain([&n.stanza]).collect();
            let saw = chat.people[name].saw.iter().any(|(stanza, _)| by.contains(&stanza));
            // Or refused it, and the gateway died before it heard of that.
            let lost = by.iter().any(|s| chat.lost.contains(*s) || chat.bounced.contains_key(*s));
            let of = alerts.iter().find(|a| Some(a.id) == n.alert);
            assert!(saw || lost, "told, and never seen: {n:?} of {of:?}");
        }
    }
}

/// Where nobody of its group could even be tried before their holds ended, the fallback was asked; unless it was over by then.
fn check_fallback(alert: &SeenAlert, of: &[&Seen], alerts: &[SeenAlert]) {
    let over = |a: &SeenAlert| a.condition == alert.condition && a.id > alert.id && a.status == "resolved";
    let fallback = alert.sender == SENDERS[0] && alert.severity == "critical" && !alerts.iter().any(over);
    let tried = of.iter().any(|n| n.state != Expired || n.attempts > 0);
    assert!(!fallback || tried || of.iter().any(|n| n.jid == jid("eve")), "nobody was tried: {alert:?} {of:?}");
}

/// The server refused it, or a digest that carried it, whether it still does or not.
fn bounced(chat: &Chat, n: &Seen, now: &BTreeMap<i64, Seen>) -> bool {
    let refused = |n: &Seen| chat.bounced.contains_key(&n.stanza);
    refused(n) || now.values().any(|digest| digest.kind == "digest" && digest.jid == n.jid && refused(digest))
}
