//! Resources → one presence for each recipient.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::model::{BareJid, Jid, Presence, Show};

/// Most resources that are kept of one recipient: more than anybody has, so that nobody can fill our memory.
const MAX_RESOURCES: usize = 64;

/// What is known of the recipients' presence.
///
/// *Offline* is believed only when the session is up, the roster is loaded and the server had the time to tell who is
/// there: `settle` after [`up`](Self::up). A recipient who was seen online is online at once. When the session goes down all
/// is unknown; what a resumed session had known (XEP-0198) is known again.
#[derive(Debug)]
pub struct Tracker {
    settle: Duration,
    session: Session,
    /// Number of the session that presence is of: one that comes in between two sessions belongs to the next.
    generation: u64,
    contacts: HashMap<BareJid, Contact>,
    /// Rooms: are we in? `None`: this session has not found out yet.
    rooms: HashMap<BareJid, Option<bool>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Session {
    Up {
        settled_at: Instant,
    },
    /// `settled`: a resumption need not settle again.
    Down {
        settled: bool,
    },
}

#[derive(Debug, Default)]
struct Contact {
    /// `None`: the roster has not said yet.
    granted: Option<bool>,
    /// They granted it during this session: until then their server may still be telling where they are.
    settles: Option<Instant>,
    resources: BTreeMap<String, Resource>,
    /// When they last told something else than before. `None`: not in what is known.
    changed: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Resource {
    show: Show,
    priority: i8,
    generation: u64,
}

impl Tracker {
    /// Nothing is known yet. Presence of anybody else than `contacts` is ignored.
    pub fn new(contacts: impl IntoIterator<Item = BareJid>, settle: Duration) -> Self {
        let contacts = contacts.into_iter().map(|jid| (jid, Contact::default())).collect();
        Self { settle, session: Session::Down { settled: false }, generation: 0, contacts, rooms: HashMap::new() }
    }

    /// With these rooms: reachable while we are in them. No time makes us believe that we are not: each join has an answer.
    pub fn with_rooms(self, rooms: impl IntoIterator<Item = BareJid>) -> Self {
        Self { rooms: rooms.into_iter().map(|jid| (jid, None)).collect(), ..self }
    }

    /// Other contacts, and another time to settle. Who stays is known as before; of who is new the server has yet to tell.
    pub fn replace(&mut self, contacts: impl IntoIterator<Item = BareJid>, settle: Duration, now: Instant) {
        self.settle = settle;
        let mut old = std::mem::take(&mut self.contacts);
        let up = matches!(self.session, Session::Up { .. });
        let new = || Contact { settles: up.then(|| now + settle), ..Contact::default() };
        self.contacts = contacts
            .into_iter()
            .map(|jid| {
                let contact = old.remove(&jid).unwrap_or_else(new);
                (jid, contact)
            })
            .collect();
    }

    /// Other rooms. Of those that stay is known what was.
    pub fn replace_rooms(&mut self, rooms: impl IntoIterator<Item = BareJid>) {
        let mut old = std::mem::take(&mut self.rooms);
        self.rooms = rooms.into_iter().map(|jid| (jid.clone(), old.remove(&jid).flatten())).collect();
    }

    /// A session is up. Resumed: all is as before. Otherwise only what was told since the last one ended counts.
    pub fn up(&mut self, resumed: bool, now: Instant) {
        self.down(now);
        if !resumed {
            self.forget_older();
        }
        let settled = matches!(self.session, Session::Down { settled: true });
        let settled_at = if resumed && settled { now } else { now + self.settle };
        self.session = Session::Up { settled_at };
    }

    /// The session is down: all is unknown, until it is resumed or a new one has settled.
    pub fn down(&mut self, now: Instant) {
        if let Session::Up { settled_at } = self.session {
            self.session = Session::Down { settled: settled_at <= now };
            self.generation += 1;
        }
    }

    /// The session cannot be resumed: what was told is forgotten.
    pub fn lost(&mut self) {
        self.session = Session::Down { settled: false };
        for contact in self.contacts.values_mut() {
            contact.settles = None;
            contact.resources.clear();
            contact.changed = None;
        }
        self.rooms.values_mut().for_each(|joined| *joined = None);
    }

    /// A room: are we in? `true`: that is news.
    pub fn room(&mut self, room: &BareJid, joined: bool) -> bool {
        let Some(known) = self.rooms.get_mut(room) else { return false };
        known.replace(joined) != Some(joined)
    }

