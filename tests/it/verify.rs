//! Mails verified: the whole gateway on a machine of the test's own, and the hosts that mails tell of beside it.

use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::dns::{Dns, RecordType, Reply};
use crate::support::hosts::{Answer, Family, Host, Way, Wire};
use crate::support::lab::{Lab, alert};
use crate::support::listener::{Listener, Then};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::outcome::all_in_state;
use crate::support::wait_for;

/// The gateway's machine, and another one.
struct Bed {
    gateway: Host,
    target: Host,
    _wire: Wire,
}

/// Runs a test on the gateway's machine: the servers of its lab, its clients and its gateway are all there.
fn on_the_gateway(test: impl AsyncFnOnce(&Bed, &Lab) + Send) {
    let Some(wire) = Wire::new() else { return };
    let bed = Bed { gateway: wire.host(), target: wire.host(), _wire: wire };
    bed.gateway.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let lab = Lab::new(&["alice"]);
            test(&bed, &lab).await;
        });
    });
}

/// What names a port is verified; ports 80 to 89 of this wire may be.
fn config(lab: &Lab, more: &str) -> String {
    lab.config()
        + "[[route]]\nmatch = { \"label.port\" = \"*\" }\ngroups = [\"ops\"]\nverify = true\n\
           [probe]\nallow = [\"192.0.2.0/24:80-89\", \"[2001:db8::/64]:80-89\"]\n"
        + more
}

/// An alert that names a port, whose title is its key.
fn tells(key: &str, more: &str, host: impl std::fmt::Display, port: u16) -> String {
    let labels = format!("<label name=\"host\">{host}</label><label name=\"port\">{port}</label>");
    alert(&format!("key=\"{key}\" {more}"), &format!("<title>{key}</title>{labels}"))
}

/// The second line of the message with this title.
async fn told(alice: &Client, title: &str) -> String {
    let message = alice.gets(title).await;
    message.lines().nth(1).unwrap().to_owned()
}

#[test]
fn a_mail_is_told_with_what_its_port_says() {
    on_the_gateway(async |bed, lab| {
        let (target, name) = (&bed.target, "db1.example.test");
        let open = Listener::start(target, 81, Then::Close);
        let dns = Dns::start(target, target.v4);
        bed.gateway.resolv_conf(&format!("nameserver {}\n", target.v4));
        dns.says(name, Reply::Addresses(vec![target.v4.into(), target.v6.into()]));
        let alice = lab.online("alice").await;
        let mut mailbell = Mailbell::run_on(&bed.gateway, &config(lab, ""));

        lab.mail(&tells("dead", "", target.v4, 80));
        let dead = told(&alice, "dead").await;
        assert!(dead.starts_with("port check: confirmed (refused in ") && dead.ends_with(" ms)"), "{dead}");
        lab.mail(&tells("alive", "", target.v6, 81));
        assert_eq!(told(&alice, "alive").await, "port check: port answers");
        lab.mail(&tells("named", "", name, 81));
        assert_eq!(told(&alice, "named").await, "port check: port answers");
        open.accepts(2);
        assert_eq!((dns.queries(name, RecordType::A), dns.queries(name, RecordType::AAAA)), (1, 1));
        lab.mail(&tells("unknown", "", "db2.example.test", 81));
        assert_eq!(told(&alice, "unknown").await, "port check: not checked: there is no such name");

        // What is found of an end is told as well; and it is one, although nothing was compared.
        lab.mail(&tells("dead", "status=\"resolved\"", target.v4, 80));
        let end = alice.gets("RESOLVED: dead").await;
        assert!(end.contains("\nEnds #") && end.contains("\nport check: port does not answer (refused in "), "{end}");

        // A sender cannot say it himself.
        let forged = "<title>forged</title><label name=\"mailbell.port_check.said\">confirmed</label>";
        lab.mail(&alert("key=\"forged\"", forged));
        assert!(!alice.gets("forged").await.contains("port check"));

        // The list is that of the config in force.
        mailbell.reload(&config(lab, "").replace("80-89", "88"));
        lab.mail(&tells("later", "", target.v4, 81));
        assert_eq!(told(&alice, "later").await, "port check: not checked: not in [probe] allow");
        open.accepts(2);
        mailbell.stop();
    });
}

