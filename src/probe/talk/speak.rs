//! The conversation itself: handshake, question, answer, and a close that the other end can tell from a failure.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::{Exchange, Talk, Tls};
use crate::model::{Span, quote};
use crate::net::{Inspector, Stream, TlsError};
use crate::probe::connect::{Failure, usual};
use crate::probe::outcome::{Certificate, Kind, expires};
use crate::probe::target::Host;

/// Most that is read and thrown away before the connection is closed, in pieces of 4 KiB.
const LEFT_OVER: usize = 16;

/// What a conversation is held by.
pub(in crate::probe) struct Call<'c> {
    pub(in crate::probe) host: &'c Host,
    pub(in crate::probe) talk: &'c Talk,
    /// Where there is TLS.
    pub(in crate::probe) inspector: Option<Arc<Inspector>>,
    /// The time for the whole probe, for people, and when it is over.
    pub(in crate::probe) limit: Duration,
    pub(in crate::probe) end: Instant,
}

/// All was as it should be: what is said of it, and the certificate where there was one.
pub(in crate::probe) type Said = Result<(String, Option<Certificate>), Failure>;

/// How the wait for the answer ended.
enum End {
    Fits,
    /// As much as is read came.
    Full,
    /// The server closed the connection.
    Closed,
    Broken(io::Error),
    Late,
}

impl Call<'_> {
    /// Speaks with who accepted at `ip`.
    pub(in crate::probe) async fn hold(self, ip: IpAddr, tcp: TcpStream) -> Said {
        usual(&tcp);
        let (mut stream, certificate) = match (&self.talk.tls, &self.inspector) {
            (Some(tls), Some(inspector)) => {
                let (stream, certificate) = self.secure(ip, tcp, tls, inspector).await?;
                (stream, Some(certificate))
            }
            _ => (Stream::Plain(tcp), None),
        };
        let said = match &self.talk.exchange {
            Some(exchange) => {
                let (came, end) = ask(&mut stream, exchange, self.end).await;
                self.judge(ip, exchange, &came, end)
            }
            None => Ok(format!("{ip} completed the TLS handshake")),
        };
        close(stream);
        let reason = said?;
        Ok(match certificate {
            Some(Certificate::Ends(end)) => {
                (format!("{reason}; its certificate {}", expires(end, Timestamp::now())), certificate)
            }
            _ => (reason, certificate),
        })
    }

    async fn secure(
        &self,
        ip: IpAddr,
        tcp: TcpStream,
        tls: &Tls,
        inspector: &Inspector,
    ) -> Result<(Stream, Certificate), Failure> {
        let name = tls.name.as_deref().unwrap_or(self.host.as_str());
        let stream = match timeout_at(self.end, inspector.handshake(tcp, name)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(err)) => return Err(refused(ip, err)),
            Err(_) => {
                let reason = format!("{ip} did not complete the TLS handshake within {}", Span(self.limit));
                return Err(Failure { kind: Kind::Tls, reason });
            }
        };
        let by = SystemTime::now().checked_add(tls.warning);
        let ends = by.and_then(|by| inspector.ends_before(by, &stream, name));
        let ends = ends.and_then(|at| Timestamp::try_from(at).ok());
        Ok((stream, ends.map_or(Certificate::Lasts, Certificate::Ends)))
    }

    fn judge(&self, ip: IpAddr, exchange: &Exchange, came: &[u8], end: End) -> Result<String, Failure> {
        let within = Span(self.limit);
        let (kind, reason) = match end {
            End::Fits => return Ok(format!("{ip} answered as expected")),
            End::Broken(err) if err.kind() == io::ErrorKind::InvalidData => {
                (Kind::Tls, format!("{ip} broke TLS off: {err}"))
            }
            End::Late if came.is_empty() => {
                (Kind::NoAnswer, format!("{ip} accepted the connection and said nothing within {within}"))
            }
            End::Broken(_) if came.is_empty() => {
                (Kind::Closed, format!("{ip} cut the connection before it said anything"))
            }
            _ if came.is_empty() => (Kind::Closed, format!("{ip} closed the connection before it said anything")),
            end => {
                let then = match end {
                    End::Late => format!(", and nothing that does within {within}"),
                    End::Full => format!(", nor do its first {} bytes", exchange.most),
                    End::Broken(_) => ", and cut the connection".to_owned(),
                    End::Closed | End::Fits => ", and closed the connection".to_owned(),
                };
                let (answer, wanted) = (shown(came), quote(exchange.expect.as_str()));
                (Kind::Unexpected, format!("{ip} answered {answer}, which does not fit {wanted}{then}"))
            }
        };
        Err(Failure { kind, reason })
    }
}

/// Why there is no TLS.
fn refused(ip: IpAddr, err: TlsError) -> Failure {
    let kind = match err {
        TlsError::Certificate { .. } | TlsError::Name(_) => Kind::Certificate,
        TlsError::CaFile { .. } | TlsError::Handshake { .. } => Kind::Tls,
    };
    Failure { kind, reason: format!("{ip}: {err}") }
}

/// Asks, and reads until something fits, and no longer than to `end`.
async fn ask(stream: &mut Stream, exchange: &Exchange, end: Instant) -> (Vec<u8>, End) {
    let mut came = Vec::new();
    let ended = timeout_at(end, listen(stream, exchange, &mut came)).await;
    (came, ended.unwrap_or(End::Late))
}

async fn listen(stream: &mut Stream, exchange: &Exchange, came: &mut Vec<u8>) -> End {
    if let Some(send) = &exchange.send {
        // Who hung up meanwhile may have said something before, which tells more; that it hung up is read, too.
        let _ = write(stream, send.as_bytes()).await;
    }
    loop {
        let left = exchange.most.saturating_sub(came.len());
        if left == 0 {
            return End::Full;
        }
        match (&mut *stream).take(left as u64).read_buf(came).await {
            // Who leaves TLS without a word has closed the connection all the same.
            Ok(0) => return End::Closed,
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => return End::Closed,
            Err(err) => return End::Broken(err),
            Ok(_) if exchange.expect.fits(came) => return End::Fits,
            Ok(_) => {}
        }
    }
}

async fn write(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// Says that we are done, without a wait. What came and was not read makes the kernel cut the connection (RFC 9293 §3.6): so it is
/// read, as far as there is an end of it.
fn close(mut stream: Stream) {
    let mut rest = [0; 4096];
    for _ in 0..LEFT_OVER {
        match stream.read(&mut rest).now_or_never() {
            Some(Ok(n)) if n > 0 => {}
            _ => break,
        }
    }
    // Inside TLS that is a close_notify (RFC 8446 §6.1).
    let _ = stream.shutdown().now_or_never();
}

/// The start of what came, on one line. What is no text is shown as `\xff`.
fn shown(came: &[u8]) -> String {
    // More than is shown of it.
    const START: usize = 256;
    let start = came.get(..START).unwrap_or(came);
    let mut text = String::new();
    for chunk in start.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\r' | '\n' | '\t' => text.push(c),
                '\0'..='\x1f' | '\x7f' => text.push_str(&byte(c as u8)),
                c => text.push(c),
            }
        }
        chunk.invalid().iter().for_each(|no_text| text.push_str(&byte(*no_text)));
    }
    quote(&text)
}

fn byte(byte: u8) -> String {
    format!("\\x{byte:02x}")
}
