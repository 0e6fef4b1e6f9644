//! What can happen, and the world in which it happens: what the mails report, who is there, what the line is like.

use std::collections::BTreeMap;

use mailbell::dispatch::ErrorType;
use mailbell::model::{Severity, Show, Status};
use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

use super::PEOPLE;
use super::archive::Archive;
use super::chat::Pace;
use super::gate::Death;
use super::mails::{Mail, Report, SENDERS};

/// One thing that happens; and, where `death` says so, the gateway dies meanwhile and is started again.
#[derive(Clone)]
pub struct Step {
    pub what: What,
    pub death: Option<Death>,
}

/// On one line: a failure lists many.
impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.death {
            None => write!(f, "{:?}", self.what),
            Some(death) => write!(f, "{:?}, {death:?}", self.what),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// Its number is its place among all.
    Mail(Mail),
    /// A mail that was in the mailbox before comes once more.
    Again(u8),
    /// The gateway looks into the mailbox: D1, clearing, D2, and what is born `sending`.
    Look,
    Renumber,
    PostFails,
    Pace(Pace),
    Take(u8),
    Ack(u8),
    Connect,
    Cut,
    Resume,
    Lose {
        told: bool,
    },
    ServerKilled,
    Show(u8, Option<Show>),
    /// The first group goes home.
    Leave,
    /// Their connection dies without a word.
    Gone(u8),
    Grant(u8, bool),
    Receipt(u8),
    Forged(u8),
    Bounce {
        nth: u8,
        late: bool,
        kind: ErrorType,
        condition: &'static str,
    },
    /// So many seconds pass; and `awake`: a few more, in which the gateway runs. Without them it was as if stopped.
    Pass {
        seconds: u32,
        awake: bool,
    },
    /// The archive answers; `cut`: only half of it, and then an error.
    Answer {
        cut: bool,
    },
    /// The wall clock is set, by so many seconds.
    Clock(i32),
    Retry(u8),
    Expire(u8),
    Crash,
}

/// The world, as far as it decides what can happen.
#[derive(Debug, Clone)]
pub struct World {
    /// The recipients' cap and the pause are on.
    pub capped: bool,
    /// Whose clients send receipts.
    pub receipts: Vec<&'static str>,
    /// At the end they send none for a long time.
    pub silent: bool,
    /// The chat server's archive of what it took.
    pub archive: Archive,
    pub mails: Vec<Mail>,
    /// What the senders reported last: is it open?
    pub open: BTreeMap<(usize, u8), bool>,
    pub line: Line,
    /// Nothing new since the last look.
    pub looked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    None,
    Up,
    Down,
}

pub struct Reference;

impl ReferenceStateMachine for Reference {
    type State = World;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<World> {
        let receipts = prop_oneof![Just(vec![]), Just(vec!["ann"]), Just(vec!["ann", "bob", "cat", "eve"])];
        let archive = prop_oneof![Just(Archive::None), Just(Archive::Prompt), Just(Archive::Slow)];
        (prop::bool::weighted(0.3), receipts, any::<bool>(), archive)
            .prop_map(|(capped, receipts, silent, archive)| World {
                capped,
                receipts,
                silent,
                archive,
                mails: Vec::new(),
                open: BTreeMap::new(),
                line: Line::None,
                looked: true,
            })
            .boxed()
    }

    fn transitions(world: &World) -> BoxedStrategy<Step> {
        let death =
            prop::option::weighted(0.12, (0..7u8, any::<bool>()).prop_map(|(commit, after)| Death { commit, after }));
        (what(world), death).prop_map(|(what, death)| Step { what, death }).boxed()
    }

    fn apply(mut world: World, step: &Step) -> World {
        match &step.what {
            What::Mail(mail) => {
                for report in &mail.reports {
                    world.open.insert((mail.sender, report.key), report.status != Status::Resolved);
                }
                world.mails.push(Mail { n: world.mails.len(), ..mail.clone() });
                world.looked = false;
            }
            What::Again(_) => world.looked = false,
            What::Look => world.looked = true,
            What::Connect if world.line == Line::None => world.line = Line::Up,
            What::Cut if world.line == Line::Up => world.line = Line::Down,
            What::Resume if world.line == Line::Down => world.line = Line::Up,
            What::Lose { .. } | What::ServerKilled | What::Crash => world.line = Line::None,
            _ => {}
        }
        world
    }
}

