//! `require_auth = "dmarc"`: only what our own mail server says of a mail is believed.

use crate::support::lab::{Lab, OPERATORS, critical};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::{DOMAIN, free_port, lmtp::Session, postfix::Postfix, wait_for};

const RECEIVED: &str = "Received: from out.example.test (out.example.test [192.0.2.1])\r\n\tby mx.example.test (Postfix) with ESMTPS id 4;\r\n\tSun, 22 Nov 2026 10:00:00 +0000\r\n";

/// What our server adds.
fn says(results: &str) -> String {
    format!("Authentication-Results: mx.example.test; {results}\r\n")
}

fn pass() -> String {
    says("dmarc=pass (p=reject) header.from=example.test")
}

const REQUIRED: &str = "require_auth = \"dmarc\"\nauthserv_id = \"mx.example.test\"\n";

/// What stands on top of the mail, and why it is not believed; without a reason it is.
fn cases() -> Vec<(&'static str, String, Option<&'static str>)> {
    let none = "no Authentication-Results of mx.example.test stands above its Received line";
    let other = "Authentication-Results: mx.example.org; dmarc=pass header.from=example.test\r\n";
    vec![
        ("a pass", pass() + RECEIVED, None),
        ("a pass, and one of another server", other.to_owned() + &pass() + RECEIVED, None),
        ("a pass in several fields", pass() + &says("dkim=fail header.d=example.org") + RECEIVED, None),
        ("a pass, folded", pass().replace("; ", ";\r\n\t").replace("header", "\r\n header") + RECEIVED, None),
        ("nothing", RECEIVED.to_owned(), Some(none)),
        ("nothing at all", String::new(), Some(none)),
        ("a fail", says("dmarc=fail header.from=example.test") + RECEIVED, Some("mx.example.test says dmarc=fail")),
        ("a pass and a fail", pass() + &says("dmarc=fail") + RECEIVED, Some("mx.example.test says dmarc=fail")),
        (
            "a pass for another domain",
            says("dmarc=pass header.from=example.org") + RECEIVED,
            Some("says dmarc=pass for example.org, not for example.test"),
        ),
        ("another server", other.to_owned() + RECEIVED, Some("there is one of mx.example.org")),
        ("a pass below", RECEIVED.to_owned() + &pass(), Some(none)),
        ("a pass below, with a forged Received", RECEIVED.to_owned() + &pass() + RECEIVED, Some(none)),
        ("a fail, and a pass below", says("dmarc=fail") + RECEIVED + &pass(), Some("mx.example.test says dmarc=fail")),
        (
            "a pass in a comment",
            says("spf=pass (dmarc=pass header.from=example.test)") + RECEIVED,
            Some("nothing of DMARC"),
        ),
        (
            "a pass in quotes",
            says("spf=pass reason=\"dmarc=pass header.from=example.test\"") + RECEIVED,
            Some("nothing of DMARC"),
        ),
        ("an unknown version", pass().replace("; dmarc", " 2; dmarc") + RECEIVED, Some(none)),
        ("no end", says("dmarc=pass header.from=example.test (") + RECEIVED, Some("cannot be read")),
    ]
}

fn mail(top: &str, title: &str) -> String {
    // As servers hand them on: CRLF everywhere.
    (top.to_owned() + &critical(title, title)).replace("\r\n", "\n")
}

#[tokio::test]
async fn only_mails_for_which_our_own_server_vouches_are_alerts() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let keys = format!("{REQUIRED}after = \"move:Done\"\nrejected = \"move:Rejected\"");
    let mailbell = Mailbell::run(&(lab.base() + &lab.imap("inbox", &keys) + &lab.everybody("ops") + OPERATORS));
    let cases = cases();
    for (n, (what, top, refused)) in cases.iter().enumerate() {
        lab.mail(&mail(top, &format!("Case {n}: {what}.")));
        let (state, reason) = mailbell.judged(n + 1).await.pop().unwrap();
        match refused {
            None => assert_eq!(state, "parsed", "{what}: {reason}"),
            Some(why) => assert!(state == "rejected" && reason.contains(why), "{what}: {state}: {reason}"),
        }
    }
    let good = cases.iter().filter(|(.., refused)| refused.is_none()).count();
    alice.wait_count(good, SOON).await;
    // Nested: what an attached mail says is not about this one.
    let nested = mail("", "Nested").replace("Content-Type:", "X-Was:");
    let inner = mail(&(pass() + RECEIVED), "Inner");
    let (head, _) = nested.split_once("\n\n").unwrap();
    lab.mail(&format!("{head}\nContent-Type: message/rfc822\n\n{inner}"));
    let (state, reason) = mailbell.judged(cases.len() + 1).await.pop().unwrap();
    assert_eq!(state, "rejected", "{reason}");
    // Put away like those of senders who are not allowed; nobody hears of them, and none is in the queue.
    wait_for("the rejected mails in their folder", SOON, async || {
        (lab.dovecot.count("inbox", "Rejected") == cases.len() + 1 - good).then_some(())
    })
    .await;
    assert_eq!(lab.dovecot.count("inbox", "Done"), good);
    assert_eq!((alice.count(), mailbell.notifications().await.len()), (good, good));
    super::is_a_log(&mailbell.log());
}

