use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use super::*;
use crate::live::{Live, Setter, live};
use crate::model::*;
use crate::parse::{Limits, Mappings};
use crate::route::{self, Group, Member, Route, Router};

/// Answers for port 1 when it is told to, for port 2 at once, for port 3 never.
#[derive(Default)]
struct Looker {
    go: tokio::sync::Notify,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Verify for Looker {
    fn names_port(&self, labels: &Labels) -> bool {
        !labels.get("port").is_empty()
    }

    async fn verify(&self, labels: &Labels) -> PortCheck {
        let port = labels.get("port").concat();
        self.asked.lock().unwrap().push(port.clone());
        match port.as_str() {
            "1" => self.go.notified().await,
            "2" => {}
            "3" => std::future::pending().await,
            _ => panic!("a look that fails"),
        }
        PortCheck { found: PortFound::Answers, detail: String::new() }
    }
}

struct Bed {
    held: Held,
    looker: Arc<Looker>,
    verify: Arc<dyn Verify>,
    setter: Setter<Rulebook>,
    rules: Live<Rulebook>,
    mails: i64,
}

fn rulebook() -> Rulebook {
    let (ann, ops): (RecipientName, GroupName) = ("ann".parse().unwrap(), "ops".parse().unwrap());
    let jid = "ann@example.org".parse().unwrap();
    let settings = route::Settings {
        recipients: vec![Recipient { name: ann.clone(), jid, lang: None, room: false }],
        groups: vec![Group {
            name: ops.clone(),
            members: vec![Member::Recipient(ann)],
            public: false,
            policy: Vec::new(),
        }],
        routes: vec![Route { name: None, matchers: Vec::new(), groups: vec![ops], go_on: false, verify: true }],
        walls: Vec::new(),
        disclaimers: Vec::new(),
        default_group: None,
        operators: None,
        repeat_after: Duration::from_hours(4),
        key_scopes: BTreeMap::new(),
    };
    Rulebook {
        router: Arc::new(Router::new(&settings).unwrap()),
        mailboxes: HashMap::new(),
        limits: Limits::default(),
        mappings: Mappings::default(),
    }
}

/// An alert about this key, with a port to look at unless it is empty.
fn about(key: &str, port: &str) -> Alert {
    let mut alert = Alert { key: Key(key.into()), sender: "x@example.org".into(), ..Alert::empty(Format::Native) };
    if !port.is_empty() {
        alert.labels.add("port", port);
    }
    alert
}

impl Bed {
    fn new() -> Self {
        let (setter, rules) = live(rulebook());
        let looker = Arc::new(Looker::default());
        let verify: Arc<dyn Verify> = looker.clone();
        Self { held: Held::default(), looker, verify, setter, rules, mails: 0 }
    }

    /// A mail comes with these alerts; what goes on at once.
    fn comes(&mut self, alerts: Vec<Alert>) -> Vec<i64> {
        self.comes_with(alerts, 1000)
    }

    fn comes_with(&mut self, alerts: Vec<Alert>, bytes: u64) -> Vec<i64> {
        self.mails += 1;
        let message = D2Message {
            id: MessageId(self.mails),
            source: Source::Mailbox("inbox".parse().unwrap()),
            may_choose_group: false,
            received: Timestamp::UNIX_EPOCH,
            digest: None,
            verdict: Verdict::Alerts { alerts, bad: Vec::new() },
        };
        let rules = self.rules.get();
        let on = self.held.take(message, bytes, &rules, &self.verify);
        on.iter().map(|m| m.id.0).collect()
    }

