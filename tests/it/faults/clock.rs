//! Row 28: the wall clock jumps.

use std::path::PathBuf;

use crate::support::lab::{Lab, OPERATORS, group, in_state};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::oracle::Oracle;
use crate::support::wait_for;
use crate::support::witness::Witness;

/// The clock of a mailbell, as libfaketime shows it; its monotonic clock runs on.
struct Clock(PathBuf);

impl Clock {
    /// This mailbell's, from its next start on.
    fn of(mailbell: &mut Mailbell, shows: &str) -> Self {
        let file = mailbell.path("clock");
        mailbell.env("LD_PRELOAD", library().to_str().unwrap());
        mailbell.env("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap());
        mailbell.env("FAKETIME_NO_CACHE", "1");
        mailbell.env("DONT_FAKE_MONOTONIC", "1");
        let clock = Self(file);
        clock.set(shows);
        clock
    }

    /// So much before or after the true time, such as `-1h`, from now on.
    fn set(&self, shows: &str) {
        let next = self.0.with_extension("next");
        std::fs::write(&next, format!("{shows}\n")).unwrap();
        std::fs::rename(next, &self.0).unwrap();
    }
}

fn library() -> PathBuf {
    let triplets = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let mut found = triplets.map(|dir| dir.join("faketime/libfaketimeMT.so.1")).filter(|path| path.exists());
    found.next().expect("no libfaketime; tests/run installs what is missing")
}

/// Alice is told of everything; of what is major Bob is, for whom it is held.
fn config(lab: &Lab, hold_for: &str) -> String {
    lab.base()
        + &lab.imap("inbox", "")
        + &group("ops", &["alice"], "")
        + &group("bobs", &["bob"], &format!("hold_for = \"{hold_for}\""))
        + &group("others", &["carol", "nobody"], "")
        + "[[recipient]]\nname = \"nobody\"\njid = \"nobody@example.test\"\n"
        + "[[route]]\nmatch = { severity = [\"major\"] }\ngroups = [\"bobs\"]\n"
        + "[[route]]\nmatch = { severity = [\"critical\"] }\ngroups = [\"ops\", \"others\"]\n"
        + OPERATORS
}

#[tokio::test]
async fn row28_clock_jumps_while_alerts_wait() {
    let lab = Lab::new(&["alice", "bob", "carol"]);
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let carol = Witness::start(lab.login("carol").without_receipts(), "carol").await;
    let mut mailbell = Mailbell::new(&config(&lab, "30m"));
    let clock = Clock::of(&mut mailbell, "+0");
    mailbell.start();
    let sent = Oracle::new(28, "libfaketime: +1 h, -1 h, -1 h while receipts and retries are waited for");
    let held = Oracle::new(28, "libfaketime: +1 h, -1 h, -1 h while alerts are held for 30 min").severity("major");
    held.mail(&lab, 3);
    sent.mail(&lab, 3);
    in_state(&mailbell, "held", 3).await;
    sent.settled(&mailbell, &[&alice, &carol]).await;
    // Carol's client sends no receipts; nobody's server refuses, and is asked again in half a minute.
    let waiting = async |mailbell: &Mailbell| {
        let of = |who: &'static str, state: &'static str| {
            let all = mailbell.queue(&["--state", state, "--limit", "1000"]);
            all.iter().filter(|n| n["recipient"] == who).count()
        };
        [of("carol", "accepted"), of("nobody", "queued"), of("bob", "held")]
    };
    wait_for("the refusals", SOON, async || (waiting(&mailbell).await == [3, 3, 3]).then_some(())).await;
    for (jumps, shows) in ["+1h", "+0", "-1h"].into_iter().enumerate() {
        clock.set(shows);
        sent.mail(&lab, 1);
        mailbell.logged("the clock jumped", jumps + 1).await;
        sent.settled(&mailbell, &[&alice, &carol]).await;
    }
    let [accepted, queued, still_held] = waiting(&mailbell).await;
    assert_eq!((accepted, queued, still_held), (6, 6, 3), "something expired");
    sent.over();
    held.over();
    let bob = Witness::start(lab.login("bob"), "bob").await;
    let verdict = held.verdict(&mailbell, &lab, &[&bob]).await;
    held.all_told(&verdict, 1);
    let verdict = sent.verdict(&mailbell, &lab, &[&alice, &carol]).await;
    sent.all_told(&verdict, 1);
}

#[tokio::test]
async fn row28_clock_behind_at_the_start_and_then_set_right() {
    let lab = Lab::new(&["alice", "bob", "carol"]);
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let mut mailbell = Mailbell::new(&config(&lab, "8h"));
    let clock = Clock::of(&mut mailbell, "-300d");
    mailbell.start();
    let sent = Oracle::new(28, "libfaketime: 300 days behind at the start, then right");
    let held = Oracle::new(28, "libfaketime: 300 days behind at the start, then right, held").severity("major");
    held.mail(&lab, 3);
    sent.mail(&lab, 3);
    in_state(&mailbell, "held", 3).await;
    sent.settled(&mailbell, &[&alice]).await;
    clock.set("+0");
    sent.mail(&lab, 3);
    mailbell.logged("the clock jumped", 1).await;
    sent.settled(&mailbell, &[&alice]).await;
    // What is written in the store was moved along, too.
    mailbell.stop();
    mailbell.start();
    sent.mail(&lab, 1);
    sent.settled(&mailbell, &[&alice]).await;
    assert_eq!(mailbell.queue(&["--state", "held"]).len(), 3);
    sent.over();
    held.over();
    let bob = Witness::start(lab.login("bob"), "bob").await;
    let verdict = held.verdict(&mailbell, &lab, &[&bob]).await;
    held.all_told(&verdict, 1);
    let verdict = sent.verdict(&mailbell, &lab, &[&alice]).await;
    sent.all_told(&verdict, 1);
}

/// A machine whose clock has no battery: before the network sets it, no certificate is valid.
#[tokio::test]
async fn row28_clock_of_another_decade_until_it_is_set() {
    let lab = Lab::new(&["alice", "bob", "carol"]);
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let mut mailbell = Mailbell::new(&config(&lab, "8h"));
    let clock = Clock::of(&mut mailbell, "-5000d");
    mailbell.start();
    let oracle = Oracle::new(28, "libfaketime: 5000 days behind at the start (no certificate is valid), then right");
    oracle.mail(&lab, 3);
    mailbell.logged("it is not valid yet; look at the clocks", 2).await;
    clock.set("+0");
    oracle.over();
    // Both are asked again within a minute or so.
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    oracle.all_told(&verdict, 1);
}
