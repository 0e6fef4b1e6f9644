use super::bed::*;
use crate::model::*;
use crate::queue::*;
use sqlx::Row;

fn some(limit: usize) -> AlertFilter {
    AlertFilter { common: Common { limit, ..Common::default() }, ..AlertFilter::default() }
}

/// All that fits, page by page; how many pages there were.
async fn all(bed: &Bed, mut filter: AlertFilter) -> (Vec<String>, usize) {
    let (mut found, mut pages) = (Vec::new(), 0);
    loop {
        let page = bed.store.alerts(&filter).await.unwrap();
        found.extend(page.items.into_iter().map(|row| row.title));
        pages += 1;
        let Some(next) = page.next else { return (found, pages) };
        filter.common.after = Some(next.parse().unwrap());
    }
}

async fn titles_of(bed: &Bed, filter: AlertFilter) -> Vec<String> {
    all(bed, filter).await.0
}

fn with(change: impl FnOnce(&mut AlertFilter)) -> AlertFilter {
    let mut filter = some(2);
    change(&mut filter);
    filter
}

#[tokio::test]
async fn alerts_are_found_by_all_that_is_asked_and_pages_lead_through_everything() {
    let bed = Bed::new().await;
    for (n, (key, severity)) in (1..).zip([
        ("disk", Severity::Critical),
        ("fan", Severity::Minor),
        ("power", Severity::Major),
        ("100%_full", Severity::Info),
    ]) {
        bed.fired(firing(key, severity, n), &["ann"], n).await;
    }
    // Several of one moment.
    let at_once = ["a", "b", "c"].map(|key| firing(key, Severity::Warning, 5)).to_vec();
    bed.mailed(at_once, &Rules::to(&["bob"]), &Lane::closed(), 5).await;
    bed.fired(resolved("disk", 6), &[], 6).await;
    let newest = ["disk is resolved", "c is firing", "b is firing", "a is firing", "100%_full is firing"];
    for limit in [1, 2, 3, 100] {
        let (found, pages) = all(&bed, some(limit)).await;
        assert_eq!(found[..5], newest, "{limit}");
        assert_eq!((found.len(), pages), (8, 8usize.div_ceil(limit)), "{limit}");
    }
    let status = with(|f| f.status = vec![Status::Resolved, Status::Update]);
    assert_eq!(titles_of(&bed, status).await, ["disk is resolved"]);
    let bad = with(|f| f.severity = Some(Severity::Major));
    assert_eq!(titles_of(&bed, bad).await, ["power is firing", "disk is firing"]);
    for (text, expected) in [("POWER", 1), ("% is", 0), ("100%_f", 1), ("is f_ring", 0), ("ups@example", 8), ("\\", 0)]
    {
        let found = titles_of(&bed, with(|f| f.common.text = Some(text.into()))).await;
        assert_eq!(found.len(), expected, "{text}: {found:?}");
    }
    let span = with(|f| (f.common.since, f.common.until) = (Some(at(2)), Some(at(5))));
    assert_eq!(titles_of(&bed, span).await, ["100%_full is firing", "power is firing", "fan is firing"]);
    assert!(titles_of(&bed, with(|f| f.source = Some("probe".into()))).await.is_empty());
    assert_eq!(titles_of(&bed, with(|f| f.source = Some("mailbox:ops".into()))).await.len(), 8);
    // The end is for whom the beginning was.
    let ops = with(|f| f.common.group = Some("ops".parse().unwrap()));
    assert_eq!(titles_of(&bed, ops).await.len(), 8);
    let others = with(|f| f.common.seen_by = vec!["dba".parse().unwrap()]);
    assert!(titles_of(&bed, others).await.is_empty());
    let open: Vec<bool> = bed.store.alerts(&some(8)).await.unwrap().items.iter().map(|row| row.open).collect();
    assert_eq!(open, [false, true, true, true, true, true, true, false], "the disk is fine");
}

