//! The example file against the code that reads it, what is shown, and that secrets stay hidden.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::probe::Probe;

fn no_env(_: &str) -> Option<OsString> {
    None
}

fn read_text(text: &str) -> Result<Config, Errors> {
    read(text, "a.toml".as_ref(), None, &no_env).0
}

fn example() -> Config {
    read_text(&source::uncommented(EXAMPLE)).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Keys with their table as the example file documents them: in force, commented out, or as an alternative in its prose; under
/// no name the tables.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let mut table = String::new();
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in EXAMPLE.lines() {
        let line = line.trim_start_matches('#').trim_start();
        if let Some(name) = line.strip_prefix('[').map(|rest| rest.trim_matches(['[', ']'])) {
            table = name.to_owned();
            if !name.contains('.') {
                keys.entry(String::new()).or_default().insert(table.clone());
            }
        } else if let Some((key, _)) = line.split_once(" = ")
            && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            && !table.is_empty()
        {
            keys.entry(table.clone()).or_default().insert(key.to_owned());
        }
    }
    keys
}

#[test]
fn the_example_file_documents_exactly_the_keys_that_are_read() {
    let (_, keys) = read(&source::uncommented(EXAMPLE), "a.toml".as_ref(), None, &no_env);
    let documented = documented();
    let known: BTreeMap<String, BTreeSet<String>> = keys
        .into_iter()
        // A small table is documented as the value of its key.
        .filter(|(table, _)| documented.contains_key(table) || !is_inline(table))
        // Some keys are tables of their own.
        .map(|(table, keys)| {
            let own = |key: &&str| !documented.contains_key(&format!("{table}.{key}"));
            (table.clone(), keys.into_iter().filter(|key| table.is_empty() || own(key)).map(str::to_owned).collect())
        })
        .collect();
    assert_eq!(documented, known);
}

/// Is it the value of a key, `key = { … }`, in the example file?
fn is_inline(table: &str) -> bool {
    let (of, key) = table.rsplit_once('.').unwrap();
    documented().get(of).is_some_and(|keys| keys.contains(key))
}

#[test]
fn the_example_file_loads_when_its_comments_are_taken_away() {
    let config = example();
    assert_eq!(config.warnings, []);
    assert_eq!(config.mailboxes.len(), 1);
    assert_eq!(config.route.groups.len(), 3);
    assert_eq!(config.route.groups[0].policy.len(), 1);
    assert_eq!(config.route.routes[0].matchers.len(), 2);
}

#[test]
fn as_it_is_the_example_file_lacks_only_what_nobody_can_know() {
    let errors = read_text(EXAMPLE).unwrap_err();
    let missing: Vec<_> = errors.problems.iter().map(|p| (p.key.as_str(), p.wrong.as_str())).collect();
    assert_eq!(
        missing,
        [("xmpp.jid", "is missing"), ("xmpp.password", "is missing"), ("operators.group", "is missing")]
    );
}

