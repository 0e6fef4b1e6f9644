//! The port probe, by `mailbell check --json` on a machine of the test's own: what each answer of a network becomes, and that our own
//! shortages are nobody's outage.

mod names;
mod stacks;

use std::net::TcpStream;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::hosts::{Answer, Family, Host, Way, Wire};
use crate::support::listener::{Crossing, Listener, Then};

/// One line of the output.
#[derive(Debug, Clone)]
struct Probed {
    /// As it was given: `HOST:PORT`.
    target: String,
    outcome: String,
    reason: String,
    took: Duration,
}

/// What a check said.
#[derive(Debug)]
struct Checked {
    /// In the order in which they were known.
    all: Vec<Probed>,
    code: Option<i32>,
    stderr: String,
    /// The whole of it, the start of the process included.
    took: Duration,
}

impl Checked {
    fn of(&self, target: &str) -> &Probed {
        self.all.iter().find(|probed| probed.target == target).unwrap_or_else(|| panic!("no {target} in {self:#?}"))
    }

    fn outcome(&self, target: &str) -> &str {
        &self.of(target).outcome
    }

    fn count(&self, outcome: &str) -> usize {
        self.all.iter().filter(|probed| probed.outcome == outcome).count()
    }
}

/// `mailbell check` of these, with a time-out of 3 seconds.
fn check(from: &Host, targets: &[impl AsRef<str>]) -> Checked {
    check_with(from, &["--timeout", "3s"], targets)
}

fn check_with(from: &Host, options: &[&str], targets: &[impl AsRef<str>]) -> Checked {
    let mut args = vec!["check", "--json"];
    args.extend(options);
    args.extend(targets.iter().map(AsRef::as_ref));
    let start = Instant::now();
    read(&from.mailbell(&args), start)
}

/// The same, where it may have no more than so many files open.
fn check_with_files(from: &Host, files: usize, targets: &[impl AsRef<str>]) -> Checked {
    let mut command = from.command("prlimit");
    command.arg(format!("--nofile={files}:{files}")).args([env!("CARGO_BIN_EXE_mailbell"), "check", "--json"]);
    let start = Instant::now();
    read(&command.args(targets.iter().map(AsRef::as_ref)).stdin(Stdio::null()).output().unwrap(), start)
}

fn read(output: &Output, start: Instant) -> Checked {
    let took = start.elapsed();
    let lines = std::str::from_utf8(&output.stdout).unwrap().lines();
    let all = lines.map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        let host = text("host");
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        Probed {
            target: format!("{host}:{}", line["port"]),
            outcome: text("outcome"),
            reason: text("reason"),
            took: Duration::from_secs_f64(line["ms"].as_f64().unwrap() / 1e3),
        }
    });
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Checked { all: all.collect(), code: output.status.code(), stderr, took }
}

/// A wire with a prober and one more machine.
fn bed() -> Option<(Wire, Host, Host)> {
    let wire = Wire::new()?;
    let (prober, host) = (wire.host(), wire.host());
    Some((wire, prober, host))
}

