//! Combinations of settings that cannot work.

use super::{After, Auth, NOOP, NOOP_AFAR, Protocol, Settings, TokenSource, Watch, check_token_url, is_near};
use crate::model::Span;
use std::path::Path;

/// What cannot work in these settings, each with its fix; empty: nothing. Nothing is dialled.
pub fn check(settings: &Settings) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault = |text: &str| faults.push(text.to_owned());
    match settings.protocol {
        Protocol::Pop3 => {
            match settings.after {
                After::Seen => {
                    fault("after = \"seen\": POP3 has no flags; use \"keep\" or \"delete\", or protocol = \"imap\"")
                }
                After::Move(_) => {
                    fault(
                        "after = \"move:…\": POP3 has no folders; use \"keep\" or \"delete\", or protocol = \"imap\"",
                    );
                }
                After::Keep | After::Delete => {}
            }
            if settings.rejected.is_some() {
                fault("rejected = \"move:…\": POP3 has no folders; leave it out, or use protocol = \"imap\"");
            }
            if !settings.folder.eq_ignore_ascii_case("INBOX") {
                fault("folder: POP3 has no folders; leave it out, or use protocol = \"imap\"");
            }
            match settings.watch {
                Watch::Idle => {
                    fault(
                        "watch = \"idle\": a POP3 server cannot tell of new mail; use \"poll\", or protocol = \"imap\"",
                    );
                }
                Watch::Noop(_) => fault(
                    "watch = \"noop:…\": a POP3 session sees no mail that came after its begin; \
                     use \"poll\", or protocol = \"imap\"",
                ),
                Watch::Poll => {}
            }
        }
        Protocol::Imap => {
            check_folders(settings, &mut fault);
            check_pace(settings, &mut fault);
        }
    }
    if settings.user.is_empty() || unsendable(&settings.user) {
        fault("user: must not be empty, nor hold a line break or NUL, which no mail protocol can send");
    }
    check_auth(settings, &mut fault);
    if settings.timeout.is_zero() || settings.idle_for.is_zero() {
        fault("timeout and idle_for: must be longer than zero");
    }
    faults
}

fn check_auth(settings: &Settings, fault: &mut impl FnMut(&str)) {
    match &settings.auth {
        Auth::Password(password) if password.expose().is_empty() || unsendable(password.expose()) => fault(
            "password: must not be empty, nor hold a line break or NUL, which no mail protocol can send; \
             is there a stray line break at its end?",
        ),
        Auth::Password(_) => {}
        // ^A ends the user's name in XOAUTH2.
        Auth::Xoauth2(_) if settings.user.contains(char::is_control) => {
            fault("user: must not hold control characters");
        }
        Auth::Xoauth2(TokenSource::Command(command)) => {
            if !command.first().is_some_and(|program| Path::new(program).is_absolute()) {
                fault("token_command: must name a program by its whole path");
            }
        }
        Auth::Xoauth2(TokenSource::Endpoint(endpoint)) => {
            if let Err(wrong) = check_token_url(&endpoint.token_url) {
                fault(&format!("token_url: {wrong}"));
            }
            if endpoint.client_secret.is_none() && endpoint.refresh_token.is_none() {
                fault("oauth2: needs a refresh_token, or a client_secret for the client's own login");
            }
        }
    }
}

/// Of a server that is given by name, the address is known when it is dialled.
fn check_pace(settings: &Settings, fault: &mut impl FnMut(&str)) {
    let Watch::Noop(every) = settings.watch else { return };
    if !NOOP.contains(&every) {
        fault(&format!("watch: the interval of NOOPs must be from {} to {}", Span(*NOOP.start()), Span(*NOOP.end())));
    }
    let far = settings.host.parse().is_ok_and(|address| !is_near(address));
    if far && every < NOOP_AFAR {
        fault("watch: a NOOP more often than each second is for servers in a private network; write \"noop:1s\"");
    }
}

