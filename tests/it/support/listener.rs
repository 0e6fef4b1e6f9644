//! Who sits behind a port of a [`Host`].

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketAddrAny, SocketFlags, SocketType, ipproto, listen, recvfrom,
    sendto, shutdown, socket_with, sockopt,
};

use super::hosts::{Family, Host};
use super::mailbell::SOON;

/// Connections that may wait to be accepted: what does not fit on a busy machine is open to who asked, and never accepted.
const BACKLOG: i32 = 4096;

/// What it does with a connection that it accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Close,
    /// RST.
    Reset,
}

/// A server on both protocols and all addresses of its machine. Once dropped the port is closed.
pub struct Listener {
    socket: Arc<TcpListener>,
    accepted: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    pub fn start(host: &Host, port: u16, then: Then) -> Self {
        let socket = Arc::new(host.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))).unwrap());
        // Said once more, it counts: that of the standard library is 128.
        listen(&*socket, BACKLOG).unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let (listener, count) = (socket.clone(), accepted.clone());
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                count.fetch_add(1, Ordering::SeqCst);
                end(&stream, then);
            }
        });
        Self { socket, accepted, thread: Some(thread) }
    }

    /// So many connections, no more and no fewer: who asked knows that it is open before the one that answers does.
    #[track_caller]
    pub fn accepts(&self, count: usize) {
        let start = Instant::now();
        while self.accepted.load(Ordering::SeqCst) < count && start.elapsed() < SOON {
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(self.accepted.load(Ordering::SeqCst), count, "connections accepted");
    }
}

fn end(stream: &TcpStream, then: Then) {
    if then == Then::Reset {
        let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Wakes the thread, which ends.
        let _ = shutdown(&self.socket, Shutdown::Both);
        let _ = self.thread.take().unwrap().join();
    }
}

/// An IPv4 port that resets a connection while it is being opened. A RST to a SYN means "refused"; "reset" takes that the
/// connection is known already: here somebody who answers a SYN with a SYN of his own, as when both ends open at once (RFC 9293
/// §3.5), and knows nothing of it when that is answered.
pub struct Crossing {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Crossing {
    pub fn start(host: &Host, port: u16) -> Self {
        // The kernel refuses the SYN, as nobody listens: that answer must not arrive. Its answer to the SYN+ACK must, which has
        // no ACK: our RST.
        let mut rule = host.iptables(Family::V4);
        rule.args(["-I", "OUTPUT", "-p", "tcp", "--sport", &port.to_string()]);
        rule.args(["--tcp-flags", "RST,ACK", "RST,ACK", "-j", "DROP"]);
        assert!(rule.status().unwrap().success());
        let raw = host.run(|| {
            socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::TCP)).unwrap()
        });
        sockopt::set_socket_timeout(&raw, sockopt::Timeout::Recv, Some(Duration::from_millis(50))).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let (stop, own) = (over.clone(), host.v4);
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                cross(&raw, own, port);
            }
        });
        Self { over, thread: Some(thread) }
    }
}

impl Drop for Crossing {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = self.thread.take().unwrap().join();
    }
}

const SYN: u8 = 2;
const ACK: u8 = 16;

/// Waits for one packet, for a while; answers it if it is a SYN to our port.
fn cross(raw: &OwnedFd, own: Ipv4Addr, port: u16) {
    let mut packet = [0; 1500];
    let Ok((length, ..)) = recvfrom(raw, &mut packet, RecvFlags::empty()) else { return };
    // IPv4 header (RFC 791 §3.1), TCP header (RFC 9293 §3.1).
    let header = usize::from(packet[0] & 15) * 4;
    let from = Ipv4Addr::new(packet[12], packet[13], packet[14], packet[15]);
    let Some(tcp) = packet[..length].get(header..header + 20) else { return };
    if tcp[2..4] != port.to_be_bytes() || tcp[13] & (SYN | ACK) != SYN {
        return;
    }
    let mut syn = [0; 20];
    syn[..2].copy_from_slice(&port.to_be_bytes());
    syn[2..4].copy_from_slice(&tcp[..2]);
    syn[4..8].copy_from_slice(&1000_u32.to_be_bytes());
    (syn[12], syn[13]) = (5 << 4, SYN);
    syn[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
    let sum = checksum(own, from, &syn);
    syn[16..18].copy_from_slice(&sum.to_be_bytes());
    let to: SocketAddrAny = SocketAddrV4::new(from, 0).into();
    sendto(raw, &syn, SendFlags::empty(), &to).unwrap();
}

/// Of a segment of even length, with the pseudo-header (RFC 9293 §3.1).
fn checksum(from: Ipv4Addr, to: Ipv4Addr, segment: &[u8]) -> u16 {
    let pseudo = [from.octets(), to.octets(), [0, 6, 0, segment.len() as u8]].concat();
    let words = pseudo.chunks(2).chain(segment.chunks(2)).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
