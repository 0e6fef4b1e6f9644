//! `mailbell send --api`: hands the alert to a running service over HTTP instead of mailing it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Request, Response, Uri};
use serde_json::Value;

use super::smtp::Failure;
use crate::app::exit::{EX_DATAERR, EX_NOINPUT, EX_NOPERM, EX_TEMPFAIL, EX_UNAVAILABLE};
use crate::http::Problem;
use crate::model::{Secret, StanzaId};
use crate::net::{client_config, request};

/// Longest wait for one answer; waits between two tries, so that there is one try more than waits.
const ANSWER: Duration = Duration::from_secs(15);
const WAITS: [u64; 4] = [1, 2, 4, 8];
/// A service that wants to be asked later than that is asked another time.
const LONGEST: u64 = 30;

/// Where the service is, and who asks.
#[derive(Debug)]
pub(super) struct Api {
    alerts: Uri,
    token: Secret,
    ca_file: Option<PathBuf>,
}

impl Api {
    /// The service at this address (`https://alerts.example.org`); the token is read now.
    pub(super) fn new(url: &str, token_file: &Path, ca_file: Option<&Path>) -> Result<Self, Failure> {
        let alerts = format!("{}/api/v1/alerts", url.trim_end_matches('/'));
        let wrong = || Failure { code: EX_DATAERR, what: format!("--api {url}: write https://HOST[:PORT]") };
        let alerts: Uri = alerts.parse().map_err(|_| wrong())?;
        if !matches!(alerts.scheme_str(), Some("http" | "https")) || alerts.host().is_none() {
            return Err(wrong());
        }
        let token = crate::config::read_secret(token_file)
            .map_err(|err| Failure { code: EX_NOINPUT, what: format!("--token-file: {err}") })?;
        Ok(Self { alerts, token, ca_file: ca_file.map(Path::to_owned) })
    }

    /// Hands in native XML; where the answer is lost, or tells to come again, with the same key. Gives the answer for people.
    pub(super) async fn post(&self, xml: &str) -> Result<String, Failure> {
        let key = StanzaId::random().to_string();
        let mut waits = WAITS.into_iter();
        loop {
            let (failure, wait) = match self.once(xml, &key).await? {
                Try::Done(said) => return Ok(said),
                Try::Again(failure, wait) => (failure, wait),
            };
            match waits.next() {
                Some(least) if wait.unwrap_or(0) <= LONGEST => {
                    tokio::time::sleep(Duration::from_secs(least.max(wait.unwrap_or(0)))).await;
                }
                _ => return Err(failure),
            }
        }
    }

    async fn once(&self, xml: &str, key: &str) -> Result<Try, Failure> {
        let unusable = |what: String| Failure { code: EX_DATAERR, what };
        let tls = client_config(self.ca_file.as_deref()).map_err(|err| unusable(err.to_string()))?;
        let bearer = HeaderValue::from_str(&format!("Bearer {}", self.token.expose()));
        let mut bearer = bearer.map_err(|_| unusable("--token-file: it holds no token".into()))?;
        bearer.set_sensitive(true);
        let asked = Request::post(self.alerts.clone())
            .header(AUTHORIZATION, bearer)
            .header(CONTENT_TYPE, "application/xml; charset=utf-8")
            .header("idempotency-key", key)
            .body(xml.as_bytes().to_vec())
            .map_err(|err| unusable(err.to_string()))?;
        match request(asked, tls, ANSWER).await {
            Ok(answer) => self.judge(&answer),
            Err(err) => {
                let failure = |code| Failure { code, what: format!("{}: {err}", self.alerts) };
                if err.is_lasting() { Err(failure(EX_UNAVAILABLE)) } else { Ok(Try::Again(failure(EX_TEMPFAIL), None)) }
            }
        }
    }

    fn judge(&self, answer: &Response<Vec<u8>>) -> Result<Try, Failure> {
        let status = answer.status();
        if status.is_success() {
            let json: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
            let alert = json.pointer("/alerts/0").cloned().unwrap_or_default();
            let word = |name: &str| alert.get(name).and_then(Value::as_str).unwrap_or("?").escape_debug().to_string();
            return Ok(Try::Done(format!("{} {}: {}", word("alert"), word("outcome"), word("reason"))));
        }
        let problem =
            serde_json::from_slice::<Problem>(answer.body()).map(|problem| problem.detail).unwrap_or_default();
        let what = format!("{}: {status}: {}", self.alerts, problem.escape_debug());
        let wait = answer.headers().get(RETRY_AFTER).and_then(|wait| wait.to_str().ok()?.parse().ok());
        match status.as_u16() {
            401 | 403 => Err(Failure { code: EX_NOPERM, what }),
            408 | 429 | 500.. => Ok(Try::Again(Failure { code: EX_TEMPFAIL, what }, wait)),
            _ => Err(Failure { code: EX_UNAVAILABLE, what }),
        }
    }
}

enum Try {
    Done(String),
    /// Why, and after how many seconds.
    Again(Failure, Option<u64>),
}
