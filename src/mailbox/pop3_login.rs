//! Logging in to a POP3 server: by password, or by an access token.

use zeroize::Zeroizing;

use super::connect::Login;
use super::login::Attempt;
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

/// Logs in: AUTH (RFC 5034) where the server offers the mechanism; a password else by USER and PASS.
pub(super) async fn log_in(wire: &mut Wire, ways: Ways, user: &str, login: &Login) -> Result<(), MailboxError> {
    let attempt = Attempt::new(user, login);
    let (reply, challenge) = match login {
        Login::Token(_) if !ways.xoauth2 => return Err(attempt.not_offered(&wire.place)),
        Login::Password(password) if !ways.plain => (user_and_pass(wire, user, password).await?, None),
        _ => authenticate(wire, &attempt).await?,
    };
    if reply.more {
        return Err(wire.error("the server asks for more than there is to a login"));
    }
    if reply.ok {
        return Ok(());
    }
    Err(attempt.refused(&wire.place, reply.failure(Failure::Auth), &reply.text, challenge.as_deref()))
}

async fn user_and_pass(wire: &mut Wire, user: &str, password: &Secret) -> Result<Reply, MailboxError> {
    let reply = wire.ask(&format!("USER {user}")).await?;
    if !reply.ok {
        return Ok(reply);
    }
    wire.ask(&Zeroizing::new(format!("PASS {}", password.expose()))).await
}

/// AUTH, with the response on a line of its own: a command line holds 255 bytes at most (RFC 5034 §4). Also why the server
/// refuses, where it says so by one more question.
async fn authenticate(wire: &mut Wire, attempt: &Attempt<'_>) -> Result<(Reply, Option<String>), MailboxError> {
    let mut reply = wire.ask(&format!("AUTH {}", attempt.mechanism())).await?;
    if reply.ok {
        reply = wire.ask(&attempt.response).await?;
    }
    let mut challenge = None;
    if reply.more && attempt.is_explained() {
        challenge = Some(reply.text);
        reply = wire.ask("").await?;
    }
    Ok((reply, challenge))
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
