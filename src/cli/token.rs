//! `mailbell token`: who may use the HTTP API.

use std::io::Write;
use std::str::FromStr;

use clap::Subcommand;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::queue::{AtDesk, Failure};
use super::table;
use crate::http::new_token;
use crate::model::{GroupName, Right, Rights, Span, TokenName, TokenRecord};
use crate::queue::Tokens;

/// `mailbell token`.
pub type Args = AtDesk<Command>;

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make one, and print it: this once, and nowhere else
    Create {
        /// Its name: also the source (api:NAME) of alerts that are handed in with it
        #[arg(value_name = "NAME")]
        name: TokenName,
        /// What it may do, separated by commas: dispatch (hand in alerts), read, act (retry, replay …; includes read), admin (all)
        #[arg(long, value_name = "SCOPES", required = true, value_delimiter = ',')]
        scope: Vec<Right>,
        /// The only group that it dispatches to and sees; may be given several times [default: all]
        #[arg(long, value_name = "GROUP")]
        group: Vec<GroupName>,
        /// It is refused after this long, such as 90d [default: never]
        #[arg(long, value_name = "DURATION", value_parser = Span::from_str)]
        expires: Option<Span>,
    },
    /// List them, without what they are
    List,
    /// Revoke one: requests and sessions with it are refused from now on
    Revoke {
        /// Its name
        #[arg(value_name = "NAME")]
        name: TokenName,
    },
}

/// Runs the command: at the running service, or at its store.
///
/// # Errors
/// The name is taken, or unknown; or the store failed.
pub async fn run(
    args: &Args,
    tokens: &dyn Tokens,
    out: &mut dyn Write,
    complaints: &mut dyn Write,
) -> Result<(), Failure> {
    let json = args.desk.json;
    match &args.command {
        Command::Create { name, scope, group, expires } => {
            let scopes = Rights::from(scope.clone());
            create(name, scopes, group, *expires, json, tokens, out, complaints).await
        }
        Command::List => list(json, tokens, out).await,
        Command::Revoke { name } => {
            tokens.revoke_token(name).await?;
            match json {
                true => writeln!(out, "{}", serde_json::json!({ "name": name, "revoked": true }))?,
                false => writeln!(out, "token {name} is revoked")?,
            }
            Ok(())
        }
    }
}

/// As it is printed.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a TokenName,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    scopes: &'a Rights,
    groups: &'a [GroupName],
    created: Timestamp,
    expires: Option<Timestamp>,
    last_used: Option<Timestamp>,
}

impl<'a> Shown<'a> {
    fn of(record: &'a TokenRecord, token: Option<&'a str>) -> Self {
        let TokenRecord { name, sha256: _, scopes, groups, created, expires, last_used } = record;
        Self { name, token, scopes, groups, created: *created, expires: *expires, last_used: *last_used }
    }

    fn print(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let line = serde_json::to_string(self).map_err(|err| Failure::Refused(err.to_string()))?;
        Ok(writeln!(out, "{line}")?)
    }
}

#[expect(clippy::too_many_arguments, reason = "everything that a token is")]
async fn create(
    name: &TokenName,
    scopes: Rights,
    groups: &[GroupName],
    expires: Option<Span>,
    json: bool,
    tokens: &dyn Tokens,
    out: &mut dyn Write,
    complaints: &mut dyn Write,
) -> Result<(), Failure> {
    let now = Timestamp::now();
    let until = |Span(span)| now.checked_add(SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX));
    let expires = expires.map(until).transpose();
    let expires = expires.map_err(|_| Failure::Refused("--expires is too far away; leave it out for never".into()))?;
    let (token, sha256) = new_token();
    let record = TokenRecord {
        name: name.clone(),
        sha256,
        scopes,
        groups: groups.to_vec(),
        created: now,
        expires,
        last_used: None,
    };
    tokens.add_token(&record).await?;
    if json {
        return Shown::of(&record, Some(token.expose())).print(out);
    }
    // Alone on stdout, so that `> file` keeps it and nothing else.
    writeln!(out, "{}", token.expose())?;
    let until = expires.map_or_else(|| "until it is revoked".into(), |at| format!("until {at:.0}"));
    writeln!(complaints, "token {name} has scope {} {until}; keep it now, it is not shown again", record.scopes)?;
    Ok(())
}

async fn list(json: bool, tokens: &dyn Tokens, out: &mut dyn Write) -> Result<(), Failure> {
    let all = tokens.tokens().await?;
    if json {
        return all.iter().try_for_each(|token| Shown::of(token, None).print(out));
    }
    if all.is_empty() {
        writeln!(out, "there are no tokens; `mailbell token create NAME --scope …` makes one")?;
        return Ok(());
    }
    let when = |at: Option<Timestamp>| at.map_or_else(|| "never".to_owned(), table::time);
    let rows = all.iter().map(|token| {
        let groups: Vec<&str> = token.groups.iter().map(GroupName::as_str).collect();
        let groups = if groups.is_empty() { "all".to_owned() } else { groups.join(", ") };
        [token.name.to_string(), token.scopes.to_string(), groups, when(token.expires), when(token.last_used)]
    });
    Ok(table::write(out, ["NAME", "SCOPE", "GROUPS", "EXPIRES", "LAST USED"], &rows.collect::<Vec<_>>())?)
}
