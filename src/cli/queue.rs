//! `mailbell queue`: what waits, what became of it, send it now, end it.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use jiff::Timestamp;
use serde::Serialize;

use super::table;
use crate::app::exit::{EX_CONFIG, EX_IOERR};
use crate::model::{AlertId, NotificationId, NotificationState, RecipientName};
use crate::queue::{Desk, ListFilter, NotificationView, StoreError, StoreFault, TimelineRow};

/// A command at the desk.
#[derive(Debug, ClapArgs)]
pub struct AtDesk<C: Subcommand> {
    /// Where, and how it is told.
    #[command(flatten)]
    pub desk: DeskArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: C,
}

/// `mailbell queue`.
pub type Args = AtDesk<Command>;

/// What all commands at the desk take.
#[derive(Debug, ClapArgs)]
pub struct DeskArgs {
    /// Config file, which names the store [default: $MAILBELL_CONFIG, else /etc/mailbell/mailbell.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON, one object a line
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do with the queue.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List notifications; by default those that have not ended
    List(List),
    /// Show one notification (12), or an alert with all of its ('#1a3f', in quotes)
    Show {
        /// Number, or short id of an alert
        #[arg(value_name = "ID")]
        id: Which,
    },
    /// Send now, whatever the presence says: queued, held, expired, dead or unconfirmed ones
    Retry {
        /// Numbers, or short ids of alerts
        #[arg(value_name = "ID", required = true)]
        ids: Vec<Which>,
    },
    /// End queued or held ones
    Expire {
        /// Numbers, or short ids of alerts
        #[arg(value_name = "ID", required = true)]
        ids: Vec<Which>,
        /// Why, for the timeline
        #[arg(long, default_value = "ended by an operator")]
        reason: String,
    },
}

/// Which notifications to list.
#[derive(Debug, ClapArgs)]
pub struct List {
    /// Only these states, separated by commas: queued, held, sending, accepted, delivered, acknowledged, unconfirmed,
    /// expired, superseded, dead
    #[arg(long, value_delimiter = ',', value_name = "STATE")]
    pub state: Vec<NotificationState>,
    /// Only this recipient's
    #[arg(long, value_name = "NAME")]
    pub recipient: Option<RecipientName>,
    /// Only this alert's
    #[arg(long, value_name = "ID")]
    pub alert: Option<AlertId>,
    /// Only those with a greater number
    #[arg(long, value_name = "NUMBER")]
    pub after: Option<i64>,
    /// At most so many, up to 1000
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub limit: u16,
}

/// A notification, or all of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// By number.
    Notification(NotificationId),
    /// By short id.
    Alert(AlertId),
}

/// Digits alone are a notification's number; everything else is a short id.
impl std::str::FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            let id = text.parse().map_err(|_| format!("`{text}` is too large"))?;
            return Ok(Self::Notification(NotificationId(id)));
        }
        let id = text.parse().map_err(|_| {
            format!("`{text}` is neither the number of a notification (12) nor the short id of an alert ('#1a3f')")
        })?;
        Ok(Self::Alert(id))
    }
}

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It is not there, or not possible: exit code 1.
    #[error("{0}")]
    Refused(String),
    /// The store: exit code 74.
    #[error("{0}")]
    Store(StoreError),
    /// The config, where no service runs: exit code 78.
    #[error("{0}")]
    Config(String),
    /// The output was closed.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl From<StoreError> for Failure {
    fn from(err: StoreError) -> Self {
        if err.fault == StoreFault::Refused { Self::Refused(err.what) } else { Self::Store(err) }
    }
}

impl Failure {
    /// Exit code: 1 refused or output closed, else of sysexits.h.
    pub fn code(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::Output(_) => 1,
            Self::Store(_) => EX_IOERR,
            Self::Config(_) => EX_CONFIG,
        }
    }
}

