//! Machines of the test's own: network namespaces on one wire, each with an IPv4 and an IPv6 address and a firewall.
//!
//! Nothing of it has a name outside, and nothing outside is changed: the namespaces belong to processes that end with the
//! test's process, however that ends, and the wire, the addresses and the firewalls go with them.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

/// What machines are joined by. A namespace with nothing but a bridge.
pub struct Wire {
    space: Space,
    hosts: AtomicU8,
}

impl Wire {
    /// `None`, with a printed note, where namespaces are not permitted.
    pub fn new() -> Option<Self> {
        let space = Space::new()?;
        space.ip("link add wire type bridge mcast_snooping 0\nlink set wire up");
        Some(Self { space, hosts: AtomicU8::new(0) })
    }

    /// One more machine: 192.0.2.N and 2001:db8::N (RFC 5737, RFC 3849), at once. It has routes to its neighbours on the wire
    /// and to nowhere else, and it forwards nothing.
    pub fn host(&self) -> Host {
        let n = self.hosts.fetch_add(1, Ordering::SeqCst) + 1;
        let space = Space::new().expect("the wire has a namespace, and so has a host");
        let wire = self.space.holder.id();
        space.ip(&format!("link add eth0 type veth peer name to{n} netns {wire}"));
        self.space.ip(&format!("link set to{n} master wire up"));
        let (v4, v6) = (Ipv4Addr::new(192, 0, 2, n), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n.into()));
        space.ip(&format!("addr add {v4}/24 dev eth0\naddr add {v6}/64 dev eth0 nodad\nlink set eth0 up"));
        Host { space, v4, v6 }
    }
}

/// A machine on the wire.
pub struct Host {
    space: Space,
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

/// Which internet protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// The way that a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    In,
    Out,
}

/// What a firewall says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Nothing: a black hole.
    Nothing,
    /// RST.
    Reset,
    /// An ICMP error, by its name in iptables(8) or ip6tables(8).
    Icmp(&'static str),
}

impl Host {
    /// Its address of that family.
    pub fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4.into(),
            Family::V6 => self.v6.into(),
        }
    }

    /// Runs something on a thread inside: sockets that it opens belong to this machine, whoever uses them later.
    pub fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter(&self.space.network);
                inside()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// What a command starts with so that it runs inside.
    pub fn prefix(&self) -> Vec<String> {
        self.space.prefix()
    }

    /// A program to be run inside, by its full path or its name.
    pub fn command(&self, program: &str) -> Command {
        self.space.command(program)
    }

    /// Runs mailbell inside, until it ends.
    pub fn mailbell(&self, args: &[&str]) -> Output {
        let mut command = self.command(env!("CARGO_BIN_EXE_mailbell"));
        command.args(args).env_remove("MAILBELL_CONFIG").env_remove("FAILPOINTS").stdin(Stdio::null());
        command.output().unwrap()
    }

    /// Lines for ip(8), which must all succeed.
    pub fn ip(&self, lines: &str) {
        self.space.ip(lines);
    }

    /// Sets a kernel parameter of its network: `ipv4/ip_local_port_range`.
    pub fn sysctl(&self, name: &str, value: &str) {
        let path = format!("/proc/sys/net/{name}");
        self.run(|| std::fs::write(&path, value)).unwrap_or_else(|err| panic!("{path}: {err}"));
    }

    /// What programs inside find in /etc/resolv.conf; at first, nothing.
    pub fn resolv_conf(&self, text: &str) {
        // In place: what is mounted is this file, not its name.
        std::fs::write(self.space.dir.path().join(RESOLV_CONF), text).unwrap();
    }

    /// From now on its firewall answers TCP to this port, or to all of them.
    pub fn firewall(&self, family: Family, way: Way, port: Option<u16>, answer: Answer) {
        let chain = match way {
            Way::In => "INPUT",
            Way::Out => "OUTPUT",
        };
        let port = port.map_or_else(Vec::new, |port| vec!["--dport".to_owned(), port.to_string()]);
        let verdict = match answer {
            Answer::Nothing => vec!["DROP"],
            Answer::Reset => vec!["REJECT", "--reject-with", "tcp-reset"],
            Answer::Icmp(name) => vec!["REJECT", "--reject-with", name],
        };
        let mut rule = self.iptables(family);
        done(rule.args(["-I", chain, "-p", "tcp"]).args(port).arg("-j").args(verdict));
    }

    /// No more firewall.
    pub fn no_firewall(&self) {
        for family in [Family::V4, Family::V6] {
            done(self.iptables(family).arg("-F"));
        }
    }

    /// iptables or ip6tables, inside.
    pub fn iptables(&self, family: Family) -> Command {
        let mut command = self.command(if family == Family::V4 { "iptables" } else { "ip6tables" });
        command.arg("-w");
        command
    }
}

const RESOLV_CONF: &str = "resolv.conf";

/// A network namespace, and a mount namespace that differs in one file.
struct Space {
    /// It reads what never comes: when nobody is left to write it, it ends, and the namespaces with it.
    holder: Child,
    network: Arc<File>,
    dir: TempDir,
}

impl Space {
    fn new() -> Option<Self> {
        let dir = tempfile::Builder::new().prefix("mailbell-host-").tempdir().unwrap();
        let resolv_conf = dir.path().join(RESOLV_CONF);
        std::fs::write(&resolv_conf, "").unwrap();
        // No duplicate address detection: it takes a second. No limit on ICMP errors: a seventh in a second would be a black hole.
        let script = "mount --bind \"$1\" /etc/resolv.conf && cd /proc/sys/net && echo 0 >ipv6/conf/default/accept_dad \
            && echo 0 >ipv4/icmp_ratelimit && echo 0 >ipv6/icmp/ratelimit && ip link set lo up && exec cat";
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "--mount", "--propagation", "slave", "sh", "-c", script, "sh"]).arg(&resolv_conf);
        unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut holder = unshare.spawn().expect("unshare(1) is part of util-linux");
        // Where it failed already it reads nothing.
        let _ = holder.stdin.as_mut().unwrap().write_all(b"\n");
        if holder.stdout.as_mut().unwrap().read_exact(&mut [0]).is_err() {
            let said = String::from_utf8(holder.wait_with_output().unwrap().stderr).unwrap();
            assert!(said.contains("Operation not permitted"), "no network namespace: {said}");
            println!("skipped: network namespaces are not permitted here ({})", said.trim());
            return None;
        }
        let network = Arc::new(File::open(format!("/proc/{}/ns/net", holder.id())).unwrap());
        Some(Self { holder, network, dir })
    }

    fn prefix(&self) -> Vec<String> {
        let pid = self.holder.id().to_string();
        ["nsenter", "--target", &pid, "--net", "--mount", "--"].map(str::to_owned).to_vec()
    }

    fn command(&self, program: &str) -> Command {
        let prefix = self.prefix();
        let mut command = Command::new(&prefix[0]);
        command.args(&prefix[1..]).arg(program);
        command
    }

    fn ip(&self, lines: &str) {
        let mut ip = self.command("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        ip.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        assert!(ip.wait().unwrap().success(), "ip(8) refused one of:\n{lines}");
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Runs something on the machine that the tests run on, also where the caller is inside another one.
pub fn outside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let name = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/net")).unwrap();
    if name("self") == name("thread-self") {
        return work();
    }
    let network = File::open("/proc/self/ns/net").unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter(&network);
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Moves this thread, and no other, into a network namespace.
fn enter(network: &File) {
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

fn done(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