    /// A recipient's roster state: do we get their presence? `true`: that is news.
    pub fn subscription(&mut self, who: &BareJid, granted: bool, now: Instant) -> bool {
        let Some(contact) = self.contacts.get_mut(who) else { return false };
        let news = contact.granted != Some(granted);
        if news {
            let up = matches!(self.session, Session::Up { .. });
            contact.settles = (granted && up).then(|| now + self.settle);
        }
        contact.granted = Some(granted);
        news
    }

    /// Presence of one resource, with its priority; `None`: it is gone. With a bare JID `None` means all of them.
    pub fn presence(&mut self, who: &Jid, state: Option<(Show, i8)>, now: Instant) {
        let generation = self.generation;
        let Some(contact) = self.contacts.get_mut(&who.to_bare()) else { return };
        let before = contact.best();
        let resource = who.resource().map(|r| r.as_str().to_owned());
        match (state, resource) {
            (Some((show, priority)), resource) => {
                let name = resource.unwrap_or_default();
                let room = contact.resources.len() < MAX_RESOURCES || contact.resources.contains_key(&name);
                if room {
                    contact.resources.insert(name, Resource { show, priority, generation });
                }
            }
            (None, Some(name)) => {
                contact.resources.remove(&name);
            }
            (None, None) => contact.resources.clear(),
        }
        if contact.best() != before {
            contact.changed = Some(now);
        }
    }

    /// Since when a recipient is as they are, as far as they told so during this session: it may be longer. `None`: they told
    /// nothing, or nothing is known.
    pub fn since(&self, who: &BareJid, now: Instant) -> Option<Instant> {
        let changed = self.contacts.get(who)?.changed;
        changed.filter(|_| matches!(self.get(who, now), Presence::Online(_) | Presence::Offline))
    }

    /// Presence of a recipient. Of somebody who is no contact nothing is known once the rest is.
    pub fn get(&self, who: &BareJid, now: Instant) -> Presence {
        let Session::Up { settled_at } = self.session else { return Presence::Unknown };
        if let Some(joined) = self.rooms.get(who) {
            return match joined {
                None => Presence::Unknown,
                Some(true) => Presence::Online(Show::Available),
                Some(false) => Presence::NotJoined,
            };
        }
        let contact = self.contacts.get(who);
        if let Some(show) = contact.and_then(Contact::best) {
            return Presence::Online(show);
        }
        if now < settled_at || contact.and_then(|c| c.settles).is_some_and(|at| now < at) {
            return Presence::Unknown;
        }
        match contact.and_then(|c| c.granted) {
            Some(true) => Presence::Offline,
            // The roster is loaded by now: who is not in it does not share.
            Some(false) | None => Presence::NotShared,
        }
    }

    /// When offline is believed next, of all or of one: a time to look again at what waits. `None`: nobody's presence will
    /// be known by waiting.
    pub fn next_settle(&self, now: Instant) -> Option<Instant> {
        let Session::Up { settled_at } = self.session else { return None };
        let each = self.contacts.values().filter_map(|c| c.settles);
        each.chain([settled_at]).filter(|at| *at > now).min()
    }

