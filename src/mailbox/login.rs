//! Logging in, whatever the protocol: what is said for a password or an access token, and how a refusal is told.

use zeroize::Zeroizing;

use super::common::base64;
use super::connect::Login;
use super::failure::quote_login;
use super::oauth::xoauth2;
use super::port::{Failure, MailboxError};

/// One attempt.
pub(super) struct Attempt<'a> {
    user: &'a str,
    login: &'a Login,
    /// The client's one message of its SASL mechanism, in base64.
    pub(super) response: Zeroizing<String>,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(user: &'a str, login: &'a Login) -> Self {
        let response = match login {
            Login::Password(password) => {
                let plain = Zeroizing::new(format!("\0{user}\0{}", password.expose()));
                Zeroizing::new(base64(plain.as_bytes()))
            }
            Login::Token(token) => xoauth2::response(user, token.secret.expose()),
        };
        Self { user, login, response }
    }

    /// The SASL mechanism (RFC 4616 for PLAIN, which takes any password).
    pub(super) fn mechanism(&self) -> &'static str {
        match self.login {
            Login::Password(_) => "PLAIN",
            Login::Token(_) => "XOAUTH2",
        }
    }

    /// Does the server say why it refuses by one more question, which is to be answered by nothing?
    pub(super) fn is_explained(&self) -> bool {
        matches!(self.login, Login::Token(_))
    }

    /// The server has no XOAUTH2: a token can be given in no other way.
    pub(super) fn not_offered(&self, place: &str) -> MailboxError {
        MailboxError::permanent(format!(
            "{place}: the server offers no XOAUTH2 on this connection; use TLS, switch it on at the server, or set auth = \"password\""
        ))
    }

    /// The server said this, and before it perhaps why.
    pub(super) fn refused(&self, place: &str, failure: Failure, said: &str, why: Option<&str>) -> MailboxError {
        let (by, secret, advice) = match self.login {
            Login::Password(password) => ("", password, "check user and password"),
            Login::Token(token) => (" by XOAUTH2", &token.secret, xoauth2::ADVICE),
        };
        let said = quote_login(said, &[secret.expose(), &self.response]);
        let why = why.map_or_else(String::new, xoauth2::explained);
        let advice = if failure == Failure::Auth { format!("; {advice}") } else { String::new() };
        MailboxError::new(failure, format!("{place}: login as {:?}{by} refused: {said}{why}{advice}", self.user))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Secret;

    #[test]
    fn a_password_is_said_and_refused() {
        let login = Login::Password(Secret::new("pässword".to_owned()));
        let attempt = Attempt::new("alerts", &login);
        assert_eq!((attempt.mechanism(), attempt.is_explained()), ("PLAIN", false));
        assert_eq!(*attempt.response, base64("\0alerts\0pässword".as_bytes()));
        let told = |failure, said: &str| attempt.refused("mail:993", failure, said, None).what;
        assert_eq!(told(Failure::Auth, "no"), "mail:993: login as \"alerts\" refused: no; check user and password");
        assert_eq!(told(Failure::Transient, "busy"), "mail:993: login as \"alerts\" refused: busy");
        for echo in ["BAD pässword", &format!("what is {}?", *attempt.response)] {
            assert!(told(Failure::Auth, echo).contains("refused: (the server's words are left out"), "{echo}");
        }
    }
}
