//! What waits: queued, held, on its way, and what ended untold.

use askama::Template;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Path, Query, State};
use axum::http::Method;
use axum::response::{Redirect, Response};
use jiff::Timestamp;
use serde::Deserialize;

use super::show::{Chip, When, severity, state};
use super::{ACT, Frame, READ, asked, done, filled, page};
use crate::control::Problem;
use crate::http::Door;
use crate::http::api::notifications;
use crate::http::table::{Endpoint, on};
use crate::model::{NotificationId, NotificationState};
use crate::queue::{ListFilter, NotificationView};

const PATH: &str = "/console/queue";
/// Most notifications of a page.
const MOST: usize = 100;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        on(Method::GET, PATH, READ, show),
        on(Method::POST, "/console/queue/{id}/retry", ACT, retry),
        on(Method::POST, "/console/queue/{id}/expire", ACT, expire),
    ]
}

/// `queue.html`
#[derive(Template)]
#[template(path = "queue.html", config = "src/http/console/askama.toml")]
struct Page {
    frame: Frame,
    views: Vec<View>,
    rows: Vec<Row>,
    /// Where the next page is.
    next: Option<String>,
}

/// A choice of states.
struct View {
    name: &'static str,
    href: String,
    here: bool,
}

/// A notification, as lists show it.
pub(super) struct Row {
    pub id: i64,
    pub severity: Chip,
    pub state: Chip,
    pub title: String,
    /// Of its alert, without the `#`.
    pub alert: Option<String>,
    pub kind: &'static str,
    pub recipient: String,
    pub groups: String,
    pub reason: String,
    pub made: When,
    pub attempts: u32,
    pub until: Option<When>,
    pub not_before: Option<When>,
    pub accepted: Option<When>,
    pub delivered: Option<When>,
    /// May it be retried, or expired, from this state?
    pub retries: bool,
    pub expires: bool,
}

impl Row {
    pub fn of(frame: &Frame, of: NotificationView) -> Self {
        use NotificationState::{Dead, Expired, Held, Queued, Unconfirmed};
        Self {
            id: of.id.0,
            severity: severity(of.severity.as_str()),
            state: state(of.state.as_str()),
            title: of.title,
            alert: of.alert.map(|id| id.trim_start_matches('#').to_owned()),
            kind: of.kind.as_str(),
            recipient: of.recipient.to_string(),
            groups: of.groups.iter().map(|group| group.as_str()).collect::<Vec<_>>().join(", "),
            reason: of.reason,
            made: frame.when(of.created),
            attempts: of.attempts,
            until: frame.maybe(of.held_until).filter(|_| of.state == Held),
            not_before: frame.maybe(of.not_before).filter(|_| of.state == Queued),
            accepted: frame.maybe(of.accepted),
            delivered: frame.maybe(of.delivered),
            retries: frame.acts && matches!(of.state, Queued | Held | Expired | Dead | Unconfirmed),
            expires: frame.acts && matches!(of.state, Queued | Held),
        }
    }
}

/// May they see a notification for these groups?
fn sees(frame: &Frame, of: &NotificationView) -> bool {
    frame.sees_all || of.groups.iter().any(|group| frame.caller.sees(group))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Which {
    show: String,
    after: Option<i64>,
}

async fn show(
    State(door): State<Door>,
    frame: Frame,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Response, Problem> {
    use NotificationState::{Accepted, Dead, Expired, Held, Queued, Sending, Unconfirmed};
    const VIEWS: [(&str, &str, &[NotificationState]); 4] = [
        ("", "All that waits", &[Queued, Held, Sending, Accepted]),
        ("held", "Held", &[Held]),
        ("queued", "Queued", &[Queued, Sending]),
        ("failed", "Not told", &[Dead, Expired, Unconfirmed]),
    ];
    let which = asked(which)?;
    let states = VIEWS.iter().find(|(word, ..)| *word == which.show).map(|(.., states)| states.to_vec());
    let states = states.ok_or_else(|| Problem::bad("there is no such view of the queue").of("show"))?;
    let filter = ListFilter { states, after: which.after.map(NotificationId), limit: MOST, ..ListFilter::default() };
    let found = door.desk.list(&filter).await?;
    let last = found.last().filter(|_| found.len() == MOST).map(|last| last.id);
    let link = |word: &str| if word.is_empty() { PATH.to_owned() } else { format!("{PATH}?show={word}") };
    page(&Page {
        views: VIEWS.iter().map(|(word, name, _)| View { name, href: link(word), here: *word == which.show }).collect(),
        rows: found.into_iter().filter(|one| sees(&frame, one)).map(|one| Row::of(&frame, one)).collect(),
        next: last.map(|id| format!("{PATH}?show={}&after={id}", which.show)),
        frame,
    })
}

/// Where to go afterwards.
#[derive(Deserialize)]
struct Back {
    #[serde(default)]
    back: String,
}

async fn retry(
    State(door): State<Door>,
    frame: Frame,
    Path(id): Path<String>,
    form: Result<Form<Back>, FormRejection>,
) -> Result<Redirect, Problem> {
    let id = known(&door, &frame, &id).await?;
    let Back { back } = filled(form)?;
    door.desk.retry_now(id, Timestamp::now()).await?;
    door.poke.notify_one();
    Ok(done(&back, PATH, "retried"))
}

async fn expire(
    State(door): State<Door>,
    frame: Frame,
    Path(id): Path<String>,
    form: Result<Form<Back>, FormRejection>,
) -> Result<Redirect, Problem> {
    let id = known(&door, &frame, &id).await?;
    let Back { back } = filled(form)?;
    let reason = format!("{} ended it in the console", frame.who);
    door.desk.expire_now(id, &reason, Timestamp::now()).await?;
    door.poke.notify_one();
    Ok(done(&back, PATH, "expired"))
}

/// The notification, where they may see it.
async fn known(door: &Door, frame: &Frame, id: &str) -> Result<NotificationId, Problem> {
    let id = id.parse().map_err(|_| Problem::missing("there is no notification of this number"))?;
    Ok(notifications::found(door, &frame.caller, NotificationId(id)).await?.id)
}
