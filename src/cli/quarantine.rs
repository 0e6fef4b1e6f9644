//! `mailbell quarantine`: mails that could not be read, and why.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::queue::{AtDesk, Failure, lines};
use super::table;
use crate::model::{MessageId, Size};
use crate::queue::{Desk, StoreFault};

/// Looked at in one go.
const PAGE: usize = 1000;

/// `mailbell quarantine`.
pub type Args = AtDesk<Command>;

/// What to do with the quarantine.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List them, oldest first
    List {
        /// Only those with a greater number
        #[arg(long, value_name = "NUMBER")]
        after: Option<i64>,
        /// At most so many, up to 1000
        #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
    /// Show one: where it came from, and every reason
    Show {
        /// Its number
        #[arg(value_name = "ID")]
        id: i64,
        /// Print the mail itself, byte for byte, and nothing else
        #[arg(long)]
        raw: bool,
    },
    /// Read some again, by the config and the version in force now, whatever their age
    Replay {
        /// Their numbers
        #[arg(value_name = "ID", required_unless_present = "all")]
        ids: Vec<i64>,
        /// All that are there
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
    /// Write the mails as files ID.eml, for their owner only
    Export {
        /// Directory; made where it is missing
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// Their numbers [default: all]
        #[arg(value_name = "ID")]
        ids: Vec<i64>,
    },
}

/// Runs the command at a desk: that of the store, or of the running service.
///
/// # Errors
/// The message is not in quarantine, its mail was purged; or the store failed.
pub async fn run(args: &Args, desk: &dyn Desk, out: &mut dyn Write, complaints: &mut dyn Write) -> Result<(), Failure> {
    match &args.command {
        Command::List { after, limit } => {
            list(after.map(MessageId), usize::from(*limit), args.desk.json, desk, out, complaints).await
        }
        Command::Show { id, raw } => show(MessageId(*id), *raw, args.desk.json, desk, out).await,
        Command::Replay { ids, .. } => replay(ids, desk, out).await,
        Command::Export { to, ids } => export(to, ids, desk, out, complaints).await,
    }
}

/// The numbers given, else those of all that are there.
async fn numbers(ids: &[i64], desk: &dyn Desk) -> Result<Vec<MessageId>, Failure> {
    let mut all: Vec<MessageId> = ids.iter().copied().map(MessageId).collect();
    while ids.is_empty() {
        let found = desk.quarantine(all.last().copied(), PAGE).await?;
        all.extend(found.iter().map(|view| view.id));
        if found.len() < PAGE {
            break;
        }
    }
    Ok(all)
}

async fn replay(ids: &[i64], desk: &dyn Desk, out: &mut dyn Write) -> Result<(), Failure> {
    let (mut done, mut refused) = (0, Vec::new());
    for id in numbers(ids, desk).await? {
        match desk.replay(id).await {
            Ok(()) => done += 1,
            Err(err) if err.fault == StoreFault::Refused => refused.push(err.what),
            Err(err) => return Err(err.into()),
        }
    }
    writeln!(out, "{done} to be read again; what still cannot be read comes back: mailbell quarantine list")?;
    if refused.is_empty() { Ok(()) } else { Err(Failure::Refused(refused.join("; "))) }
}

async fn export(
    to: &Path,
    ids: &[i64],
    desk: &dyn Desk,
    out: &mut dyn Write,
    complaints: &mut dyn Write,
) -> Result<(), Failure> {
    let failed = |path: &Path, err: io::Error| Failure::Refused(format!("cannot write {}: {err}", path.display()));
    std::fs::create_dir_all(to).map_err(|err| failed(to, err))?;
    let mut done = 0;
    for id in numbers(ids, desk).await? {
        let path = to.join(format!("{id}.eml"));
        match desk.quarantined(id).await? {
            None => return Err(Failure::Refused(format!("message {id} is not in quarantine"))),
            Some((_, None)) => writeln!(complaints, "the mail of message {id} was purged (store.raw_for)")?,
            Some((_, Some(mail))) => {
                write_new(&path, &mail).map_err(|err| failed(&path, err))?;
                done += 1;
            }
        }
    }
    writeln!(out, "{done} mails in {}", to.display())?;
    Ok(())
}

/// For its owner only; what is there already is not written over.
fn write_new(path: &Path, mail: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(mail)?;
    file.sync_all()
}

async fn list(
    after: Option<MessageId>,
    limit: usize,
    json: bool,
    desk: &dyn Desk,
    out: &mut dyn Write,
    complaints: &mut dyn Write,
) -> Result<(), Failure> {
    let found = desk.quarantine(after, limit).await?;
    if json {
        return lines(out, &found);
    }
    if found.is_empty() {
        writeln!(out, "nothing")?;
        return Ok(());
    }
    let rows: Vec<_> = found
        .iter()
        .map(|q| {
            let more = q.reasons.len().saturating_sub(1);
            let first = q.reasons.first().map(String::as_str).unwrap_or_default();
            let reason = if more > 0 { format!("{first} (and {more} more)") } else { first.to_owned() };
            [
                q.id.to_string(),
                q.mailbox.to_string(),
                q.cursor.clone(),
                table::time(q.stored),
                Size(q.size).to_string(),
                reason,
            ]
        })
        .collect();
    table::write(out, ["ID", "MAILBOX", "CURSOR", "FETCHED", "SIZE", "REASON"], &rows)?;
    if let Some(last) = found.last().filter(|_| found.len() == limit) {
        writeln!(complaints, "there may be more: --after {}", last.id)?;
    }
    Ok(())
}

async fn show(id: MessageId, raw: bool, json: bool, desk: &dyn Desk, out: &mut dyn Write) -> Result<(), Failure> {
    let found = desk.quarantined(id).await?;
    let (view, mail) = found.ok_or_else(|| Failure::Refused(format!("message {id} is not in quarantine")))?;
    if raw {
        let purged = || Failure::Refused(format!("the mail of message {id} was purged (store.raw_for)"));
        out.write_all(&mail.ok_or_else(purged)?)?;
        return Ok(());
    }
    if json {
        return lines(out, &[view]);
    }
    let mail = if mail.is_some() { format!("mailbell quarantine show {id} --raw") } else { "purged".to_owned() };
    table::fields(
        out,
        &[
            ("message", id.to_string()),
            ("mailbox", view.mailbox.to_string()),
            ("cursor", view.cursor),
            ("fetched", table::time(view.stored)),
            ("size", Size(view.size).to_string()),
            ("mail", mail),
        ],
    )?;
    writeln!(out, "reasons:")?;
    for reason in &view.reasons {
        writeln!(out, "  {}", table::plain(reason))?;
    }
    Ok(())
}
