//! One route's matchers: a field of the alert and the patterns any of which may match it.

use std::borrow::Cow;

use crate::model::{Alert, Format, Nature, Severity, Source, Status};

use super::Pattern;

/// What can be matched on, beside labels (`label.NAME`).
pub const FIELDS: [&str; 6] = ["source", "mailbox", "sender", "status", "severity", "group"];

/// The exact values that `status` can have: what a report says, and of what nature it is (CAP's own words).
pub fn statuses() -> Vec<&'static str> {
    Status::ALL.map(Status::as_str).into_iter().chain(Nature::ALL.map(Nature::as_str)).collect()
}

/// Label that carries CAP's `status`: an exercise is paged only where a route names it here, or as `status`.
const CAP_STATUS: &str = "cap.status";

/// `field = [patterns]`.
#[derive(Debug, Clone)]
pub(super) struct Matcher {
    field: Field,
    any_of: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Source,
    Mailbox,
    Sender,
    Status,
    Severity,
    Group,
    Label(String),
}

impl Matcher {
    /// Reads one entry of a route's `match` table; every fault of it, for people.
    pub(super) fn parse(field: &str, patterns: &[String]) -> Result<Self, Vec<String>> {
        let field = Field::parse(field).map_err(|e| vec![e])?;
        if patterns.is_empty() {
            return Err(vec!["the list is empty, so the route would never match; leave the matcher out".into()]);
        }
        let (mut any_of, mut faults) = (Vec::new(), Vec::new());
        for text in patterns {
            match field.pattern(text) {
                Ok(pattern) => any_of.push(pattern),
                Err(fault) => faults.push(fault),
            }
        }
        if faults.is_empty() { Ok(Self { field, any_of }) } else { Err(faults) }
    }

    /// Does any value of the field match any pattern? A field without a value matches nothing, not even `*`.
    pub(super) fn matches(&self, alert: &Alert, source: &Source) -> bool {
        self.field.values(alert, source).iter().any(|value| self.any_of.iter().any(|p| p.matches(value)))
    }

    /// Does it ask by name for alerts of this CAP status? A glob or a regular expression that happens to match does not.
    pub(super) fn names(&self, nature: Nature) -> bool {
        (self.field == Field::Status || self.field == Field::Label(CAP_STATUS.to_owned()))
            && self.any_of.iter().any(|p| p.exact() == Some(nature.as_str()))
    }
}

