//! `mailbell explain`: why somebody got an alert, or did not.

use std::io::{self, Write};

use clap::Args as ClapArgs;
use serde::Serialize;

use super::queue::{DeskArgs, Failure, lines};
use super::table;
use crate::model::{AlertId, GroupName, RecipientName};
use crate::queue::{AboutCondition, Answer, Desk, MessageView, TimelineRow};

/// Tell why an alert did or did not reach somebody: who got it, who did not and why, and its way step by step
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Where, and how it is told.
    #[command(flatten)]
    pub desk: DeskArgs,
    /// Short id of the alert ('#1a3f', in quotes, or 1a3f)
    #[arg(value_name = "ALERT")]
    pub alert: AlertId,
    /// Only for this recipient, whoever it is
    #[arg(long, value_name = "NAME")]
    pub recipient: Option<RecipientName>,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Explained<'a> {
    alert: String,
    title: &'a str,
    state: &'a str,
    reason: &'a str,
    groups: &'a [GroupName],
    conditions: &'a [AboutCondition],
    answers: &'a [Answer],
    timeline: Vec<&'a TimelineRow>,
}

/// Runs the command at a desk: that of the store, or of the running service. `known`: the config has the recipient that is named.
///
/// # Errors
/// There is no such alert; or the store failed.
pub async fn run(args: &Args, desk: &dyn Desk, known: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let id = args.alert;
    let found = desk.show_alert(id).await?;
    let view = found.ok_or_else(|| Failure::Refused(format!("there is no alert {id}")))?;
    let answers = match &args.recipient {
        Some(name) => vec![view.answer(name, known)],
        None => view.answers(),
    };
    // The steps that concern everybody, and those of whom it is asked.
    let concerns = |step: &&TimelineRow| match (&args.recipient, &step.recipient) {
        (Some(asked), Some(who)) => asked == who,
        _ => true,
    };
    let timeline: Vec<_> = view.timeline.iter().filter(concerns).collect();
    if args.desk.json {
        let explained = Explained {
            alert: id.to_string(),
            title: &view.alert.alert.title,
            state: view.state.as_str(),
            reason: &view.reason,
            groups: &view.groups,
            conditions: &view.conditions,
            answers: &answers,
            timeline,
        };
        return lines(out, &[explained]);
    }
    head(&view, out)?;
    writeln!(out)?;
    if answers.is_empty() {
        writeln!(out, "nobody was told: {}", table::plain(&view.reason))?;
    }
    for answer in &answers {
        let told = if answer.told { "was told" } else { "was not told" };
        writeln!(out, "{} {told}: {}", table::plain(&answer.recipient), table::plain(&answer.why))?;
    }
    writeln!(out)?;
    super::queue::write_steps(out, timeline.into_iter())?;
    Ok(())
}

fn head(view: &MessageView, out: &mut dyn Write) -> io::Result<()> {
    let alert = &view.alert.alert;
    let groups: Vec<_> = view.groups.iter().map(|group| group.as_str()).collect();
    let about = |condition: &AboutCondition| {
        let AboutCondition { id, key, open } = condition;
        format!("{id} ({}): {key}", if *open { "open" } else { "closed" })
    };
    let conditions: Vec<_> = view.conditions.iter().map(about).collect();
    table::fields(
        out,
        &[
            ("alert", view.alert.id.to_string()),
            ("title", alert.title.clone()),
            ("status", format!("{}, {}", alert.status.as_str(), alert.severity)),
            ("sender", alert.sender.clone()),
            ("source", view.alert.source.clone()),
            ("state", format!("{}: {}", view.state.as_str(), view.reason)),
            ("groups", groups.join(", ")),
            ("condition", conditions.join("; ")),
        ],
    )
}
