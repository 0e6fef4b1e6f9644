//! One HTTP/1.1 request on a connection of its own: all that a token endpoint needs.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::time::timeout;

use super::{DialError, Stream, TlsError, dial, handshake};

/// Largest answer that is taken, bytes.
const MOST: usize = 256 * 1024;

/// No answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address is none that can be asked.
    #[error("{0} is no http:// or https:// address")]
    Address(String),
    /// No connection; for `http://` also to another machine.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// No TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The exchange broke off, or the answer is no HTTP.
    #[error("{0}")]
    Broken(#[source] hyper::Error),
    /// The answer's body broke off, or is too large.
    #[error("the answer cannot be taken: {0}")]
    Body(String),
    /// Not done in time.
    #[error("no answer within {} s", .0.as_secs_f32())]
    Slow(Duration),
}

/// Sends a request and reads the whole answer, all of it within `limit`. `https://` checks the certificate against the host's
/// name; `http://` is for this machine only, and refused before a byte is sent elsewhere. Redirects are not followed.
pub async fn request(
    request: Request<Vec<u8>>,
    tls: Arc<ClientConfig>,
    limit: Duration,
) -> Result<Response<Vec<u8>>, HttpError> {
    timeout(limit, exchange(request, tls, limit)).await.unwrap_or(Err(HttpError::Slow(limit)))
}

async fn exchange(
    request: Request<Vec<u8>>,
    tls: Arc<ClientConfig>,
    limit: Duration,
) -> Result<Response<Vec<u8>>, HttpError> {
    let (mut head, body) = request.into_parts();
    let address = || HttpError::Address(head.uri.to_string());
    let host = head.uri.host().ok_or_else(address)?.to_owned();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let authority = head.uri.authority().ok_or_else(address)?.as_str();
    let host_header = HeaderValue::from_str(authority).map_err(|_| address())?;
    let stream = match head.uri.scheme_str() {
        Some("https") => {
            let tcp = dial(bare, head.uri.port_u16().unwrap_or(443), limit, false).await?;
            Stream::Tls(Box::new(handshake(tcp, bare, tls, limit).await?))
        }
        Some("http") => Stream::Plain(dial(bare, head.uri.port_u16().unwrap_or(80), limit, true).await?),
        _ => return Err(address()),
    };
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = Uri::try_from(path).map_err(|_| HttpError::Address(path.to_owned()))?;
    head.headers.insert(HOST, host_header);
    head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    head.headers.insert(USER_AGENT, HeaderValue::from_static("mailbell"));

    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(HttpError::Broken)?;
    let talk = async {
        let answer = sender.send_request(Request::from_parts(head, Full::new(Bytes::from(body)))).await;
        let (head, body) = answer.map_err(HttpError::Broken)?.into_parts();
        let body = Limited::new(body, MOST).collect().await.map_err(|err| HttpError::Body(err.to_string()))?;
        Ok(Response::from_parts(head, body.to_bytes().into()))
    };
    tokio::pin!(talk);
    // The connection has to be driven while it is talked on; how it ends after the answer does not matter.
    tokio::select! {
        answer = &mut talk => answer,
        ended = connection => match ended {
            Ok(()) => talk.await,
            Err(err) => Err(HttpError::Broken(err)),
        },
    }
}

impl HttpError {
    /// Will waiting not help?
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Address(_) | Self::Dial(DialError::NotLoopback { .. }) => true,
            Self::Tls(err) => !matches!(err, TlsError::Handshake { .. }),
            Self::Dial(_) | Self::Broken(_) | Self::Body(_) | Self::Slow(_) => false,
        }
    }
}
