//! What is in deploy/: the unit, the Debian package, the Containerfile, the alert rules.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mailbell::metrics::catalogue::{self, Kind};

use crate::lmtp_door;
use crate::probe_serve;
use crate::support::free_port;
use crate::support::lab::{Lab, OPERATORS, critical};
use crate::support::lmtp::Session;
use crate::support::mailbell::Mailbell;
use crate::support::outcome::all_in_state;
use crate::support::web::Web;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|err| panic!("{file}: {err}"))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs it at the root of the repository. `None`, with a printed note, where there is no such program.
fn run(program: &str, args: &[&str]) -> Option<Output> {
    match Command::new(program).args(args).current_dir(root()).output() {
        Ok(output) => Some(output),
        Err(err) => {
            println!("skipped: {program}: {err}");
            None
        }
    }
}

/// What follows `KEY=` in the unit, line by line.
fn unit(key: &str) -> Vec<String> {
    let unit = read("deploy/mailbell.service");
    unit.lines().filter_map(|line| line.strip_prefix(&format!("{key}="))).map(str::to_owned).collect()
}

#[test]
fn the_unit_exposes_little() {
    let args = ["security", "--offline=true", "--no-pager", "deploy/mailbell.service"];
    let Some(said) = run("systemd-analyze", &args) else { return };
    let said = text(&said);
    let level = said.split("Overall exposure level for mailbell.service: ").nth(1).unwrap_or_else(|| panic!("{said}"));
    let level: f64 = level.split_whitespace().next().unwrap().parse().unwrap();
    assert!(level > 0.0 && level <= 1.5, "{said}");
}

#[test]
fn the_unit_is_understood() {
    // The program stands elsewhere here.
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("mailbell.service");
    let text_of = read("deploy/mailbell.service").replace("/usr/bin/mailbell", env!("CARGO_BIN_EXE_mailbell"));
    std::fs::write(&copy, text_of.replace("Documentation=file:", "#")).unwrap();
    let Some(said) = run("systemd-analyze", &["verify", "--man=no", copy.to_str().unwrap()]) else { return };
    let lines: Vec<String> =
        text(&said).lines().filter(|line| line.contains("mailbell.service")).map(str::to_owned).collect();
    assert!(said.status.success() && lines.is_empty(), "{}", text(&said));
}

/// The system calls of a set, those of sets in it included.
fn calls(set: &str) -> BTreeSet<String> {
    let said = Command::new("systemd-analyze").args(["syscall-filter", "--no-pager", set]).output().unwrap();
    let said = text(&said);
    let words = said.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    words
        .filter(|word| *word != set)
        .flat_map(|word| if word.starts_with('@') { calls(word) } else { BTreeSet::from([word.to_owned()]) })
        .collect()
}

/// As systemd.exec(5) reads the lines: the first makes a list of what is allowed, `~` takes away from it.
fn allowed() -> BTreeSet<String> {
    let mut allowed = calls("@default");
    for line in unit("SystemCallFilter") {
        let (takes, words) = line.strip_prefix('~').map_or((false, line.as_str()), |words| (true, words));
        for word in words.split_whitespace() {
            let of = if word.starts_with('@') { calls(word) } else { BTreeSet::from([word.to_owned()]) };
            if takes {
                allowed.retain(|call| !of.contains(call));
            } else {
                allowed.extend(of);
            }
        }
    }
    allowed
}

