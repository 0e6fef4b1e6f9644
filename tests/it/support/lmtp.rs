//! A small LMTP client (RFC 2033): how tests put mail into a mailbox, and talk to the gateway's own door.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Anything is answered within this.
const PATIENCE: Duration = Duration::from_secs(60);

/// One session; any number of mails.
pub struct Session {
    reader: BufReader<Box<dyn Read + Send>>,
    writer: Box<dyn Write + Send>,
}

impl Session {
    /// Connects to a port and greets.
    pub fn connect(port: u16) -> io::Result<Self> {
        let mut session = Self::silent(port)?;
        session.greet()?;
        Ok(session)
    }

    /// The same to a Unix socket.
    pub fn unix(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut session = Self { reader: BufReader::new(Box::new(stream.try_clone()?)), writer: Box::new(stream) };
        session.greet()?;
        Ok(session)
    }

    /// Connects and says nothing.
    pub fn silent(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { reader: BufReader::new(Box::new(stream.try_clone()?)), writer: Box::new(stream) })
    }

    fn greet(&mut self) -> io::Result<()> {
        self.expect("220")?;
        self.say("LHLO test\r\n", "250")
    }

    /// Delivers to an address. Bare line ends become CRLF.
    pub fn deliver(&mut self, to: &str, mail: &[u8]) -> io::Result<()> {
        self.begin(&[to])?;
        self.send(&stuffed(mail))?;
        self.expect("250")
    }

    /// Hands a mail in for these, who must all be accepted; the reply to each.
    pub fn hand_in(&mut self, to: &[&str], mail: &str) -> io::Result<Vec<String>> {
        self.begin(to)?;
        self.send(&stuffed(mail.as_bytes()))?;
        to.iter().map(|_| self.reply()).collect()
    }

    /// MAIL, RCPT and DATA up to the 354.
    pub fn begin(&mut self, to: &[&str]) -> io::Result<()> {
        self.say("MAIL FROM:<sender@example.test>\r\n", "250")?;
        for to in to {
            self.say(&format!("RCPT TO:<{to}>\r\n"), "250")?;
        }
        self.say("DATA\r\n", "354")
    }

    /// Writes bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes)
    }

    /// Says something, and gives the last line of the reply.
    pub fn ask(&mut self, line: &str) -> io::Result<String> {
        self.send(line.as_bytes())?;
        self.reply()
    }

    fn say(&mut self, line: &str, want: &str) -> io::Result<()> {
        self.send(line.as_bytes())?;
        self.expect(want)
    }

    fn expect(&mut self, want: &str) -> io::Result<()> {
        let reply = self.reply()?;
        if reply.starts_with(want) {
            return Ok(());
        }
        Err(io::Error::other(format!("LMTP: wanted {want}, got {reply:?}")))
    }

    /// Reads a reply of one or more lines; gives the last without its line end. Empty: the connection is closed.
    pub fn reply(&mut self) -> io::Result<String> {
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line.trim_end().to_owned());
            }
        }
    }
}

/// A mail as it goes over the wire, with the dot that ends it.
pub fn stuffed(mail: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(mail.len() + 16);
    for line in mail.split_inclusive(|&b| b == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend(line.strip_suffix(b"\n").map_or(line, |l| l.strip_suffix(b"\r").unwrap_or(l)));
        out.extend(b"\r\n");
    }
    out.extend(b".\r\n");
    out
}
