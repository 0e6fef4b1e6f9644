//! Walls: who must never be told of what, whichever route, group or fallback would bring it.

use std::collections::BTreeSet;

use crate::model::{Alert, Source};

use super::Wall;
use super::matcher::Matcher;
use super::recipients::expand;
use super::router::Router;
use super::{Member, Settings};

/// One `[[wall]]`, ready to match.
#[derive(Debug, Clone)]
pub(super) struct CompiledWall {
    pub(super) name: String,
    matchers: Vec<Matcher>,
    /// Places in `Router::recipients`.
    behind: BTreeSet<usize>,
}

impl CompiledWall {
    /// Everyone named, and everyone in a group that is named, by whatever way an alert would come to them.
    pub(super) fn new(settings: &Settings, wall: &Wall, matchers: Vec<Matcher>) -> Self {
        let mut behind = BTreeSet::new();
        for member in &wall.to {
            match member {
                Member::Recipient(name) => behind.extend(settings.recipients.iter().position(|r| r.name == *name)),
                Member::Group(name) => {
                    let group = settings.groups.iter().find(|g| g.name == *name);
                    behind.extend(group.into_iter().flat_map(|group| expand(settings, group)));
                }
            }
        }
        Self { name: wall.name.clone(), matchers, behind }
    }

    /// Does it keep this recipient from what it stands against?
    pub(super) fn hides(&self, recipient: usize) -> bool {
        self.behind.contains(&recipient)
    }
}

impl Router {
    /// The walls that stand against an alert.
    pub(super) fn walls_against(&self, alert: &Alert, source: &Source) -> Vec<&CompiledWall> {
        self.walls.iter().filter(|wall| wall.matchers.iter().all(|m| m.matches(alert, source))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{GroupName, Severity};
    use crate::route::fixtures::{alert, group, mailbox, noon, router, settings, wall};

    #[test]
    fn who_is_behind_a_wall_is_left_out_by_whatever_way() {
        let mut s = settings(
            &["alice", "bob", "carol", "dave"],
            &[group("ops", &["alice", "@dba", "dave"]), group("dba", &["bob", "carol"])],
        );
        s.walls = vec![
            wall("no sales", &[("sender", &["*@sales.example.org"])], &["@dba"]),
            wall("dave", &[("source", &["mailbox:ops"]), ("label.secret", &["*"])], &["dave"]),
        ];
        let router = router(&s);
        let names: Vec<GroupName> = vec!["ops".parse().unwrap(), "dba".parse().unwrap()];
        let mut a = alert("k", Severity::Critical);
        let who = |a: &Alert| {
            let brought = router.bring(a, &mailbox(), &names, noon());
            let who: Vec<_> = brought.notifications.iter().map(|n| n.recipient.name.to_string()).collect();
            (who.join(" "), brought.left_out.join("; "))
        };
        assert_eq!(who(&a), ("alice bob carol dave".into(), String::new()));
        a.sender = "bot@sales.example.org".into();
        assert_eq!(
            who(&a),
            ("alice dave".into(), "bob: behind the wall `no sales`; carol: behind the wall `no sales`".into())
        );
        a.labels.add("secret", "yes");
        assert_eq!(who(&a).0, "alice");
        let brought = router.bring(&a, &mailbox(), &names, noon());
        let watched: Vec<_> = brought.groups.iter().map(|(group, _)| group.as_str()).collect();
        assert_eq!(watched, ["ops"], "a group whose members may all not be told is not said to be unreachable");
        let brought = router.fallback(&a, &mailbox(), &names[1], noon());
        assert!(brought.notifications.is_empty(), "nor as a fallback");
        assert_eq!(brought.left_out.len(), 2);
    }
}