    fn forget_older(&mut self) {
        for contact in self.contacts.values_mut() {
            let before = contact.best();
            contact.resources.retain(|_, resource| resource.generation == self.generation);
            if contact.best() != before || contact.resources.is_empty() {
                contact.changed = None;
            }
        }
        // They are joined only once a session is up: what is known is of the last one.
        self.rooms.values_mut().for_each(|joined| *joined = None);
    }
}

impl Contact {
    /// RFC 6121 §8.5.2.1.1: messages to the bare JID go to resources of non-negative priority.
    fn best(&self) -> Option<Show> {
        self.resources.values().filter(|r| r.priority >= 0).map(|r| r.show).max()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTLE: Duration = Duration::from_secs(5);

    fn alice() -> BareJid {
        "alice@example.org".parse().unwrap()
    }

    fn jid(text: &str) -> Jid {
        text.parse().unwrap()
    }

    /// A session that is up since `now`, with alice's presence granted.
    fn up(now: Instant) -> Tracker {
        let mut tracker = Tracker::new([alice()], SETTLE);
        tracker.up(false, now);
        tracker.subscription(&alice(), true, now);
        tracker
    }

    #[test]
    fn offline_is_believed_only_after_settling() {
        let now = Instant::now();
        let tracker = Tracker::new([alice()], SETTLE);
        assert_eq!((tracker.get(&alice(), now + SETTLE), tracker.next_settle(now)), (Presence::Unknown, None));
        let tracker = up(now);
        assert_eq!(tracker.next_settle(now), Some(now + SETTLE));
        assert_eq!(tracker.get(&alice(), now + SETTLE - Duration::from_millis(1)), Presence::Unknown);
        assert_eq!(tracker.get(&alice(), now + SETTLE), Presence::Offline);
    }

    #[test]
    fn who_is_seen_is_online_at_once() {
        let now = Instant::now();
        let mut tracker = up(now);
        tracker.presence(&jid("alice@example.org/phone"), Some((Show::Away, 0)), now);
        assert_eq!(tracker.get(&alice(), now), Presence::Online(Show::Away));
        tracker.presence(&jid("alice@example.org/phone"), None, now);
        assert_eq!(tracker.get(&alice(), now), Presence::Unknown, "another device may show up yet");
    }

    #[test]
    fn the_best_resource_counts_and_negative_priority_does_not() {
        let now = Instant::now();
        let mut tracker = up(now);
        let later = now + SETTLE;
        tracker.presence(&jid("alice@example.org/bot"), Some((Show::Chat, -1)), now);
        assert_eq!(tracker.get(&alice(), later), Presence::Offline);
        tracker.presence(&jid("alice@example.org/pc"), Some((Show::Dnd, 5)), now);
        tracker.presence(&jid("alice@example.org/phone"), Some((Show::Xa, 0)), now);
        assert_eq!(
            tracker.get(&alice(), later),
            Presence::Online(Show::Xa),
            "the most available, not the highest priority"
        );
        tracker.presence(&jid("alice@example.org/phone"), None, now);
        assert_eq!(tracker.get(&alice(), later), Presence::Online(Show::Dnd));
        tracker.presence(&jid("alice@example.org"), None, now);
        assert_eq!(tracker.get(&alice(), later), Presence::Offline);
    }

    #[test]
    fn since_when_is_as_it_was_told() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut tracker = up(start);
        let pc = jid("alice@example.org/pc");
        assert_eq!(tracker.since(&alice(), at(10)), None, "offline all the time");
        tracker.presence(&pc, Some((Show::Away, 0)), at(10));
        tracker.presence(&pc, Some((Show::Away, 5)), at(11));
        tracker.presence(&jid("alice@example.org/phone"), Some((Show::Xa, 0)), at(12));
        assert_eq!(tracker.since(&alice(), at(13)), Some(at(10)), "she is away as before");
        tracker.presence(&pc, None, at(14));
        assert_eq!(tracker.since(&alice(), at(15)), Some(at(14)), "longer away");
        tracker.presence(&alice().into(), None, at(16));
        assert_eq!(tracker.since(&alice(), at(17)), Some(at(16)), "offline");
        tracker.presence(&pc, Some((Show::Chat, 0)), at(18));
        tracker.down(at(19));
        assert_eq!(tracker.since(&alice(), at(19)), None, "unknown");
        tracker.up(true, at(20));
        assert_eq!(tracker.since(&alice(), at(20)), Some(at(18)), "resumed: as before");
        tracker.down(at(21));
        tracker.up(false, at(22));
        assert_eq!(tracker.since(&alice(), at(30)), None, "nothing was told since");
    }

    #[test]
    fn who_does_not_share_is_not_offline() {
        let now = Instant::now();
        let mut tracker = Tracker::new([alice()], SETTLE);
        tracker.up(false, now);
        assert_eq!(tracker.get(&alice(), now), Presence::Unknown);
        assert_eq!(tracker.get(&alice(), now + SETTLE), Presence::NotShared, "not in the roster");
        tracker.subscription(&alice(), false, now);
        assert_eq!(tracker.get(&alice(), now + SETTLE), Presence::NotShared);
        tracker.presence(&jid("alice@example.org/pc"), Some((Show::Available, 0)), now);
        assert_eq!(tracker.get(&alice(), now + SETTLE), Presence::Online(Show::Available), "seen is seen");
    }

