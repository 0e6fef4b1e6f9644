//! A mail server's connection inside TLS, made by ourselves and then handed to lettre. lettre's own STARTTLS keeps what a server
//! sent in the clear behind its consent, and reads it as if it came from inside: whoever is on the way could answer in its place.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use lettre::transport::smtp::client::AsyncTokioStream;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::model::quote;
use crate::net::{DialError, TlsError, client_config, dial};

/// Longest line and most lines of an answer; RFC 5321 §4.5.3.1.5 asks for 512 bytes.
const LINE: usize = 2048;
const LINES: usize = 100;
/// What lettre takes for the greeting, which the server gave before TLS.
const GREETING: &[u8] = b"220 inside TLS\r\n";

/// Why there is no connection inside TLS.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoTls {
    /// No connection at all.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It broke off, or nothing came in time.
    #[error("{0}")]
    Broken(#[from] io::Error),
    /// TLS itself; a refused certificate is inside.
    #[error("{0}")]
    Handshake(#[source] io::Error),
    /// No TLS can be had with this name, or these authorities.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server will not, or not now.
    #[error("{0}")]
    Refused(String, bool),
}

/// Connects, inside TLS from the first byte.
pub(super) async fn direct(host: &str, port: u16, ca: Option<&Path>, limit: Duration) -> Result<Inside, NoTls> {
    let stream = dial(host, port, limit, false).await?;
    let stream = shake_hands(stream, host, ca, limit).await?;
    Ok(Inside { stream, greeting: &[] })
}

/// Connects, and upgrades by STARTTLS (RFC 3207). Nothing that was said before counts.
pub(super) async fn starttls(
    host: &str,
    port: u16,
    hello: &str,
    ca: Option<&Path>,
    limit: Duration,
) -> Result<Inside, NoTls> {
    let mut clear = BufReader::new(dial(host, port, limit, false).await?);
    let talk = async {
        wanted(&answer(&mut clear).await?, "220", "the server turns us away")?;
        clear.write_all(format!("EHLO {hello}\r\n").as_bytes()).await?;
        let offers = answer(&mut clear).await?;
        wanted(&offers, "250", "the server does not answer EHLO, so it cannot offer STARTTLS")?;
        let offered = |line: &String| line.get(4..).is_some_and(|word| word.trim().eq_ignore_ascii_case("STARTTLS"));
        if !offers.iter().skip(1).any(offered) {
            return Err(NoTls::Refused("the server offers no STARTTLS".to_owned(), true));
        }
        clear.write_all(b"STARTTLS\r\n").await?;
        wanted(&answer(&mut clear).await?, "220", "the server refuses STARTTLS")
    };
    timeout(limit, talk).await.map_err(|_| silent(limit))??;
    // Whatever stands there was sent before TLS by nobody knows whom, and would be read as if it came after it.
    if !clear.buffer().is_empty() {
        let what = "the server sent data in the clear behind its consent to TLS; somebody may be tampering with the connection, \
                    it was closed. Use --tls direct";
        return Err(NoTls::Refused(what.to_owned(), true));
    }
    let stream = shake_hands(clear.into_inner(), host, ca, limit).await?;
    Ok(Inside { stream, greeting: GREETING })
}

fn silent(limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", limit.as_secs()))
}

/// One answer (RFC 5321 §4.2), line by line.
async fn answer(stream: &mut BufReader<TcpStream>) -> Result<Vec<String>, NoTls> {
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        let most = u64::try_from(LINE).unwrap_or(u64::MAX);
        (&mut *stream).take(most).read_until(b'\n', &mut line).await?;
        if line.last() != Some(&b'\n') {
            let short = "the server closed the connection";
            let what = if line.len() < LINE { short } else { "the server sent a line of over 2048 bytes" };
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what).into());
        }
        let last = line.get(3) != Some(&b'-');
        lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
        if last {
            return Ok(lines);
        }
        if lines.len() > LINES {
            return Err(io::Error::other("the server's answer has no end").into());
        }
    }
}

fn wanted(answer: &[String], code: &str, otherwise: &str) -> Result<(), NoTls> {
    let last = answer.last().map(String::as_str).unwrap_or_default();
    if last.starts_with(code) {
        return Ok(());
    }
    // RFC 5321 §4.2.1: 4 and something may be different later.
    Err(NoTls::Refused(format!("{otherwise}: {}", quote(last)), !last.starts_with('4')))
}

async fn shake_hands(
    stream: TcpStream,
    host: &str,
    ca: Option<&Path>,
    limit: Duration,
) -> Result<TlsStream<TcpStream>, NoTls> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Name(host.to_owned()))?;
    let hands = TlsConnector::from(client_config(ca)?).connect(name, stream);
    timeout(limit, hands).await.map_err(|_| silent(limit))?.map_err(NoTls::Handshake)
}

/// A connection inside TLS, whose greeting was taken already.
#[derive(Debug)]
pub(super) struct Inside {
    stream: TlsStream<TcpStream>,
    greeting: &'static [u8],
}

impl AsyncTokioStream for Inside {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.get_ref().0.peer_addr()
    }
}

impl AsyncRead for Inside {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.greeting.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let (now, later) = self.greeting.split_at(self.greeting.len().min(buf.remaining()));
        buf.put_slice(now);
        self.greeting = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Inside {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
