//! Mails to a small SMTP server of our own, in the clear and inside TLS.

use std::io::Cursor;
use std::sync::Arc;

use clap::Parser;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    send: Args,
}

fn args(words: &[&str]) -> Result<Args, clap::Error> {
    let base = ["mailbell", "--to", "alerts@example.org", "--title", "UPS 7 on battery"];
    Cli::try_parse_from(base.iter().chain(words)).map(|cli| cli.send)
}

fn now() -> Timestamp {
    "2026-11-21T18:42:00Z".parse().unwrap()
}

/// What `send` prints, or why it failed.
async fn send_with(words: &[&str], input: &str) -> Result<String, Failure> {
    let mut out = Vec::new();
    send(&args(words).unwrap(), now(), &mut Cursor::new(input), &mut out).await?;
    Ok(String::from_utf8(out).unwrap())
}

/// How the server behaves.
#[derive(Clone, Default)]
struct Behaviour {
    /// STARTTLS is offered, or TLS is there from the first byte.
    tls: Option<(TlsAcceptor, bool)>,
    /// Login is asked for; this is the answer.
    auth: Option<&'static str>,
    /// Answer to RCPT.
    rcpt: Option<&'static str>,
}

/// Serves one connection; gives the port, and what the client said.
async fn sink(behaviour: Behaviour) -> (u16, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut said = String::new();
        match &behaviour.tls {
            Some((acceptor, true)) => {
                if let Ok(stream) = acceptor.accept(stream).await {
                    talk(stream, &behaviour, true, true, &mut said).await;
                }
            }
            Some((acceptor, false)) => {
                let stream = talk(stream, &behaviour, true, false, &mut said).await;
                let Some(stream) = stream else { return said };
                said.push_str("(TLS)\n");
                if let Ok(stream) = acceptor.accept(stream).await {
                    talk(stream, &behaviour, false, true, &mut said).await;
                }
            }
            None => {
                talk(stream, &behaviour, true, true, &mut said).await;
            }
        }
        said
    });
    (port, task)
}

/// Until QUIT, the end, or STARTTLS: then the stream comes back.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    behaviour: &Behaviour,
    greet: bool,
    secure: bool,
    said: &mut String,
) -> Option<S> {
    let mut stream = BufReader::new(stream);
    if greet {
        stream.write_all(b"220 sink\r\n").await.ok()?;
    }
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        said.push_str(&line);
        let verb: String = line.chars().take_while(|c| c.is_ascii_alphabetic()).collect();
        let answer = match verb.as_str() {
            "EHLO" => match (secure, behaviour.auth) {
                (false, _) => "250-sink\r\n250 STARTTLS",
                (true, Some(_)) => "250-sink\r\n250-8BITMIME\r\n250 AUTH PLAIN",
                (true, None) => "250-sink\r\n250 8BITMIME",
            },
            "STARTTLS" => {
                stream.write_all(b"220 go\r\n").await.ok()?;
                return Some(stream.into_inner());
            }
            "AUTH" => behaviour.auth.unwrap_or("503 no"),
            "RCPT" => behaviour.rcpt.unwrap_or("250 ok"),
            "DATA" => {
                stream.write_all(b"354 go\r\n").await.ok()?;
                loop {
                    let mut line = String::new();
                    if stream.read_line(&mut line).await.ok()? == 0 {
                        return None;
                    }
                    if line == ".\r\n" {
                        break;
                    }
                    said.push_str(&line);
                }
                "250 taken"
            }
            "QUIT" => {
                let _ = stream.write_all(b"221 bye\r\n").await;
                return None;
            }
            _ => "250 ok",
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await.ok()?;
    }
}

/// A certificate for `name`, as an acceptor and as a file that trusts it.
fn certificate(name: &str) -> (TlsAcceptor, tempfile::NamedTempFile) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(made.cert.der().to_vec())], key)
        .unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), made.cert.pem()).unwrap();
    (TlsAcceptor::from(Arc::new(config)), file)
}