    #[test]
    fn a_room_is_reachable_while_we_are_in_it_and_unknown_until_that_is_clear() {
        let now = Instant::now();
        let room: BareJid = "ops@conference.example.org".parse().unwrap();
        let mut tracker = Tracker::new([alice()], SETTLE).with_rooms([room.clone()]);
        tracker.up(false, now);
        let later = now + 10 * SETTLE;
        assert_eq!(tracker.get(&room, later), Presence::Unknown);
        assert!(tracker.room(&room, true) && !tracker.room(&room, true));
        assert_eq!(tracker.get(&room, later), Presence::Online(Show::Available));
        // Who is in a room says nothing of the room.
        tracker.presence(&jid("ops@conference.example.org/bob"), Some((Show::Dnd, 0)), now);
        assert_eq!(tracker.get(&room, later), Presence::Online(Show::Available));
        assert!(tracker.room(&room, false));
        assert_eq!(tracker.get(&room, now), Presence::NotJoined);
        tracker.down(later);
        assert_eq!(tracker.get(&room, later), Presence::Unknown);
        tracker.up(true, later);
        assert_eq!(tracker.get(&room, later), Presence::NotJoined, "as before");
        tracker.up(false, later);
        assert_eq!(tracker.get(&room, later + SETTLE), Presence::Unknown);
        assert!(!tracker.room(&alice(), true), "a person is no room");
    }

    #[test]
    fn who_has_just_granted_the_subscription_is_not_offline_yet() {
        let now = Instant::now();
        let mut tracker = Tracker::new([alice()], SETTLE);
        tracker.up(false, now);
        assert!(tracker.subscription(&alice(), false, now));
        let granted = now + 10 * SETTLE;
        assert!(tracker.subscription(&alice(), true, granted));
        assert!(!tracker.subscription(&alice(), true, granted + SETTLE), "no news");
        assert_eq!(tracker.get(&alice(), granted), Presence::Unknown);
        assert_eq!(tracker.next_settle(granted), Some(granted + SETTLE));
        assert_eq!(tracker.get(&alice(), granted + SETTLE), Presence::Offline);
        tracker.presence(&jid("alice@example.org/pc"), Some((Show::Available, 0)), now);
        assert_eq!(tracker.get(&alice(), granted), Presence::Online(Show::Available));
    }

    #[test]
    fn other_contacts_leave_those_who_stay_as_they_are() {
        let (now, bob) = (Instant::now(), "bob@example.org".parse::<BareJid>().unwrap());
        let mut tracker = up(now);
        tracker.presence(&jid("alice@example.org/pc"), Some((Show::Away, 0)), now);
        let later = now + 10 * SETTLE;
        tracker.replace([alice(), bob.clone()], SETTLE / 2, later);
        assert_eq!(tracker.get(&alice(), later), Presence::Online(Show::Away));
        assert_eq!(tracker.get(&bob, later), Presence::Unknown, "nobody told of him yet");
        assert_eq!(tracker.next_settle(later), Some(later + SETTLE / 2));
        assert_eq!(tracker.get(&bob, later + SETTLE / 2), Presence::NotShared);
        tracker.replace([bob], SETTLE, later);
        tracker.presence(&jid("alice@example.org/pc"), Some((Show::Chat, 0)), now);
        assert_eq!(tracker.get(&alice(), later), Presence::NotShared, "she is a stranger now");
    }

    #[test]
    fn a_resumed_session_knows_what_it_knew() {
        let now = Instant::now();
        let mut tracker = up(now);
        tracker.presence(&jid("alice@example.org/pc"), Some((Show::Chat, 0)), now);
        tracker.down(now + SETTLE);
        assert_eq!(tracker.get(&alice(), now + SETTLE), Presence::Unknown);
        tracker.up(true, now + 2 * SETTLE);
        assert_eq!(tracker.get(&alice(), now + 2 * SETTLE), Presence::Online(Show::Chat));
        tracker.presence(&jid("alice@example.org/pc"), None, now);
        assert_eq!(tracker.get(&alice(), now + 2 * SETTLE), Presence::Offline, "it had settled");
    }

    #[test]
    fn a_resumption_before_settling_settles_anew() {
        let now = Instant::now();
        let mut tracker = up(now);
        tracker.down(now + SETTLE / 2);
        let back = now + 10 * SETTLE;
        tracker.up(true, back);
        assert_eq!(tracker.get(&alice(), back), Presence::Unknown);
        assert_eq!(tracker.get(&alice(), back + SETTLE), Presence::Offline);
    }

