//! What our own look at a port came to that an alert from outside tells of.

use super::{Alert, Status};

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortFound {
    /// Nobody answers there.
    Down,
    /// Somebody accepts connections there.
    Answers,
    /// It was not looked at, or that told nothing.
    NotChecked,
}

/// What was found, and how or why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortCheck {
    /// What.
    pub found: PortFound,
    /// For people: of `Down` how it showed (`refused in 1 ms`), of `NotChecked` why (`not in [probe] allow`), of `Answers` more, or
    /// nothing.
    pub detail: String,
}

impl PortCheck {
    /// Label of an alert that was checked: `confirmed`, `down`, `answers` or `not_checked`. Such names are not for senders.
    pub const LABEL: &'static str = "mailbell.port_check";
    /// Label with the line for people.
    pub const SAID: &'static str = "mailbell.port_check.said";

    /// Nothing is known, for this reason.
    pub fn not_checked(why: impl Into<String>) -> Self {
        Self { found: PortFound::NotChecked, detail: why.into() }
    }

    /// Notes it in the alert. Nothing else of the alert changes: it is the same report of the same condition.
    pub fn note(&self, alert: &mut Alert) {
        let over = alert.status == Status::Resolved;
        let (word, said) = match self.found {
            PortFound::Down if over => ("down", format!("port does not answer ({})", self.detail)),
            PortFound::Down => ("confirmed", format!("confirmed ({})", self.detail)),
            PortFound::Answers if self.detail.is_empty() => ("answers", "port answers".to_owned()),
            PortFound::Answers => ("answers", format!("port answers ({})", self.detail)),
            PortFound::NotChecked => ("not_checked", format!("not checked: {}", self.detail)),
        };
        alert.labels.add(Self::LABEL, word);
        alert.labels.add(Self::SAID, said);
    }

    /// The line for people, where the alert was checked.
    pub fn line(alert: &Alert) -> Option<String> {
        alert.labels.get(Self::SAID).first().map(|said| format!("port check: {said}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Format;

    #[test]
    fn an_alert_tells_what_was_found() {
        let told = |status, check: &PortCheck| {
            let mut alert = Alert { status, ..Alert::empty(Format::Cap) };
            assert_eq!(PortCheck::line(&alert), None);
            check.note(&mut alert);
            format!("{}|{}", alert.labels.get(PortCheck::LABEL).concat(), PortCheck::line(&alert).unwrap())
        };
        let check = |found, detail: &str| PortCheck { found, detail: detail.into() };
        let down = check(PortFound::Down, "refused in 1 ms");
        assert_eq!(told(Status::Firing, &down), "confirmed|port check: confirmed (refused in 1 ms)");
        assert_eq!(told(Status::Resolved, &down), "down|port check: port does not answer (refused in 1 ms)");
        assert_eq!(told(Status::Update, &check(PortFound::Answers, "")), "answers|port check: port answers");
        let before = check(PortFound::Answers, "5 s before");
        assert_eq!(told(Status::Firing, &before), "answers|port check: port answers (5 s before)");
        assert_eq!(
            told(Status::Firing, &PortCheck::not_checked("too many at a time")),
            "not_checked|port check: not checked: too many at a time"
        );
    }
}
