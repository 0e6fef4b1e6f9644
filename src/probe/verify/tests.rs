use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::probe::settings::{Lists, tests::rules};

/// Says the first address list the first time, and so on; the last for ever. None at all: it never answers.
struct Says {
    answers: Vec<Result<Vec<IpAddr>, Unknown>>,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl Resolve for Says {
    async fn resolve(&self, _: &Host) -> Result<Vec<IpAddr>, Unknown> {
        let n = self.asked.fetch_add(1, Ordering::SeqCst);
        match self.answers.get(n).or(self.answers.last()) {
            Some(answer) => answer.clone(),
            None => std::future::pending().await,
        }
    }
}

struct Bed {
    verifier: Verifier,
    asked: Arc<AtomicUsize>,
    settings: watch::Sender<Arc<Settings>>,
}

fn settings(allow: &[&str]) -> Arc<Settings> {
    Arc::new(Settings {
        probes: Vec::new(),
        concurrency: 1,
        remind: FRESH,
        allow: Allow(allow.iter().map(|text| text.parse().unwrap()).collect()),
        defaults: rules(),
        maintenance: Vec::new(),
        lists: Lists::default(),
    })
}

fn bed(allow: &[&str], answers: &[&[&str]]) -> Bed {
    let answers = answers.iter().map(|answer| Ok(answer.iter().map(|ip| ip.parse().unwrap()).collect())).collect();
    bed_with(allow, answers)
}

fn bed_with(allow: &[&str], answers: Vec<Result<Vec<IpAddr>, Unknown>>) -> Bed {
    let asked = Arc::new(AtomicUsize::new(0));
    let (sender, receiver) = watch::channel(settings(allow));
    let names = Says { answers, asked: asked.clone() };
    Bed { verifier: Verifier::with(receiver, [2424], Box::new(names), |_| true), asked, settings: sender }
}

fn labels(host: &str, port: &str) -> Labels {
    let mut labels = Labels::default();
    labels.add("host", host);
    labels.add("port", port);
    labels
}

impl Bed {
    async fn says(&self, host: &str, port: &str) -> String {
        let check = self.verifier.verify(&labels(host, port)).await;
        assert_eq!(check.found, PortFound::NotChecked, "{check:?}");
        check.detail
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[test]
fn an_alert_names_one_host_and_one_port() {
    let named = |host, port| named(&labels(host, port)).unwrap();
    assert_eq!(named(" DB1.example.org. ", " 5432 ").unwrap().to_string(), "db1.example.org:5432");
    assert_eq!(named("2001:db8::1", "80").unwrap().to_string(), "[2001:db8::1]:80");
    assert_eq!(named("192.0.2.1", "80").unwrap().host.address(), Some("192.0.2.1".parse().unwrap()));
    for host in ["2130706433", "0177.0.0.1", "127.1", "0x7f000001", "0x7f.0x1", "127.0.0.0x1", "1.2.3.4.5", "256.1.1.1"]
    {
        let why = named(host, "80").unwrap_err();
        assert!(why.contains("is neither a name nor an address"), "{host}: {why}");
    }
    for host in ["a b", "a:80", "http://a", "-a", "a\r\nb", "ü.example", "a@b", "fe80::1%eth0", "[::1"] {
        let why = named(host, "80").unwrap_err();
        assert!(why.contains("is no host name") && !why.contains('\n'), "{host}: {why}");
    }
    for port in ["0", "65536", "-1", "+80", "80,443", "http", "８０"] {
        assert!(named("a", port).unwrap_err().contains("is no port"), "{port}");
    }
    assert!(named(&"a".repeat(5000), "80").unwrap_err().chars().count() <= 2 * SHOWN + 1);
    let mut several = labels("a", "80");
    several.add("port", "81");
    several.add("host", "b");
    assert_eq!(super::named(&several).unwrap().unwrap_err(), "the alert names several ports");
    let mut none = Labels::default();
    assert_eq!(super::named(&none), None);
    none.add("port", "80");
    assert_eq!(super::named(&none), None);
}

#[tokio::test]
async fn what_is_not_allowed_is_neither_asked_for_nor_connected_to() {
    let bed = bed(&["192.0.2.0/24:80"], &[&["192.0.2.1"]]);
    for (host, port) in [
        ("127.0.0.1", "80"),
        ("::1", "80"),
        ("::ffff:192.0.2.1", "80"),
        ("0.0.0.0", "80"),
        ("192.0.3.1", "80"),
        ("192.0.2.1", "81"),
        ("db1.example.org", "81"),
    ] {
        assert_eq!(bed.says(host, port).await, NOT_ALLOWED, "{host}");
    }
    assert_eq!(bed.asked(), 0);
    let none = self::bed(&[], &[&["192.0.2.1"]]);
    assert_eq!((none.says("db1", "80").await.as_str(), none.asked()), (NOT_ALLOWED, 0));
}

#[tokio::test]
async fn a_name_with_any_address_that_is_not_allowed_is_left_alone() {
    for answer in [
        &["127.0.0.1"][..],
        &["192.0.2.1", "127.0.0.1"],
        &["192.0.2.1", "::1"],
        &["::ffff:192.0.2.1"],
        &["169.254.169.254"],
        &["192.0.2.1", "198.51.100.1"],
        &["64:ff9b::c000:201"],
    ] {
        // What the name would be the next time does not matter: it is asked for once.
        let bed = bed(&["192.0.2.0/24:80", "[::/0]:80"], &[answer, &["192.0.2.1"]]);
        assert_eq!(bed.says("evil.example.org", "80").await, NOT_ALLOWED, "{answer:?}");
        assert_eq!((bed.says("evil.example.org", "80").await.as_str(), bed.asked()), (NOT_ALLOWED, 1));
    }
    let own = bed(&["192.0.2.0/24:*"], &[&["192.0.2.1"]]);
    assert_eq!(own.says("db1", "2424").await, "it is a port of mailbell's own");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_not_known_is_no_outage() {
    let unknown =
        |kind, reason: &str| bed_with(&["192.0.2.0/24:80"], vec![Err(Unknown { kind, reason: reason.into() })]);
    assert_eq!(unknown(Kind::NoSuchName, "there is no such name").says("a", "80").await, "there is no such name");
    assert_eq!(bed(&["192.0.2.0/24:80"], &[&[]]).says("a", "80").await, "the name has no address");
    let silent = bed(&["192.0.2.0/24:80"], &[]);
    let start = Instant::now();
    assert_eq!(silent.says("a", "80").await, "the resolver did not answer within 1s");
    assert!(start.elapsed() < LIMIT);
}

#[tokio::test(start_paused = true)]
async fn what_was_found_serves_for_a_minute() {
    let bed = bed(&["192.0.2.0/24:80"], &[&["127.0.0.1"]]);
    for _ in 0..3 {
        bed.says("a", "80").await;
    }
    assert_eq!(bed.asked(), 1);
    tokio::time::advance(FRESH).await;
    bed.says("a", "80").await;
    assert_eq!(bed.asked(), 2);
    // Another list is another judgement.
    bed.settings.send_replace(settings(&["192.0.2.0/25:80"]));
    bed.says("a", "80").await;
    assert_eq!(bed.asked(), 3);
    let check = |detail: &str| PortCheck { found: PortFound::Down, detail: detail.into() };
    assert_eq!(aged(check("refused in 1 ms"), Duration::from_millis(900)), check("refused in 1 ms"));
    assert_eq!(aged(check("refused in 1 ms"), Duration::from_secs(30)), check("refused in 1 ms, 30 s before"));
}

#[tokio::test(start_paused = true)]
async fn a_storm_is_no_port_scan() {
    // Nobody answers: so many are on the way, and no more.
    let bed = bed(&["192.0.2.0/24:*"], &[]);
    let many: Vec<_> = (1..=100).map(|port| labels("a", &port.to_string())).collect();
    let start = Instant::now();
    let all = futures::future::join_all(many.iter().map(|labels| bed.verifier.verify(labels))).await;
    assert_eq!(all.iter().filter(|check| check.detail == TOO_MANY).count(), 100 - AT_ONCE);
    assert_eq!(bed.asked(), AT_ONCE);
    assert!(start.elapsed() < LIMIT);
    // However fast they are, there are no more than so many different ones in a minute.
    let quick = self::bed(&["192.0.2.0/24:*"], &[&["127.0.0.1"]]);
    for port in 1..=KEPT {
        assert_eq!(quick.says("a", &port.to_string()).await, NOT_ALLOWED);
    }
    assert_eq!((quick.says("a", "9999").await.as_str(), quick.asked()), (TOO_MANY, KEPT));
    assert_eq!(quick.says("a", "1").await, NOT_ALLOWED, "this one is known");
    tokio::time::advance(FRESH).await;
    assert_eq!(quick.says("a", "9999").await, NOT_ALLOWED);
}

#[test]
fn each_outcome_says_whether_the_alert_is_right() {
    let said = |kind, ms| {
        let PortCheck { found, detail } = found(kind, Duration::from_micros(ms));
        (found, detail)
    };
    let down = |detail: &str| (PortFound::Down, detail.to_owned());
    assert_eq!(said(Kind::Open, 10), (PortFound::Answers, String::new()));
    assert_eq!(said(Kind::Refused, 300), down("refused in 1 ms"));
    assert_eq!(said(Kind::Reset, 12_000), down("reset in 12 ms"));
    assert_eq!(said(Kind::TimedOut, 1_900_000), down("timed out after 1.9 s"));
    assert_eq!(said(Kind::HostUnreachable, 1_000), down("host unreachable in 1 ms"));
    assert_eq!(said(Kind::NetworkUnreachable, 1_000), down("network unreachable in 1 ms"));
    for ours in [Kind::Local, Kind::NotPermitted] {
        assert_eq!(said(ours, 1).0, PortFound::NotChecked);
    }
}

#[test]
fn this_machine_knows_its_own_addresses() {
    assert!(is_ours("127.0.0.1".parse().unwrap()));
    assert!(!is_ours("203.0.113.77".parse().unwrap()));
}
