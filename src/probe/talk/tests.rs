//! Small servers, some of which answer as no real one should.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustix::net::sockopt::set_socket_linger;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::probe::engine::Engine;
use crate::probe::outcome::{Certificate, Kind, Outcome};
use crate::probe::target::Target;

/// Longer than any of these servers needs.
const LIMIT: Duration = Duration::from_secs(20);
/// For those that never answer.
const SHORT: Duration = Duration::from_millis(300);
const DAY: Duration = Duration::from_secs(86_400);

/// Where somebody answers each connection so.
async fn server<F: Future<Output = ()> + Send + 'static>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    Target { host: "127.0.0.1".parse().unwrap(), port }
}

/// One that says this, and waits for the other to go.
async fn says(text: &'static [u8]) -> Target {
    server(move |mut stream| async move {
        stream.write_all(text).await.unwrap();
        let _ = stream.read(&mut [0; 64]).await;
    })
    .await
}

fn expect(expression: &str) -> Talk {
    let exchange = Exchange { send: None, expect: Expect::new(expression).unwrap(), most: 4096 };
    Talk { tls: None, exchange: Some(exchange) }
}

fn send(text: &str, expression: &str) -> Talk {
    let Talk { exchange, .. } = expect(expression);
    Talk { tls: None, exchange: exchange.map(|exchange| Exchange { send: Some(text.into()), ..exchange }) }
}

fn engine() -> Engine {
    Engine::new(16, DAY, LIMIT)
}

async fn probe(target: &Target, talk: &Talk, limit: Duration) -> Outcome {
    engine().probe(target, limit, Some(talk)).await
}

/// How it ended, and why.
async fn ended(target: &Target, talk: &Talk, limit: Duration) -> (Kind, String) {
    let outcome = probe(target, talk, limit).await;
    (outcome.kind, outcome.reason)
}

fn said(kind: Kind, reason: &str) -> (Kind, String) {
    (kind, format!("127.0.0.1 {reason}"))
}

