//! The JSON Schema of the config, and what editors see by it: nothing wrong in a good file, and in a bad one each fault that is
//! to be seen in the file alone.

use std::path::Path;
use std::sync::LazyLock;

use jsonschema::Validator;
use jsonschema::error::ValidationErrorKind as Kind;
use mailbell::config::{Config, EXAMPLE, schema};
use serde_json::Value;

use crate::support::mailbell::Mailbell;

const DIR: &str = "tests/fixtures/config";

static SCHEMA: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(&schema()).unwrap());
static VALIDATOR: LazyLock<Validator> =
    LazyLock::new(|| jsonschema::draft202012::new(&SCHEMA).unwrap_or_else(|error| panic!("{error}")));

/// The documented config file with its commented keys in force.
pub fn example() -> String {
    let toml = |line: &&str| line.starts_with(|c: char| c == '[' || c.is_ascii_lowercase());
    let lines = EXAMPLE.lines().map(|line| line.strip_prefix('#').filter(toml).unwrap_or(line));
    lines.map(|line| format!("{line}\n")).collect()
}

/// What an editor says of a file, with the place as the reader calls it: `mailbox.ops.poll: …`.
pub fn seen(config: &Value) -> Vec<String> {
    let mut seen = Vec::new();
    for error in VALIDATOR.iter_errors(config) {
        let path: Vec<String> = error.instance_path().as_str().split('/').skip(1).map(unescaped).collect();
        let place = place(config, &path);
        let inner = match error.kind() {
            Kind::Required { property } => vec![property.as_str().unwrap().to_owned()],
            Kind::AdditionalProperties { unexpected } => unexpected.clone(),
            Kind::OneOfNotValid { .. } | Kind::OneOfMultipleValid { .. } | Kind::AnyOf { .. } | Kind::Not { .. } => {
                keys_of(error.schema_path().as_str())
            }
            _ => Vec::new(),
        };
        let places: Vec<String> = inner.iter().map(|key| join(&place, key)).collect();
        let places = if places.is_empty() { vec![place] } else { places };
        seen.extend(places.into_iter().map(|place| format!("{place}: {error}")));
    }
    seen
}

/// Keys that stand against each other, by a part of the schema; none where the part is of one value.
fn keys_of(pointer: &str) -> Vec<String> {
    let part = SCHEMA.pointer(pointer).unwrap();
    let choices = part.as_array().or_else(|| part["anyOf"].as_array()).into_iter().flatten();
    let required =
        choices.filter(|choice| choice.get("type").is_none()).filter_map(|choice| choice["required"].as_array());
    required.flatten().map(|key| key.as_str().unwrap().to_owned()).collect()
}

fn unescaped(segment: &str) -> String {
    segment.replace("~1", "/").replace("~0", "~")
}

/// `/mailbox/0/poll` as `mailbox.ops.poll`; an element of a list by its key.
fn place(config: &Value, path: &[String]) -> String {
    let (mut place, mut value) = (String::new(), config);
    for segment in path {
        value = match value {
            Value::Array(array) => {
                let element = &array[segment.parse::<usize>().unwrap()];
                let odd = |c: char| c.is_control() || c.is_whitespace();
                let fits = |name: &&str| (1..=64).contains(&name.len()) && !name.contains(odd);
                let named = element["name"].as_str().filter(fits);
                match (element.is_object(), named) {
                    (true, Some(name)) => place.push_str(&format!(".{name}")),
                    (true, None) => place.push_str(&format!("[{}]", segment.parse::<usize>().unwrap() + 1)),
                    (false, _) => return place,
                }
                element
            }
            table => {
                place = join(&place, segment);
                &table[segment]
            }
        };
    }
    place
}

fn join(table: &str, key: &str) -> String {
    let plain = key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    let key = if plain { key.to_owned() } else { format!("{key:?}") };
    if table.is_empty() { key } else { format!("{table}.{key}") }
}

/// Is a fault among what is seen: at its place, in an element of its list, or, where a value may be of several kinds, around it?
pub fn sees(seen: &[String], fault: &str) -> bool {
    let within = |inner: &str, outer: &str, by: &[char]| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(by))
    };
    let places = seen.iter().filter_map(|line| line.split(": ").next());
    places.into_iter().any(|place| within(fault, place, &['.', '[']) || within(place, fault, &['[']))
}

#[test]
fn the_schema_is_one() {
    jsonschema::draft202012::meta::validate(&SCHEMA).unwrap_or_else(|error| panic!("{error}"));
    // Editors that know draft 7 alone read it as such.
    jsonschema::draft7::meta::validate(&SCHEMA).unwrap_or_else(|error| panic!("{error}"));
}

