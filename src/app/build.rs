//! Build: everything that can fail at start fails here, before a task runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Exit;
use super::http;
use super::keeper::{Keeper, Orders, Owed, end_removed, orders};
use super::mailboxes::{Known, Mailboxes, Plan};
use super::observer::Observer;
use super::office::{House, Way};
use super::people::Roll;
use super::probe::{monitor, verifier};
use super::reload::{dispatch_rules, reserve, rulebook};
use super::reporter::Reporter;
use super::run::Running;
use super::watched::{Looks, Watches};
use crate::config::Config;
use crate::dispatch::{self, ExpressLane, Messenger};
use crate::http::{Auth, Feed};
use crate::intake::{self, Parser, Poster, Raised, Shared};
use crate::live::{Live, live};
use crate::metrics::{self, Metrics};
use crate::net::Anchors;
use crate::presence::Tracker;
use crate::probe::Monitor;
use crate::queue::sqlite::Sqlite;
use crate::queue::{self, Ages};
use crate::{control, lmtp, telemetry, xmpp};

/// Built, not yet running.
pub struct Parts {
    pub store: Arc<Sqlite>,
    /// For what is to be known at the end.
    pub rules: Live<dispatch::Rules>,
    /// For signals.
    pub orders: Orders,
    /// For the watchdog.
    pub metrics: Arc<Metrics>,
    running: Running,
    http: Option<crate::http::Parts>,
    feed: Arc<Feed>,
    reporter: Reporter,
    auth: Arc<Auth>,
    poster: Poster<Sqlite>,
    doors: Vec<lmtp::Door<Sqlite>>,
    keeper: Keeper,
    mailboxes: Plan,
    disk_task: futures::future::BoxFuture<'static, Result<(), queue::StoreError>>,
    ages: Ages,
    probe: Monitor,
    parser: Parser<Sqlite>,
    dispatch: dispatch::Parts<Sqlite>,
}