fn check_folders(settings: &Settings, fault: &mut impl FnMut(&str)) {
    let target = match &settings.after {
        After::Move(target) => Some(target),
        _ => None,
    };
    for (key, name) in [("folder", Some(&settings.folder)), ("after", target), ("rejected", settings.rejected.as_ref())]
    {
        let Some(name) = name else { continue };
        if name.is_empty() || name.chars().any(char::is_control) {
            fault(&format!("{key}: a folder's name must not be empty, nor hold control characters"));
        }
        if key != "folder" && same(name, &settings.folder) {
            fault(&format!("{key}: moves mails to the folder that is watched; name another one"));
        }
    }
}

/// RFC 3501 §5.1: INBOX alone is the same in any case.
fn same(a: &str, b: &str) -> bool {
    a == b || (a.eq_ignore_ascii_case("INBOX") && b.eq_ignore_ascii_case("INBOX"))
}

fn unsendable(text: &str) -> bool {
    text.contains(['\r', '\n', '\0'])
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::Secret;
    use crate::net::TlsMode;
    use std::time::Duration;

    pub(in crate::mailbox) fn settings(protocol: Protocol) -> Settings {
        Settings {
            name: "ops".parse().unwrap(),
            protocol,
            host: "mail.example.org".into(),
            port: 993,
            tls: TlsMode::Direct,
            ca_file: None,
            tls_name: None,
            allow_plaintext: false,
            user: "alerts".into(),
            auth: Auth::Password(Secret::new("secret".into())),
            folder: "INBOX".into(),
            watch: Watch::Poll,
            after: After::Keep,
            rejected: None,
            max_size: 1000,
            idle_for: Duration::from_secs(300),
            timeout: Duration::from_secs(30),
        }
    }

    #[test]
    fn pop3_has_neither_flags_nor_folders_nor_idle() {
        assert!(check(&settings(Protocol::Pop3)).is_empty());
        let mut s = settings(Protocol::Pop3);
        (s.after, s.rejected) = (After::Seen, Some("Rejected".into()));
        (s.folder, s.watch) = ("Alerts".into(), Watch::Idle);
        let faults = check(&s);
        assert_eq!(faults.len(), 4, "{faults:?}");
        assert!(faults.iter().all(|fault| fault.contains("protocol = \"imap\"")), "{faults:?}");
        s.after = After::Move("Done".into());
        assert!(check(&s)[0].starts_with("after = \"move:…\": POP3 has no folders"));
        let noop = Settings { watch: Watch::Noop(Duration::from_secs(1)), ..settings(Protocol::Pop3) };
        assert!(check(&noop)[0].contains("protocol = \"imap\""), "{:?}", check(&noop));
    }

    #[test]
    fn a_quick_noop_is_for_servers_nearby() {
        let check = |host: &str, every| {
            let watch = Watch::Noop(Duration::from_millis(every));
            check(&Settings { host: host.into(), watch, ..settings(Protocol::Imap) })
        };
        for (host, every) in
            [("127.0.0.1", 10), ("fd00::1", 50), ("10.1.2.3", 999), ("192.0.2.1", 1000), ("mail.example.org", 50)]
        {
            assert_eq!(check(host, every), [""; 0], "{host}");
        }
        assert!(check("192.0.2.1", 999)[0].contains("\"noop:1s\""), "{:?}", check("192.0.2.1", 999));
        assert!(check("2001:db8::1", 50)[0].contains("private network"));
        assert_eq!(check("127.0.0.1", 9), ["watch: the interval of NOOPs must be from 10ms to 29m"]);
    }

    #[test]
    fn line_breaks_in_logins_and_loops_between_folders() {
        let mut s = settings(Protocol::Imap);
        assert!(check(&s).is_empty());
        s.auth = Auth::Password(Secret::new("secret\n".into()));
        assert!(check(&s)[0].contains("stray line break"), "{:?}", check(&s));
        let mut s = settings(Protocol::Imap);
        (s.folder, s.after, s.rejected) = ("inbox".into(), After::Move("INBOX".into()), Some("a\u{7}".into()));
        let faults = check(&s);
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("folder that is watched"), "{faults:?}");
    }
}