#[test]
fn an_empty_file_is_told_what_it_needs() {
    let errors = read_text("").unwrap_err().to_string();
    insta::assert_snapshot!(errors, @r#"
    a.toml: operators.group: is missing; write group = "NAME" (the group that is told of what goes wrong) in a table [operators]
    a.toml: xmpp.jid: is missing; write jid = "NAME@DOMAIN" in a table [xmpp]
    a.toml: xmpp.password: is missing; write password_file = "FILE", password_env = "NAME" or password = "…" in a table [xmpp]
    "#);
}

/// The smallest config: everything else is default.
const SMALL: &str = r#"
    [xmpp]
    jid = "alerts@example.org"
    password = "CANARY"
    [operators]
    group = "ops"
    default_group = "ops"
    [[mailbox]]
    name = "m"
    server = "mail.example.org"
    user = "alerts"
    password = "CANARY"
    [[recipient]]
    name = "alice"
    jid = "alice@example.org"
    [[group]]
    name = "ops"
    members = ["alice"]
"#;

#[test]
fn what_is_left_out_is_as_the_example_file_says() {
    let small = read_text(SMALL).unwrap();
    let example = example();
    assert_eq!(small.store, example.store);
    assert_eq!(small.dispatch, example.dispatch);
    assert_eq!(small.parse, parse::Limits::default());
    let (a, b) = (&small.mailboxes[0], &example.mailboxes[0]);
    assert_eq!(a.mailbox.after, crate::mailbox::After::Keep);
    assert_eq!((a.mailbox.port, a.mailbox.watch, &a.mailbox.folder), (993, b.mailbox.watch, &b.mailbox.folder));
    assert_eq!((a.intake.poll, a.intake.batch, a.intake.max_age), (b.intake.poll, b.intake.batch, b.intake.max_age));
    assert_eq!(small.xmpp.resource, "mailbell");
    assert_eq!(small.route.repeat_after, std::time::Duration::from_secs(4 * 3600));
}

#[test]
fn shows_left_out_of_a_policy_depend_on_the_severity() {
    use crate::model::{Severity as S, Show, ShowSet};
    let rows = |row: &str| {
        let text = format!("{SMALL}\n[[group.policy]]\n{row}\n");
        read_text(&text).unwrap().route.groups[0].policy.clone()
    };
    let all = rows("offline = \"send\"");
    assert_eq!(
        all.iter().map(|row| row.severity.clone()).collect::<Vec<_>>(),
        [vec![S::Critical, S::Major], vec![S::Minor, S::Warning, S::Info]]
    );
    assert_eq!(all[0].shows, ShowSet::all());
    assert!(!all[1].shows.contains(Show::Dnd) && all[1].shows.contains(Show::Xa));
    assert_eq!(rows("severity = [\"critical\"]").len(), 1);
    assert_eq!(rows("shows = [\"dnd\"]").len(), 1);
}

#[test]
fn what_is_shown_loads_again_to_the_same() {
    let noop = SMALL.replace("user =", "watch = \"noop:50ms\"\nuser =");
    let texts = [SMALL.to_owned(), pop3(), noop, xoauth2(COMMAND), xoauth2(ENDPOINT)];
    for config in texts.iter().map(|text| read_text(text).unwrap()).chain([example()]) {
        let shown = config.to_string();
        assert!(toml::from_str::<toml::Table>(&shown).is_ok(), "{shown}");
        let again = read_text(&with_secrets(&shown)).unwrap();
        assert_eq!(again.to_string(), shown);
    }
}

#[test]
fn rules_that_are_shown_load_again_to_the_same() {
    let rule = r#"
        [[mailbox.rule]]
        name = "all"
        from = "ups"
        subject = ['^(?<ups>\\S+)', "'\""]
        header = { "X-Odd Name" = "a", X-Site = ["(?<site>.)", "b"] }
        body = 'x'
        find = '(?<minutes>[0-9]+)'
        each_line = '^(?<state>on|off)'
        key = "{ups} \u00e9"
        status = { from = "{state}", map = { on = "firing", off = "resolved" } }
        severity = { from = "{minutes}", map = { "1" = "critical" }, default = "info" }
        title = "{line}"
        text = "{body}"
        group = "ops"
        link = "https://x/{ups}"
        sent = "{minutes}"
        pairs = "{line}"
        labels = { "a.b" = "{pair.x|y}" }
        [[mailbox.rule]]
        name = "noise"
        subject = "noise"
        ignore = "it is \"noise\""
        [[mailbox.rule]]
        name = "short"
        subject = "short"
        status = "update"
        severity = "major"
    "#;
    let keys = "user = \"alerts\"\nsender_may_choose_group = true\nrules = [\"cron\", \"nagios\"]\n";
    let config =
        read_text(&(SMALL.replace("user = \"alerts\"\n", keys) + rule)).unwrap_or_else(|errors| panic!("{errors}"));
    let shown = config.to_string();
    let again = read_text(&with_secrets(&shown)).unwrap_or_else(|e| panic!("{e}\n{shown}"));
    assert_eq!(again.mailboxes[0].intake.rules, config.mailboxes[0].intake.rules, "{shown}");
    assert_eq!(config.mailboxes[0].intake.rules.iter().count(), 17);
    assert_eq!(again.to_string(), shown);
}

/// Gives back what `config show` hides.
fn with_secrets(shown: &str) -> String {
    let line = |line: &str| match line.strip_prefix("# ").and_then(|rest| rest.strip_suffix("(hidden)")) {
        Some(key) => format!("{key}\"x\"\n"),
        None => format!("{line}\n"),
    };
    shown.lines().map(line).collect()
}

fn xoauth2(how: &str) -> String {
    let auth = format!("user = \"alerts\"\nauth = \"xoauth2\"\n{how}\n");
    SMALL.replace("user = \"alerts\"\n    password = \"CANARY\"\n", &auth)
}

const COMMAND: &str = "token_command = [\"/usr/local/bin/token\", \"a b\"]";
const ENDPOINT: &str = "oauth2.token_url = \"https://login.example.org/token\"\noauth2.client_id = \"mailbell\"\n\
    oauth2.client_secret = \"CANARY\"\noauth2.refresh_token = \"CANARY\"\noauth2.scope = \"mail offline\"\n\
    oauth2.client_auth = \"basic\"";

#[test]
fn tokens_come_from_a_program_or_an_endpoint() {
    use crate::mailbox::{Auth, ClientAuth, TokenSource};
    let auth =
        |how| read_text(&xoauth2(how)).unwrap_or_else(|errors| panic!("{errors}")).mailboxes[0].mailbox.auth.clone();
    let words = ["/usr/local/bin/token".to_owned(), "a b".to_owned()];
    assert_eq!(auth(COMMAND), Auth::Xoauth2(TokenSource::Command(words.to_vec())));
    let Auth::Xoauth2(TokenSource::Endpoint(endpoint)) = auth(ENDPOINT) else { panic!("no endpoint") };
    assert_eq!(endpoint.token_url, "https://login.example.org/token");
    assert_eq!((endpoint.client_id.as_str(), endpoint.client_auth), ("mailbell", ClientAuth::Basic));
    assert_eq!(endpoint.client_secret.map(|s| s.expose().to_owned()).as_deref(), Some("CANARY"));
    assert_eq!(endpoint.scope.as_deref(), Some("mail offline"));
    for how in [COMMAND, ENDPOINT] {
        let config = read_text(&xoauth2(how)).unwrap();
        assert!(!format!("{config} {config:?}").contains("CANARY"));
    }
}

fn pop3() -> String {
    let mailbox = "user = \"alerts\"\nprotocol = \"pop3\"\npoll = \"never\"\nafter = \"delete\"\nplain = \"alert\"\n";
    SMALL.replace("user = \"alerts\"\n", mailbox).replace("mail.example.org", "[::1]:1110")
}

#[test]
fn the_config_in_force() {
    insta::assert_snapshot!(example().to_string());
}

#[test]
fn no_output_holds_a_password() {
    let config = read_text(SMALL).unwrap();
    assert!(!format!("{config} {config:?} {config:#?}").contains("CANARY"));
    let env = |name: &str| (name == "P").then(|| OsString::from("CAN\nARY-CANARY"));
    // Wrong in every way in which a password can be: type, place, content, twice, and a file that others can read.
    for (exposed, password) in [
        (None, "password = [\"CANARY\"]"),
        (None, "password = \"CANARY\\n\""),
        (None, "password = \"CANARY\"\npassword = \"CANARY\""),
        (None, "password = \"CANARY\"\npassword_file = \"x\""),
        (None, "password = \"CANARY"),
        (None, "password = CANARY"),
        (None, "password = '''\n\nCANARY'''"),
        (None, "password = { CANARY = 1 CANARY }"),
        (None, "password_env = \"P\""),
        (Some(0o644), "password = \"CANARY\""),
    ] {
        let text = SMALL.replacen("password = \"CANARY\"", password, 1);
        let errors = read(&text, "a.toml".as_ref(), exposed, &env).0.unwrap_err();
        assert!(!format!("{errors} {errors:?}").contains("CANARY"), "{password}: {errors}");
    }
}

#[test]
fn a_password_in_a_file_that_others_can_read_is_refused_with_the_command_that_mends_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mailbell.toml");
    std::fs::write(&path, SMALL).unwrap();
    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    let errors = Config::load(&path, no_env).unwrap_err().to_string();
    let shown = path.display();
    assert_eq!(
        errors,
        format!(
            "{shown}:4: xmpp.password: stands in a file that others can read (mode 0644); run: chmod 600 {shown}\n\
             {shown}:12: mailbox.m.password: stands in a file that others can read (mode 0644); run: chmod 600 {shown}"
        )
    );
    mode(0o600);
    assert_eq!(Config::load(&path, no_env).unwrap().xmpp.password.expose(), "CANARY");
}

