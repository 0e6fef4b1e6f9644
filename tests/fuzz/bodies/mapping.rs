//! `[[mapping]]`: expressions that operators might write, on documents that senders might.

use mailbell::config::Config;
use mailbell::parse::Rules;

use super::parts::{config, entries, entry, settings_and_rest};
use super::pick::Pick;
use super::{config as config_file, mail, prepared};

/// What is made of a mapping's parts when they are texts, in their order.
const KEYS: [&str; 12] = [
    "title",
    "each",
    "key",
    "id",
    "required",
    "text",
    "links",
    "groups",
    "labels.host",
    "severity.value",
    "status.value",
    "sent",
];
/// Before them: the root that documents of the grammar have.
const MAPPING: &str = "[[mapping]]\nname = \"own\"\nroot = \"a\"\nnamespace = \"u\"\nprefixes = { m = \"v\" }\ntimes = [\"rfc3339\", \"epoch\", \"%d.%m.%Y\"]\n";
/// Most bytes of a document that is made.
const LARGEST: usize = 16 << 10;
/// Deepest nesting that is made: of elements, and of expressions.
const DEPTH: usize = 70;
const EXPRESSIONS: usize = 20;

/// The first byte chooses as it does for a mail, and how the rest is read: a mapping (as TOML, as texts of a mapping, made of
/// a grammar, or none beside those that are built in), and behind the last end of a part a document, as it is or made.
pub fn run(data: &[u8]) {
    let Some((flags, rest)) = data.split_first() else { return };
    let (settings, document) = settings_and_rest(rest);
    let text = match flags >> 2 & 3 {
        0 => String::from_utf8_lossy(settings).into_owned(),
        1 => mapping(entries(&KEYS, settings)),
        2 => made(&mut Pick::new(settings)),
        _ => String::new(),
    };
    let Some(Config { mappings, .. }) = config_file::loaded(&config(&text)) else { return };
    prepared();
    let mut raw = b"From: ups7@example.org\nDate: Fri, 21 Nov 2026 18:42:00 +0100\nMessage-ID: <1@example.org>\nContent-Type: application/xml\n\n".to_vec();
    if flags & 16 == 0 {
        raw.extend(document);
    } else {
        let mut text = String::new();
        root(&mut Pick::new(document), &mut text);
        raw.extend(text.as_bytes());
    }
    mail::check_as(*flags, &raw, &mappings, &Rules::default());
}

fn mapping(entries: Vec<(&str, String)>) -> String {
    let mut text = MAPPING.to_owned();
    for (key, value) in &entries {
        text.push_str(&entry(key, value));
        match *key {
            "severity.value" => {
                text.push_str("severity.table = { red = \"critical\", 1 = \"info\" }\nseverity.default = \"refuse\"\n")
            }
            "status.value" => text.push_str("status.table = { ok = \"resolved\", test = \"Test\" }\n"),
            _ => {}
        }
    }
    text
}

/// A mapping of a grammar that knows what expressions are.
fn made(pick: &mut Pick<'_>) -> String {
    let mut entries: Vec<(&str, String)> = Vec::new();
    for key in KEYS {
        if pick.below(3) == 2 {
            continue;
        }
        let mut text = String::new();
        if key == "each" {
            path(pick, &mut text, 0);
        } else {
            text.push_str(pick.of(&["", "a ", "{{", "https://"]));
            text.push('{');
            expression(pick, &mut text, 0);
            text.push('}');
            text.push_str(pick.of(&["", "/{b}", " }}", "\n"]));
        }
        entries.push((key, text));
    }
    mapping(entries)
}

fn expression(pick: &mut Pick<'_>, out: &mut String, depth: usize) {
    if depth > EXPRESSIONS {
        return out.push('a');
    }
    match pick.below(6) {
        0 => out.push_str(pick.of(&["'x'", "\"\"", "' '", "'ß'", "'1'", "'"])),
        1 => {
            let (name, arguments) = pick.of(&[
                ("concat", 2),
                ("concat", 5),
                ("substring-before", 2),
                ("substring-after", 2),
                ("substring", 2),
                ("substring", 3),
                ("normalize-space", 0),
                ("normalize-space", 1),
                ("lower-case", 1),
                ("upper-case", 1),
                ("translate", 3),
                ("string-join", 1),
                ("string-join", 2),
                ("last", 0),
            ]);
            out.push_str(name);
            out.push('(');
            for n in 0..arguments {
                out.push_str(if n > 0 { ", " } else { "" });
                if name == "substring" && n > 0 {
                    out.push_str(pick.of(&["1", "2", "1000000", "0"]));
                } else {
                    expression(pick, out, depth + 1);
                }
            }
            out.push(')');
        }
        _ => path(pick, out, depth),
    }
}

