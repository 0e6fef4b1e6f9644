//! `[[recipient]]`, `[[group]]` and `[[group.policy]]`.

use super::item::{Item, LONG, SHORT};
use super::mailbox::severities;
use super::names::Names;
use super::reader::Section;
use super::report::quote;
use super::schema::{Law, Want, What};
use super::secret;
use super::xmpp::{bare_jid, resource, shows};
use crate::model::{FallbackWhen, GroupName, Offline, PolicyRow, Recipient, RecipientName, Severity, Show, ShowSet};
use crate::route::{Group, Member};
use crate::xmpp::Room;

pub(super) const OFFLINE: [(&str, Offline); 3] =
    [("hold", Offline::Hold), ("send", Offline::Send), ("skip", Offline::Skip)];
pub(super) const FALLBACK_WHEN: [(&str, FallbackWhen); 2] =
    [("unreachable", FallbackWhen::Unreachable), ("hold_expired", FallbackWhen::HoldExpired)];

/// The built-in policy where a row gives no `shows`: critical and major reach everyone who is online …
const URGENT: [Severity; 2] = [Severity::Critical, Severity::Major];

/// A person, by `jid`, or a room, by `room`. `nick`: our name in rooms that give no other.
pub(super) fn recipient(
    section: &Section<'_, '_>,
    name: Option<RecipientName>,
    names: &Names,
    nick: Option<&str>,
) -> Option<(Recipient, Option<Room>)> {
    let lang = section.optional("lang").and_then(|item| language(&item));
    let own_nick = section.optional("nick");
    let secrets = secret::given(section, &secret::PASSWORD);
    let address = |item: &Item<'_, '_>, no_resource: &str| {
        let jid = bare_jid(item, no_resource)?;
        names.one_recipient_each(item, &jid)?;
        Some(jid)
    };
    section.law(Law::new(What::One(vec!["jid", "room"])));
    section.law(Law::with("jid", What::None([&["nick"][..], &secret::PASSWORD.keys].concat())));
    match (section.optional("jid"), section.optional("room")) {
        (Some(_), Some(room)) => room.fail("is a second address", "give one of jid (a person) and room"),
        (None, None) => {
            section.missing("jid", "jid = \"NAME@DOMAIN\", or room = \"ROOM@SERVICE\" for a group chat");
            None
        }
        (Some(jid), None) => {
            let jid = address(&jid, "the server picks the device");
            for item in own_nick.iter().chain(&secrets) {
                item.fail::<()>("is only for a room", "leave it out, or write room = in place of jid =");
            }
            Some((Recipient { name: name?, jid: jid?, lang, room: false }, None))
        }
        (None, Some(room)) => {
            let jid = address(&room, "the name in the room is a key of its own: nick");
            let nick = own_nick.map_or_else(|| nick.map(str::to_owned), |item| resource(&item, "nick"));
            let password = secret::optional(section, &secret::PASSWORD);
            let (name, jid) = (name?, jid?);
            let room = Room { jid: jid.clone(), nick: nick?, password: password? };
            Some((Recipient { name, jid, lang, room: true }, Some(room)))
        }
    }
}

/// Shape of a language tag (RFC 5646 §2.1).
fn language(item: &Item<'_, '_>) -> Option<String> {
    item.wants(Want::like("^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$"));
    let text = item.some_text()?;
    let part = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric());
    let primary = text.split('-').next().unwrap_or_default();
    let fits = (2..=8).contains(&primary.len()) && primary.bytes().all(|b| b.is_ascii_alphabetic());
    if fits && text.split('-').all(part) {
        return Some(text.to_owned());
    }
    item.fail(format!("{} is no language tag", quote(text)), "write one such as \"de\" or \"pt-BR\"")
}

/// A group leads to another one, by a member or a fallback.
pub(super) struct Edge<'r, 'a> {
    pub(super) from: GroupName,
    pub(super) to: GroupName,
    pub(super) item: Item<'r, 'a>,
}

/// What the groups lead to, for the search for cycles.
#[derive(Default)]
pub(super) struct Edges<'r, 'a> {
    pub(super) members: Vec<Edge<'r, 'a>>,
    pub(super) fallbacks: Vec<Edge<'r, 'a>>,
}

pub(super) fn group<'r, 'a>(
    section: &Section<'r, 'a>,
    name: Option<GroupName>,
    names: &Names,
    edges: &mut Edges<'r, 'a>,
) -> Option<Group> {
    let members = section.required("members", "members = [\"alice\", \"@other-group\"]").and_then(|item| {
        let items = item.list()?;
        let read: Vec<_> = items.into_iter().map(|item| member(item, name.as_ref(), names, edges)).collect();
        read.into_iter().collect::<Option<Vec<_>>>()
    });
    let public = section.value("public").and_then(|item| item.yes());
    let mut policy = Some(Vec::new());
    let mut left = Severity::ALL.to_vec();
    for row in section.tables("policy") {
        let rows = policy_rows(&row, name.as_ref(), names, edges);
        warn_if_unused(&row, rows.as_deref().unwrap_or_default(), &mut left);
        policy = policy.zip(rows).map(|(mut all, rows)| {
            all.extend(rows);
            all
        });
        row.done();
    }
    Some(Group { name: name?, members: members?, public: public?, policy: policy? })
}

