//! Bytes that are several things, and configs that hold some of them.

/// Ends a part of the bytes.
const NEXT: u8 = 0x1e;

/// A config that is whole but for what is appended, which may belong to its mailbox.
const CONFIG: &str = r#"[xmpp]
jid = "alerts@example.org"
password_env = "PASSWORD"

[operators]
group = "ops"
default_group = "ops"

[[recipient]]
name = "alice"
jid = "alice@example.org"

[[group]]
name = "ops"
members = ["alice"]

[[mailbox]]
name = "ops"
server = "mail.example.org"
user = "alerts"
password_env = "PASSWORD"
sender_may_choose_group = true
"#;

/// The config with this behind it.
pub fn config(more: &str) -> String {
    format!("{CONFIG}{more}")
}

/// What the config is given, and what it is tried on: what stands before the last end of a part, and behind it.
pub fn settings_and_rest(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().rposition(|b| *b == NEXT) {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, b""),
    }
}

/// Entries of a table: a key for each part, in order; what is empty is left out.
pub fn entries<'k>(keys: &[&'k str], data: &[u8]) -> Vec<(&'k str, String)> {
    let texts = data.split(|b| *b == NEXT).map(|part| String::from_utf8_lossy(part).into_owned());
    keys.iter().copied().zip(texts).filter(|(_, text)| !text.is_empty()).collect()
}

/// `key = "text"`, whatever the text is.
pub fn entry(key: &str, text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
            c => c.to_string(),
        })
        .collect();
    format!("{key} = \"{escaped}\"\n")
}
