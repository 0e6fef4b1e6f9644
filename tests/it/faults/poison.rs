//! Rows 14 and 29: mails that are far too large, and mails that are poison.

use std::time::Duration;

use crate::hostile::{is_a_log, mail, quarantine};
use crate::mailbox_hostile::{CAPS, imap_begin, imap_listed, with};
use crate::support::lab::{Lab, OPERATORS, alert, xml_mail};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::oracle::{Oracle, Verdict};
use crate::support::prosody::Options;
use crate::support::script::{Script, Step, expect, send};
use crate::support::wait_for;
use crate::support::witness::Witness;

/// The most resident memory so far, in KiB.
fn peak(mailbell: &Mailbell) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", mailbell.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// These ended in quarantine, and all others came.
fn in_quarantine(verdict: &Verdict) -> Vec<(usize, String)> {
    let visible = verdict.visible();
    assert!(visible.iter().all(|fate| fate.state == "quarantined"), "{visible:#?}");
    visible.iter().map(|fate| (fate.number, fate.reason.clone())).collect()
}

#[tokio::test]
async fn row14_mails_of_fifty_megabytes() {
    let lab = Lab::with(&["alice"], &["inbox", "pop"], Options::default());
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let config = lab.base() + &lab.imap("inbox", "") + &lab.pop3("pop", "") + &lab.everybody("ops") + OPERATORS;
    let mailbell = Mailbell::run(&config);
    let oracle = Oracle::new(14, "mails of 50 MiB over IMAP and POP3, max_size 2 MiB");
    oracle.mail(&lab, 1);
    oracle.mail_to(&lab, "pop", 1);
    oracle.settled(&mailbell, &[&alice]).await;
    let before = peak(&mailbell);
    for mailbox in ["inbox", "pop"] {
        let mut large = oracle.next().1.into_bytes();
        large.resize(50 << 20, b'x');
        lab.dovecot.put(mailbox, [large.as_slice()]);
        oracle.mail_to(&lab, mailbox, 1);
    }
    oracle.over();
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    oracle.holds(&verdict, 1);
    let found = in_quarantine(&verdict);
    assert_eq!(found.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2, 4], "{found:#?}");
    assert!(found.iter().all(|(_, reason)| reason.contains("bytes, over max_size (2MiB)")), "{found:#?}");
    wait_for("the notice", SOON, async || alice.has("bytes, over max_size (2MiB)").then_some(())).await;
    let grown = peak(&mailbell) - before;
    println!("peak grew by {grown} KiB");
    assert!(grown < 16 * 1024, "{grown} KiB for mails that are not fetched");
}

/// No real server gives more than it says, or than it is asked for.
#[tokio::test]
async fn row14_literals_larger_than_the_server_said() {
    let lab = Lab::new(&["alice"]);
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let oracle = Oracle::new(14, "scripted IMAP: literals larger than SIZE, and endless");
    let mut large = oracle.next().1;
    let more = 10_241 - large.len();
    large += &"x".repeat(more);
    let lies = with(
        imap_listed(CAPS, &[(1, 10)]),
        [
            expect("UID FETCH 1 (UID RFC822.SIZE INTERNALDATE BODY.PEEK[]<0.10241>)"),
            send(format!("* 1 FETCH (UID 1 RFC822.SIZE 10 BODY[]<0> {{10241}}\r\n{large})\r\n{{tag}} OK done\r\n")),
        ],
    );
    let endless = with(
        imap_begin(CAPS, 2),
        [
            expect("NOOP"),
            send("{tag} OK\r\n"),
            expect("UID FETCH 2:* (UID RFC822.SIZE)"),
            send("* 2 FETCH (UID 2 RFC822.SIZE 10)\r\n{tag} OK done\r\n"),
            expect("UID FETCH 2 ("),
            send("* 2 FETCH (UID 2 RFC822.SIZE 10 BODY[]<0> {536000000}\r\n"),
            Step::Drip(vec![b'x'; 1 << 20], Duration::ZERO),
        ],
    );
    let script = Script::start(vec![lies, endless]).await;
    let liar = lab
        .imap("alerts", "max_size = \"10KiB\"\ntimeout = \"2s\"")
        .replace(&format!(":{}\"", lab.dovecot.imaps), &format!(":{}\"", script.port))
        .replace("tls = \"direct\"", "tls = \"none\"");
    let mailbell = Mailbell::run(&(lab.config() + &liar));
    let before = peak(&mailbell);
    mailbell.logged("larger than what was asked for", 2).await;
    oracle.mail(&lab, 2);
    oracle.over();
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    oracle.holds(&verdict, 1);
    let found = in_quarantine(&verdict);
    assert!(matches!(found.as_slice(), [(0, reason)] if reason.contains("over max_size (10KiB)")), "{found:#?}");
    let grown = peak(&mailbell) - before;
    println!("peak grew by {grown} KiB");
    assert!(grown < 32 * 1024, "{grown} KiB for literals that are not read");
}

