//! `mailbell quarantine`: mails that could not be read, and why.

use std::io::Write;

use clap::{Args as ClapArgs, Subcommand};

use super::queue::{DeskArgs, Failure, lines};
use super::table;
use crate::model::{MessageId, Size};
use crate::queue::Desk;

/// Show mails that could not be read
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Where, and how it is told.
    #[command(flatten)]
    pub desk: DeskArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

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
}

/// Runs the command at a desk: that of the store, or of the running service.
///
/// # Errors
/// The message is not in quarantine, its mail was purged; or the store failed.
pub async fn run(args: &Args, desk: &dyn Desk, out: &mut dyn Write, complaints: &mut dyn Write) -> Result<(), Failure> {
    match args.command {
        Command::List { after, limit } => {
            list(after.map(MessageId), usize::from(limit), args.desk.json, desk, out, complaints).await
        }
        Command::Show { id, raw } => show(MessageId(id), raw, args.desk.json, desk, out).await,
    }
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