#[test]
fn each_answer_of_a_network_has_its_outcome() {
    use Answer::{Icmp, Nothing, Reset};
    let Some((_wire, prober, host)) = bed() else { return };
    let _open = Listener::start(&host, 80, Then::Close);
    let _crossing = Crossing::start(&host, 81);
    let v4 = [
        (Nothing, "timed_out", "did not answer within 3s"),
        (Reset, "refused", "refused"),
        (Icmp("icmp-port-unreachable"), "refused", "refused"),
        (Icmp("icmp-host-unreachable"), "host_unreachable", "host unreachable"),
        (Icmp("icmp-host-prohibited"), "host_unreachable", "host unreachable"),
        (Icmp("icmp-admin-prohibited"), "host_unreachable", "host unreachable"),
        (Icmp("icmp-proto-unreachable"), "host_unreachable", "host unreachable"),
        (Icmp("icmp-net-unreachable"), "network_unreachable", "network unreachable"),
        (Icmp("icmp-net-prohibited"), "network_unreachable", "network unreachable"),
    ];
    let v6 = [
        (Nothing, "timed_out", "did not answer within 3s"),
        (Reset, "refused", "refused"),
        (Icmp("icmp6-port-unreachable"), "refused", "refused"),
        (Icmp("icmp6-addr-unreachable"), "host_unreachable", "host unreachable"),
        (Icmp("icmp6-no-route"), "network_unreachable", "network unreachable"),
        (Icmp("icmp6-adm-prohibited"), "not_permitted", "forbids"),
        (Icmp("icmp6-policy-fail"), "not_permitted", "forbids"),
        (Icmp("icmp6-reject-route"), "not_permitted", "forbids"),
    ];
    // What is asked for, and what must be said of it.
    let address = |family, port| match family {
        Family::V4 => format!("{}:{port}", host.v4),
        Family::V6 => format!("[{}]:{port}", host.v6),
    };
    let mut want = vec![
        (address(Family::V4, 80), "open", "accepted the connection"),
        (address(Family::V6, 80), "open", "accepted the connection"),
        (address(Family::V4, 82), "refused", "refused the connection"),
        (address(Family::V6, 82), "refused", "refused the connection"),
        (address(Family::V4, 81), "reset", "reset the connection"),
        ("203.0.113.1:80".into(), "network_unreachable", "network unreachable"),
        ("198.51.100.1:80".into(), "not_permitted", "a route of this machine forbids it"),
        ("198.18.0.1:80".into(), "host_unreachable", "host unreachable"),
    ];
    prober.ip("route add prohibit 198.51.100.0/24\nroute add unreachable 198.18.0.0/15");
    for (family, answers) in [(Family::V4, &v4[..]), (Family::V6, &v6[..])] {
        for (port, (answer, outcome, reason)) in (1000..).zip(answers) {
            host.firewall(family, Way::In, Some(port), *answer);
            want.push((address(family, port), outcome, reason));
        }
    }
    let targets: Vec<&str> = want.iter().map(|(target, ..)| target.as_str()).collect();
    let checked = check(&prober, &targets);
    assert_eq!(checked.code, Some(1), "{}", checked.stderr);
    assert_eq!(checked.all.len(), want.len());
    for (target, outcome, reason) in &want {
        let probed = checked.of(target);
        assert_eq!(probed.outcome, *outcome, "{target}: {}", probed.reason);
        let ip = target.rsplit_once(':').unwrap().0.trim_matches(['[', ']']);
        assert!(probed.reason.starts_with(ip) && probed.reason.contains(reason), "{target}: {}", probed.reason);
    }
    let silent = checked.of(&address(Family::V4, 1000)).took;
    assert!((3.0..4.0).contains(&silent.as_secs_f64()), "{silent:?}");
    let refused = checked.of(&address(Family::V4, 82)).took;
    assert!(refused < Duration::from_secs(1), "{refused:?}");
}

#[test]
fn nobody_at_an_address_of_ones_own_net_is_told_from_silence() {
    let Some((_wire, prober, _host)) = bed() else { return };
    // The kernel asks three times, once a second, who has the address.
    let checked = check_with(&prober, &["--timeout", "8s"], &["192.0.2.200:80"]);
    assert_eq!(checked.outcome("192.0.2.200:80"), "host_unreachable", "{checked:#?}");
    let sooner = check_with(&prober, &["--timeout", "1s"], &["192.0.2.201:80"]);
    assert_eq!(sooner.outcome("192.0.2.201:80"), "timed_out", "{sooner:#?}");
}

/// 950 live ones among 50 black holes.
#[test]
fn black_holes_hold_nobody_up() {
    let Some((_wire, prober, host)) = bed() else { return };
    let net = "198.18.0.0/15";
    host.ip(&format!("route add local {net} dev lo"));
    prober.ip(&format!("route add {net} via {}", host.v4));
    let live = Listener::start(&host, 80, Then::Close);
    host.firewall(Family::V4, Way::In, Some(81), Answer::Nothing);
    // The first of each twenty, so that all that queues would queue behind them.
    let targets: Vec<String> = (0..1000)
        .map(|n| format!("198.18.{}.{}:{}", n / 250, n % 250 + 1, if n % 20 == 0 { 81 } else { 80 }))
        .collect();
    let checked = check(&prober, &targets);
    assert_eq!((checked.count("open"), checked.count("timed_out")), (950, 50));
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(1), ""));
    live.accepts(950);
    let first_silent = checked.all.iter().position(|probed| probed.outcome == "timed_out");
    assert_eq!(first_silent, Some(950), "all that live are known before any silence is");
    // How near to 3 seconds it is the bench says: this machine may be busy.
    assert!(checked.took < Duration::from_secs(6), "{:?}", checked.took);
    let slowest = checked.all.iter().filter(|probed| probed.outcome == "open").map(|probed| probed.took).max();
    assert!(slowest < Some(Duration::from_millis(2500)), "{slowest:?}");
}

