//! One bad config file per rule, each with everything that is said of it, in full.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mailbell::config::{self, Config, EXAMPLE};
use mailbell::mailbox;
use mailbell::route::Router;

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

/// What is wrong in a file of rules is told where the config names the file, with the file's own line and rule.
#[test]
fn errors_in_a_file_of_rules_name_that_file_and_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let good = std::fs::read_to_string(format!("{DIR}/good.toml")).unwrap();
    let config = dir.path().join("a.toml");
    let mailbox = "[[mailbox]]\nname = \"ops\"";
    std::fs::write(&config, good.replace(mailbox, &format!("{mailbox}\nrules = [\"own/disks.toml\"]"))).unwrap();
    std::fs::create_dir(dir.path().join("own")).unwrap();
    let seen = |rules: &str| {
        std::fs::write(dir.path().join("own/disks.toml"), rules).unwrap();
        said(&config)
    };
    let at = "12: mailbox.ops.rules: DIR/own/disks.toml";
    let rule = "[[rule]]\nname = \"full\"\nsubject = '^(?<disk>\\S+) full'\nkey = \"{disk}\"\n";
    assert_eq!(seen(rule), [""; 0]);
    assert_eq!(seen(""), [format!("{at}: holds no rule; write tables [[rule]]")]);
    assert_eq!(seen("[[rule]"), [format!("{at}:1: column 8: no TOML: unclosed array table, expected `]`")]);
    assert_eq!(
        seen(&format!("{rule}{rule}\n[[rule]]\nname = \"x\"\nbody = '('\ntitel = 1\n[[rules]]\n")),
        [
            format!(
                "{at}:12: rule.x.body: `(`: unclosed group; write an expression of the Rust regex syntax, in single quotes"
            ),
            format!("{at}:13: rule.x.titel: there is no such key; did you mean `title`?"),
            format!("{at}:14: rules: there is no such key; did you mean `rule`?"),
        ]
    );
    assert_eq!(
        seen(&format!("{rule}{rule}")),
        [
            format!(
                "{at}:5: rule.full.name: another rule is called `disks/full` already; give each rule a name of its own"
            ),
            format!(
                "{at}:5: rule.full: can never match: the rule `disks/full` takes every mail that it wants; move it up, narrow the other, or leave it out"
            ),
        ]
    );
    std::fs::write(dir.path().join("own/disks.toml"), b"\xff").unwrap();
    assert_eq!(said(&config), [format!("{at}: is not UTF-8; name a file of [[rule]] tables")]);
}

/// What is wrong in the old health checker's file is a warning where the config names it, with the file's own line.
#[test]
fn faults_of_the_old_health_checkers_file_name_that_file_and_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let good = std::fs::read_to_string(format!("{DIR}/good.toml")).unwrap();
    let (config, old) = (dir.path().join("a.toml"), dir.path().join("old.properties"));
    let with = |keys: &str| std::fs::write(&config, format!("{good}[probe]\nhealthcheck = \"old.properties\"\n{keys}"));
    let mode = |mode| std::fs::set_permissions(&old, std::fs::Permissions::from_mode(mode)).unwrap();
    with("").unwrap();
    std::fs::copy("config/healthcheck.properties", &old).unwrap();
    mode(0o644);
    let at = "24: probe.healthcheck: DIR/old.properties";
    let exposed = "holds a password that others can read (mode 0644)";
    let mend = "nothing here needs it: take its line out, or chmod 600 the file";
    assert_eq!(said(&config), [format!("warning: {at}: {exposed}; {mend}")]);
    mode(0o600);
    assert_eq!(said(&config), [""; 0]);
    let probe = Config::load(&config, env).unwrap().probe;
    let sample = config::load_healthcheck("config/healthcheck.properties".as_ref()).unwrap();
    assert_eq!((&probe.probes, probe.probes.len()), (&sample.probes(&probe.defaults), 29));

    std::fs::write(&old, "Check_Interval=20\nSametime_login_pwd=CANARY\n[Mux]\na;80,x\n").unwrap();
    let faults = [
        format!(
            "warning: {at}:2: what stands here is no key: it was left out; known are NAME_Ports, Check_Interval, \
             Sametime_Notification_Users, Sametime_Notification_Server, Sametime_login_user, Sametime_login_pw"
        ),
        format!("warning: {at}:4: `x` is no port: it was left out; write a number from 1 to 65535"),
    ];
    assert_eq!(said(&config), faults);
    with("targets = [\"a:80\", \"b:1\"]\n").unwrap();
    let probes = Config::load(&config, env).unwrap().probe.probes;
    let shown: Vec<_> = probes.iter().map(|p| format!("{} {:?}", p.target, p.rules.interval)).collect();
    assert_eq!(shown, ["a:80 20s", "b:1 60s"]);
    with("timeout = \"20s\"\n").unwrap();
    let short =
        "its Check_Interval=20 is not longer than timeout (20s): its targets get 10s; raise it, or lower timeout";
    assert_eq!(said(&config).last(), Some(&format!("warning: 24: probe.healthcheck: {short}")));
    let unreadable = |why: &str| {
        let mend = "name the healthcheck.properties of the old health checker";
        assert_eq!(said(&config), [format!("{at}: {why}; {mend}")]);
    };
    std::fs::write(&old, vec![b'#'; (1 << 20) + 1]).unwrap();
    unreadable("is larger than 1 MiB");
    std::fs::remove_file(&old).unwrap();
    std::fs::create_dir(&old).unwrap();
    unreadable("is no file");
}

