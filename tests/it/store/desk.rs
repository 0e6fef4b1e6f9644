//! The door of the running service, and the commands at its other end.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mailbell::cli::{quarantine, queue as queue_cli};
use mailbell::control::{self, Remote, Socket};
use mailbell::model::*;
use mailbell::queue::sqlite::Sqlite;
use mailbell::queue::*;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Both, Closed, alert, alerts, at, mail, mailbox, message, settings};
use crate::support::wait_for;

/// A service whose config is bad.
struct NoReload;

#[async_trait::async_trait]
impl control::Reload for NoReload {
    async fn reload(&self) -> Result<control::Reloaded, control::Kept> {
        Err(control::Kept { file: "m.toml".into(), errors: vec!["m.toml:1: a".into(), "m.toml:2: b".into()] })
    }
}

/// Knows Ann, and does what an operator ends.
struct AnnsOffice(Arc<Sqlite>);

#[async_trait::async_trait]
impl control::Office for AnnsOffice {
    async fn knows(&self, recipient: &RecipientName) -> Result<bool, StoreError> {
        Ok(recipient.as_str() == "änn")
    }

    async fn resolve(&self, what: Subject, reason: &str) -> Result<Option<Resolved>, StoreError> {
        let Some(open) = self.0.open(what).await? else { return Ok(None) };
        let post = open.end(what, "Ann", reason, at(5))?;
        Err(StoreError::refused(post.alerts[0].text.clone()))
    }
}

/// A running service's door, and a desk at the other end.
struct Served {
    _dir: TempDir,
    store: Arc<Sqlite>,
    socket: PathBuf,
    desk: Remote,
    poke: Arc<Notify>,
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Served {
    /// With one alert, `disk\x1b[31m full`, and one mail in quarantine.
    async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let store = Sqlite::open(&settings(dir.path())).await.unwrap();
        let ids = store.d1_store(&mailbox(), vec![mail(1, 10), mail(2, 20)], at(0)).await.unwrap();
        let bad = Verdict::Ends(MessageState::Quarantined, "line 3: <alert> has no title".into());
        let batch = vec![message(ids[0], alerts("disk\x1b[31m full")), message(ids[1], bad)];
        store.d2_commit(batch, &Both, &Closed, at(1)).await.unwrap();
        let socket = control::socket_path(store.path());
        // What a dead process left.
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        assert!(Remote::connect(&socket).await.unwrap().is_none());
        let (poke, cancel) = (Arc::new(Notify::new()), CancellationToken::new());
        let bound = Socket::bind(&socket).unwrap();
        let stored = Arc::new(Notify::new());
        let (desk, tokens, reload) = (store.clone(), store.clone(), Arc::new(NoReload));
        let archive = store.clone();
        let office = Arc::new(AnnsOffice(store.clone()));
        let door = control::Door { desk, archive, tokens, office, reload, poke: poke.clone(), stored };
        let task = tokio::spawn(control::serve(bound, control::router(door), cancel.clone()));
        let desk = Remote::connect(&socket).await.unwrap().unwrap();
        Self { _dir: dir, store, socket, desk, poke, cancel, task }
    }

    async fn queue(&self, arguments: &[&str]) -> (Result<(), queue_cli::Failure>, String) {
        let args = parse::<queue_cli::Args>(arguments);
        let (mut out, mut complaints) = (Vec::new(), Vec::new());
        let done = queue_cli::run(&args, &self.desk, &mut out, &mut complaints).await;
        out.extend(complaints);
        (done, String::from_utf8(out).unwrap())
    }

    async fn quarantine(&self, arguments: &[&str]) -> (Result<(), queue_cli::Failure>, Vec<u8>) {
        let args = parse::<quarantine::Args>(arguments);
        let (mut out, mut complaints) = (Vec::new(), Vec::new());
        let done = quarantine::run(&args, &self.desk, &mut out, &mut complaints).await;
        out.extend(complaints);
        (done, out)
    }
}

fn parse<A: clap::Args>(arguments: &[&str]) -> A {
    let command = A::augment_args(clap::Command::new("test"));
    let matches = command.try_get_matches_from(std::iter::once(&"test").chain(arguments)).unwrap();
    A::from_arg_matches(&matches).unwrap()
}

#[tokio::test]
async fn the_socket_is_for_its_owner_and_goes_with_the_service() {
    let served = Served::new().await;
    assert_eq!(std::fs::metadata(&served.socket).unwrap().permissions().mode() & 0o777, 0o600);
    // A connection that says nothing does not delay the end.
    let _idle = tokio::net::UnixStream::connect(&served.socket).await.unwrap();
    served.cancel.cancel();
    tokio::time::timeout(Duration::from_secs(5), served.task).await.unwrap().unwrap().unwrap();
    assert!(!served.socket.exists());
    assert!(Remote::connect(&served.socket).await.unwrap().is_none());
    let long = Path::new("/tmp").join("x".repeat(120));
    assert!(Socket::bind(&long).unwrap_err().to_string().contains("control socket /tmp/xxx"));
}