    /// Waits for news; what goes on then, with the lines of its alerts.
    async fn next(&mut self) -> Vec<String> {
        self.held.news().await;
        self.held.released().iter().map(told).collect()
    }
}

/// `3: port check: port answers`.
fn told(message: &D2Message) -> String {
    let Verdict::Alerts { alerts, .. } = &message.verdict else { panic!("{message:?}") };
    let lines: Vec<_> = alerts.iter().map(|alert| PortCheck::line(alert).unwrap_or_default()).collect();
    format!("{}: {}", message.id, lines.join(" | "))
}

fn ids(bed: &Bed) -> Vec<i64> {
    bed.held.ids().iter().map(|id| id.0).collect()
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_but_who_reports_on_the_same() {
    let mut bed = Bed::new();
    assert_eq!(bed.comes(vec![about("other", "")]), [1], "nothing to look at");
    assert_eq!(bed.comes(vec![about("a", "1")]), [0; 0]);
    assert_eq!(bed.comes(vec![about("b", "")]), [3], "about something else");
    assert_eq!(bed.comes(vec![about("a", "")]), [0; 0], "it must not overtake the first");
    assert_eq!(bed.comes(vec![about("c", "2")]), [0; 0]);
    let stranger = Alert { sender: "y@example.org".into(), ..about("a", "") };
    assert_eq!(bed.comes(vec![stranger]), [6], "the same key of another sender is another condition");
    assert_eq!((ids(&bed), bed.held.released().len()), (vec![2, 4, 5], 0));
    assert_eq!(bed.next().await, ["5: port check: port answers"]);
    bed.looker.go.notify_one();
    assert_eq!(bed.next().await, ["2: port check: port answers", "4: "]);
    assert_eq!((ids(&bed).len(), bed.held.rules.is_none()), (0, true), "the rules are given back");
}

#[tokio::test(start_paused = true)]
async fn a_reference_may_be_to_anything_of_its_sender() {
    let mut bed = Bed::new();
    bed.comes(vec![about("a", "1")]);
    let reference = Reference { sender: "x@example.org".into(), id: "1".into(), sent: Timestamp::UNIX_EPOCH };
    let refers = Alert { references: vec![reference], ..about("b", "") };
    assert_eq!(bed.comes(vec![refers.clone()]), [0; 0]);
    assert_eq!(bed.comes(vec![Alert { sender: "y@example.org".into(), ..refers }]), [3]);
    bed.looker.go.notify_one();
    assert_eq!(bed.next().await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn whatever_the_look_does_it_ends() {
    let mut bed = Bed::new();
    let start = Instant::now();
    // Several in a row about the same are looked at side by side: the last waits no longer than the first.
    for _ in 0..3 {
        assert_eq!(bed.comes(vec![about("a", "3"), about("b", "2")]), [0; 0]);
    }
    // One whose look falls over.
    assert_eq!(bed.comes(vec![about("c", "9")]), [0; 0]);
    let late = "port check: not checked: it took too long";
    let mut all = Vec::new();
    while all.len() < 4 {
        all.extend(bed.next().await);
    }
    all.sort();
    let both = format!("{late} | port check: port answers");
    assert_eq!(all, [format!("1: {both}"), format!("2: {both}"), format!("3: {both}"), format!("4: {late}")]);
    assert!((LONGEST..GUARD * 11 / 10).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded_and_goes_on_in_order_when_it_is_too_much() {
    let mut bed = Bed::new();
    for n in 0..MOST {
        assert_eq!(bed.comes(vec![about(&format!("k{n}"), "3")]), [0; 0]);
    }
    let all: Vec<i64> = (1..=129).collect();
    assert_eq!(bed.comes(vec![about("more", "3")]), all);
    assert_eq!(ids(&bed).len(), 0);
    let message = bed.comes_with(vec![about("a", "3")], MOST_BYTES);
    assert_eq!(message, [0; 0]);
    assert_eq!(bed.comes_with(vec![about("b", "3")], 1), [130, 131], "too many bytes");
}

#[tokio::test(start_paused = true)]
async fn what_was_read_by_other_rules_is_read_again() {
    let mut bed = Bed::new();
    bed.comes(vec![about("a", "3")]);
    assert!(!bed.held.forget_unless_by(&bed.rules.get()));
    let given_back = bed.setter.replace(rulebook());
    assert!(bed.held.forget_unless_by(&bed.rules.get()));
    assert_eq!(ids(&bed).len(), 0);
    given_back.await;
    assert!(!bed.held.forget_unless_by(&bed.rules.get()));
}
