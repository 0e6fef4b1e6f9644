//! The schema and the reader, side by side, on thousands of changes of a config: the schema marks nothing that the reader takes,
//! and misses no fault of structure.

use std::path::Path;

use mailbell::config::{Config, Problem};
use proptest::prelude::*;
use serde_json::Value as Json;
use toml::{Table, Value};

use crate::config_schema::{example, seen, sees};

/// What the documented file only names, since it takes the place of another key.
const ALTERNATIVES: &str = r#"
[[mailbox]]
name = "program"
server = "program.example.org"
user = "alerts"
auth = "xoauth2"
token_command = ["/usr/local/bin/mail-token", "ops"]

[[mailbox]]
name = "endpoint"
server = "endpoint.example.org"
user = "alerts"
auth = "xoauth2"
poll = "never"
watch = "noop:1m"
after = "move:Done"
[mailbox.oauth2]
token_url = "https://login.example.org/token"
client_id = "mailbell"
client_secret_env = "SECRET"
client_auth = "basic"
refresh_token = "r"
scope = "mail offline"

[[mailbox]]
name = "pop"
protocol = "pop3"
server = "[::1]:1110"
user = "alerts"
password_env = "SECRET"
watch = "poll"
after = "delete"

[[lmtp]]
listen = "unix:lmtp.sock"
mode = "0666"

[[probe.class]]
name = "own"
hosts = ["a:80,443", "[::1]:22"]

[[probe.maintenance]]
name = "once"
from = "2099-12-01T22:00"
until = "2099-12-02T02:00Z"
time_zone = "Europe/Berlin"

[[recipient]]
name = "other"
room = "other@conference.example.org"
password_env = "SECRET"
"#;

fn load(text: &str) -> Result<Config, Vec<Problem>> {
    let env = |name: &str| (name == "SECRET").then(|| "x".into());
    Config::of(text, Path::new("/nowhere/mailbell.toml"), env).map_err(|errors| errors.problems)
}

/// Rules and routes are slow to read, for their expressions: they are changed in a small config, with simple ones.
const RULES: &str = r#"
[[rule]]
name = "full"
from = 'a'
subject = ['b', 'c']
header = { X-Mailer = 'd', X-Site = ['(?<site>[a-c])', 'b'] }
body = '(?<state>e|f)'
find = '(?<time>[0-9])'
key = "{site}"
status = { from = "{state}", map = { e = "firing", f = "resolved" }, default = "update" }
severity = { from = "{state}", map = { e = "major" }, default = "info" }
title = "{state}"
text = "{body}"
link = "https://{site}/"
sent = "{time|}"
labels = { site = "{site}" }
[[rule]]
name = "lines"
subject = 'g'
each_line = 'h'
status = "update"
key = "{line}"
severity = "major"
pairs = "{line}"
group = "g"
[[rule]]
name = "noise"
subject = "i"
ignore = "it is"
"#;
const ROUTE: &str = r#"
name = "one"
match = { source = ["mailbox:m", "pr?be"], mailbox = "m*", sender = "*@x.org", status = ["Test", "re*"], severity = "~m.", group = "g", "label.x" = ["y"] }
groups = ["g"]
continue = true
"#;

/// Good configs that have nearly every key, each with the place in which its keys are changed.
fn good() -> [(Value, Vec<Step>); 3] {
    let mut most: Table = (example() + ALTERNATIVES).parse().unwrap();
    most.remove("route");
    for mailbox in most["mailbox"].as_array_mut().unwrap() {
        mailbox.as_table_mut().unwrap().remove("rule");
    }
    let small: Table = SMALL.parse().unwrap();
    let (mut rules, mut routes) = (small.clone(), small);
    let mailbox = rules["mailbox"][0].as_table_mut().unwrap();
    mailbox.insert("rule".into(), RULES.parse::<Table>().unwrap()["rule"].clone());
    mailbox.insert("sender_may_choose_group".into(), true.into());
    routes.insert("route".into(), Value::Array(vec![Value::Table(ROUTE.parse().unwrap())]));
    let key = |key: &str| Step::Key(key.to_owned());
    [
        (most.into(), vec![]),
        (rules.into(), vec![key("mailbox"), Step::Element(0), key("rule")]),
        (routes.into(), vec![key("route")]),
    ]
}

