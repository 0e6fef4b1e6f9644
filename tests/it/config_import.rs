//! `mailbell config import`: the old health checker's file becomes a config that checks the same, and its password stays unseen.

use std::os::unix::fs::MetadataExt;
use std::process::Output;

use mailbell::config::{Config, load_healthcheck};

use crate::support::mailbell::Mailbell;

const SAMPLE: &str = "config/healthcheck.properties";

/// A directory with an old file in it.
fn with_old(text: &str) -> Mailbell {
    let mailbell = Mailbell::new("");
    std::fs::write(mailbell.path("healthcheck.properties"), text).unwrap();
    mailbell
}

fn sample() -> String {
    std::fs::read_to_string(SAMPLE).unwrap()
}

fn import(mailbell: &Mailbell, more: &[&str]) -> Output {
    mailbell.cli(&[&["config", "import", "healthcheck.properties"], more].concat(), false)
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn mode(mailbell: &Mailbell, file: &str) -> u32 {
    std::fs::metadata(mailbell.path(file)).unwrap().mode() & 0o7777
}

#[test]
fn the_sample_becomes_a_config_with_the_same_probes_once_its_jids_are_filled_in() {
    let mailbell = with_old(&sample());
    let output = import(&mailbell, &["--output", "new.toml"]);
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert_eq!(
        text(&output.stderr),
        "xmpp.secret: holds the password of the old file; only you can read it\n\
         targets: 29; people: 3. Fill in each jid that is empty, then run: mailbell config check new.toml\n"
    );
    assert_eq!(std::fs::read_to_string(mailbell.path("xmpp.secret")).unwrap(), "change me\n");
    assert_eq!(mode(&mailbell, "xmpp.secret"), 0o600);

    let written = std::fs::read_to_string(mailbell.path("new.toml")).unwrap();
    let check = mailbell.cli(&["config", "check", "new.toml"], false);
    let said = text(&check.stderr);
    assert_eq!((check.status.code(), said.lines().count()), (Some(78), 5), "{said}");
    for (n, line) in written.lines().enumerate().filter(|(_, line)| *line == "jid = \"\"") {
        let place = format!("new.toml:{}: ", n + 1);
        let told = said.lines().find(|told| told.starts_with(&place)).unwrap_or_else(|| panic!("{line}: {said}"));
        assert!(told.ends_with(".jid: is empty; write NAME@DOMAIN, such as \"alice@example.org\""), "{told}");
    }

    let jids = ["bot", "anna", "otto", "duty"].map(|name| format!("jid = \"{name}@example.org\""));
    let filled = jids.iter().fold(written, |toml, jid| toml.replacen("jid = \"\"", jid, 1));
    std::fs::write(mailbell.path("new.toml"), &filled).unwrap();
    let check = mailbell.cli(&["config", "check", "new.toml"], false);
    let summary = "new.toml: ok: 0 mailboxes, 29 targets, 3 recipients, 1 group, 0 routes, 0 warnings\n";
    assert_eq!((text(&check.stdout), text(&check.stderr)), (summary, ""));

    let config = Config::load(&mailbell.path("new.toml"), |_| None).unwrap();
    let old = load_healthcheck(SAMPLE.as_ref()).unwrap();
    let defaults = &config.probe.defaults;
    assert_eq!(config.probe.probes, old.probes(defaults));
    // And what the old file checks by itself is the same.
    let beside = "[probe]\nhealthcheck = \"healthcheck.properties\"\n";
    let (start, _) = filled.split_once("[probe]\n").unwrap();
    let (_, end) = filled.split_once("# Who is told: ").unwrap();
    std::fs::write(mailbell.path("beside.toml"), format!("{start}{beside}# {end}")).unwrap();
    let config = Config::load(&mailbell.path("beside.toml"), |_| None).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.probe.probes, old.probes(defaults));
}

