//! Logging in to an IMAP server: by password, or by an access token.

use async_imap::imap_proto::{Capability, Response};
use zeroize::Zeroizing;

use super::connect::Login;
use super::imap_wire::{Next, Reply, Wire};
use super::imap_words::quoted;
use super::login::Attempt;
use super::port::{Failure, MailboxError};

/// How a server lets people log in.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Ways {
    plain: bool,
    xoauth2: bool,
    sasl_ir: bool,
    login_disabled: bool,
}

impl Ways {
    pub(super) fn note(&mut self, response: &Response<'_>) {
        let Response::Capabilities(all) = response else { return };
        for capability in all {
            match capability {
                Capability::Auth(name) if name.eq_ignore_ascii_case("PLAIN") => self.plain = true,
                Capability::Auth(name) if name.eq_ignore_ascii_case("XOAUTH2") => self.xoauth2 = true,
                Capability::Atom(name) if name.eq_ignore_ascii_case("SASL-IR") => self.sasl_ir = true,
                Capability::Atom(name) if name.eq_ignore_ascii_case("LOGINDISABLED") => self.login_disabled = true,
                _ => {}
            }
        }
    }
}

/// Logs in: AUTHENTICATE where the server offers the mechanism; a password else by LOGIN (RFC 3501 §6.2.2, §6.2.3).
pub(super) async fn log_in(wire: &mut Wire, ways: Ways, user: &str, login: &Login) -> Result<(), MailboxError> {
    let attempt = Attempt::new(user, login);
    let (command, words) = match login {
        Login::Token(_) if !ways.xoauth2 => return Err(attempt.not_offered(&wire.place)),
        Login::Password(_) if !ways.plain && ways.login_disabled => {
            let what = format!("{}: the server allows no login by password on this connection; use TLS", wire.place);
            return Err(MailboxError::permanent(what));
        }
        Login::Password(password) if !ways.plain => login_command(user, password.expose()),
        _ => authenticate(&attempt, ways),
    };
    let Ended { reply, challenge } = converse(wire, &command, words, attempt.is_explained()).await?;
    if reply.ok {
        return Ok(());
    }
    let failure = reply.failure(if reply.bad { Failure::Transient } else { Failure::Auth });
    Err(attempt.refused(&wire.place, failure, &reply.text, challenge.as_deref()))
}

/// AUTHENTICATE with its first response, at once where the server takes that (SASL-IR, RFC 4959).
fn authenticate(attempt: &Attempt<'_>, ways: Ways) -> (Zeroizing<String>, Vec<Zeroizing<String>>) {
    let (mechanism, response) = (attempt.mechanism(), &attempt.response);
    if ways.sasl_ir {
        return (Zeroizing::new(format!("AUTHENTICATE {mechanism} {}", **response)), Vec::new());
    }
    (Zeroizing::new(format!("AUTHENTICATE {mechanism}")), vec![response.clone()])
}

/// How a login ended.
struct Ended {
    reply: Reply,
    /// What the server said when there was nothing more to say.
    challenge: Option<String>,
}

/// Sends the command, and one of the words for each time the server asks for more. Where it `explains` a refusal by one more
/// question, that is answered by nothing.
async fn converse(
    wire: &mut Wire,
    command: &str,
    words: Vec<Zeroizing<String>>,
    explains: bool,
) -> Result<Ended, MailboxError> {
    let tag = wire.begin(command).await?;
    let mut words = words.iter();
    let mut challenge = None;
    loop {
        match wire.next(&tag, |_| ()).await? {
            Next::Done(reply) => return Ok(Ended { reply, challenge }),
            Next::Untagged => {}
            Next::Continue(asked) => match words.next() {
                Some(word) => wire.send(word.as_bytes()).await?,
                None if explains && challenge.is_none() => {
                    challenge = Some(asked);
                    wire.send(b"").await?;
                }
                None => return Err(wire.error("the server asks for more than there is to a login")),
            },
        }
    }
}

/// LOGIN with quoted strings, or literals where those cannot carry it: the command up to the first literal, and what follows
/// each `+`.
fn login_command(user: &str, password: &str) -> (Zeroizing<String>, Vec<Zeroizing<String>>) {
    let mut lines = vec![Zeroizing::new("LOGIN".to_owned())];
    for word in [user, password] {
        let (end, next) = match quoted(word) {
            Some(word) => (format!(" {word}"), None),
            None => (format!(" {{{}}}", word.len()), Some(word.to_owned())),
        };
        if let Some(line) = lines.last_mut() {
            line.push_str(&end);
        }
        lines.extend(next.map(Zeroizing::new));
    }
    let rest = lines.split_off(1);
    (lines.pop().unwrap_or_default(), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_uses_literals_only_where_it_must() {
        let login = |user, password| {
            let (command, rest) = login_command(user, password);
            (command.to_string(), rest.iter().map(|line| line.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(login("alerts", "pa\"ss\\"), (r#"LOGIN "alerts" "pa\"ss\\""#.into(), vec![]));
        assert_eq!(login("älex", "plain"), ("LOGIN {5}".into(), vec!["älex \"plain\"".to_owned()]));
        assert_eq!(login("a", "ß"), ("LOGIN \"a\" {2}".into(), vec!["ß".to_owned()]));
        assert_eq!(login("ä", "ß"), ("LOGIN {2}".into(), vec!["ä {2}".to_owned(), "ß".to_owned()]));
    }
}
