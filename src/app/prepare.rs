//! The first half of a reload: everything in it can fail, and nothing is changed by it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::mailboxes::{Known, Plan};
use crate::config::Config;
use crate::control::Kept;
use crate::model::MailboxName;
use crate::net::Anchors;
use crate::route::{KeyScope, Router};
use crate::xmpp;

/// What is in force.
pub struct Before {
    pub config: Config,
    pub mailboxes: BTreeMap<MailboxName, Known>,
    /// Whom the XMPP session trusts.
    pub anchors: Anchors,
    /// Key scopes of mailboxes that are gone, of which mails still wait.
    pub gone: BTreeMap<MailboxName, KeyScope>,
}

/// What is to be in force.
pub struct Prepared {
    /// As it is in force then: what only a restart changes is as before.
    pub config: Config,
    pub router: Arc<Router>,
    pub plan: Plan,
    pub anchors: Anchors,
    /// Where these changed.
    pub credentials: Option<xmpp::Credentials>,
    /// Keys that only a restart changes.
    pub restart: Vec<String>,
    pub warnings: Vec<String>,
}

/// Reads and checks the config, its secrets and CAs, and makes whatever it needs that is new. Reads files: not for an event loop.
///
/// # Errors
/// Every error of the file.
pub fn prepare(file: &Path, before: &Before) -> Result<Prepared, Kept> {
    let kept = |errors: Vec<String>| Kept { file: file.display().to_string(), errors };
    let next = Config::load(file, |name| std::env::var_os(name))
        .map_err(|errors| kept(errors.problems.iter().map(|problem| problem.show(file)).collect()))?;
    let restart = before.config.needs_restart(&next);
    let warnings = next.warnings.iter().map(|problem| problem.show(file)).collect();
    let mut config = before.config.reloaded(next);
    for (name, scope) in &before.gone {
        config.route.key_scopes.entry(name.clone()).or_insert(*scope);
    }
    let router = Router::new(&config.route).map_err(|errors| kept(errors.iter().map(ToString::to_string).collect()))?;
    let system = Anchors::of_system();
    let known = config.mailboxes.iter().map(|entry| Known::new(entry.clone(), system)).collect();
    let plan = Plan::new(&before.mailboxes, known).map_err(kept)?;
    let anchors = system.with(config.xmpp.ca_file.as_deref());
    let same = config.xmpp.password == before.config.xmpp.password && anchors == before.anchors;
    let credentials = (!same).then(|| xmpp::Credentials::of(&config.xmpp)).transpose();
    let credentials = credentials.map_err(|err| kept(vec![format!("[xmpp]: {err}")]))?;
    Ok(Prepared { config, router: Arc::new(router), plan, anchors, credentials, restart, warnings })
}
