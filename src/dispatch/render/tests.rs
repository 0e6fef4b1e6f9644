use proptest::prelude::*;

use super::*;
use crate::model::{
    AlertId, Delivery, Format, Key, Kind, NotificationId, NotificationState, Offline, Severity, ShowSet, StanzaId,
    Variant,
};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(in crate::dispatch) fn alert() -> Alert {
    Alert {
        id: "ups7-1432".into(),
        key: Key("ups/7/input".into()),
        sender: "ups7@example.com".into(),
        severity: Severity::Critical,
        title: "UPS 7 on battery".into(),
        text: "Input power lost.\n12 minutes of runtime left.".into(),
        sent: Some(at("2026-11-21T18:42:00Z")),
        ..Alert::empty(Format::Native)
    }
}

pub(in crate::dispatch) fn record(id: i64, alert: Alert) -> AlertRecord {
    let received = at("2026-11-21T18:42:03Z");
    AlertRecord { id: AlertId(id), alert, source: "mailbox:ops".into(), received, resolves: None }
}

pub(in crate::dispatch) fn notification() -> Notification {
    Notification {
        condition: None,
        folds: 0,
        id: NotificationId(1),
        kind: Kind::Alert,
        alert: Some(AlertId(54_321)),
        recipient: "alice".parse().unwrap(),
        jid: "alice@example.org".parse().unwrap(),
        groups: vec!["power".parse().unwrap(), "ops".parse().unwrap()],
        stanza_id: StanzaId("mb-1".into()),
        state: NotificationState::Queued,
        severity: Severity::Critical,
        delivery: Delivery { shows: ShowSet::all(), offline: Offline::Hold, hold_for_ms: 1 },
        forced: false,
        created: at("2026-11-21T18:42:04Z"),
        not_before: None,
        expires: None,
        held_until: None,
        first_intent: Some(at("2026-11-21T18:42:05Z")),
        attempts: 1,
    }
}

/// Rendered a moment after it was received.
fn fresh(alert: Alert) -> String {
    message(&record(54_321, alert), &notification(), None, false, at("2026-11-21T18:42:05Z"), 2000)
}