/// Without a config and without a service, and nothing but the schema.
#[test]
fn the_command_prints_it() {
    let mailbell = Mailbell::new("colour = \"red\"\n");
    for _ in 0..2 {
        let output = mailbell.cli(&["config", "schema"], false);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), schema());
    }
    let more = mailbell.cli(&["config", "schema", "mailbell.toml"], false);
    assert_eq!(more.status.code(), Some(2), "{more:?}");
}

#[test]
fn nothing_is_marked_in_a_good_file() {
    let readme = std::fs::read_to_string("README.md").unwrap();
    let toml = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let mut good = vec![("config/mailbell.toml".to_owned(), example()), ("README.md".to_owned(), toml.to_owned())];
    for entry in std::fs::read_dir(DIR).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let warned_at_most = faults(&text).is_empty();
        good.extend(warned_at_most.then(|| (path.display().to_string(), text)));
    }
    assert!(good.len() > 10, "{}", good.len());
    for (name, text) in good {
        assert_eq!(seen(&toml::from_str(&text).unwrap()), [""; 0], "{name}");
    }
}

/// What the service would show of a config is a good file as well, once the passwords are given back.
#[test]
fn nothing_is_marked_in_what_is_shown() {
    let config = Config::of(&example(), Path::new("/a/mailbell.toml"), |_| None).unwrap();
    let shown = config.to_string().replace("# password = (hidden)", "password = \"x\"");
    assert_eq!(seen(&toml::from_str(&shown).unwrap()), [""; 0]);
}

/// As it is, the documented file lacks what nobody can know, and an editor says so.
#[test]
fn what_is_missing_in_the_documented_file_is_marked() {
    let seen = seen(&toml::from_str(EXAMPLE).unwrap());
    for fault in ["xmpp.jid", "xmpp.password", "operators.group"] {
        assert!(sees(&seen, fault), "{fault}: {seen:#?}");
    }
    assert_eq!(seen.iter().filter(|line| !line.contains("password")).count(), 2, "{seen:#?}");
}

/// The places that a file's head names: `#! LINE: KEY: …`; warnings are no faults.
fn faults(text: &str) -> Vec<String> {
    let lines = text.lines().map_while(|line| line.strip_prefix("#! "));
    let errors = lines.filter(|line| !line.starts_with("warning: "));
    let without_line = |line: &str| match line.split_once(": ") {
        Some((number, rest)) if number.bytes().all(|b| b.is_ascii_digit()) => rest.to_owned(),
        _ => line.to_owned(),
    };
    errors.map(without_line).collect()
}

