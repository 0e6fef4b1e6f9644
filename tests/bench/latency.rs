//! From the mail server's 250 to the person's client, for alerts that come one at a time.
//!
//! Dovecot gathers notices of new mail for about half a second before it tells anyone (IMAP IDLE). That is most of the way, and not
//! ours; so what the gateway adds is measured by itself too: between the wires, by proxies that let everything pass. With NOOPs in
//! short intervals instead of IDLE that half second is saved.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::imap::Imap;
use super::lab::Lab;
use super::mails::{self, Ticket};
use super::post::Post;
use super::scale::Scale;
use super::support::prosody::BOT;
use super::support::{DOMAIN, lmtp};
use super::table::{Figure, Sample, Table, Target};
use super::tap::{Notes, Tap};
use super::xmpp::{Sender, message};

/// A message that has not come after this is lost.
const LOST: Duration = Duration::from_secs(20);

/// How a new mail is noticed.
#[derive(Clone, Copy)]
pub enum Ear {
    Idle,
    Noop,
}

/// Interval of the NOOPs.
pub const EVERY: Duration = Duration::from_millis(50);

impl Ear {
    /// The key of a mailbox.
    fn watch(self) -> &'static str {
        match self {
            Self::Idle => "watch = \"idle\"",
            Self::Noop => NOOP,
        }
    }

    /// Its mailboxes.
    fn of(self, mailboxes: &[Vec<String>; 2]) -> &[String] {
        &mailboxes[self as usize]
    }

    /// The first ticket of the raw relay and of mailbell.
    fn tickets(self) -> (Ticket, Ticket) {
        match self {
            Self::Idle => (1_000_000, 2_000_000),
            Self::Noop => (5_000_000, 6_000_000),
        }
    }
}

/// `watch` for [`EVERY`].
pub const NOOP: &str = "watch = \"noop:50ms\"";

pub async fn measure(lab: &Lab, scale: &Scale, table: &mut Table) {
    idle(lab, scale, table).await;
    noop(lab, scale, table).await;
}

async fn noop(lab: &Lab, scale: &Scale, table: &mut Table) {
    let person = &lab.people[..1];
    let raw = raw(lab, scale, person, Ear::Noop, table).await;
    let own = own(lab, scale, person, Ear::Noop, table).await;
    let most = Some(Target::AtMost(Figure::Time(Duration::from_millis(35))));
    for (share, name, target) in [(0.5, "p50", most), (0.99, "p99", None)] {
        let what = format!("mail accepted -> IM at the client, noop:50ms, {name}");
        table.row(what, Some(own.whole.quantile(share)), Some(raw.whole.quantile(share)), target);
    }
    let (own_told, raw_told) = (own.told.quantile(0.5), raw.told.quantile(0.5));
    table.row("  Dovecot and the wait: LMTP 250 -> EXISTS, p50", Some(own_told), Some(raw_told), None);
    let (own_share, raw_share) = (own.noticed.quantile(0.5), raw.noticed.quantile(0.5));
    table.row("  own share: EXISTS seen -> stanza written, p50", Some(own_share), Some(raw_share), None);
}

async fn idle(lab: &Lab, scale: &Scale, table: &mut Table) {
    let person = &lab.people[..1];
    let raw = raw(lab, scale, person, Ear::Idle, table).await;
    let own = own(lab, scale, person, Ear::Idle, table).await;
    for (share, name) in [(0.5, "p50"), (0.99, "p99")] {
        let what = format!("mail accepted (LMTP 250) -> IM at the client, IDLE, {name}");
        table.row(what, Some(own.whole.quantile(share)), Some(raw.whole.quantile(share)), None);
    }
    let most = |ms| Some(Target::AtMost(Figure::Time(Duration::from_millis(ms))));
    for (share, name, target) in [(0.5, "p50", most(5)), (0.99, "p99", most(25))] {
        let what = format!("  own share: EXISTS seen -> stanza written, {name}");
        table.row(what, Some(own.noticed.quantile(share)), Some(raw.noticed.quantile(share)), target);
    }
    for (share, name) in [(0.5, "p50"), (0.99, "p99")] {
        let what = format!("  of it: mail received -> stanza written, {name}");
        table.row(what, Some(own.fetched.quantile(share)), Some(raw.fetched.quantile(share)), None);
    }
    table.row(
        "  Dovecot alone: LMTP 250 -> EXISTS, p50",
        Some(own.told.quantile(0.5)),
        Some(raw.told.quantile(0.5)),
        None,
    );
    table.row(
        "  Prosody alone: stanza written -> client, p50",
        Some(own.carried.quantile(0.5)),
        Some(raw.carried.quantile(0.5)),
        None,
    );
    table.note(format!(
        "Single alerts: {} of ~2 KB, to {} mailboxes in turn. The floor is a raw relay, by IDLE or by NOOP every 50 ms: on EXISTS it\n\
         fetches the mail and writes the message at once; it stores nothing. The wires are plain text on loopback, so that proxies can see what passes when.",
        own.whole.len(),
        lab.own[0].len(),
    ));
}

/// The parts of the way.
#[derive(Default)]
struct Way {
    whole: Sample,
    told: Sample,
    noticed: Sample,
    fetched: Sample,
    carried: Sample,
}

