//! The import law: modules import downward only, adapters are named by nobody but `app`, and what decides is pure. Also how
//! long a file may be. Reads the sources as text; what is for tests only is left out.

mod source;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use source::{Import, Source};

/// Each module and what it may name. A new module is added here, with a reason for each line.
const LAYERS: [(&str, &[&str]); 30] = [
    // Pure.
    ("model", &[]),
    ("parse", &["model"]),
    ("route", &["model"]),
    ("presence", &["model"]),
    ("dispatch::retry", &["model", "dispatch", "dispatch::text"]),
    ("dispatch::text", &["model"]),
    ("dispatch::budget", &["model"]),
    // The text of a message is that of an alert as it is stored.
    ("dispatch::render", &["model", "queue", "route", "dispatch::text"]),
    ("dispatch::digest", &["model", "queue", "route", "dispatch::text", "dispatch::render"]),
    // Ports and the loops.
    ("mailbox", &["model", "net"]),
    ("queue", &["model"]),
    // Fallback groups are routed while the alert waits.
    ("dispatch", &["model", "presence", "route", "queue", "live", "metrics", "dispatch::*"]),
    ("intake", &["model", "parse", "route", "mailbox", "queue", "live", "metrics"]),
    // The conversation with a mail server, and the loops around it: like a watcher it fills the queue, and minds the disk.
    ("lmtp::protocol", &["model"]),
    ("lmtp", &["model", "queue", "intake", "metrics", "lmtp::protocol"]),
    // The old health checker's file, read without a look at the network.
    ("probe::healthcheck", &["model", "probe"]),
    // A probe may look behind the connection: TLS is made and judged as for the mail server and the chat server.
    ("probe", &["model", "net", "queue", "probe::healthcheck"]),
    ("control", &["model", "queue", "metrics"]),
    // The same answers as over the control socket, and the same problems.
    ("http", &["model", "parse", "queue", "control", "metrics"]),
    ("bot", &["model", "queue", "dispatch"]),
    // What a reload replaces, for the loops that use it.
    ("live", &[]),
    // What the loops count with, and how they are: they write, whoever watches reads.
    ("metrics", &["model"]),
    // Shared by adapters.
    ("net", &[]),
    // Adapters: their port and the model.
    ("mailbox::imap", &["model", "net", "mailbox"]),
    ("mailbox::pop3", &["model", "net", "mailbox"]),
    ("queue::sqlite", &["model", "queue", "metrics"]),
    ("queue::postgres", &["model", "queue"]),
    ("xmpp", &["model", "net", "dispatch"]),
    ("telemetry", &["model"]),
    // Composed of the Settings of each; see SINGLE for adapters.
    (
        "config",
        &[
            "model",
            "parse",
            "route",
            "presence",
            "mailbox",
            "queue",
            "dispatch",
            "intake",
            "probe",
            "control",
            "http",
            "bot",
            // The limits are a part of the Settings of dispatch.
            "dispatch::budget",
            "lmtp",
            "lmtp::protocol",
        ],
    ),
];

/// Single things that a module may name beyond its layers: each adapter owns its Settings; a CA file is tried when the config
/// is checked; `send` is a mail client of its own.
const SINGLE: [(&str, &[&str]); 2] = [
    (
        "config",
        &[
            "xmpp::Settings",
            "xmpp::Room",
            // The bounds of `max_per_minute` and `group_window` are the budget's.
            "dispatch::budget::Limits",
            "dispatch::budget::LEAST",
            "dispatch::budget::LONGEST_PAUSE",
            "telemetry::Settings",
            "telemetry::Format",
            "telemetry::check",
            "net::TlsMode",
            "net::TlsError",
            "net::client_config",
            "net::server_config",
        ],
    ),
    ("cli", &["net::TlsMode", "net::TlsError", "net::client_config", "net::DialError", "net::dial", "net::request"]),
];

/// `app` may name everything below it; `cli` everything but adapters; `main` starts `cli`.
const TOP: [(&str, &[&str]); 3] = [
    ("app", &["*"]),
    ("cli", &["app", "config", "model", "parse", "route", "queue", "control", "probe", "http", "metrics"]),
    ("main", &["cli"]),
];

/// Parts of a module that are a layer of their own: the files of it that start so.
const PARTS: [&str; 11] = [
    "dispatch::budget",
    "dispatch::retry",
    "dispatch::text",
    "dispatch::render",
    "dispatch::digest",
    "lmtp::protocol",
    "mailbox::imap",
    "mailbox::pop3",
    "probe::healthcheck",
    "queue::sqlite",
    "queue::postgres",
];

