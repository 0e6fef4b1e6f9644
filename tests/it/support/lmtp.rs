//! A small LMTP client (RFC 2033): how tests put mail into a mailbox.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// One session; any number of mails.
pub struct Session {
    reader: BufReader<TcpStream>,
    stream: TcpStream,
}

impl Session {
    pub fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut session = Self { reader: BufReader::new(stream.try_clone()?), stream };
        session.expect("220")?;
        session.say("LHLO test\r\n", "250")?;
        Ok(session)
    }

    /// Delivers to an address. Bare line ends become CRLF.
    pub fn deliver(&mut self, to: &str, mail: &[u8]) -> io::Result<()> {
        self.say("MAIL FROM:<sender@example.test>\r\n", "250")?;
        self.say(&format!("RCPT TO:<{to}>\r\n"), "250")?;
        self.say("DATA\r\n", "354")?;
        let mut out = Vec::with_capacity(mail.len() + 16);
        for line in mail.split_inclusive(|&b| b == b'\n') {
            if line.starts_with(b".") {
                out.push(b'.');
            }
            out.extend(line.strip_suffix(b"\n").map_or(line, |l| l.strip_suffix(b"\r").unwrap_or(l)));
            out.extend(b"\r\n");
        }
        out.extend(b".\r\n");
        self.stream.write_all(&out)?;
        self.expect("250")
    }

    fn say(&mut self, line: &str, want: &str) -> io::Result<()> {
        self.stream.write_all(line.as_bytes())?;
        self.expect(want)
    }

    /// Reads a reply of one or more lines.
    fn expect(&mut self, want: &str) -> io::Result<()> {
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            if !line.starts_with(want) {
                return Err(io::Error::other(format!("LMTP: wanted {want}, got {line:?}")));
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }
}
