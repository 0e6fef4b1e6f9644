//! What servers and people in the chat say never begins a line of the log, drives a terminal, or turns text around.

use super::{are_tame, is_a_log, is_plain};
use crate::support::client::Login;
use crate::support::lab::{Lab, OPERATORS, critical};
use crate::support::mailbell::Mailbell;
use crate::support::script::{Script, expect, send};

/// On one line, as a server can say it.
const EVIL: &str =
    "evil \u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\u{2066}\u{2028}\u{85}\r2026-01-01T00:00:00Z ERROR forged";

/// The same as far as XML takes it.
const EVIL_XML: &str = "evil \u{9b}31m\u{202e}\u{2066}\u{2028}\u{85}&#13;&#10;2026-01-01T00:00:00Z ERROR forged";

#[tokio::test]
async fn what_mail_servers_say_stays_on_its_line() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    // A bare CR is no IMAP; POP3 is read by lines that LF ends.
    let say = |text: &str| {
        let evil = if text.starts_with(['-', '+']) { EVIL.to_owned() } else { EVIL.replace('\r', "") };
        send(text.replace("EVIL", &evil))
    };
    let caps = "* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR\r\n{tag} OK\r\n";
    let logged_in = || {
        vec![
            say("* OK EVIL\r\n"),
            expect("CAPABILITY"),
            send(caps),
            expect("AUTHENTICATE"),
            send("{tag} OK EVIL\r\n"),
            expect("CAPABILITY"),
            send(caps),
        ]
    };
    let selected = |reply: &str| [logged_in(), vec![expect("SELECT"), say(reply)]].concat();
    let scripts = [
        ("imap", "none", vec![say("EVIL\r\n")]),
        ("imap", "none", vec![say("* BYE EVIL\r\n")]),
        ("imap", "none", vec![say("* OK EVIL\r\n"), expect("CAPABILITY"), say("{tag} NO EVIL\r\n")]),
        (
            "imap",
            "none",
            vec![
                say("* OK hi\r\n"),
                expect("CAPABILITY"),
                send(caps),
                expect("AUTHENTICATE"),
                say("{tag} NO EVIL\r\n"),
            ],
        ),
        (
            "imap",
            "none",
            vec![
                say("* OK hi\r\n"),
                expect("CAPABILITY"),
                send(caps),
                expect("AUTHENTICATE"),
                say("{tag} NO [ALERT] EVIL\r\n"),
            ],
        ),
        ("imap", "none", selected("{tag} NO [NONEXISTENT] EVIL\r\n")),
        ("imap", "none", selected("* BYE EVIL\r\n")),
        ("imap", "none", selected("* EVIL\r\n")),
        ("imap", "starttls", vec![say("* BYE EVIL\r\n")]),
        ("imap", "starttls", vec![say("* OK EVIL\r\n"), expect("STARTTLS"), say("{tag} NO EVIL\r\n")]),
        ("pop3", "none", vec![say("-ERR EVIL\r\n")]),
        ("pop3", "none", vec![say("EVIL\r\n")]),
        (
            "pop3",
            "none",
            vec![say("+OK <EVIL@x>\r\n"), expect("CAPA"), say("-ERR EVIL\r\n"), expect("USER"), say("-ERR EVIL\r\n")],
        ),
        (
            "pop3",
            "none",
            vec![
                say("+OK\r\n"),
                expect("CAPA"),
                say("+OK\r\nEVIL\r\nUSER\r\n.\r\n"),
                expect("USER"),
                say("+OK EVIL\r\n"),
                expect("PASS"),
                say("-ERR [AUTH] EVIL\r\n"),
            ],
        ),
        ("pop3", "starttls", vec![say("+OK EVIL\r\n"), expect("STLS"), say("-ERR EVIL\r\n")]),
    ];
    let mut config = lab.base() + &lab.imap("inbox", "") + &lab.everybody("ops");
    let mut servers = Vec::new();
    for (n, (protocol, tls, steps)) in scripts.into_iter().enumerate() {
        let script = Script::start(vec![steps]).await;
        config += &format!(
            "[[mailbox]]\nname = \"m{n}\"\nprotocol = \"{protocol}\"\nserver = \"127.0.0.1:{}\"\ntls = \"{tls}\"\n\
             user = \"u{n}\"\npassword = \"p\"\n",
            script.port
        );
        servers.push(script);
    }
    config += &OPERATORS.replacen('\n', "\nnotice_every = \"1s\"\n", 1);
    let mailbell = Mailbell::run(&(config + "[log]\nfilter = \"trace\"\n"));
    for n in 0..servers.len() {
        mailbell.logged(&format!("mailbox=m{n}}}: the mailbox cannot be read"), 1).await;
    }
    let evil = mailbell.log().lines().filter(|line| line.contains("cannot be read") && line.contains("evil")).count();
    assert!(evil >= 6, "what servers say is told: {evil} of {}", servers.len());
    alice.gets("evil").await;
    are_tame(&alice);
    is_a_log(&mailbell.log());
}