/// Each of them with each key in its place.
fn each_key() -> Vec<(Value, Vec<Step>)> {
    let mut all = Vec::new();
    for (mut config, place) in good() {
        assert_eq!(differ(&config), Ok(true), "{config}");
        let mut paths = Vec::new();
        keys(at(&mut config, &place), &place, &mut paths);
        all.extend(paths.into_iter().map(|path| (config.clone(), path)));
    }
    assert!(all.len() > 200, "{}", all.len());
    all
}

/// Steps to a value: keys, and numbers of elements.
#[derive(Debug, Clone)]
enum Step {
    Key(String),
    Element(usize),
}

/// Every key in every table.
fn keys(value: &Value, path: &[Step], found: &mut Vec<Vec<Step>>) {
    let step = |step: Step| [path, &[step]].concat();
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                let inside = step(Step::Key(key.clone()));
                found.push(inside.clone());
                keys(value, &inside, found);
            }
        }
        Value::Array(array) if array.iter().all(Value::is_table) => {
            array.iter().enumerate().for_each(|(n, value)| keys(value, &step(Step::Element(n)), found));
        }
        _ => {}
    }
}

fn at<'v>(value: &'v mut Value, path: &[Step]) -> &'v mut Value {
    path.iter().fold(value, |value, step| match step {
        Step::Key(key) => &mut value[key.as_str()],
        Step::Element(n) => &mut value[*n],
    })
}

/// What the reader says of a fault that is one of structure: of kinds, words, numbers and keys, not of what they mean.
fn is_structural(problem: &Problem) -> bool {
    let wrong = problem.wrong.as_str();
    let kinds = ["a text", "a number", "a fraction", "a boolean", "a list", "a table"];
    let kind = kinds.iter().any(|kind| wrong == format!("is {kind}")) || wrong == "is no text";
    let number = wrong.ends_with(" is out of range") && problem.allowed.starts_with("write a whole number");
    let word =
        wrong.ends_with(" is not allowed here") || wrong.ends_with(" is no duration") || wrong.ends_with(" is no size");
    let key =
        ["there is no such key", "there is no such field", "is a second way to give the password"].contains(&wrong);
    // Which captures and severities a rule needs is no matter of structure.
    let missing = wrong == "is missing";
    let empty = wrong == "is empty" || wrong.starts_with("is an empty ") || wrong.starts_with("is empty: ");
    let control = wrong == "holds a control character";
    kind || number || word || key || missing || empty || control
}

/// One config, by both; a description of how they differ.
fn differ(config: &Value) -> Result<bool, String> {
    let text = toml::to_string(config).unwrap();
    let seen = seen(&serde_json::to_value(config).unwrap());
    // Where one of these is wrong the reader goes on as if it was not there, and finds faults that may be none.
    let unclear = seen.iter().filter_map(|line| {
        let place = line.split(": ").next()?;
        [".protocol", ".auth", ".oauth2"].into_iter().find_map(|key| place.strip_suffix(key))
    });
    let unclear: Vec<&str> = unclear.collect();
    match load(&text) {
        Ok(_) if seen.is_empty() => Ok(true),
        Ok(_) => Err(format!("the reader takes it, the schema does not: {seen:#?}")),
        Err(problems) => {
            let clear = |problem: &&Problem| !unclear.iter().any(|table| problem.key.starts_with(table));
            let mut faults = problems.iter().filter(|problem| is_structural(problem)).filter(clear);
            let unseen = faults.find(|problem| !sees(&seen, &problem.key));
            unseen.map_or(Ok(false), |problem| Err(format!("the schema does not see {problem:?}, but {seen:#?}")))
        }
    }
}

