//! Recipients and groups: who they are, and who of them can be told now.

use axum::extract::{Path, State};
use axum::http::{Method, Uri};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use super::query;
use crate::control::Problem;
use crate::http::auth::Caller;
use crate::http::table::{Access, Endpoint, on};
use crate::http::{Door, Group, Person};
use crate::model::{GroupAvailability, GroupName, Right, Severity};

pub(super) fn endpoints() -> Vec<Endpoint> {
    const READ: Access = Access::Scope(Right::Read);
    vec![
        on(Method::GET, "/api/v1/recipients", READ, recipients),
        on(Method::GET, "/api/v1/recipients/{name}", READ, recipient),
        on(Method::GET, "/api/v1/groups", READ, groups),
        on(Method::GET, "/api/v1/groups/{group}/availability", READ, availability),
    ]
}

/// Recipients, in the order of the config; the list is never cut.
#[derive(Serialize)]
struct Recipients {
    items: Vec<Person>,
}

/// Groups, by name; the list is never cut.
#[derive(Serialize)]
struct Groups {
    items: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfGroup {
    group: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForSeverity {
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

async fn recipients(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Json<Recipients>, Problem> {
    let OfGroup { group } = query(&uri)?;
    let group = group.map(|group| seen_group(&door, &caller, &group)).transpose()?;
    let people = door.people.people().into_iter().filter_map(|person| seen(&caller, person));
    let items = people.filter(|person| group.as_ref().is_none_or(|group| person.groups.contains(group))).collect();
    Ok(Json(Recipients { items }))
}

async fn recipient(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Json<Person>, Problem> {
    let mut people = door.people.people().into_iter().filter(|person| person.name.as_str() == name);
    let person = people.find_map(|person| seen(&caller, person));
    person.map(Json).ok_or_else(|| Problem::missing("there is no recipient of this name"))
}

async fn groups(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Json<Groups>, Problem> {
    let severity = query::<ForSeverity>(&uri)?.severity()?;
    let names = door.people.groups().into_iter().filter(|name| caller.sees(name));
    let groups = names.filter_map(|name| door.people.group(&name, severity));
    let items = groups.map(|group| Group {
        contains: group.contains.into_iter().filter(|name| caller.sees(name)).collect(),
        fallback: group.fallback.filter(|name| caller.sees(name)),
        ..group
    });
    Ok(Json(Groups { items: items.collect() }))
}

async fn availability(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Json<GroupAvailability>, Problem> {
    let severity = query::<ForSeverity>(&uri)?.severity()?;
    let name = seen_group(&door, &caller, &name)?;
    let group = door.people.group(&name, severity);
    group.map(|group| Json(group.availability)).ok_or_else(no_group)
}

/// A recipient, with those groups only that the caller sees; `None`: they are in none of them.
fn seen(caller: &Caller, person: Person) -> Option<Person> {
    if caller.groups.is_empty() {
        return Some(person);
    }
    let groups: Vec<GroupName> = person.groups.into_iter().filter(|group| caller.sees(group)).collect();
    (!groups.is_empty()).then_some(Person { groups, ..person })
}

/// A group that the caller sees: of others it is not told whether they exist.
fn seen_group(door: &Door, caller: &Caller, name: &str) -> Result<GroupName, Problem> {
    let mut groups = door.people.groups().into_iter();
    groups.find(|group| group.as_str() == name && caller.sees(group)).ok_or_else(no_group)
}

fn no_group() -> Problem {
    Problem::missing("there is no group of this name").of("group")
}
