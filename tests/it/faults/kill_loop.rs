//! Row 7: mails flow steadily while the gateway is killed at random moments and started again, from its very first milliseconds
//! on. `tests/faults/kill-loop` runs it for longer, and says by the environment how.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mailbell::model::AlertId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::DOMAIN;
use crate::support::chat::{Kind, Options};
use crate::support::lab::Lab;
use crate::support::lmtp::Session;
use crate::support::mailbell::Mailbell;
use crate::support::oracle::{Oracle, Verdict};
use crate::support::proxy::{Proxy, Trouble, Way};
use crate::support::witness::Witness;

/// A message may be in doubt several times in a row; so often that is no chance any more.
const MOST: usize = 5;
/// Of the mails that take longer than this the way is told, of the slowest few.
const SLOW: Duration = Duration::from_secs(20);
const TOLD: usize = 3;

struct Plan {
    rounds: u32,
    seed: u64,
    /// Mails a second.
    rate: u32,
    /// It lives for at most so long. It is ready after a fraction of a second, and asks the archive after two.
    life: Duration,
    /// So far away is the chat server: what it says comes so much later. Nearby a kill hardly ever leaves anything in doubt.
    away: Duration,
    kind: Kind,
    /// The chat server archives.
    archive: bool,
}

impl Plan {
    /// As the environment says; else short, and on this server.
    fn new(archive: bool, usual: Kind) -> Self {
        let number = |name, usual: u64| std::env::var(name).map_or(usual, |value| value.parse().expect(name));
        Self {
            rounds: number("KILL_ROUNDS", if archive { 10 } else { 20 }).try_into().unwrap(),
            seed: number("KILL_SEED", rand::random::<u32>().into()),
            rate: number("KILL_RATE", if archive { 5 } else { 20 }).try_into().unwrap(),
            life: Duration::from_secs(number("KILL_LIFE", if archive { 6 } else { 2 })),
            away: Duration::from_millis(number("KILL_AWAY", if archive { 50 } else { 0 })),
            archive,
            kind: match std::env::var("KILL_SERVER").as_deref() {
                Ok("ejabberd") => Kind::Ejabberd,
                Ok("prosody") => Kind::Prosody,
                Ok(other) => panic!("KILL_SERVER = {other}; it is prosody or ejabberd"),
                Err(_) => usual,
            },
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row07_killed_at_random_moments_while_mails_flow() {
    run(Plan::new(false, Kind::Prosody)).await;
}

/// The look-up in the archive takes time that a life may not have: then the next one asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row07_killed_at_random_moments_where_the_server_archives() {
    run(Plan::new(true, Kind::Ejabberd)).await;
}

async fn run(plan: Plan) {
    let archive = if plan.archive { ", archive on" } else { "" };
    let Plan { rounds, seed, rate, kind, away, .. } = plan;
    println!("{rounds} rounds, seed {seed}, {rate} mails a second, {kind:?}, {away:?} away{archive}");
    let lab = Lab::with(&["alice"], &["inbox"], Options { archive: plan.archive, ..Options::on(plan.kind) });
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let proxy = Proxy::start(lab.chat.c2s).await;
    proxy.set(Way::Down, Trouble::Delay(plan.away));
    let config = if plan.away.is_zero() { lab.config() } else { lab.through(&proxy) };
    let config = config.replace("poll = \"3s\"\n", "poll = \"3s\"\nafter = \"delete\"\n");
    let mut mailbell = Mailbell::new(&config);
    let injected = format!("kill -9 at {} random moments while mails flow{archive}", plan.rounds);
    let oracle = Oracle::new(7, &injected).on(plan.kind);
    let mut random = StdRng::seed_from_u64(plan.seed);
    let stop = AtomicBool::new(false);
    let lmtp = lab.dovecot.lmtp;
    let began = Instant::now();
    std::thread::scope(|scope| {
        let feeder = scope.spawn(|| feed(&oracle, lmtp, plan.rate, &stop));
        for round in 1..=plan.rounds {
            mailbell.spawn();
            // Any moment is as good as another: this is what is tested.
            std::thread::sleep(plan.life.mul_f64(random.random()));
            mailbell.kill();
            if round % 100 == 0 {
                println!("{round} rounds, {} mails, {} s", oracle.count(), began.elapsed().as_secs());
            }
        }
        stop.store(true, Ordering::SeqCst);
        feeder.join().unwrap();
    });
    oracle.over();
    mailbell.start();
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    tell(&plan, &verdict);
    tell_doubts(&mailbell.log());
    tell_slow(&mailbell, &oracle, &verdict).await;
    // What the archive has is not sent again; but on a machine that is too busy it may not answer in time.
    oracle.all_told(&verdict, if plan.archive { 3 } else { MOST });
    assert_eq!(lab.dovecot.count("inbox", "INBOX"), 0, "what is stored is cleared");
}

/// Mails one after the other, at a steady rate, in one session.
fn feed(oracle: &Oracle, lmtp: u16, rate: u32, stop: &AtomicBool) {
    let mut session = Session::connect(lmtp).unwrap();
    let began = Instant::now();
    for n in 0.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let (number, mail) = oracle.next();
        session.deliver(&format!("inbox@{DOMAIN}"), mail.as_bytes()).unwrap();
        oracle.delivered(number);
        std::thread::sleep((Duration::from_secs(1) * n / rate).saturating_sub(began.elapsed()));
    }
}

/// The figures that are published.
fn tell(plan: &Plan, verdict: &Verdict) {
    let mut latencies: Vec<Duration> = verdict.latencies.iter().map(|(_, took)| *took).collect();
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    println!(
        "{} kills, {} mails: {} lost, {} copies too many (at most {} of one mail), {} with a second stanza id; \
         mail to IM p50 {:.1} ms, p99 {:.0} ms, max {:.0} ms",
        plan.rounds,
        verdict.fates.len(),
        verdict.lost().len(),
        verdict.extra(),
        verdict.most(),
        verdict.second_ids().len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

/// How often a kill left it open whether something had arrived: no figure about copies says much without.
fn tell_doubts(log: &str) {
    let sum = |line: &str, field: &str| -> u64 {
        let lines = log.lines().filter(|found| found.contains(line));
        let words = lines.flat_map(str::split_whitespace).filter_map(|word| word.strip_prefix(field));
        words.map(|number| number.parse::<u64>().expect("a count")).sum()
    };
    let searched = "archive was searched";
    println!(
        "{} times one was in doubt; the archive had {}, and {} were sent again after a search",
        sum("notifications are in doubt", "count="),
        sum(searched, "found="),
        sum(searched, "again=")
    );
}

/// How many mails were slow; of the slowest the way, and what the log says meanwhile of sessions, and of what was in doubt.
async fn tell_slow(mailbell: &Mailbell, oracle: &Oracle, verdict: &Verdict) {
    let (alerts, log) = (mailbell.alerts().await, mailbell.log());
    let mut slow: Vec<_> = verdict.latencies.iter().filter(|(_, took)| *took > SLOW).collect();
    slow.sort_by_key(|(_, took)| std::cmp::Reverse(*took));
    println!("{} mails took longer than {SLOW:?}", slow.len());
    for (number, took) in slow.into_iter().take(TOLD) {
        let title = oracle.title(*number);
        println!("{title} took {:.1} s", took.as_secs_f64());
        let Some(alert) = alerts.iter().find(|alert| alert.title == title) else { continue };
        let explained = mailbell.cli(&["explain", &AlertId(alert.id).to_string()], true);
        println!("{}", String::from_utf8_lossy(&explained.stdout));
        let came = verdict.fates[*number].copies[0].0;
        let [from, to] = [came - *took, came].map(to_the_second);
        let about = ["doubt", "archive", "session", "is ready"];
        let meanwhile =
            log.lines().filter(|line| line.get(..from.len()).is_some_and(|at| (&*from..=&*to).contains(&at)));
        meanwhile.filter(|line| about.iter().any(|word| line.contains(word))).for_each(|line| println!("{line}"));
    }
}

/// As lines of the log begin.
fn to_the_second(at: Instant) -> String {
    (Timestamp::now() - at.elapsed()).strftime("%Y-%m-%dT%H:%M:%S").to_string()
}
