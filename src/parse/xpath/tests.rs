//! Expressions as operators write them, and as nobody should.

use super::super::tree::Doc;
use super::super::{Limits, xml};
use super::*;

const DOC: &str = "<events xmlns='u' xmlns:m='v' when='12'>\n\
    <source><name> hub </name></source>\n\
    <event id='1' kind='alarm' m:rank='9'><host>a</host><value unit='C'>40</value><value unit='F'>104</value></event>\n\
    <event id='2' kind='info'><host>b</host><m:note>n1</m:note><m:note>n2</m:note><host xmlns=''>bare</host></event>\n\
    <group><event id='3' kind='alarm'><host>c</host>before<b>bold</b>after</event><event id='4'><host/></event></group>\n\
    </events>";

fn doc() -> Doc {
    xml::read(DOC, &Limits::default()).unwrap()
}

fn read(text: &str) -> Result<Expr, BadExpr> {
    let prefixes = BTreeMap::from([("m".to_owned(), "v".to_owned()), ("none".to_owned(), String::new())]);
    let (expr, rest) = read_some(text, Spaces { own: "u", prefixes: &prefixes }, false)?;
    let at = text.chars().count() - rest.chars().count();
    if rest.is_empty() { Ok(expr) } else { Err(BadExpr { at, what: format!("left over: {rest}") }) }
}

fn work() -> Work {
    Work::new(1 << 20)
}

fn all(text: &str) -> Vec<String> {
    let doc = doc();
    values(&read(text).unwrap_or_else(|err| panic!("{text}: {err:?}")), &doc.root().unwrap(), &work()).unwrap()
}

#[test]
fn paths() {
    for (text, want) in [
        ("event/@id", &["1", "2"][..]),
        ("event/host", &["a", "b"]),
        ("event/none:host", &["bare"]),
        ("event/*:host", &["a", "b", "bare"]),
        ("event/m:note", &["n1", "n2"]),
        ("event/m:*", &["n1", "n2"]),
        ("event[2]/*", &["b", "n1", "n2", "bare"]),
        ("//event/@id", &["1", "2", "3", "4"]),
        (".//host", &["a", "b", "c", ""]),
        ("group//@id", &["3", "4"]),
        ("/events/source/name", &["hub"]),
        ("/event", &[]),
        ("/*/@when", &["12"]),
        ("@*", &["12"]),
        ("@when", &["12"]),
        ("event/@*:rank", &["9"]),
        ("event/@rank", &[]),
        ("event[1]/@*", &["1", "alarm", "9"]),
        ("event/..//name", &["hub"]),
        ("event/host/../@id", &["1", "2"]),
        ("group/event/text()", &["before", "after"]),
        ("group/event[1]", &["cbeforeboldafter"]),
        ("event[1]/value[2]", &["104"]),
        ("//event[1]/@id", &["1", "3"]),
        ("//event[last()]/@id", &["2", "4"]),
        ("event[9]", &[]),
        (" event [ 1 ] / host ", &["a"]),
        ("//text()", &["hub", "a", "40", "104", "b", "n1", "n2", "bare", "c", "before", "bold", "after"]),
        ("../*/@when", &["12"]),
        ("../..", &[]),
    ] {
        assert_eq!(all(text), want, "{text}");
    }
}

#[test]
fn predicates() {
    for (text, want) in [
        ("//event[@kind='alarm']/@id", &["1", "3"][..]),
        ("//event[@kind != 'alarm']/@id", &["2"]),
        ("//event[not(@kind = 'alarm')]/@id", &["2", "4"]),
        ("//event[@kind]/@id", &["1", "2", "3"]),
        ("//event[not(@kind)]/@id", &["4"]),
        ("//event[host = \"b\"]/@id", &["2"]),
        ("event[value = '104']/@id", &["1"]),
        ("event/value[@unit='F']", &["104"]),
        ("event[value/@unit = 'F' and host = 'a']/@id", &["1"]),
        ("//event[host = 'a' or host = 'c']/@id", &["1", "3"]),
        ("//event[(host = 'a' or host = 'b') and not(m:note)]/@id", &["1"]),
        ("//event[contains(host, 'a') or starts-with(@kind, 'inf')]/@id", &["1", "2"]),
        ("//event[@kind='alarm'][2]/@id", &[]),
        ("event[m:note[2] = 'n2']/@id", &["2"]),
        ("//event[../source]/@id", &["1", "2"]),
        ("//event[lower-case(host) = 'a']/@id", &["1"]),
        ("event[host = /events/group/event/host]/@id", &[]),
        ("//host[. = 'c']", &["c"]),
        ("//host[text()]", &["a", "b", "c"]),
    ] {
        assert_eq!(all(text), want, "{text}");
    }
}

