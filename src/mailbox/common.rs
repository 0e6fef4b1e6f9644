//! What the adapters share.

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::port::{Entry, Woke};

/// Most header bytes of a mail that is too large.
pub(super) const HEADERS: u64 = 64 * 1024;

/// The headers of a mail with the empty line that ends them; all of it where there is none. At most 64 KiB.
pub(super) fn headers_of(raw: &[u8]) -> &[u8] {
    let raw = raw.get(..HEADERS as usize).unwrap_or(raw);
    let end = raw.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
    end.and_then(|end| raw.get(..end)).unwrap_or(raw)
}

/// How many bytes a fetch of these is about to bring.
pub(super) fn expected(wanted: &[Entry], max_size: u64, max_bytes: u64) -> u64 {
    let size = |entry: &Entry| entry.size.unwrap_or(max_size).min(max_size);
    wanted.iter().map(size).fold(0, u64::saturating_add).min(max_bytes.saturating_add(max_size))
}

/// Waits without a server.
pub(super) async fn sleep(until: Option<Instant>, poke: &Notify) -> Woke {
    tokio::select! {
        () = poke.notified() => Woke::Poked,
        () = async { match until {
            Some(end) => sleep_until(end).await,
            None => std::future::pending().await,
        } } => Woke::Time,
    }
}

/// Base64 (RFC 4648 §4), with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0u32, |acc, &b| (acc << 8) | u32::from(b)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit)) & 0x3f;
            let letter = ALPHABET.get(index as usize).copied().unwrap_or(b'=');
            out.push(if digit <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads() {
        // RFC 4648 §10.
        for (plain, encoded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfd]), "//79");
    }

    #[test]
    fn headers_end_with_an_empty_line() {
        assert_eq!(headers_of(b"A: b\r\n\r\nbody\r\n\r\n"), b"A: b\r\n\r\n");
        assert_eq!(headers_of(b"A: b\r\n"), b"A: b\r\n");
        assert_eq!(headers_of(&[b'x'; 100_000]).len() as u64, HEADERS);
    }
}
