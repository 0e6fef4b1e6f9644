//! One connection to one address, and what its end means.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::set_socket_linger;
use tokio::net::{TcpSocket, TcpStream};

use super::outcome::Kind;

/// Why no connection came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    /// What is said of it, after the address: `refused the connection`.
    pub(super) reason: String,
}

/// Connects. No time limit: that is the caller's.
///
/// When it is dropped it is closed by RST (SO_LINGER with a time of zero): the usual way would leave each of our ports in TIME_WAIT
/// (RFC 9293 §3.6.1) for a minute, and a service that sees a connection without a byte has nothing to say in it anyway. Whoever
/// speaks on it asks for the [`usual`] way.
pub(super) async fn connect(address: SocketAddr) -> Result<TcpStream, Failure> {
    let socket = match address.ip() {
        IpAddr::V4(_) => TcpSocket::new_v4(),
        IpAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = socket.map_err(|err| failure(&err, address))?;
    // A socket that refuses it is closed the usual way.
    let _ = set_socket_linger(&socket, Some(Duration::ZERO));
    socket.connect(address).await.map_err(|err| failure(&err, address))
}

/// From now on it is closed the usual way, so that the other end sees that its peer is done, not that it is gone.
pub(super) fn usual(stream: &TcpStream) {
    // One that refuses it is cut: rude, and no fault of the target's.
    let _ = set_socket_linger(stream, None);
}

fn failure(err: &io::Error, address: SocketAddr) -> Failure {
    let failure = |kind, reason: &str| Failure { kind, reason: reason.to_owned() };
    match Errno::from_io_error(err) {
        Some(Errno::CONNREFUSED) => failure(Kind::Refused, "refused the connection"),
        Some(Errno::CONNRESET | Errno::CONNABORTED | Errno::PIPE) => failure(Kind::Reset, "reset the connection"),
        Some(Errno::TIMEDOUT) => failure(Kind::TimedOut, "did not answer"),
        // What the kernel makes of ICMP: codes 1, 5 to 7, 10, 12, 13 of type 3, and of an address that nobody on the link has.
        Some(Errno::HOSTUNREACH | Errno::HOSTDOWN | Errno::NOPROTOOPT | Errno::OPNOTSUPP | Errno::NONET) => {
            failure(Kind::HostUnreachable, "cannot be reached: host unreachable")
        }
        Some(Errno::NETUNREACH | Errno::NETDOWN | Errno::AFNOSUPPORT) => {
            failure(Kind::NetworkUnreachable, "cannot be reached: network unreachable")
        }
        Some(Errno::ACCESS | Errno::PERM) => {
            failure(Kind::NotPermitted, "may not be connected to: a firewall or a route of this machine forbids it")
        }
        // A route of type blackhole; the port is never 0, which would be the other reason.
        Some(Errno::INVAL) => {
            failure(Kind::NetworkUnreachable, "cannot be reached: a route of this machine leads into a black hole")
        }
        Some(Errno::ADDRNOTAVAIL) if !has_source(address) => {
            failure(Kind::NetworkUnreachable, "cannot be reached: this machine has no address for its network")
        }
        Some(Errno::ADDRNOTAVAIL | Errno::AGAIN) => failure(
            Kind::Local,
            "was not asked: this machine has no free port for a connection to it (net.ipv4.ip_local_port_range)",
        ),
        Some(Errno::MFILE) => failure(Kind::Local, "was not asked: too many open files (ulimit -n, LimitNOFILE=)"),
        Some(Errno::NFILE) => failure(Kind::Local, "was not asked: the machine has too many open files (fs.file-max)"),
        Some(Errno::NOBUFS | Errno::NOMEM) => failure(Kind::Local, "was not asked: this machine has no memory for it"),
        // Whatever it is, it is nothing that the target said.
        _ => Failure { kind: Kind::Local, reason: format!("was not asked: {err}") },
    }
}

/// Does this machine have an address to connect from? Where it has, what it lacks is a port. A UDP socket that is connected
/// sends nothing.
fn has_source(address: SocketAddr) -> bool {
    let any: SocketAddr = match address.ip() {
        IpAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        IpAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    UdpSocket::bind(any).and_then(|socket| socket.connect(address)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_errno_of_the_network_is_the_targets_and_every_other_is_ours() {
        let loopback: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let kind = |errno: Errno| failure(&io::Error::from(errno), loopback).kind;
        for (errno, want) in [
            (Errno::CONNREFUSED, Kind::Refused),
            (Errno::CONNRESET, Kind::Reset),
            (Errno::TIMEDOUT, Kind::TimedOut),
            (Errno::HOSTUNREACH, Kind::HostUnreachable),
            (Errno::NETUNREACH, Kind::NetworkUnreachable),
            (Errno::ACCESS, Kind::NotPermitted),
            (Errno::PERM, Kind::NotPermitted),
            (Errno::ADDRNOTAVAIL, Kind::Local),
            (Errno::MFILE, Kind::Local),
            (Errno::NFILE, Kind::Local),
            (Errno::NOBUFS, Kind::Local),
            (Errno::NOMEM, Kind::Local),
            (Errno::INVAL, Kind::NetworkUnreachable),
            (Errno::IO, Kind::Local),
        ] {
            assert_eq!(kind(errno), want, "{errno}");
        }
    }

    #[tokio::test]
    async fn a_listener_accepts_and_its_absence_refuses() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(connect(address).await.map(drop), Ok(()));
        drop(listener);
        let refused = connect(address).await.unwrap_err();
        assert_eq!((refused.kind, refused.reason.as_str()), (Kind::Refused, "refused the connection"));
    }
}