/// A good file, by name: whatever `config check` lets pass.
fn good_files(dir: &Path) -> Vec<(String, Config)> {
    let mut texts: Vec<(String, String)> = std::fs::read_dir(DIR)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| Some((path.display().to_string(), std::fs::read_to_string(&path).ok()?)))
        .collect();
    let toml = |line: &&str| line.starts_with(|c: char| c == '[' || c.is_ascii_lowercase());
    let example: Vec<_> = EXAMPLE.lines().map(|l| l.strip_prefix('#').filter(toml).unwrap_or(l)).collect();
    texts.push(("config/mailbell.toml".into(), example.join("\n")));
    let readme = std::fs::read_to_string("README.md").unwrap();
    let toml = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    texts.push(("README.md".into(), toml.to_owned()));
    let mut good = Vec::new();
    for (name, text) in texts {
        let file = dir.join("good.toml");
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        good.extend(Config::load(&file, env).ok().map(|config| (name, config)));
    }
    good
}

#[test]
fn what_passes_the_check_is_refused_by_nobody_later() {
    let dir = tempfile::tempdir().unwrap();
    for secret in ["xmpp.secret", "mail.secret"] {
        std::fs::write(dir.path().join(secret), "secret\n").unwrap();
        std::fs::set_permissions(dir.path().join(secret), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let good = good_files(dir.path());
    let names: Vec<_> = good.iter().map(|(name, _)| name.as_str()).collect();
    for must in ["config/mailbell.toml", "README.md", "tests/fixtures/config/good.toml"] {
        assert!(names.contains(&must), "{must} does not pass: {names:?}");
    }
    for (name, config) in good {
        assert!(Router::new(&config.route).is_ok(), "{name}: {:?}", Router::new(&config.route).err());
        for entry in &config.mailboxes {
            assert_eq!(mailbox::check(&entry.mailbox), [""; 0], "{name}");
            assert!(mailbox::open(entry.mailbox.clone()).is_ok(), "{name}");
        }
    }
}

/// Every field with every kind of value, most of them wrong: the check and the router agree on each.
#[test]
fn the_check_and_the_router_agree_on_matchers() {
    let dir = tempfile::tempdir().unwrap();
    let good = std::fs::read_to_string(format!("{DIR}/good.toml")).unwrap();
    let file = dir.path().join("a.toml");
    let fields = ["source", "mailbox", "sender", "status", "severity", "group", "label.x", "label.cap.status", "host"];
    let values = [
        "firing",
        "Test",
        "critical",
        "ops",
        "mailbox:ops",
        "probe",
        "*",
        "?",
        "~.*",
        "~",
        "~(",
        "~a)|(b",
        "",
        "x",
        "~(a{1000}){1000}",
        "~(é{500}){30}",
    ];
    let mut passed = 0;
    for field in fields {
        for value in values {
            let text = format!("{good}\n[[route]]\nmatch = {{ \"{field}\" = '{value}' }}\ngroups = [\"ops\"]\n");
            std::fs::write(&file, text).unwrap();
            if let Ok(config) = Config::load(&file, env) {
                passed += 1;
                assert!(Router::new(&config.route).is_ok(), "{field} = {value}");
            }
        }
    }
    assert!(passed > 40, "{passed}");
}
