use super::bed::*;
use crate::model::*;
use crate::queue::*;

/// All events, in a few words each, with their groups.
async fn told(bed: &Bed) -> Vec<String> {
    let page = bed.store.events(0, 1000, 0).await.unwrap();
    let ids: Vec<i64> = page.events.iter().map(|event| event.id).collect();
    assert_eq!(ids, (1..=page.last).collect::<Vec<_>>(), "without a gap");
    page.events.iter().map(word).collect()
}

fn word(event: &Event) -> String {
    let groups: Vec<_> = event.groups.iter().map(|group| group.as_str()).collect();
    let what = match &event.what {
        Happened::Message(m) => format!("message {} {}", m.message, m.state),
        Happened::Alert(a) => format!("alert {} {} {}", a.alert, a.status.as_str(), a.state.as_str()),
        Happened::Condition(c) => format!("condition {} {} {}", c.key, c.state, c.severity),
        Happened::Notification(n) => format!("notification {} {} {}", n.notification, n.recipient, n.state.as_str()),
        Happened::Presence(p) => format!("presence {} {} {:?}", p.recipient, p.presence, p.show),
        Happened::Mailbox(m) => format!("mailbox {} {} {:?}", m.mailbox, m.state, m.error),
        Happened::Probe(p) => format!("probe {} {}", p.host, p.state),
    };
    format!("{what} [{}]", groups.join(","))
}

#[tokio::test]
async fn each_commit_tells_what_it_changes_in_order() {
    let bed = Bed::new().await;
    bed.fired(firing("disk", Severity::Warning, 1), &["ann"], 1).await;
    bed.sent(&["ann"], 2).await;
    bed.fired(firing("disk", Severity::Critical, 3), &["ann"], 3).await;
    bed.fired(resolved("disk", 4), &["ann"], 4).await;
    let wanted = [
        "message 1 stored []",
        "alert #1 firing routed [ops]",
        "condition disk opened warning []",
        "notification 1 ann queued [ops]",
        "message 1 parsed []",
        "notification 1 ann sending [ops]",
        "notification 1 ann accepted [ops]",
    ];
    let all = told(&bed).await;
    // Of the condition the groups are those of its alerts.
    let first: Vec<_> = all.iter().take(wanted.len()).map(|word| word.replace("warning [ops]", "warning []")).collect();
    assert_eq!(first, wanted);
    assert_eq!(all[2], "condition disk opened warning [ops]");
    let rest = all[wanted.len()..].join("\n");
    for wanted in [
        "condition disk changed critical [ops]",
        "notification 2 ann superseded [ops]",
        // It tells those of the groups that were told of the beginning.
        "alert #3 resolved routed [ops]",
        "condition disk closed",
        "notification 3 ann queued [ops]",
    ] {
        assert!(rest.contains(wanted), "{wanted} is missing in\n{rest}");
    }
    assert_eq!(told(&bed.reopen().await).await, all, "after a restart");
}

#[tokio::test]
async fn what_is_rolled_back_is_not_told() {
    let bed = Bed::new().await;
    bed.stored().await;
    let mut lease = bed.store.begin().await.unwrap();
    sqlx::query("UPDATE message SET state = 'ignored'").execute(&mut lease.conn).await.unwrap();
    drop(lease);
    assert_eq!(told(&bed).await, ["message 1 stored []"]);
    bed.stored().await;
    assert_eq!(told(&bed).await, ["message 1 stored []", "message 2 stored []"], "and its number is given again");
}

