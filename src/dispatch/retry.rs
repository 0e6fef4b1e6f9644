//! What an error for a stanza means, and when to try again. Pure: time and chance are arguments.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::model::{BareJid, Jid, NotificationState};

use super::text;
use super::{Bounce, ErrorType};

/// RFC 6120 §8.3.3 conditions after which trying again is of no use.
const FOR_GOOD: [&str; 5] = ["item-not-found", "jid-malformed", "gone", "forbidden", "not-allowed"];

/// Conditions by which a room says that we are not in it (XEP-0045 §7.4), or that it is not there.
const NOT_IN_ROOM: [&str; 3] = ["not-acceptable", "item-not-found", "gone"];

/// First and longest wait after "not now".
const LATER: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(5));

/// First and longest wait after any other refusal. service-unavailable means no such account, a full offline store or simply
/// offline; asking more often than this helps in none of these.
const REFUSED: (Duration, Duration) = (Duration::from_secs(30), Duration::from_mins(15));

/// Up to this part of the wait is added by chance, so that a storm's retries do not come back as a storm.
const JITTER: f64 = 0.25;

/// Longest text of an error that is repeated, in characters.
const TEXT: usize = 160;

/// What a bounced stanza means for its notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: log it. With the reason.
    Ignore(String),
    /// Not now: try again, [`Failure::Later`].
    Retry,
    /// Perhaps never: try again, but not for ever, [`Failure::Refused`].
    RetryLimited,
    /// Never. With the reason, for the operators.
    Dead(String),
}

/// Why it is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// A server asked to wait, or could not reach the recipient's.
    Later,
    /// Refused for a reason that may pass.
    Refused,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Try again then.
    At(Timestamp),
    /// Give up, with the reason.
    Dead(String),
}

/// Reads an error for a stanza of ours. `own`: our account; `recipient` and `state`: of the notification that the stanza
/// carries. An error is believed only from the recipient's JID, its domain, or our own server (RFC 6120 §8.1.2.1: no `from`,
/// or our bare JID, or our domain). Once delivered, an error comes from another device that died hours later.
///
/// A `room` refuses nothing for good: it is made again, lets us in again, or gives us voice; and while we are not in it
/// nothing is sent there at all.
pub fn classify(bounce: &Bounce, own: &BareJid, recipient: &BareJid, room: bool, state: NotificationState) -> Verdict {
    use NotificationState as S;
    if !believed(bounce.from.as_ref(), own, recipient) {
        return Verdict::Ignore(format!("an error from {} is none of its business", from(bounce)));
    }
    if room && bounce.from.as_ref().is_some_and(|from| from.resource().is_some()) {
        return Verdict::Ignore(format!("an error from {}, an occupant, is not the room's", from(bounce)));
    }
    match state {
        S::Accepted | S::Unconfirmed if room => return Verdict::Ignore("the room has it".into()),
        S::Sending | S::Accepted | S::Unconfirmed => {}
        S::Delivered | S::Acknowledged => return Verdict::Ignore("delivered already".into()),
        S::Queued | S::Held | S::Expired | S::Superseded | S::Dead => {
            return Verdict::Ignore(format!("it is {} already", state.as_str()));
        }
    }
    let condition = bounce.condition.as_str();
    match bounce.kind {
        // RFC 6120 §8.3.2: the condition was only a warning.
        ErrorType::Continue => Verdict::Ignore("it was only a warning".into()),
        ErrorType::Wait => Verdict::Retry,
        _ if condition.starts_with("remote-server-") => Verdict::Retry,
        _ if room && NOT_IN_ROOM.contains(&condition) => Verdict::Retry,
        _ if FOR_GOOD.contains(&condition) && !room => Verdict::Dead(describe(bounce)),
        _ => Verdict::RetryLimited,
    }
}