/// Runs the command at a desk: that of the store, or of the running service.
///
/// # Errors
/// With several ids all are tried; the first failure is returned, the others are printed to `complaints`.
pub async fn run(args: &Args, desk: &dyn Desk, out: &mut dyn Write, complaints: &mut dyn Write) -> Result<(), Failure> {
    match &args.command {
        Command::List(list) => show_list(list, args.desk.json, desk, out, complaints).await,
        Command::Show { id: Which::Notification(id) } => show_notification(*id, args.desk.json, desk, out).await,
        Command::Show { id: Which::Alert(id) } => show_alert(*id, args.desk.json, desk, out).await,
        Command::Retry { ids } => change(ids, Change::Retry, args.desk.json, desk, out, complaints).await,
        Command::Expire { ids, reason } => {
            change(ids, Change::Expire(reason), args.desk.json, desk, out, complaints).await
        }
    }
}

async fn show_list(
    list: &List,
    json: bool,
    desk: &dyn Desk,
    out: &mut dyn Write,
    complaints: &mut dyn Write,
) -> Result<(), Failure> {
    let filter = ListFilter {
        states: list.state.clone(),
        recipient: list.recipient.clone(),
        alert: list.alert,
        after: list.after.map(NotificationId),
        limit: usize::from(list.limit),
    };
    let found = desk.list(&filter).await?;
    if json {
        return lines(out, &found);
    }
    if found.is_empty() {
        writeln!(out, "nothing")?;
        return Ok(());
    }
    write_table(out, &found)?;
    if let Some(last) = found.last().filter(|_| found.len() == filter.limit) {
        writeln!(complaints, "there may be more: --after {}", last.id)?;
    }
    Ok(())
}

fn write_table(out: &mut dyn Write, found: &[NotificationView]) -> io::Result<()> {
    let rows: Vec<_> = found
        .iter()
        .map(|n| {
            [
                n.id.to_string(),
                n.alert.clone().unwrap_or_else(|| n.kind.as_str().to_owned()),
                n.severity.to_string(),
                n.recipient.to_string(),
                n.state.as_str().to_owned(),
                table::time(n.created),
                n.title.clone(),
            ]
        })
        .collect();
    table::write(out, ["ID", "ALERT", "SEVERITY", "RECIPIENT", "STATE", "SINCE", "TITLE"], &rows)
}

async fn show_notification(
    id: NotificationId,
    json: bool,
    desk: &dyn Desk,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let found = desk.show(id).await?;
    let n = found.ok_or_else(|| Failure::Refused(format!("there is no notification {id}")))?;
    if json {
        return lines(out, &[n]);
    }
    let groups: Vec<_> = n.groups.iter().map(|g| g.as_str()).collect();
    table::fields(
        out,
        &[
            ("notification", format!("{id} ({})", n.kind.as_str())),
            ("alert", n.alert.clone().unwrap_or_default()),
            ("title", n.title.clone()),
            ("severity", n.severity.to_string()),
            ("recipient", format!("{} <{}>", n.recipient, n.jid)),
            ("groups", groups.join(", ")),
            ("state", n.state.as_str().to_owned()),
            ("reason", n.reason.clone()),
            ("queued", table::time(n.created)),
            ("not before", table::maybe_time(n.not_before)),
            ("held until", table::maybe_time(n.held_until)),
            ("expires", table::maybe_time(n.expires)),
            ("intended", table::maybe_time(n.intended)),
            ("accepted", table::maybe_time(n.accepted)),
            ("delivered", table::maybe_time(n.delivered)),
            ("attempts", n.attempts.to_string()),
            ("stanza id", n.stanza_id.to_string()),
        ],
    )?;
    Ok(())
}

async fn show_alert(id: AlertId, json: bool, desk: &dyn Desk, out: &mut dyn Write) -> Result<(), Failure> {
    let found = desk.show_alert(id).await?;
    let view = found.ok_or_else(|| Failure::Refused(format!("there is no alert {id}")))?;
    if json {
        return lines(out, &[view]);
    }
    let alert = &view.alert.alert;
    table::fields(
        out,
        &[
            ("alert", id.to_string()),
            ("title", alert.title.clone()),
            ("status", format!("{}, {}", alert.status.as_str(), alert.severity)),
            ("sender", alert.sender.clone()),
            ("id", alert.id.clone()),
            ("key", alert.key.to_string()),
            ("source", view.alert.source.clone()),
            ("message", view.message.map(|m| m.to_string()).unwrap_or_default()),
            ("sent", table::maybe_time(alert.sent)),
            ("received", table::time(view.alert.received)),
            ("state", view.state.as_str().to_owned()),
            ("reason", view.reason.clone()),
            ("resolves", view.alert.resolves.map(|(first, _)| first.to_string()).unwrap_or_default()),
            ("warnings", alert.warnings.join("; ")),
        ],
    )?;
    if !view.notifications.is_empty() {
        writeln!(out)?;
        write_table(out, &view.notifications)?;
    }
    writeln!(out)?;
    write_steps(out, view.timeline.iter())?;
    Ok(())
}