/// What is looked through for one page is bounded; it leads on all the same.
#[tokio::test]
async fn a_search_for_texts_looks_at_some_rows_only_and_says_where_to_go_on() {
    let bed = Bed::new().await;
    bed.fired(firing("needle", Severity::Info, 1), &["ann"], 1).await;
    let mut lease = bed.store.writer().await.unwrap();
    let many = "INSERT INTO alert (source, scope, ident, sender, origin, format, status, severity, title, body, state, \
                reason, received, created) WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 4500) \
                SELECT 'probe', '', n, '', '', 'native', 'firing', 'info', 'hay', '{}', 'recorded', '', a.received, a.created \
                FROM n, alert a WHERE a.id = 1";
    sqlx::raw_sql(many).execute(&mut lease.conn).await.unwrap();
    lease.keep();
    let needle = with(|f| f.common.text = Some("needle".into()));
    let first = bed.store.alerts(&needle).await.unwrap();
    assert!(first.items.is_empty() && first.next.is_some(), "{first:?}");
    assert_eq!(all(&bed, needle).await, (vec!["needle is firing".to_owned()], 3));
}

/// Every pair of alert and recipient has its answer.
#[tokio::test]
async fn why_somebody_did_not_get_it_is_known_of_everybody() {
    let bed = Bed::new().await;
    let rules = Rules {
        left_out: vec!["carol: behind the wall `no sales`".into(), "group dba: it is public, the alert is not".into()],
        ..Rules::to(&["ann", "bob", "dave", "erin"])
    };
    bed.mailed(vec![firing("disk", Severity::Minor, 1)], &rules, &Lane::closed(), 1).await;
    let id = AlertId(1);
    let ids = ids(&bed.due(&["ann", "bob", "dave", "erin"], 1).await);
    let seen = [(ids[0], Presence::Online(Show::Away))];
    bed.store.d3_seen(&seen, Epoch(1), at(2)).await.unwrap();
    bed.store.hold(&ids[1..3], at(900), "the recipient is offline", at(2)).await.unwrap();
    bed.store.digest(&recipient("dave"), &ids[2..3], "one", at(3)).await.unwrap();
    bed.store.expire_now(ids[3], "of no interest", at(3)).await.unwrap();
    let view = bed.store.show_alert(id).await.unwrap().unwrap();
    let answer = |name: &str| {
        let Answer { told, why, .. } = view.answer(&name.parse().unwrap(), name != "nobody");
        (told, why)
    };
    assert_eq!(answer("ann"), (true, "it is on its way since 2027-01-15T08:00:02Z (as a member of ops)".into()));
    assert_eq!(
        answer("bob"),
        (false, "it is held until 2027-01-15T08:15:00Z: the recipient is offline (as a member of ops)".into())
    );
    assert_eq!(answer("dave"), (false, "it waits to be sent, in the digest 5 (as a member of ops)".into()));
    assert_eq!(answer("erin"), (false, "it ended unsent: of no interest (as a member of ops)".into()));
    assert_eq!(answer("carol"), (false, "carol was left out: behind the wall `no sales`".into()));
    let (told, why) = answer("zoe");
    let expected = "zoe was in none of the groups that it is for: ops; of group dba nobody was told: it is public, the alert is not";
    assert_eq!((told, why.as_str()), (false, expected));
    assert_eq!(answer("nobody"), (false, "there is no recipient nobody in the config".into()));
    // Whoever was removed since then is answered for all the same.
    for gone in ["ann", "carol"] {
        assert_eq!(view.answer(&gone.parse().unwrap(), false), view.answer(&gone.parse().unwrap(), true));
    }
    let everybody: Vec<_> = view.answers().into_iter().map(|answer| answer.recipient).collect();
    assert_eq!(everybody, ["ann", "bob", "dave", "erin", "carol"]);
    let steps: Vec<_> =
        view.timeline.iter().filter(|s| s.recipient.as_ref().is_none_or(|r| r.as_str() == "ann")).collect();
    let steps: Vec<_> = steps.iter().map(|step| (step.event.as_str(), step.detail.as_str())).collect();
    assert_eq!(
        steps,
        [
            ("fetched", "ops"),
            ("parsed", "native"),
            ("condition", "key disk within mailbox:ops/ups@example.test"),
            ("routed", "route 1"),
            ("left out", "group dba: it is public, the alert is not"),
            ("queued", "ops"),
            ("presence", "away"),
            ("intended", ""),
        ]
    );
    // A repeat tells nobody, and an end those who were told.
    bed.fired(firing("disk", Severity::Minor, 4), &["ann"], 4).await;
    let repeat = bed.store.show_alert(AlertId(2)).await.unwrap().unwrap();
    assert_eq!(repeat.answer(&"ann".parse().unwrap(), true).why, "nobody was told: repeat at minor");
    assert_eq!(repeat.groups.len(), 1, "it is for whom the condition is for");
    bed.fired(resolved("disk", 5), &[], 5).await;
    let end = bed.store.show_alert(AlertId(3)).await.unwrap().unwrap();
    let why = end.answer(&"zoe".parse().unwrap(), true).why;
    assert_eq!(why, "an end goes to who was told of the beginning (#1), and zoe was not");
    assert_eq!(end.groups.len(), 1);
    bed.store.show_alert(AlertId(99)).await.unwrap().ok_or(()).unwrap_err();
}