#[tokio::test]
async fn the_unit_allows_all_that_the_service_does() {
    if run("systemd-analyze", &["--version"]).is_none() {
        return;
    }
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("calls");
    let (port, http, open) = (free_port(), free_port(), free_port());
    let _listener = probe_serve::listen(open);
    let config = lab.base()
        + &lab.imap("inbox", "")
        + &lmtp_door::door(port, "")
        + "[[lmtp]]\nlisten = \"unix:lmtp.sock\"\nmode = \"0666\"\n"
        + &lmtp_door::mailbox("direct", "")
        + &probe_serve::fast(&[open, free_port()], "")
        + &format!("[http]\nlisten = \"127.0.0.1:{http}\"\n")
        + &lab.everybody("ops")
        + OPERATORS;
    let mut mailbell = Mailbell::under(&["strace", "-f", "-qq", "-o", trace.to_str().unwrap()], &config);
    mailbell.start();
    lab.mail(&critical("a", "Fetched"));
    alice.gets("Fetched").await;
    Session::connect(port).unwrap().hand_in(&[&lmtp_door::address("direct")], &critical("b", "Handed in")).unwrap();
    alice.gets("Handed in").await;
    assert_eq!(Web::new(http).ask("GET", "/healthz", &[], "").await.body, "ok\n");
    alice.gets("is down: refused").await;
    all_in_state(&mailbell, "Handed in", 1, "delivered").await;
    // The process itself, not who traces it: the lock names it.
    let lock = std::fs::read_to_string(mailbell.path("mailbell.db.lock")).unwrap();
    let pid = lock.split_whitespace().find(|word| word.bytes().all(|b| b.is_ascii_digit())).unwrap().to_owned();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(mailbell.ended().success(), "{}", mailbell.log());

    let trace = std::fs::read_to_string(trace).unwrap();
    let made = trace.lines().filter_map(|line| line.split_once(' ')).map(|(_, call)| call.trim_start());
    let name = |call: &str| call.split('(').next().unwrap().to_owned();
    let plain = |name: &String| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let used: BTreeSet<String> = made.clone().filter(|call| call.contains('(')).map(name).filter(plain).collect();
    assert!(used.len() > 30 && used.contains("fsync"), "{used:?}");
    // The unit is not in force before the program is executed.
    let allowed = allowed();
    let denied: Vec<&String> = used.iter().filter(|call| !allowed.contains(*call) && *call != "execve").collect();
    assert!(denied.is_empty(), "SystemCallFilter denies {denied:?}");
    let families = unit("RestrictAddressFamilies").concat();
    for call in made.filter(|call| call.starts_with("socket(") || call.starts_with("socketpair(")) {
        let family = call.split('(').nth(1).unwrap().split(',').next().unwrap();
        assert!(families.split_whitespace().any(|allowed| allowed == family), "RestrictAddressFamilies denies {call}");
    }
    let writes_code = trace.lines().find(|line| line.contains("PROT_WRITE|PROT_EXEC"));
    assert_eq!(writes_code, None, "MemoryDenyWriteExecute denies it");
}

/// A config of the sample's, with what it refers to.
fn check_sample(program: &Path, sample: &Path) {
    let secrets = tempfile::tempdir().unwrap();
    for name in ["xmpp", "ops"] {
        std::fs::write(secrets.path().join(name), "secret\n").unwrap();
        std::fs::set_permissions(secrets.path().join(name), std::fs::Permissions::from_mode(0o440)).unwrap();
    }
    let check = |secrets: Option<&Path>| {
        let mut command = Command::new(program);
        command.args(["config", "check"]).arg(sample).env_remove("CREDENTIALS_DIRECTORY");
        secrets.map(|secrets| command.env("CREDENTIALS_DIRECTORY", secrets));
        command.output().unwrap()
    };
    let done = check(Some(secrets.path()));
    assert!(done.status.success(), "{}", text(&done));
    let without = check(None);
    assert_eq!(without.status.code(), Some(78), "{}", text(&without));
    assert!(text(&without).contains("LoadCredential=xmpp:FILE"), "{}", text(&without));
}

#[test]
fn the_sample_config_is_a_good_one_for_the_unit() {
    let sample = root().join("deploy/mailbell.toml.sample");
    check_sample(Path::new(env!("CARGO_BIN_EXE_mailbell")), &sample);
    assert!(unit("LoadCredential").iter().any(|line| line.starts_with("xmpp:")));
    assert!(read("deploy/mailbell.toml.sample").contains("path = \"/var/lib/mailbell/"));
    assert_eq!(unit("StateDirectory"), ["mailbell"]);
}

