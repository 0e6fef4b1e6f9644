//! The delivery protocol as a state machine: mails, people, a chat server, clocks and crashes in random order, and what must
//! hold after each step, and when all is healed and nothing moves any more.
//!
//! The gateway is the real one: its store on a file, its watcher, parser, router and dispatch worker, put together as the service
//! does. Only the mailbox and the chat server are played, and time stands still but where a step lets it pass, so that a seed tells
//! the whole story. A crash drops the process with all that is in its memory; it comes between any two steps, or before or after any
//! commit within one. See `tests/README.md` for a long run.

mod archive;
mod chat;
mod end;
mod eye;
mod gate;
mod gateway;
mod holds;
mod laws;
mod mails;
mod play;
mod post;
mod steps;

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::test_runner::{Config, RngSeed};
use proptest_state_machine::{StateMachineTest, prop_state_machine};

use play::Play;
use steps::{Reference, Step, World};

/// The fourth is the office: the fallback, and who hears of the gateway's own troubles.
const PEOPLE: [&str; 4] = ["ann", "bob", "cat", "eve"];

/// So many cases, unless `PROPTEST_CASES` says otherwise.
const CASES: u32 = 32;

/// What was tried so far: a long run says it with each tenth of a thousand cases.
static CASES_DONE: AtomicUsize = AtomicUsize::new(0);
static STEPS_DONE: AtomicUsize = AtomicUsize::new(0);
static CRASHES: AtomicUsize = AtomicUsize::new(0);
static COPIES: AtomicUsize = AtomicUsize::new(0);

struct Delivery;

impl StateMachineTest for Delivery {
    type SystemUnderTest = Play;
    type Reference = Reference;

    fn init_test(world: &World) -> Play {
        Play::new(world)
    }

    fn apply(mut play: Play, world: &World, step: Step) -> Play {
        play.step(world, &step);
        play
    }

    fn teardown(mut play: Play, world: World) {
        play.heal(world.silent);
        play.check_end(&world);
        let add = |to: &AtomicUsize, n: usize| to.fetch_add(n, Ordering::Relaxed) + n;
        let steps = add(&STEPS_DONE, play.book.step);
        let (crashes, copies) = (add(&CRASHES, play.book.crashes), add(&COPIES, play.chat().taken.len()));
        let cases = add(&CASES_DONE, 1);
        if cases % 100 == 0 {
            eprintln!("{cases} cases: {steps} steps, {crashes} crashes, {copies} messages taken by the chat server");
        }
    }
}

/// The same cases each time, so that a failure tells of the change; a run that asks for a number tries others.
fn config() -> Config {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let config = Config { max_shrink_iters: 1000, failure_persistence: None, ..Config::default() };
    match asked {
        Some(cases) => Config { cases, ..config },
        None => Config { cases: CASES, rng_seed: RngSeed::Fixed(5), ..config },
    }
}

prop_state_machine! {
    #![proptest_config(config())]

    #[test]
    fn nothing_is_lost_in_any_order(sequential 20..60 => Delivery);
}