/// Values of every kind, most of them wrong wherever they stand.
fn odd_values() -> Vec<Value> {
    let list = |value: &str| Value::Array(vec![value.into()]);
    vec![
        17.into(),
        (-1).into(),
        100_000_000_000_i64.into(),
        1.5.into(),
        true.into(),
        "".into(),
        "  ".into(),
        "zzz".into(),
        "0s".into(),
        "a\u{1}b".into(),
        Value::Array(Vec::new()),
        list("zzz"),
        Value::Array(vec![5.into()]),
        Value::Array(vec![Table::new().into()]),
        Table::new().into(),
        Value::Table([("zzz".to_owned(), Value::from("zzz"))].into_iter().collect()),
    ]
}

fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} differ, such as\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
}

#[test]
fn every_key_with_values_of_every_kind() {
    let (mut wrong, mut taken) = (Vec::new(), 0);
    for (good, path) in each_key() {
        for odd in odd_values() {
            let mut config = good.clone();
            *at(&mut config, &path) = odd.clone();
            match differ(&config) {
                Ok(is_taken) => taken += usize::from(is_taken),
                Err(how) => wrong.push(format!("{path:?} = {odd}: {how}")),
            }
        }
    }
    assert_none(&wrong);
    assert!(taken > 200, "{taken}");
}

#[test]
fn every_key_left_out_and_an_unknown_one_in_every_table() {
    let mut wrong = Vec::new();
    for (good, path) in each_key() {
        let Some((Step::Key(key), table)) = path.split_last() else { continue };
        let changes: [fn(&mut Table, &str); 2] =
            [|table, key| drop(table.remove(key)), |table, _| drop(table.insert("zzz".into(), "zzz".into()))];
        for (change, what) in changes.into_iter().zip(["without", "zzz beside"]) {
            let mut config = good.clone();
            change(at(&mut config, table).as_table_mut().unwrap(), key);
            wrong.extend(differ(&config).err().map(|how| format!("{what} {path:?}: {how}")));
        }
    }
    assert_none(&wrong);
}

/// Which keys exclude each other: each key of a table, with its value, is put into the others of its kind.
#[test]
fn keys_of_one_table_in_another_of_its_kind() {
    let mut wrong = Vec::new();
    for (good, mut place) in good() {
        let within = at(&mut good.clone(), &place).clone();
        let kinds: Vec<(Vec<Step>, Vec<Value>)> = match within {
            Value::Array(tables) => vec![(place, tables)],
            tables => {
                place.clear();
                let lists = tables.as_table().unwrap().iter().filter_map(|(key, value)| Some((key, value.as_array()?)));
                lists.map(|(key, tables)| (vec![Step::Key(key.clone())], tables.clone())).collect()
            }
        };
        for (kind, tables) in kinds {
            for (from, to) in (0..tables.len()).flat_map(|from| (0..tables.len()).map(move |to| (from, to))) {
                for (key, value) in tables[from].as_table().unwrap().iter().filter(|(key, _)| *key != "name") {
                    let mut config = good.clone();
                    at(&mut config, &kind)[to].as_table_mut().unwrap().insert(key.clone(), value.clone());
                    let how = differ(&config).err();
                    wrong.extend(how.map(|how| format!("{kind:?}: {key} of {from} in {to}: {how}")));
                }
            }
        }
    }
    assert_none(&wrong);
}

const SMALL: &str = r#"
xmpp = { jid = "a@example.org", password = "x", servers = ["h"], tls_name = "h", resource = "r", status = "s" }
operators = { group = "g", command = [] }
mailbox = [{ name = "m", server = "h", user = "u", password = "x", watch = "idle", after = "keep", senders = [] },
    { name = "d", protocol = "lmtp", addresses = ["*"] }]
