//! A token from a token endpoint (RFC 6749), by the refresh-token or the client-credentials grant.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use oauth2::basic::{BasicClient, BasicErrorResponse, BasicErrorResponseType as Refusal, BasicTokenResponse};
use oauth2::http::StatusCode;
use oauth2::{
    AuthType, ClientId, ClientSecret, HttpRequest, HttpResponse, RefreshToken, RequestTokenError, Scope, TokenResponse,
    TokenUrl,
};
use rustls::ClientConfig;

use super::command::usable;
use super::{ClientAuth, Endpoint, Issued};
use crate::mailbox::failure::{quote, quote_login};
use crate::mailbox::port::{Failure, MailboxError};
use crate::model::Secret;
use crate::net::{self, DialError, HttpError};

/// How long a token is kept whose endpoint does not say how long it lives (it should: RFC 6749 §5.1).
const UNSAID: Duration = Duration::from_secs(300);

/// Asks for a token, with this refresh token if there is one.
pub(super) async fn ask(
    endpoint: &Endpoint,
    refresh: Option<&Secret>,
    tls: Arc<ClientConfig>,
    limit: Duration,
) -> Result<Issued, MailboxError> {
    let place = &endpoint.token_url;
    let url = TokenUrl::new(place.clone()).map_err(|_| MailboxError::permanent("token_url: is no address"))?;
    let mut client = BasicClient::new(ClientId::new(endpoint.client_id.clone())).set_token_uri(url).set_auth_type(
        match endpoint.client_auth {
            ClientAuth::Body => AuthType::RequestBody,
            ClientAuth::Basic => AuthType::BasicAuth,
        },
    );
    if let Some(secret) = &endpoint.client_secret {
        client = client.set_client_secret(ClientSecret::new(secret.expose().to_owned()));
    }
    let scopes = || endpoint.scope.iter().flat_map(|s| s.split_ascii_whitespace()).map(|s| Scope::new(s.to_owned()));
    let http = |request| exchange(request, tls.clone(), limit);
    let answer = match refresh {
        Some(refresh) => {
            let refresh = RefreshToken::new(refresh.expose().to_owned());
            client.exchange_refresh_token(&refresh).add_scopes(scopes()).request_async(&http).await
        }
        None => client.exchange_client_credentials().add_scopes(scopes()).request_async(&http).await,
    };
    let answer = answer.map_err(|err| explain(endpoint, refresh, err))?;
    issued(&answer, refresh).map_err(|wrong| MailboxError::permanent(format!("{place}: the endpoint {wrong}")))
}

fn issued(answer: &BasicTokenResponse, refresh: Option<&Secret>) -> Result<Issued, &'static str> {
    let new = answer.refresh_token().map(|token| Secret::new(token.secret().clone()));
    Ok(Issued {
        token: usable(answer.access_token().secret())?,
        life: Some(answer.expires_in().unwrap_or(UNSAID)),
        // With the client's credentials nothing of the kind is needed.
        refresh: new.filter(|new| refresh.is_some_and(|used| used != new)),
    })
}

/// One request. What is not the endpoint's own answer becomes an error here, as long as the status is known.
async fn exchange(request: HttpRequest, tls: Arc<ClientConfig>, limit: Duration) -> Result<HttpResponse, NoAnswer> {
    let answer = net::request(request, tls, limit).await.map_err(no_answer)?;
    let status = answer.status();
    let failure = match status {
        StatusCode::OK => return Ok(answer),
        StatusCode::TOO_MANY_REQUESTS => Failure::RateLimited,
        StatusCode::REQUEST_TIMEOUT => Failure::Transient,
        _ if status.is_server_error() => Failure::Transient,
        _ if status.is_client_error() && is_refusal(answer.body()) => return Ok(answer),
        _ => Failure::Permanent,
    };
    let advice = if failure == Failure::Permanent { "; check token_url" } else { "" };
    Err(NoAnswer { failure, what: format!("the endpoint answered {status}{advice}") })
}

/// RFC 6749 §5.2: an error has a code.
fn is_refusal(body: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(body).is_ok_and(|told| told.get("error").is_some_and(|e| e.is_string()))
}

fn no_answer(err: HttpError) -> NoAnswer {
    let failure = if err.is_lasting() { Failure::Permanent } else { Failure::Transient };
    let what = match err {
        HttpError::Dial(DialError::NotLoopback { address }) => {
            format!("{address} is not on this machine, and http:// would send secrets in the clear; use https://")
        }
        err => err.to_string(),
    };
    NoAnswer { failure, what }
}

