//! TLS for who judges a server's certificate: whole handshakes only, and how long what was shown will do.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, Error};
use tokio::net::TcpStream;

use super::Stream;
use super::tls::{TlsError, anchors, shake_hands, trusting};

/// A TLS client that looks at certificates.
pub struct Inspector {
    config: Arc<ClientConfig>,
    /// `None`: nobody is trusted, so no handshake succeeds.
    verifier: Option<Arc<WebPkiServerVerifier>>,
}

impl Inspector {
    /// With the system's trust anchors and those in `ca_file` (PEM). Reads files.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, TlsError> {
        let roots = anchors(ca_file)?;
        let mut config = trusting(roots.clone())?;
        // In a resumed session (RFC 8446 §2.2) the server shows no certificate: one that was renewed would not be seen.
        config.resumption = Resumption::disabled();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build().ok();
        Ok(Self { config: Arc::new(config), verifier })
    }

    /// The handshake, with SNI and the certificate checked against `name`. No time limit: that is the caller's.
    pub async fn handshake(&self, stream: TcpStream, name: &str) -> Result<Stream, TlsError> {
        let stream = shake_hands(stream, name, self.config.clone()).await?;
        Ok(Stream::Tls(Box::new(stream)))
    }

    /// When the certificate that the server showed for `name` will have expired, or one that it stands on; `None`: not before
    /// `by`. It is checked once more as if `by` were now: so it is what the handshake would be refused for.
    pub fn ends_before(&self, by: SystemTime, stream: &Stream, name: &str) -> Option<SystemTime> {
        let Stream::Tls(stream) = stream else { return None };
        let (server, intermediates) = stream.get_ref().1.peer_certificates()?.split_first()?;
        let name = ServerName::try_from(name).ok()?;
        let by = UnixTime::since_unix_epoch(by.duration_since(UNIX_EPOCH).ok()?);
        match self.verifier.as_ref()?.verify_server_cert(server, intermediates, &name, &[], by) {
            Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
                Some(UNIX_EPOCH + Duration::from_secs(not_after.as_secs()))
            }
            _ => None,
        }
    }
}

impl fmt::Debug for Inspector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspector").finish_non_exhaustive()
    }
}
