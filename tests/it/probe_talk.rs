//! What the probe looks at beyond the connection, at real servers: what they say, their TLS, their certificates.

use std::path::Path;
use std::process::Command;

use rcgen::{CertificateParams, date_time_ymd};
use serde_json::Value;

use crate::support::DOMAIN;
use crate::support::ca::Ca;
use crate::support::chat::Options;
use crate::support::child::Server;
use crate::support::dovecot::Dovecot;
use crate::support::postfix::Postfix;
use crate::support::prosody::Prosody;

/// The date so many days from now, in UTC.
fn date(days: i64) -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days)).strftime("%Y-%m-%d").to_string()
}

/// An authority whose server certificate ends after midnight of the day so many days from now.
fn ends_in(days: i64) -> impl FnOnce(&mut CertificateParams) {
    move |server| {
        let date: jiff::civil::Date = date(days).parse().unwrap();
        server.not_after = date_time_ymd(date.year().into(), date.month().cast_unsigned(), date.day().cast_unsigned());
    }
}

/// `[[probe.target]]`
fn target(port: u16, keys: &str) -> String {
    format!("[[probe.target]]\naddress = \"127.0.0.1:{port}\"\n{keys}\n")
}

fn tls(ca: &Ca) -> String {
    trusting(&ca.ca())
}

fn trusting(ca_file: &Path) -> String {
    format!("tls = true\nca_file = \"{}\"\n", ca_file.display())
}

/// `mailbell check --config`, with `more` arguments: its exit code, and what it printed.
fn check(config: &str, more: &[&str]) -> (i32, String) {
    let dir = Server::new("check");
    let file = dir.write("probe.toml", config);
    let mut command = Command::new(env!("CARGO_BIN_EXE_mailbell"));
    let output = command.arg("check").arg("--config").arg(file).args(more).output().unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

/// The same as JSON: outcome and reason of each port.
fn checked(config: &str) -> (i32, impl Fn(u16) -> (String, String)) {
    let (code, out) = check(config, &["--json"]);
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = move |port: u16| {
        let line = lines.iter().find(|line| line["port"] == port).unwrap();
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        (text("outcome"), text("reason"))
    };
    (code, of)
}

#[tokio::test]
async fn real_servers_say_what_is_expected_of_them() {
    let ca = Ca::new();
    let dovecot = Dovecot::start(&ca, &["alice"]);
    let prosody = Prosody::start(&ca, &[], Options::default());
    let open_stream = format!(
        "expect = '<stream:features>.*starttls'\n\
         send = \"<?xml version='1.0'?><stream:stream to='{DOMAIN}' version='1.0' xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams'>\"\n"
    );
    let imap = "expect = '^\\* OK '\nsend = \"a LOGOUT\\r\\n\"\n";
    let mut config = target(dovecot.imaps, &(tls(&ca) + imap))
        + &target(dovecot.imap, imap)
        + &target(dovecot.pop3s, &(tls(&ca) + "expect = '^\\+OK '\n"))
        + &target(dovecot.lmtp, "expect = '^220 '\n")
        + &target(prosody.c2s, &open_stream);
    let postfix = Postfix::start(&format!("inet:127.0.0.1:{}", dovecot.lmtp));
    if let Some(postfix) = &postfix {
        config += &target(postfix.smtp, "expect = \"^220 .* ESMTP Postfix\"\n");
    }
    let (code, of) = checked(&config);
    let ports = [dovecot.imaps, dovecot.imap, dovecot.pop3s, dovecot.lmtp, prosody.c2s];
    for port in ports.into_iter().chain(postfix.as_ref().map(|postfix| postfix.smtp)) {
        assert_eq!(of(port), ("open".into(), "127.0.0.1 answered as expected".into()));
    }
    assert_eq!(code, 0);

    // Each is asked as if it were another.
    let config = target(dovecot.imap, "expect = '^220 '\ntimeout = \"1s\"")
        + &target(dovecot.imaps, "expect = '^\\* OK '\ntimeout = \"1s\"")
        + &target(prosody.c2s, "expect = '.'\ntimeout = \"1s\"")
        + &target(dovecot.lmtp, &tls(&ca));
    let (code, of) = checked(&config);
    assert_eq!(code, 1);
    let (outcome, reason) = of(dovecot.imap);
    assert_eq!(outcome, "unexpected_answer");
    assert!(reason.starts_with("127.0.0.1 answered `* OK ["), "{reason}");
    assert!(reason.ends_with("…`, which does not fit `^220 `, and nothing that does within 1s"), "{reason}");
    let silent = ("no_answer".into(), "127.0.0.1 accepted the connection and said nothing within 1s".into());
    assert_eq!(of(dovecot.imaps), silent, "it waits for TLS");
    assert_eq!(of(prosody.c2s), silent);
    let (outcome, reason) = of(dovecot.lmtp);
    assert_eq!(outcome, "tls_failed", "{reason}");
}

#[tokio::test]
async fn a_certificate_that_is_refused_is_told_with_what_mends_it() {
    let other_name = |server: &mut CertificateParams| {
        server.subject_alt_names =
            CertificateParams::new(vec!["www.example.org".to_owned()]).unwrap().subject_alt_names;
    };
    let (expired, other, fine) = (Ca::with(ends_in(-1)), Ca::with(other_name), Ca::new());
    let servers = [&expired, &other, &fine].map(|ca| Dovecot::start(ca, &["alice"]));
    let [ended, named, good] = &servers;
    let config = target(ended.imaps, &tls(&expired))
        + &target(named.imaps, &tls(&other))
        + &target(named.pop3s, &(tls(&other) + "tls_name = \"www.example.org\""))
        + &target(good.imaps, "tls = true")
        + &target(good.pop3s, &(tls(&fine) + "tls_name = \"localhost\""));
    let (code, of) = checked(&config);
    assert_eq!(code, 1);
    let refused = |why: &str| {
        let reason = format!("127.0.0.1: the certificate of 127.0.0.1 was refused: {why}");
        ("certificate_refused".to_owned(), reason)
    };
    assert_eq!(of(ended.imaps), refused("it has expired; renew it on the server"));
    let mends = "it is for another name; correct the server name, or set tls_name to the name in the certificate";
    assert_eq!(of(named.imaps), refused(mends));
    let mends =
        "it was issued by an authority that this machine does not trust; give the authority's certificate as ca_file";
    assert_eq!(of(good.imaps), refused(mends));
    let done = ("open".to_owned(), "127.0.0.1 completed the TLS handshake".to_owned());
    assert_eq!((of(named.pop3s), of(good.pop3s)), (done.clone(), done));
}

#[tokio::test]
async fn a_certificate_that_ends_soon_is_shown_and_changes_no_exit_code() {
    let ca = Ca::with(ends_in(10));
    let dovecot = Dovecot::start(&ca, &["alice"]);
    let config =
        target(dovecot.imaps, &tls(&ca)) + &target(dovecot.pop3s, &(tls(&ca) + "certificate_warning = \"5d\""));
    let (code, table) = check(&config, &[]);
    assert_eq!(code, 0, "{table}");
    let soon = format!("127.0.0.1 completed the TLS handshake; its certificate expires in 9 days ({})", date(10));
    assert!(table.lines().any(|line| line.ends_with(&soon)), "{table}");
    assert!(table.lines().any(|line| line.ends_with("127.0.0.1 completed the TLS handshake")), "{table}");
    assert!(table.ends_with("2 of 2 open\n"), "{table}");
}
