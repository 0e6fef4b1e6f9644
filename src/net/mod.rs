//! What all adapters share of the network: dialling with a time limit, TLS with the system's and the operator's trust
//! anchors, one stream type for both, a small HTTP client, and how many connections there may be.

mod anchors;
mod dial;
mod files;
mod http;
mod inspect;
mod road;
mod serve;
mod tls;

pub use anchors::Anchors;
pub use dial::{DialError, dial};
pub use files::connections;
pub use http::{HttpError, request};
pub use inspect::Inspector;
pub use road::{Road, Socket};
pub use serve::server_config;
pub use tls::{TlsError, TlsMode, client_config, handshake};

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A connection, in the clear or inside TLS.
#[derive(Debug)]
pub enum Stream {
    /// In the clear.
    Plain(TcpStream),
    /// Inside TLS.
    Tls(Box<TlsStream<TcpStream>>),
    /// To a server within the process; see [`Road::within`].
    Within(Box<dyn Socket>),
}

impl Stream {
    /// The address at the other end; `None` where the connection is gone already.
    pub fn peer(&self) -> Option<IpAddr> {
        let tcp = match self {
            Self::Plain(s) => s,
            Self::Tls(s) => s.get_ref().0,
            Self::Within(_) => return Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        };
        tcp.peer_addr().ok().map(|address| address.ip())
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Self::Tls(s) => Pin::new(s).poll_read(cx, buf),
            Self::Within(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Self::Tls(s) => Pin::new(s).poll_write(cx, buf),
            Self::Within(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_flush(cx),
            Self::Tls(s) => Pin::new(s).poll_flush(cx),
            Self::Within(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Self::Tls(s) => Pin::new(s).poll_shutdown(cx),
            Self::Within(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}