#[tokio::test]
async fn a_banner_may_come_in_pieces() {
    let target = server(|mut stream| async move {
        for byte in b"220 mail.example.org ESMTP\r\n" {
            stream.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let _ = stream.read(&mut [0; 64]).await;
    })
    .await;
    let fits = ended(&target, &expect(r"^220 .* ESMTP\r\n$"), LIMIT).await;
    assert_eq!(fits, said(Kind::Open, "answered as expected"));
}

#[tokio::test]
async fn what_is_sent_is_sent_first_and_as_it_is() {
    let target = server(|mut stream| async move {
        let mut asked = [0; 6];
        stream.read_exact(&mut asked).await.unwrap();
        let answer: &[u8] = if &asked == b"PING\r\n" { b"+PONG\r\n" } else { b"-ERR\r\n" };
        stream.write_all(answer).await.unwrap();
    })
    .await;
    assert_eq!(ended(&target, &send("PING\r\n", r"^\+PONG"), LIMIT).await.0, Kind::Open);
    let other = ended(&target, &send("ping\r\n", r"^\+PONG"), LIMIT).await;
    let reason = r"answered `-ERR\r\n`, which does not fit `^\+PONG`, and closed the connection";
    assert_eq!(other, said(Kind::Unexpected, reason));
}

#[tokio::test]
async fn another_answer_is_quoted_short_and_on_one_line() {
    let target = says(b"554 no service\r\n\x1b[2J here\r\n").await;
    let reason = r"answered `554 no service\r\n\x1b[2J here\r\n`, which does not fit `^220 `, and nothing that does within 300ms";
    assert_eq!(ended(&target, &expect("^220 "), SHORT).await, said(Kind::Unexpected, reason));
    let (kind, reason) = ended(&says(&[b'x'; 2000]).await, &expect("^220 "), SHORT).await;
    assert_eq!(kind, Kind::Unexpected);
    assert!(reason.contains(&format!("`{}…`", "x".repeat(60))), "{reason}");
}

#[tokio::test]
async fn a_server_that_never_stops_is_listened_to_for_so_many_bytes() {
    let (tell, mut told) = mpsc::channel(1);
    let target = server(move |mut stream| {
        let tell = tell.clone();
        async move {
            while stream.write_all(b"spam spam spam spam\n").await.is_ok() {}
            tell.send(()).await.unwrap();
        }
    })
    .await;
    let mut talk = expect("^220 ");
    talk.exchange.as_mut().unwrap().most = 33;
    let reason =
        r"answered `spam spam spam spam\nspam spam spa`, which does not fit `^220 `, nor do its first 33 bytes";
    assert_eq!(ended(&target, &talk, LIMIT).await, said(Kind::Unexpected, reason));
    told.recv().await.expect("the server is rid of us");
}

#[tokio::test]
async fn who_says_nothing_is_told_from_who_hangs_up() {
    let silent = server(|mut stream| async move { _ = stream.read(&mut [0; 64]).await }).await;
    let start = Instant::now();
    let nothing = ended(&silent, &expect("."), SHORT).await;
    assert_eq!(nothing, said(Kind::NoAnswer, "accepted the connection and said nothing within 300ms"));
    assert!(start.elapsed() >= SHORT && start.elapsed() < LIMIT / 2, "{:?}", start.elapsed());
    let closes = server(|stream| async move { drop(stream) }).await;
    let closed = ended(&closes, &expect("."), LIMIT).await;
    assert_eq!(closed, said(Kind::Closed, "closed the connection before it said anything"));
    let cuts = server(|stream| async move { set_socket_linger(&stream, Some(Duration::ZERO)).unwrap() }).await;
    let cut = ended(&cuts, &expect("."), LIMIT).await;
    assert_eq!(cut, said(Kind::Closed, "cut the connection before it said anything"));
    let gone = server(|mut stream| async move { stream.write_all(b"bye").await.unwrap() }).await;
    let reason = "answered `bye`, which does not fit `^220 `, and closed the connection";
    assert_eq!(ended(&gone, &expect("^220 "), LIMIT).await, said(Kind::Unexpected, reason));
}

#[tokio::test]
async fn bytes_that_are_no_text_are_matched_and_shown() {
    let target = says(b"\xff\xfb\x01\0\xe2\x82login: \xc3\xbc").await;
    assert_eq!(ended(&target, &expect(r"(?-u)^\xff\xfb"), LIMIT).await.0, Kind::Open);
    assert_eq!(ended(&target, &expect("login: ü$"), LIMIT).await.0, Kind::Open);
    let (kind, reason) = ended(&target, &expect("^SSH"), SHORT).await;
    assert_eq!(kind, Kind::Unexpected);
    assert!(reason.contains(r"answered `\xff\xfb\x01\x00\xe2\x82login: ü`, which"), "{reason}");
}

#[tokio::test]
async fn an_expression_that_fits_nothing_at_all_still_waits_for_an_answer() {
    let silent = server(|mut stream| async move { _ = stream.read(&mut [0; 64]).await }).await;
    assert_eq!(ended(&silent, &expect(""), SHORT).await.0, Kind::NoAnswer);
    assert_eq!(ended(&says(b"?").await, &expect(""), LIMIT).await.0, Kind::Open);
}

#[tokio::test]
async fn a_conversation_is_closed_and_a_bare_connection_cut() {
    let (tell, mut told) = mpsc::channel(1);
    let target = server(move |mut stream| {
        let tell = tell.clone();
        async move {
            let written = stream.write_all(b"220 ready\r\nand more that nobody asked for\r\n").await;
            let end = written.and(stream.read(&mut [0; 64]).await);
            tell.send(end.ok()).await.unwrap();
        }
    })
    .await;
    let target = &target;
    let fits = |expression| async move { ended(target, &expect(expression), LIMIT).await.0 };
    assert_eq!(fits("^220 ready").await, Kind::Open);
    assert_eq!(told.recv().await, Some(Some(0)));
    assert_eq!(fits("asked for").await, Kind::Open);
    assert_eq!(told.recv().await, Some(Some(0)));
    assert_eq!(engine().probe(target, LIMIT, None).await.kind, Kind::Open);
    assert_eq!(told.recv().await, Some(None));
}

// ---- TLS

/// An authority, and where its certificate lies.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: tempfile::TempDir,
}

/// The days from today after which midnight a certificate ends.
type Days = i64;

impl Authority {
    fn new() -> Self {
        let issuer = CertifiedIssuer::self_signed(authority("test CA", 1000), KeyPair::generate().unwrap()).unwrap();
        let authority = Self { issuer, dir: tempfile::tempdir().unwrap() };
        std::fs::write(authority.file(), authority.issuer.pem()).unwrap();
        authority
    }

