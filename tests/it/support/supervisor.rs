//! What starts services and is told by them how they are: sd_notify.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::time::Instant;

use super::mailbell::{Mailbell, SOON};

/// The socket of a supervisor.
pub struct Supervisor(UnixDatagram);

impl Supervisor {
    /// This mailbell's, from its next start on.
    pub fn of(mailbell: &mut Mailbell) -> Self {
        let path = mailbell.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        mailbell.env("NOTIFY_SOCKET", path.to_str().unwrap());
        Self(socket)
    }

    /// The next that it is told.
    pub fn told(&self) -> String {
        let mut datagram = [0; 4096];
        loop {
            match self.0.recv(&mut datagram) {
                Ok(n) => return String::from_utf8(datagram[..n].to_vec()).unwrap().trim().to_owned(),
                // A signal: a child of some test ended.
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) => panic!("not told: {err}"),
            }
        }
    }

    /// Waits until it is told this line.
    pub fn hears(&self, line: &str) {
        let deadline = Instant::now() + SOON;
        let mut heard = Vec::new();
        while !heard.last().is_some_and(|told: &String| told.lines().any(|told| told == line)) {
            assert!(Instant::now() < deadline, "{line:?} was not told, but {heard:?}");
            heard.push(self.told());
        }
    }
}