#[tokio::test]
async fn what_people_and_their_servers_say_stays_on_its_line() {
    let lab = Lab::new(&["alice", "mallory"]);
    let alice = lab.login("alice").without_receipts().connect().await;
    let mallory = Login::new(lab.chat.c2s, "mallory").connect().await;
    let config = lab.base() + &lab.imap("inbox", "") + &crate::support::lab::group("ops", &["alice"], "") + OPERATORS;
    let mut mailbell = Mailbell::run(&(config + "[log]\nfilter = \"trace\"\n"));
    lab.mail(&critical("a", "First"));
    let first = alice.wait_message(|m| m.body().unwrap().contains("First"), crate::support::mailbell::SOON).await;
    let id = first.id().unwrap().to_owned();
    let bot = "alerts@example.test/mailbell";
    for client in [&mallory, &alice] {
        client
            .raw(&format!(
                "<presence><show>{EVIL_XML}</show><status>{EVIL_XML}</status><priority>{EVIL_XML}</priority>\
                 <nick xmlns='http://jabber.org/protocol/nick'>{EVIL_XML}</nick></presence>\
                 <presence to='{bot}'><show>xa</show><status>{EVIL_XML}</status></presence>\
                 <presence to='{bot}' type='error' id='{EVIL_XML}'><error type='cancel'><text>{EVIL_XML}</text></error></presence>\
                 <message to='{bot}' type='chat' id='{EVIL_XML}'><body>{EVIL_XML}</body><subject>{EVIL_XML}</subject>\
                 <thread>{EVIL_XML}</thread><request xmlns='urn:xmpp:receipts'/></message>\
                 <message to='{bot}' type='{EVIL_XML}' id='{EVIL_XML}'><x xmlns='{EVIL_XML}'>{EVIL_XML}</x></message>\
                 <message to='{bot}'><received xmlns='urn:xmpp:receipts' id='{EVIL_XML}'/></message>\
                 <message to='{bot}' type='error' id='{id}'><error type='wait'>\
                 <resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
                 <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>{EVIL_XML}</text></error></message>\
                 <message to='{bot}' type='error' id='{EVIL_XML}'><error type='{EVIL_XML}'><evil xmlns='{EVIL_XML}'/></error></message>\
                 <iq to='{bot}' type='set' id='{EVIL_XML}'><query xmlns='{EVIL_XML}'>{EVIL_XML}</query></iq>"
            ))
            .await;
        // Answered behind all of it.
        client.iq("example.test", "get", "<ping xmlns='urn:xmpp:ping'/>").await;
    }
    mailbell.logged("resource-constraint", 1).await;
    lab.mail(&critical("b", "Second"));
    alice.gets("Second").await;
    for args in
        [vec!["queue", "list"], vec!["queue", "show", "#1"], vec!["queue", "list", "--json", "--state", "queued"]]
    {
        let output = mailbell.cli(&args, true);
        is_plain(&String::from_utf8(output.stdout).unwrap());
    }
    mailbell.stop();
    is_a_log(&mailbell.log());
    are_tame(&alice);
}
