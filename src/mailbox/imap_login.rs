//! Logging in to an IMAP server: by password, or by an access token.

use async_imap::imap_proto::{Capability, Response};
use zeroize::Zeroizing;

use super::common::base64;
use super::connect::Login;
use super::failure::quote_login;
use super::imap_wire::{Next, Reply, Wire};
use super::imap_words::quoted;
use super::oauth::xoauth2;
use super::port::{Failure, MailboxError};
use crate::model::Secret;

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

/// Logs in. One attempt.
pub(super) async fn log_in(wire: &mut Wire, ways: Ways, user: &str, login: &Login) -> Result<(), MailboxError> {
    match login {
        Login::Password(password) => by_password(wire, ways, user, password).await,
        Login::Token(token) => by_token(wire, ways, user, &token.secret).await,
    }
}

/// AUTHENTICATE PLAIN where offered, which takes any password; else LOGIN (RFC 3501 §6.2.2, §6.2.3).
async fn by_password(wire: &mut Wire, ways: Ways, user: &str, password: &Secret) -> Result<(), MailboxError> {
    let password = password.expose();
    let token = Zeroizing::new(base64(Zeroizing::new(format!("\0{user}\0{password}")).as_bytes()));
    let (command, words) = if ways.plain {
        authenticate("PLAIN", &token, ways)
    } else if ways.login_disabled {
        let what = format!("{}: the server allows no login by password on this connection; use TLS", wire.place);
        return Err(MailboxError::permanent(what));
    } else {
        login_command(user, password)
    };
    let ended = converse(wire, &command, words, false).await?;
    if ended.reply.ok {
        return Ok(());
    }
    let advice = "check user and password";
    Err(refused(wire, &ended.reply, &format!("login as {user:?}"), "", &[password, &token], advice))
}

/// AUTHENTICATE XOAUTH2. Where the token is refused the server explains why, and waits for an empty line.
async fn by_token(wire: &mut Wire, ways: Ways, user: &str, token: &Secret) -> Result<(), MailboxError> {
    if !ways.xoauth2 {
        return Err(MailboxError::permanent(format!(
            "{}: the server offers no XOAUTH2 on this connection; use TLS, switch it on at the server, or set auth = \"password\"",
            wire.place
        )));
    }
    let response = xoauth2::response(user, token.expose());
    let (command, words) = authenticate("XOAUTH2", &response, ways);
    let ended = converse(wire, &command, words, true).await?;
    if ended.reply.ok {
        return Ok(());
    }
    let what = format!("login as {user:?} by XOAUTH2");
    let why = ended.challenge.as_deref().map_or_else(String::new, xoauth2::explained);
    Err(refused(wire, &ended.reply, &what, &why, &[token.expose(), &response], xoauth2::ADVICE))
}

/// AUTHENTICATE with its first response, at once where the server takes that (SASL-IR, RFC 4959).
fn authenticate(mechanism: &str, response: &str, ways: Ways) -> (Zeroizing<String>, Vec<Zeroizing<String>>) {
    if ways.sasl_ir {
        return (Zeroizing::new(format!("AUTHENTICATE {mechanism} {response}")), Vec::new());
    }
    (Zeroizing::new(format!("AUTHENTICATE {mechanism}")), vec![Zeroizing::new(response.to_owned())])
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

fn refused(wire: &Wire, reply: &Reply, what: &str, why: &str, secrets: &[&str], advice: &str) -> MailboxError {
    let failure = reply.failure(if reply.bad { Failure::Transient } else { Failure::Auth });
    let said = quote_login(&reply.text, secrets);
    let advice = if failure == Failure::Auth { format!("; {advice}") } else { String::new() };
    MailboxError::new(failure, format!("{}: {what} refused: {said}{why}{advice}", wire.place))
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