    fn file(&self) -> std::path::PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A certificate for 127.0.0.1 and mail.example.org.
    fn certifies(&self, days: Days) -> Shown {
        certified(&self.issuer, days)
    }
}

/// What a server shows: its chain and its key.
type Shown = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn authority(name: &str, days: Days) -> CertificateParams {
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, name);
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    lasting(&mut ca, days);
    ca
}

fn certified(issuer: &CertifiedIssuer<'static, KeyPair>, days: Days) -> Shown {
    let key = KeyPair::generate().unwrap();
    let mut server = CertificateParams::new(["127.0.0.1".to_owned(), "mail.example.org".to_owned()]).unwrap();
    lasting(&mut server, days);
    let certificate = server.signed_by(&key, issuer).unwrap();
    (vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
}

fn lasting(params: &mut CertificateParams, days: Days) {
    let midnight = |days| {
        let date: jiff::civil::Date = date(days).parse().unwrap();
        date_time_ymd(date.year().into(), date.month().cast_unsigned(), date.day().cast_unsigned())
    };
    (params.not_before, params.not_after) = (midnight(-100), midnight(days));
}

/// The date so many days from now, in UTC.
fn date(days: Days) -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days)).strftime("%Y-%m-%d").to_string()
}

fn acceptor((chain, key): Shown) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap()))
}

/// Says this inside TLS, and waits for the other to go.
async fn tls_server(shown: Shown, text: &'static [u8]) -> Target {
    let acceptor = acceptor(shown);
    server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            stream.write_all(text).await.unwrap();
            let _ = stream.read(&mut [0; 64]).await;
        }
    })
    .await
}

fn tls(ca_file: &Path) -> Talk {
    Talk { tls: Some(Tls { name: None, ca_file: Some(ca_file.to_owned()), warning: 14 * DAY }), exchange: None }
}

#[tokio::test]
async fn a_good_certificate_lasts_or_is_warned_of() {
    let authority = Authority::new();
    let target = tls_server(authority.certifies(400), b"").await;
    let good = probe(&target, &tls(&authority.file()), LIMIT).await;
    assert_eq!((good.kind, good.certificate), (Kind::Open, Some(Certificate::Lasts)));
    assert_eq!(good.reason, "127.0.0.1 completed the TLS handshake");
    let target = tls_server(authority.certifies(10), b"").await;
    let soon = probe(&target, &tls(&authority.file()), LIMIT).await;
    let end: jiff::Timestamp = format!("{}T00:00:00Z", date(10)).parse().unwrap();
    assert_eq!((soon.kind, soon.certificate), (Kind::Open, Some(Certificate::Ends(end))));
    let reason = format!("127.0.0.1 completed the TLS handshake; its certificate expires in 9 days ({})", date(10));
    assert_eq!(soon.reason, reason);
    let mut talk = tls(&authority.file());
    talk.tls.as_mut().unwrap().warning = 5 * DAY;
    assert_eq!(probe(&target, &talk, LIMIT).await.certificate, Some(Certificate::Lasts));
}

#[tokio::test]
async fn the_certificate_that_ends_first_counts() {
    let root = Authority::new();
    let middle = authority("in between", 3);
    let middle = CertifiedIssuer::signed_by(middle, KeyPair::generate().unwrap(), &root.issuer).unwrap();
    let (mut chain, key) = certified(&middle, 400);
    chain.push(middle.der().clone());
    let outcome = probe(&tls_server((chain, key), b"").await, &tls(&root.file()), LIMIT).await;
    assert!(outcome.reason.ends_with(&format!("its certificate expires in 2 days ({})", date(3))), "{outcome:?}");
}

