//! Who gets in.

use super::scene;
use crate::support::web::token;

#[tokio::test]
async fn a_person_logs_in_where_they_wanted_to_go_and_out_again() {
    let scene = scene("").await;
    let browser = &scene.browser;
    browser.open("/console/probes").await;
    browser.arrives("/login").await;
    assert_eq!(browser.at().await, "/login?next=%2Fconsole%2Fprobes");
    browser.log_in("mailbell_guess").await;
    browser.shows("this token is unknown, or was revoked").await;
    browser.picture("login-refused").await;
    browser.console().await;
    let reader = token(&scene.mailbell, "reader", "read", &[]);
    browser.log_in(&reader).await;
    browser.arrives("/console/probes").await;
    assert!(browser.text().await.contains("reader"));
    browser.press(".me", "Log out").await;
    browser.arrives("/login").await;
    browser.shows("You are logged out.").await;
    browser.open("/console").await;
    browser.arrives("/login").await;
    assert_eq!(browser.console().await, [""; 0]);
    // A token that was revoked takes its session with it, also from a page that is open.
    browser.log_in(&scene.admin).await;
    browser.arrives("/console").await;
    browser.shows("Working").await;
    assert!(scene.mailbell.cli(&["token", "revoke", "admin"], true).status.success());
    browser.open("/console").await;
    browser.arrives("/login").await;
}

#[tokio::test]
async fn nobody_is_logged_in_by_another_site_or_sent_to_one() {
    let scene = scene("").await;
    let form = ("content-type", "application/x-www-form-urlencoded");
    let body = format!("token={}&next=//evil.example/console", scene.admin);
    let answer = scene.web.ask("POST", "/login", &[form, ("sec-fetch-site", "cross-site")], body.clone()).await;
    assert_eq!(answer.problem(403), "another site sent this form; log in at this page");
    let answer = scene.web.ask("POST", "/login", &[form, ("sec-fetch-site", "same-origin")], body).await;
    assert_eq!((answer.status, answer.header("location")), (303, "/console"));
    let cookie = answer.header("set-cookie").to_owned();
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{cookie}");
    let cookie = ("cookie", cookie.split(';').next().unwrap());
    // What a form of another site would send.
    let forged = scene.web.ask("POST", "/logout", &[cookie, form], "csrf=0").await;
    assert!(forged.problem(403).contains("needs its CSRF token"));
    assert_eq!(scene.web.ask("GET", "/console", &[cookie], "").await.status, 200);
    // A program without a token is told so, a browser gets the login.
    scene.web.ask("GET", "/console", &[], "").await.problem(401);
    let page = scene.web.ask("GET", "/console", &[("accept", "text/html")], "").await;
    assert_eq!((page.status, page.header("location")), (303, "/login"));
    let nowhere = scene.web.ask("GET", "/nowhere", &[("accept", "text/html")], "").await;
    assert_eq!((nowhere.status, nowhere.header("content-type")), (404, "text/html; charset=utf-8"));
    assert!(nowhere.body.contains("there is nothing at this path"), "{}", nowhere.body);
}

#[tokio::test]
async fn what_pages_are_made_of_is_kept_by_the_browser_until_it_changes() {
    let scene = scene("").await;
    let page = scene.web.ask("GET", "/login", &[], "").await;
    let href = page.body.split("href=\"").find(|rest| rest.starts_with("/console/assets/style.css")).unwrap();
    let href = href.split('"').next().unwrap();
    let style = scene.web.ask("GET", href, &[], "").await;
    assert_eq!((style.status, style.header("content-type")), (200, "text/css; charset=utf-8"));
    assert_eq!(style.header("cache-control"), "public, max-age=31536000, immutable");
    let tag = style.header("etag").to_owned();
    assert!(href.ends_with(&format!("?v={}", tag.trim_matches('"'))), "{href} {tag}");
    let again = scene.web.ask("GET", href, &[("if-none-match", &format!("\"other\", W/{tag}"))], "").await;
    assert_eq!((again.status, again.body.as_str(), again.header("etag")), (304, "", tag.as_str()));
    let old = scene.web.ask("GET", "/console/assets/style.css?v=old", &[("if-none-match", "\"other\"")], "").await;
    assert_eq!((old.status, old.header("cache-control")), (200, "no-cache"));
    assert_eq!(scene.web.ask("GET", "/console/assets/none.css", &[], "").await.status, 404);
}
