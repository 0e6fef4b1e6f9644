//! Somebody on the way who takes STARTTLS away, or slips words of their own in behind it. IMAP and POP3: `mailbox_hostile`; XMPP:
//! `xmpp_session::scripted`; here SMTP, and the whole gateway.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::support::ca::Ca;
use crate::support::lab::{Lab, OPERATORS, critical};
use crate::support::mailbell::Mailbell;
use crate::support::oauth::acceptor;
use crate::support::script::{Script, expect, send};

/// A mail server that says `behind` right behind its consent to TLS, and goes on inside TLS. What it hears is noted.
async fn injecting(ca: &Ca, behind: &'static str) -> (u16, Arc<Mutex<String>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(Mutex::new(String::new()));
    let (notes, acceptor) = (heard.clone(), acceptor(ca));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, acceptor.clone(), behind, notes.clone()));
        }
    });
    (port, heard)
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, behind: &str, heard: Arc<Mutex<String>>) -> Option<()> {
    let mut clear = BufReader::new(stream);
    clear.write_all(b"220 mx\r\n").await.ok()?;
    loop {
        let mut line = String::new();
        if clear.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        heard.lock().unwrap().push_str(&line);
        if line.starts_with("STARTTLS") {
            break;
        }
        clear.write_all(b"250-mx\r\n250 STARTTLS\r\n").await.ok()?;
    }
    clear.write_all(format!("220 go\r\n{behind}").as_bytes()).await.ok()?;
    let mut inside = BufReader::new(acceptor.accept(clear.into_inner()).await.ok()?);
    heard.lock().unwrap().push_str("(TLS)\n");
    loop {
        let mut line = String::new();
        if inside.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        heard.lock().unwrap().push_str(&line);
        let answer = if line.starts_with("EHLO") { "250-mx\r\n250 AUTH PLAIN\r\n" } else { "250 ok\r\n" };
        inside.write_all(answer.as_bytes()).await.ok()?;
    }
}

/// `mailbell send` to that port, with a login; its exit code, and what it said.
async fn mailed(port: u16, ca: &Path, tls: &str) -> (Option<i32>, String) {
    use std::os::unix::fs::PermissionsExt;
    let password = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(password.path(), "canary-smtp\n").unwrap();
    std::fs::set_permissions(password.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_mailbell"));
    command.args(["send", "--to", "inbox@example.test", "--title", "T", "--text", "x", "--user", "u", "--tls", tls]);
    command.args(["--smtp", &format!("localhost:{port}")]).arg("--password-file").arg(password.path());
    command.arg("--ca-file").arg(ca).stdin(Stdio::null());
    let output = command.output().await.unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn a_mail_server_without_starttls_hears_neither_mail_nor_password() {
    let ca = Ca::new();
    for offer in ["250-mx\r\n250 AUTH PLAIN LOGIN\r\n", "250 mx\r\n", "502 what?\r\n"] {
        let script = Script::start(vec![vec![send("220 mx\r\n"), expect("EHLO"), send(offer)]]).await;
        let (code, said) = mailed(script.port, &ca.ca(), "starttls").await;
        assert_eq!(code, Some(69), "{offer:?}: {said}");
        assert!(!script.lines().iter().any(|l| l.contains("AUTH") || l.contains("MAIL")), "{:?}", script.lines());
        assert!(offer.starts_with("502") || said.contains("STARTTLS"), "{said}");
    }
    // One that offers it and then will not.
    for refusal in ["454 not now\r\n", "501 no\r\n", "250 ok\r\n"] {
        let steps = vec![
            send("220 mx\r\n"),
            expect("EHLO"),
            send("250-mx\r\n250 STARTTLS\r\n"),
            expect("STARTTLS"),
            send(refusal),
        ];
        let script = Script::start(vec![steps]).await;
        let (code, said) = mailed(script.port, &ca.ca(), "starttls").await;
        assert!(matches!(code, Some(69 | 75)), "{refusal:?}: {code:?} {said}");
        assert!(!script.lines().iter().any(|l| l.contains("AUTH") || l.contains("MAIL")), "{:?}", script.lines());
    }
}

#[tokio::test]
async fn what_a_mail_server_says_behind_its_consent_to_tls_is_not_believed() {
    let ca = Ca::new();
    for behind in ["250-mx\r\n250 AUTH LOGIN\r\n", "250 mx\r\n", "\r\n", "x"] {
        let (port, heard) = injecting(&ca, behind).await;
        let (code, said) = mailed(port, &ca.ca(), "starttls").await;
        let heard = heard.lock().unwrap().clone();
        assert!(!heard.contains("AUTH") && !heard.contains("MAIL"), "{behind:?}: {heard}");
        assert_eq!(code, Some(69), "{behind:?}: {said}\n{heard}");
        assert!(said.contains("in the clear behind its consent to TLS"), "{said}");
    }
    // The same server without it is fine.
    let (port, heard) = injecting(&ca, "").await;
    let (code, said) = mailed(port, &ca.ca(), "starttls").await;
    let heard = heard.lock().unwrap().clone();
    let (clear, inside) = heard.split_once("(TLS)\n").unwrap_or_else(|| panic!("{heard}\n{said}"));
    assert!(!clear.contains("AUTH") && inside.contains("AUTH PLAIN"), "{heard}");
    // It takes any line for a command: the end of the mail is one of many answers.
    println!("{code:?} {said}");
}

/// The gateway itself, whose mailbox is on a server from which STARTTLS was taken away: no password, and the operators hear why.
#[tokio::test]
async fn the_gateway_gives_no_password_to_a_server_without_starttls() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let imap = vec![send("* OK hi\r\n"), expect("STARTTLS"), send("{tag} BAD what?\r\n")];
    let pop3 = vec![send("+OK hi\r\n"), expect("STLS"), send("-ERR what?\r\n")];
    let (imap, pop3) = (Script::start(vec![imap]).await, Script::start(vec![pop3]).await);
    let stripped = |protocol: &str, port: u16| {
        format!(
            "[[mailbox]]\nname = \"{protocol}\"\nprotocol = \"{protocol}\"\nserver = \"127.0.0.1:{port}\"\ntls = \"starttls\"\n\
             user = \"u\"\npassword = \"canary-{protocol}\"\n"
        )
    };
    let config = lab.base()
        + &lab.imap("inbox", "")
        + &stripped("imap", imap.port)
        + &stripped("pop3", pop3.port)
        + &lab.everybody("ops")
        + OPERATORS;
    let mailbell = Mailbell::run(&config);
    for protocol in ["imap", "pop3"] {
        let told = alice.gets(&format!("mailbox {protocol} cannot be read")).await;
        assert!(told.contains("STARTTLS"), "{told}");
    }
    for script in [&imap, &pop3] {
        assert!(
            script.lines().iter().all(|line| line.contains("STARTTLS") || line.contains("STLS")),
            "{:?}",
            script.lines()
        );
    }
    lab.mail(&critical("next", "The others go on"));
    alice.gets("The others go on").await;
    assert!(!mailbell.log().contains("canary"));
}