/// An alert with this content, whatever it is.
fn xml(content: &str) -> Vec<u8> {
    alert("severity=\"critical\"", content).into_bytes()
}

/// Name and mail of each poison, and whether it has to end in quarantine; otherwise only what comes after it counts.
fn poisons() -> Vec<(&'static str, Vec<u8>, bool)> {
    let deep = format!("<title>deep</title>{}{}", "<a>".repeat(10_000), "</a>".repeat(10_000));
    let bomb = "<!DOCTYPE alert [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;\">\
                <!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;\">]><alert xmlns=\"urn:mailbell:alert:1\"><title>&c;</title></alert>";
    let outside =
        "<!DOCTYPE alert SYSTEM \"file:///etc/passwd\"><alert xmlns=\"urn:mailbell:alert:1\"><title>x</title></alert>";
    let parts = "--b\nContent-Type: text/plain\n\nx\n".repeat(5_000) + "--b--\n";
    let nested: String =
        (0..2_000).map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n")).collect();
    let mut invalid = xml("<title>broken UTF-8: @@</title>");
    invalid.iter_mut().filter(|b| **b == b'@').for_each(|b| *b = 0xff);
    let mut nul = xml("<title>nul: @</title>");
    nul.iter_mut().filter(|b| **b == b'@').for_each(|b| *b = 0);
    vec![
        ("10,000 elements deep", xml(&deep), true),
        ("an entity bomb", xml_mail(bomb).into_bytes(), true),
        ("a DOCTYPE", xml_mail(outside).into_bytes(), true),
        ("invalid UTF-8", invalid, true),
        ("NUL bytes", nul, true),
        ("5,000 parts", mail("Content-Type: multipart/mixed; boundary=b", &parts).into_bytes(), true),
        ("2,000 nested parts", mail("X-Nested: yes", "").replacen("X-Nested: yes\n\n", &nested, 1).into_bytes(), true),
        (
            "100,000 attributes",
            xml(&format!(
                "<title {}>x</title>",
                (0..100_000).map(|n| format!("a{n}=''")).collect::<Vec<_>>().join(" ")
            )),
            true,
        ),
        ("no end", xml_mail("<alert xmlns=\"urn:mailbell:alert:1\"><title>").into_bytes(), true),
        ("nothing at all", Vec::new(), false),
        ("only line ends", b"\n\n\n\n".to_vec(), false),
        ("a header of a megabyte", mail(&format!("X-Long: {}", "x".repeat(1 << 20)), "x").into_bytes(), false),
        (
            "base64 of nothing",
            mail("Content-Type: application/xml\nContent-Transfer-Encoding: base64", "====!!!!").into_bytes(),
            true,
        ),
    ]
}

#[tokio::test]
async fn row29_poison_mails() {
    let lab = Lab::new(&["alice"]);
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let mailbell = Mailbell::run(&lab.config());
    let poisons = poisons();
    let oracle = Oracle::new(29, &format!("{} poison mails: nesting, bombs, broken encodings", poisons.len()));
    let mut quarantined = 0;
    for (what, poison, must) in &poisons {
        lab.dovecot.put("inbox", [poison.as_slice()]);
        oracle.mail(&lab, 1);
        let title = oracle.title(oracle.count() - 1);
        wait_for(&format!("the mail after {what}"), SOON, async || alice.has(&title).then_some(())).await;
        let found = quarantine(&mailbell);
        assert!(!must || found > quarantined, "{what} is not in quarantine");
        quarantined = found;
    }
    oracle.over();
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    oracle.all_told(&verdict, 1);
    wait_for("the notice", SOON, async || alice.has("mailbell: ").then_some(())).await;
    let all: Vec<_> = alice.messages().iter().filter_map(|m| m.body()).collect();
    let notices: Vec<_> = all.iter().filter(|body| body.starts_with("mailbell: ")).collect();
    assert!(notices.len() == 1 && notices[0].contains("quarantine"), "one notice in ten minutes: {notices:#?}");
    assert_eq!(all.len(), oracle.count() + 1, "{all:#?}");
    is_a_log(&mailbell.log());
}

/// A mistake of ours, which no mail is known to find.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn row29_parser_panic() {
    let lab = Lab::new(&["alice"]);
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let mut mailbell = Mailbell::new(&lab.config());
    mailbell.env("FAILPOINTS", "parser_panics=1*off->1*return->off");
    mailbell.start();
    let oracle = Oracle::new(29, "a panic in the parser, at the second of three mails");
    oracle.mail(&lab, 1);
    oracle.settled(&mailbell, &[&alice]).await;
    let mails = [oracle.next().1, oracle.next().1];
    lab.put("inbox", &mails);
    oracle.over();
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    oracle.holds(&verdict, 1);
    let found = in_quarantine(&verdict);
    assert!(
        matches!(found.as_slice(), [(1, reason)] if reason.contains("the parser failed on it: on demand")),
        "{found:#?}"
    );
    wait_for("the notice", SOON, async || alice.has("the parser failed on it").then_some(())).await;
}
