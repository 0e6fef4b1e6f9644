//! `[probe] healthcheck`: the old health checker's file.

use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::item::Item;
use super::report::{Errors, Problem};
use super::secret;
use crate::probe::{Fault, Healthcheck};

const NAME_IT: &str = "name the healthcheck.properties of the old health checker";

/// Reads the old health checker's file. What is wrong in it is told in it; this fails where it cannot be read at all.
pub fn load_healthcheck(path: &Path) -> Result<Healthcheck, Errors> {
    match read(path) {
        Ok((healthcheck, _)) => Ok(healthcheck),
        Err(wrong) => {
            let problem = Problem { line: None, key: String::new(), wrong, allowed: NAME_IT.into() };
            Err(Errors { file: path.to_owned(), problems: vec![problem] })
        }
    }
}

/// The file that the key names. What is wrong in it is a warning: all else in it counts.
pub(super) fn given(item: &Item<'_, '_>) -> Option<(PathBuf, Healthcheck)> {
    let path = item.reader.path(item.some_text()?);
    if item.reader.is_tracing() {
        return None;
    }
    let shown = path.display();
    match read(&path) {
        Ok((healthcheck, exposed)) => {
            let warn = |wrong: String, mend: &str| item.reader.warn(item.line, &item.key, wrong, mend);
            for Fault { line, wrong, mend } in &healthcheck.faults {
                warn(format!("{shown}:{line}: {wrong}"), mend);
            }
            if let (Some(mode), Some(_)) = (exposed, &healthcheck.password) {
                let wrong = format!("{shown}: holds a password that others can read (mode {mode:04o})");
                warn(wrong, "nothing here needs it: take its line out, or chmod 600 the file");
            }
            Some((path, healthcheck))
        }
        // Who may not read it has no need to.
        Err(_) if item.reader.blind => Some((path, Healthcheck::default())),
        Err(wrong) => item.fail(format!("{shown}: {wrong}"), NAME_IT),
    }
}

/// Reads the file, and the bits of its mode by which others may.
fn read(path: &Path) -> Result<(Healthcheck, Option<u32>), String> {
    let unreadable = |err: std::io::Error| format!("cannot be read: {err}");
    // Before it is opened: a pipe would be waited for.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err("is no file".into());
    }
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let exposed = secret::exposed(&file.metadata().map_err(unreadable)?);
    let most = Healthcheck::MOST_BYTES;
    // All at once: a vector that grows leaves copies of the password behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 1));
    file.take(most as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > most {
        return Err("is larger than 1 MiB".into());
    }
    Ok((Healthcheck::read(&bytes), exposed))
}