fn password_file(text: &str) -> tempfile::NamedTempFile {
    // Made with mode 0600.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[tokio::test]
async fn the_whole_mail() {
    let words = [
        "--from",
        "ups7@example.org",
        "--severity",
        "critical",
        "--key",
        "ups/7/input",
        "--id",
        "ups7-1432",
        "--text",
        "-",
        "--group",
        "power",
        "--label",
        "host=ups7",
        "--link",
        "https://ups7.example.com/?a=1&b=2",
        "--expires",
        "2h",
        "--dry-run",
    ];
    let shown = send_with(&words, "Input < 200 V\n").await.unwrap();
    let id = shown.lines().find(|line| line.starts_with("Message-ID: ")).unwrap().to_owned();
    insta::assert_snapshot!(shown.replace(&id, "Message-ID: …").replace('\r', ""));
    assert!(!shown.contains("X-Mailbell-Notice"));
}

#[tokio::test]
async fn odd_titles_stay_in_their_header() {
    let mut args = args(&["--dry-run"]).unwrap();
    args.title = format!("Störung\r\nBcc: x@example.org\n{}", "ü".repeat(3000));
    let mut out = Vec::new();
    send(&args, now(), &mut Cursor::new(""), &mut out).await.unwrap();
    let shown = String::from_utf8(out).unwrap();
    assert!(!shown.contains("\nBcc:"), "{shown}");
    assert!(shown.lines().all(|line| line.len() <= 998), "RFC 5322 §2.1.1");
    let mail = mail_parser::MessageParser::new().parse(shown.as_bytes()).unwrap();
    assert!(mail.subject().unwrap().starts_with("[warning] Störung Bcc: x@example.org ü"), "{:?}", mail.subject());
    let xml = String::from_utf8(mail.part(0).unwrap().contents().to_vec()).unwrap();
    assert!(xml.contains(&"ü".repeat(3000)), "{xml}");
}

#[tokio::test]
async fn a_mail_goes_out_in_the_clear_to_this_machine() {
    let (port, said) = sink(Behaviour::default()).await;
    let smtp = format!("127.0.0.1:{port}");
    let shown = send_with(&["--smtp", &smtp, "--tls", "none", "--to", "b@example.org"], "").await.unwrap();
    let said = said.await.unwrap();
    assert!(said.contains("RCPT TO:<alerts@example.org>\r\nRCPT TO:<b@example.org>\r\n"), "{said}");
    assert!(said.contains("<title>UPS 7 on battery</title>"), "{said}");
    let id = said.lines().find_map(|line| line.strip_prefix("Message-ID: ")).unwrap();
    assert_eq!(shown, format!("sent {id} to alerts@example.org, b@example.org by {smtp}\n"));
}

#[tokio::test]
async fn nothing_is_sent_in_the_clear_to_other_machines() {
    let failure = send_with(&["--smtp", "192.0.2.1", "--tls", "none"], "").await.unwrap_err();
    assert_eq!(failure.code, 69);
    assert_eq!(
        failure.what,
        "192.0.2.1:25: 192.0.2.1 is not on this machine; use --tls starttls or direct, or add --allow-plaintext"
    );
}

#[tokio::test]
async fn a_mail_goes_out_inside_tls_with_a_login() {
    let secret = password_file("hunter2\n");
    for direct in [true, false] {
        let (acceptor, ca) = certificate("localhost");
        let tls = Some((acceptor, direct));
        let (port, said) = sink(Behaviour { tls, auth: Some("235 ok"), ..Behaviour::default() }).await;
        let (smtp, how) = (format!("localhost:{port}"), if direct { "direct" } else { "starttls" });
        let (ca, secret) = (ca.path().to_str().unwrap(), secret.path().to_str().unwrap());
        let words = ["--smtp", &smtp, "--tls", how, "--ca-file", ca, "--user", "u", "--password-file", secret];
        send_with(&words, "").await.unwrap();
        let said = said.await.unwrap();
        // base64 of NUL u NUL hunter2
        assert!(said.contains("AUTH PLAIN AHUAaHVudGVyMg=="), "{said}");
        assert!(direct || said.find("(TLS)").unwrap() < said.find("AUTH").unwrap(), "{said}");
        assert!(said.contains("<title>UPS 7 on battery</title>"), "{said}");
    }
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_is_explained() {
    let (acceptor, _) = certificate("localhost");
    let (port, _said) = sink(Behaviour { tls: Some((acceptor, true)), ..Behaviour::default() }).await;
    let smtp = format!("localhost:{port}");
    let failure = send_with(&["--smtp", &smtp, "--tls", "direct"], "").await.unwrap_err();
    assert_eq!(failure.code, 69, "{failure}");
    assert!(failure.what.ends_with("give the authority's certificate as --ca-file"), "{failure}");

    let (acceptor, ca) = certificate("other.example");
    let (port, _said) = sink(Behaviour { tls: Some((acceptor, true)), ..Behaviour::default() }).await;
    let smtp = format!("localhost:{port}");
    let ca = ca.path().to_str().unwrap();
    let failure = send_with(&["--smtp", &smtp, "--tls", "direct", "--ca-file", ca], "").await.unwrap_err();
    assert_eq!(failure.code, 69, "{failure}");
    assert!(failure.what.ends_with("give --smtp the name in the certificate"), "{failure}");
}

#[tokio::test]
async fn refusals_say_whether_trying_again_helps() {
    let fail = async |behaviour, words: &[&str]| {
        let (port, _said) = sink(behaviour).await;
        let smtp = format!("127.0.0.1:{port}");
        let words: Vec<&str> = ["--smtp", &smtp, "--tls", "none"].iter().chain(words).copied().collect();
        let failure = send_with(&words, "").await.unwrap_err();
        (failure.code, failure.what.replace(&smtp, "S"))
    };
    let rcpt = |answer| Behaviour { rcpt: Some(answer), ..Behaviour::default() };
    assert_eq!(fail(rcpt("550 no such user"), &[]).await, (69, "S: permanent error (550): no such user".into()));
    assert_eq!(fail(rcpt("451 greylisted"), &[]).await, (75, "S: transient error (451): greylisted".into()));

    let secret = password_file("CANARY\n");
    let auth = Behaviour { auth: Some("535 bad"), ..Behaviour::default() };
    let login = ["--user", "u", "--password-file", secret.path().to_str().unwrap()];
    let (code, what) = fail(auth, &login).await;
    assert_eq!((code, what.as_str()), (69, "S: permanent error (535): bad; check --user and --password-file"));
}

#[tokio::test]
async fn a_server_without_starttls_and_one_that_is_not_there() {
    let (port, _said) = sink(Behaviour::default()).await;
    let failure = send_with(&["--smtp", &format!("localhost:{port}")], "").await.unwrap_err();
    assert_eq!(failure.code, 69, "{failure}");
    assert!(failure.what.contains("use --tls direct, or --tls none to this machine"), "{failure}");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let failure = send_with(&["--smtp", &format!("127.0.0.1:{port}"), "--tls", "none"], "").await.unwrap_err();
    assert_eq!(failure.code, 75, "{failure}");
    assert!(failure.what.contains("Connection refused"), "{failure}");
}

#[tokio::test]
async fn a_password_file_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let secret = password_file("CANARY\n");
    std::fs::set_permissions(secret.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let file = secret.path().to_str().unwrap();
    let failure = send_with(&["--smtp", "localhost", "--user", "u", "--password-file", file], "").await.unwrap_err();
    assert_eq!(failure.what, format!("--password-file: others can read {file} (mode 0644); run: chmod 600 {file}"));
}

#[test]
fn wrong_usage_is_told() {
    let told = |words: &[&str]| {
        let all = ["--smtp", "localhost"].iter().chain(words).copied().collect::<Vec<_>>();
        args(&all).unwrap_err().to_string()
    };
    assert!(told(&["--status", "resolved"]).contains("--key <KEY>"), "{}", told(&["--status", "resolved"]));
    assert!(told(&["--severity", "urgent"]).contains("allowed: critical, major, minor, warning, info"));
    assert!(told(&["--label", "host"]).contains("write NAME=VALUE"));
    assert!(told(&["--link", "javascript:x"]).contains("a link starts with https:, http: or xmpp:"));
    assert!(told(&["--expires", "soon"]).contains("a duration such as 2h"));
    assert!(told(&["--user", "u"]).contains("--password-file <FILE>"));
    assert!(args(&[]).unwrap_err().to_string().contains("--smtp <SERVER[:PORT]>"));
    assert!(args(&["--smtp", "a:b:c"]).unwrap_err().to_string().contains("is no server"));
}

#[test]
fn a_subject_says_what_it_is_about() {
    assert_eq!(subject(Status::Firing, Severity::Critical, "T"), "[critical] T");
    assert_eq!(subject(Status::Update, Severity::Minor, "T"), "[minor, update] T");
    assert_eq!(subject(Status::Resolved, Severity::Critical, "T"), "[resolved] T");
}