#[tokio::test]
async fn the_desk_is_the_same_over_the_socket() {
    let served = Served::new().await;
    let (near, far): (&dyn Desk, &dyn Desk) = (&*served.store, &served.desk);
    let filters = [
        ListFilter::default(),
        ListFilter { recipient: Some("bob".parse().unwrap()), ..ListFilter::default() },
        ListFilter { states: vec![NotificationState::Held, NotificationState::Dead], ..ListFilter::default() },
        ListFilter { alert: Some(AlertId(1)), after: Some(NotificationId(1)), limit: 1, ..ListFilter::default() },
    ];
    for filter in filters {
        assert_eq!(near.list(&filter).await.unwrap(), far.list(&filter).await.unwrap(), "{filter:?}");
    }
    let (one, none) = (NotificationId(1), NotificationId(99));
    assert_eq!(near.show(one).await.unwrap(), far.show(one).await.unwrap());
    assert_eq!(far.show(none).await.unwrap(), None);
    assert_eq!(near.show_alert(AlertId(1)).await.unwrap(), far.show_alert(AlertId(1)).await.unwrap());
    assert_eq!(far.show_alert(AlertId(99)).await.unwrap(), None);
    assert_eq!(near.quarantine(None, 10).await.unwrap(), far.quarantine(None, 10).await.unwrap());
    assert_eq!(far.quarantine(Some(MessageId(2)), 10).await.unwrap(), []);
    assert_eq!(near.quarantined(MessageId(2)).await.unwrap(), far.quarantined(MessageId(2)).await.unwrap());
    served.store.purge(Old::Raw, at(10), 0, 10).await.unwrap();
    assert_eq!(far.quarantined(MessageId(2)).await.unwrap().unwrap().1, None);

    far.expire_now(one, "\"fixed\"", at(5)).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), served.poke.notified()).await.unwrap();
    let err = far.expire_now(one, "again", at(5)).await.unwrap_err();
    assert_eq!(
        (err.fault, err.what.as_str()),
        (StoreFault::Refused, "notification 1 is expired; possible from queued, held")
    );
    assert_eq!(near.show(one).await.unwrap().unwrap().reason, "\"fixed\"");
    far.retry_now(one, at(5)).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), served.poke.notified()).await.unwrap();
    assert_eq!(near.show(one).await.unwrap().unwrap().state, NotificationState::Queued);
    let err = far.retry_now(none, at(5)).await.unwrap_err();
    assert_eq!((err.fault, err.what.as_str()), (StoreFault::Refused, "there is no notification 99"));
}

#[tokio::test]
async fn the_office_is_asked_over_the_socket() {
    let served = Served::new().await;
    let office: &dyn control::Office = &served.desk;
    for (name, known) in [("änn", true), ("ann", false)] {
        assert_eq!(office.knows(&name.parse().unwrap()).await.unwrap(), known, "{name}");
    }
    for there in [Subject::Alert(AlertId(1)), Subject::Condition(ConditionId(1))] {
        let err = office.resolve(there, "\"fixed\"").await.unwrap_err();
        assert_eq!((err.fault, err.what.as_str()), (StoreFault::Refused, "Resolved by Ann: \"fixed\""), "{there}");
    }
    for missing in [Subject::Alert(AlertId(99)), Subject::Condition(ConditionId(99))] {
        assert_eq!(office.resolve(missing, "").await.unwrap(), None, "{missing}");
    }
}