/// The endpoint did not say anything that a token endpoint says.
#[derive(Debug)]
struct NoAnswer {
    failure: Failure,
    what: String,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for NoAnswer {}

fn explain(
    endpoint: &Endpoint,
    refresh: Option<&Secret>,
    err: RequestTokenError<NoAnswer, BasicErrorResponse>,
) -> MailboxError {
    let place = &endpoint.token_url;
    match err {
        RequestTokenError::Request(NoAnswer { failure, what }) => {
            MailboxError::new(failure, format!("{place}: {what}"))
        }
        RequestTokenError::ServerResponse(refusal) => {
            let (failure, advice) = consequence(refusal.error(), refresh.is_some());
            let code = refusal.error().to_string();
            let words = refusal.error_description().map_or_else(String::new, |words| format!(": {words}"));
            let secrets = [refresh, endpoint.client_secret.as_ref()];
            let secrets: Vec<&str> = secrets.into_iter().flatten().map(Secret::expose).collect();
            let said = quote_login(&format!("{code}{words}"), &secrets);
            MailboxError::new(failure, format!("{place}: no access token: {said}{advice}"))
        }
        // Neither may be shown: the body could hold a token.
        RequestTokenError::Parse(..) => MailboxError::permanent(format!(
            "{place}: the endpoint's answer is not that of a token endpoint (RFC 6749); check token_url"
        )),
        RequestTokenError::Other(what) => {
            MailboxError::permanent(format!("{place}: {}; check token_url", quote(&what)))
        }
    }
}

/// What follows from a refusal (RFC 6749 §5.2), and what mends it.
fn consequence(refusal: &Refusal, refreshed: bool) -> (Failure, &'static str) {
    match refusal {
        Refusal::InvalidGrant if refreshed => {
            (Failure::Auth, "; the refresh token is refused: sign in again, and configure the new one")
        }
        Refusal::InvalidClient | Refusal::UnauthorizedClient | Refusal::InvalidGrant => {
            (Failure::Auth, "; check client_id and client_secret, and what the client is allowed")
        }
        Refusal::InvalidScope => (Failure::Permanent, "; check scope"),
        Refusal::InvalidRequest | Refusal::UnsupportedGrantType => {
            (Failure::Permanent, "; check token_url, scope and whether a refresh token is needed")
        }
        Refusal::Extension(code) => match code.as_str() {
            "temporarily_unavailable" | "server_error" => (Failure::Transient, ""),
            "slow_down" => (Failure::RateLimited, ""),
            _ => (Failure::Auth, "; somebody may have to sign in again"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint {
            token_url: "https://login.example.org/token".into(),
            client_id: "mailbell".into(),
            client_secret: Some(Secret::new("CANARY-secret".into())),
            client_auth: ClientAuth::Body,
            refresh_token: Some(Secret::new("CANARY-refresh".into())),
            scope: None,
        }
    }

    fn told(json: &str) -> MailboxError {
        let endpoint = endpoint();
        let refusal = RequestTokenError::ServerResponse(serde_json::from_str(json).unwrap());
        explain(&endpoint, endpoint.refresh_token.as_ref(), refusal)
    }

    #[test]
    fn refusals_are_told_with_what_mends_them() {
        let err = told("{\"error\":\"invalid_grant\",\"error_description\":\"AADSTS70008: expired\\r\\nat noon\"}");
        assert_eq!(
            err.to_string(),
            "https://login.example.org/token: no access token: invalid_grant: AADSTS70008: expired??at noon; the refresh \
             token is refused: sign in again, and configure the new one"
        );
        for (code, failure) in [
            ("invalid_grant", Failure::Auth),
            ("invalid_client", Failure::Auth),
            ("unauthorized_client", Failure::Auth),
            ("interaction_required", Failure::Auth),
            ("invalid_scope", Failure::Permanent),
            ("unsupported_grant_type", Failure::Permanent),
            ("temporarily_unavailable", Failure::Transient),
            ("slow_down", Failure::RateLimited),
        ] {
            assert_eq!(told(&format!("{{\"error\":\"{code}\"}}")).failure, failure, "{code}");
        }
        let echo = told("{\"error\":\"invalid_grant\",\"error_description\":\"CANARY-refresh is unknown\"}");
        assert!(!echo.to_string().contains("CANARY"), "{echo}");
    }

    #[test]
    fn only_json_with_a_code_is_a_refusal() {
        assert!(is_refusal(b"{\"error\":\"invalid_grant\"}"));
        for other in [&b"<html>404</html>"[..], b"{}", b"{\"error\":{\"code\":7}}", b"[]", b""] {
            assert!(!is_refusal(other));
        }
    }

    #[test]
    fn a_rotated_refresh_token_is_kept_and_a_life_that_is_not_said_is_short() {
        let answer = |more: &str| {
            serde_json::from_str(&format!("{{\"access_token\":\"t\",\"token_type\":\"Bearer\"{more}}}")).unwrap()
        };
        let used = Secret::new("old".into());
        let issue = |more: &str, refresh| issued(&answer(more), refresh).unwrap();
        let plain = issue("", Some(&used));
        assert_eq!((plain.life, plain.refresh), (Some(UNSAID), None));
        assert_eq!(issue(",\"refresh_token\":\"old\",\"expires_in\":9", Some(&used)).refresh, None);
        assert_eq!(issue(",\"refresh_token\":\"new\"", Some(&used)).refresh.unwrap().expose(), "new");
        assert_eq!(issue(",\"refresh_token\":\"new\"", None).refresh, None);
        let bad: BasicTokenResponse =
            serde_json::from_str("{\"access_token\":\"a b\",\"token_type\":\"Bearer\"}").unwrap();
        assert!(issued(&bad, None).is_err());
    }
}