/// No clock, no I/O, no tasks: time and chance are arguments.
const PURE: [&str; 11] = [
    "model",
    "parse",
    "route",
    "presence",
    "dispatch::budget",
    "dispatch::retry",
    "dispatch::text",
    "dispatch::render",
    "dispatch::digest",
    "lmtp::protocol",
    "probe::healthcheck",
];
const IMPURE: [&str; 12] = [
    "tokio",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
    "Zoned::now",
    "sqlx",
    "tracing",
];

/// Longest file, in lines, without its tests.
const LONGEST: usize = 400;

/// `mailbox::imap` for `mailbox::imap_wire::Wire`, `route` for `route::Router`; `None` for what is no module.
fn layer(path: &[String]) -> Option<String> {
    let first = path.first()?;
    let second = path.get(1).map_or("", String::as_str);
    let part = PARTS.into_iter().find(|part| {
        let (module, prefix) = part.split_once("::").unwrap();
        module == first && (second == prefix || second.starts_with(&format!("{prefix}_")))
    });
    let known = LAYERS.iter().chain(&TOP).any(|(name, _)| name == first);
    part.map(str::to_owned).or_else(|| known.then(|| first.clone()))
}

fn may_name(from: &str, import: &Import, to: &str) -> bool {
    let allowed = LAYERS.iter().chain(&TOP).find(|(name, _)| *name == from).map_or(&[][..], |(_, allowed)| allowed);
    let matches = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => to.starts_with(start),
        None => to == pattern,
    };
    // The item, what is in it, or (an import only) the module that it is in.
    let named = import.path.join("::");
    let within = |outer: &str, inner: &str| outer == inner || inner.starts_with(&format!("{outer}::"));
    let mut single = SINGLE.iter().filter(|(name, _)| *name == from).flat_map(|(_, items)| *items);
    let is_single = single.any(|item| within(item, &named) || within(&named, item));
    from == to || allowed.iter().any(|pattern| matches(pattern)) || is_single
}

/// Every breach of the law in one file: `src/intake/mod.rs:7: intake may not name xmpp: crate::xmpp::Session`.
fn breaches(file: &str, source: &Source) -> Vec<String> {
    let Some(from) = layer(&source.module) else {
        let known = matches!(source.module.first().map(String::as_str), None | Some("lib"));
        return if known { Vec::new() } else { vec![format!("{file}: not in LAYERS of tests/it/layering.rs")] };
    };
    let mut found = Vec::new();
    for import in &source.imports {
        let named = format!("crate::{}", import.path.join("::"));
        match layer(&import.path) {
            Some(to) if may_name(&from, import, &to) => {}
            Some(to) => found.push(format!("{file}:{}: {from} may not name {to}: {named}", import.line)),
            None => found.push(format!("{file}:{}: {from} names what is in no layer: {named}", import.line)),
        }
    }
    if PURE.contains(&from.as_str()) {
        for (line, text) in source.code.lines().enumerate() {
            let impure = IMPURE.into_iter().find(|word| source::holds(text, word));
            found.extend(
                impure.map(|word| format!("{file}:{}: {from} is pure and names {word}: {}", line + 1, text.trim())),
            );
        }
    }
    found
}

/// Sources by path, relative to the crate's root; files that are for tests only are left out.
fn sources() -> BTreeMap<String, Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    walk(&root.join("src"), &mut files);
    let names: Vec<String> =
        files.iter().map(|f| f.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/")).collect();
    let read = files.iter().zip(&names).map(|(file, name)| (name.clone(), std::fs::read_to_string(file).unwrap()));
    source::read_all(read.collect())
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()) {
        match entry.is_dir() {
            true => walk(&entry, files),
            false if entry.extension().is_some_and(|e| e == "rs") => files.push(entry),
            false => {}
        }
    }
}

#[test]
fn modules_import_downward_only() {
    let found: Vec<_> = sources().iter().flat_map(|(file, source)| breaches(file, source)).collect();
    assert!(found.is_empty(), "{} breaches of the import law:\n{}", found.len(), found.join("\n"));
}

