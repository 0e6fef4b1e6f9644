//! TCP with a time limit.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// No connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name has no address, or the resolver failed.
    #[error("cannot resolve {host}: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// `tls = "none"` to somewhere else than this machine.
    #[error(
        "{address} is not on this machine, and tls = \"none\" would send the password in the clear; use TLS, or set allow_plaintext = true"
    )]
    NotLoopback {
        /// Where it would have gone.
        address: SocketAddr,
    },
    /// No address answered.
    #[error("cannot connect to {host}:{port}: {source}")]
    Connect {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// What the last address said.
        source: io::Error,
    },
}

/// Connects to the first address of `host` that answers, each within `limit`. `loopback_only` refuses every address that is
/// not loopback before a byte is sent. Nagle is off, keep-alive is on.
pub async fn dial(host: &str, port: u16, limit: Duration, loopback_only: bool) -> Result<TcpStream, DialError> {
    let resolve = |source| DialError::Resolve { host: host.to_owned(), source };
    let timed_out = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", limit.as_secs()));
    let addresses: Vec<SocketAddr> =
        timeout(limit, lookup_host((host, port))).await.map_err(|_| resolve(timed_out()))?.map_err(resolve)?.collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        if loopback_only && !address.ip().is_loopback() {
            return Err(DialError::NotLoopback { address });
        }
        match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Both are comfort: a socket that refuses them still works.
                let _ = stream.set_nodelay(true);
                let _ = rustix::net::sockopt::set_socket_keepalive(&stream, true);
                return Ok(stream);
            }
            Ok(Err(err)) => last = err,
            Err(_) => last = timed_out(),
        }
    }
    Err(DialError::Connect { host: host.to_owned(), port, source: last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_port_and_a_foreign_address_are_told_apart() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(dial("127.0.0.1", port, Duration::from_secs(5), true).await.is_ok());
        drop(listener);
        let err = dial("127.0.0.1", port, Duration::from_secs(5), true).await.unwrap_err();
        assert!(
            err.to_string().starts_with(&format!("cannot connect to 127.0.0.1:{port}: Connection refused")),
            "{err}"
        );
        let err = dial("192.0.2.1", 25, Duration::from_secs(5), true).await.unwrap_err();
        assert!(err.to_string().contains("allow_plaintext = true"), "{err}");
    }
}
