//! Where a door listens: TCP, or a Unix socket whose mode says who may come.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Where a door listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// An address of this machine.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix {
        /// Its path; at most 107 bytes.
        path: PathBuf,
        /// Its mode: who may write to it may hand in mails.
        mode: u32,
    },
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Bound, and listening. A Unix socket is removed when this is dropped.
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
    // After the listener: nobody connects to what is about to go.
    _file: Option<SocketFile>,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Either kind of connection.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Listener {
    /// Binds it. What a dead process left behind at the path is replaced; a living one's socket is not, nor is a file.
    ///
    /// # Errors
    /// The address or path is in use, not of this machine, or not writable; the text names it.
    pub fn bind(listen: &Listen) -> io::Result<Self> {
        let named = |err: io::Error| io::Error::new(err.kind(), format!("cannot listen on {listen}: {err}"));
        match listen {
            Listen::Tcp(address) => tcp(*address).map(|tcp| Self { kind: Kind::Tcp(tcp), _file: None }).map_err(named),
            Listen::Unix { path, mode } => {
                unix(path, *mode).map(|(unix, file)| Self { kind: Kind::Unix(unix), _file: Some(file) }).map_err(named)
            }
        }
    }

    /// The next connection, and who it is.
    ///
    /// # Errors
    /// Those of accept(2): the connection is lost, or there are no descriptors; the next call may work.
    pub(super) async fn accept(&self) -> io::Result<(Box<dyn Stream>, String)> {
        match &self.kind {
            Kind::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Comfort: a socket that refuses it still works.
                let _ = stream.set_nodelay(true);
                Ok((Box::new(stream), peer.to_string()))
            }
            Kind::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
                Ok((Box::new(stream), pid.map_or_else(|| "a local process".into(), |pid| format!("pid {pid}"))))
            }
        }
    }
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd: OwnedFd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    // A restart does not wait for the connections of the last run to be forgotten.
    rustix::net::sockopt::set_socket_reuseaddr(&fd, true)?;
    rustix::net::bind(&fd, &address)?;
    rustix::net::listen(&fd, BACKLOG)?;
    TcpListener::from_std(fd.into())
}

fn unix(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    remove_stale(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd: OwnedFd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Before the bind: Linux gives the file the mode of the socket, so that it is never wider than meant.
    rustix::fs::fchmod(&fd, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
    rustix::net::bind(&fd, &SocketAddrUnix::new(path)?)?;
    let file = SocketFile::at(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    rustix::net::listen(&fd, BACKLOG)?;
    Ok((UnixListener::from_std(fd.into())?, file))
}

/// Removes a socket behind which nobody is.
fn remove_stale(path: &Path) -> io::Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file, and it is no socket; remove it"));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
        Err(err) if err.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(err) => Err(err),
    }
}

/// The file of a Unix socket: removed when dropped, unless another has taken its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), inode: inode(path)? })
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|now| now == self.inode)
            && let Err(err) = std::fs::remove_file(&self.path)
        {
            tracing::debug!(path = %self.path.display(), %err, "the socket could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lmtp.sock");
        let listen = Listen::Unix { path: path.clone(), mode: 0o660 };
        // Left behind by a process that was killed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let living = Listener::bind(&listen).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let err = Listener::bind(&listen).unwrap_err().to_string();
        assert_eq!(err, format!("cannot listen on unix:{}: another process listens there", path.display()));
        assert!(std::os::unix::net::UnixStream::connect(&path).is_ok(), "the living one was left alone");
        drop(living);
        assert!(!path.exists());
        std::fs::write(&path, "precious").unwrap();
        let err = Listener::bind(&listen).unwrap_err().to_string();
        assert!(err.ends_with("there is a file, and it is no socket; remove it"), "{err}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_socket_that_took_its_place_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lmtp.sock");
        let first = Listener::bind(&Listen::Unix { path: path.clone(), mode: 0o600 }).unwrap();
        std::fs::rename(&path, dir.path().join("away")).unwrap();
        let _second = Listener::bind(&Listen::Unix { path: path.clone(), mode: 0o600 }).unwrap();
        drop(first);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named() {
        let first = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = first.local_addr().unwrap();
        let err = Listener::bind(&Listen::Tcp(address)).unwrap_err().to_string();
        assert!(err.starts_with(&format!("cannot listen on {address}: ")), "{err}");
    }
}