#[test]
fn secrets_and_paths_start_at_the_config_file() {
    let dir = tempfile::tempdir().unwrap();
    let (config, secret) = (dir.path().join("mailbell.toml"), dir.path().join("secret"));
    std::fs::write(&config, SMALL.replace("password = \"CANARY\"", "password_file = \"secret\"")).unwrap();
    std::fs::write(&secret, "hunter2\n").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let loaded = Config::load(&config, no_env).unwrap();
    let crate::mailbox::Auth::Password(password) = &loaded.mailboxes[0].mailbox.auth else { panic!("no password") };
    assert_eq!(password.expose(), "hunter2");
    assert_eq!(loaded.store.path, dir.path().join("mailbell.db"));
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
    let errors = Config::load(&config, no_env).unwrap_err().to_string();
    let shown = secret.display();
    assert!(errors.contains(&format!("others can read {shown} (mode 0644); run: chmod 600 {shown}")), "{errors}");
}

#[test]
fn a_file_that_is_no_config_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.toml");
    let told = || Config::load(&path, no_env).unwrap_err().to_string();
    assert!(told().contains("x.toml: cannot be read: No such file"), "{}", told());
    std::fs::write(&path, b"# ok\n[store]\npath = \"\xff\"\n").unwrap();
    assert!(told().ends_with("x.toml:3: is not UTF-8; save the file as UTF-8"), "{}", told());
    std::fs::write(&path, vec![b'#'; 5 << 20]).unwrap();
    assert!(told().contains("is larger than 4 MiB"), "{}", told());
}