#[test]
fn too_few_files_are_no_outage() {
    let Some((_wire, prober, host)) = bed() else { return };
    let _listener = Listener::start(&host, 80, Then::Close);
    host.ip("route add local 198.18.0.0/15 dev lo");
    prober.ip(&format!("route add 198.18.0.0/15 via {}", host.v4));
    let targets: Vec<String> = (1..=200).map(|n| format!("198.18.0.{n}:80")).collect();
    // Fewer at a time, but all of them; and it says why.
    for files in [40, 160] {
        let checked = check_with_files(&prober, files, &targets);
        assert_eq!((checked.count("open"), checked.code), (200, Some(0)), "{files}: {}", checked.stderr);
        let said = checked.stderr.contains("connections at a time instead of 200")
            && checked.stderr.contains(&format!("may have {files} open files; raise the limit"));
        assert!(said, "{files}: {}", checked.stderr);
    }
    // So few that some connections, or all, or the check itself cannot be.
    let starving: Vec<Checked> = (4..20).map(|files| check_with_files(&prober, files, &targets)).collect();
    for (files, checked) in (4..).zip(&starving) {
        let known = checked.count("open") + checked.count("local_failure");
        assert_eq!(known, checked.all.len(), "{files}: {checked:#?}");
        // With the very least, not even the runtime starts; what counts is that it never says "1: some are not open".
        let all_open = checked.count("open") == targets.len();
        assert!(checked.code != Some(1) && (checked.code == Some(0)) == all_open, "{files}: {:?}", checked.code);
        assert!(!checked.stderr.is_empty(), "{files}: it says nothing of it");
    }
    let mut failures = starving.iter().flat_map(|checked| &checked.all).filter(|probed| probed.outcome != "open");
    let failure = failures.next().expect("with some number of files, connections fail");
    assert!(failure.reason.contains("too many open files (ulimit -n, LimitNOFILE=)"), "{}", failure.reason);
}

#[test]
fn too_few_ports_are_no_outage() {
    let Some((_wire, prober, host)) = bed() else { return };
    let _busy = Listener::start(&host, 80, Then::Close);
    let _free = Listener::start(&host, 81, Then::Close);
    prober.sysctl("ipv4/ip_local_port_range", "40000 40001");
    // Somebody else has both of them for this target.
    let _held = [0; 2].map(|_| prober.run(|| TcpStream::connect((host.v4, 80))).unwrap());
    let (busy, free, closed) = (format!("{}:80", host.v4), format!("{}:81", host.v4), format!("{}:82", host.v4));
    let checked = check(&prober, &[&busy, &free]);
    assert_eq!((checked.outcome(&busy), checked.outcome(&free)), ("local_failure", "open"), "{checked:#?}");
    let reason = &checked.of(&busy).reason;
    assert!(reason.contains("no free port for a connection to it (net.ipv4.ip_local_port_range)"), "{reason}");
    assert_eq!(checked.code, Some(2), "the check itself failed");
    // An outage beside it is one.
    let checked = check(&prober, &[&busy, &closed]);
    assert_eq!((checked.outcome(&busy), checked.outcome(&closed)), ("local_failure", "refused"));
    assert_eq!(checked.code, Some(1));
}

/// A server that resets what it accepts: with luck the RST comes before the connection was seen to be there.
#[test]
fn a_server_that_resets_what_it_accepts_is_there() {
    let Some((_wire, prober, host)) = bed() else { return };
    let listener = Listener::start(&host, 80, Then::Reset);
    let target = format!("{}:80", host.v4);
    for _ in 0..20 {
        let checked = check(&prober, &[&target]);
        assert!(["open", "reset"].contains(&checked.outcome(&target)), "{checked:#?}");
    }
    listener.accepts(20);
}
