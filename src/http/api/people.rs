//! Recipients and groups: who they are, and who of them can be told now.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::Method;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::asked;
use crate::control::Problem;
use crate::http::auth::Caller;
use crate::http::table::{Access, Endpoint, on};
use crate::http::{Door, Group, Person};
use crate::model::{GroupAvailability, GroupName, RecipientName, Right, Severity};

pub(super) fn endpoints() -> Vec<Endpoint> {
    const READ: Access = Access::Scope(Right::Read);
    vec![
        on(Method::GET, "/api/v1/recipients", READ, recipients),
        on(Method::GET, "/api/v1/recipients/{name}", READ, recipient),
        on(Method::GET, "/api/v1/groups", READ, groups),
        on(Method::GET, "/api/v1/groups/{group}/availability", READ, availability),
    ]
}

/// This resource's part of the document.
#[derive(OpenApi)]
#[openapi(paths(recipients, recipient, groups, availability))]
pub(super) struct Written;

/// Recipients, in the order of the config; the list is never cut.
#[derive(Serialize, ToSchema)]
struct Recipients {
    items: Vec<Person>,
}

/// Groups, by name; the list is never cut.
#[derive(Serialize, ToSchema)]
struct Groups {
    items: Vec<Group>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OfGroup {
    /// Only those in this group.
    group: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ForSeverity {
    /// Of the alert that somebody may have to be told of: `ready` depends on it. Without it: warning.
    #[param(value_type = Option<Severity>)]
    severity: Option<String>,
}

impl ForSeverity {
    /// What an alert is that does not say.
    fn severity(&self) -> Result<Severity, Problem> {
        let given = self.severity.as_deref().map(str::parse::<Severity>);
        let given = given.transpose().map_err(|err| Problem::bad(err.to_string()).of("severity"))?;
        Ok(given.unwrap_or(Severity::Warning))
    }
}

/// Recipients, with the presence of each.
///
/// A token of some groups sees the recipients in these.
#[utoipa::path(get, path = "/api/v1/recipients", tag = "people", params(OfGroup), responses(
    (status = 200, description = "All of them", body = Recipients),
    (status = 400, description = "A query parameter is not understood"),
    (status = 404, description = "There is no such group"),
))]
async fn recipients(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<OfGroup>, QueryRejection>,
) -> Result<Json<Recipients>, Problem> {
    let OfGroup { group } = asked::query(query)?;
    let group = group.map(|group| seen_group(&door, &caller, &group)).transpose()?;
    let people = door.people.people().into_iter().filter_map(|person| seen(&caller, person));
    let items = people.filter(|person| group.as_ref().is_none_or(|group| person.groups.contains(group))).collect();
    Ok(Json(Recipients { items }))
}

/// One recipient, with their presence.
#[utoipa::path(get, path = "/api/v1/recipients/{name}", tag = "people",
    params(("name" = RecipientName, Path, description = "Their name in the config")),
    responses(
        (status = 200, description = "The recipient", body = Person),
        (status = 404, description = "There is no such recipient, or the token sees none of their groups"),
    ))]
async fn recipient(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Json<Person>, Problem> {
    let mut people = door.people.people().into_iter().filter(|person| person.name.as_str() == name);
    let person = people.find_map(|person| seen(&caller, person));
    person.map(Json).ok_or_else(|| Problem::missing("there is no recipient of this name"))
}

/// Groups, with their members and the availability of each.
///
/// A token of some groups sees these.
#[utoipa::path(get, path = "/api/v1/groups", tag = "people", params(ForSeverity), responses(
    (status = 200, description = "All of them", body = Groups),
    (status = 400, description = "A query parameter is not understood"),
))]
async fn groups(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<ForSeverity>, QueryRejection>,
) -> Result<Json<Groups>, Problem> {
    let severity = asked::query(query)?.severity()?;
    let names = door.people.groups().into_iter().filter(|name| caller.sees(name));
    let groups = names.filter_map(|name| door.people.group(&name, severity));
    let items = groups.map(|group| Group {
        contains: group.contains.into_iter().filter(|name| caller.sees(name)).collect(),
        fallback: group.fallback.filter(|name| caller.sees(name)),
        ..group
    });
    Ok(Json(Groups { items: items.collect() }))
}

/// Can somebody of this group be told now, and how many?
///
/// `status` is the best of its members': active, else away, else busy; where nobody is any of these it is unknown if it is unknown
/// of any member, else offline. Unknown it is without a session with the chat server, until that has told who is there, and of
/// who has not granted the subscription. `ready` counts who is online with a presence that the group's policy sends to for that
/// severity. Members are those of nested groups too, each once, and not those of a fallback group. A group without members is
/// offline.
#[utoipa::path(get, path = "/api/v1/groups/{group}/availability", tag = "people",
    params(("group" = GroupName, Path, description = "Its name in the config"), ForSeverity),
    responses(
        (status = 200, description = "How the group is", body = GroupAvailability),
        (status = 400, description = "A query parameter is not understood"),
        (status = 404, description = "There is no such group"),
    ))]
async fn availability(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    query: Result<Query<ForSeverity>, QueryRejection>,
) -> Result<Json<GroupAvailability>, Problem> {
    let severity = asked::query(query)?.severity()?;
    let name = seen_group(&door, &caller, &name)?;
    let group = door.people.group(&name, severity);
    group.map(|group| Json(group.availability)).ok_or_else(no_group)
}

/// A recipient, with those groups only that the caller sees; `None`: they are in none of them.
pub(super) fn seen(caller: &Caller, person: Person) -> Option<Person> {
    if caller.groups.is_empty() {
        return Some(person);
    }
    let groups: Vec<GroupName> = person.groups.into_iter().filter(|group| caller.sees(group)).collect();
    (!groups.is_empty()).then_some(Person { groups, ..person })
}

/// A group of the config that the caller sees.
fn seen_group(door: &Door, caller: &Caller, name: &str) -> Result<GroupName, Problem> {
    let name = caller.group(name)?;
    if door.people.groups().contains(&name) { Ok(name) } else { Err(no_group()) }
}

fn no_group() -> Problem {
    Problem::missing("there is no group of this name").of("group")
}