#[test]
fn the_file_is_the_one_named_else_the_variable_else_the_default() {
    let env = |name: &str| (name == PATH_VARIABLE).then(|| OsString::from("/b"));
    assert_eq!(path(Some("/a".as_ref()), env), Path::new("/a"));
    assert_eq!(path(None, env), Path::new("/b"));
    assert_eq!(path(None, no_env), Path::new(DEFAULT_PATH));
}

#[test]
fn what_a_module_would_refuse_at_the_start_is_an_error_of_the_check() {
    let text = format!("{SMALL}\n[[route]]\ngroups = [\"ops\"]\n");
    let mut config = read_text(&text).unwrap();
    config.mailboxes[0].mailbox.user = String::new();
    config.route.recipients.push(config.route.recipients[0].clone());
    config.route.routes[0].matchers = vec![("hosts".into(), vec!["x".into()])];
    config.route.operators = Some("nobody".parse().unwrap());

    let lines = Lines::of(&text);
    let table = source::parse(&text, &lines).table.unwrap();
    let reader = Reader::new("a.toml".as_ref(), None, lines, &no_env);
    let root = Section::root(&reader, &table, source::example());
    let tables = ["recipient", "group", "mailbox", "route"].map(|key| root.tables(key));
    let [recipients, groups, mailboxes, routes] = &tables;
    let places = cross::Places {
        recipients: cross::places(recipients),
        groups: cross::places(groups),
        mailboxes: cross::places(mailboxes),
        routes: cross::places(routes),
        doors: Vec::new(),
        walls: Vec::new(),
        disclaimers: Vec::new(),
    };
    cross::refuse(&reader, &config, &places);
    let told: Vec<_> = reader.finish().0.iter().map(|problem| problem.show("a.toml".as_ref())).collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    a.toml: recipient alice.name: another recipient has the same name
    a.toml:20: route[1].match: hosts: `hosts` cannot be matched; allowed: source, mailbox, sender, status, severity, group, label.NAME
    a.toml: operators.group: there is no group `nobody`; there are ops
    a.toml:8: mailbox.m: user: must not be empty, nor hold a line break or NUL, which no mail protocol can send
    ");
}