recipient = [{ name = "r", jid = "r@example.org", lang = "en" }, { name = "o", room = "o@example.org" }]
group = [{ name = "g", members = ["r"] }]
route = [{ groups = ["g"], match = { "label.x" = "y" } }]
wall = [{ name = "w", to = ["o"], match = { group = "g" } }]
disclaimer = [{ text = "t", domains = [] }]
lmtp = [{ listen = "127.0.0.1:1" }]
mapping = [{ name = "p", root = "r", title = "t", times = ["epoch"], zone = "UTC" }]
store = { raw_for = "1d", reserve = "1GiB" }
probe = { interval = "1h", timeout = "1s", groups = ["g"], targets = ["h:1"], labels = { x = "y" }, class = [
    { name = "c", ports = [1], hosts = ["h"] }], target = [{ address = "h:2", depends_on = ["h:1"] }], maintenance = [
    { targets = ["h:1"], hosts = ["h"], days = ["sat"], at = "22:00", for = "2h", time_zone = "UTC" },
    { from = "2099-12-01T22:00", until = "2099-12-02T02:00" }] }
"#;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Text that is nearly right, where a value has a form of its own: what the reader takes is not marked.
    #[test]
    fn forms_are_no_stricter_than_the_reader(
        key in prop::sample::select(&[
            "/xmpp/jid", "/xmpp/password", "/xmpp/servers/0", "/xmpp/tls_name", "/xmpp/resource", "/xmpp/status",
            "/mailbox/1/addresses/0", "/mailbox/0/name", "/mailbox/0/server", "/mailbox/0/watch", "/mailbox/0/after", "/mailbox/0/senders/0",
            "/recipient/0/jid", "/recipient/0/lang", "/recipient/1/room", "/wall/0/name", "/disclaimer/0/text",
            "/disclaimer/0/domains/0", "/lmtp/0/listen", "/mapping/0/name", "/mapping/0/root", "/mapping/0/title",
            "/mapping/0/times/0", "/route/0/match/label.x", "/wall/0/match/group", "/store/raw_for", "/store/reserve",
            "/operators/command/0", "/probe/interval", "/probe/timeout", "/probe/groups/0", "/probe/targets/0", "/probe/labels/x",
            "/probe/class/0/name", "/probe/class/0/hosts/0", "/probe/target/0/address",
            "/probe/target/0/depends_on/0", "/probe/maintenance/0/targets/0", "/probe/maintenance/0/hosts/0", "/probe/maintenance/0/days/0",
            "/probe/maintenance/0/at", "/probe/maintenance/0/for", "/probe/maintenance/0/time_zone", "/probe/maintenance/1/from",
            "/probe/maintenance/1/until",
        ][..]),
        text in prop_oneof![
            "[a-z0-9éⒶ@./:*?~_ +%/#\\[\\]-]{0,12}",
            "\\PC{0,4}",
            "0{0,2}[0-9]{1,3} ?(ms|s|m|min|h|d|kB|KiB|MiB|GB)? ?",
            "(move|noop|unix|~|/|127.0.0.1|\\[::1\\]):?[a-z0-9 .%@*]{0,6}",
            "[a-z*\\]\\[~é ]{0,3}@[a-z.:\\]\\[é ]{0,4}",
            "([a-z._-]{0,3}|\\[?[0-9a-f]{0,2}::[0-9.]{0,3}\\]?)(:[0-9, ]{0,6})?",
            "(20[0-9]{2}-[0-9]{1,2}-[0-9]{1,2}[T ])?[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?(Z|[+-]0[0-9]:00)?",
        ],
    ) {
        let mut config: Json = toml::from_str(SMALL).unwrap();
        let (table, last) = key.rsplit_once('/').unwrap();
        match config.pointer_mut(table).unwrap() {
            Json::Array(list) => *list = vec![text.clone().into()],
            table => table[last] = text.clone().into(),
        }
        let toml: Value = serde_json::from_value(config).unwrap();
        if load(&toml::to_string(&toml).unwrap()).is_ok() {
            prop_assert_eq!(seen(&serde_json::to_value(&toml).unwrap()), [""; 0], "{} = {:?}", key, text);
        }
    }
}
