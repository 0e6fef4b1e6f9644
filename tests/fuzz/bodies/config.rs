//! Config files.

use std::path::Path;

use mailbell::config::Config;

use super::assert_told_well;

/// The text of a config file.
pub fn run(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        loaded(text);
    }
}

/// The config of this text. Every error of it is told well; what loads can be shown, and what is shown loads to the same.
pub fn loaded(text: &str) -> Option<Config> {
    match read(text) {
        Ok(config) => {
            config
                .warnings
                .iter()
                .for_each(|warning| assert_told_well("a warning", &warning.show(file()).to_string(), 5000));
            shown(&config);
            Some(config)
        }
        Err(errors) => {
            assert!(!errors.problems.is_empty(), "it is refused without a reason");
            for problem in &errors.problems {
                assert_told_well("a problem", &problem.show(file()).to_string(), 5000);
                assert!(problem.line.is_none_or(|line| line <= text.lines().count() + 1), "{problem:?}");
            }
            None
        }
    }
}

fn file() -> &'static Path {
    Path::new("/nowhere/mailbell.toml")
}

fn read(text: &str) -> Result<Config, mailbell::config::Errors> {
    Config::of(text, file(), |name| (name != "UNSET").then(|| "pw-alerts".into()))
}

fn shown(config: &Config) {
    let shown = config.to_string();
    assert!(!shown.contains("pw-alerts"), "a password is shown: {shown}");
    let whole = shown.replace("# password = (hidden)", "password_env = \"PASSWORD\"");
    match read(&whole) {
        Ok(again) => assert_eq!(again.to_string(), shown, "it is shown otherwise when it is loaded again"),
        Err(errors) => panic!("what is shown does not load: {errors}\n{shown}"),
    }
}