/// Steps of a timeline, one a line.
pub(super) fn write_steps<'a>(out: &mut dyn Write, steps: impl Iterator<Item = &'a TimelineRow>) -> io::Result<()> {
    let rows: Vec<_> = steps
        .map(|step| {
            let who = step.recipient.as_ref().map(ToString::to_string).unwrap_or_default();
            [table::time(step.at), step.event.clone(), who, step.detail.clone()]
        })
        .collect();
    table::write(out, ["TIME", "EVENT", "RECIPIENT", "DETAIL"], &rows)
}

#[derive(Clone, Copy)]
enum Change<'a> {
    Retry,
    Expire(&'a str),
}

async fn change(
    which: &[Which],
    change: Change<'_>,
    json: bool,
    desk: &dyn Desk,
    out: &mut dyn Write,
    complaints: &mut dyn Write,
) -> Result<(), Failure> {
    let mut tried = Tried::default();
    for which in which {
        tried.add(change_one(*which, change, json, desk, out).await, complaints)?;
    }
    tried.end()
}

/// Several that are all tried: the first refusal is the result, the others are printed.
#[derive(Default)]
pub(super) struct Tried(Option<String>);

impl Tried {
    /// # Errors
    /// What is no refusal: the others are not tried.
    pub(super) fn add(&mut self, done: Result<(), Failure>, complaints: &mut dyn Write) -> Result<(), Failure> {
        match (done, &self.0) {
            (Err(Failure::Refused(why)), None) => self.0 = Some(why),
            (Err(Failure::Refused(why)), Some(_)) => writeln!(complaints, "{why}")?,
            (done, _) => return done,
        }
        Ok(())
    }

    pub(super) fn end(self) -> Result<(), Failure> {
        self.0.map_or(Ok(()), |why| Err(Failure::Refused(why)))
    }
}

async fn change_one(
    which: Which,
    change: Change<'_>,
    json: bool,
    desk: &dyn Desk,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    use NotificationState::{Dead, Expired, Held, Queued, Unconfirmed};
    let states = match change {
        Change::Retry => vec![Queued, Held, Expired, Dead, Unconfirmed],
        Change::Expire(_) => vec![Queued, Held],
    };
    let ids = match which {
        Which::Notification(id) => vec![id],
        Which::Alert(alert) => {
            let filter =
                ListFilter { states: states.clone(), alert: Some(alert), limit: 1000, ..ListFilter::default() };
            let found = desk.list(&filter).await?;
            if found.is_empty() {
                let states: Vec<_> = states.iter().map(|s| s.as_str()).collect();
                return Err(Failure::Refused(format!(
                    "alert {alert} has no notification that is {}",
                    states.join(", ")
                )));
            }
            found.iter().map(|n| n.id).collect()
        }
    };
    for id in ids {
        let done = match change {
            Change::Retry => desk.retry_now(id, Timestamp::now()).await.map(|()| "is sent now"),
            Change::Expire(reason) => desk.expire_now(id, reason, Timestamp::now()).await.map(|()| "is ended"),
        }?;
        if json {
            lines(out, &desk.show(id).await?.into_iter().collect::<Vec<_>>())?;
        } else {
            writeln!(out, "notification {id} {done}")?;
        }
    }
    Ok(())
}

/// JSON, one object a line.
pub(super) fn lines<T: Serialize>(out: &mut dyn Write, found: &[T]) -> Result<(), Failure> {
    for one in found {
        out.write_all(super::json::line(one).map_err(io::Error::from)?.as_bytes())?;
        writeln!(out)?;
    }
    Ok(())
}