#[tokio::test]
async fn the_presence_that_was_seen_is_kept_with_what_a_digest_carries_too() {
    let bed = Bed::new().await;
    bed.fired(firing("a", Severity::Minor, 1), &["ann"], 1).await;
    bed.store.hold(&ids(&bed.due(&["ann"], 1).await), at(900), "away", at(2)).await.unwrap();
    let held = bed.store.returning(&jid("ann"), 50).await.unwrap().held;
    let digest = bed.store.digest(&recipient("ann"), &ids(&held), "one", at(3)).await.unwrap().unwrap();
    let chat = Presence::Online(Show::Chat);
    assert_eq!(bed.store.d3_seen(&[(digest, chat)], Epoch(1), at(4)).await.unwrap(), [digest]);
    let seen: Vec<_> = bed.all().await.into_iter().map(|n| n.presence).collect();
    assert_eq!(seen, [Some("chat".to_owned()), Some("chat".to_owned())]);
}

#[tokio::test]
async fn the_archive_is_read_from_the_oldest_on_and_goes_on_where_it_ended() {
    let bed = Bed::new().await;
    for n in 1..=5 {
        bed.fired(firing(&format!("k{n}"), Severity::Minor, n), &["ann", "bob"], n).await;
    }
    bed.sent(&["ann"], 6).await;
    bed.store.notice("full", "the disk is full\nreally", &[(recipient("ann"), delivery())], at(7)).await.unwrap();
    let mut filter = SentFilter { common: Common { limit: 4, ..Common::default() }, ..SentFilter::default() };
    let mut found = Vec::new();
    loop {
        let page = bed.store.archive(&filter).await.unwrap();
        found.extend(page.items);
        let Some(next) = page.next else { break };
        filter.common.after = Some(next.parse().unwrap());
    }
    assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), (1..=11).collect::<Vec<_>>());
    let last = found.last().unwrap();
    assert_eq!((last.kind, last.title.as_str(), last.alert.as_deref()), (Kind::Notice, "the disk is full", None));
    let only = |change: fn(&mut SentFilter)| {
        let mut filter = SentFilter::default();
        change(&mut filter);
        filter
    };
    let count = async |filter: SentFilter| bed.store.archive(&filter).await.unwrap().items.len();
    assert_eq!(count(only(|f| f.recipient = Some("bob".parse().unwrap()))).await, 5);
    assert_eq!(count(only(|f| f.states = vec![NotificationState::Accepted])).await, 5);
    assert_eq!(count(only(|f| f.alert = Some(AlertId(2)))).await, 2);
    assert_eq!(count(only(|f| f.common.text = Some("REALLY".into()))).await, 1);
    assert_eq!(count(only(|f| (f.common.since, f.common.until) = (Some(at(2)), Some(at(4))))).await, 4);
    assert_eq!(count(only(|f| f.common.group = Some("ops".parse().unwrap()))).await, 10);
    assert_eq!(count(only(|f| f.common.seen_by = vec!["dba".parse().unwrap()])).await, 0);
    // The same as a list, newest first.
    let listed = async |filter: SentFilter| {
        bed.store.notifications(&filter).await.unwrap().items.into_iter().map(|n| n.id.0).collect::<Vec<_>>()
    };
    assert_eq!(listed(only(|f| f.common.limit = 2)).await, [11, 10]);
    assert_eq!(listed(only(|f| f.states = vec![NotificationState::Queued])).await, [11, 10, 8, 6, 4, 2]);
    assert_eq!(listed(only(|f| f.alert = Some(AlertId(2)))).await, [4, 3]);
    assert_eq!(listed(only(|f| f.common.seen_by = vec!["ops".parse().unwrap()])).await.len(), 10, "not the notice");
    bed.fired(resolved("k1", 8), &[], 8).await;
    let ends = listed(only(|f| (f.common.seen_by, f.alert) = (vec!["ops".parse().unwrap()], Some(AlertId(6))))).await;
    assert_eq!(ends.len(), 1, "an end belongs to the groups of the beginning");
}

