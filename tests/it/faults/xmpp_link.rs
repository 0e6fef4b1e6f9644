//! Rows 17, 20 and 30: the way to the chat server breaks, falls silent, or is barred.

use std::time::{Duration, Instant};

use crate::support::ca::Ca;
use crate::support::chat::Kind;
use crate::support::hosts::{Family, Host, Wire};
use crate::support::lab::{Lab, in_state};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::oracle::Oracle;
use crate::support::proxy::{Proxy, Trouble, Way};
use crate::support::wait_for;
use crate::support::witness::Witness;

on_each_server!(
    row17_connection_reset_before_the_ack,
    row20_half_open_connection,
    row30_password_refused,
    row30_certificate_refused,
);

async fn row17_connection_reset_before_the_ack(kind: Kind) {
    let lab = Lab::on(kind, &["alice"]);
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let proxy = Proxy::start(lab.chat.c2s).await;
    let mailbell = Mailbell::run(&lab.through(&proxy));
    let oracle = Oracle::new(
        17,
        "proxy resets at byte 1 or 700 of what we send, at byte 1 or 150 of the answer, or after the message with the ack held back",
    )
    .on(kind);
    oracle.mail(&lab, 1);
    alice.gets(&oracle.title(0)).await;
    oracle.settled(&mailbell, &[&alice]).await;

    // The message gets through, its acknowledgement does not.
    let (up, down) = (Way::Up, Way::Down);
    quiet(&proxy).await;
    proxy.set(down, Trouble::Stall(0));
    oracle.mail(&lab, 1);
    alice.gets(&oracle.title(1)).await;
    in_state(&mailbell, "sending", 1).await;
    proxy.sever();
    proxy.heal();
    mailbell.logged("the XMPP session is resumed", 1).await;
    oracle.settled(&mailbell, &[&alice]).await;

    for (round, (way, byte)) in [(up, 1), (up, 700), (down, 1), (down, 150)].into_iter().enumerate() {
        quiet(&proxy).await;
        proxy.set(way, Trouble::Reset(byte));
        oracle.mail(&lab, 3);
        wait_for("the reset", SOON, async || (proxy.resets() == round + 2).then_some(())).await;
        proxy.heal();
        oracle.over();
        mailbell.logged("the XMPP session is resumed", round + 2).await;
        oracle.settled(&mailbell, &[&alice]).await;
    }

    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    oracle.all_told(&verdict, 1);
    assert_eq!(mailbell.log().matches("signed in to XMPP").count(), 1, "every time it was resumed");
}

/// Waits until nobody says anything any more: the next byte is one of the next mail.
async fn quiet(proxy: &Proxy) {
    let bytes = || (proxy.bytes(Way::Up), proxy.bytes(Way::Down));
    wait_for("silence", SOON, async || {
        let before = bytes();
        tokio::time::sleep(Duration::from_millis(300)).await;
        (bytes() == before).then_some(())
    })
    .await;
}

/// Not before the gateway gave the link up: twice `ping_after`, as it is by default, and a look at it every few seconds.
const NOTICED: Duration = Duration::from_secs(75);

async fn row20_half_open_connection(kind: Kind) {
    let Some(wire) = Wire::new() else { return };
    let host = wire.host();
    let inside = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(half_open(kind, &host));
    };
    host.run(inside);
}

async fn half_open(kind: Kind, host: &Host) {
    let lab = Lab::on(kind, &["alice"]);
    let alice = Witness::start(lab.login("alice"), "alice").await;
    // Witnesses use the other port.
    let port = lab.chat.c2s_tls;
    let config = lab
        .config()
        .replace(&format!(":{}\"", lab.chat.c2s), &format!(":{port}\""))
        .replace("tls = \"starttls\"", "tls = \"direct\"");
    let mailbell = Mailbell::run_on(host, &config);
    let oracle = Oracle::new(20, "iptables drops every packet of the connection, in both ways").on(kind);
    oracle.mail(&lab, 1);
    oracle.settled(&mailbell, &[&alice]).await;

    let own = own_port(host, port);
    for (from, to) in [(own, port), (port, own)] {
        let mut iptables = host.iptables(Family::V4);
        let ports = ["--sport".to_owned(), from.to_string(), "--dport".to_owned(), to.to_string()];
        iptables.args(["-I", "INPUT", "-p", "tcp"]).args(ports).args(["-j", "DROP"]);
        assert!(iptables.status().unwrap().success());
    }
    let dropped = Instant::now();
    oracle.mail(&lab, 3);
    in_state(&mailbell, "sending", 3).await;
    let noticed = async || {
        tokio::time::sleep(Duration::from_millis(250)).await;
        mailbell.log().contains("the server was silent for").then(|| dropped.elapsed())
    };
    let noticed = wait_for("the dead link to be noticed", NOTICED * 2, noticed).await;
    oracle.over();
    println!("noticed after {noticed:?}");
    assert!(noticed <= NOTICED, "{noticed:?}");
    mailbell.logged("the XMPP session is resumed", 1).await;
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    oracle.all_told(&verdict, 1);
}