#[test]
fn files_are_short() {
    let long: Vec<_> = sources()
        .iter()
        .filter(|(_, source)| source.lines > LONGEST)
        .map(|(file, source)| format!("{file}: {} lines without its tests; at most {LONGEST}", source.lines))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn the_sources_are_found() {
    let sources = sources();
    let router = &sources["src/route/router.rs"];
    assert_eq!(router.module, ["route", "router"]);
    assert!(router.imports.iter().any(|i| i.path == ["model", "Alert"]), "{:?}", router.imports);
    assert!(!sources.contains_key("src/route/fixtures.rs") && !sources.contains_key("src/route/select/tests.rs"));
}

#[test]
fn each_breach_is_named_with_its_line() {
    let check = |file: &str, text: &str| {
        let all = [(file, text), ("src/mailbox/imap.rs", ""), ("src/queue/sqlite/mod.rs", "")];
        let all = all.into_iter().rev().map(|(f, t)| (f.to_owned(), t.to_owned())).collect();
        breaches(file, &source::read_all(all)[file])
    };
    for (file, text, breach) in [
        ("src/intake/mod.rs", "\nuse crate::xmpp::Session;", ":2: intake may not name xmpp: crate::xmpp::Session"),
        (
            "src/intake/mod.rs",
            "fn f() { crate::queue::sqlite::open() }",
            ":1: intake may not name queue::sqlite: crate::queue::sqlite::open",
        ),
        (
            "src/intake/mod.rs",
            "use crate::mailbox;\nfn f() { mailbox::imap::go() }",
            ":2: intake may not name mailbox::imap: crate::mailbox::imap::go",
        ),
        (
            "src/dispatch/worker.rs",
            "use crate::{\n model::X,\n intake::Y};",
            ":3: dispatch may not name intake: crate::intake::Y",
        ),
        (
            "src/mailbox/mod.rs",
            "pub use imap::Imap;",
            ":1: mailbox may not name mailbox::imap: crate::mailbox::imap::Imap",
        ),
        (
            "src/mailbox/imap_wire.rs",
            "use super::pop3::X;",
            ":1: mailbox::imap may not name mailbox::pop3: crate::mailbox::pop3::X",
        ),
        (
            "src/queue/sqlite/mod.rs",
            "use super::super::xmpp::X;",
            ":1: queue::sqlite may not name xmpp: crate::xmpp::X",
        ),
        ("src/model/alert.rs", "use super::super::route::X;", ":1: model may not name route: crate::route::X"),
        ("src/config/mod.rs", "use crate::xmpp::Session;", ":1: config may not name xmpp: crate::xmpp::Session"),
        ("src/config/mod.rs", "use crate::net::dial;", ":1: config may not name net: crate::net::dial"),
        ("src/parse/mime.rs", "use crate::net::Stream as S;", ":1: parse may not name net: crate::net::Stream"),
        (
            "src/presence/mod.rs",
            "fn f() {\n std::time::Instant::now() }",
            ":2: presence is pure and names Instant::now: std::time::Instant::now() }",
        ),
        ("src/cli/serve.rs", "use crate::xmpp;", ":1: cli may not name xmpp: crate::xmpp"),
        ("src/main.rs", "use mailbell::app;", ":1: main may not name app: crate::app"),
        ("src/intake/mod.rs", "use crate::nowhere::X;", ":1: intake names what is in no layer: crate::nowhere::X"),
    ] {
        assert_eq!(check(file, text), [format!("{file}{breach}")], "{text}");
    }
    assert_eq!(
        check("src/gossip/mod.rs", "use crate::model::X;"),
        ["src/gossip/mod.rs: not in LAYERS of tests/it/layering.rs"]
    );
}

#[test]
fn what_the_law_allows_passes() {
    for (file, text) in [
        ("src/app/build.rs", "use crate::mailbox::imap::Imap;\nuse crate::{xmpp, queue::sqlite::{self, Sqlite}};"),
        (
            "src/config/mod.rs",
            "use crate::xmpp::Settings;\nuse crate::net::{self, TlsMode};\nfn f() { net::client_config(TlsMode::None) }",
        ),
        ("src/mailbox/mod.rs", "pub mod imap;\nmod port;\npub use port::Mailbox;"),
        ("src/xmpp/sm.rs", "use super::roster::X;\nuse crate::xmpp::stanza;\nuse crate::dispatch::Event;"),
        (
            "src/intake/mod.rs",
            "/// See [`X`](crate::xmpp::X).\n// use crate::xmpp::X;\nconst T: &str = \"crate::xmpp::X\";",
        ),
        ("src/intake/mod.rs", "#[cfg(test)]\nmod tests {\n use crate::xmpp::X;\n}\nuse crate::model::Y;"),
        ("src/lib.rs", "pub mod model;\npub mod xmpp;"),
        ("src/main.rs", "fn main() { mailbell::cli::run() }"),
    ] {
        let read = source::read_all([(file.to_owned(), text.to_owned())].into());
        assert_eq!(breaches(file, &read[file]), [""; 0], "{text}");
    }
}
