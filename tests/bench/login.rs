//! From the moment that the chat server can be reached to the first message: what waits must not wait long.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::door::Door;
use super::lab::Lab;
use super::mails::Ticket;
use super::post::Post;
use super::scale::Scale;
use super::support::free_port;
use super::support::prosody::BOT;
use super::table::{Figure, Sample, Table, Target};
use super::xmpp::{Sender, message};

/// A message that has not come after this is lost.
const LOST: Duration = Duration::from_secs(20);

/// Tickets of the floor and of mailbell.
const RAW: Ticket = 7_000_000;
const OWN: Ticket = 7_500_000;

pub async fn measure(lab: &Lab, scale: &Scale, table: &mut Table) {
    let person = &lab.people[..1];
    let post = Post::open(lab.prosody.c2s, person, true).await;
    let mut floor = Sample::default();
    for ticket in RAW..RAW + scale.logins {
        let start = Instant::now();
        Sender::open(lab.prosody.c2s, BOT).await.send(&[message(&person[0], ticket)]).await;
        floor.add(post.one(ticket, LOST).await.expect("the raw stanza came") - start);
    }
    post.clear();
    let own = own(lab, scale, person, &post, table).await;
    let most = Some(Target::AtMost(Figure::Time(Duration::from_millis(100))));
    for (share, name, target) in [(0.5, "p50", most), (1.0, "longest", most)] {
        let what = format!("XMPP login (TCP connect) -> first IM, {name}");
        table.row(what, Some(own.quantile(share)), Some(floor.quantile(share)), target);
    }
    table.note(format!(
        "Login: {} new sessions, each with one alert waiting. mailbell signs in with STARTTLS and SCRAM, loads the roster and learns who is\n\
         online; the floor signs in in the clear, and writes.",
        scale.logins
    ));
}

async fn own(lab: &Lab, scale: &Scale, person: &[String], post: &Post, table: &mut Table) -> Sample {
    let (door, xmpp) = (free_port(), free_port());
    let mut gateway = lab.gateway_at_door(door, xmpp, person, "");
    gateway.configure(&lab.with_tls(&lab.config_at_door(door, xmpp, person, "")));
    let mut sample = Sample::default();
    for ticket in OWN..OWN + scale.logins {
        gateway.start();
        Door::open(door).hand_in(ticket).await;
        // Only now can it sign in.
        let mut gate = JoinSet::new();
        let accepted = gate_to(lab.prosody.c2s, xmpp, &mut gate).await;
        match post.one(ticket, LOST).await {
            Some(came) => sample.add(came - accepted),
            None => table.fault("login: a message was lost"),
        }
        gateway.stop();
    }
    let tickets = (OWN..OWN + scale.logins).collect();
    if let Some(fault) = post.check(&tickets) {
        table.fault(format!("login: {fault}"));
    }
    sample
}

/// Opens a way to the server; when it was first used.
async fn gate_to(server: u16, port: u16, gate: &mut JoinSet<()>) -> Instant {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let (mut client, _) = listener.accept().await.unwrap();
    let accepted = Instant::now();
    gate.spawn(async move {
        let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await.unwrap();
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    });
    accepted
}