#[test]
fn nothing_that_is_there_is_overwritten() {
    let mailbell = with_old(&sample());
    std::fs::write(mailbell.path("xmpp.secret"), "ours").unwrap();
    std::fs::write(mailbell.path("new.toml"), "ours too").unwrap();
    let refused = import(&mailbell, &["--output", "new.toml"]);
    assert_eq!((refused.status.code(), text(&refused.stdout)), (Some(74), ""));
    let said = text(&refused.stderr);
    assert_eq!(said, "mailbell: new.toml: is there already: name another file, or take this one away\n");

    let output = import(&mailbell, &[]);
    assert!(output.status.success(), "{output:?}");
    let left = "xmpp.secret: is there already, and was left as it is: the old file's password was not written\n";
    assert!(text(&output.stderr).starts_with(left), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("\n[[recipient]]\nname = \"anna-admin\"\njid = \"\"\n"));
    for (file, kept) in [("xmpp.secret", "ours"), ("new.toml", "ours too")] {
        assert_eq!(std::fs::read_to_string(mailbell.path(file)).unwrap(), kept);
    }
    // Not even by way of a link that leads nowhere yet.
    std::fs::remove_file(mailbell.path("xmpp.secret")).unwrap();
    std::os::unix::fs::symlink(mailbell.path("elsewhere"), mailbell.path("xmpp.secret")).unwrap();
    assert!(text(&import(&mailbell, &[]).stderr).starts_with(left));
    assert!(!mailbell.path("elsewhere").exists());
}

#[test]
fn faults_are_told_on_stderr_and_in_the_config_and_the_rest_is_converted() {
    let mailbell = with_old(
        "[Hosts]\r\na;80,x\r\nb\r\n[Options]\r\nSametime_login_pw = CANARY ;# x <- secret\r\nSametime_login_pwd=CANARY\r\n",
    );
    let output = import(&mailbell, &[]);
    assert!(output.status.success(), "{output:?}");
    let (toml, said) = (text(&output.stdout), text(&output.stderr));
    let faults: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("healthcheck.properties:")).collect();
    let lines: Vec<_> = faults.iter().map(|fault| fault.split(':').next().unwrap()).collect();
    assert_eq!(lines, ["2", "3", "6"], "{said}");
    for fault in faults {
        assert!(toml.contains(&format!("# - line {fault}\n")), "{fault}\n{toml}");
    }
    assert!(toml.contains("\"a:80\"") && toml.contains("password_file = \"xmpp.secret\""), "{toml}");
    assert!(!format!("{toml}{said}").contains("CANARY"), "{toml}{said}");
    assert_eq!(std::fs::read_to_string(mailbell.path("xmpp.secret")).unwrap(), "CANARY ;# x\n");
}

#[test]
fn a_file_without_a_password_makes_none_and_one_that_cannot_be_read_nothing() {
    let mailbell = with_old("");
    let output = import(&mailbell, &["-o", "new.toml"]);
    assert!(output.status.success() && !mailbell.path("xmpp.secret").exists(), "{output:?}");
    let check = mailbell.cli(&["config", "check", "new.toml"], false);
    assert!(text(&check.stderr).contains(": xmpp.password_file: "), "{check:?}");

    std::fs::remove_file(mailbell.path("healthcheck.properties")).unwrap();
    let output = import(&mailbell, &["-o", "other.toml"]);
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(
        text(&output.stderr),
        "healthcheck.properties: cannot be read: No such file or directory (os error 2); \
         name the healthcheck.properties of the old health checker\n"
    );
    assert!(!mailbell.path("other.toml").exists());
}

#[test]
fn where_nothing_can_be_written_there_is_neither_config_nor_password() {
    let mailbell = with_old(&sample());
    let output = import(&mailbell, &["-o", "nowhere/new.toml"]);
    assert_eq!(output.status.code(), Some(74));
    assert!(text(&output.stderr).starts_with("mailbell: nowhere/new.toml: cannot be written: "), "{output:?}");
    assert!(!text(&output.stderr).contains("change me") && !mailbell.path("xmpp.secret").exists());
}