/// A config with one change.
fn changed(from: &str, to: &str) -> Config {
    let text = source::uncommented(EXAMPLE);
    assert!(text.contains(from), "{from}");
    read_text(&text.replacen(from, to, 1)).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn only_what_is_read_at_the_start_needs_a_restart() {
    let old = example();
    for (from, to, keys) in [
        ("path = \"mailbell.db\"", "path = \"other.db\"", &["store.path"][..]),
        ("raw_for = \"30d\"", "raw_for = \"29d\"", &["store.raw_for"]),
        ("history_for = \"365d\"", "history_for = \"366d\"", &["store.history_for"]),
        ("history_max = 0", "history_max = 1", &["store.history_max"]),
        ("jid = \"alerts@example.org\"", "jid = \"bot@example.org\"", &["xmpp.jid"]),
        ("window = ", "window = 1", &["xmpp.window"]),
        ("format = \"text\"", "format = \"json\"", &["log.format"]),
        ("filter = \"info\"", "filter = \"debug\"", &[]),
        ("settle = \"5s\"", "settle = \"6s\"", &[]),
        ("shutdown_grace = \"", "shutdown_grace = \"1", &[]),
        ("listen = \"127.0.0.1:2424\"", "listen = \"127.0.0.1:2525\"", &["lmtp"]),
        ("addresses = [\"alerts@example.org\", ", "addresses = [", &["mailbox.direct"]),
        ("concurrency = 1000", "concurrency = 999", &[]),
        ("[[probe.target]]\n", "[[probe.target]]\naddress = \"a:1\"\n[[probe.target]]\n", &[]),
        ("protocol = \"lmtp\"\n", "protocol = \"lmtp\"\nmax_age = \"1h\"\n", &[]),
    ] {
        let next = changed(from, to);
        assert_eq!(old.needs_restart(&next), keys, "{from}");
        assert_eq!(next.needs_restart(&old), keys, "{from}, the other way round");
        let in_force = old.reloaded(next.clone());
        assert_eq!(in_force.needs_restart(&next), keys, "{from}: said again until there was a restart");
        assert_eq!(in_force.needs_restart(&old), [""; 0], "{from}: not in force");
    }
    assert_eq!(old.needs_restart(&old), [""; 0]);
}

#[test]
fn passwords_and_recipients_are_in_force_after_a_reload() {
    let old = example();
    let mut next = example();
    next.xmpp.password = crate::model::Secret::new("new".into());
    next.xmpp.contacts = vec!["new@example.org".parse().unwrap()];
    next.xmpp.ca_file = Some("/new.pem".into());
    next.xmpp.window += 1;
    assert_eq!(old.needs_restart(&next), ["xmpp.window"]);
    let in_force = old.reloaded(next.clone());
    assert_eq!(in_force.xmpp.password, next.xmpp.password);
    assert_eq!((in_force.xmpp.contacts, in_force.xmpp.ca_file), (next.xmpp.contacts, next.xmpp.ca_file));
    assert_eq!(in_force.xmpp.window, old.xmpp.window);
}

const PROBE: &str = r#"
    [probe]
    interval = "2m"
    attempts = 2
    severity = "critical"
    groups = ["@ops"]
    labels = { site = "berlin", b = "1" }
    targets = ["ups1:80,443", "[::1]:22"]
    [[probe.class]]
    name = "Sametime"
    hosts = ["im1", "im2:1533"]
    interval = "30s"
    groups = []
    labels = { site = "bonn", "a.b" = "ü \"x\"" }
    [[probe.class]]
    name = "web"
    ports = [80, 443, 80]
    hosts = ["UPS1.", "2001:db8::1"]
    [[probe.target]]
    address = "im2:1533,2"
    severity = "info"
    timeout = "9s"
    flapping = false
    flap_start = 26
    depends_on = ["ups1", "[::1]:22"]
    [[probe.maintenance]]
    name = "patch \"night\""
    classes = ["web"]
    hosts = ["2001:db8::1"]
    targets = ["[::1]:22"]
    days = ["sat", "sun"]
    at = "02:30"
    for = "90m"
    time_zone = "Europe/Berlin"
    [[probe.maintenance]]
    from = "2099-07-01T22:00"
    until = "2099-07-02T02:00:30+01:00"
    time_zone = "Europe/Berlin"
"#;

#[test]
fn what_a_list_does_not_say_comes_from_probe_and_each_target_is_probed_once() {
    use crate::model::Severity;
    use std::time::Duration;
    let config = read_text(&(SMALL.to_owned() + PROBE)).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.warnings, []);
    let probe = |target: &str| {
        let target = target.parse().unwrap();
        config.probe.probes.iter().find(|probe| probe.target == target).unwrap_or_else(|| panic!("no {target}"))
    };
    let targets: Vec<_> = config.probe.probes.iter().map(|probe| probe.target.to_string()).collect();
    assert_eq!(
        targets.join(" "),
        "im1:1352 im1:80 im1:1533 im1:8081 im1:8082 im2:1533 ups1:80 ups1:443 [2001:db8::1]:80 [2001:db8::1]:443 [::1]:22 im2:2"
    );
    let Probe { rules, classes, .. } = probe("im1:80");
    assert_eq!((rules.interval, rules.attempts), (Duration::from_secs(30), 2));
    assert_eq!((rules.severity, rules.groups.len(), classes.join(" ").as_str()), (Severity::Critical, 0, "Sametime"));
    let labels: Vec<_> = rules.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(labels.join(" "), "a.b=ü \"x\" b=1 site=bonn");
    let Probe { rules, classes, .. } = probe("im2:1533");
    assert_eq!((rules.severity, rules.timeout), (Severity::Critical, Duration::from_secs(9)));
    assert_eq!((rules.interval, rules.groups.len(), classes.len()), (Duration::from_secs(30), 1, 1));
    assert_eq!(
        (probe("im2:2").rules.severity, probe("ups1:80").classes.as_slice()),
        (Severity::Info, &["web".into()][..])
    );
    let parents: Vec<_> = probe("im2:1533").rules.depends_on.iter().map(ToString::to_string).collect();
    assert_eq!(parents, ["ups1", "[::1]:22"]);
    let [weekends, once] = &config.probe.maintenance[..] else { panic!("two windows") };
    let of_window: Vec<bool> = config.probe.probes.iter().map(|probe| weekends.covers.holds(probe)).collect();
    assert_eq!(of_window.iter().filter(|covered| **covered).count(), 5, "{of_window:?}");
    let crate::probe::When::Once { from, until } = &once.when else { panic!("{once:?}") };
    assert_eq!((from.to_string(), until.to_string()), ("2099-07-01T20:00:00Z".into(), "2099-07-02T01:00:30Z".into()));
    assert_eq!(example().probe.concurrency, 1000);
    assert_eq!(read_text(SMALL).unwrap().probe.probes, []);
}

