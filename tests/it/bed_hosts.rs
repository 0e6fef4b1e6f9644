//! The test bed's machines are what they are said to be, and which error connect() makes of what a firewall or a route answers: measured,
//! not believed. The tables are in tests/README.md.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::support::hosts::{Answer, Family, Host, Way, Wire};
use crate::support::listener::{Crossing, Listener, Then};

/// An answer that has not come after this does not come.
const SILENCE: Duration = Duration::from_millis(400);
/// An ICMPv6 error comes that late: see tests/README.md.
const SOON: Duration = Duration::from_secs(5);

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// What came of connect(): "open", "nothing" within the time, or the name of the error.
fn connect(from: &Host, to: impl Into<IpAddr>, port: u16, limit: Duration) -> &'static str {
    let to = SocketAddr::new(to.into(), port);
    match from.run(|| TcpStream::connect_timeout(&to, limit)) {
        Ok(_) => "open",
        Err(err) => Errno::from_io_error(&err).map_or("nothing", name),
    }
}

fn name(errno: Errno) -> &'static str {
    match errno {
        Errno::ACCESS => "EACCES",
        Errno::ADDRNOTAVAIL => "EADDRNOTAVAIL",
        Errno::CONNREFUSED => "ECONNREFUSED",
        Errno::CONNRESET => "ECONNRESET",
        Errno::HOSTUNREACH => "EHOSTUNREACH",
        Errno::INVAL => "EINVAL",
        Errno::NETUNREACH => "ENETUNREACH",
        Errno::NOPROTOOPT => "ENOPROTOOPT",
        other => panic!("{other:?} has no name here"),
    }
}

#[test]
fn a_wire_joins_its_hosts_and_no_others() {
    let Some(wire) = Wire::new() else { return };
    let (one, two) = (wire.host(), wire.host());
    let listener = Listener::start(&two, 80, Then::Close);
    for family in FAMILIES {
        assert_eq!(connect(&one, two.address(family), 80, SOON), "open");
        assert_eq!(connect(&one, two.address(family), 81, SOON), "ECONNREFUSED");
        assert_eq!(connect(&one, one.address(family), 80, SOON), "ECONNREFUSED", "itself");
    }
    // The same addresses, on another wire: somebody else's.
    let other = Wire::new().unwrap();
    let (third, fourth) = (other.host(), other.host());
    assert_eq!((third.v4, fourth.v6), (one.v4, two.v6));
    assert_eq!(connect(&third, fourth.v4, 80, SOON), "ECONNREFUSED");
    // This thread is where it was.
    let outside = TcpStream::connect_timeout(&(two.v4, 80).into(), SILENCE);
    assert!(outside.is_err(), "{outside:?}");
    listener.accepts(2);
    drop(listener);
    assert_eq!(connect(&one, two.v4, 80, SOON), "ECONNREFUSED");
}

