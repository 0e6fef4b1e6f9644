//! The letter of a notification, as it is handed to the messenger.

use jiff::Timestamp;

use super::text::clean;
use super::{Letter, render};
use crate::model::{Kind, Source};
use crate::queue::{Content, Outgoing};
use crate::route::Router;

/// Renders an alert at the moment of sending; digests and notices have their text already. A copy that may be the second one
/// says so, whatever it carries. `copy`: its number, the first being 1.
pub(super) fn letter(out: &Outgoing, copy: u32, router: &Router, text_max: usize, now: Timestamp) -> Letter {
    let n = &out.notification;
    let mut body = match &out.content {
        Content::Text(text) if out.in_doubt => format!("{text}\n{}", render::sent_again(n)),
        Content::Text(text) => text.clone(),
        Content::Alert(record) => {
            let lang = router.recipient(&n.jid).and_then(|r| r.lang.as_deref());
            render::message(record, n, lang, out.in_doubt, now, text_max)
        }
    };
    for text in disclaimers(out, router) {
        body.push('\n');
        body.push_str(&clean(text));
    }
    Letter {
        to: n.jid.clone(),
        stanza_id: n.stanza_id.clone(),
        body,
        tracked: true,
        first_sent: n.first_intent.filter(|_| out.in_doubt),
        copy,
    }
}

/// What config adds. Notices to the operators are mailbell's own words.
fn disclaimers<'r>(out: &Outgoing, router: &'r Router) -> Vec<&'r str> {
    let n = &out.notification;
    let source;
    let about = match &out.content {
        Content::Text(_) if n.kind == Kind::Notice => return Vec::new(),
        Content::Text(_) => None,
        Content::Alert(record) => {
            source = record.source.parse::<Source>();
            source.as_ref().ok().map(|source| (&record.alert, source))
        }
    };
    router.disclaimers(about, &n.jid, &n.groups)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::render::tests::{alert, notification, record};
    use super::*;
    use crate::route::Settings;

    fn nobody() -> Router {
        let settings = Settings {
            recipients: Vec::new(),
            groups: Vec::new(),
            routes: Vec::new(),
            walls: Vec::new(),
            disclaimers: Vec::new(),
            default_group: None,
            operators: None,
            repeat_after: Duration::from_secs(1),
            key_scopes: BTreeMap::new(),
        };
        Router::new(&settings).unwrap()
    }

    #[test]
    fn every_copy_that_may_be_the_second_says_so() {
        let now: Timestamp = "2026-11-21T18:43:00Z".parse().unwrap();
        let n = crate::model::Notification { first_intent: Some(now), ..notification() };
        for content in [Content::Text("While you were away".into()), Content::Alert(Arc::new(record(1, alert())))] {
            let out = |in_doubt| Outgoing { notification: n.clone(), content: content.clone(), in_doubt };
            let first = letter(&out(false), 1, &nobody(), 1000, now);
            assert!(!first.body.contains("Sent again") && first.first_sent.is_none(), "{}", first.body);
            let second = letter(&out(true), 2, &nobody(), 1000, now);
            assert!(second.body.contains("Sent again: the copy of 2026-11-21 18:43 UTC may have arrived."));
            assert_eq!((second.first_sent, second.stanza_id), (Some(now), first.stanza_id));
        }
    }
}
