//! Who may do what over HTTP: tokens, sessions, and nothing without one of them.

use std::sync::atomic::{AtomicU32, Ordering};

use mailbell::http::{Access, endpoints};
use mailbell::model::{Right, Rights};
use serde_json::json;

use crate::support::free_port;
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::wait_for;
use crate::support::web::{Web, alone, token};

/// Every endpoint of the table with every kind of token: only who may gets past the guard.
#[tokio::test]
async fn every_endpoint_takes_the_tokens_that_it_says_and_no_others() {
    let port = free_port();
    let mailbell = Mailbell::run(&alone(port, "behind_proxy = true\n"));
    let web = Web::new(port);
    let expired = token(&mailbell, "expired", "admin", &["--expires", "1s"]);
    let revoked = token(&mailbell, "revoked", "admin", &[]);
    assert_eq!(web.get("/api/v1/session", &revoked).await.status, 200);
    assert!(mailbell.cli(&["token", "revoke", "revoked"], true).status.success());
    let of_scope: Vec<(Right, String)> =
        Right::ALL.into_iter().map(|right| (right, token(&mailbell, right.as_str(), right.as_str(), &[]))).collect();
    wait_for("the token to expire", SOON, async || {
        (web.get("/api/v1/session", &expired).await.status == 401).then_some(())
    })
    .await;
    let bad = [("unknown", format!("mailbell_{}", "0".repeat(64))), ("expired", expired), ("revoked", revoked)];
    let asked = AtomicU32::new(1);
    for endpoint in endpoints() {
        let values = [("{name}", "nobody"), ("{group}", "ops"), ("{id}", "1"), ("{file}", "style.css")];
        let path = values.iter().fold(endpoint.path.to_owned(), |path, (name, value)| path.replace(name, value));
        let method = endpoint.method.as_str();
        // A stream would not end: past the guard it is refused for this.
        let path = if path == "/api/v1/events" { path + "?type=none" } else { path };
        assert!(!path.contains('{'), "give {path} a value in this test");
        let about = format!("{method} {path}");
        let ask = async |token: Option<&str>| {
            let bearer = token.map(|token| format!("Bearer {token}"));
            // Each from an address of its own, so that no failure slows another; and from this machine none.
            let from = format!("192.0.2.{}", asked.fetch_add(1, Ordering::Relaxed) % 250);
            let headers = [("x-forwarded-for", from.as_str())];
            let bearer = bearer.iter().map(|bearer| ("authorization", bearer.as_str()));
            let headers: Vec<_> = headers.into_iter().chain(bearer).collect();
            web.ask(method, &path, &headers, "").await
        };
        let without = ask(None).await;
        match endpoint.access {
            Access::Open => {
                // The logins are refused for what is in them.
                let refused = ["/api/v1/session", "/login"].contains(&path.as_str()) && method == "POST";
                assert!(matches!(without.status, 200 | 303) || refused, "{about}: {without:?}");
                continue;
            }
            Access::Legacy => {
                assert_eq!(without.problem(404), "there is nothing at this path", "{about}");
                continue;
            }
            Access::Known | Access::Scope(_) | Access::Local(_) => {
                let said = without.problem(401);
                assert!(said.starts_with("this needs a token"), "{about}: {said}");
                assert_eq!(without.header("www-authenticate"), "Bearer realm=\"mailbell\"", "{about}");
            }
        }
        for (kind, token) in &bad {
            let answer = ask(Some(token)).await;
            assert_eq!(answer.status, 401, "{about} with a token that is {kind}: {answer:?}");
        }
        for (right, token) in &of_scope {
            let answer = ask(Some(token)).await;
            let may = match endpoint.access {
                Access::Scope(needed) | Access::Local(needed) => Rights::from(vec![*right]).allow(needed),
                _ => true,
            };
            assert_eq!(!matches!(answer.status, 401 | 403), may, "{about} with scope {right}: {answer:?}");
            if !may {
                let said = answer.problem(403);
                assert!(said.starts_with(&format!("token {right} has scope {right}; this needs ")), "{about}: {said}");
            }
        }
    }
}