#[test]
fn what_a_firewall_answers() {
    use Answer::{Icmp, Nothing, Reset};
    let Some(wire) = Wire::new() else { return };
    let (prober, host) = (wire.host(), wire.host());
    let v4 = [
        (Nothing, "nothing"),
        (Reset, "ECONNREFUSED"),
        (Icmp("icmp-port-unreachable"), "ECONNREFUSED"),
        (Icmp("icmp-proto-unreachable"), "ENOPROTOOPT"),
        (Icmp("icmp-host-unreachable"), "EHOSTUNREACH"),
        (Icmp("icmp-host-prohibited"), "EHOSTUNREACH"),
        (Icmp("icmp-admin-prohibited"), "EHOSTUNREACH"),
        (Icmp("icmp-net-unreachable"), "ENETUNREACH"),
        (Icmp("icmp-net-prohibited"), "ENETUNREACH"),
    ];
    let v6 = [
        (Nothing, "nothing"),
        (Reset, "ECONNREFUSED"),
        (Icmp("icmp6-port-unreachable"), "ECONNREFUSED"),
        (Icmp("icmp6-addr-unreachable"), "EHOSTUNREACH"),
        (Icmp("icmp6-no-route"), "ENETUNREACH"),
        (Icmp("icmp6-adm-prohibited"), "EACCES"),
        (Icmp("icmp6-policy-fail"), "EACCES"),
        (Icmp("icmp6-reject-route"), "EACCES"),
    ];
    for (family, answers) in [(Family::V4, &v4[..]), (Family::V6, &v6[..])] {
        // The target's firewall, and the prober's own: to it, it makes no difference.
        for (way, whose) in [(Way::In, &host), (Way::Out, &prober)] {
            for (port, (answer, _)) in (1000..).zip(answers) {
                whose.firewall(family, way, Some(port), *answer);
            }
            let seen = std::thread::scope(|scope| {
                let asks = (1000..).zip(answers).map(|(port, (answer, _))| {
                    let limit = if *answer == Nothing { SILENCE } else { SOON };
                    let (prober, host) = (&prober, &host);
                    scope.spawn(move || (*answer, connect(prober, host.address(family), port, limit)))
                });
                let asks: Vec<_> = asks.collect();
                asks.into_iter().map(|ask| ask.join().unwrap()).collect::<Vec<_>>()
            });
            assert_eq!(seen, answers, "{family:?} {way:?}");
            whose.no_firewall();
            assert_eq!(connect(&prober, host.address(family), 1000, SOON), "ECONNREFUSED", "nothing of it is left");
        }
    }
    host.firewall(Family::V6, Way::In, None, Nothing);
    assert_eq!(connect(&prober, host.v6, 81, SILENCE), "nothing");
    assert_eq!(connect(&prober, host.v4, 81, SOON), "ECONNREFUSED", "the other family is as it was");
}

