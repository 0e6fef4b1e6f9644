//! A browser without a window: Chromium, driven through chromedriver, with a profile of its own.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

use super::child::Server;
use super::web::Web;
use super::{free_port, wait_for};

/// A page does what it is to do within this, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where pictures of pages go, where somebody wants to look at them.
const PICTURES: &str = "MAILBELL_SCREENSHOTS";

/// Chromium and its driver. Dropped: both are killed.
pub struct Browser {
    /// What is not wrapped here.
    pub client: Client,
    /// Of the site that paths are of.
    origin: String,
    /// For what is of this browser only: the DevTools protocol, the console.
    driver: Web,
    session: String,
    chromium: String,
    _server: Server,
}

impl Browser {
    /// Its pages are those of this port.
    pub async fn start(site: u16) -> Self {
        let port = free_port();
        let mut server = Server::new("chromedriver");
        let profile = server.path("profile");
        server.start(Command::new("chromedriver").arg(format!("--port={port}")), &[port]);
        let args = [
            "--headless=new".to_owned(),
            // Tests may run as root, and in containers; the pages are our own.
            "--no-sandbox".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--no-first-run".to_owned(),
            "--window-size=1280,900".to_owned(),
            format!("--user-data-dir={}", profile.display()),
        ];
        let wanted = json!({
            "goog:chromeOptions": { "binary": "/usr/bin/chromium", "args": args },
            "goog:loggingPrefs": { "browser": "ALL" },
            // A dialog is somebody's script that ran.
            "unhandledPromptBehavior": "ignore",
        });
        let Value::Object(wanted) = wanted else { unreachable!() };
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let url = format!("http://127.0.0.1:{port}");
        let client = builder.capabilities(wanted).connect(&url).await;
        let client = client.unwrap_or_else(|err| panic!("chromedriver: {err}\n{}", server.log()));
        let session = client.session_id().await.unwrap().unwrap();
        let chromium = client.capabilities().and_then(|has| has.get("goog:processID")).unwrap().to_string();
        Self {
            client,
            origin: format!("http://127.0.0.1:{site}"),
            driver: Web::new(port),
            session,
            chromium,
            _server: server,
        }
    }

    /// A command that only chromedriver has.
    async fn command(&self, path: &str, body: Value) -> Value {
        let path = format!("/session/{}/{path}", self.session);
        let kind = [("content-type", "application/json")];
        let answer = self.driver.ask("POST", &path, &kind, body.to_string()).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()["value"].take()
    }

    async fn devtools(&self, method: &str, params: Value) -> Value {
        self.command("goog/cdp/execute", json!({ "cmd": method, "params": params })).await
    }

    /// What the browser's console says since the last look: what a page's script logs, what was blocked, what failed.
    pub async fn console(&self) -> Vec<String> {
        let said = self.command("se/log", json!({ "type": "browser" })).await;
        said.as_array().unwrap().iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect()
    }

    /// Opens a page of the site.
    pub async fn open(&self, path: &str) {
        self.client.goto(&format!("{}{path}", self.origin)).await.unwrap_or_else(|err| panic!("{path}: {err}"));
    }

    /// Path and query of the page that is open.
    pub async fn at(&self) -> String {
        let url = self.client.current_url().await.unwrap();
        url.query().map_or(url.path().to_owned(), |query| format!("{}?{query}", url.path()))
    }

    /// Waits until the page at this path is open, and whole.
    pub async fn arrives(&self, path: &str) {
        wait_for(&format!("{path} to be open"), PATIENCE, async || {
            let ready = self.eval("return document.readyState").await == "complete";
            let at = self.at().await;
            (ready && at.split('?').next() == Some(path)).then_some(())
        })
        .await;
    }