#[test]
fn functions() {
    for (text, want) in [
        ("concat(event/host, '-', event/@id)", "a-1"),
        ("substring-before('a|b|c', '|')", "a"),
        ("substring-before('abc', '|')", ""),
        ("substring-after('a|b|c', '|')", "b|c"),
        ("substring('Größe', 3)", "öße"),
        ("substring('Größe', 3, 2)", "öß"),
        ("substring('ab', 7)", ""),
        ("normalize-space(' a \n b ')", "a b"),
        ("source/normalize-space()", "hub"),
        ("lower-case('ÄB')", "äb"),
        ("upper-case(event/host)", "A"),
        ("translate('2026-11-21', '-', '.')", "2026.11.21"),
        ("translate('a-b', '-', '')", "ab"),
        ("string-join(//host, ', ')", "a, b, c,"),
        ("string-join(event/value)", "40104"),
        ("string-join(event[1]/value/concat(., @unit), '; ')", "40C; 104F"),
        ("string-join(nothing, ', ')", ""),
        ("event[2]/concat(host, m:note)", "bn1"),
        ("\"it's\"", "it's"),
    ] {
        assert_eq!(all(text), [want], "{text}");
        let doc = doc();
        assert_eq!(first(&read(text).unwrap(), &doc.root().unwrap(), &work()).unwrap(), want, "{text}");
    }
}

#[test]
fn slips_are_told_with_their_place() {
    for (text, at, want) in [
        ("", 0, "expected a path, a function or a text in quotes, but it ends here"),
        ("a/", 2, "expected a path, a function or a text in quotes, but it ends here"),
        ("a[", 2, "expected a path, a function or a text in quotes, but it ends here"),
        ("a[1", 3, "expected `]`, but it ends here"),
        ("a[0]", 2, "a place is a whole number from 1 to 1000000"),
        ("a[1.5]", 3, "expected `]`, found `.`"),
        ("ä[b = ]", 6, "expected a path, a function or a text in quotes, found `]`"),
        ("a[b = 1]", 6, "expected a path, a function or a text in quotes, found `1`"),
        ("a['x']", 5, "expected `=` or `!=`, found `]`"),
        ("a]", 1, "left over: ]"),
        ("a b", 2, "left over: b"),
        ("x:a", 0, "the prefix `x` is not declared; add it to prefixes"),
        ("m:", 2, "expected the name of an element, but it ends here"),
        ("@m:a", 2, "an attribute with a prefix is written @*:NAME"),
        ("@1", 1, "expected the name of an attribute, found `1`"),
        ("@a/b", 2, "nothing can follow an attribute or text()"),
        ("'open", 0, "the text that starts here has no closing '"),
        ("count(a)", 0, "there is no function `count` here"),
        ("concat(a)", 0, "concat takes 2 to 100 arguments, not 1"),
        ("substring(a, b)", 0, "substring takes whole numbers from 1: substring(a, 1, 200)"),
        ("concat(a; b)", 8, "expected `,` or `)`, found `;`"),
        ("a[contains(b)]", 12, "expected `,`, found `)`"),
        ("child::a", 6, "expected the name of an element, found `:`"),
        ("$a", 0, "expected a path, a function or a text in quotes, found `$`"),
    ] {
        let err = read(text).unwrap_err();
        assert_eq!(err.at, at, "{text}: {}", err.what);
        assert!(err.what.starts_with(want), "{text}: {}", err.what);
    }
    let deep = format!("a{}{}", "[b".repeat(17), "]".repeat(17));
    assert!(read(&deep).unwrap_err().what.contains("nested more than 16 deep"));
    assert!(read(&format!("a[{}b{}]", "not(".repeat(50), ")".repeat(50))).unwrap_err().what.contains("nested"));
    assert!(read(&"a/".repeat(600)).is_err());
    assert!(read(&format!("{}b", "a/".repeat(500))).unwrap_err().what.contains("at most 1000 characters"));
}

