//! Names: why one has no address, and that each is asked for once.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::{Checked, bed, check, check_with};
use crate::support::dns::{Dns, RecordType, Reply, Transport};
use crate::support::hosts::{Answer, Family, Host, Way, Wire};
use crate::support::listener::{Listener, Then};

const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// The same with a DNS server, which programs on the prober's machine ask.
fn bed_with_dns() -> Option<(Wire, Host, Host, Dns)> {
    let (wire, prober, host) = bed()?;
    let dns = Dns::start(&prober, LOCALHOST);
    prober.resolv_conf("nameserver 127.0.0.1\n");
    Some((wire, prober, host, dns))
}

fn v4(host: &Host) -> Reply {
    Reply::Addresses(vec![host.v4.into()])
}

fn assert_says(checked: &Checked, target: &str, outcome: &str, reason: &str) {
    let probed = checked.of(target);
    assert_eq!(probed.outcome, outcome, "{target}: {}", probed.reason);
    assert!(probed.reason.contains(reason), "{target}: {}", probed.reason);
}

#[test]
fn why_a_name_has_no_address_is_told_apart() {
    use RecordType::{A, AAAA};
    let Some((_wire, prober, host, dns)) = bed_with_dns() else { return };
    let _listener = Listener::start(&host, 80, Then::Close);
    let none = || Reply::Addresses(Vec::new());
    dns.says("good.test", v4(&host));
    dns.says("nodata.test", none());
    dns.says("servfail.test", Reply::Fails);
    dns.says("refused.test", Reply::Refuses);
    dns.says("silent.test", Reply::Silent);
    // One family has none; of the other nobody knows.
    dns.says("perhaps.test", none());
    dns.says_of("perhaps.test", AAAA, Reply::Fails);
    dns.says("maybe.test", none());
    dns.says_of("maybe.test", A, Reply::Silent);
    // One is known, whatever the other does.
    for (name, reply) in [("half.test", Reply::Silent), ("third.test", Reply::Fails), ("fourth.test", Reply::Refuses)] {
        dns.says(name, v4(&host));
        dns.says_of(name, AAAA, reply);
    }
    dns.says("www.test", Reply::Alias("web.test"));
    dns.says("web.test", Reply::Alias("good.test"));
    dns.says("astray.test", Reply::Alias("nobody.test"));
    let names = [
        ("good.test:80", "open", "accepted"),
        ("good.test:81", "refused", "refused"),
        ("nobody.test:80", "no_such_name", "there is no such name"),
        ("astray.test:80", "no_such_name", "there is no such name"),
        ("nodata.test:80", "no_such_name", "the name has no address"),
        ("servfail.test:80", "resolver_failed", "the resolver answered: "),
        ("refused.test:80", "resolver_failed", "the resolver answered: "),
        ("silent.test:80", "resolver_failed", "did not answer"),
        ("perhaps.test:80", "resolver_failed", "the resolver answered: "),
        ("maybe.test:80", "resolver_failed", "did not answer"),
        ("half.test:80", "open", "accepted"),
        ("third.test:80", "open", "accepted"),
        ("fourth.test:80", "open", "accepted"),
        ("www.test:80", "open", "accepted"),
    ];
    let checked = check(&prober, &names.map(|(target, ..)| target));
    for (target, outcome, reason) in names {
        assert_says(&checked, target, outcome, reason);
        if outcome == "open" {
            assert!(checked.of(target).took < Duration::from_secs(2), "{checked:#?}");
        }
    }
    assert_eq!(checked.code, Some(1));
    assert!(checked.took < Duration::from_secs(6), "{:?}", checked.took);
}