#[test]
fn a_fresh_alert_is_first_line_text_and_last_line() {
    insta::assert_snapshot!(fresh(alert()), @r"
    CRITICAL: UPS 7 on battery
    Input power lost.
    12 minutes of runtime left.
    power, ops · mailbox:ops · 2026-11-21 18:42 UTC · #15wx
    ");
    let bare = Alert { title: " \n ".into(), text: String::new(), ..alert() };
    insta::assert_snapshot!(fresh(bare), @r"
    CRITICAL: (no title)
    power, ops · mailbox:ops · 2026-11-21 18:42 UTC · #15wx
    ");
}

#[test]
fn a_port_check_is_told_in_whatever_language() {
    use crate::model::PortFound;
    let variant = |lang: &str, title: &str| Variant { lang: lang.into(), title: title.into(), text: String::new() };
    let mut checked = Alert { variants: vec![variant("en", "Power lost"), variant("de", "Strom weg")], ..alert() };
    PortCheck { found: PortFound::Down, detail: "refused in 1 ms".into() }.note(&mut checked);
    let record = record(1, checked);
    let told = |lang| message(&record, &notification(), Some(lang), false, at("2026-11-21T18:42:05Z"), 2000);
    for (lang, title) in [("en", "Power lost"), ("de", "Strom weg"), ("fr", "UPS 7 on battery")] {
        let start = format!("CRITICAL: {title}\nport check: confirmed (refused in 1 ms)\n");
        assert!(told(lang).starts_with(&start), "{}", told(lang));
    }
}

#[test]
fn updates_and_exercises_say_so() {
    let update = Alert { status: Status::Update, severity: Severity::Major, nature: Nature::Exercise, ..alert() };
    insta::assert_snapshot!(fresh(update), @r"
    [Exercise] UPDATE MAJOR: UPS 7 on battery
    Input power lost.
    12 minutes of runtime left.
    power, ops · mailbox:ops · 2026-11-21 18:42 UTC · #15wx
    ");
}

#[test]
fn a_resolved_names_the_first_and_how_long_it_lasted() {
    let mut resolved = record(54_400, Alert { status: Status::Resolved, text: String::new(), ..alert() });
    resolved.resolves = Some((AlertId(54_321), Duration::from_secs(7_500)));
    resolved.alert.expires = Some(at("2026-11-21T18:00:00Z"));
    let told = Notification { groups: Vec::new(), ..notification() };
    insta::assert_snapshot!(message(&resolved, &told, None, false, at("2026-11-21T18:43:00Z"), 2000), @r"
    RESOLVED: UPS 7 on battery
    Ends #15wx after 2 h 5 min.
    mailbox:ops · 2026-11-21 18:42 UTC · #15z4
    ");
}

#[test]
fn a_late_repeated_expired_resend_says_all_of_it() {
    let mut late = record(54_321, Alert { expires: Some(at("2026-11-21T20:00:00Z")), ..alert() });
    late.resolves = Some((AlertId(54_000), Duration::from_hours(4)));
    insta::assert_snapshot!(message(&late, &notification(), None, true, at("2026-11-22T01:50:00Z"), 2000), @r"
    CRITICAL: UPS 7 on battery
    Sent again: the copy of 2026-11-21 18:42 UTC may have arrived.
    Still open after 4 h, since #15o0.
    Late: of 2026-11-21 18:42 UTC, 7 h 8 min ago.
    Expired 2026-11-21 20:00 UTC: it may be over.
    Input power lost.
    12 minutes of runtime left.
    power, ops · mailbox:ops · 2026-11-21 18:42 UTC · #15wx
    ");
}

#[test]
fn what_was_found_here_names_no_mail_however_late_it_is_told() {
    let found = |sent| {
        let mut record = record(54_321, Alert { sent: Some(at(sent)), ..alert() });
        record.source = Source::Probe.to_string();
        message(&record, &notification(), None, false, at("2026-11-21T18:42:00Z"), 4000)
    };
    insta::assert_snapshot!(found("2026-11-21T16:12:00Z"), @r"
    CRITICAL: UPS 7 on battery
    Late: of 2026-11-21 16:12 UTC, 2 h 30 min ago.
    Input power lost.
    12 minutes of runtime left.
    power, ops · probe · 2026-11-21 16:12 UTC · #15wx
    ");
    insta::assert_snapshot!(found("2026-11-21T19:42:00Z"), @r"
    CRITICAL: UPS 7 on battery
    Input power lost.
    12 minutes of runtime left.
    power, ops · probe · 2026-11-21 18:42 UTC · #15wx
    ");
}

#[test]
fn a_wrong_clock_is_told_and_not_believed() {
    let reset = Alert { sent: Some(at("2000-01-01T00:00:09Z")), ..alert() };
    insta::assert_snapshot!(fresh(reset), @r"
    CRITICAL: UPS 7 on battery
    Its sender's clock said 2000-01-01 00:00 UTC, its mail came 2026-11-21 18:42 UTC.
    Input power lost.
    12 minutes of runtime left.
    power, ops · mailbox:ops · 2026-11-21 18:42 UTC · #15wx
    ");
    let slow = Alert { sent: Some(at("2026-11-21T16:12:00Z")), ..alert() };
    insta::assert_snapshot!(fresh(slow), @r"
    CRITICAL: UPS 7 on battery
    Late: of 2026-11-21 16:12 UTC, 2 h 30 min ago.
    Its sender's clock said 2026-11-21 16:12 UTC, its mail came 2026-11-21 18:42 UTC.
    Input power lost.
    12 minutes of runtime left.
    power, ops · mailbox:ops · 2026-11-21 16:12 UTC · #15wx
    ");
}

#[test]
fn cap_shows_start_links_and_the_recipients_language() {
    let mut cap = Alert { effective: Some(at("2027-11-21T18:42:00Z")), text: "Boil water.".into(), ..alert() };
    cap.labels.add("cap.areaDesc", "its description is in the text, in each language");
    cap.labels.add("cap.polygon", "1,2 3,4");
    cap.links =
        (1..=7).map(|n| format!("https://example.com/{n}")).chain([format!("https://x/{}", "y".repeat(600))]).collect();
    let variant =
        |lang: &str| Variant { lang: lang.into(), title: format!("title {lang}"), text: format!("text {lang}") };
    cap.variants = vec![variant("en-US"), variant("fr-CA"), variant("fr")];
    let record = record(54_321, cap);
    let render = |lang| message(&record, &notification(), lang, false, at("2026-11-21T18:42:05Z"), 2000);
    insta::assert_snapshot!(render(Some("FR-ca")), @r"
    CRITICAL: title fr-CA
    Starts 2027-11-21 18:42 UTC.
    text fr-CA
    https://example.com/1
    https://example.com/2
    https://example.com/3
    https://example.com/4
    https://example.com/5
    + 3 more links (#15wx)
    power, ops · mailbox:ops · 2026-11-21 18:42 UTC · #15wx
    ");
    for (asked, shown) in
        [("fr-FR", "title fr"), ("en", "title en-US"), ("en-GB-x", "title en-US"), ("de", "UPS 7 on battery")]
    {
        assert_eq!(render(Some(asked)).lines().next(), Some(format!("CRITICAL: {shown}").as_str()), "{asked}");
    }
}

#[test]
fn long_and_hostile_text_is_capped_and_cleaned() {
    let mut hostile = alert();
    hostile.title = format!("UPS\n7\u{202e} \u{1b}[31m{}", "x".repeat(300));
    hostile.text = format!("\u{7}one\u{1b}]0;title\u{7}\r\n\r\n\r\n\r\ntwo {}", "y".repeat(50));
    let record = record(54_321, hostile);
    insta::assert_snapshot!(message(&record, &notification(), None, false, at("2026-11-21T18:42:05Z"), 40), @r"
    CRITICAL: UPS 7 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
    one]0;title

    two yyyyyyyyyyyyyyyyyyyyyyy… (27 more characters, #15wx)
    power, ops · mailbox:ops · 2026-11-21 18:42 UTC · #15wx
    ");
}

/// XML 1.0 §2.2 Char, and none of what could fool a reader.
fn is_fit(c: char) -> bool {
    c == '\n'
        || c == '\t'
        || !(c.is_control()
            || matches!(c, '\u{fffe}' | '\u{ffff}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}'))
}

fn any_text() -> impl Strategy<Value = String> {
    let nasty = prop::sample::select(vec![
        "\u{1b}[", "\u{1b}", "\u{9b}3", "\u{202e}", "\0", "\r\n", "\u{ffff}", "\u{2067}", " ", "words ",
    ]);
    let part = prop_oneof![nasty.prop_map(str::to_owned), any::<String>()];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn a_message_is_fit_bounded_and_never_empty(
        title in any_text(), text in any_text(), link in any_text(), source in any_text(),
        status in prop::sample::select(vec![Status::Firing, Status::Update, Status::Resolved, Status::Recorded]),
        times in prop::collection::vec(prop::option::of(-2_000_000_000..4_000_000_000_i64), 3),
        max in 0..200_usize, resend: bool, resolves in prop::option::of((1..i64::MAX, 0..u64::MAX)),
    ) {
        let mut a = Alert { title, text, status, ..alert() };
        let time = |n: usize| times[n].map(|s| Timestamp::from_second(s).unwrap());
        (a.sent, a.effective, a.expires) = (time(0), time(1), time(2));
        a.links = vec![link; 9];
        let mut record = record(i64::MAX, a);
        record.source = source;
        record.resolves = resolves.map(|(id, s)| (AlertId(id), Duration::from_secs(s)));
        let message = message(&record, &notification(), Some("en"), resend, at("2026-11-21T18:42:05Z"), max);
        prop_assert!(message.chars().all(is_fit), "{:?}", message);
        prop_assert!(message.chars().count() <= max + 4_000);
        let first = message.lines().next().unwrap();
        prop_assert!(first.split_once(": ").is_some_and(|(_, title)| !title.trim().is_empty()), "{:?}", message);
        prop_assert!(message.ends_with(&record.id.to_string()));
    }
}
