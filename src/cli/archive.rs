//! `mailbell archive`: everything that was sent, to whom, when, with what outcome.

use std::io::{self, Write};

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use jiff::Timestamp;

use super::queue::{AtDesk, Failure, lines};
use super::table;
use crate::model::{AlertId, GroupName, NotificationState, RecipientName};
use crate::queue::{Archive, ArchiveRow, CSV_HEAD, Common, SentFilter, csv_line};

/// `mailbell archive`.
pub type Args = AtDesk<Command>;

/// What to do with the archive.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print what fits, oldest first
    Search {
        /// What is looked for.
        #[command(flatten)]
        filter: Filter,
        /// At most so many
        #[arg(long, value_name = "COUNT", default_value_t = 100)]
        limit: usize,
    },
    /// Write all that fits to the output, oldest first
    Export {
        /// What is looked for.
        #[command(flatten)]
        filter: Filter,
        /// How it is written
        #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Jsonl)]
        format: Format,
    },
}

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// JSON, one object a line
    Jsonl,
    /// CSV for spreadsheets; what they would take for a formula begins with an apostrophe
    Csv,
}

/// What is looked for.
#[derive(Debug, ClapArgs)]
pub struct Filter {
    /// Only what holds this in its title, text or sender
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// Only what was for this recipient
    #[arg(long, value_name = "NAME")]
    pub recipient: Option<RecipientName>,
    /// Only what came by way of this group
    #[arg(long, value_name = "NAME")]
    pub group: Option<GroupName>,
    /// Only of this alert
    #[arg(long, value_name = "ID")]
    pub alert: Option<AlertId>,
    /// Only in these states, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "STATE")]
    pub state: Vec<NotificationState>,
    /// Not before this (2026-11-22T14:00:00Z)
    #[arg(long, value_name = "TIME")]
    pub since: Option<Timestamp>,
    /// Before this
    #[arg(long, value_name = "TIME")]
    pub until: Option<Timestamp>,
}

impl Filter {
    fn of_store(&self) -> SentFilter {
        SentFilter {
            common: Common {
                group: self.group.clone(),
                text: self.text.clone(),
                since: self.since,
                until: self.until,
                limit: AT_A_TIME,
                ..Common::default()
            },
            states: self.state.clone(),
            recipient: self.recipient.clone(),
            alert: self.alert,
        }
    }
}

/// Rows that are asked for at a time.
const AT_A_TIME: usize = 500;

/// Runs the command: at the running service, or at its store.
///
/// # Errors
/// The store failed.
pub async fn run(args: &Args, archive: &dyn Archive, out: &mut dyn Write) -> Result<(), Failure> {
    match &args.command {
        Command::Search { filter, limit } => {
            let mut found = Vec::new();
            each(archive, filter.of_store(), *limit, |row| {
                found.push(row);
                Ok(())
            })
            .await?;
            if args.desk.json {
                return lines(out, &found);
            }
            Ok(write_table(out, &found)?)
        }
        Command::Export { filter, format } => {
            if *format == Format::Csv {
                out.write_all(CSV_HEAD.as_bytes())?;
            }
            each(archive, filter.of_store(), usize::MAX, |row| match format {
                Format::Csv => Ok(out.write_all(csv_line(&row).as_bytes())?),
                Format::Jsonl => lines(out, &[row]),
            })
            .await
        }
    }
}

/// Page by page, at most `limit` rows.
async fn each(
    archive: &dyn Archive,
    mut filter: SentFilter,
    limit: usize,
    mut with: impl FnMut(ArchiveRow) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut left = limit;
    while left > 0 {
        filter.common.limit = left.min(AT_A_TIME);
        let page = archive.archive(&filter).await?;
        left = left.saturating_sub(page.items.len());
        page.items.into_iter().try_for_each(&mut with)?;
        let Some(next) = page.next else { return Ok(()) };
        filter.common.after = Some(next.parse().map_err(Failure::Refused)?);
    }
    Ok(())
}

fn write_table(out: &mut dyn Write, found: &[ArchiveRow]) -> io::Result<()> {
    let rows: Vec<_> = found
        .iter()
        .map(|row| {
            [
                row.id.to_string(),
                table::time(row.created),
                row.alert.clone().unwrap_or_default(),
                row.severity.to_string(),
                row.recipient.to_string(),
                row.state.as_str().to_owned(),
                table::maybe_time(row.delivered.or(row.accepted).or(row.ended)),
                row.title.clone(),
            ]
        })
        .collect();
    table::write(out, ["ID", "TIME", "ALERT", "SEVERITY", "RECIPIENT", "OUTCOME", "SINCE", "TITLE"], &rows)
}
