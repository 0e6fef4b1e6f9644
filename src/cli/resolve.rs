//! `mailbell resolve`: an operator's end to what is open.

use std::io::Write;

use clap::Args as ClapArgs;

use super::queue::{DeskArgs, Failure, Tried, lines};
use super::table;
use crate::control::Office;
use crate::model::{AlertId, ConditionId};
use crate::queue::{LONGEST_REASON, Subject};

/// End what an alert is about: whoever was told of the beginning is told of the end, once
///
/// Without a running service they are told after its next start. Exit codes: 0 it is resolved; 1 it is not, since there is no
/// such alert or nothing of it is open; 74 the store, or the service failed to answer; 78 no service runs, and the config is bad.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Where, and how it is told.
    #[command(flatten)]
    pub desk: DeskArgs,
    /// Short ids of alerts ('#1a3f', in quotes, or 1a3f)
    #[arg(value_name = "ALERT", required_unless_present = "condition")]
    pub alerts: Vec<AlertId>,
    /// One condition, by the number that `mailbell explain` shows; may be given several times
    #[arg(long, value_name = "NUMBER")]
    pub condition: Vec<i64>,
    /// Why, for those who are told and for the timeline
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, value_parser = short)]
    pub reason: String,
}

fn short(text: &str) -> Result<String, String> {
    let reason = text.trim();
    if reason.chars().count() > LONGEST_REASON {
        return Err(format!("it is longer than {LONGEST_REASON} characters"));
    }
    Ok(reason.to_owned())
}

/// Runs the command at an office: the running service's, or that of a store with its config.
///
/// # Errors
/// With several all are tried; the first refusal is returned, the others are printed to `complaints`.
pub async fn run(
    args: &Args,
    office: &dyn Office,
    out: &mut dyn Write,
    complaints: &mut dyn Write,
) -> Result<(), Failure> {
    let alerts = args.alerts.iter().map(|id| Subject::Alert(*id));
    let conditions = args.condition.iter().map(|id| Subject::Condition(ConditionId(*id)));
    let mut tried = Tried::default();
    for what in alerts.chain(conditions) {
        tried.add(one(what, args, office, out).await, complaints)?;
    }
    tried.end()
}

async fn one(what: Subject, args: &Args, office: &dyn Office, out: &mut dyn Write) -> Result<(), Failure> {
    let done = office.resolve(what, &args.reason).await?;
    let done = done.ok_or_else(|| Failure::Refused(format!("there is no {what}")))?;
    if args.desk.json {
        return lines(out, &[done]);
    }
    for (alert, outcome) in done.alerts.iter().zip(&done.outcomes) {
        writeln!(out, "{what} is resolved: alert {} {}", table::plain(alert), table::plain(outcome))?;
    }
    Ok(())
}
