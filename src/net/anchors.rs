//! Which certificate authorities are trusted, in short: to see whether they changed.

use std::path::Path;

use sha2::{Digest, Sha256};

/// A fingerprint of trust anchors. Equal ones are of equal anchors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchors {
    system: [u8; 32],
    file: Option<[u8; 32]>,
}

impl Anchors {
    /// The machine's own. Reads files.
    pub fn of_system() -> Self {
        let mut each: Vec<[u8; 32]> =
            rustls_native_certs::load_native_certs().certs.iter().map(|cert| Sha256::digest(cert).into()).collect();
        // Where they are files in a directory they come in any order.
        each.sort_unstable();
        Self { system: Sha256::digest(each.concat()).into(), file: None }
    }

    /// These, and those in a file. One that cannot be read is like none: whoever uses it says why.
    #[must_use]
    pub fn with(self, ca_file: Option<&Path>) -> Self {
        let file = ca_file.and_then(|path| std::fs::read(path).ok()).map(|pem| Sha256::digest(pem).into());
        Self { file, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_content_is_another_fingerprint() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let system = Anchors::of_system();
        assert_eq!(system, Anchors::of_system());
        assert_eq!(system.with(Some(&path)), system.with(None), "it is not there");
        std::fs::write(&path, "one").unwrap();
        let one = system.with(Some(&path));
        assert_eq!(one, system.with(Some(&path)));
        std::fs::write(&path, "two").unwrap();
        assert_ne!(one, system.with(Some(&path)));
    }
}