#[test]
fn a_resolver_that_is_not_there_is_no_unknown_name() {
    let Some((_wire, prober, host)) = bed() else { return };
    // Nobody at the port; a black hole; no way there.
    prober.resolv_conf("nameserver 127.0.0.1\n");
    assert_says(&check(&prober, &["good.test:80"]), "good.test:80", "resolver_failed", "");
    prober.resolv_conf(&format!("nameserver {}\n", host.v4));
    let mut drop_all = host.iptables(Family::V4);
    assert!(drop_all.args(["-I", "INPUT", "-p", "udp", "-j", "DROP"]).status().unwrap().success());
    host.firewall(Family::V4, Way::In, Some(53), Answer::Nothing);
    let silent = check_with(&prober, &["--timeout", "1s"], &["good.test:80"]);
    assert_says(&silent, "good.test:80", "resolver_failed", "did not answer");
    assert!(silent.took < Duration::from_secs(4), "{:?}", silent.took);
    prober.resolv_conf("nameserver 203.0.113.53\n");
    assert_says(&check(&prober, &["good.test:80"]), "good.test:80", "resolver_failed", "");
}

/// 5 names with 40 ports each. The answers take a while, so that who asks again would ask meanwhile.
#[test]
fn a_name_is_asked_for_once_a_round() {
    use RecordType::{A, AAAA};
    let Some((_wire, prober, host, dns)) = bed_with_dns() else { return };
    let _listener = Listener::start(&host, 80, Then::Close);
    let names: Vec<String> = (0..5).map(|n| format!("host{n}.test")).collect();
    let both = Reply::Addresses(vec![host.v4.into(), host.v6.into()]);
    for name in &names {
        dns.says(name, Reply::Late(Duration::from_millis(200), Box::new(both.clone())));
    }
    let targets: Vec<String> =
        names.iter().flat_map(|name| (80..120).map(move |port| format!("{name}:{port}"))).collect();
    let checked = check(&prober, &targets);
    assert_eq!((checked.count("open"), checked.count("refused")), (5, 195));
    for name in &names {
        assert_eq!((dns.queries(name, A), dns.queries(name, AAAA)), (1, 1), "{name}");
    }
    assert_eq!(dns.asked().len(), 10, "and nothing else is asked: {:?}", dns.asked());
    // The next round asks again: the TTL is over, and the host may have moved.
    check(&prober, &targets);
    assert_eq!(dns.asked().len(), 20);
}

#[test]
fn names_that_hang_hold_nobody_up() {
    let Some((_wire, prober, host, dns)) = bed_with_dns() else { return };
    let _listener = Listener::start(&host, 80, Then::Close);
    let mut targets = Vec::new();
    for n in 0..200 {
        let (hangs, lives) = (format!("hangs{n}.test"), format!("lives{n}.test"));
        dns.says(&hangs, Reply::Silent);
        dns.says(&lives, v4(&host));
        targets.extend([format!("{hangs}:80"), format!("{lives}:80")]);
    }
    targets.push(format!("{}:80", host.v4));
    let checked = check_with(&prober, &["--timeout", "1s"], &targets);
    assert_eq!((checked.count("open"), checked.count("resolver_failed")), (201, 200), "{checked:#?}");
    let address = checked.all.iter().position(|probed| probed.target == format!("{}:80", host.v4));
    let first_hung = checked.all.iter().position(|probed| probed.outcome == "resolver_failed");
    assert!(address < first_hung, "an address waits for no name");
    // 400 questions that nobody answers, 32 at a time and a second each, would be more than 12 s.
    assert!(checked.took < Duration::from_secs(8), "names wait for names: {:?}", checked.took);
}

#[test]
fn an_answer_that_is_too_large_is_asked_for_by_tcp() {
    let Some((_wire, prober, host, dns)) = bed_with_dns() else { return };
    let _listener = Listener::start(&host, 80, Then::Close);
    host.ip("route add local 198.18.0.0/15 dev lo");
    prober.ip(&format!("route add 198.18.0.0/15 via {}", host.v4));
    dns.says("large.test", Reply::Addresses((1..=200).map(|n| IpAddr::from([198, 18, 0, n])).collect()));
    let checked = check(&prober, &["large.test:80"]);
    assert_says(&checked, "large.test:80", "open", "accepted");
    assert!(dns.asked().iter().any(|asked| asked.transport == Transport::Tcp), "{:?}", dns.asked());
}
