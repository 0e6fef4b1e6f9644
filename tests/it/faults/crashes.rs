//! Rows 1 to 6: the gateway dies at each durable commit, and between them.

use std::time::Duration;

use crate::support::chat::Kind;
use crate::support::lab::{Lab, OPERATORS, group, in_state};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::oracle::Oracle;
use crate::support::outcome::all_in_state;
use crate::support::prosody::Options;
use crate::support::proxy::{Proxy, Trouble, Way};
use crate::support::wait_for;
use crate::support::witness::Witness;

/// What is stored is cleared: a mail that is still there was not.
const DELETE: &str = "after = \"delete\"";

/// Alice is told of everything, at once.
fn to_alice(lab: &Lab, mailbox: &str) -> String {
    lab.base() + &lab.imap(mailbox, DELETE) + &group("ops", &["alice"], "") + OPERATORS
}

/// What is major is for Bob, who is not there yet.
fn to_bob(lab: &Lab, mailbox: &str) -> String {
    to_alice(lab, mailbox)
        + &group("bobs", &["bob"], "")
        + "[[route]]\nmatch = { severity = [\"major\"] }\ngroups = [\"bobs\"]\n"
}

/// The mailbox is empty, and what was in it is in the store once.
async fn taken_in_once(mailbell: &Mailbell, lab: &Lab, mailbox: &str, oracle: &Oracle) {
    emptied(lab, mailbox).await;
    assert_eq!(mailbell.count("message").await, oracle.count() as i64, "a mail was taken in twice");
}

async fn emptied(lab: &Lab, mailbox: &str) {
    let what = format!("{mailbox} to be cleared");
    wait_for(&what, SOON, async || (lab.dovecot.count(mailbox, "INBOX") == 0).then_some(())).await;
}

#[tokio::test]
async fn row01_killed_in_the_middle_of_a_fetch() {
    let lab = Lab::new(&["alice"]);
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let proxy = Proxy::start(lab.dovecot.imaps).await;
    let config = to_alice(&lab, "inbox").replace(&format!(":{}\"", lab.dovecot.imaps), &format!(":{}\"", proxy.port));
    let mut mailbell = Mailbell::run(&config);
    let oracle = Oracle::new(1, "kill -9 in the middle of a fetch, thrice").with_text(200_000);
    for bytes in [1, 60_000, 150_000] {
        oracle.settled(&mailbell, &[&alice]).await;
        emptied(&lab, "inbox").await;
        proxy.set(Way::Down, Trouble::Stall(bytes));
        let so_far = proxy.bytes(Way::Down);
        oracle.mail(&lab, 1);
        wait_for("the fetch", SOON, async || (proxy.bytes(Way::Down) >= so_far + bytes).then_some(())).await;
        mailbell.kill();
        assert_eq!(lab.dovecot.count("inbox", "INBOX"), 1, "the mail is where it was");
        proxy.heal();
        mailbell.start();
    }
    oracle.over();
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    oracle.all_told(&verdict, 1);
    taken_in_once(&mailbell, &lab, "inbox", &oracle).await;
}

on_each_server!(
    row05_killed_between_the_write_and_its_acknowledgement,
    row05_killed_between_the_write_and_its_acknowledgement_with_an_archive
);

async fn row05_killed_between_the_write_and_its_acknowledgement(kind: Kind) {
    before_the_acknowledgement(Options::on(kind), "", 2).await;
}

async fn row05_killed_between_the_write_and_its_acknowledgement_with_an_archive(kind: Kind) {
    before_the_acknowledgement(Options { archive: true, ..Options::on(kind) }, ", the server archives", 1).await;
}

/// The proxy keeps the acknowledgement back until the gateway is dead.
async fn before_the_acknowledgement(options: Options, archives: &str, most: usize) {
    let kind = options.kind;
    let lab = Lab::with(&["alice", "bob"], &["express", "held"], options);
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let proxy = Proxy::start(lab.chat.c2s).await;
    let through = |config: String| config.replace(&format!(":{}\"", lab.chat.c2s), &format!(":{}\"", proxy.port));

    let injected = |path: &str| format!("kill -9 before the acknowledgement{archives}, {path}");
    let oracle = Oracle::new(5, &injected("express lane")).on(kind).in_mailbox("express");
    let mut mailbell = Mailbell::run(&through(to_alice(&lab, "express")));
    oracle.mail(&lab, 1);
    all_in_state(&mailbell, &oracle.title(0), 1, "delivered").await;
    proxy.set(Way::Down, Trouble::Stall(0));
    oracle.mail(&lab, 1);
    let title = oracle.title(1);
    wait_for("the message", SOON, async || alice.has(&title).then_some(())).await;
    mailbell.kill();
    proxy.heal();
    mailbell.notified(&title, "alice", "sending").await;
    mailbell.start();
    oracle.over();
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    oracle.all_told(&verdict, most);
    mailbell.stop();

    let oracle = Oracle::new(5, &injected("held")).on(kind).in_mailbox("held").severity("major");
    let mut mailbell = Mailbell::run(&through(to_bob(&lab, "held")));
    oracle.mail(&lab, 1);
    in_state(&mailbell, "held", 1).await;
    // The news that Bob is there comes late, and the acknowledgement as much later.
    proxy.set(Way::Down, Trouble::Delay(Duration::from_secs(5)));
    let bob = Witness::start(lab.login("bob"), "bob").await;
    let title = oracle.title(0);
    wait_for("the message", SOON * 2, async || bob.has(&title).then_some(())).await;
    mailbell.kill();
    proxy.heal();
    mailbell.notified(&title, "bob", "sending").await;
    mailbell.start();
    oracle.over();
    let verdict = oracle.verdict(&mailbell, &lab, &[&bob]).await;
    oracle.all_told(&verdict, most);
}

