//! Tests of whole mails.

use super::*;
use crate::model::{Audience, Format, Key, Labels, Nature, Status};

/// An alert that says next to nothing.
pub(crate) fn an_alert() -> Alert {
    Alert {
        format: Format::Native,
        id: "1".to_owned(),
        key: Key("1".to_owned()),
        sender: "a@b".to_owned(),
        status: Status::Firing,
        severity: Severity::Warning,
        title: "t".to_owned(),
        text: String::new(),
        sent: None,
        effective: None,
        expires: None,
        groups: Vec::new(),
        labels: Labels::default(),
        links: Vec::new(),
        references: Vec::new(),
        nature: Nature::Actual,
        audience: Audience::Public,
        variants: Vec::new(),
        tell_operators: false,
        warnings: Vec::new(),
    }
}