#[tokio::test]
async fn a_sender_has_to_be_allowed_and_vouched_for() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let keys = format!("{REQUIRED}senders = [\"monitor@*\"]\n");
    let mailbell = Mailbell::run(&(lab.base() + &lab.imap("inbox", &keys) + &lab.everybody("ops") + OPERATORS));
    let good = mail(&(pass() + RECEIVED), "Good");
    lab.mail(&good.replace("From: monitor@", "From: other@"));
    lab.mail(&good.replace("From: monitor@example.test", "From: monitor@example.org"));
    lab.mail(&good.replace("From: monitor@example.test", "From: monitor@example.test, monitor@example.org"));
    lab.mail(&good.replace("From: monitor@example.test", "From: monitor@example.test\nFrom: monitor@example.test"));
    lab.mail(&good.replace("From: monitor@example.test", "From: <>"));
    lab.mail(&good);
    alice.gets("Good").await;
    let judged = mailbell.judged(6).await;
    let reasons: Vec<&str> = judged.iter().map(|(_, reason)| reason.as_str()).collect();
    assert_eq!(
        reasons[..5],
        [
            "sender other@example.test is not among the allowed senders",
            "mx.example.test says dmarc=pass for example.test, not for example.org",
            "its From header has 2 addresses; exactly one is believed",
            "it has 2 From headers; exactly one is believed",
            "its From header has 0 addresses; exactly one is believed",
        ]
    );
    assert!(judged[..5].iter().all(|(state, _)| state == "rejected") && judged[5].0 == "parsed", "{judged:?}");
    assert_eq!(alice.count(), 1);
}

/// A real Postfix in front of the LMTP door: what it puts on top is above what came with the mail.
#[tokio::test]
async fn a_mail_server_in_front_of_the_lmtp_door_vouches_the_same_way() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let port = free_port();
    let door = format!(
        "[[lmtp]]\nlisten = \"127.0.0.1:{port}\"\n[[mailbox]]\nname = \"direct\"\nprotocol = \"lmtp\"\n\
         addresses = [\"inbox@{DOMAIN}\"]\n{REQUIRED}"
    );
    let mailbell = Mailbell::run(&(lab.base() + &door + &lab.everybody("ops") + OPERATORS));
    let to = format!("inbox@{DOMAIN}");
    // Handed in by the server itself, with its field and without.
    let mut session = Session::connect(port).unwrap();
    session.deliver(&to, mail(&(pass() + RECEIVED), "Vouched").as_bytes()).unwrap();
    session.deliver(&to, mail(RECEIVED, "Not vouched").as_bytes()).unwrap();
    alice.gets("Vouched").await;
    assert_eq!(mailbell.judged(2).await[1].0, "rejected");
    // Postfix calls itself mx.example.test, adds its Received, and no such field: what was sent along is below, and worthless.
    let Some(postfix) = Postfix::start(&format!("inet:127.0.0.1:{port}")) else { return };
    postfix.mail(&[&to], &mail(&pass(), "Forged"));
    postfix.mail(&[&to], &mail(&(pass() + RECEIVED), "Forged again"));
    for (state, reason) in &mailbell.judged(4).await[2..] {
        assert_eq!(state, "rejected", "{reason}");
        assert!(reason.ends_with("what stands below is not believed"), "{reason}");
    }
    assert_eq!(alice.count(), 1);
}

#[test]
fn a_rehearsal_says_why() {
    let lab = Lab::new(&["alice"]);
    let mailbell = Mailbell::new(&(lab.base() + &lab.imap("inbox", REQUIRED) + &lab.everybody("ops") + OPERATORS));
    let out = mailbell.cli_with(&["route", "-"], true, mail(RECEIVED, "Why").as_bytes());
    let said = String::from_utf8(out.stdout).unwrap();
    assert!(said.contains("rejected: no Authentication-Results of mx.example.test stands above"), "{said}");
}
