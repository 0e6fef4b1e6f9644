//! TLS for those who connect to us.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A server configuration: TLS 1.2 and 1.3, HTTP/1.1, with this certificate chain and key (PEM).
///
/// # Errors
/// A file cannot be read, or the two do not belong together; the text names the file.
pub fn server_config(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, String> {
    for path in [cert, key] {
        // A device may have no end, and a pipe no writer; what is missing is told below.
        if std::fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
            return Err(format!("{} is no file", path.display()));
        }
    }
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|err| format!("{} cannot be read as PEM: {err}", cert.display()))?;
    if chain.is_empty() {
        return Err(format!("{} holds no certificate", cert.display()));
    }
    let secret = PrivateKeyDer::from_pem_file(key)
        .map_err(|err| format!("{} cannot be read as a private key in PEM form: {err}", key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|err| format!("TLS cannot be set up: {err}"))?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|err| format!("{} and {} cannot be used: {err}", cert.display(), key.display()))?;
    let mut config = config;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
