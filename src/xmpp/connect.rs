//! One connection: TCP, TLS, and the first stream header with the server's features.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{FutureExt, SinkExt, StreamExt};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufStream, ReadBuf};
use tokio::time::Instant;
use tokio_xmpp::xmlstream::{InitiatingStream, ReadError, StreamHeader, Timeouts, XmlStream, initiate_stream};
use xmpp_parsers::minidom::Element;
use xso::exports::rxml;

use super::Settings;
use super::failure::{Failure, stream_error};
use super::node::Node;
use super::targets::{Target, host_name};
use super::xml::{CLIENT, Xml};
use crate::net::{DialError, Road, Stream, TlsError, TlsMode};

const STREAM: &str = "http://etherx.jabber.org/streams";
const STARTTLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";

/// The XML stream over a metered connection.
pub type Link = XmlStream<BufStream<Metered>, Node>;

/// A connection that remembers when bytes last moved: silence and a stuck writer are seen even inside a long stanza.
#[derive(Debug)]
pub struct Metered {
    stream: Stream,
    /// When bytes last came in.
    pub heard: Instant,
    /// When bytes last went out.
    pub wrote: Instant,
}

impl Metered {
    fn new(stream: Stream) -> Self {
        let now = Instant::now();
        Self { stream, heard: now, wrote: now }
    }
}

impl AsyncRead for Metered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.heard = Instant::now();
        }
        result
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(cx, buf);
        if matches!(result, Poll::Ready(Ok(n)) if n > 0) {
            this.wrote = Instant::now();
        }
        result
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// A stream whose server has named its features; nobody is signed in yet.
pub struct Opened {
    /// The stream.
    pub link: Link,
    /// `<stream:features/>`.
    pub features: Element,
    /// Inside TLS.
    pub encrypted: bool,
    /// The other end is this machine.
    pub loopback: bool,
    /// Channel binding data of TLS 1.3 (RFC 9266).
    pub exporter: Option<Vec<u8>>,
}

/// Connects to one server; the caller sets the time limit.
pub async fn open(settings: &Settings, road: &Road, target: &Target) -> Result<Opened, Failure> {
    let limit = settings.connect_timeout;
    let clear = settings.tls == TlsMode::None;
    let stream = road.dial(&target.0, target.1, limit, clear && !settings.allow_plaintext).await.map_err(dialling)?;
    let loopback = stream.peer().is_some_and(|address| address.is_loopback());
    let stream = match settings.tls {
        TlsMode::None => stream,
        TlsMode::StartTls => {
            let stream = starttls(stream, settings).await?;
            secure(stream, settings, road, None).await?
        }
        // XEP-0368: lets a server tell XMPP from HTTPS on one port.
        TlsMode::Direct => secure(stream, settings, road, Some(b"xmpp-client")).await?,
    };
    let exporter = exporter(&stream);
    let (link, features) = begin(stream, settings).await?;
    Ok(Opened { link, features, encrypted: !clear, loopback, exporter })
}

fn dialling(err: DialError) -> Failure {
    match err {
        DialError::NotLoopback { .. } => Failure::refused(err.to_string()),
        _ => Failure::transient(err.to_string()),
    }
}

async fn secure(stream: Stream, settings: &Settings, road: &Road, alpn: Option<&[u8]>) -> Result<Stream, Failure> {
    let domain = host_name(settings.jid.domain().as_str());
    let name = settings.tls_name.as_deref().unwrap_or(&domain);
    match road.secure(stream, name, alpn, settings.connect_timeout).await {
        Ok(stream) => Ok(stream),
        Err(err @ (TlsError::Certificate { .. } | TlsError::Name(_) | TlsError::CaFile { .. })) => {
            Err(Failure::refused(err.to_string()))
        }
        Err(err @ TlsError::Handshake { .. }) => Err(Failure::transient(err.to_string())),
    }
}

/// Asks for TLS in the clear (RFC 6120 §5) and gives the bare connection back. Nothing that came in the clear is believed
/// afterwards: the stream is begun anew inside TLS, and bytes behind `<proceed/>` end the connection.
async fn starttls(stream: Stream, settings: &Settings) -> Result<Stream, Failure> {
    let (mut link, features) = begin(stream, settings).await?;
    if !features.has_child("starttls", STARTTLS) {
        return Err(Failure::refused(
            "the server offers no STARTTLS, and nothing is sent in the clear; enable it there, or set tls = \"direct\"",
        ));
    }
    link.send(&Xml::new("starttls", STARTTLS).build()).await.map_err(broken)?;
    let answer = read(&mut link, settings).await?;
    if !answer.is("proceed", STARTTLS) {
        return Err(Failure::transient("the server refused to begin TLS"));
    }
    let mut io = link.into_inner();
    if io.fill_buf().now_or_never().is_some() {
        return Err(Failure::transient(
            "the server sent data in the clear behind its consent to TLS: a fault, or somebody in between",
        ));
    }
    Ok(io.into_inner().stream)
}

