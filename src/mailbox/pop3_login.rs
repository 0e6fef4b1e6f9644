//! Logging in to a POP3 server: by password, or by an access token.

use zeroize::Zeroizing;

use super::common::base64;
use super::connect::Login;
use super::failure::quote_login;
use super::oauth::xoauth2;
use super::pop3_wire::{Reply, Wire};
use super::port::{Failure, MailboxError};
use crate::model::Secret;

/// What SASL mechanisms a server offers (CAPA, RFC 5034 §3).
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Ways {
    plain: bool,
    xoauth2: bool,
}

impl Ways {
    /// Of the words behind `SASL`, in capitals.
    pub(super) fn of<'a>(words: impl Iterator<Item = &'a str>) -> Self {
        words.fold(Self::default(), |ways, word| Self {
            plain: ways.plain || word == "PLAIN",
            xoauth2: ways.xoauth2 || word == "XOAUTH2",
        })
    }
}

/// Logs in. One attempt.
pub(super) async fn log_in(wire: &mut Wire, ways: Ways, user: &str, login: &Login) -> Result<(), MailboxError> {
    match login {
        Login::Password(password) => by_password(wire, ways, user, password).await,
        Login::Token(token) => by_token(wire, ways, user, &token.secret).await,
    }
}

/// AUTH PLAIN (RFC 5034) where offered, which takes any password; else USER and PASS.
async fn by_password(wire: &mut Wire, ways: Ways, user: &str, password: &Secret) -> Result<(), MailboxError> {
    let password = password.expose();
    let token = Zeroizing::new(base64(Zeroizing::new(format!("\0{user}\0{password}")).as_bytes()));
    let lines = if ways.plain {
        [Zeroizing::new("AUTH PLAIN".to_owned()), token.clone()]
    } else {
        [Zeroizing::new(format!("USER {user}")), Zeroizing::new(format!("PASS {password}"))]
    };
    for line in &lines {
        let reply = wire.ask(line).await?;
        if !reply.ok {
            let advice = "check user and password";
            return Err(refused(wire, &reply, &format!("login as {user:?}"), "", &[password, &token], advice));
        }
    }
    Ok(())
}

/// AUTH XOAUTH2, with the response on a line of its own: a command line holds 255 bytes at most (RFC 5034 §4). Where the
/// token is refused the server explains why, and waits for an empty line.
async fn by_token(wire: &mut Wire, ways: Ways, user: &str, token: &Secret) -> Result<(), MailboxError> {
    if !ways.xoauth2 {
        return Err(MailboxError::permanent(format!(
            "{}: the server offers no XOAUTH2 on this connection; use TLS, switch it on at the server, or set auth = \"password\"",
            wire.place
        )));
    }
    let response = xoauth2::response(user, token.expose());
    let mut why = String::new();
    let mut reply = wire.ask("AUTH XOAUTH2").await?;
    if reply.more {
        reply = wire.ask(&response).await?;
    }
    if reply.more {
        why = xoauth2::explained(&reply.text);
        reply = wire.ask("").await?;
    }
    if reply.more {
        return Err(wire.error("the server asks for more than there is to a login"));
    }
    if reply.ok {
        return Ok(());
    }
    let what = format!("login as {user:?} by XOAUTH2");
    Err(refused(wire, &reply, &what, &why, &[token.expose(), &response], xoauth2::ADVICE))
}

fn refused(wire: &Wire, reply: &Reply, what: &str, why: &str, secrets: &[&str], advice: &str) -> MailboxError {
    let failure = reply.failure(Failure::Auth);
    let said = quote_login(&reply.text, secrets);
    let advice = if failure == Failure::Auth { format!("; {advice}") } else { String::new() };
    MailboxError::new(failure, format!("{}: {what} refused: {said}{why}{advice}", wire.place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mechanisms_by_their_whole_names() {
        let ways = Ways::of("XOAUTH2 PLAIN-CLIENTTOKEN".split(' '));
        assert_eq!((ways.plain, ways.xoauth2), (false, true));
        let ways = Ways::of("LOGIN PLAIN OAUTHBEARER".split(' '));
        assert_eq!((ways.plain, ways.xoauth2), (true, false));
    }
}