/// When to try again after `attempts` tries (1: the first one failed). `jitter` is by chance between 0 and 1.
pub fn next(attempts: u32, failure: Failure, now: Timestamp, jitter: f64, max_attempts: u32) -> Next {
    if failure == Failure::Refused && attempts >= max_attempts {
        return Next::Dead(format!("given up after {attempts} attempts"));
    }
    let (first, longest) = match failure {
        Failure::Later => LATER,
        Failure::Refused => REFUSED,
    };
    let doubled = first.saturating_mul(2_u32.saturating_pow(attempts.saturating_sub(1)));
    let wait = doubled.min(longest);
    let jitter = if jitter.is_finite() { jitter.clamp(0.0, 1.0) } else { 0.0 };
    let wait = wait + wait.mul_f64(JITTER * jitter);
    let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    Next::At(now.checked_add(wait).unwrap_or(Timestamp::MAX))
}

/// `service-unavailable from example.org: no such user`, for logs and timelines. The text is from outside: cleaned, on one
/// line, and bounded.
pub fn describe(bounce: &Bounce) -> String {
    let said = text::one_line(bounce.text.as_deref().unwrap_or_default(), TEXT);
    let colon = if said.is_empty() { "" } else { ": " };
    format!("{} from {}{colon}{said}", text::one_line(&bounce.condition, TEXT), from(bounce))
}

fn believed(from: Option<&Jid>, own: &BareJid, recipient: &BareJid) -> bool {
    let Some(from) = from else { return true };
    let bare = from.to_bare();
    let is_domain = |of: &BareJid| from.node().is_none() && from.resource().is_none() && from.domain() == of.domain();
    bare == *recipient || is_domain(recipient) || is_domain(own) || (bare == *own && from.resource().is_none())
}

