//! Passwords and other secrets: given in exactly one of three ways, and never readable by others.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::item::Item;
use super::reader::Section;
use super::report::quote;
use super::schema::{Law, Want, What};
use crate::model::Secret;

/// Far above any password or token; a larger file is not one.
const MOST: u64 = 16 * 1024;

/// A kind of secret: the keys that give it, and what it is called.
pub(super) struct Kind {
    /// Itself, the file that holds it, the environment variable that holds it.
    pub(super) keys: [&'static str; 3],
    name: &'static str,
}

/// A path in the directory where systemd puts a service's credentials (LoadCredential=, systemd.exec(5)) starts so.
const CREDENTIALS: &str = "$CREDENTIALS_DIRECTORY/";

/// What [`usable`] lets pass: blanks belong to a password.
const LINE: &str = r"^[^\x00-\x1f\x7f-\x9f]+$";

pub(super) const PASSWORD: Kind = Kind { keys: ["password", "password_file", "password_env"], name: "password" };
pub(super) const CLIENT_SECRET: Kind =
    Kind { keys: ["client_secret", "client_secret_file", "client_secret_env"], name: "client secret" };
pub(super) const REFRESH_TOKEN: Kind =
    Kind { keys: ["refresh_token", "refresh_token_file", "refresh_token_env"], name: "refresh token" };

/// Reads `password`, `password_file` or `password_env`, one of which must be given. No message holds a part of it.
pub(super) fn password(section: &Section<'_, '_>) -> Option<Secret> {
    if given(section, &PASSWORD).is_empty() {
        section.missing("password", "password_file = \"FILE\", password_env = \"NAME\" or password = \"…\"");
        return None;
    }
    one(section, &PASSWORD)?
}

/// The keys of this kind that are there.
pub(super) fn given<'r, 'a>(section: &Section<'r, 'a>, kind: &Kind) -> Vec<Item<'r, 'a>> {
    kind.keys.into_iter().filter_map(|key| section.optional(key)).collect()
}

/// Reads a secret that may be left out: `Some(None)` where it is, `None` where it is wrong.
#[allow(clippy::option_option)]
pub(super) fn optional(section: &Section<'_, '_>, kind: &Kind) -> Option<Option<Secret>> {
    section.law(Law::new(What::AtMostOne(kind.keys.to_vec())));
    one(section, kind)
}

#[allow(clippy::option_option)]
fn one(section: &Section<'_, '_>, kind: &Kind) -> Option<Option<Secret>> {
    let [here, in_file, by_env] = kind.keys;
    section.wants(here, [Want::like(LINE)]);
    [in_file, by_env].into_iter().for_each(|key| section.wants(key, [Want::SomeText]));
    let given: Vec<_> = kind.keys.into_iter().filter_map(|key| Some((key, section.optional(key)?))).collect();
    let name = kind.name;
    if let Some((_, second)) = given.get(1) {
        return second
            .fail(format!("is a second way to give the {name}"), format!("keep one of {}", kind.keys.join(", ")));
    }
    let Some((key, item)) = given.first() else { return Some(None) };
    if item.raw_text().is_none() {
        return item.fail("is no text", "write it in quotes");
    }
    if item.reader.blind {
        return Some(Some(Secret::new("not read".to_owned())));
    }
    let secret = if *key == here {
        inline(item, name)
    } else if *key == by_env {
        variable(item, name)
    } else {
        let path = item.some_text()?;
        let read = match path.strip_prefix(CREDENTIALS) {
            Some(credential) => read_credential(item.reader.env, credential, name),
            None => read_file_of(&item.reader.path(path), name, exposed),
        };
        match read {
            Ok(secret) => Some(secret),
            Err(FileError { wrong, mend }) => item.fail(wrong, mend),
        }
    };
    secret.map(Some)
}

fn inline(item: &Item<'_, '_>, name: &str) -> Option<Secret> {
    if let Some(mode) = item.reader.exposed {
        return item.fail(
            format!("stands in a file that others can read (mode {mode:04o})"),
            format!("run: {}", mend(item.reader.file)),
        );
    }
    match usable(item.raw_text()?) {
        Ok(secret) => Some(secret),
        Err(wrong) => item.fail(wrong, format!("write the {name}, on one line")),
    }
}

fn variable(item: &Item<'_, '_>, what: &str) -> Option<Secret> {
    let name = item.some_text()?;
    let wrong = match (item.reader.env)(name).map(OsString::into_string) {
        None => "is not set",
        Some(Err(_)) => "is not UTF-8",
        Some(Ok(text)) => match usable(&Zeroizing::new(text)) {
            Ok(secret) => return Some(secret),
            Err(wrong) => wrong,
        },
    };
    item.fail(format!("the environment variable {} {wrong}", quote(name)), format!("put the {what} there"))
}

/// Why a secret file cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{wrong}; {mend}")]
pub struct FileError {
    /// What is wrong.
    pub wrong: String,
    /// What mends it.
    pub mend: String,
}

/// Reads the first line of a file with a password. Refuses a file that others can read, and says what mends it.
pub fn read_file(path: &Path) -> Result<Secret, FileError> {
    read_file_of(path, PASSWORD.name, exposed)
}

fn read_credential(env: &dyn Fn(&str) -> Option<OsString>, credential: &str, what: &str) -> Result<Secret, FileError> {
    let Some(directory) = env("CREDENTIALS_DIRECTORY") else {
        return Err(FileError {
            wrong: "stands for a directory that only systemd makes, and CREDENTIALS_DIRECTORY is not set".into(),
            mend: format!(
                "write LoadCredential={credential}:FILE in the unit; to try the config, set the variable yourself"
            ),
        });
    };
    // Where systemd gives the service its right by an ACL, that looks like a right of the group: only others matter.
    let exposed = |meta: &std::fs::Metadata| Some(meta.mode() & 0o7777).filter(|mode| mode & 0o006 != 0);
    read_file_of(&Path::new(&directory).join(credential), what, exposed)
}

fn read_file_of(
    path: &Path,
    what: &str,
    exposed: impl Fn(&std::fs::Metadata) -> Option<u32>,
) -> Result<Secret, FileError> {
    let name = path.display();
    let bad = |wrong: String, mend: &str| FileError { wrong, mend: mend.to_owned() };
    let unreadable =
        |err: std::io::Error| bad(format!("{name} cannot be read: {err}"), &format!("name a file with the {what}"));
    // Asked before it is opened: opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(bad(format!("{name} is no file"), &format!("name a file with the {what}")));
    }
    let file = File::open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if let Some(mode) = exposed(&meta) {
        return Err(bad(format!("others can read {name} (mode {mode:04o})"), &format!("run: {}", mend(path))));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MOST).read_to_string(&mut text).map_err(unreadable)?;
    let first = text.lines().next().unwrap_or_default();
    usable(first).map_err(|wrong| bad(format!("the first line of {name} {wrong}"), &format!("write the {what} there")))
}

