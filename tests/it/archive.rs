//! What is in doubt after a crash is looked up in the server's archive (XEP-0313): what is there is not sent again, and
//! everything else is.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::chat::{Kind, Options};
use crate::support::client::Client;
use crate::support::lab::{Lab, critical, in_state};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::outcome::{SENT, all_in_state, came_with_one_id, copies_of};
use crate::support::proxy::{Proxy, Trouble, Way};
use crate::support::wait_for;

on_each_server!(
    what_the_archive_has_is_not_sent_again_after_kill_9,
    what_never_reached_the_server_is_sent_once,
    without_an_archive_it_is_sent_again_under_its_id,
    an_archive_of_many_pages_is_read_to_what_is_sought,
    a_second_kill_during_the_search_changes_nothing,
    what_a_killed_server_has_in_its_archive_is_not_sent_again,
);

fn archiving(kind: Kind) -> Lab {
    Lab::with(&["alice"], &["inbox"], Options { archive: true, ..Options::on(kind) })
}

/// The gateway with presence known: what is critical goes out at once.
async fn warm(proxy: &Proxy, lab: &Lab, alice: &Client) -> Mailbell {
    let mailbell = Mailbell::run(&lab.through(proxy));
    lab.mail(&critical("w", "Warm-up"));
    alice.gets("Warm-up").await;
    all_in_state(&mailbell, "Warm-up", 1, SENT).await;
    mailbell
}

/// It is on the person's screen, and mailbell does not know.
async fn arrives_unacknowledged(title: &str, mailbell: &Mailbell, lab: &Lab, alice: &Client, proxy: &Proxy) {
    proxy.set(Way::Down, Trouble::Stall(0));
    lab.mail(&critical(title, title));
    alice.gets(title).await;
    in_state(mailbell, "sending", 1).await;
}

/// Whatever else might come has come when the marker is there.
async fn marker_comes(lab: &Lab, mailbell: &Mailbell, alice: &Client) {
    lab.mail(&critical("marker", "Marker"));
    alice.gets("Marker").await;
    all_in_state(mailbell, "Marker", 1, SENT).await;
}

/// How often the log says this of a search.
fn searched(mailbell: &Mailbell, what: &str) -> usize {
    mailbell.log().lines().filter(|line| line.contains("archive was searched") && line.contains(what)).count()
}

async fn what_the_archive_has_is_not_sent_again_after_kill_9(kind: Kind) {
    let lab = archiving(kind);
    let alice = lab.login("alice").without_receipts().connect().await;
    let proxy = Proxy::start(lab.chat.c2s).await;
    let mut mailbell = warm(&proxy, &lab, &alice).await;
    arrives_unacknowledged("Already there", &mailbell, &lab, &alice, &proxy).await;
    mailbell.kill();
    proxy.heal();
    mailbell.start();
    mailbell.logged("archive was searched", 1).await;
    assert_eq!(searched(&mailbell, "found=1 again=0"), 1, "{}", mailbell.log());
    all_in_state(&mailbell, "Already there", 1, "accepted").await;
    marker_comes(&lab, &mailbell, &alice).await;
    came_with_one_id(&alice, "Already there", 1);
}

async fn what_never_reached_the_server_is_sent_once(kind: Kind) {
    let lab = archiving(kind);
    let alice = lab.online("alice").await;
    let proxy = Proxy::start(lab.chat.c2s).await;
    let mut mailbell = warm(&proxy, &lab, &alice).await;
    proxy.set(Way::Up, Trouble::Stall(0));
    lab.mail(&critical("l", "Lost on the way"));
    in_state(&mailbell, "sending", 1).await;
    mailbell.kill();
    proxy.sever();
    proxy.heal();
    mailbell.start();
    alice.gets("Lost on the way").await;
    assert_eq!(searched(&mailbell, "found=0 again=1"), 1, "{}", mailbell.log());
    all_in_state(&mailbell, "Lost on the way", 1, "delivered").await;
    marker_comes(&lab, &mailbell, &alice).await;
    came_with_one_id(&alice, "Lost on the way", 1);
}