/// Port of the gateway's end of its only connection to that port.
fn own_port(host: &Host, server: u16) -> u16 {
    let table = host.run(|| std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap());
    let port = |address: &str| u16::from_str_radix(address.rsplit_once(':').unwrap().1, 16).unwrap();
    let established = |line: &&str| line.split_whitespace().nth(3) == Some("01");
    let ends = table.lines().filter(established).map(|line| {
        let mut words = line.split_whitespace().skip(1);
        (port(words.next().unwrap()), port(words.next().unwrap()))
    });
    let own: Vec<u16> = ends.filter(|(_, remote)| *remote == server).map(|(local, _)| local).collect();
    assert_eq!(own.len(), 1, "{table}");
    own[0]
}

/// Runs with a chat server that does not let it in, and then with the mended config. Returns what the operators' command was
/// told, and the log.
async fn barred(lab: &Lab, oracle: Oracle, proxy: &Proxy, config: &str) -> (serde_json::Value, String) {
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let command = "[operators]\ncommand = [\"/bin/sh\", \"-c\", \"cat >{dir}/t; mv {dir}/t {dir}/told\"]\n\
                   command_after = \"4s\"\n";
    let mailbell = Mailbell::run(&config.replace("[operators]\n", command));
    oracle.mail(lab, 3);
    let told = mailbell.path("told");
    let told = wait_for("the operators' command", SOON, async || std::fs::read_to_string(&told).ok()).await;
    in_state(&mailbell, "queued", 3).await;
    // Whoever tries again as after a broken connection has done so four times by now.
    assert!(proxy.connections() <= 2, "{} connections: a loop", proxy.connections());
    let log = mailbell.log();

    mailbell.reload(&lab.through(proxy).replace("[operators]\n", command));
    oracle.over();
    let verdict = oracle.verdict(&mailbell, lab, &[&alice]).await;
    oracle.all_told(&verdict, 1);
    (serde_json::from_str(&told).unwrap(), log)
}

async fn row30_password_refused(kind: Kind) {
    let lab = Lab::on(kind, &["alice"]);
    let proxy = Proxy::start(lab.chat.c2s).await;
    let config = lab.through(&proxy).replace("pw-alerts", "s3cret-and-wrong");
    let oracle = Oracle::new(30, "wrong password; corrected and reloaded").on(kind);
    let (told, log) = barred(&lab, oracle, &proxy, &config).await;
    assert_eq!(told["event"], "xmpp-down");
    assert_eq!(told["account"], "alerts@example.test");
    assert!(told["reason"].as_str().unwrap().contains("password"), "{told}");
    assert!(log.contains("the login was refused") && !log.contains("s3cret"), "{log}");
}

async fn row30_certificate_refused(kind: Kind) {
    let lab = Lab::on(kind, &["alice"]);
    let proxy = Proxy::start(lab.chat.c2s).await;
    let other = Ca::new();
    let config = lab.through(&proxy).replacen(lab.ca.ca().to_str().unwrap(), other.ca().to_str().unwrap(), 1);
    let oracle = Oracle::new(30, "certificate of an unknown authority; corrected and reloaded").on(kind);
    let (told, log) = barred(&lab, oracle, &proxy, &config).await;
    let reason = told["reason"].as_str().unwrap();
    assert!(reason.contains("certificate") && reason.contains("ca_file"), "{told}");
    assert!(log.contains("certificate"), "{log}");
}