#[tokio::test]
async fn conditions_are_listed_with_their_groups_and_what_is_open_can_be_ended() {
    let bed = Bed::new().await;
    for (n, key) in (1..).zip(["a", "b", "c"]) {
        bed.fired(firing(key, Severity::Minor, n), &["ann"], n).await;
    }
    bed.fired(resolved("b", 4), &[], 4).await;
    let common = Common { limit: 2, ..Common::default() };
    let page = bed.store.conditions(false, &common).await.unwrap();
    let keys: Vec<_> = page.items.iter().map(|row| (row.key.as_str(), row.open, row.groups.len())).collect();
    assert_eq!(keys, [("c", true, 1), ("b", false, 1)]);
    let next = Common { after: Some(page.next.unwrap().parse().unwrap()), ..common.clone() };
    let last = bed.store.conditions(false, &next).await.unwrap();
    assert_eq!((last.items.len(), last.next), (1, None));
    let open = bed.store.conditions(true, &Common::default()).await.unwrap();
    assert_eq!(open.items.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(), ["c", "a"]);
    let text = Common { text: Some("b is".into()), ..Common::default() };
    assert_eq!(bed.store.conditions(false, &text).await.unwrap().items.len(), 1);
    let hidden = Common { seen_by: vec!["dba".parse().unwrap()], ..Common::default() };
    assert!(bed.store.conditions(false, &hidden).await.unwrap().items.is_empty());
    let open = async |of| bed.store.open(of).await.unwrap();
    let of = open(Subject::Alert(AlertId(1))).await.unwrap().conditions;
    assert_eq!((of.len(), of[0].key.as_str(), of[0].last_sent, of[0].opened_by.id), (1, "a", at(1), AlertId(1)));
    for over in [Subject::Alert(AlertId(2)), Subject::Condition(ConditionId(2))] {
        let Open { conditions, groups } = open(over).await.unwrap();
        assert_eq!((conditions, groups.len()), (vec![], 1), "{over} is over");
    }
    for missing in [Subject::Alert(AlertId(99)), Subject::Condition(ConditionId(99))] {
        assert_eq!(open(missing).await, None, "{missing}");
    }
    assert_eq!(bed.store.alert_groups(AlertId(99)).await.unwrap(), None);
}

#[tokio::test]
async fn the_newest_are_counted_from_the_end() {
    let bed = Bed::new().await;
    for n in 1..=4 {
        bed.fired(resolved(&format!("k{n}"), n), &[], n).await;
    }
    for (count, oldest) in [(1, Some(at(4))), (3, Some(at(2))), (4, None), (9, None)] {
        assert_eq!(bed.store.oldest_of_newest(count).await.unwrap(), oldest, "{count}");
    }
}

/// However much there is, a search goes by an index, and through no more than its window.
#[tokio::test]
async fn every_search_goes_by_an_index() {
    let bed = Bed::new().await;
    let mut lease = bed.store.desk().await.unwrap();
    for sql in super::super::search::planned() {
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        let mut steps = Vec::new();
        for row in sqlx::query(explain).fetch_all(&mut lease.conn).await.unwrap() {
            steps.push(row.get::<String, _>("detail"));
        }
        let all = steps.join("\n");
        for step in &steps {
            let small = ["VIRTUAL TABLE", "SCAN w", "SCAN f", "CONSTANT ROW", "SCAN (subquery"];
            let walks = step.starts_with("SCAN") && !small.iter().any(|small| step.contains(small));
            // By number, from where the page before ended.
            assert!(!walks || step.contains("INDEX"), "{step}\n{sql}\n{all}");
        }
        if sql.contains("OFFSET") && !sql.contains("s.state IN") {
            assert!(!all.contains("TEMP B-TREE") || sql.contains("$9"), "{sql}\n{all}");
        }
    }
    lease.keep();
}
