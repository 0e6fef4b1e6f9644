//! Disclaimers: text that is added to messages, by the route that sent them, the group that they go to, or the recipient's
//! domain.

use std::collections::BTreeSet;

use crate::model::{Alert, BareJid, GroupName, Source};

use super::router::Router;
use super::{Disclaimer, Pattern};

/// One `[[disclaimer]]`, ready to match.
#[derive(Debug, Clone)]
pub(super) struct CompiledDisclaimer {
    pub(super) text: String,
    /// Places in `Router::routes`; `None`: whatever the route.
    pub(super) routes: Option<BTreeSet<usize>>,
    /// `None`: whatever the group.
    pub(super) groups: Option<Vec<GroupName>>,
    /// `None`: whatever the domain.
    pub(super) domains: Option<Vec<Pattern>>,
}

impl CompiledDisclaimer {
    /// The patterns were checked before: one that does not compile matches nothing.
    pub(super) fn new(disclaimer: &Disclaimer, routes: BTreeSet<usize>) -> Self {
        let pattern = |text: &String| Pattern::parse_caseless(text).ok();
        let given = |list: &[String]| (!list.is_empty()).then(|| list.iter().filter_map(pattern).collect());
        Self {
            text: disclaimer.text.clone(),
            routes: (!disclaimer.routes.is_empty()).then_some(routes),
            groups: (!disclaimer.groups.is_empty()).then(|| disclaimer.groups.clone()),
            domains: given(&disclaimer.domains),
        }
    }
}

impl Router {
    /// What is to be added to a message for this recipient, each text once. `about`: the alert that it carries and where
    /// that came in; a digest carries many. `groups`: those that brought it. What no group brought (a resolved, a digest)
    /// gets whatever the groups and routes that lead to the recipient ask for: rather one line too many.
    pub fn disclaimers(
        &self,
        about: Option<(&Alert, &Source)>,
        recipient: &BareJid,
        groups: &[GroupName],
    ) -> Vec<&str> {
        let about = about.filter(|_| !groups.is_empty());
        let taken = about.map(|(alert, source)| self.taken(alert, source));
        let mut texts: Vec<&str> = Vec::new();
        for disclaimer in &self.disclaimers {
            let by_route = disclaimer.routes.as_ref().is_none_or(|routes| match &taken {
                Some(taken) => routes.iter().any(|route| taken.contains(route)),
                None => routes.iter().any(|route| self.leads_to(*route, recipient)),
            });
            let by_group = disclaimer
                .groups
                .as_ref()
                .is_none_or(|names| names.iter().any(|name| self.comes_through(name, recipient, groups)));
            let domain = recipient.domain().as_str();
            let by_domain = disclaimer.domains.as_ref().is_none_or(|all| all.iter().any(|p| p.matches(domain)));
            if by_route && by_group && by_domain && !texts.contains(&disclaimer.text.as_str()) {
                texts.push(&disclaimer.text);
            }
        }
        texts
    }

    fn leads_to(&self, route: usize, recipient: &BareJid) -> bool {
        let groups = self.routes.get(route).map(|route| route.groups.as_slice()).unwrap_or_default();
        groups.iter().any(|group| self.is_member(group, recipient))
    }

    /// Does a message that these groups brought come to the recipient as one of `name`, itself or nested in one of them?
    fn comes_through(&self, name: &GroupName, recipient: &BareJid, groups: &[GroupName]) -> bool {
        let nested = || groups.iter().filter_map(|group| self.groups.get(group)).any(|g| g.contains.contains(name));
        groups.contains(name) || (self.is_member(name, recipient) && (groups.is_empty() || nested()))
    }

    fn is_member(&self, group: &GroupName, recipient: &BareJid) -> bool {
        let members = self.groups.get(group).map(|group| group.members.as_slice()).unwrap_or_default();
        members.iter().filter_map(|index| self.recipients.get(*index)).any(|r| r.jid == *recipient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Severity;
    use crate::route::Route;
    use crate::route::fixtures::{alert, group, mailbox, route, router, settings};

    fn disclaimer(text: &str, routes: &[&str], groups: &[&str], domains: &[&str]) -> Disclaimer {
        Disclaimer {
            text: text.into(),
            routes: routes.iter().map(|r| (*r).to_owned()).collect(),
            groups: groups.iter().map(|g| g.parse().unwrap()).collect(),
            domains: domains.iter().map(|d| (*d).to_owned()).collect(),
        }
    }

    #[test]
    fn by_route_group_and_domain() {
        let mut s = settings(
            &["alice", "bob"],
            &[group("ops", &["alice", "@guests"]), group("guests", &["bob"]), group("other", &["alice", "bob"])],
        );
        s.recipients[1].jid = "bob@partner.example.com".parse().unwrap();
        s.routes = vec![
            Route { name: Some("major".into()), go_on: true, ..route(&[("severity", &["major"])], &["ops"]) },
            Route { name: Some("all".into()), ..route(&[], &["other"]) },
        ];
        s.disclaimers = vec![
            disclaimer("everyone", &[], &[], &[]),
            disclaimer("major only", &["major"], &[], &[]),
            disclaimer("for guests", &[], &["guests"], &[]),
            disclaimer("abroad", &[], &[], &["*.example.com"]),
            disclaimer("abroad, in ops", &[], &["ops"], &["PARTNER.example.com"]),
            disclaimer("everyone", &["all"], &[], &[]),
        ];
        let router = router(&s);
        let source = mailbox();
        let (alice, bob) = (s.recipients[0].jid.clone(), s.recipients[1].jid.clone());
        let said = |severity, jid: &BareJid, groups: &[&str]| {
            let groups: Vec<GroupName> = groups.iter().map(|g| g.parse().unwrap()).collect();
            router.disclaimers(Some((&alert("k", severity), &source)), jid, &groups).join(" / ")
        };
        assert_eq!(said(Severity::Minor, &alice, &["other"]), "everyone");
        assert_eq!(said(Severity::Major, &alice, &["ops", "other"]), "everyone / major only");
        assert_eq!(said(Severity::Minor, &bob, &["other"]), "everyone / abroad");
        assert_eq!(
            said(Severity::Major, &bob, &["ops"]),
            "everyone / major only / for guests / abroad / abroad, in ops",
            "he is in ops as a guest"
        );
        assert_eq!(said(Severity::Minor, &bob, &[]), "everyone / major only / for guests / abroad / abroad, in ops");
        assert_eq!(router.disclaimers(None, &alice, &[]).join(" / "), "everyone / major only");
    }
}