#[test]
fn what_is_not_allowed_gets_no_packet() {
    on_the_gateway(async |bed, lab| {
        let (gateway, target) = (&bed.gateway, &bed.target);
        let (beyond, own, open) = (
            Listener::start(target, 90, Then::Close),
            Listener::start(gateway, 82, Then::Close),
            Listener::start(target, 83, Then::Close),
        );
        let dns = Dns::start(target, target.v4);
        gateway.resolv_conf(&format!("nameserver {}\n", target.v4));
        dns.says("mixed.example.test", Reply::Addresses(vec![target.v4.into(), "127.0.0.1".parse().unwrap()]));
        dns.says("mapped.example.test", Reply::Addresses(vec!["::ffff:192.0.2.1".parse().unwrap()]));
        dns.says("alias.example.test", Reply::Alias("home.example.test"));
        dns.says("home.example.test", Reply::Addresses(vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()]));
        let door = format!(
            "[[lmtp]]\nlisten = \"{}:85\"\nallow_public = true\n[[mailbox]]\nname = \"door\"\nprotocol = \"lmtp\"\n\
             addresses = [\"door@example.test\"]\n",
            gateway.v4
        );
        let alice = lab.online("alice").await;
        let mut mailbell = Mailbell::run_on(gateway, &config(lab, &door));
        let v4 = |host: &Host| host.v4.to_string();
        for (n, (host, port, why)) in [
            (v4(target), 90, "not in [probe] allow"),
            ("127.0.0.1".into(), 82, "not in [probe] allow"),
            ("::1".into(), 82, "not in [probe] allow"),
            (format!("::ffff:{}", gateway.v4), 82, "not in [probe] allow"),
            ("localhost".into(), 82, "not in [probe] allow"),
            ("mixed.example.test".into(), 83, "not in [probe] allow"),
            ("mapped.example.test".into(), 82, "not in [probe] allow"),
            ("alias.example.test".into(), 82, "not in [probe] allow"),
            ("2130706433".into(), 82, "`2130706433` is neither a name nor an address"),
            ("0177.0.0.1".into(), 82, "`0177.0.0.1` is neither a name nor an address"),
            (v4(gateway), 85, "it is a port of mailbell's own"),
        ]
        .into_iter()
        .enumerate()
        {
            let title = format!("case{n}.");
            lab.mail(&tells(&title, "", &host, port));
            assert_eq!(told(&alice, &title).await, format!("port check: not checked: {why}"), "{host}:{port}");
        }
        // The way there is free: it was not the network that kept it.
        lab.mail(&tells("free", "", target.v4, 83));
        assert_eq!(told(&alice, "free").await, "port check: port answers");
        open.accepts(1);
        beyond.accepts(0);
        own.accepts(0);
        assert_eq!(dns.queries("mixed.example.test", RecordType::A), 1);
        mailbell.stop();
    });
}