#[test]
fn what_a_route_answers() {
    let Some(wire) = Wire::new() else { return };
    let (prober, host) = (wire.host(), wire.host());
    let nets: [(Family, &str, IpAddr); 2] = [
        (Family::V4, "203.0.113.0/24", "203.0.113.9".parse().unwrap()),
        (Family::V6, "2001:db8:9::/64", "2001:db8:9::9".parse().unwrap()),
    ];
    for (family, net, there) in nets {
        assert_eq!(connect(&prober, there, 80, SOON), "ENETUNREACH", "{family:?} without a route");
        for (route, want) in
            [("unreachable", "EHOSTUNREACH"), ("prohibit", "EACCES"), ("blackhole", "EINVAL"), ("throw", "ENETUNREACH")]
        {
            prober.ip(&format!("route add {route} {net}"));
            assert_eq!(connect(&prober, there, 80, SOON), want, "{family:?} {route}");
            prober.ip(&format!("route del {route} {net}"));
        }
        // A router that forwards nothing.
        prober.ip(&format!("route add {net} via {}", host.address(family)));
        assert_eq!(connect(&prober, there, 80, SILENCE), "nothing", "{family:?}");
        // All addresses of it are the host's own.
        host.ip(&format!("route add local {net} dev lo"));
        assert_eq!(connect(&prober, there, 80, SOON), "ECONNREFUSED", "{family:?}");
    }
    // An address of the wire's net that nobody has is asked for thrice, once a second.
    let start = Instant::now();
    assert_eq!(connect(&prober, [192, 0, 2, 200], 80, SILENCE * 20), "EHOSTUNREACH");
    assert!(start.elapsed() > Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn what_ones_own_machine_lacks() {
    let Some(wire) = Wire::new() else { return };
    let (prober, host) = (wire.host(), wire.host());
    let _listener = Listener::start(&host, 80, Then::Close);
    prober.sysctl("ipv6/conf/eth0/disable_ipv6", "1");
    assert_eq!(connect(&prober, host.v6, 80, SOON), "ENETUNREACH", "no IPv6 on the wire");
    prober.sysctl("ipv6/conf/all/disable_ipv6", "1");
    assert_eq!(connect(&prober, host.v6, 80, SOON), "EADDRNOTAVAIL", "no IPv6 at all");
    assert_eq!(connect(&prober, host.v4, 80, SOON), "open");
    prober.sysctl("ipv4/ip_local_port_range", "40000 40001");
    let _held = [0; 2].map(|_| prober.run(|| TcpStream::connect((host.v4, 80))).unwrap());
    assert_eq!(connect(&prober, host.v4, 80, SOON), "EADDRNOTAVAIL", "no port is left");
}

#[test]
fn a_connection_is_reset() {
    let Some(wire) = Wire::new() else { return };
    let (prober, host) = (wire.host(), wire.host());
    let _crossing = Crossing::start(&host, 81);
    assert_eq!(connect(&prober, host.v4, 81, SOON), "ECONNRESET", "while it is being opened");
    let listener = Listener::start(&host, 80, Then::Reset);
    // Whoever waits for it sees it connected, and then the RST.
    let mut stream = prober.run(|| TcpStream::connect((host.v4, 80))).unwrap();
    let err = stream.read(&mut [0]).unwrap_err();
    assert_eq!(Errno::from_io_error(&err), Some(Errno::CONNRESET));
    listener.accepts(1);
}

#[test]
fn programs_inside_have_a_resolv_conf_of_their_own() {
    let Some(wire) = Wire::new() else { return };
    let (one, two) = (wire.host(), wire.host());
    let outside = std::fs::read_to_string("/etc/resolv.conf").unwrap();
    one.resolv_conf("nameserver 192.0.2.53\n");
    let reads = |host: &Host| {
        let output = host.command("cat").arg("/etc/resolv.conf").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!((reads(&one).as_str(), reads(&two).as_str()), ("nameserver 192.0.2.53\n", ""));
    one.resolv_conf("# none\n");
    assert_eq!(reads(&one), "# none\n", "changed while it is mounted");
    assert_eq!(std::fs::read_to_string("/etc/resolv.conf").unwrap(), outside);
    let version = one.mailbell(&["--version"]);
    assert!(version.status.success(), "{version:?}");
}

/// In this variable the test program is told to be the run that is killed.
const VICTIM: &str = "MAILBELL_TESTS_VICTIM";

#[test]
fn nothing_is_left_of_a_run_that_was_killed() {
    if std::env::var_os(VICTIM).is_some() {
        return be_killed();
    }
    let this = std::env::current_exe().unwrap();
    let mut victim = Command::new(this)
        .args(["--exact", "--nocapture", "bed_hosts::nothing_is_left_of_a_run_that_was_killed"])
        .env(VICTIM, "yes")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines().map(Result::unwrap);
    let Some(spaces) = lines.find_map(|line| line.strip_prefix("spaces: ").map(str::to_owned)) else {
        return assert!(victim.wait().unwrap().success(), "it found namespaces not permitted");
    };
    let spaces: Vec<&str> = spaces.split(' ').collect();
    assert_eq!(spaces.len(), 2);
    assert!(spaces.iter().all(|space| lives(space)), "{spaces:?}");
    victim.kill().unwrap();
    victim.wait().unwrap();
    let start = Instant::now();
    while spaces.iter().any(|space| lives(space)) {
        assert!(start.elapsed() < SOON, "namespaces outlive the run that made them");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Makes two machines, says which they are, and waits for its end.
fn be_killed() {
    let Some(wire) = Wire::new() else { return };
    let hosts = [wire.host(), wire.host()];
    let spaces = hosts.each_ref().map(|host| host.run(|| std::fs::read_link("/proc/thread-self/ns/net")).unwrap());
    println!("\nspaces: {} {}", spaces[0].display(), spaces[1].display());
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read(&mut [0]);
}

/// Is any process in this network namespace?
fn lives(space: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let mut spaces = processes.filter_map(|process| std::fs::read_link(process.path().join("ns/net")).ok());
    spaces.any(|other| other.as_os_str() == space)
}
