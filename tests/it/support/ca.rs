//! A throw-away certificate authority.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};
use tempfile::TempDir;

use super::DOMAIN;

/// CA and server certificate as PEM files, removed when dropped.
pub struct Ca {
    dir: TempDir,
}

impl Ca {
    /// A CA with a certificate for [`DOMAIN`], `localhost` and 127.0.0.1.
    pub fn new() -> Self {
        Self::with(|_| ())
    }

    /// The same, with the server certificate changed first: expired, for another name …
    pub fn with(change: impl FnOnce(&mut CertificateParams)) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::Builder::new().prefix("mailbell-ca-").tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, "mailbell test CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_cert = ca.self_signed(&ca_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut server =
            CertificateParams::new(vec![DOMAIN.to_owned(), "localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        server.distinguished_name.push(DnType::CommonName, DOMAIN);
        // Ten years: ejabberd cannot count the time until year 4096, where certificates made like this end.
        let year = i32::from(jiff::Zoned::now().year());
        server.not_before = date_time_ymd(year - 1, 1, 1);
        server.not_after = date_time_ymd(year + 10, 1, 1);
        change(&mut server);
        let cert = server.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
        std::fs::write(dir.path().join("ca.pem"), ca_cert.pem()).unwrap();
        std::fs::write(dir.path().join("cert.pem"), cert.pem()).unwrap();
        std::fs::write(dir.path().join("key.pem"), key.serialize_pem()).unwrap();
        Self { dir }
    }

    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    pub fn cert(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.dir.path().join("key.pem")
    }
}