async fn without_an_archive_it_is_sent_again_under_its_id(kind: Kind) {
    let lab = Lab::on(kind, &["alice"]);
    let alice = lab.login("alice").without_receipts().connect().await;
    let proxy = Proxy::start(lab.chat.c2s).await;
    let mut mailbell = warm(&proxy, &lab, &alice).await;
    arrives_unacknowledged("Twice", &mailbell, &lab, &alice, &proxy).await;
    mailbell.kill();
    proxy.heal();
    mailbell.start();
    mailbell.logged("archive was searched", 1).await;
    assert_eq!(searched(&mailbell, "the server offers no archive"), 1, "{}", mailbell.log());
    alice.gets("Sent again").await;
    assert_eq!(came_with_one_id(&alice, "Twice", 2), 2);
}

async fn an_archive_of_many_pages_is_read_to_what_is_sought(kind: Kind) {
    const BETWEEN: usize = 260;
    let lab = archiving(kind);
    let alice = lab.online("alice").await;
    let proxy = Proxy::start(lab.chat.c2s).await;
    let mut mailbell = warm(&proxy, &lab, &alice).await;
    // One that is there, and one that never got there: for that all pages are read.
    arrives_unacknowledged("Under many", &mailbell, &lab, &alice, &proxy).await;
    proxy.set(Way::Up, Trouble::Stall(0));
    lab.mail(&critical("l", "Lost on the way"));
    in_state(&mailbell, "sending", 2).await;
    mailbell.kill();
    // Another device of the same account talks to the same person.
    let device = lab.login("alerts").resource("device").invisible().connect().await;
    for n in 0..BETWEEN {
        device.chat("alice@example.test", &format!("small talk {n}")).await;
    }
    alice.gets(&format!("small talk {}", BETWEEN - 1)).await;
    proxy.sever();
    proxy.heal();
    mailbell.start();
    mailbell.logged("archive was searched", 1).await;
    assert_eq!(searched(&mailbell, "found=1 again=1"), 1, "{}", mailbell.log());
    alice.gets("Lost on the way").await;
    marker_comes(&lab, &mailbell, &alice).await;
    came_with_one_id(&alice, "Under many", 1);
    came_with_one_id(&alice, "Lost on the way", 1);
}

async fn a_second_kill_during_the_search_changes_nothing(kind: Kind) {
    let lab = archiving(kind);
    let alice = lab.login("alice").without_receipts().connect().await;
    let proxy = Proxy::start(lab.chat.c2s).await;
    let mut mailbell = warm(&proxy, &lab, &alice).await;
    arrives_unacknowledged("Already there", &mailbell, &lab, &alice, &proxy).await;
    mailbell.kill();
    proxy.heal();
    mailbell.start();
    mailbell.logged("are in doubt", 1).await;
    // The pause before the search is long.
    mailbell.kill();
    assert_eq!(searched(&mailbell, ""), 0, "{}", mailbell.log());
    mailbell.start();
    mailbell.logged("archive was searched", 1).await;
    assert_eq!(searched(&mailbell, "found=1 again=0"), 1, "{}", mailbell.log());
    marker_comes(&lab, &mailbell, &alice).await;
    came_with_one_id(&alice, "Already there", 1);
}

async fn what_a_killed_server_has_in_its_archive_is_not_sent_again(kind: Kind) {
    let mut lab = archiving(kind);
    let before = lab.online("alice").await;
    let proxy = Proxy::start(lab.chat.c2s).await;
    let mailbell = warm(&proxy, &lab, &before).await;
    arrives_unacknowledged("Before the end", &mailbell, &lab, &before, &proxy).await;
    lab.chat.kill();
    proxy.sever();
    proxy.heal();
    lab.chat.run();
    let after = lab.online("alice").await;
    mailbell.logged("archive was searched", 1).await;
    all_in_state(&mailbell, "Before the end", 1, SENT).await;
    marker_comes(&lab, &mailbell, &after).await;
    let copies: Vec<_> = [&before, &after].into_iter().flat_map(|c| copies_of(c, "Before the end")).collect();
    assert_eq!(copies.len(), 1, "{copies:#?}\n{}", mailbell.log());
}

/// A server behind which every session breaks as soon as the archive is asked: the search is given up, not tried for ever.
#[tokio::test]
async fn an_archive_that_ends_every_session_is_not_asked_for_ever() {
    let (lab, alice, gate) = gated().await;
    let mut mailbell = lost_behind(&gate, &lab, &alice).await;
    gate.set(Gate::BREAKS);
    mailbell.start();
    mailbell.logged("no session lived until its server's archive had answered", 1).await;
    assert_eq!(searched(&mailbell, ""), 0, "{}", mailbell.log());
    alice.gets("Lost on the way").await;
    all_in_state(&mailbell, "Lost on the way", 1, SENT).await;
    assert_eq!(gate.broken(), 3);
}

