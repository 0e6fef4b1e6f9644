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
    /// Of the HTTP door: its certificate as it is now.
    pub tls: Option<Arc<rustls::ServerConfig>>,
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
    let removed = before.config.mailboxes.iter().map(|entry| (&entry.mailbox.name, entry.key_scope));
    for (name, scope) in removed.chain(before.gone.iter().map(|(name, scope)| (name, *scope))) {
        config.route.key_scopes.entry(name.clone()).or_insert(scope);
    }
    let router = Router::new(&config.route).map_err(|errors| kept(errors.iter().map(ToString::to_string).collect()))?;
    let system = Anchors::of_system();
    let known = config.mailboxes.iter().map(|entry| Known::new(entry.clone(), system)).collect();
    let plan = Plan::new(&before.mailboxes, known).map_err(kept)?;
    let anchors = system.with(config.xmpp.ca_file.as_deref());
    let same = config.xmpp.password == before.config.xmpp.password && anchors == before.anchors;
    let credentials = (!same).then(|| xmpp::Credentials::of(&config.xmpp)).transpose();
    let credentials = credentials.map_err(|err| kept(vec![format!("[xmpp]: {err}")]))?;
    let tls = super::http::tls(&config.http).map_err(|why| kept(vec![why]))?;
    Ok(Prepared { config, router: Arc::new(router), plan, anchors, credentials, tls, restart, warnings })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;
    use crate::model::Source;

    const BASE: &str = "[xmpp]\njid = \"alerts@example.org\"\npassword = \"secret\"\n[operators]\ngroup = \"ops\"\n\
        [[recipient]]\nname = \"alice\"\njid = \"alice@example.org\"\n[[group]]\nname = \"ops\"\nmembers = [\"alice\"]\n";

    struct Bed {
        _dir: tempfile::TempDir,
        file: PathBuf,
    }

    impl Bed {
        fn new(text: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let bed = Self { file: dir.path().join("m.toml"), _dir: dir };
            bed.write(text);
            bed
        }

        fn write(&self, text: &str) {
            std::fs::write(&self.file, text).unwrap();
            std::fs::set_permissions(&self.file, std::fs::Permissions::from_mode(0o600)).unwrap();
        }

        /// What is in force, as read from the file as it is now.
        fn before(&self) -> Before {
            let config = Config::load(&self.file, |_| None).unwrap_or_else(|errors| panic!("{errors}"));
            let system = Anchors::of_system();
            let known = config.mailboxes.iter().map(|entry| Known::new(entry.clone(), system));
            let mailboxes = known.map(|known| (known.config.mailbox.name.clone(), known)).collect();
            Before { config, mailboxes, anchors: system, gone: BTreeMap::new() }
        }

        fn prepare(&self, before: &Before) -> Prepared {
            prepare(&self.file, before).unwrap_or_else(|kept| panic!("{kept:?}"))
        }
    }

    fn mailbox(more: &str) -> String {
        format!("[[mailbox]]\nname = \"ops\"\nserver = \"mail.example.org\"\nuser = \"a\"\npassword = \"b\"\n{more}")
    }

    #[test]
    fn every_error_is_told_with_its_line() {
        let bed = Bed::new(BASE);
        let before = bed.before();
        bed.write(&format!("{BASE}colour = 1\n[serve]\nshutdown_grace = \"soon\"\n"));
        let kept = prepare(&bed.file, &before).err().unwrap();
        assert_eq!(kept.file, bed.file.display().to_string());
        assert_eq!(kept.errors.len(), 2, "{kept:?}");
        assert!(kept.errors[0].starts_with(&format!("{}:12: group.ops.colour", kept.file)), "{kept:?}");
    }

    #[test]
    fn credentials_are_new_only_where_they_changed() {
        let bed = Bed::new(BASE);
        let before = bed.before();
        assert!(bed.prepare(&before).credentials.is_none());
        bed.write(&BASE.replace("\"secret\"", "\"other\""));
        let next = bed.prepare(&before);
        assert!(next.credentials.is_some() && next.restart.is_empty());
        let changed = Before { anchors: Anchors::of_system().with(Some(&bed.file)), ..bed.before() };
        assert!(bed.prepare(&changed).credentials.is_some(), "another CA");
    }

    #[test]
    fn conditions_of_a_removed_mailbox_stay_what_they_are() {
        let bed = Bed::new(&format!("{BASE}{}", mailbox("key_scope = \"mailbox\"\n")));
        let before = bed.before();
        bed.write(BASE);
        let next = bed.prepare(&before);
        let alert =
            crate::model::Alert { sender: "x@y".into(), ..crate::model::Alert::empty(crate::model::Format::Native) };
        let source = Source::Mailbox("ops".parse().unwrap());
        use crate::model::Planner;
        assert_eq!(next.router.scope(&alert, &source).0, "mailbox:ops");
        // One that waits on from an earlier reload.
        let later = Before { gone: [("ops".parse().unwrap(), KeyScope::Mailbox)].into(), ..bed.before() };
        assert_eq!(bed.prepare(&later).router.scope(&alert, &source).0, "mailbox:ops");
        assert_eq!(bed.prepare(&bed.before()).router.scope(&alert, &source).0, "mailbox:ops/x@y");
    }
}
