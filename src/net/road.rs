//! How a server is reached: over the network, or, where a test plays the server, within the process.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Stream;
use super::dial::{DialError, dial};
use super::tls::{TlsError, handshake};

/// What a server within the process is spoken to through.
pub trait Socket: AsyncRead + AsyncWrite + fmt::Debug + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + fmt::Debug + Send + Sync + Unpin> Socket for T {}

type Connect = dyn Fn() -> io::Result<Box<dyn Socket>> + Send + Sync;

/// How a server is reached.
#[derive(Clone)]
pub struct Road(Kind);

#[derive(Clone)]
enum Kind {
    Network(Arc<ClientConfig>),
    Within(Arc<Connect>),
}

impl Road {
    /// TCP, and TLS as `tls` says.
    pub fn network(tls: Arc<ClientConfig>) -> Self {
        Self(Kind::Network(tls))
    }

    /// Each connection is one that `connect` makes. There is no TLS on it: where it is asked for, it counts as made.
    pub fn within(connect: impl Fn() -> io::Result<Box<dyn Socket>> + Send + Sync + 'static) -> Self {
        Self(Kind::Within(Arc::new(connect)))
    }

    /// Connects, in the clear; see [`dial`].
    pub async fn dial(&self, host: &str, port: u16, limit: Duration, loopback_only: bool) -> Result<Stream, DialError> {
        match &self.0 {
            Kind::Network(_) => dial(host, port, limit, loopback_only).await.map(Stream::Plain),
            Kind::Within(connect) => match connect() {
                Ok(socket) => Ok(Stream::Within(socket)),
                Err(source) => Err(DialError::Connect { host: host.to_owned(), port, source }),
            },
        }
    }

    /// Makes TLS on a connection of [`Self::dial`]'s, with the certificate checked against `name`, within `limit`. `alpn`: the
    /// protocol that is named to the server.
    pub async fn secure(
        &self,
        stream: Stream,
        name: &str,
        alpn: Option<&[u8]>,
        limit: Duration,
    ) -> Result<Stream, TlsError> {
        match (&self.0, stream) {
            (Kind::Network(config), Stream::Plain(tcp)) => {
                let mut config = config.clone();
                if let Some(alpn) = alpn {
                    Arc::make_mut(&mut config).alpn_protocols = vec![alpn.to_owned()];
                }
                Ok(Stream::Tls(Box::new(handshake(tcp, name, config, limit).await?)))
            }
            (Kind::Within(_), stream @ Stream::Within(_)) => Ok(stream),
            (_, _) => {
                Err(TlsError::Handshake { name: name.to_owned(), source: io::Error::other("TLS is made already") })
            }
        }
    }
}