#[test]
fn probes_that_are_shown_load_again_to_the_same() {
    let config = read_text(&(SMALL.to_owned() + PROBE)).unwrap();
    let shown = config.to_string();
    let again = read_text(&with_secrets(&shown)).unwrap_or_else(|e| panic!("{e}\n{shown}"));
    assert_eq!(again.probe, config.probe, "{shown}");
    assert_eq!(again.to_string(), shown);
}

#[test]
fn the_old_health_checkers_file_is_shown_by_its_name_and_its_probes_come_first() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("old.properties");
    std::fs::write(&file, "[Web]\nups1;80\n[Domino]\nd\n[Hosts]\ne;1\n").unwrap();
    let text =
        format!("{SMALL}{PROBE}").replace("[probe]\n", &format!("[probe]\nhealthcheck = \"{}\"\n", file.display()));
    let config = read_text(&text).unwrap();
    let first: Vec<_> = config.probe.probes.iter().take(5).map(|probe| probe.target.to_string()).collect();
    assert_eq!(first.join(" "), "ups1:80 d:1352 d:80 e:1 im1:1352");
    assert_eq!(config.probe.probes[0].classes, ["web"]);
    let shown = config.to_string();
    assert!(shown.contains(&format!("healthcheck = \"{}\"\n", file.display())), "{shown}");
    assert_eq!(read_text(&with_secrets(&shown)).unwrap().probe, config.probe);
    // Who reads no secrets may have no right to this file either.
    std::fs::remove_file(&file).unwrap();
    let path = dir.path().join("a.toml");
    std::fs::write(&path, &text).unwrap();
    assert_eq!(Config::load_without_secrets(&path).unwrap().probe.probes.len(), config.probe.probes.len() - 3);
    assert!(read_text(&text).unwrap_err().to_string().contains("old.properties: cannot be read: No such file"));
}

/// The engine alone has neither people nor a chat server.
#[test]
fn the_probe_alone_is_read_from_a_file_that_holds_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("probe.toml");
    std::fs::write(&path, PROBE).unwrap();
    let Probing { settings, warnings, .. } = load_probe(Some(&path), None).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((&settings, warnings), (&read_text(&(SMALL.to_owned() + PROBE)).unwrap().probe, Vec::new()));
    std::fs::write(&path, "[probe]\ntarget = 1\n[[probe.class]]\nname = \"mux\"\nhosts = []\n[xmpp]\njid = 1\n")
        .unwrap();
    let told = load_probe(Some(&path), None).unwrap_err().to_string();
    assert_eq!(told, format!("{}:2: probe.target: is a number; write [[probe.target]]", path.display()));
    std::fs::write(&path, "[[probe.class]]\nname = \"mux\"\nhosts = []\n").unwrap();
    assert_eq!(load_probe(Some(&path), None).unwrap().warnings.len(), 1);
    std::fs::write(&path, "").unwrap();
    assert_eq!(load_probe(Some(&path), None).unwrap().settings, read_text(SMALL).unwrap().probe);
}