/// The first row whose severity fits counts: `left` are the severities that no earlier row took.
fn warn_if_unused(section: &Section<'_, '_>, rows: &[PolicyRow], left: &mut Vec<Severity>) {
    let takes = |severity: &Severity| rows.iter().any(|row| row.severity.is_empty() || row.severity.contains(severity));
    if !rows.is_empty() && !left.iter().any(takes) {
        let wrong = "is never used: the policies before it take all its severities";
        section.reader.warn(section.line, &section.label, wrong, "put it first, or narrow the others");
    }
    left.retain(|severity| !takes(severity));
}

/// A recipient, or a group with its `@`.
pub(super) fn any_member(item: &Item<'_, '_>, names: &Names) -> Option<Member> {
    match item.text()?.starts_with('@') {
        true => names.group(item).map(Member::Group),
        false => names.recipient(item).map(Member::Recipient),
    }
}

fn member<'r, 'a>(
    item: Item<'r, 'a>,
    owner: Option<&GroupName>,
    names: &Names,
    edges: &mut Edges<'r, 'a>,
) -> Option<Member> {
    if !item.text()?.starts_with('@') {
        return names.recipient(&item).map(Member::Recipient);
    }
    let to = names.group(&item)?;
    if let Some(from) = owner {
        edges.members.push(Edge { from: from.clone(), to: to.clone(), item });
    }
    Some(Member::Group(to))
}

/// One table is one row; without `shows` it may be two, since the built-in shows depend on the severity.
fn policy_rows<'r, 'a>(
    section: &Section<'r, 'a>,
    owner: Option<&GroupName>,
    names: &Names,
    edges: &mut Edges<'r, 'a>,
) -> Option<Vec<PolicyRow>> {
    let severity = section.value("severity").and_then(|item| item.each(|item| item.choice(&severities())));
    let given = section.optional("shows").map(|item| {
        let all = item.each(|item| item.choice(&shows()))?;
        let none = "is empty: nobody would ever be reachable";
        item.filled(all, none, "name at least one, or leave the key out")
            .map(|all| all.into_iter().collect::<ShowSet>())
    });
    let offline = section.value("offline").and_then(|item| item.choice(&OFFLINE));
    let hold_for = section.value("hold_for").and_then(|item| item.span(SHORT..=LONG));
    let fallback = section.optional("fallback").and_then(|item| {
        let to = names.group(&item)?;
        if let Some(from) = owner {
            edges.fallbacks.push(Edge { from: from.clone(), to: to.clone(), item });
        }
        Some(to)
    });
    let when = section.value("fallback_when").and_then(|item| item.choice(&FALLBACK_WHEN));
    let row = PolicyRow {
        severity: severity?,
        shows: ShowSet::all(),
        offline: offline?,
        hold_for: hold_for?,
        fallback,
        fallback_when: when?,
    };
    match given {
        Some(shows) => Some(vec![PolicyRow { shows: shows?, ..row }]),
        None => Some(by_built_in_shows(&row)),
    }
}

fn by_built_in_shows(row: &PolicyRow) -> Vec<PolicyRow> {
    let covers = |severity: &Severity| row.severity.is_empty() || row.severity.contains(severity);
    // … and nobody else is disturbed who asks not to be.
    let quiet: ShowSet = Show::ALL.into_iter().filter(|show| *show != Show::Dnd).collect();
    let (urgent, others): (Vec<_>, Vec<_>) =
        Severity::ALL.into_iter().filter(covers).partition(|severity| URGENT.contains(severity));
    [(urgent, ShowSet::all()), (others, quiet)]
        .into_iter()
        .filter(|(severity, _)| !severity.is_empty())
        .map(|(severity, shows)| PolicyRow { severity, shows, ..row.clone() })
        .collect()
}

/// Tells every cycle once, where it closes.
pub(super) fn refuse_cycles(edges: &[Edge<'_, '_>], what: &str) {
    let mut told: Vec<Vec<&GroupName>> = Vec::new();
    for edge in edges {
        let Some(path) = path(edges, &edge.to, &edge.from) else { continue };
        let mut members = path.clone();
        members.sort();
        if told.contains(&members) {
            continue;
        }
        let names: Vec<_> = std::iter::once(&edge.from).chain(path).map(GroupName::as_str).collect();
        edge.item.fail::<()>(format!("the {what} go round: {}", names.join(" → ")), "break the circle");
        told.push(members);
    }
}

/// Shortest way from one group to the other, both included.
fn path<'e>(edges: &'e [Edge<'_, '_>], from: &'e GroupName, to: &GroupName) -> Option<Vec<&'e GroupName>> {
    let mut ways = vec![vec![from]];
    let mut seen = vec![from];
    while !ways.is_empty() {
        if let Some(way) = ways.iter().find(|way| way.last() == Some(&to)) {
            return Some(way.clone());
        }
        let mut longer = Vec::new();
        for way in &ways {
            for next in edges.iter().filter(|edge| way.last() == Some(&&edge.from)).map(|edge| &edge.to) {
                if !seen.contains(&next) {
                    seen.push(next);
                    longer.push(way.iter().copied().chain([next]).collect());
                }
            }
        }
        ways = longer;
    }
    None
}