#[tokio::test]
async fn a_token_is_shown_once_and_kept_as_its_digest() {
    let port = free_port();
    let mut mailbell = Mailbell::new(&alone(port, ""));
    // Before the first start: the store is made for it.
    let output =
        mailbell.cli(&["token", "create", "first", "--scope", "read,dispatch", "--group", "ops", "--json"], true);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let token = made["token"].as_str().unwrap().to_owned();
    assert_eq!((&made["scopes"], &made["groups"]), (&json!(["dispatch", "read"]), &json!(["ops"])));
    mailbell.start();
    let web = Web::new(port);
    let shown = web.get("/api/v1/session", &token).await;
    assert_eq!(shown.json(), json!({ "token": "first", "scopes": ["dispatch", "read"], "groups": ["ops"] }));
    assert!(!mailbell.log().contains("nobody has a token"), "{}", mailbell.log());
    // Over the control socket.
    let again = mailbell.cli(&["token", "create", "first", "--scope", "read"], true);
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(again.status.code() == Some(1) && said.contains("there is a token first already"), "{said}");
    let wrong = mailbell.cli(&["token", "create", "x", "--scope", "reed"], true);
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert!(said.contains("`reed` is no scope; allowed: dispatch, read, act, admin"), "{said}");
    let list = mailbell.cli(&["token", "list", "--json"], true);
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(list.contains("\"name\":\"first\"") && !list.contains(&token[10..]), "{list}");
    // Nowhere but with who has it.
    mailbell.stop();
    for file in ["mailbell.db", "mailbell.db-wal"] {
        let bytes = std::fs::read(mailbell.path(file)).unwrap_or_default();
        assert!(!bytes.windows(64).any(|found| found == &token.as_bytes()[9..]), "the token itself is in {file}");
    }
    assert!(!mailbell.log().contains(&token[9..]));
    mailbell.start();
    assert_eq!(web.get("/api/v1/session", &token).await.status, 200, "after a restart");
    let list = mailbell.cli(&["token", "list", "--json"], true);
    let noted: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    assert!(noted["last_used"].is_string(), "its use was noted at the end: {noted}");
    let gone = mailbell.cli(&["token", "revoke", "first"], true);
    assert_eq!(String::from_utf8(gone.stdout).unwrap(), "token first is revoked\n");
    assert_eq!(web.get("/api/v1/session", &token).await.problem(401), "this token is unknown, or was revoked");
    assert_eq!(mailbell.cli(&["token", "revoke", "first"], true).status.code(), Some(1));
}

#[tokio::test]
async fn without_a_token_the_log_tells_how_to_make_one() {
    let port = free_port();
    let mailbell = Mailbell::run(&alone(port, ""));
    mailbell.logged("make the first: mailbell token create admin --scope admin", 1).await;
    let web = Web::new(port);
    assert_eq!(web.ask("GET", "/healthz", &[], "").await.body, "ok\n");
    // From this machine without a token; there is no chat server in this config.
    let ready = web.ask("GET", "/readyz", &[], "").await;
    assert_eq!((ready.status, &ready.json()["xmpp"]["state"]), (503, &json!("starting")), "{ready:?}");
}

