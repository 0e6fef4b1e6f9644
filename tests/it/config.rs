//! One bad config file per rule, each with everything that is said of it, in full.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mailbell::config::Config;

const DIR: &str = "tests/fixtures/config";

/// The fixtures' environment: a password, an empty one, and nothing else.
fn env(name: &str) -> Option<OsString> {
    match name {
        "PASSWORD" => Some("CANARY".into()),
        "EMPTY" => Some(OsString::new()),
        _ => None,
    }
}

/// The lines that are said of a file, without its name; warnings marked as such.
fn said(path: &Path) -> Vec<String> {
    let prefix = format!("{}:", path.display());
    let dir = path.parent().unwrap().display().to_string();
    let short = |line: String| line.strip_prefix(&prefix).unwrap_or(&line).trim_start().replace(&dir, "DIR");
    match Config::load(path, env) {
        Ok(config) => config.warnings.iter().map(|p| format!("warning: {}", short(p.show(path)))).collect(),
        Err(errors) => errors.problems.iter().map(|p| short(p.show(path))).collect(),
    }
}

/// The lines that a file's head wants: `#! LINE: KEY: …`.
fn wanted(text: &str) -> Vec<String> {
    text.lines().map_while(|line| line.strip_prefix("#! ")).map(str::to_owned).collect()
}

#[test]
fn every_rule_has_a_bad_file_and_its_message() {
    // Copies, since a check-out's file modes are the user's own.
    let dir = tempfile::tempdir().unwrap();
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(DIR).unwrap() {
        let from = entry.unwrap().path();
        let to = dir.path().join(from.file_name().unwrap());
        std::fs::copy(&from, &to).unwrap();
        std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o644)).unwrap();
        files.push(to);
    }
    files.sort();
    assert!(files.len() > 60, "{} files", files.len());
    let mut wrong = String::new();
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        let (said, wanted) = (said(file), wanted(&text));
        let name = file.file_name().unwrap().display();
        assert!(!wanted.is_empty() || file.ends_with("good.toml"), "{name}: no line `#! …`");
        assert!(!said.iter().any(|line| line.contains("CANARY")), "{name}: {said:#?}");
        if said != wanted {
            wrong.push_str(&format!("{DIR}/{name}\n  said:\n#! {}\n", said.join("\n#! ")));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