#[test]
fn a_black_hole_delays_only_what_tells_of_it() {
    on_the_gateway(async |bed, lab| {
        let target = &bed.target;
        target.firewall(Family::V4, Way::In, Some(80), Answer::Nothing);
        let alice = lab.online("alice").await;
        let mut mailbell = Mailbell::run_on(&bed.gateway, &config(lab, ""));
        lab.mail(&alert("key=\"warm\"", "<title>warm</title>"));
        alice.gets("warm").await;
        let other = tells("other", "", target.v4, 81).replace("monitor@", "second@");
        let start = Instant::now();
        lab.put(
            "inbox",
            &[
                tells("hole", "", target.v4, 80),
                // Names no port, and must not overtake.
                alert("key=\"hole\" status=\"resolved\"", "<title>hole is over</title>"),
                alert("key=\"plain\"", "<title>plain</title>"),
                other,
            ]
            .map(|mail| mail.replace('\n', "\r\n")),
        );
        alice.gets("plain").await;
        alice.gets("other").await;
        assert_eq!(alice.copies("hole"), 0, "those that tell of it wait");
        let sooner = start.elapsed();
        assert_eq!(told(&alice, ": hole").await, "port check: confirmed (timed out after 1.9 s)");
        let end = alice.gets("RESOLVED: hole is over").await;
        assert!(end.contains("Ends #"), "the end came after the beginning: {end}");
        let (late, bound) = (start.elapsed(), Duration::from_secs(2));
        assert!(late >= Duration::from_millis(1900) && late < bound + sooner + Duration::from_secs(2), "{late:?}");
        assert_eq!(alice.count(), 5);
        mailbell.stop();
    });
}

#[test]
fn a_storm_is_sent_and_no_port_scan() {
    on_the_gateway(async |bed, lab| {
        let target = &bed.target;
        target.firewall(Family::V4, Way::In, None, Answer::Nothing);
        let alice = lab.online("alice").await;
        let mut mailbell = Mailbell::run_on(&bed.gateway, &config(lab, "").replace("80-89", "1000-1999"));
        lab.mail(&alert("key=\"warm\"", "<title>warm</title>"));
        alice.gets("warm").await;
        let mails: Vec<String> =
            (0..60).map(|n| tells(&format!("port{n}."), "", target.v4, 1000 + n).replace('\n', "\r\n")).collect();
        lab.put("inbox", &mails);
        wait_for("all of them", SOON, async || (alice.copies("port check: ") == 60).then_some(())).await;
        let (silent, many) = (alice.copies("confirmed (timed out after 1.9 s)"), alice.copies("not checked: too many"));
        assert!(silent >= 32 && many > 0 && silent + many == 60, "{silent} were looked at, {many} were not");
        let first_silent = alice.messages().iter().position(|m| m.body().is_some_and(|b| b.contains("timed out")));
        assert!(first_silent > Some(1), "what is not looked at does not wait");
        mailbell.stop();
    });
}

#[test]
fn what_waits_survives_a_crash_and_is_told_once() {
    on_the_gateway(async |bed, lab| {
        let (target, name) = (&bed.target, "slow.example.test");
        let dns = Dns::start(target, target.v4);
        bed.gateway.resolv_conf(&format!("nameserver {}\n", target.v4));
        dns.says(name, Reply::Silent);
        let alice = lab.online("alice").await;
        let mut mailbell = Mailbell::run_on(&bed.gateway, &config(lab, ""));
        lab.mail(&tells("slow", "", name, 80));
        wait_for("a question for its name", SOON, async || (dns.queries(name, RecordType::A) > 0).then_some(())).await;
        mailbell.kill();
        assert_eq!(alice.count(), 0);
        dns.says(name, Reply::Addresses(vec![target.v4.into()]));
        mailbell.start();
        let said = told(&alice, "slow").await;
        assert!(said.starts_with("port check: confirmed (refused in "), "{said}");
        all_in_state(&mailbell, "slow", 1, "delivered").await;
        assert_eq!(alice.count(), 1);
        // The same at a clean end.
        dns.says("silent.example.test", Reply::Silent);
        lab.mail(&tells("second", "", "silent.example.test", 80));
        wait_for("the next question", SOON, async || {
            (dns.queries("silent.example.test", RecordType::A) > 0).then_some(())
        })
        .await;
        mailbell.stop();
        mailbell.start();
        let said = told(&alice, "second").await;
        assert!(said.starts_with("port check: not checked: "), "{said}");
        mailbell.stop();
    });
}