    /// What a script of the test gives; the page's policy does not bind it.
    pub async fn eval(&self, script: &str) -> Value {
        // A page that is being left cannot answer.
        let start = Instant::now();
        loop {
            match self.client.execute(script, Vec::new()).await {
                Ok(value) => return value,
                Err(err) if start.elapsed() > Duration::from_secs(10) => panic!("{script}: {err}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// All text of the page, as a person sees it.
    pub async fn text(&self) -> String {
        self.eval("return document.body.innerText").await.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page shows this.
    pub async fn shows(&self, text: &str) {
        let start = Instant::now();
        loop {
            let shown = self.text().await;
            if shown.contains(text) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{}: waited in vain for `{text}` in:\n{shown}", self.at().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// One element, once it is there.
    pub async fn find(&self, css: &str) -> Element {
        let found = self.client.wait().at_most(PATIENCE).for_element(Locator::Css(css)).await;
        found.unwrap_or_else(|err| panic!("{css}: {err}"))
    }

    /// Presses a button, or follows a link, that has this text.
    pub async fn press(&self, within: &str, text: &str) {
        let script = format!(
            "const e = [...document.querySelectorAll({:?})].flatMap((w) => [...w.querySelectorAll('button, a')])\
             .find((e) => e.textContent.trim() === {text:?}); if (!e) return false; e.click(); return true",
            within
        );
        wait_for(&format!("{text} in {within}"), PATIENCE, async || (self.eval(&script).await == true).then_some(()))
            .await;
    }

    /// Logs in at the login page, which has to be open, as a person would.
    pub async fn log_in(&self, token: &str) {
        self.find("#token").await.send_keys(token).await.unwrap();
        self.find("form[action='/login'] button").await.click().await.unwrap();
    }

    /// As a system with this colour scheme (`light`, `dark`) would show it from now on.
    pub async fn scheme(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// As a screen of this width would show it from now on.
    pub async fn width(&self, width: u32) {
        let mobile = width < 600;
        let height = if mobile { 780 } else { 900 };
        let screen = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.devtools("Emulation.setDeviceMetricsOverride", screen).await;
    }

    /// How many pixels of the page are beyond the right edge, and what is.
    pub async fn overflow(&self) -> (i64, String) {
        let script = "const w = document.documentElement.clientWidth; \
            const over = document.documentElement.scrollWidth - w; \
            const wide = [...document.body.querySelectorAll('*')].filter((e) => e.getBoundingClientRect().right > w + 1 \
              && !e.closest('.hidden, .skip')); \
            return [over, wide.slice(0, 5).map((e) => e.outerHTML.slice(0, 200)).join('\\n')]";
        let found = self.eval(script).await;
        (found[0].as_i64().unwrap(), found[1].as_str().unwrap().to_owned())
    }

    /// Serious and critical violations that axe-core finds in the page.
    pub async fn violations(&self) -> Vec<String> {
        let axe = std::fs::read_to_string(axe())
            .unwrap_or_else(|err| panic!("{}: {err}; tests/run gets it", axe().display()));
        self.client
            .execute(&format!("if (!window.axe) {{ {axe} ; window.axe = axe; }} return true"), Vec::new())
            .await
            .unwrap();
        let run = "const done = arguments[arguments.length - 1]; \
            window.axe.run(document, { resultTypes: ['violations'] }).then((r) => done(r.violations), (e) => done([{ id: String(e), impact: 'critical', nodes: [] }]))";
        let found = self.client.execute_async(run, Vec::new()).await.unwrap();
        let grave =
            found.as_array().unwrap().iter().filter(|v| matches!(v["impact"].as_str(), Some("serious" | "critical")));
        let tell = |v: &Value| {
            let nodes = v["nodes"].as_array().unwrap().iter();
            let nodes: Vec<_> = nodes.map(|n| format!("  {} {}", n["html"], n["failureSummary"])).collect();
            format!("{}: {}\n{}", v["id"], v["help"], nodes.join("\n"))
        };
        grave.map(tell).collect()
    }

    /// A picture of the whole page, where somebody wants to look at it.
    pub async fn picture(&self, name: &str) {
        let Some(dir) = std::env::var_os(PICTURES) else { return };
        std::fs::create_dir_all(&dir).unwrap();
        let height = self.eval("return document.documentElement.scrollHeight").await.as_u64().unwrap().clamp(300, 6000);
        let width = self.eval("return window.innerWidth").await;
        let clip = json!({ "x": 0, "y": 0, "width": width, "height": height, "scale": 1 });
        let taken =
            self.devtools("Page.captureScreenshot", json!({ "captureBeyondViewport": true, "clip": clip })).await;
        let bytes = base64(taken["data"].as_str().unwrap());
        std::fs::write(PathBuf::from(dir).join(format!("{name}.png")), bytes).unwrap();
    }

    /// Presses a key as a person would, wherever the focus is.
    pub async fn key(&self, key: char) {
        let actions = json!([{ "type": "key", "id": "keyboard", "actions": [
            { "type": "keyDown", "value": key.to_string() }, { "type": "keyUp", "value": key.to_string() }
        ] }]);
        self.command("actions", json!({ "actions": actions })).await;
    }
}

/// Where `tests/run` puts axe-core.
fn axe() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/tools/axe/axe.min.js")
}

fn base64(text: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => u32::from(c - b'A'),
        b'a'..=b'z' => u32::from(c - b'a') + 26,
        b'0'..=b'9' => u32::from(c - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<_> = text.bytes().filter(|c| *c != b'=').map(value).collect();
    let group = |four: &[u32]| {
        let all = four.iter().fold(0, |all, six| all << 6 | six) << (6 * (4 - four.len()));
        all.to_be_bytes()[1..four.len()].to_vec()
    };
    digits.chunks(4).flat_map(group).collect()
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-KILL", &self.chromium]).status();
    }
}