#[test]
fn the_package_installs_and_runs() {
    if !root().join("target/tools/bin/cargo-deb").exists() {
        println!("skipped: there is no cargo-deb; deploy/deb --tool installs it");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let package = dir.path().join("mailbell.deb");
    // The program is there: what is tested is the package.
    let args = ["--no-build", "--no-strip", "--fast", "--profile", "dev", "--output", package.to_str().unwrap()];
    let made = run("deploy/deb", &args).unwrap();
    assert!(made.status.success(), "{}", text(&made));
    let scratch = dir.path().join("root");
    let package = package.to_str().unwrap();
    let installed = run("dpkg-deb", &["-x", package, scratch.to_str().unwrap()]).unwrap();
    assert!(installed.status.success(), "{}", text(&installed));
    let program = scratch.join("usr/bin/mailbell");
    let version = Command::new(&program).arg("--version").output().unwrap();
    assert_eq!(text(&version), format!("mailbell {}\n", env!("CARGO_PKG_VERSION")));
    check_sample(&program, &scratch.join("etc/mailbell/mailbell.toml.sample"));
    assert!(!scratch.join("etc/mailbell/mailbell.toml").exists(), "nothing is active that was not edited");
    let units: Vec<PathBuf> = ["lib/systemd/system", "usr/lib/systemd/system"]
        .map(|dir| scratch.join(dir).join("mailbell.service"))
        .into_iter()
        .filter(|unit| unit.exists())
        .collect();
    assert_eq!(units.len(), 1, "{units:?}");
    assert_eq!(std::fs::read_to_string(&units[0]).unwrap(), read("deploy/mailbell.service"));
    let control = |file: &str| text(&run("dpkg-deb", &["--info", package, file]).unwrap());
    assert_eq!(control("conffiles").trim(), "/etc/mailbell/mailbell.toml.sample");
    let depends = text(&run("dpkg-deb", &["--field", package, "Depends"]).unwrap());
    assert!(depends.contains("libc6") && depends.contains("systemd"), "{depends}");
    let postinst = control("postinst");
    assert!(postinst.contains("try-restart mailbell.service"), "an upgrade restarts what runs:\n{postinst}");
    assert!(!postinst.contains(" start mailbell.service"), "it is started by who has edited the config:\n{postinst}");
}

#[test]
fn the_containerfile_copies_what_is_there_and_runs_as_nobody_special() {
    let file = read("deploy/Containerfile").replace("\\\n", " ");
    let lines: Vec<&str> = file.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let last = lines.iter().rposition(|line| line.starts_with("FROM ")).unwrap();
    let (build, run_time) = lines.split_at(last);
    let copied = |stage: &[&str]| -> Vec<(Vec<String>, String)> {
        let copies =
            stage.iter().filter_map(|line| line.strip_prefix("COPY ")).filter(|copy| !copy.starts_with("--from"));
        copies
            .map(|copy| {
                let mut words: Vec<String> = copy.split_whitespace().map(str::to_owned).collect();
                let to = words.pop().unwrap();
                (words, to)
            })
            .collect()
    };
    for (from, _) in copied(build).iter().chain(&copied(run_time)) {
        for path in from {
            assert!(root().join(path).exists(), "COPY {path}: there is none");
        }
    }
    for stage in [build, run_time] {
        assert!(stage[0].starts_with("FROM docker.io/library/debian:12-slim"), "{}", stage[0]);
    }
    let user = run_time.iter().rfind(|line| line.starts_with("USER ")).expect("USER");
    assert!(!user.contains("root") && !user.ends_with(" 0") && !user.contains(" 0:"), "{user}");
    let after = run_time.iter().skip_while(|line| !line.starts_with("USER "));
    assert!(after.clone().all(|line| !line.starts_with("RUN ")), "nothing is changed as that user");
    assert!(
        run_time.iter().any(|l| l.starts_with("HEALTHCHECK ") && l.ends_with("[\"/usr/bin/mailbell\", \"status\"]"))
    );
    // Cargo takes what is copied for a whole package.
    let dir = tempfile::tempdir().unwrap();
    for (from, to) in copied(build) {
        for path in &from {
            let to = if to.ends_with('/') { dir.path().join(path) } else { dir.path().join(&to) };
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            let copied = Command::new("cp").arg("-r").arg(root().join(path)).arg(to).status().unwrap();
            assert!(copied.success());
        }
    }
    let read = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline", "--locked"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(read.status.success(), "{}", text(&read));
}

#[test]
fn the_alert_rules_fire_when_they_must_and_name_metrics_that_there_are() {
    let promtool = |args: &[&str]| run("promtool", args).expect("promtool, of Debian's package prometheus");
    let checked = promtool(&["check", "rules", "deploy/prometheus-rules.yml"]);
    assert!(checked.status.success(), "{}", text(&checked));
    let tested = promtool(&["test", "rules", "tests/fixtures/prometheus/rules.yml"]);
    assert!(tested.status.success(), "{}", text(&tested));
    let rules = read("deploy/prometheus-rules.yml");
    let known = |word: &str| {
        let histogram = word.strip_suffix("_bucket");
        catalogue::ALL.iter().any(|metric| match histogram {
            Some(name) => metric.name == name && metric.kind == Kind::Histogram,
            None => metric.name == word && metric.kind != Kind::Histogram,
        })
    };
    let words = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named: BTreeSet<&str> = words.filter(|w| w.starts_with("mailbell_") || w.starts_with("process_")).collect();
    assert!(named.len() > 10, "{named:?}");
    let unknown: Vec<&&str> = named.iter().filter(|word| !known(word)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    // Each of them is shown to fire.
    let tests = read("tests/fixtures/prometheus/rules.yml");
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname=\"{alert}\"")), "{alert} is not tested");
    }
}