#[tokio::test]
async fn presence_mailboxes_and_probes_are_told_too() {
    let bed = Bed::new().await;
    let ann: RecipientName = "ann".parse().unwrap();
    let presence = PresenceEvent { recipient: ann, presence: Availability::Away, show: Some("xa".into()) };
    let mailbox = MailboxEvent { mailbox: "in".into(), state: "failing".into(), error: Some("no route".into()) };
    let groups = vec!["ops".parse().unwrap()];
    let news = [(Happened::Presence(presence), groups), (Happened::Mailbox(mailbox), Vec::new())];
    bed.store.tell(&news).await.unwrap();
    bed.store.tell(&[]).await.unwrap();
    let (rules, lane) = (Rules::to(&["ann"]), Lane::closed());
    let states = [
        Some(r#"{"host":{"reason":"refused"}}"#),
        Some(r#"{"ports":{"22":{}}}"#),
        Some(r#"{"ports":{"22":{}}}"#),
        Some("in its own words"),
        None,
    ];
    for state in states {
        bed.found(&[finding("db1", state, &[])], &rules, &lane, 1).await;
    }
    let wanted = [
        "presence ann away Some(\"xa\") [ops]",
        "mailbox in failing Some(\"no route\") []",
        "probe db1 down []",
        "probe db1 partly down []",
        "probe db1 warning []",
        "probe db1 up []",
    ];
    assert_eq!(told(&bed).await, wanted);
    // However long its words are, they are no reason to refuse them.
    let long = "x".repeat(1 << 20);
    bed.found(&[finding("db1", Some(&long), &[])], &rules, &lane, 1).await;
    let page = bed.store.events(6, 10, 0).await.unwrap();
    let Happened::Probe(probe) = &page.events[0].what else { panic!("{page:?}") };
    assert_eq!((probe.state.as_str(), probe.told.is_null()), ("warning", true));
}

/// In the words of the people's list: what they show, and how they are; and so what older versions wrote.
#[tokio::test]
async fn presence_is_told_as_the_list_of_people_tells_it() {
    use Availability::{Active, Away, Busy, Offline, Unknown};
    let bed = Bed::new().await;
    let all = [
        (Active, Some("chat")),
        (Active, Some("available")),
        (Away, Some("away")),
        (Away, Some("xa")),
        (Busy, Some("dnd")),
        (Offline, None),
        (Unknown, None),
        // A room that we are in.
        (Active, None),
    ];
    let event = |(presence, show): (Availability, Option<&str>)| {
        Happened::Presence(PresenceEvent { recipient: "ann".parse().unwrap(), presence, show: show.map(str::to_owned) })
    };
    let news: Vec<_> = all.into_iter().map(|one| (event(one), Vec::new())).collect();
    bed.store.tell(&news).await.unwrap();
    let mut lease = bed.store.begin().await.unwrap();
    for word in ["not shared", "not in the room"] {
        let row = "INSERT INTO feed (kind, name, state, detail) VALUES ('presence', 'ann', $1, '')";
        sqlx::query(row).bind(word).execute(&mut lease.conn).await.unwrap();
    }
    lease.commit().await.unwrap();
    let read = bed.store.events(0, 100, 0).await.unwrap().events;
    let read: Vec<_> = read.into_iter().map(|event| event.what).collect();
    let wanted: Vec<_> = all.into_iter().chain([(Unknown, None), (Offline, None)]).map(event).collect();
    assert_eq!(read, wanted);
}

#[tokio::test]
async fn of_a_mail_so_much_is_told_as_is_asked_for() {
    let bed = Bed::new().await;
    bed.stored().await;
    let of = async |most| {
        let page = bed.store.events(0, 1, most).await.unwrap();
        let Happened::Message(message) = page.events[0].what.clone() else { panic!("{page:?}") };
        (message.header, message.body)
    };
    assert_eq!(of(0).await, (None, None));
    assert_eq!(of(6).await, (Some("Subjec".into()), Some("mail 1".into())));
    assert_eq!(of(1000).await, (Some("Subject: 1\r\n\r\n".into()), Some("mail 1\r\n".into())));
}

#[tokio::test]
async fn the_oldest_go_a_few_at_a_time_and_numbers_go_on() {
    let bed = Bed::new().await;
    assert_eq!(bed.store.span().await.unwrap(), Reach { oldest: 1, newest: 0 });
    for _ in 0..25 {
        bed.stored().await;
    }
    assert_eq!(bed.store.trim(10, 8).await.unwrap(), 7);
    assert_eq!(bed.store.span().await.unwrap(), Reach { oldest: 9, newest: 25 });
    assert_eq!(bed.store.trim(10, 8).await.unwrap(), 0);
    assert_eq!(bed.store.trim(10, 8).await.unwrap(), 0);
    assert_eq!(bed.store.span().await.unwrap(), Reach { oldest: 16, newest: 25 });
    let page = bed.store.events(3, 4, 0).await.unwrap();
    assert_eq!((page.first, page.last, page.events.len()), (16, 19, 4), "what was asked for is not there any more");
    let page = bed.store.events(25, 4, 0).await.unwrap();
    assert_eq!((page.first, page.last, page.events.len()), (26, 25, 0));
    // Even where nothing is to be kept the newest stays: its number is not given again.
    assert_eq!(bed.store.trim(0, 100).await.unwrap(), 0);
    let bed = bed.reopen().await;
    bed.stored().await;
    assert_eq!(bed.store.span().await.unwrap(), Reach { oldest: 25, newest: 26 });
}

#[tokio::test]
async fn what_is_about_something_purged_is_left_out() {
    let bed = Bed::new().await;
    bed.fired(firing("disk", Severity::Warning, 1), &["ann"], 1).await;
    bed.sent(&["ann"], 2).await;
    bed.fired(resolved("disk", 3), &[], 3).await;
    bed.sent(&["ann"], 4).await;
    let stanzas: Vec<_> = bed.all().await.into_iter().map(|n| n.stanza_id).collect();
    let receipts: Vec<_> = stanzas.into_iter().map(|stanza_id| Receipt { from: jid("ann"), stanza_id }).collect();
    assert_eq!(bed.store.d5_delivered(&receipts, at(5)).await.unwrap(), []);
    let last = bed.store.span().await.unwrap().newest;
    // Somebody still asks about its groups.
    bed.store.end_watches(vec![(AlertId(1), "ops".parse().unwrap(), WatchEnd::Reached)], at(5)).await.unwrap();
    bed.purged(1000).await;
    assert_eq!(bed.rows("alert").await, 0);
    let page = bed.store.events(0, 1000, 0).await.unwrap();
    assert_eq!((page.first, page.last), (1, last));
    let left: Vec<_> = page.events.iter().map(word).collect();
    assert!(left.iter().all(|word| word.starts_with("message ")), "{left:?}");
}

/// A page costs what is in it, however much history there is.
#[tokio::test]
async fn no_page_walks_a_table() {
    use sqlx::Row;
    let bed = Bed::new().await;
    let mut lease = bed.store.begin().await.unwrap();
    let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", super::super::feed::PAGE));
    for row in sqlx::query(explain).fetch_all(&mut lease.conn).await.unwrap() {
        let step: String = row.get("detail");
        assert!(!step.starts_with("SCAN") || step.contains("VIRTUAL TABLE"), "{step}");
    }
}