#[tokio::test]
async fn a_certificate_is_refused_with_what_mends_it() {
    let authority = Authority::new();
    let refused = |target, talk| async move { ended(&target, &talk, LIMIT).await };
    let talk = tls(&authority.file());
    let why = |why: &str| (Kind::Certificate, format!("127.0.0.1: the certificate of {why}"));
    assert_eq!(
        refused(tls_server(authority.certifies(-1), b"").await, talk.clone()).await,
        why("127.0.0.1 was refused: it has expired; renew it on the server")
    );
    let mut other = talk.clone();
    other.tls.as_mut().unwrap().name = Some("www.example.org".into());
    let target = tls_server(authority.certifies(400), b"").await;
    assert_eq!(
        refused(target.clone(), other).await,
        why(
            "www.example.org was refused: it is for another name; correct the server name, or set tls_name to the name in \
             the certificate"
        )
    );
    let mut named = talk.clone();
    named.tls.as_mut().unwrap().name = Some("mail.example.org".into());
    assert_eq!(refused(target.clone(), named).await.0, Kind::Open);
    let mut unknown = talk.clone();
    unknown.tls.as_mut().unwrap().ca_file = None;
    assert_eq!(
        refused(target, unknown).await,
        why(
            "127.0.0.1 was refused: it was issued by an authority that this machine does not trust; give the authority's \
             certificate as ca_file"
        )
    );
}

#[tokio::test]
async fn who_speaks_no_tls_is_down() {
    let authority = Authority::new();
    let talk = tls(&authority.file());
    let plain = server(|mut stream| async move {
        stream.write_all(b"220 mail.example.org ESMTP\r\n").await.unwrap();
        let _ = stream.read(&mut [0; 64]).await;
    })
    .await;
    let (kind, reason) = ended(&plain, &talk, LIMIT).await;
    assert_eq!(kind, Kind::Tls);
    assert!(reason.starts_with("127.0.0.1: TLS handshake with 127.0.0.1 failed: received corrupt message"), "{reason}");
    let silent =
        server(|mut stream| async move { while stream.read(&mut [0; 64]).await.is_ok_and(|n| n > 0) {} }).await;
    let late = ended(&silent, &talk, SHORT).await;
    assert_eq!(late, said(Kind::Tls, "did not complete the TLS handshake within 300ms"));
    let closes = server(|stream| async move { drop(stream) }).await;
    assert_eq!(ended(&closes, &talk, LIMIT).await.0, Kind::Tls);
}

#[tokio::test]
async fn the_exchange_runs_inside_tls() {
    let authority = Authority::new();
    let target = tls_server(authority.certifies(10), b"* OK ready\r\n").await;
    let talk = |expression| Talk { exchange: expect(expression).exchange, ..tls(&authority.file()) };
    let fits = probe(&target, &talk(r"^\* OK "), LIMIT).await;
    assert_eq!(fits.kind, Kind::Open);
    assert!(fits.reason.starts_with("127.0.0.1 answered as expected; its certificate expires in 9 days"), "{fits:?}");
    let other = probe(&target, &talk("^220 "), SHORT).await;
    assert_eq!((other.kind, other.certificate), (Kind::Unexpected, None));
    assert!(other.reason.contains(r"answered `* OK ready\r\n`"), "{other:?}");
}

/// Neither a session that is resumed nor a CA file that was read hides what is new.
#[tokio::test]
async fn a_renewed_certificate_and_a_new_authority_are_seen() {
    let (old, new) = (Authority::new(), Authority::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let target: Target = address.to_string().parse().unwrap();
    let (engine, talk) = (engine(), tls(&old.file()));
    let serve = async |shown: Shown| {
        let acceptor = acceptor(shown);
        let accept = async {
            let Ok(mut stream) = acceptor.accept(listener.accept().await.unwrap().0).await else { return };
            let _ = stream.read(&mut [0; 64]).await;
        };
        tokio::join!(engine.probe(&target, LIMIT, Some(&talk)), accept).0
    };
    assert!(matches!(serve(old.certifies(10)).await.certificate, Some(Certificate::Ends(_))));
    assert_eq!(serve(old.certifies(400)).await.certificate, Some(Certificate::Lasts));
    assert_eq!(serve(new.certifies(400)).await.kind, Kind::Certificate);
    // Its time of change has only so many digits.
    let before = std::fs::metadata(old.file()).unwrap().modified().unwrap();
    std::fs::copy(new.file(), old.file()).unwrap();
    std::fs::File::options().write(true).open(old.file()).unwrap().set_modified(before + DAY).unwrap();
    assert_eq!(serve(new.certifies(400)).await.kind, Kind::Open);
    std::fs::remove_file(old.file()).unwrap();
    let lost = engine.probe(&target, LIMIT, Some(&talk)).await;
    assert_eq!(lost.kind, Kind::Local, "it is our fault");
    assert!(lost.reason.starts_with("was not asked: ca_file "), "{lost:?}");
}