/// RFC 9266: only TLS 1.3 has it without further conditions.
fn exporter(stream: &Stream) -> Option<Vec<u8>> {
    let Stream::Tls(tls) = stream else { return None };
    let (_, connection) = tls.get_ref();
    if connection.protocol_version() != Some(rustls::ProtocolVersion::TLSv1_3) {
        return None;
    }
    connection.export_keying_material(vec![0; 32], b"EXPORTER-Channel-Binding", None).ok()
}

async fn begin(stream: Stream, settings: &Settings) -> Result<(Link, Element), Failure> {
    // Silence is measured by `Metered`; the stream's own timers would also fire while we compute a password hash.
    let never = Timeouts { read_timeout: Duration::from_secs(86_400), response_timeout: Duration::from_secs(86_400) };
    let io = BufStream::with_capacity(8 << 10, 32 << 10, Metered::new(stream));
    let pending = initiate_stream(io, CLIENT, header(settings), never).await.map_err(broken)?;
    features(pending.skip_features(), settings).await
}

/// Begins the stream anew on the same connection, as SASL asks for.
pub async fn restart(
    stream: InitiatingStream<BufStream<Metered>>,
    settings: &Settings,
) -> Result<(Link, Element), Failure> {
    let pending = stream.send_header(header(settings)).await.map_err(broken)?;
    features(pending.skip_features(), settings).await
}

fn header(settings: &Settings) -> StreamHeader<'_> {
    StreamHeader { to: Some(settings.jid.domain().as_str().into()), ..StreamHeader::default() }
}

async fn features(mut link: Link, settings: &Settings) -> Result<(Link, Element), Failure> {
    let features = read(&mut link, settings).await?;
    if !features.is("features", STREAM) {
        return Err(Failure::transient(format!("the server sent <{}/> instead of its features", features.name())));
    }
    Ok((link, features))
}

/// Writes one element while the stream is set up.
pub async fn write(link: &mut Link, element: &Element) -> Result<(), Failure> {
    link.send(element).await.map_err(broken)
}

/// Reads one element while the stream is set up.
pub async fn read(link: &mut Link, settings: &Settings) -> Result<Element, Failure> {
    loop {
        match link.next().await {
            Some(Ok(Node::Element(element))) if is_stream_error(&element) => {
                return Err(stream_error(&element, settings.jid.as_str()));
            }
            Some(Ok(Node::Element(element))) => return Ok(element),
            Some(Ok(Node::TooBig(_)) | Err(ReadError::SoftTimeout)) => {}
            Some(Err(err)) => return Err(Failure::transient(explain(&err))),
            None => return Err(Failure::transient("the server closed the connection")),
        }
    }
}

/// Is it `<stream:error/>`?
pub fn is_stream_error(element: &Element) -> bool {
    element.is("error", STREAM)
}

/// A read error in plain words.
pub fn explain(err: &ReadError) -> String {
    match err {
        ReadError::StreamFooterReceived => "the server closed the stream".into(),
        ReadError::HardError(err) => broken_reason(err),
        ReadError::ParseError(_) | ReadError::SoftTimeout => "the server sent something unreadable".into(),
    }
}

fn broken(err: io::Error) -> Failure {
    Failure::transient(broken_reason(&err))
}

fn broken_reason(err: &io::Error) -> String {
    // What the XML reader makes of an end between two stanzas, and within one.
    let between = err.kind() == io::ErrorKind::InvalidData && err.to_string().starts_with("eof");
    let within = matches!(xml_error(err), Some(rxml::Error::InvalidEof(_)));
    if between || within || err.kind() == io::ErrorKind::UnexpectedEof {
        return "the server closed the connection".into();
    }
    format!("the connection broke: {err}")
}

/// The XML reader's own error, where it is one.
pub fn xml_error(err: &io::Error) -> Option<&rxml::Error> {
    err.get_ref()?.downcast_ref()
}
