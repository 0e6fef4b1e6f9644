//! What senders write is text, wherever it is shown.

use serde_json::json;

use super::scene;
use crate::support::lab::alert;
use crate::support::mailbell::SOON;
use crate::support::wait_for;

/// Each would set `window.ran`, or show itself as an element, if it were anything but text.
const CORPUS: [&str; 14] = [
    "<script>window.ran=1</script>",
    "</title><script>window.ran=1</script>",
    "<img src=x onerror=window.ran=1>",
    "\"><img src=x onerror=window.ran=1>",
    "'><svg onload=window.ran=1>",
    "<svg><script>window.ran=1</script></svg>",
    "</textarea></pre></style><script>window.ran=1</script>",
    "\" onfocus=window.ran=1 autofocus=\"",
    "' onmouseover='window.ran=1",
    "{{ 7 * 7 }} {% raw %}<b>bold</b>{% endraw %}",
    "&lt;script&gt;window.ran=1&lt;/script&gt;",
    "<iframe srcdoc='<script>parent.ran=1</script>'></iframe>",
    "<base href=https://evil.example/><form action=https://evil.example><button>Send now</button></form>",
    "<!--<script>window.ran=1//--><a href=javascript:window.ran=1 id=main>x</a>",
];

/// Nothing ran, nothing became an element, and nothing had to be blocked.
const HARM: &str = "const root = document.body; return [window.ran === undefined, \
    root.querySelectorAll('script, iframe, svg, base, [onerror], [onload], [onfocus], [onmouseover], a[href^=javascript], \
    form[action*=evil], b > b').length, document.querySelectorAll('#main').length, document.querySelectorAll('img').length]";

#[tokio::test]
async fn nothing_that_a_sender_writes_is_more_than_text() {
    let scene = scene("").await;
    let browser = &scene.browser;
    let escaped = |text: &str| {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
            .replace('\'', "&#39;")
    };
    let api = CORPUS.map(|bad| {
        json!({ "title": format!("api {bad}"), "text": bad, "key": bad, "id": format!("id {bad}"), "sender": bad,
            "labels": { "host": bad, "site": bad }, "links": ["javascript:window.ran=1"] })
    });
    for one in &api {
        let mut one = one.clone();
        let mut answer = scene.web.post("/api/v1/alerts", &scene.admin, &one).await;
        if answer.status != 202 {
            // A link that is none is refused at the door; the rest is not.
            one.as_object_mut().unwrap().remove("links");
            answer = scene.web.post("/api/v1/alerts", &scene.admin, &one).await;
        }
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    for bad in CORPUS {
        let bad = escaped(bad);
        let group = format!("<group>{bad}</group>");
        scene.lab.mail(&alert(
            &format!("key=\"{bad}\" severity=\"critical\" id=\"{bad}\""),
            &format!("<title>mail {bad}</title><text>{bad}</text>{group}<link>javascript:window.ran=1</link>"),
        ));
        scene.lab.mail(&alert(&format!("severity=\"{bad}\""), &format!("<title>{bad}</title>")));
    }
    wait_for("all alerts", SOON * 3, async || {
        let found = scene.web.get("/api/v1/alerts?limit=1000", &scene.admin).await.json();
        (found["items"].as_array().unwrap().len() == CORPUS.len() * 2).then_some(())
    })
    .await;
    wait_for("the bad ones in quarantine", SOON * 3, async || {
        let output = scene.mailbell.cli(&["quarantine", "list", "--json"], true);
        (String::from_utf8(output.stdout).unwrap().lines().count() >= CORPUS.len()).then_some(())
    })
    .await;
    scene.enter(&scene.admin).await;
    let links = async |path: &str, start: &str| {
        browser.open(path).await;
        let script = format!(
            "return [...new Set([...document.querySelectorAll('main a[href^=\"{start}\"]')].map((a) => a.getAttribute('href')))]"
        );
        let found: Vec<String> = serde_json::from_value(browser.eval(&script).await).unwrap();
        assert!(found.len() >= CORPUS.len(), "{path}: {found:?}");
        found
    };
    let mut pages = links("/console/alerts", "/console/alerts/").await;
    pages.extend(links("/console/quarantine", "/console/quarantine/").await);
    pages.extend(["/console", "/console/queue", "/console/alerts", "/console/quarantine"].map(str::to_owned));
    // What a link says comes back in the page.
    let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    pages.extend(CORPUS.map(|bad| format!("/console/alerts?text={}", encoded(bad))));
    pages.extend(CORPUS.map(|bad| format!("/login?next={}", encoded(bad))));
    browser.console().await;
    let mut seen = String::new();
    for path in &pages {
        browser.open(path).await;
        assert_eq!(browser.eval(HARM).await, json!([true, 0, 1, 1]), "{path}");
        if let Some(text) = path.strip_prefix("/console/alerts?text=") {
            let field = browser.eval("return document.querySelector('#text').value").await;
            assert_eq!(encoded(field.as_str().unwrap()), text);
        }
        assert_eq!(browser.console().await, [""; 0], "{path}");
        assert_eq!(browser.overflow().await.0, 0, "{path}");
        seen += browser.eval("return document.body.textContent").await.as_str().unwrap();
    }
    // The text itself is there, in full.
    for bad in CORPUS {
        assert!(seen.contains(&format!("api {bad}")) && seen.contains(&format!("mail {bad}")), "{bad}");
    }
}