/// Faults that no schema can see, by a part of what is said of them, with the reason.
const UNSEEN: &[(&str, &str)] = &[
    // What is defined elsewhere in the config.
    ("there is no group `", "a name that another table defines"),
    ("there is no recipient `", "a name that another table defines"),
    ("there is no route `", "a name that another table defines"),
    ("there is no mailbox `", "a name that another table defines"),
    (" go round: ", "groups lead to each other"),
    ("goes round: ", "targets lead to each other"),
    ("is no target: ", "other tables are its targets"),
    (".name: is the same as on line ", "two tables are compared"),
    ("other.addresses: `alerts@example.org` is the same", "two tables are compared"),
    ("jid: is the same as", "two tables are compared"),
    ("room: is the same as", "two tables are compared"),
    ("listen: is the same as", "two tables are compared"),
    ("folder are the same as", "two tables are compared"),
    ("another rule is called", "two tables are compared"),
    ("has a mapping already", "two tables are compared"),
    ("is also a recipient", "two tables are compared"),
    ("less than the largest max_size", "two tables are compared"),
    ("is longer than store.history_for", "two tables are compared"),
    ("there is no [[lmtp]]", "two tables are compared"),
    ("no [[mailbox]] has protocol", "two tables are compared"),
    ("can never match", "two rules are compared"),
    // What other keys of the table say: where it can be said in few words, it is.
    ("the folder that is watched", "two values are compared"),
    ("is less often than poll", "two values are compared"),
    ("is shorter than raw_for", "two values are compared"),
    ("is shorter than receipt_timeout", "two values are compared"),
    ("would send the password in the clear", "an address is judged"),
    ("too often for", "an address is judged"),
    ("own network alone", "an address is judged"),
    ("can be reached from other machines", "an address is judged"),
    ("is for a Unix socket", "it depends on the form of another value"),
    ("has no meaning with groups = []", "it depends on the length of another value"),
    ("has no effect without sender_may_choose_group", "rules and their mailbox are compared"),
    ("is not shorter than interval", "two values are compared"),
    ("is not after from", "two values are compared"),
    ("is not less than flap_start", "two values are compared"),
    ("is not less than max_connections", "two values are compared"),
    ("the longest timeout", "several tables are compared"),
    ("which differ in what is expected", "several tables are compared"),
    ("more than 65536 targets", "lists are multiplied"),
    ("is needed: ", "it depends on the name of the class, and on the form of its hosts"),
    ("write one such as site", "names of keys are free"),
    ("has nothing to be looked up in", "marked at the key that is missing, `table`"),
    ("is never looked up", "it depends on whether the table is empty"),
    ("case does not count", "two keys are compared"),
    // What is outside of the file.
    ("the environment variable `", "the environment"),
    ("cannot be read as PEM", "another file"),
    ("nowhere.properties: cannot be read", "another file"),
    ("secret cannot be read", "another file"),
    ("holds no certificate", "another file"),
    ("is no file", "another file"),
    ("others can read", "the mode of a file"),
    ("there is no time zone", "the machine's time zones"),
    // Expressions, and what they have to do with each other.
    ("`~db(` is no regular expression", "an expression in a value"),
    ("`~a)|(b` is no regular expression", "an expression in a value"),
    ("`^220 (` is no regular expression", "an expression in a value"),
    ("is no regular expression: it is too large", "an expression in a value"),
    ("write an expression of the Rust regex syntax", "an expression in a value"),
    ("`: character ", "an expression in a value"),
    ("there is no capture", "an expression in a value"),
    ("may be missing, and then", "an expression in a value"),
    ("a capture cannot be called", "an expression in a value"),
    ("another expression has a capture", "an expression in a value"),
    ("write a text with captures in braces", "an expression in a value"),
    ("can never be: ", "what an expression can match"),
    ("can also be `", "what an expression can match"),
    ("the table cannot have every value", "what an expression can match"),
    ("without it a recovery resolves nothing", "it depends on what the rule can say"),
    ("is no log filter", "an expression in a value"),
    ("in the clear to another machine", "an address is judged"),
    ("holds a user or a password", "an address is judged"),
    ("resourceprep", "tables of characters"),
    (" is read as ", "what mailbell reads anyway"),
    (" built-in mapping", "what mailbell reads anyway"),
    ("longer than the path of a socket may be", "the directory of the file counts as well"),
    // Quantities: a pattern knows no order. Their descriptions say it, and none may be zero that must not.
    ("http.events_body: `1MiB` is out of range", "a number with a unit"),
    ("`11m` is out of range", "a quantity with its unit"),
    ("`1h` is out of range", "a quantity with its unit"),
    ("`2h` is out of range", "a quantity with its unit"),
    ("`30m` is out of range", "a quantity with its unit"),
    ("`1s` is out of range", "a quantity with its unit"),
    ("`2d` is out of range", "a quantity with its unit"),
    ("`6m` is out of range", "a quantity with its unit"),
    ("`8d` is out of range", "a quantity with its unit"),
    ("`10ms` is out of range", "a quantity with its unit"),
    ("`99999` is no port", "a number in a text"),
    ("`1KiB` is out of range", "a quantity with its unit"),
    ("`1000B` is out of range", "a quantity with its unit"),
    ("`noop:9ms` is out of range", "a quantity with its unit"),
    ("`noop:30m` is out of range", "a quantity with its unit"),
];

#[test]
fn every_fault_that_a_schema_can_see_is_marked() {
    let (mut wrong, mut used, mut marked) = (String::new(), Vec::new(), 0);
    for entry in std::fs::read_dir(DIR).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().display().to_string();
        let text = std::fs::read_to_string(&path).unwrap();
        // What is no TOML every editor marks by itself.
        let Ok(config) = toml::from_str::<Value>(&text) else {
            assert!(
                faults(&text).iter().any(|fault| fault.contains("TOML") || fault.contains("there twice")),
                "{name}"
            );
            continue;
        };
        let seen = seen(&config);
        for fault in faults(&text) {
            let key = fault.split(": ").next().unwrap();
            let listed = UNSEEN.iter().position(|(part, _)| fault.contains(part));
            used.extend(listed);
            match (sees(&seen, key), listed) {
                (true, None) => marked += 1,
                (false, Some(_)) => {}
                (true, Some(_)) => wrong.push_str(&format!("{name}: seen, and listed as unseen: {fault}\n")),
                (false, None) => wrong.push_str(&format!("{name}: not seen: {fault}\n  of {seen:?}\n")),
            }
        }
    }
    for (n, (part, _)) in UNSEEN.iter().enumerate().filter(|(n, _)| !used.contains(n)) {
        wrong.push_str(&format!("UNSEEN[{n}] fits nothing: {part}\n"));
    }
    assert!(wrong.is_empty(), "mend the schema, or say in UNSEEN why it cannot see it:\n{wrong}");
    assert!(marked > 120, "{marked}");
}