/// Opens the store, then everything else. `file`: where the config is from, and is read again by a reload.
pub async fn build(config: Config, file: PathBuf, filter: telemetry::Filter) -> Result<Parts, Exit> {
    let store = Sqlite::open(&config.store).await?;
    let metrics = Metrics::new(store.meter());
    let router = Arc::new(super::router(&config)?);
    let system = Anchors::of_system();
    let known = config.mailboxes.iter().map(|entry| Known::new(entry.clone(), system)).collect();
    let mailboxes = Plan::new(&BTreeMap::new(), known).map_err(|errors| Exit::Config(errors.join("\n")))?;
    let intake_token = CancellationToken::new();
    let last_token = CancellationToken::new();
    let mut running = Running {
        doors: JoinSet::new(),
        doors_token: CancellationToken::new(),
        intake: JoinSet::new(),
        intake_token: intake_token.clone(),
        dispatch: JoinSet::new(),
        dispatch_token: CancellationToken::new(),
        control: JoinSet::new(),
        xmpp: JoinSet::new(),
        last_token: last_token.clone(),
    };
    let auth = Arc::new(Auth::new(store.clone()).await?);
    let (poke, stored) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (orders, ordered) = orders();
    let socket = control::Socket::bind(&control::socket_path(&config.store.path))
        .map_err(|err| Exit::Internal(format!("cannot open the control socket: {err}")))?;
    let (session, events, task) =
        xmpp::start(config.xmpp.clone(), last_token.clone()).map_err(|err| Exit::Config(format!("[xmpp]: {err}")))?;
    let messenger: Arc<dyn Messenger> = Arc::new(session.clone());
    running.xmpp.spawn(async move {
        // A panic in the session counts as its end.
        let _ = task.await;
    });
    let (set_dispatch, rules) = live(dispatch_rules(&config, router.clone()));
    let (set_rulebook, rulebook) = live(rulebook(&config, router, &BTreeMap::new()));
    let rooms = config.xmpp.rooms.iter().map(|room| room.jid.clone());
    let tracker = Tracker::new(config.xmpp.contacts.clone(), config.dispatch.settle).with_rooms(rooms);
    let lane = Arc::new(ExpressLane::new(messenger.clone(), tracker, rules.clone(), Timestamp::now));
    let reserve = Arc::new(AtomicU64::new(reserve(&config)));
    let (disk, disk_task) = intake::watch_disk(store.clone(), reserve.clone(), intake_token.clone()).await?;
    // A recipient may have been removed while the service was stopped.
    let owed = end_removed(&store, &config).await?.is_none();
    let handed = config.lmtp_mailboxes.iter().map(|m| m.mailbox.clone()).collect();
    let entrance = lmtp::Shared::new(store.clone(), stored.clone(), disk.clone(), handed);
    let entrance = Arc::new(entrance.seen_by(Arc::clone(&metrics.doors)));
    let mut doors = Vec::new();
    for settings in &config.doors {
        let listener =
            lmtp::Listener::bind(&settings.listen).map_err(|err| Exit::Internal(format!("[[lmtp]]: {err}")))?;
        tracing::info!(listen = %settings.listen, "mails can be handed in (LMTP)");
        doors.push(lmtp::Door::new(settings.clone(), listener, entrance.clone()));
    }
    let (poster, desk) =
        Poster::new(store.clone(), rulebook.clone(), lane.clone(), poke.clone(), Arc::clone(&metrics.posting));
    let entrance = Arc::new(http::Entrance { desk, rules: rulebook.clone() });
    let door = control::Door {
        desk: store.clone(),
        archive: store.clone(),
        tokens: auth.clone(),
        office: Arc::new(House { store: store.clone(), way: Way::Service(entrance.clone()) }),
        reload: Arc::new(orders.clone()),
        poke: poke.clone(),
        stored: stored.clone(),
    };
    let answers = control::router(door).merge(metrics::web::router(Arc::clone(&metrics)));
    running.control.spawn(control::serve(socket, answers, last_token.clone()));
    let reporter =
        Reporter { log: store.clone(), lane: lane.clone(), rules: rules.clone(), metrics: Arc::clone(&metrics) };
    let raised = Raised { queue: store.clone(), rules: rulebook.clone(), express: lane.clone(), poke: poke.clone() };
    let (probe, probed) = monitor(raised, config.probe.clone(), Arc::clone(&metrics.probe));
    let handed: Vec<String> = config.lmtp_mailboxes.iter().map(|m| m.mailbox.name.to_string()).collect();
    let looks = Arc::new(Looks::default());
    let watched =
        Watches { store: store.clone(), looks: looks.clone(), probed: probed.subscribe(), handed: handed.clone() };
    let views = http::Views {
        store: store.clone(),
        people: Arc::new(Roll { lane: lane.clone(), rules: rules.clone() }),
        watched: Arc::new(watched),
        poke: poke.clone(),
        stored: stored.clone(),
    };
    let ending = running.doors_token.clone();
    let (http, replace_http, feed) = http::build(&config, auth.clone(), entrance, Arc::clone(&metrics), views, ending)?;
    metrics.look_with(Arc::new(Observer {
        store: store.clone(),
        disk: disk.clone(),
        reserve: reserve.clone(),
        lane: lane.clone(),
        rules: rules.clone(),
        messenger: messenger.clone(),
        probed: probed.subscribe(),
        handed,
    }));
    let own = config.doors.iter().filter_map(|door| match door.listen {
        lmtp::Listen::Tcp(address) => Some(address.port()),
        lmtp::Listen::Unix { .. } => None,
    });
    let verify = Arc::new(verifier(&probed, own));
    let parser = Parser {
        queue: store.clone(),
        rules: rulebook,
        express: lane.clone(),
        verify,
        stored: stored.clone(),
        poke: poke.clone(),
        wall: Timestamp::now,
        beat: Arc::clone(&metrics.parsing),
    };
    let dispatch = dispatch::Parts {
        queue: store.clone(),
        messenger,
        events,
        lane: lane.clone(),
        rules: rules.clone(),
        own: config.xmpp.jid.clone(),
        poke: poke.clone(),
        farewell: last_token,
        wall: Timestamp::now,
        seen: Arc::clone(&metrics.session),
        beat: Arc::clone(&metrics.sending),
    };
    let queue::Settings { raw_for, history_for, history_max, .. } = config.store;
    let ages = Ages { raw_for, history_for, history_max };
    let shared = Arc::new(Shared { queue: store.clone(), turn: Semaphore::new(1), stored });
    let keeper = Keeper {
        file,
        anchors: system.with(config.xmpp.ca_file.as_deref()),
        config,
        store: store.clone(),
        lane,
        rulebook: set_rulebook,
        dispatch: set_dispatch,
        xmpp: session,
        filter,
        http: replace_http,
        mailboxes: Mailboxes::new(shared, disk, intake_token, Arc::clone(&metrics), looks),
        gone: BTreeMap::new(),
        reserve,
        probed,
        poke,
        owed: Owed { owed, in_use: None },
        ordered,
        metrics: Arc::clone(&metrics),
    };
    let disk_task = Box::pin(disk_task);
    Ok(Parts {
        store,
        rules,
        orders,
        metrics,
        running,
        http,
        feed,
        reporter,
        auth,
        poster,
        keeper,
        mailboxes,
        doors,
        disk_task,
        ages,
        probe,
        parser,
        dispatch,
    })
}

impl Parts {
    /// Spawns every task.
    pub async fn start(mut self) -> Running {
        let cancel = self.running.intake_token.clone();
        self.keeper.mailboxes.apply(self.mailboxes).await;
        self.running.intake.spawn(self.keeper.run(cancel.clone()));
        self.running.doors.spawn(http::run(self.http, self.auth, self.running.doors_token.clone()));
        for door in self.doors {
            self.running.doors.spawn(door.run(self.running.doors_token.clone()));
        }
        self.running.intake.spawn(self.poster.run(cancel.clone()));
        self.running.intake.spawn(self.feed.run(cancel.clone()));
        self.running.intake.spawn(self.reporter.run(cancel.clone()));
        self.running.intake.spawn(self.disk_task);
        self.running.intake.spawn(queue::purge(self.store, self.ages, Timestamp::now, cancel.clone()));
        self.running.intake.spawn(self.probe.run(cancel.clone()));
        self.running.intake.spawn(self.parser.run(cancel));
        self.running.dispatch.spawn(dispatch::run(self.dispatch, self.running.dispatch_token.clone()));
        self.running
    }
}