/// One request as it stands on the wire.
fn http(socket: &Path, request: &str) -> String {
    use std::io::Read;
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn problems_are_told_in_their_own_type() {
    let served = Served::new().await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let long = "x".repeat(5000);
    let post = |body: &str| {
        format!(
            "POST /v1/notifications/1/expire HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    for (request, status, detail) in [
        (get("/v1/nothing"), 404, "there is nothing at this path"),
        (get("/v1/notifications/1/retry"), 405, "this path does not take this method"),
        (get("/v1/notifications/x"), 400, "`x` is no number"),
        (get("/v1/notifications?state=lost"), 400, "`lost` is no state"),
        (get("/v1/notifications?stat=held"), 400, "unknown field `stat`"),
        (get("/v1/alerts/-"), 400, "`-` is no alert id"),
        (get("/v1/quarantine/1"), 404, "message 1 is not in quarantine"),
        (post("{}"), 400, "missing field `reason`"),
        (post(&long), 413, "length limit exceeded"),
    ] {
        let answer = http(&served.socket, &request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}\n{answer}");
        assert!(answer.contains("content-type: application/problem+json"), "{answer}");
        assert!(answer.contains(detail), "{answer}");
    }
    let ok = http(&served.socket, &get("/v1/notifications?state=queued%2Cheld&recipient=ann"));
    assert!(ok.starts_with("HTTP/1.1 200 OK") && ok.contains("\"recipient\":\"ann\"") && !ok.contains("bob"), "{ok}");
}

#[tokio::test]
async fn the_queue_commands_show_and_change() {
    let served = Served::new().await;
    let (done, text) = served.queue(&["list"]).await;
    done.unwrap();
    assert_eq!(
        text,
        "ID  ALERT  SEVERITY  RECIPIENT  STATE   SINCE                 TITLE\n\
         1   #1     major     ann        queued  2027-01-15T08:00:01Z  disk\\u{1b}[31m full\n\
         2   #1     major     bob        queued  2027-01-15T08:00:01Z  disk\\u{1b}[31m full\n"
    );
    let (_, text) = served.queue(&["list", "--limit", "1"]).await;
    assert!(text.ends_with("there may be more: --after 1\n"), "{text}");
    let (_, text) = served.queue(&["list", "--state", "dead,held"]).await;
    assert_eq!(text, "nothing\n");
    let (_, text) = served.queue(&["list", "--json", "--recipient", "bob"]).await;
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((json["id"].as_i64(), json["state"].as_str()), (Some(2), Some("queued")));

    let (_, text) = served.queue(&["show", "1"]).await;
    assert!(
        text.contains("recipient:    ann <ann@example.test>\n") && text.contains("state:        queued\n"),
        "{text}"
    );
    let (_, text) = served.queue(&["show", "#1"]).await;
    assert!(text.contains("2027-01-15T08:00:00Z  fetched"), "{text}");
    assert!(text.contains("queued     bob        ops"), "{text}");
    let (done, text) = served.queue(&["expire", "1", "77", "--reason", "fixed"]).await;
    assert_eq!(done.unwrap_err().to_string(), "there is no notification 77");
    assert_eq!(text, "notification 1 is ended\n");
    let (done, text) = served.queue(&["retry", "#1"]).await;
    done.unwrap();
    assert_eq!(text, "notification 1 is sent now\nnotification 2 is sent now\n");
    let (done, _) = served.queue(&["show", "zz"]).await;
    let failure = done.unwrap_err();
    assert_eq!((failure.code(), failure.to_string().as_str()), (1, "there is no alert #zz"));
    served.cancel.cancel();
    wait_for("the socket to go", Duration::from_secs(5), async || (!served.socket.exists()).then_some(())).await;
    let (done, _) = served.queue(&["list"]).await;
    assert_eq!(done.unwrap_err().code(), 74);
}

#[tokio::test]
async fn an_alert_without_a_mail_is_shown_with_its_source() {
    let served = Served::new().await;
    let found = Found {
        name: "db1.example.org".into(),
        state: Some("down".into()),
        alerts: vec![Alert { sender: "db1.example.org".into(), ..alert("db1.example.org is down") }],
    };
    served.store.d2_found(&Source::Probe, &[found], &Both, &Closed, at(2)).await.unwrap();
    assert_eq!(
        served.store.show_alert(AlertId(2)).await.unwrap(),
        served.desk.show_alert(AlertId(2)).await.unwrap(),
        "over the socket too"
    );
    let (_, text) = served.queue(&["show", "#2"]).await;
    for line in ["sender:   db1.example.org\n", "source:   probe\n", "received: 2027-01-15T08:00:02Z\n"] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(text.contains("2027-01-15T08:00:02Z  raised                probe"), "{text}");
    assert!(!text.contains("message:") && !text.contains("fetched"), "{text}");
}

#[tokio::test]
async fn the_quarantine_commands_show_the_mail_and_why() {
    let served = Served::new().await;
    let (_, out) = served.quarantine(&["list"]).await;
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "ID  MAILBOX  CURSOR  FETCHED               SIZE  REASON\n\
         2   ops      1/2     2027-01-15T08:00:00Z  20B   line 3: <alert> has no title\n"
    );
    let (_, out) = served.quarantine(&["show", "2"]).await;
    assert!(String::from_utf8(out).unwrap().ends_with("reasons:\n  line 3: <alert> has no title\n"));
    let (_, out) = served.quarantine(&["show", "2", "--raw"]).await;
    assert_eq!(out, mail(2, 20).raw);
    let (done, _) = served.quarantine(&["show", "1"]).await;
    assert_eq!(done.unwrap_err().to_string(), "message 1 is not in quarantine");
}

#[tokio::test]
async fn a_refused_reload_comes_back_with_every_error() {
    let served = Served::new().await;
    let remote = Remote::connect(&served.socket).await.unwrap().unwrap();
    let kept = remote.reload().await.unwrap().unwrap_err();
    assert_eq!((kept.file.as_str(), kept.errors), ("m.toml", vec!["m.toml:1: a".to_owned(), "m.toml:2: b".to_owned()]));
}