#[cfg(feature = "failpoints")]
mod aborts {
    use std::time::Instant;

    use super::*;
    use crate::support::outcome::aborted;

    /// The archive's answer is waited for no longer than a minute.
    const ASKED_FOR: Duration = Duration::from_secs(61);

    /// Where it dies, and the most copies that this may cause.
    struct Abort {
        row: u8,
        at: &'static str,
        injected: &'static str,
        most: usize,
    }

    impl Abort {
        fn oracle(&self, path: &str, mailbox: &str) -> Oracle {
            Oracle::new(self.row, &format!("abort {}, {path}", self.injected)).in_mailbox(mailbox)
        }

        /// On the way from the mailbox to D2, which is the same for both paths.
        fn at_intake(&self) -> bool {
            self.at.ends_with("d1") || self.at.ends_with("d2")
        }
    }

    /// On both paths; `dead` looks at what it left behind: at the store, and into that mailbox.
    async fn survives(abort: Abort, dead: impl AsyncFn(&Mailbell, &Lab, &str)) {
        survives_on(Options::default(), abort, dead).await;
    }

    async fn survives_on(options: Options, abort: Abort, dead: impl AsyncFn(&Mailbell, &Lab, &str)) {
        let lab = Lab::with(&["alice", "bob"], &["express", "held"], options);
        // There is no D3 on the express lane: D2 is the intent.
        if !abort.at.ends_with("d3") {
            on_the_express_lane(&lab, &abort, &dead).await;
        }
        held(&lab, &abort, &dead).await;
    }

    /// The first alert shows that presence is known; the second is then born `sending`, and meets the failpoint.
    async fn on_the_express_lane(lab: &Lab, abort: &Abort, dead: &impl AsyncFn(&Mailbell, &Lab, &str)) {
        let alice = Witness::start(lab.login("alice"), "alice").await;
        let oracle = abort.oracle("express lane", "express");
        let mut mailbell = Mailbell::new(&to_alice(lab, "express"));
        mailbell.env("FAILPOINTS", &format!("{}=1*off->panic", abort.at));
        mailbell.start();
        oracle.mail(lab, 1);
        all_in_state(&mailbell, &oracle.title(0), 1, "delivered").await;
        emptied(lab, "express").await;
        oracle.mail(lab, 1);
        aborted(&mut mailbell).await;
        dead(&mailbell, lab, "express").await;
        mailbell.env("FAILPOINTS", "");
        mailbell.start();
        oracle.over();
        let verdict = oracle.verdict(&mailbell, lab, &[&alice]).await;
        oracle.all_told(&verdict, abort.most);
        taken_in_once(&mailbell, lab, "express", &oracle).await;
        mailbell.stop();
    }

    /// The alert waits for Bob, and is sent by the worker when he comes.
    async fn held(lab: &Lab, abort: &Abort, dead: &impl AsyncFn(&Mailbell, &Lab, &str)) {
        let oracle = abort.oracle("held", "held").severity("major");
        let mut mailbell = Mailbell::new(&to_bob(lab, "held"));
        mailbell.env("FAILPOINTS", &format!("{}=panic", abort.at));
        mailbell.start();
        oracle.mail(lab, 1);
        let again = async |mailbell: &mut Mailbell| {
            aborted(mailbell).await;
            dead(mailbell, lab, "held").await;
            mailbell.env("FAILPOINTS", "");
            mailbell.start();
        };
        if abort.at_intake() {
            again(&mut mailbell).await;
        }
        in_state(&mailbell, "held", 1).await;
        let bob = Witness::start(lab.login("bob"), "bob").await;
        if !abort.at_intake() {
            again(&mut mailbell).await;
        }
        oracle.over();
        let verdict = oracle.verdict(&mailbell, lab, &[&bob]).await;
        oracle.all_told(&verdict, abort.most);
        taken_in_once(&mailbell, lab, "held", &oracle).await;
    }

    async fn anything(_: &Mailbell, _: &Lab, _: &str) {}

    #[tokio::test]
    async fn row01_abort_before_d1() {
        let abort = Abort { row: 1, at: "before_d1", injected: "before the commit D1", most: 1 };
        survives(abort, async |_: &Mailbell, lab: &Lab, mailbox: &str| {
            assert_eq!(lab.dovecot.count(mailbox, "INBOX"), 1, "what is not stored is not touched");
        })
        .await;
    }