#[tokio::test]
async fn a_session_changes_something_only_with_its_csrf_token_and_ends_with_its_token() {
    let port = free_port();
    let mailbell = Mailbell::run(&alone(port, ""));
    let web = Web::new(port);
    let admin = token(&mailbell, "admin", "admin", &[]);
    for name in ["one", "two", "three"] {
        token(&mailbell, name, "read", &[]);
    }
    let kind = ("content-type", "application/json");
    let plain = web.ask("POST", "/api/v1/session", &[], json!({ "token": admin }).to_string()).await;
    assert_eq!(plain.problem(415), "write Content-Type: application/json");
    let login = web.ask("POST", "/api/v1/session", &[kind], json!({ "token": admin }).to_string()).await;
    let set = login.header("set-cookie").to_owned();
    assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{set}");
    let cookie = set.split(';').next().unwrap().to_owned();
    assert!(cookie.starts_with("mailbell_session=") && !cookie.contains(&admin[9..]), "{cookie}");
    let csrf = login.json()["csrf"].as_str().unwrap().to_owned();
    let with = [("cookie", cookie.as_str())];
    assert_eq!(web.ask("GET", "/api/v1/session", &with, "").await.json()["csrf"], csrf);
    let forged = web.ask("DELETE", "/api/v1/tokens/one", &with, "").await;
    assert!(forged.problem(403).contains("needs its CSRF token"));
    assert_eq!(forged.json()["field"], "X-CSRF-Token");
    let wrong = web.ask("DELETE", "/api/v1/tokens/one", &[with[0], ("x-csrf-token", "0")], "").await;
    wrong.problem(403);
    let right = web.ask("DELETE", "/api/v1/tokens/one", &[with[0], ("x-csrf-token", &csrf)], "").await;
    assert_eq!(right.status, 204);
    let form = [with[0], ("content-type", "application/x-www-form-urlencoded")];
    let by_form = web.ask("DELETE", "/api/v1/tokens/two", &form, format!("a=b&csrf={csrf}")).await;
    assert_eq!(by_form.status, 204);
    // As a browser would send it from another site's form.
    let text = [with[0], ("content-type", "text/plain")];
    web.ask("DELETE", "/api/v1/tokens/three", &text, format!("csrf={csrf}")).await.problem(403);
    assert!(mailbell.cli(&["token", "revoke", "admin"], true).status.success());
    assert_eq!(web.ask("GET", "/api/v1/session", &with, "").await.problem(401), "the session has ended; log in again");
}

#[tokio::test]
async fn after_failed_logins_an_address_waits_and_is_told_how_long() {
    let port = free_port();
    let mailbell = Mailbell::run(&alone(port, "behind_proxy = true\n"));
    let web = Web::new(port);
    let admin = token(&mailbell, "admin", "admin", &[]);
    let login = async |from: &str, token: &str| {
        let headers = [("content-type", "application/json"), ("x-forwarded-for", from)];
        web.ask("POST", "/api/v1/session", &headers, json!({ "token": token }).to_string()).await
    };
    for _ in 0..5 {
        login("203.0.113.1, 192.0.2.1", "mailbell_guess").await.problem(401);
    }
    // Whatever it writes before what the proxy adds.
    let closed = login("203.0.113.2, 192.0.2.1", &admin).await;
    let said = closed.problem(429);
    let wait: u64 = closed.header("retry-after").parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(said, format!("too many logins failed from this address; try again in {wait} s"));
    assert_eq!(closed.json()["retry_after"], wait);
    let open = login("192.0.2.2", &admin).await;
    assert_eq!(open.status, 200, "another address is let in");
    // The browser talks TLS with the proxy.
    let set = open.header("set-cookie");
    assert!(set.starts_with("__Host-mailbell_session=") && set.ends_with("; Secure"), "{set}");
    // Everybody comes from this machine then.
    web.ask("GET", "/readyz", &[], "").await.problem(401);
    assert_eq!(web.get("/readyz", &admin).await.json()["ready"], false);
}

#[tokio::test]
async fn guessing_is_slowed_and_a_busy_token_is_told_to_wait() {
    let port = free_port();
    let mailbell = Mailbell::run(&alone(port, "rate = 1\n"));
    let web = Web::new(port);
    let reader = token(&mailbell, "reader", "read", &[]);
    let mut guesses = Vec::new();
    for _ in 0..40 {
        guesses.push(web.get("/api/v1/session", "mailbell_guess").await);
    }
    let closed = guesses.iter().find(|answer| answer.status == 429).expect("it is slowed");
    assert!(
        closed.problem(429).starts_with("too many requests without a valid token from this address; try again in ")
    );
    assert_eq!(guesses[0].status, 401);
    assert_eq!(web.get("/api/v1/session", &reader).await.status, 200, "who has a token is let in all the same");
    let mut answers = Vec::new();
    for _ in 0..30 {
        answers.push(web.get("/api/v1/session", &reader).await);
    }
    let slowed = answers.iter().find(|answer| answer.status == 429).expect("the rate is kept");
    assert_eq!(slowed.problem(429), "token reader makes too many requests; try again in 1 s");
}
