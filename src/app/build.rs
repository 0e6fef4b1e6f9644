//! Build: everything that can fail at start fails here, before a task runs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Exit;
use super::run::Running;
use crate::config::Config;
use crate::dispatch::{self, ExpressLane, Messenger};
use crate::intake::{self, Parser, Rules, Shared, Watcher};
use crate::model::{BareJid, MailboxName};
use crate::presence::Tracker;
use crate::queue;
use crate::queue::sqlite::Sqlite;
use crate::route::Router;
use crate::{control, mailbox, xmpp};

/// Built, not yet running.
pub struct Parts {
    pub store: Arc<Sqlite>,
    pub grace: Duration,
    /// Notified: look now; one for each mailbox.
    pub pokes: Vec<Arc<Notify>>,
    running: Running,
    watchers: Vec<Watcher<Sqlite>>,
    disk_task: futures::future::BoxFuture<'static, Result<(), queue::StoreError>>,
    raw_for: Duration,
    parser: Parser<Sqlite>,
    dispatch: dispatch::Parts<Sqlite>,
}

/// Opens the store, then everything else.
pub async fn build(config: Config) -> Result<Parts, Exit> {
    let store = Sqlite::open(&config.store).await?;
    let router = Arc::new(
        Router::new(&config.route)
            .map_err(|errors| Exit::Config(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))?,
    );
    let intake_token = CancellationToken::new();
    let last_token = CancellationToken::new();
    let mut running = Running {
        intake: JoinSet::new(),
        intake_token: intake_token.clone(),
        dispatch: JoinSet::new(),
        dispatch_token: CancellationToken::new(),
        control: JoinSet::new(),
        xmpp: JoinSet::new(),
        last_token: last_token.clone(),
    };
    let own = config.xmpp.jid.clone();
    let contacts: Vec<BareJid> = config.xmpp.contacts.clone();
    let poke = Arc::new(Notify::new());
    let stored = Arc::new(Notify::new());
    let socket = control::Socket::bind(&control::socket_path(&config.store.path))
        .map_err(|err| Exit::Internal(format!("cannot open the control socket: {err}")))?;
    running.control.spawn(control::serve(socket, store.clone(), poke.clone(), last_token.clone()));
    let (session, events, task) =
        xmpp::start(config.xmpp, last_token.clone()).map_err(|err| Exit::Config(format!("[xmpp]: {err}")))?;
    let messenger: Arc<dyn Messenger> = Arc::new(session);
    running.xmpp.spawn(async move {
        // A panic in the session counts as its end.
        let _ = task.await;
    });
    let lane = Arc::new(ExpressLane::new(
        messenger.clone(),
        Tracker::new(contacts, config.dispatch.settle),
        router.clone(),
        config.dispatch.text_max,
        config.dispatch.limits,
    ));
    let reserve =
        config.mailboxes.iter().map(|m| intake::room_for_turn(m.mailbox.max_size, m.intake.batch)).max().unwrap_or(0);
    let reserve = config.store.reserve.max(reserve);
    let (disk, disk_task) = intake::watch_disk(store.clone(), reserve, intake_token).await?;
    let shared = Arc::new(Shared { queue: store.clone(), turn: Semaphore::new(1), stored: stored.clone() });
    let mut watchers = Vec::new();
    let mut pokes = Vec::new();
    let mut rules: HashMap<MailboxName, Rules> = HashMap::new();
    for m in config.mailboxes {
        let open = mailbox::open(m.mailbox.clone())
            .map_err(|err| Exit::Config(format!("mailbox {}: {err}", m.mailbox.name)))?;
        rules.insert(m.mailbox.name.clone(), Rules::new(&m.intake, m.mailbox.max_size));
        let look_now = Arc::new(Notify::new());
        pokes.push(look_now.clone());
        watchers.push(Watcher::new(shared.clone(), m.intake, m.mailbox, open, disk.clone(), look_now));
    }
    let parser = Parser {
        queue: store.clone(),
        router: router.clone(),
        express: lane.clone(),
        rules: Arc::new(rules),
        limits: config.parse,
        mappings: Arc::new(config.mappings),
        stored,
        poke: poke.clone(),
    };
    let dispatch = dispatch::Parts {
        queue: store.clone(),
        messenger,
        events,
        lane,
        router,
        settings: config.dispatch,
        own,
        poke,
        farewell: last_token,
    };
    let raw_for = config.store.raw_for;
    let grace = config.serve.shutdown_grace;
    Ok(Parts { store, grace, pokes, running, watchers, disk_task: Box::pin(disk_task), raw_for, parser, dispatch })
}

impl Parts {
    /// Spawns every task.
    pub fn start(mut self) -> Running {
        let cancel = self.running.intake_token.clone();
        for watcher in self.watchers {
            self.running.intake.spawn(watcher.run(cancel.clone()));
        }
        self.running.intake.spawn(self.disk_task);
        self.running.intake.spawn(intake::purge(self.store, self.raw_for, cancel.clone()));
        self.running.intake.spawn(self.parser.run(cancel));
        self.running.dispatch.spawn(dispatch::run(self.dispatch, self.running.dispatch_token.clone(), self.grace));
        self.running
    }
}