impl Way {
    /// From what passed (`notes`), when mails were accepted, and when the messages came.
    fn new(trips: &[Trip], notes: &Notes) -> Self {
        let notes = notes.lock().unwrap();
        let mut way = Self::default();
        for trip in trips {
            way.whole.add(trip.came - trip.accepted);
            let Some(passed) = notes.get(&trip.ticket) else { continue };
            let (Some(notice), Some(mail), Some(stanza)) = (passed.notice, passed.mail, passed.stanza) else {
                continue;
            };
            // A notice may overtake the 250.
            way.told.add(notice.saturating_duration_since(trip.accepted));
            way.noticed.add(stanza - notice);
            way.fetched.add(stanza - mail);
            way.carried.add(trip.came - stanza);
        }
        way
    }
}

/// One alert that came.
struct Trip {
    ticket: Ticket,
    accepted: Instant,
    came: Instant,
}

async fn own(lab: &Lab, scale: &Scale, person: &[String], ear: Ear, table: &mut Table) -> Way {
    let notes = Notes::default();
    let imap = Tap::imap(lab.dovecot.imap, notes.clone()).await;
    let xmpp = Tap::xmpp(lab.prosody.c2s, notes.clone()).await;
    let post = Arc::new(Post::open(lab.prosody.c2s, person, true).await);
    let mut gateway = lab.gateway(imap.port, xmpp.port, ear.of(&lab.own), person, ear.watch());
    gateway.start();
    let trips = deliver(lab, scale, ear.of(&lab.own), ear, ear.tickets().1, &post, table).await;
    gateway.stop();
    let way = Way::new(&trips, &notes);
    if way.noticed.len() < trips.len() {
        table.note(format!("Of {} single alerts {} were seen on both wires.", trips.len(), way.noticed.len()));
    }
    way
}

async fn raw(lab: &Lab, scale: &Scale, person: &[String], ear: Ear, table: &mut Table) -> Way {
    let notes = Notes::default();
    let post = Arc::new(Post::open(lab.prosody.c2s, person, true).await);
    let (stanzas, mut written) = mpsc::unbounded_channel::<Ticket>();
    let mut relay = JoinSet::new();
    let mut sender = Sender::open(lab.prosody.c2s, BOT).await;
    let (to, seen) = (person[0].clone(), notes.clone());
    relay.spawn(async move {
        while let Some(ticket) = written.recv().await {
            let stanza = message(&to, ticket);
            if let Some(passed) = seen.lock().unwrap().get_mut(&ticket) {
                passed.stanza = Some(Instant::now());
            }
            sender.send(&[stanza]).await;
        }
    });
    for mailbox in ear.of(&lab.raw) {
        let mut imap = Imap::open(lab.dovecot.imap, mailbox).await;
        let (seen, stanzas) = (notes.clone(), stanzas.clone());
        relay.spawn(async move {
            loop {
                let (notice, number) = match ear {
                    Ear::Idle => imap.idle().await,
                    Ear::Noop => imap.noops(EVERY).await,
                };
                let reply = imap.command(&format!("FETCH {number} (UID BODY.PEEK[])")).await;
                let Some((ticket, _)) = mails::ticket(&reply) else { continue };
                let passed = super::tap::Passed { notice: Some(notice), mail: Some(Instant::now()), stanza: None };
                seen.lock().unwrap().insert(ticket, passed);
                let _ = stanzas.send(ticket);
            }
        });
    }
    let trips = deliver(lab, scale, ear.of(&lab.raw), ear, ear.tickets().0, &post, table).await;
    relay.shutdown().await;
    Way::new(&trips, &notes)
}

/// Delivers alerts: in each mailbox the next one once the last one came.
async fn deliver(
    lab: &Lab,
    scale: &Scale,
    to: &[String],
    ear: Ear,
    first: Ticket,
    post: &Arc<Post>,
    table: &mut Table,
) -> Vec<Trip> {
    let next = Arc::new(AtomicU32::new(0));
    let trips = Arc::new(Mutex::new(Vec::new()));
    let mailboxes = to.len() as u32;
    let mut tasks = JoinSet::new();
    for (n, mailbox) in (0..).zip(to) {
        let mut session = lmtp::Session::connect(lab.dovecot.lmtp).unwrap();
        let address = format!("{mailbox}@{DOMAIN}");
        let (next, trips, post, singles) = (next.clone(), trips.clone(), post.clone(), scale.singles);
        tasks.spawn(async move {
            // Evenly spread over the half second of one round.
            tokio::time::sleep(Duration::from_millis(500) / mailboxes * n).await;
            let mut warm = false;
            loop {
                let number = if warm { next.fetch_add(1, Ordering::Relaxed) } else { singles + n };
                if warm && number >= singles {
                    return;
                }
                let (ticket, mail) = (first + number, mails::mail(first + number));
                if let Ear::Noop = ear {
                    // Else each mail would follow the last NOOP at the same distance.
                    tokio::time::sleep(
                        EVERY.mul_f64(f64::from(ticket.wrapping_mul(2_654_435_761)) / f64::from(u32::MAX)),
                    )
                    .await;
                }
                let to = address.clone();
                let accepted;
                (session, accepted) = tokio::task::spawn_blocking(move || {
                    session.deliver(&to, &mail).unwrap();
                    (session, Instant::now())
                })
                .await
                .unwrap();
                let Some(came) = post.one(ticket, LOST).await else { return };
                if warm {
                    trips.lock().unwrap().push(Trip { ticket, accepted, came });
                }
                warm = true;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let tickets: HashSet<Ticket> = (0..scale.singles + mailboxes).map(|n| first + n).collect();
    if let Some(fault) = post.check(&tickets) {
        table.fault(format!("single alerts ({}): {fault}", if first == ear.tickets().0 { "raw" } else { "mailbell" }));
    }
    std::mem::take(&mut *trips.lock().unwrap())
}