/// What the server had before what is in doubt is on the first page: nothing older is asked for.
#[tokio::test]
async fn the_search_ends_at_what_the_server_had_before() {
    const OLDER: usize = 120;
    let (lab, alice, gate) = gated().await;
    let device = lab.login("alerts").resource("device").invisible().connect().await;
    for n in 0..OLDER {
        device.chat("alice@example.test", &format!("small talk {n}")).await;
    }
    alice.gets(&format!("small talk {}", OLDER - 1)).await;
    let mut mailbell = lost_behind(&gate, &lab, &alice).await;
    gate.set(Gate::OPEN);
    mailbell.start();
    alice.gets("Lost on the way").await;
    assert_eq!(searched(&mailbell, "found=0 again=1"), 1, "{}", mailbell.log());
    assert_eq!(gate.asked(), 2, "its preferences, and one page");
    all_in_state(&mailbell, "Lost on the way", 1, SENT).await;
}

#[tokio::test]
async fn a_silent_archive_holds_back_nothing_but_what_is_in_doubt() {
    let (lab, alice, gate) = gated().await;
    let mut mailbell = lost_behind(&gate, &lab, &alice).await;
    gate.set(Gate::SWALLOWS);
    lab.mail(&critical("n", "New meanwhile"));
    mailbell.start();
    alice.gets("Lost on the way").await;
    assert_eq!(searched(&mailbell, "not searched within 10 s"), 1, "{}", mailbell.log());
    let came: Vec<String> = alice.messages().iter().filter_map(|m| m.body()).collect();
    let place = |title: &str| came.iter().position(|body| body.contains(title));
    assert!(place("New meanwhile").is_some_and(|n| Some(n) < place("Lost on the way")), "{came:#?}");
    came_with_one_id(&alice, "Lost on the way", 1);
}

/// A server with an archive and without stream management, and a gate in front of it.
async fn gated() -> (Lab, Client, Gate) {
    let lab = Lab::with(&["alice"], &["inbox"], Options { archive: true, smacks: false, ..Options::default() });
    let (alice, gate) = (lab.online("alice").await, Gate::start(lab.chat.c2s).await);
    (lab, alice, gate)
}

/// A gateway that was killed while a message was on its way, which did not get through.
async fn lost_behind(gate: &Gate, lab: &Lab, alice: &Client) -> Mailbell {
    let config = lab.config().replace(&format!(":{}\"", lab.chat.c2s), &format!(":{}\"", gate.port));
    let mut mailbell = Mailbell::run(&config.replace("tls = \"starttls\"", "tls = \"none\""));
    lab.mail(&critical("w", "Warm-up"));
    alice.gets("Warm-up").await;
    all_in_state(&mailbell, "Warm-up", 1, SENT).await;
    gate.set(Gate::SHUT);
    lab.mail(&critical("l", "Lost on the way"));
    in_state(&mailbell, "sending", 1).await;
    mailbell.kill();
    // What it had written is lost only once the gate has read it.
    wait_for("the connection to end", SOON, async || (gate.open.load(Ordering::SeqCst) == 0).then_some(())).await;
    mailbell
}

/// In front of a server, in the clear: it understands what the client asks.
struct Gate {
    port: u16,
    mode: Arc<AtomicUsize>,
    broken: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
    /// Connections that are there.
    open: Arc<AtomicUsize>,
}

impl Gate {
    /// All passes.
    const OPEN: usize = 0;
    /// All passes, but what is asked of the archive: that ends the connection.
    const BREAKS: usize = 1;
    /// The same, but it is lost.
    const SWALLOWS: usize = 2;
    /// Whatever the client says is lost.
    const SHUT: usize = 3;