#[test]
fn whatever_it_looks_at_it_ends_soon() {
    let wide = format!("<events xmlns='u'>{}</events>", "<event><host>x</host></event>".repeat(100_000));
    let doc = xml::read(&wide, &Limits::default()).unwrap();
    let started = std::time::Instant::now();
    for text in [
        "//event[//event = 'y']",
        "//event[../event/host != 'x']",
        "//*[//*[//* = 'y']]",
        "//event[/events = 'y']",
        "string-join(//event/string-join(//event, 'x'), 'y')",
        "translate(/events, /events, 'x')",
    ] {
        assert_eq!(values(&read(text).unwrap(), &doc.root().unwrap(), &work()), Err(Spent), "{text}");
    }
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
    // What a mapping needs of as large a document is far from it.
    let fine = work();
    for el in elements(&path("event"), &doc.root().unwrap(), &fine).unwrap() {
        for _ in 0..5 {
            assert_eq!(first(&read("host").unwrap(), &el, &fine), Ok("x".to_owned()));
        }
    }
}

fn path(text: &str) -> Path {
    match read(text).unwrap() {
        Expr::Path(path) => path,
        other => panic!("{other:?}"),
    }
}

#[test]
fn texts_are_cut_before_they_grow() {
    let doc = xml::read("<a><b>ääää</b><b>ääää</b></a>", &Limits::default()).unwrap();
    let none = BTreeMap::new();
    let cut = |text: &str| {
        let (expr, _) = read_some(text, Spaces { own: "", prefixes: &none }, false).unwrap();
        first(&expr, &doc.root().unwrap(), &Work::new(11)).unwrap()
    };
    assert_eq!(cut("."), "äääää");
    assert_eq!(cut("concat(b, b)"), "äääää");
    assert_eq!(cut("string-join(b, '/')"), "ääää/ä");
}

#[test]
fn what_is_found_again_and_again_is_found_once_and_in_order() {
    let chain =
        |n: usize| (0..50).map(|at| format!("<e n='{}'>", n * 50 + at)).collect::<String>() + &"</e>".repeat(50);
    let doc = xml::read(&format!("<a>{}</a>", (0..100).map(chain).collect::<String>()), &Limits::default()).unwrap();
    let none = BTreeMap::new();
    let (expr, _) = read_some("//*//e/@n", Spaces { own: "", prefixes: &none }, false).unwrap();
    let found = values(&expr, &doc.root().unwrap(), &work()).unwrap();
    assert_eq!(found, (0..5000).map(|n| n.to_string()).collect::<Vec<_>>());
}

mod random {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-z/@\\[\\]()'\"=!,.:*|{} 0-9]{0,60}|\\PC{0,40}") {
            let Ok(expr) = read(&text) else { return Ok(()) };
            let doc = doc();
            prop_assert!(values(&expr, &doc.root().unwrap(), &work()).is_ok());
        }

        #[test]
        fn a_path_finds_what_a_walk_finds(name in "host|event|value|nothing", id in "[0-5]") {
            let doc = doc();
            let walked: Vec<String> = (0..doc.nodes.len())
                .map(|at| El::of(&doc, at))
                .filter(|el| el.name() == name && el.space() == "u")
                .map(|el| el.text())
                .collect();
            prop_assert_eq!(all(&format!("//{name}")), walked.clone());
            let with_id = all(&format!("//event[@id='{id}']//{name}"));
            prop_assert!(with_id.iter().all(|text| walked.contains(text)));
        }
    }

    use super::super::super::tree::El;
}