    #[test]
    fn a_new_session_starts_anew_but_keeps_what_was_told_on_the_way_up() {
        let now = Instant::now();
        let mut tracker = up(now);
        tracker.presence(&jid("alice@example.org/old"), Some((Show::Chat, 0)), now);
        tracker.down(now + SETTLE);
        tracker.lost();
        tracker.presence(&jid("alice@example.org/new"), Some((Show::Away, 0)), now);
        let back = now + 10 * SETTLE;
        tracker.up(false, back);
        assert_eq!(tracker.get(&alice(), back), Presence::Online(Show::Away));
        tracker.up(false, back);
        assert_eq!(
            tracker.get(&alice(), back),
            Presence::Unknown,
            "a session that ended without a word is not the new one"
        );
        tracker.lost();
        assert_eq!(tracker.get(&alice(), back + SETTLE), Presence::Unknown);
    }

    #[test]
    fn strangers_and_floods_of_resources_take_no_room() {
        let now = Instant::now();
        let mut tracker = up(now);
        tracker.presence(&jid("mallory@example.org/x"), Some((Show::Chat, 0)), now);
        assert_eq!(tracker.contacts.len(), 1);
        for n in 0..1000 {
            tracker.presence(&jid(&format!("alice@example.org/{n}")), Some((Show::Xa, 0)), now);
        }
        tracker.presence(&jid("alice@example.org/7"), Some((Show::Chat, 0)), now);
        let kept = &tracker.contacts[&alice()].resources;
        assert_eq!((kept.len(), tracker.get(&alice(), now)), (MAX_RESOURCES, Presence::Online(Show::Chat)));
    }

    #[derive(Debug, Clone)]
    enum Event {
        Up(bool),
        Down,
        Lost,
        Granted(bool),
        Presence(Option<u8>, Option<(Show, i8)>),
        Pass(u64),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let state = prop::option::of((prop::sample::select(Show::ALL.to_vec()), -1..2_i8));
        let event = prop_oneof![
            2 => any::<bool>().prop_map(Event::Up),
            1 => Just(Event::Down),
            1 => Just(Event::Lost),
            1 => any::<bool>().prop_map(Event::Granted),
            4 => (prop::option::weighted(0.9, 0..3_u8), state).prop_map(|(r, s)| Event::Presence(r, s)),
            3 => (0..8000_u64).prop_map(Event::Pass),
        ];
        prop::collection::vec(event, 0..40)
    }

    proptest! {
        /// Whatever comes in whatever order: down is unknown, nobody is offline before the session settled, and nobody
        /// online whom this session (or the one it resumed) has not shown.
        #[test]
        fn offline_is_never_claimed_early_and_online_never_made_up(events in events()) {
            let mut now = Instant::now();
            let mut tracker = Tracker::new([alice()], SETTLE);
            let (mut session, mut shown): (Option<Instant>, BTreeMap<String, (Show, i8)>) = (None, BTreeMap::new());
            for event in events {
                match event {
                    Event::Up(resumed) => {
                        tracker.up(resumed, now);
                        session = Some(now);
                        prop_assert!(tracker.next_settle(now).is_none_or(|at| at <= now + SETTLE));
                    }
                    Event::Down => { tracker.down(now); session = None; }
                    Event::Lost => { tracker.lost(); session = None; shown.clear(); }
                    Event::Granted(granted) => drop(tracker.subscription(&alice(), granted, now)),
                    Event::Presence(resource, state) => {
                        let name = resource.map(|r| format!("r{r}"));
                        let who = name.as_ref().map_or(alice().into(), |r| jid(&format!("alice@example.org/{r}")));
                        tracker.presence(&who, state, now);
                        match (name, state) {
                            (name, Some(state)) => { shown.insert(name.unwrap_or_default(), state); }
                            (Some(name), None) => { shown.remove(&name); }
                            (None, None) => shown.clear(),
                        }
                    }
                    Event::Pass(ms) => now += Duration::from_millis(ms),
                }
                let presence = tracker.get(&alice(), now);
                prop_assert_eq!(presence == Presence::Unknown && session.is_none(), session.is_none());
                if matches!(presence, Presence::Offline | Presence::NotShared) {
                    prop_assert_eq!(tracker.next_settle(now), None);
                }
                if let Presence::Online(show) = presence {
                    prop_assert!(shown.values().any(|(s, priority)| *s == show && *priority >= 0));
                }
            }
        }
    }
}