    async fn start(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let [mode, broken, asked, open] = std::array::from_fn(|_| Arc::new(AtomicUsize::new(Self::OPEN)));
        let gate = Self { port, mode: mode.clone(), broken: broken.clone(), asked: asked.clone(), open: open.clone() };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await.unwrap();
                open.fetch_add(1, Ordering::SeqCst);
                let counts = [broken.clone(), asked.clone()];
                let (passing, open) = (pass(client, server, mode.clone(), counts), open.clone());
                tokio::spawn(async move {
                    passing.await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        gate
    }

    fn set(&self, mode: usize) {
        self.mode.store(mode, Ordering::SeqCst);
    }

    /// How many connections it broke.
    fn broken(&self) -> usize {
        self.broken.load(Ordering::SeqCst)
    }

    /// How many questions about the archive it saw.
    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn pass(client: TcpStream, server: TcpStream, mode: Arc<AtomicUsize>, [broken, asked]: [Arc<AtomicUsize>; 2]) {
    let (mut from, mut back) = client.into_split();
    let (mut answers, mut to) = server.into_split();
    let up = async {
        let mut said = Vec::new();
        while from.read_buf(&mut said).await.is_ok_and(|n| n > 0) {
            // A question comes in pieces.
            let text = String::from_utf8_lossy(&said).into_owned();
            if !text.ends_with('>') || text.matches("<iq").count() > text.matches("</iq>").count() {
                continue;
            }
            let asks = text.contains("urn:xmpp:mam:2");
            asked.fetch_add(text.matches("<iq").count() * usize::from(asks), Ordering::SeqCst);
            match mode.load(Ordering::SeqCst) {
                Gate::BREAKS if asks => {
                    broken.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                Gate::SWALLOWS if asks => {}
                Gate::SHUT => {}
                _ if to.write_all(&said).await.is_err() => return,
                _ => {}
            }
            said.clear();
        }
    };
    tokio::select! {
        () = up => {}
        _ = tokio::io::copy(&mut answers, &mut back) => {}
    }
}

#[cfg(feature = "failpoints")]
mod at_each_commit {
    use super::*;
    use crate::support::outcome::aborted;

    on_each_server!(an_abort_at_each_commit_makes_no_second_copy, an_abort_after_the_intent_loses_nothing);

    async fn an_abort_at_each_commit_makes_no_second_copy(kind: Kind) {
        // Between the intent and its record; after D2, nothing was written yet.
        const COMMITS: [&str; 3] = ["after_d2", "before_d4", "before_d5"];
        let lab = Lab::with(&["alice"], &COMMITS, Options { archive: true, ..Options::on(kind) });
        let alice = lab.online("alice").await;
        for commit in COMMITS {
            let config = lab.base() + &lab.imap(commit, "") + &lab.everybody("ops") + crate::support::lab::OPERATORS;
            let mut mailbell = Mailbell::new(&config);
            mailbell.env("FAILPOINTS", &format!("{commit}=1*off->panic"));
            mailbell.start();
            let (first, second) = (format!("First, {commit}"), format!("Second, {commit}"));
            lab.mail_to(commit, &critical("first", &first));
            alice.gets(&first).await;
            all_in_state(&mailbell, &first, 1, "delivered").await;
            lab.mail_to(commit, &critical("second", &second));
            aborted(&mut mailbell).await;
            mailbell.env("FAILPOINTS", "");
            mailbell.start();
            alice.gets(&second).await;
            all_in_state(&mailbell, &second, 1, SENT).await;
            let marker = format!("Marker, {commit}");
            lab.mail_to(commit, &critical("marker", &marker));
            alice.gets(&marker).await;
            came_with_one_id(&alice, &second, 1);
            mailbell.stop();
        }
    }

    async fn an_abort_after_the_intent_loses_nothing(kind: Kind) {
        let lab = archiving(kind);
        let alice = lab.online("alice").await;
        let proxy = Proxy::start(lab.chat.c2s).await;
        proxy.refuse(true);
        let mut mailbell = Mailbell::new(&lab.through(&proxy));
        mailbell.env("FAILPOINTS", "after_d3=panic");
        mailbell.start();
        lab.mail(&critical("a", "Never written"));
        in_state(&mailbell, "queued", 1).await;
        proxy.heal();
        aborted(&mut mailbell).await;
        mailbell.env("FAILPOINTS", "");
        mailbell.start();
        alice.gets("Never written").await;
        assert_eq!(searched(&mailbell, "found=0 again=1"), 1, "{}", mailbell.log());
        marker_comes(&lab, &mailbell, &alice).await;
        came_with_one_id(&alice, "Never written", 1);
    }
}
