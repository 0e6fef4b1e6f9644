//! An XMPP stream in its pieces.

use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;

/// Cuts the server's stream into the elements below `<stream:stream>`.
#[derive(Default)]
pub struct Splitter {
    text: Vec<u8>,
    /// Up to here the tags of the element at the front were counted.
    scanned: usize,
    depth: usize,
}

impl Splitter {
    /// Reads more; `false` at the end.
    pub async fn fill(&mut self, reader: &mut OwnedReadHalf) -> bool {
        let mut chunk = [0; 16_384];
        match reader.read(&mut chunk).await {
            Ok(n) if n > 0 => {
                self.text.extend_from_slice(&chunk[..n]);
                true
            }
            _ => false,
        }
    }

    /// The next whole element that was read.
    pub fn next(&mut self) -> Option<String> {
        loop {
            let start = self.scanned + self.text[self.scanned..].iter().position(|b| *b == b'<')?;
            let end = start + tag_end(&self.text[start..])?;
            let tag = &self.text[start..end];
            self.scanned = end;
            if tag.starts_with(b"<?") || tag.starts_with(b"<stream:stream") {
                self.drop_front();
                continue;
            }
            if tag.starts_with(b"</") {
                // Below zero: the end of the stream itself.
                let Some(depth) = self.depth.checked_sub(1) else {
                    self.drop_front();
                    continue;
                };
                self.depth = depth;
            } else if !tag.ends_with(b"/>") {
                self.depth += 1;
            }
            if self.depth == 0 {
                let front: Vec<u8> = self.text.drain(..end).collect();
                self.scanned = 0;
                return Some(String::from_utf8(front).unwrap().trim().to_owned());
            }
        }
    }

    fn drop_front(&mut self) {
        self.text.drain(..self.scanned);
        self.scanned = 0;
    }
}

/// Length of the tag at the front; a `>` inside quotes does not end it.
fn tag_end(text: &[u8]) -> Option<usize> {
    let mut quote = None;
    for (at, b) in text.iter().enumerate() {
        match (quote, b) {
            (None, b'\'' | b'"') => quote = Some(*b),
            (None, b'>') => return Some(at + 1),
            (Some(q), b) if q == *b => quote = None,
            _ => {}
        }
    }
    None
}