fn what(world: &World) -> BoxedStrategy<What> {
    let here = |up: u32, otherwise: u32| if world.line == Line::Up { up } else { otherwise };
    let who = || 0..PEOPLE.len() as u8;
    let shows = prop_oneof![Just(None), Just(None), Just(Some(Show::Dnd)), Just(Some(Show::Available))];
    let bounced = prop_oneof![
        Just((ErrorType::Wait, "resource-constraint")),
        Just((ErrorType::Cancel, "service-unavailable")),
        Just((ErrorType::Cancel, "item-not-found")),
    ];
    let pace = prop_oneof![Just(Pace::Stuck), Just(Pace::Taken), Just(Pace::Acked), Just(Pace::Acked)];
    let passes = prop_oneof![Just(1u32), Just(6), Just(70), Just(400), Just(1900), Just(15_000), Just(60_000)];
    let look = if world.looked { 1 } else { 12 };
    let slow = world.archive == Archive::Slow && world.line == Line::Up;
    prop_oneof![
        12 => mail(world),
        1 => any::<u8>().prop_map(What::Again),
        look => Just(What::Look),
        1 => Just(What::Renumber),
        1 => Just(What::PostFails),
        here(4, 1) => pace.prop_map(What::Pace),
        here(3, 1) => (1..4u8).prop_map(What::Take),
        here(3, 1) => (1..4u8).prop_map(What::Ack),
        if world.line == Line::None { 12 } else { 1 } => Just(What::Connect),
        here(2, 1) => Just(What::Cut),
        if world.line == Line::Down { 6 } else { 1 } => Just(What::Resume),
        if world.line == Line::Down { 4 } else { 1 } => any::<bool>().prop_map(|told| What::Lose { told }),
        1 => Just(What::ServerKilled),
        5 => (who(), shows).prop_map(|(who, show)| What::Show(who, show)),
        2 => Just(What::Leave),
        2 => who().prop_map(What::Gone),
        1 => (who(), any::<bool>()).prop_map(|(who, granted)| What::Grant(who, granted)),
        here(4, 1) => who().prop_map(What::Receipt),
        1 => any::<u8>().prop_map(What::Forged),
        here(4, 1) => (any::<u8>(), any::<bool>(), bounced)
            .prop_map(|(nth, late, (kind, condition))| What::Bounce { nth, late, kind, condition }),
        6 => (passes, prop::bool::weighted(0.7)).prop_map(|(seconds, awake)| What::Pass { seconds, awake }),
        if slow { 3 } else { 1 } => any::<bool>().prop_map(|cut| What::Answer { cut }),
        3 => prop_oneof![Just(-3600), Just(3600)].prop_map(What::Clock),
        1 => any::<u8>().prop_map(What::Retry),
        1 => any::<u8>().prop_map(What::Expire),
        2 => Just(What::Crash),
    ]
    .boxed()
}

/// Mostly news of what is open, and ends of it.
fn mail(world: &World) -> BoxedStrategy<What> {
    let open = world.open.clone();
    let severity = prop_oneof![
        3 => Just(Severity::Critical), 1 => Just(Severity::Major), 2 => Just(Severity::Warning), 1 => Just(Severity::Info)
    ];
    let report = (0..2u8, severity, 0..10u8);
    let reports = prop_oneof![5 => prop::collection::vec(report.clone(), 1), 1 => prop::collection::vec(report, 2)];
    let sender = prop_oneof![4 => Just(0), 2 => Just(1), 1 => 2..SENDERS.len()];
    let junk = prop::bool::weighted(0.04);
    (sender, reports, junk)
        .prop_map(move |(sender, reports, junk)| {
            let reports = reports.into_iter().map(|(key, severity, dice)| {
                let is_open = open.get(&(sender, key)) == Some(&true);
                let status = match (is_open, dice) {
                    (true, 0..5) | (false, 0) => Status::Resolved,
                    (true, 5) => Status::Update,
                    _ => Status::Firing,
                };
                Report { key, status, severity }
            });
            let mut reports: Vec<Report> = reports.collect();
            reports.dedup_by_key(|report| report.key);
            What::Mail(Mail { n: 0, sender, reports, junk })
        })
        .boxed()
}
