//! TLS by rustls with ring: 1.2 and 1.3, the system's trust anchors and the operator's.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// TLS from the first byte.
    Direct,
    /// Upgraded inside the protocol (STARTTLS, STLS); never used without the upgrade.
    StartTls,
    /// In the clear; loopback only, unless `allow_plaintext`.
    None,
}

/// TLS did not come about.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The CA file cannot be used.
    #[error("ca_file {path}: {why}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The name cannot be one of a certificate.
    #[error("`{0}` is no host name that a certificate could carry")]
    Name(String),
    /// The certificate was refused: waiting does not help.
    #[error("the certificate of {name} was refused: {why}")]
    Certificate {
        /// The name that it should have been for.
        name: String,
        /// Why, and what mends it.
        why: String,
    },
    /// The handshake broke off otherwise.
    #[error("TLS handshake with {name} failed: {source}")]
    Handshake {
        /// The name.
        name: String,
        /// What happened.
        source: io::Error,
    },
}

/// A client configuration with the system's trust anchors and those in `ca_file` (PEM).
pub fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    trusting(anchors(ca_file)?).map(Arc::new)
}

/// The trust anchors of the system, and those in `ca_file`.
pub(super) fn anchors(ca_file: Option<&Path>) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    // A machine without a certificate bundle still reaches servers under its own CA file.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        add_ca_file(&mut roots, path)?;
    }
    Ok(Arc::new(roots))
}

/// A client configuration with these trust anchors.
pub(super) fn trusting(roots: Arc<RootCertStore>) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|err| TlsError::Handshake { name: "(set-up)".into(), source: io::Error::other(err) })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

fn add_ca_file(roots: &mut RootCertStore, path: &Path) -> Result<(), TlsError> {
    let bad = |why: String| TlsError::CaFile { path: path.to_owned(), why };
    // A device may have no end, and a pipe no writer; what is missing is told below.
    if std::fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return Err(bad("is no file".into()));
    }
    let certs = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|err| bad(format!("cannot be read as PEM: {err}")))?;
    if certs.is_empty() {
        return Err(bad("holds no certificate".into()));
    }
    for cert in certs {
        roots.add(cert).map_err(|err| bad(format!("holds a certificate that cannot be a trust anchor: {err}")))?;
    }
    Ok(())
}

/// The handshake, with SNI and the certificate checked against `name`, within `limit`.
pub async fn handshake(
    stream: TcpStream,
    name: &str,
    config: Arc<ClientConfig>,
    limit: Duration,
) -> Result<TlsStream<TcpStream>, TlsError> {
    match timeout(limit, shake_hands(stream, name, config)).await {
        Ok(done) => done,
        Err(_) => Err(TlsError::Handshake {
            name: name.to_owned(),
            source: io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", limit.as_secs())),
        }),
    }
}

/// The same without a limit: that is the caller's.
pub(super) async fn shake_hands(
    stream: TcpStream,
    name: &str,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, TlsError> {
    let server = ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name(name.to_owned()))?;
    TlsConnector::from(config).connect(server, stream).await.map_err(|err| explain(name, err))
}

fn explain(name: &str, err: io::Error) -> TlsError {
    use rustls::CertificateError as C;
    let refused = err.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(certificate)) = refused else {
        return TlsError::Handshake { name: name.to_owned(), source: err };
    };
    let why = match certificate {
        C::UnknownIssuer => {
            "it was issued by an authority that this machine does not trust; give the authority's certificate as ca_file"
                .to_owned()
        }
        C::NotValidForName | C::NotValidForNameContext { .. } => {
            "it is for another name; correct the server name, or set tls_name to the name in the certificate".to_owned()
        }
        // An authority that was made anew under its old name.
        C::BadSignature => {
            "its signature is not by the authority of that name that this machine trusts; give the authority's present \
             certificate as ca_file"
                .to_owned()
        }
        C::Expired | C::ExpiredContext { .. } => "it has expired; renew it on the server".to_owned(),
        C::NotValidYet | C::NotValidYetContext { .. } => {
            "it is not valid yet; look at the clocks of the server and of this machine".to_owned()
        }
        other => other.to_string(),
    };
    TlsError::Certificate { name: name.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_that_never_ends_is_not_read() {
        for path in ["/dev/zero", "/dev/tty", "/tmp"] {
            let err = client_config(Some(Path::new(path))).unwrap_err().to_string();
            assert_eq!(err, format!("ca_file {path}: is no file"));
        }
        let missing = client_config(Some(Path::new("/nowhere/ca.pem"))).unwrap_err().to_string();
        assert!(missing.contains("cannot be read as PEM"), "{missing}");
    }
}