fn path(pick: &mut Pick<'_>, out: &mut String, depth: usize) {
    out.push_str(pick.of(&["", "", "/", "//", ".//", "../"]));
    for n in 0..=pick.below(4) {
        if n > 0 {
            out.push_str(pick.of(&["/", "/", "//"]));
        }
        out.push_str(pick.of(&["a", "b", "*", "m:a", "*:b", "m:*", ".", "..", "@id", "@*:id", "@*", "text()", "x:a"]));
        for _ in 0..pick.below(3).saturating_sub(1) {
            predicate(pick, out, depth + 1);
        }
    }
    if pick.below(8) == 7 {
        out.push_str("/concat(., ");
        expression(pick, out, depth + 1);
        out.push(')');
    }
}

fn predicate(pick: &mut Pick<'_>, out: &mut String, depth: usize) {
    out.push('[');
    match pick.below(4) {
        0 => out.push_str(pick.of(&["1", "2", "last()", "0", "1000000", " 1 "])),
        _ => condition(pick, out, depth),
    }
    out.push(']');
}

fn condition(pick: &mut Pick<'_>, out: &mut String, depth: usize) {
    if depth > EXPRESSIONS {
        return out.push_str("@id");
    }
    match pick.below(7) {
        0 => {
            let word = pick.of(&["contains", "starts-with"]);
            out.push_str(&format!("{word}("));
            expression(pick, out, depth + 1);
            out.push_str(", ");
            expression(pick, out, depth + 1);
            out.push(')');
        }
        1 => {
            out.push_str(pick.of(&["not(", "("]));
            condition(pick, out, depth + 1);
            out.push(')');
        }
        2 => {
            condition(pick, out, depth + 1);
            out.push_str(pick.of(&[" and ", " or "]));
            condition(pick, out, depth + 1);
        }
        3 => path(pick, out, depth + 1),
        _ => {
            expression(pick, out, depth + 1);
            out.push_str(pick.of(&[" = ", "!=", "="]));
            expression(pick, out, depth + 1);
        }
    }
}

/// A document that mappings are for, and now and then one that is for those built in.
fn root(pick: &mut Pick<'_>, out: &mut String) {
    let (start, end) = pick.of(&[
        ("<a xmlns='u' xmlns:m='v'>", "</a>"),
        ("<a xmlns='u' xmlns:m='v' id='1'>", "</a>"),
        ("<p:a xmlns:p='u' xmlns='v' xmlns:m='v'>", "</p:a>"),
        ("<checkresults>", "</checkresults>"),
        ("<a>", "</a>"),
        (
            "<soap:Envelope xmlns:soap='http://www.w3.org/2003/05/soap-envelope'><soap:Body><a xmlns='u'>",
            "</a></soap:Body></soap:Envelope>",
        ),
    ]);
    out.push_str(start);
    for _ in 0..=pick.below(8) {
        let begin = out.len();
        node(pick, out, 0);
        let once = out[begin..].to_owned();
        for _ in 0..pick.of(&[0, 0, 0, 0, 1, 40]) {
            if out.len() + once.len() < LARGEST {
                out.push_str(&once);
            }
        }
    }
    out.push_str(end);
}

fn node(pick: &mut Pick<'_>, out: &mut String, depth: usize) {
    let name = pick.of(&["a", "b", "b", "m:a", "c", "checkresult", "hostname", "state", "output"]);
    out.push_str(&format!("<{name}"));
    for name in ["id", "m:id", "kind"] {
        if pick.below(4) == 3 {
            out.push_str(&format!(" {name}='{}'", value(pick)));
        }
    }
    out.push('>');
    for _ in 0..pick.below(5) {
        if out.len() > LARGEST || depth > DEPTH || !pick.more() || pick.below(3) == 0 {
            out.push_str(value(pick));
        } else {
            node(pick, out, depth + 1);
        }
    }
    out.push_str(&format!("</{name}>"));
}

fn value(pick: &mut Pick<'_>) -> &'static str {
    pick.of(&[
        "x",
        "1",
        "ok",
        "red",
        "test",
        " x y ",
        "ß",
        "İ",
        "2026-11-21T18:42:00Z",
        "1764900000",
        "21.11.2026",
        "https://example.org/",
        "&lt;&amp;&#10;",
        "\n",
        "",
        "a|b\nc",
    ])
}
