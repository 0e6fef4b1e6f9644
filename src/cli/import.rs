//! `mailbell config import`: a config made of the old health checker's file.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;

use crate::config::{self, Problem};
use crate::model::Secret;
use crate::probe::Healthcheck;

/// Name of the file that holds the password, beside the config.
const SECRET: &str = "xmpp.secret";

/// From where, and to where.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "The password of the old file is written to xmpp.secret beside the config (for stdout: in this \
    directory), mode 0600, unless there is such a file.\n\
    Exit codes: 0 converted, 74 something could not be written, 78 the old file cannot be read."
)]
pub struct Args {
    /// The old health checker's healthcheck.properties
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write the config to this file, which must not be there yet [default: stdout]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Why there is no config.
pub(super) enum Failure {
    /// The old file cannot be read.
    Input(config::Errors),
    /// Something cannot be written.
    Output(io::Error),
}

impl From<io::Error> for Failure {
    fn from(err: io::Error) -> Self {
        Self::Output(err)
    }
}

/// Converts the file. What is wrong in it, and what is to be done, goes to `err`.
pub(super) fn run(args: &Args, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Failure> {
    let old = config::load_healthcheck(&args.file).map_err(Failure::Input)?;
    let name = args.file.file_name().unwrap_or(args.file.as_os_str()).to_string_lossy();
    let toml = config::import(&old, &name, SECRET);
    match &args.output {
        None => {
            out.write_all(toml.as_bytes())?;
            out.flush()?;
        }
        // Before the password is written: a config that is there is another one's, and so is its password.
        Some(path) => create(path, 0o666, toml.as_bytes()).map_err(|why| about(path, why))?,
    }
    for fault in &old.faults {
        let (wrong, allowed) = (fault.wrong.clone(), fault.mend.clone());
        let problem = Problem { line: Some(fault.line), key: String::new(), wrong, allowed };
        writeln!(err, "{}", problem.show(&args.file))?;
    }
    let dir = args.output.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    if let Some(password) = &old.password {
        keep(&dir.join(SECRET), password, err)?;
    }
    Ok(next(args, &old, err)?)
}

/// Writes the password, where there is no such file yet.
fn keep(path: &Path, password: &Secret, err: &mut dyn Write) -> Result<(), Failure> {
    let shown = path.display();
    let line = zeroize::Zeroizing::new(format!("{}\n", password.expose()));
    match create(path, 0o600, line.as_bytes()) {
        Ok(()) => writeln!(err, "{shown}: holds the password of the old file; only you can read it")?,
        Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {
            writeln!(err, "{shown}: is there already, and was left as it is: the old file's password was not written")?;
        }
        Err(why) => return Err(about(path, why).into()),
    }
    Ok(())
}

/// A new file (O_EXCL), complete or not there.
fn create(path: &Path, mode: u32, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text).and_then(|()| file.sync_all()).inspect_err(|_| drop(std::fs::remove_file(path)))
}

fn about(path: &Path, why: io::Error) -> io::Error {
    let what = match why.kind() {
        io::ErrorKind::AlreadyExists => "is there already: name another file, or take this one away".to_owned(),
        _ => format!("cannot be written: {why}"),
    };
    io::Error::new(why.kind(), format!("{}: {what}", path.display()))
}

fn next(args: &Args, old: &Healthcheck, err: &mut dyn Write) -> io::Result<()> {
    let targets = old.targets().collect::<std::collections::HashSet<_>>().len();
    let file = args.output.as_ref().map_or("FILE".into(), |path| path.display().to_string());
    let people = old.users.len();
    writeln!(
        err,
        "targets: {targets}; people: {people}. Fill in each jid that is empty, then run: mailbell config check {file}"
    )
}
