//! The mappings that are built in, against the reader of config.

use super::*;

#[test]
fn what_is_built_in_has_no_error() {
    for (file, text) in BUILT_IN {
        let (mappings, problems) = read_file(file, text);
        assert_eq!(problems, [], "{file}");
        assert_eq!(mappings.len(), 1, "{file}");
    }
    let names: Vec<_> = built_in().built_in.into_iter().map(|mapping| mapping.name).collect();
    assert_eq!(names, ["nrdp", "call-home"]);
}

#[test]
fn the_mapping_that_the_documentation_shows_is_a_good_one() {
    let text = include_str!("../../../config/mappings/README.md");
    let toml = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(read_text(toml).own[0].name, "press");
}

#[test]
fn offsets() {
    assert_eq!(offset("+01:30").map(Offset::seconds), Some(5400));
    assert_eq!(offset("-11:00").map(Offset::seconds), Some(-39600));
    for text in ["01:00", "+1:00", "+01:60", "+99:00", "+01", "+0x:00", ""] {
        assert_eq!(offset(text), None, "{text}");
    }
}
