//! A canary in every key that holds a secret: it must be in no log, no error, no output, no command line, and not in the store.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mailbell::config::Config;

use crate::support::lab::{Lab, OPERATORS, critical};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::oauth::{CLIENT, CLIENT_SECRET, Oauth, REFRESH};
use crate::support::prosody::Options;
use crate::support::room;
use crate::support::wait_for;

/// A secret as it is, and as SASL PLAIN, HTTP Basic, XOAUTH2 or a form carries it.
fn faces(secret: &str) -> Vec<String> {
    let mut faces = vec![secret.to_owned(), secret.replace(' ', "+"), secret.replace(' ', "%20").replace('/', "%2F")];
    // Base64 of it, wherever in a group of three it begins; the first and last group may hold something else.
    for shift in 0..3 {
        let text = base64(&[vec![b'x'; shift], secret.as_bytes().to_vec()].concat());
        let text = text.trim_end_matches('=');
        faces.push(text[if shift == 0 { 0 } else { 4 }..text.len() - 1].to_owned());
    }
    faces
}

fn base64(data: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |chunk: &[u8]| {
        let bits = chunk.iter().fold(0u32, |bits, b| bits << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        (0..=chunk.len()).map(|n| char::from(DIGITS[(bits >> (18 - 6 * n)) as usize & 63])).collect::<String>()
    };
    data.chunks(3).map(group).collect()
}

fn holds_no(secret: &str, what: &str, text: &str) {
    for face in faces(secret) {
        let line = text.lines().find(|line| line.contains(&face));
        assert_eq!(line, None, "{what} holds {secret:?}, as {face:?}");
    }
}

#[test]
fn the_canary_is_found_in_every_face() {
    assert_eq!(base64(b"\0user\0canary"), "AHVzZXIAY2FuYXJ5");
    for text in ["x canary-1 y", &base64(b"\0user\0canary-1"), &base64(b"\0u\0canary-1"), &base64(b"us\0canary-1,")] {
        assert!(std::panic::catch_unwind(|| holds_no("canary-1", "a text", text)).is_err(), "{text}");
    }
    holds_no("canary-1", "a text", "canary-2");
}

/// Everything that holds a secret, working, with the log at its most.
#[tokio::test]
async fn no_secret_is_in_log_output_command_line_or_store() {
    let lab = Lab::with(&["alice"], &["inbox", "pop", "wrong"], Options::default());
    let alice = lab.online("alice").await;
    alice.make_room("ops", "Alice", &[("passwordprotectedroom", "1"), ("roomsecret", "canary-room")]).await;
    let oauth = Oauth::start("oauth").await;
    let oauth_mailbox = |name: &str, keys: &str| {
        let plain =
            lab.imap(name, "poll = \"1s\"\nauth = \"xoauth2\"").replace(&format!("password = \"pw-{name}\"\n"), "");
        plain.replace(&format!("user = \"{name}\""), "user = \"oauth\"") + keys
    };
    let endpoint = format!("[mailbox.oauth2]\ntoken_url = \"{}\"\nclient_id = \"{CLIENT}\"\n", oauth.token_url());
    // A program's token, a form, HTTP Basic, a refresh token: Dovecot here takes none of them, so all come out as errors.
    let config = lab.base().replace("password = \"pw-alerts\"", "password_env = \"XMPP_CANARY\"")
        + &lab.imap("inbox", "")
        + &lab.pop3("pop", "").replace("password = \"pw-pop\"", "password_file = \"{dir}/pop.secret\"")
        + &lab.imap("wrong", "").replace("pw-wrong", "canary-wrong")
        + &oauth_mailbox("command", "token_command = [\"/bin/sh\", \"{dir}/token\"]\n")
        + &oauth_mailbox("form", &format!("{endpoint}client_secret = \"{CLIENT_SECRET}\"\n"))
        + &oauth_mailbox("basic", &format!("{endpoint}client_secret = \"{CLIENT_SECRET}\"\nclient_auth = \"basic\"\n"))
        + &oauth_mailbox("refresh", &format!("{endpoint}refresh_token = \"{REFRESH}\"\n"))
        + &room::recipient("ops", "password = \"canary-room\"")
        + "[[group]]\nname = \"ops\"\nmembers = [\"alice\", \"opsroom\"]\n"
        + &OPERATORS.replacen('\n', "\nnotice_every = \"1s\"\n", 1)
        + "[log]\nfilter = \"trace\"\n";
    // One mailbox may be read by one alone: folders tell them apart.
    let mut n = 0;
    let config: String = config
        .split_inclusive("auth = \"xoauth2\"\n")
        .map(|part| {
            n += 1;
            if part.ends_with("auth = \"xoauth2\"\n") { format!("{part}folder = \"f{n}\"\n") } else { part.to_owned() }
        })
        .collect();
    let mut mailbell = Mailbell::new(&config);
    let secret = |name: &str, text: &str| {
        let path = mailbell.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    secret("pop.secret", "pw-pop\n");
    secret("token", "echo canary-token; echo canary-error >&2");
    mailbell.env("XMPP_CANARY", "pw-alerts");
    mailbell.start();
    for mailbox in ["inbox", "pop"] {
        let title = format!("Through {mailbox}");
        lab.mail_to(mailbox, &critical(&title, &title));
        alice.gets(&title).await;
    }
    for mailbox in ["wrong", "command", "form", "basic", "refresh"] {
        alice.gets(&format!("mailbox {mailbox} cannot be read")).await;
    }
    wait_for("the room to be joined and every endpoint to be asked", SOON, async || {
        (mailbell.log().contains("joined the room") && oauth.requests().len() >= 3).then_some(())
    })
    .await;

    let own = Path::new("/proc").join(mailbell.pid().to_string());
    let mut seen = vec![("the command line".to_owned(), lossy(&own.join("cmdline")))];
    let commands: [&[&str]; 9] = [
        &["config", "show"],
        &["config", "check"],
        &["config", "check", "--json"],
        &["queue", "list"],
        &["queue", "list", "--json", "--state", "delivered"],
        &["queue", "show", "#1"],
        &["quarantine", "list"],
        &["queue", "show", "99999"],
        &["reload"],
    ];
    for args in commands {
        let file = mailbell.path("mailbell.toml").display().to_string();
        let args: Vec<&str> = args.iter().copied().chain((args[0] == "config").then_some(file.as_str())).collect();
        let output = mailbell.cli(&args, args[0] != "config");
        let text = [output.stdout, output.stderr].concat();
        assert!(!text.is_empty() || args[0] == "quarantine", "{args:?}");
        seen.push((format!("{args:?}"), String::from_utf8_lossy(&text).into_owned()));
    }
    seen.push(("what alice was told".to_owned(), format!("{:?}", alice.messages())));
    mailbell.stop();
    let log = mailbell.log();
    assert!(log.contains("DEBUG"), "the filter took");
    seen.push(("the log".to_owned(), log));
    for entry in std::fs::read_dir(mailbell.path("")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("mailbell.db") {
            seen.push((name, lossy(&path)));
        }
    }
    assert!(seen.iter().any(|(name, text)| name == "mailbell.db" && text.len() > 10_000));
    // Secrets that were given out while it ran are secrets, too.
    let known = [
        "pw-alerts",
        "pw-inbox",
        "pw-pop",
        "canary-wrong",
        "canary-token",
        "canary-error",
        "canary-room",
        CLIENT_SECRET,
        REFRESH,
        "ya29.",
    ];
    for (what, text) in &seen {
        known.iter().for_each(|secret| holds_no(secret, what, text));
    }
    // Each of them is there, hidden.
    let shown = &seen.iter().find(|(what, _)| what.contains("\"config\", \"show\"")).unwrap().1;
    assert_eq!(shown.matches("(hidden)").count(), 8, "{shown}");
}

fn lossy(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()
}

/// Where secrets stand in a config: the table, and the key.
const KEYS: [(&str, &str); 12] = [
    ("xmpp", "password"),
    ("mailbox", "password"),
    ("room", "password"),
    ("oauth2", "client_secret"),
    ("oauth2", "refresh_token"),
    ("xmpp", "password_file"),
    ("mailbox", "password_file"),
    ("room", "password_file"),
    ("oauth2", "client_secret_file"),
    ("oauth2", "refresh_token_file"),
    ("mailbox", "password_env"),
    ("xmpp", "password_env"),
];

/// A whole config with this line in that table.
fn config(table: &str, line: &str) -> String {
    let own = |name: &str, or: &str| if name == table { line.to_owned() } else { or.to_owned() };
    let oauth = if table == "oauth2" {
        format!(
            "auth = \"xoauth2\"\n[mailbox.oauth2]\ntoken_url = \"https://example.org/\"\nclient_id = \"x\"\n{line}\n"
        )
    } else {
        own("mailbox", "password = \"x\"") + "\n"
    };
    format!(
        "[xmpp]\njid = \"a@example.org\"\n{}\n[operators]\ngroup = \"g\"\ndefault_group = \"g\"\n\
         [[recipient]]\nname = \"r\"\njid = \"r@example.org\"\n[[recipient]]\nname = \"room\"\nroom = \"r@muc.example.org\"\n{}\n\
         [[group]]\nname = \"g\"\nmembers = [\"r\"]\n[[mailbox]]\nname = \"m\"\nserver = \"example.org\"\nuser = \"u\"\n{oauth}",
        own("xmpp", "password = \"x\""),
        own("room", ""),
    )
}

/// What people write where a secret belongs, and get wrong.
fn mistakes(key: &str) -> Vec<String> {
    let with = |value: &str| format!("{key} = {value}");
    let mut mistakes = vec![
        with("canary-1"),
        with("\"canary-1"),
        with("'canary-1"),
        with("\"canary-1\" canary-2"),
        with("\"canary-1\\x\""),
        with("\"canary-1\\u0007\""),
        with("\"\"\"canary-1\ncanary-2\"\"\""),
        with("\"\"\"canary-1"),
        with("[\"canary-1\"]"),
        with("[\"canary-1\""),
        with("{ canary-1 = \"canary-2\" }"),
        with("{ canary-1 }"),
        with("\"canary-1\"\ncanary-2"),
        with(&format!("\"canary-1\"\n{key} = \"canary-2\"")),
        format!("{key}: canary-1"),
        format!("{key} canary-1"),
        format!("{key}.x = \"canary-1\""),
        format!("{key}x = \"canary-1\""),
        format!("{} = \"canary-1\"", key.to_uppercase()),
        format!("{} = \"canary-1\"", key.replace('s', "")),
        "\"canary-1\"".to_owned(),
        "canary-1".to_owned(),
    ];
    if !key.contains('_') || matches!(key, "client_secret" | "refresh_token") {
        // Right, but for what comes beside it.
        mistakes.extend([with("\"canary-1\"\nunknown = 1"), with(&format!("\"canary-1\"\n{key}_file = \"x\""))]);
    }
    mistakes
}

#[test]
fn no_config_error_repeats_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mailbell.toml");
    let load = |text: &str| {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        Config::load(&file, |_| Some(OsString::from("canary-env\u{7}")))
    };
    let mut wrong = Vec::new();
    for (table, key) in KEYS {
        for line in mistakes(key) {
            let errors = load(&config(table, &line)).expect_err(&line);
            let said: Vec<String> = errors.problems.iter().map(|problem| problem.show(&file)).collect();
            let all = format!("{}\n{errors}\n{errors:?}", said.join("\n"));
            // Names of files and variables have to be told, or nobody could find what is wrong with them.
            let named = key.ends_with("_file") || key.ends_with("_env");
            if all.contains("canary-env") || (all.contains("canary") && !named) {
                wrong.push(format!("[{table}] {line}\n  {}", said.join("\n  ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_settings_show_a_secret_in_debug_output() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mailbell.toml");
    for (table, key) in KEYS {
        let value = match key {
            _ if key.ends_with("_file") => {
                let secret: PathBuf = dir.path().join("secret");
                std::fs::write(&secret, "canary-file\n").unwrap();
                std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
                "secret"
            }
            _ if key.ends_with("_env") => "NAME",
            _ => "canary-inline",
        };
        let more = if key.starts_with("refresh") || table != "oauth2" { "" } else { "\nscope = \"s\"" };
        std::fs::write(&file, config(table, &format!("{key} = \"{value}\"{more}"))).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let config = Config::load(&file, |_| Some(OsString::from("canary-env"))).unwrap_or_else(|e| panic!("{e}"));
        let shown = format!("{config:?}\n{config:#?}\n{config}");
        assert!(shown.contains("Secret(…)") && shown.len() > 1000, "{shown}");
        assert!(!shown.contains("canary"), "[{table}] {key}: {shown}");
    }
}