fn from(bounce: &Bounce) -> String {
    bounce.from.as_ref().map_or_else(|| "our server".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::StanzaId;

    fn bounce(from: &str, kind: ErrorType, condition: &str) -> Bounce {
        Bounce {
            from: (!from.is_empty()).then(|| from.parse().unwrap()),
            stanza_id: StanzaId("mb-1".into()),
            kind,
            condition: condition.into(),
            text: None,
        }
    }

    fn verdict(bounce: &Bounce, state: NotificationState) -> Verdict {
        classify(bounce, &"bot@home.test".parse().unwrap(), &"alice@away.test".parse().unwrap(), false, state)
    }

    #[test]
    fn only_the_recipient_and_the_two_servers_are_believed() {
        for (from, believed) in [
            ("", true),
            ("alice@away.test", true),
            ("alice@away.test/phone", true),
            ("away.test", true),
            ("home.test", true),
            ("bot@home.test", true),
            ("bot@home.test/other", false),
            ("mallory@away.test", false),
            ("conference.away.test", false),
            ("away.test/x", false),
            ("evil.test", false),
        ] {
            let verdict = verdict(&bounce(from, ErrorType::Cancel, "gone"), NotificationState::Accepted);
            assert_eq!(!matches!(verdict, Verdict::Ignore(_)), believed, "{from}");
        }
    }

    #[test]
    fn the_condition_says_whether_to_try_again() {
        for (kind, condition, expected) in [
            (ErrorType::Wait, "resource-constraint", Verdict::Retry),
            (ErrorType::Wait, "item-not-found", Verdict::Retry),
            (ErrorType::Cancel, "remote-server-not-found", Verdict::Retry),
            (ErrorType::Cancel, "remote-server-timeout", Verdict::Retry),
            (ErrorType::Cancel, "service-unavailable", Verdict::RetryLimited),
            (ErrorType::Modify, "policy-violation", Verdict::RetryLimited),
            (ErrorType::Auth, "subscription-required", Verdict::RetryLimited),
            (ErrorType::Cancel, "some-new-condition", Verdict::RetryLimited),
            (ErrorType::Continue, "gone", Verdict::Ignore("it was only a warning".into())),
        ] {
            assert_eq!(
                verdict(&bounce("away.test", kind, condition), NotificationState::Sending),
                expected,
                "{condition}"
            );
        }
        for condition in FOR_GOOD {
            let dead = verdict(&bounce("away.test", ErrorType::Cancel, condition), NotificationState::Sending);
            assert_eq!(dead, Verdict::Dead(format!("{condition} from away.test")));
        }
    }

    #[test]
    fn a_room_refuses_nothing_for_good() {
        let room = "ops@conference.away.test";
        let judged = |from: &str, condition: &str, state| {
            let bounce = bounce(from, ErrorType::Auth, condition);
            classify(&bounce, &"bot@home.test".parse().unwrap(), &room.parse().unwrap(), true, state)
        };
        let verdict = |condition| judged(room, condition, NotificationState::Sending);
        // An occupant knows the id of what was posted; once the room reflected it, nobody can say that it did not.
        let occupant = judged(&format!("{room}/mallory"), "not-acceptable", NotificationState::Sending);
        assert!(matches!(occupant, Verdict::Ignore(_)), "{occupant:?}");
        let late = judged(room, "item-not-found", NotificationState::Accepted);
        assert_eq!(late, Verdict::Ignore("the room has it".into()));
        assert_eq!(verdict("not-acceptable"), Verdict::Retry);
        assert_eq!(verdict("item-not-found"), Verdict::Retry);
        assert_eq!(verdict("forbidden"), Verdict::RetryLimited, "no voice");
        assert_eq!(verdict("policy-violation"), Verdict::RetryLimited);
    }

    #[test]
    fn a_late_bounce_changes_nothing() {
        use NotificationState as S;
        for state in S::ALL {
            let open = matches!(state, S::Sending | S::Accepted | S::Unconfirmed);
            let verdict = verdict(&bounce("", ErrorType::Cancel, "gone"), state);
            assert_eq!(matches!(verdict, Verdict::Dead(_)), open, "{state:?}");
        }
    }

    #[test]
    fn what_the_error_says_is_quoted_tamed() {
        let mut b = bounce("away.test", ErrorType::Cancel, "gone");
        b.text = Some("moved\u{1b}[2J\nto \u{202e}somewhere".into());
        assert_eq!(describe(&b), "gone from away.test: moved to somewhere");
        b.text = Some("x".repeat(1000));
        assert!(describe(&b).chars().count() < 200);
    }

    #[test]
    fn waits_grow_from_thirty_seconds_and_end() {
        let now = Timestamp::UNIX_EPOCH;
        let wait = |attempts| match next(attempts, Failure::Refused, now, 0.0, 8) {
            Next::At(at) => at.as_second(),
            Next::Dead(_) => -1,
        };
        assert_eq!((1..=8).map(wait).collect::<Vec<_>>(), [30, 60, 120, 240, 480, 900, 900, -1]);
        assert_eq!(next(8, Failure::Refused, now, 0.0, 8), Next::Dead("given up after 8 attempts".into()));
        assert!(
            matches!(next(u32::MAX, Failure::Later, now, 1.0, 8), Next::At(_)),
            "a server that asks to wait is waited for"
        );
    }

    proptest! {
        #[test]
        fn waits_are_bounded_and_never_shrink(attempts in 0..u32::MAX, jitter in any::<f64>(), at in 0..4_000_000_000_i64) {
            let now = Timestamp::from_second(at).unwrap();
            for (failure, (first, longest)) in [(Failure::Later, LATER), (Failure::Refused, REFUSED)] {
                let wait = |attempts| match next(attempts, failure, now, jitter, u32::MAX) {
                    Next::At(at) => at.duration_since(now).unsigned_abs(),
                    Next::Dead(_) => Duration::MAX,
                };
                prop_assert!(wait(attempts) >= first && wait(attempts) <= longest.mul_f64(1.0 + JITTER));
                prop_assert!(wait(attempts) <= wait(attempts.saturating_add(1)));
            }
        }
    }
}