/// The mode of a file that others than its owner can read or write. A file of root's that a service's own group may read
/// is the usual way to give a service its config, and is none.
pub(super) fn exposed(meta: &std::fs::Metadata) -> Option<u32> {
    let mode = meta.mode() & 0o7777;
    let for_service = meta.uid() == 0 && meta.gid() != 0;
    let exposed = mode & 0o006 != 0 || (mode & 0o060 != 0 && !for_service);
    exposed.then_some(mode)
}

fn mend(path: &Path) -> String {
    let path = path.display().to_string();
    let plain = path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-+@:".contains(&b));
    if plain { format!("chmod 600 {path}") } else { format!("chmod 600 '{}'", path.replace('\'', r"'\''")) }
}

/// A line end inside a password would end the login command early.
fn usable(text: &str) -> Result<Secret, &'static str> {
    if text.is_empty() {
        Err("is empty")
    } else if text.chars().any(char::is_control) {
        Err("holds a control character")
    } else {
        Ok(Secret::new(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(text: &[u8], mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn the_first_line_counts_and_its_end_does_not() {
        for text in ["hunter2", "hunter2\n", "hunter2\r\n", "hunter2\nsecond line\n"] {
            assert_eq!(read_file(file(text.as_bytes(), 0o600).path()).unwrap().expose(), "hunter2");
        }
        // Blanks belong to it.
        assert_eq!(read_file(file(b" a b \n", 0o400).path()).unwrap().expose(), " a b ");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_command_that_mends_it() {
        for mode in [0o644, 0o604, 0o640, 0o620, 0o602] {
            let file = file(b"CANARY", mode);
            let err = read_file(file.path()).unwrap_err();
            assert_eq!(err.wrong, format!("others can read {} (mode {mode:04o})", file.path().display()));
            assert_eq!(err.mend, format!("run: chmod 600 {}", file.path().display()));
        }
        assert_eq!(mend("/a b/it's".as_ref()), r"chmod 600 '/a b/it'\''s'");
    }

    #[test]
    fn a_credential_is_found_where_systemd_puts_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("xmpp");
        std::fs::write(&path, "hunter2\n").unwrap();
        let env = |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| directory.path().into());
        let with = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            read_credential(&env, "xmpp", "password")
        };
        for mode in [0o400, 0o440] {
            assert_eq!(with(mode).unwrap().expose(), "hunter2");
        }
        assert!(with(0o444).unwrap_err().wrong.starts_with("others can read"));
        assert!(read_credential(&env, "other", "password").unwrap_err().wrong.contains("/other cannot be read"));
        let none = read_credential(&|_| None, "xmpp", "password").unwrap_err();
        assert!(none.wrong.ends_with("CREDENTIALS_DIRECTORY is not set"), "{none}");
        assert!(none.mend.contains("LoadCredential=xmpp:FILE"), "{none}");
    }

    #[test]
    fn what_is_no_password_is_refused() {
        let wrong = |text: &[u8]| read_file(file(text, 0o600).path()).unwrap_err().wrong;
        assert!(wrong(b"").ends_with("is empty"));
        assert!(wrong(b"\nCANARY\n").ends_with("is empty"));
        assert!(wrong(b"CAN\0ARY\n").ends_with("holds a control character"));
        assert!(wrong(b"\xff\xfe").contains("UTF-8"));
        assert!(read_file("/dev/null".as_ref()).unwrap_err().wrong.ends_with("is no file"));
        let none = read_file("/nowhere/secret".as_ref()).unwrap_err();
        assert!(none.wrong.starts_with("/nowhere/secret cannot be read: No such file"), "{none}");
    }
}