impl Field {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(match text {
            "source" => Self::Source,
            "mailbox" => Self::Mailbox,
            "sender" => Self::Sender,
            "status" => Self::Status,
            "severity" => Self::Severity,
            "group" => Self::Group,
            _ => match text.strip_prefix("label.") {
                Some(name) if !name.is_empty() => Self::Label(name.to_owned()),
                _ => {
                    return Err(format!("`{text}` cannot be matched; allowed: {}, label.NAME", FIELDS.join(", ")));
                }
            },
        })
    }

    /// Reads a pattern for this field. An exact value that the field can never have is a typo.
    fn pattern(&self, text: &str) -> Result<Pattern, String> {
        let pattern = match self {
            Self::Sender => Pattern::parse_caseless(text),
            _ => Pattern::parse(text),
        }
        .map_err(|e| e.to_string())?;
        match (self, pattern.exact()) {
            (Self::Severity, Some(name)) => name.parse::<Severity>().map(|_| ()).map_err(|e| e.to_string())?,
            (Self::Status, Some(name)) if !statuses().contains(&name) => {
                return Err(format!("`{name}` is no status; allowed: {}", statuses().join(", ")));
            }
            _ => {}
        }
        Ok(pattern)
    }

    fn values<'a>(&self, alert: &'a Alert, source: &'a Source) -> Vec<Cow<'a, str>> {
        match self {
            Self::Source => vec![source.to_string().into()],
            Self::Mailbox => match source {
                Source::Mailbox(name) => vec![name.as_str().into()],
                Source::Probe | Source::Api => Vec::new(),
            },
            // A wall is not passed by naming another sender.
            Self::Sender => {
                [Some(alert.sender.as_str()), alert.from.as_deref()].into_iter().flatten().map(Into::into).collect()
            }
            Self::Status => vec![alert.status.as_str().into(), alert.nature.as_str().into()],
            Self::Severity => vec![alert.severity.as_str().into()],
            Self::Group => alert.groups.iter().map(|g| g.as_str().into()).collect(),
            Self::Label(name) => {
                let values: Vec<Cow<'a, str>> = alert.labels.get(name).iter().map(|v| v.as_str().into()).collect();
                // The status has a field of its own; whether it is among the labels too must not decide who is paged.
                if values.is_empty() && name == CAP_STATUS && alert.format == Format::Cap {
                    return vec![alert.nature.as_str().into()];
                }
                values
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::fixtures::alert;

    fn matches(field: &str, patterns: &[&str], alert: &Alert) -> bool {
        let patterns: Vec<_> = patterns.iter().map(|p| (*p).to_owned()).collect();
        Matcher::parse(field, &patterns).unwrap().matches(alert, &Source::Mailbox("ops".parse().unwrap()))
    }

    #[test]
    fn every_field_is_matched_by_any_of_its_values() {
        let mut a = alert("k", Severity::Major);
        a.sender = "ups7@example.org".into();
        a.groups = vec!["power".into(), "dba".into()];
        a.labels.add("host", "db1");
        a.labels.add("host", "db2");
        for (field, yes, no) in [
            ("source", "mailbox:*", "probe"),
            ("mailbox", "ops", "mailbox:ops"),
            ("sender", "*@EXAMPLE.org", "*@example.com"),
            ("status", "firing", "resolved"),
            ("status", "Actual", "Test"),
            ("severity", "~critical|major", "minor"),
            ("group", "dba", "ops"),
            ("label.host", "db2", "DB2"),
        ] {
            assert!(matches(field, &["nothing.of.this*", yes], &a), "{field} {yes}");
            assert!(!matches(field, &[no], &a), "{field} {no}");
        }
    }

    #[test]
    fn a_field_without_a_value_matches_nothing() {
        let a = alert("k", Severity::Major);
        assert!(!matches("label.host", &["*", "~.*"], &a));
        assert!(!matches("group", &["*"], &a));
        let mailbox = Matcher::parse("mailbox", &["*".to_owned()]).unwrap();
        assert!(!mailbox.matches(&a, &Source::Probe));
    }

    #[test]
    fn cap_status_is_known_with_and_without_its_label() {
        let mut a = alert("k", Severity::Major);
        a.format = Format::Cap;
        a.nature = Nature::Test;
        assert!(matches("label.cap.status", &["Test"], &a));
        a.labels.add("cap.status", "Test");
        assert!(matches("label.cap.status", &["Test"], &a));
        assert!(!matches("label.cap.status", &["Actual"], &a));
    }

    #[test]
    fn only_an_exact_value_asks_by_name() {
        for field in ["label.cap.status", "status"] {
            let names = |p: &str| Matcher::parse(field, &[p.to_owned()]).unwrap().names(Nature::Test);
            assert!(names("Test"), "{field}");
            for other in ["*", "T*", "~Test", "Exercise"] {
                assert!(!names(other), "{field} {other}");
            }
        }
        assert!(!Matcher::parse("label.x", &["Test".to_owned()]).unwrap().names(Nature::Test));
    }

    #[test]
    fn typos_are_refused_all_at_once() {
        let faults = |field: &str, patterns: &[&str]| {
            let patterns: Vec<_> = patterns.iter().map(|p| (*p).to_owned()).collect();
            Matcher::parse(field, &patterns).unwrap_err().join("\n")
        };
        insta::assert_snapshot!(faults("severity", &["urgent", "major", "~["]), @r"
        `urgent` is no severity; allowed: critical, major, minor, warning, info
        `~[` is no pattern: unclosed character class
        ");
        insta::assert_snapshot!(faults("status", &["open"]), @"`open` is no status; allowed: firing, update, resolved, recorded, Actual, Exercise, System, Test, Draft");
        insta::assert_snapshot!(faults("host", &["x"]), @"`host` cannot be matched; allowed: source, mailbox, sender, status, severity, group, label.NAME");
        insta::assert_snapshot!(faults("label.", &["x"]), @"`label.` cannot be matched; allowed: source, mailbox, sender, status, severity, group, label.NAME");
        insta::assert_snapshot!(faults("sender", &[]), @"the list is empty, so the route would never match; leave the matcher out");
    }
}