    #[tokio::test]
    async fn row02_abort_after_d1_before_clearing() {
        let abort = Abort { row: 2, at: "after_d1", injected: "after D1, before clearing", most: 1 };
        survives(abort, async |mailbell: &Mailbell, lab: &Lab, mailbox: &str| {
            assert_eq!(lab.dovecot.count(mailbox, "INBOX"), 1, "it died before the mailbox was touched");
            assert_eq!(mailbell.messages().await.last().unwrap().0, "ready");
        })
        .await;
    }

    #[tokio::test]
    async fn row03_abort_inside_d2() {
        let abort = Abort { row: 3, at: "inside_d2", injected: "inside D2", most: 1 };
        survives(abort, async |mailbell: &Mailbell, _: &Lab, _: &str| {
            let messages = mailbell.messages().await;
            assert_eq!(messages.last().unwrap().0, "ready", "all or nothing: {messages:?}");
            assert_eq!(mailbell.alerts().await.len(), messages.len() - 1, "all or nothing");
            assert_eq!(mailbell.notifications().await.len(), messages.len() - 1, "all or nothing");
        })
        .await;
    }

    #[tokio::test]
    async fn row04_abort_after_d2() {
        let abort = Abort { row: 4, at: "after_d2", injected: "after D2, before the socket write", most: 1 };
        survives(abort, anything).await;
    }

    /// The archive is asked again by each process, and none lives until it has answered: what it is asked about does not wait for
    /// ever.
    #[tokio::test]
    async fn row04_no_process_lives_until_the_archive_has_answered() {
        let lab = Lab::with(&["alice"], &["inbox"], Options { archive: true, ..Options::default() });
        let alice = Witness::start(lab.login("alice"), "alice").await;
        let oracle = Oracle::new(4, "abort after D2, then kill -9 whenever the archive is about to be searched");
        let mut mailbell = Mailbell::new(&to_alice(&lab, "inbox"));
        mailbell.env("FAILPOINTS", "after_d2=1*off->panic");
        mailbell.start();
        oracle.mail(&lab, 1);
        all_in_state(&mailbell, &oracle.title(0), 1, "delivered").await;
        oracle.mail(&lab, 1);
        aborted(&mut mailbell).await;
        mailbell.env("FAILPOINTS", "");
        let (title, mut first) = (oracle.title(1), None);
        loop {
            let (so_far, sessions) = (mailbell.log().len(), mailbell.log().matches("XMPP session is up").count());
            mailbell.start();
            mailbell.logged("XMPP session is up", sessions + 1).await;
            // The search begins after two seconds. The last process could wait for it, and need not.
            let last = first.get_or_insert_with(Instant::now).elapsed() > ASKED_FOR;
            let life = if last { SOON * 2 } else { Duration::from_secs(1) };
            if tokio::time::timeout(life, alice.gets(&title)).await.is_ok() {
                let searched = mailbell.log()[so_far..].contains("archive was searched");
                assert!(!last || !searched, "nothing but the answer ends the wait:\n{}", mailbell.log());
                break;
            }
            mailbell.kill();
        }
        oracle.over();
        let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
        oracle.all_told(&verdict, 2);
    }

    #[tokio::test]
    async fn row04_abort_before_d3() {
        survives(Abort { row: 4, at: "before_d3", injected: "before the commit D3", most: 1 }, anything).await;
    }

    #[tokio::test]
    async fn row04_abort_after_d3() {
        let abort = Abort { row: 4, at: "after_d3", injected: "after D3, before the socket write", most: 1 };
        survives(abort, async |mailbell: &Mailbell, _: &Lab, _: &str| {
            assert_eq!(mailbell.notifications().await.last().unwrap().state, "sending");
        })
        .await;
    }

    #[tokio::test]
    async fn row06_abort_after_the_acknowledgement_before_d4() {
        let abort = Abort { row: 6, at: "before_d4", injected: "after the acknowledgement, before D4", most: 2 };
        survives(abort, async |mailbell: &Mailbell, _: &Lab, _: &str| {
            assert_eq!(mailbell.notifications().await.last().unwrap().state, "sending");
        })
        .await;
    }

    on_each_server!(row06_abort_before_d4_with_an_archive);

    async fn row06_abort_before_d4_with_an_archive(kind: Kind) {
        let options = Options { archive: true, ..Options::on(kind) };
        let injected = match kind {
            Kind::Prosody => "after the acknowledgement, before D4, Prosody archives",
            Kind::Ejabberd => "after the acknowledgement, before D4, ejabberd archives",
        };
        survives_on(options, Abort { row: 6, at: "before_d4", injected, most: 1 }, anything).await;
    }

    #[tokio::test]
    async fn row06_abort_after_d4() {
        survives(Abort { row: 6, at: "after_d4", injected: "after the commit D4", most: 1 }, anything).await;
    }

    #[tokio::test]
    async fn row06_abort_before_d5() {
        // The receipt may be here before the acknowledgement is.
        survives(Abort { row: 6, at: "before_d5", injected: "before the commit D5", most: 2 }, anything).await;
    }

    #[tokio::test]
    async fn row06_abort_after_d5() {
        survives(Abort { row: 6, at: "after_d5", injected: "after the commit D5", most: 1 }, anything).await;
    }
}
