//! The oracle of the fault matrix: numbered mails go in by LMTP, independent witnesses log every copy that comes, and at the end
//! each mail is asked what became of it.
//!
//! A mail is *lost* for a person when no copy came and nothing says so: the store knows nothing of it, or it claims that the
//! message was taken. What is held, quarantined, or ended with a reason is not told, but visible: a test says which it allows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Row};

use super::lab::{Lab, alert};
use super::mailbell::Mailbell;
use super::wait_for;
use super::witness::Witness;

/// Something is still on its way in these states.
const MOVING: [&str; 3] = ["ready", "queued", "sending"];
/// Everything has found its end after this.
const PATIENCE: Duration = Duration::from_secs(120);

/// A mail that the store does not know by then, while it knows one that came later, is not fetched any more.
const OVERTAKEN: Duration = Duration::from_secs(10);

/// What is injected, and what went in.
pub struct Oracle {
    row: u8,
    injected: String,
    server: &'static str,
    severity: &'static str,
    mailbox: String,
    /// Bytes of text in each mail.
    text: usize,
    /// Gateways with stores of their own: each may give an alert its own stanza id.
    gateways: usize,
    /// What the titles begin with: of each oracle another, so that several rounds of a test may have the same witnesses.
    prefix: String,
    store: Option<PathBuf>,
    patience: Duration,
    sent: Mutex<Vec<Instant>>,
    over: Mutex<Option<Instant>>,
}

/// What became of a mail for one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    pub number: usize,
    pub person: String,
    /// State of the notification, else of the alert, else of the mail; empty: the store does not know it.
    pub state: String,
    pub reason: String,
    /// When each copy came, and its stanza id.
    pub copies: Vec<(Instant, String)>,
    /// The stanza id in the store.
    stanza_id: Option<String>,
}

impl Fate {
    /// No copy came, and nothing says so.
    pub fn lost(&self) -> bool {
        self.copies.is_empty() && matches!(self.state.as_str(), "" | "accepted" | "delivered" | "acknowledged")
    }

    fn ids(&self) -> BTreeSet<&str> {
        self.copies.iter().map(|(_, id)| id.as_str()).chain(self.stanza_id.as_deref()).collect()
    }
}

/// What the oracle found.
#[derive(Debug)]
pub struct Verdict {
    pub fates: Vec<Fate>,
    /// From the end of the fault to the last first copy of what had gone in by then; zero where all had come before.
    pub recovered: Duration,
    /// From each mail, by its number, to its first copy.
    pub latencies: Vec<(usize, Duration)>,
}

impl Verdict {
    /// Of these nothing came, and nothing says so.
    pub fn lost(&self) -> Vec<&Fate> {
        self.fates.iter().filter(|fate| fate.lost()).collect()
    }

    /// Copies beyond the first.
    pub fn extra(&self) -> usize {
        self.fates.iter().map(|fate| fate.copies.len().saturating_sub(1)).sum()
    }

    /// Most copies of one mail for one person.
    pub fn most(&self) -> usize {
        self.fates.iter().map(|fate| fate.copies.len()).max().unwrap_or(0)
    }

    /// Those that came, or are known to the store, under more than one stanza id.
    pub fn second_ids(&self) -> Vec<&Fate> {
        self.fates.iter().filter(|fate| fate.ids().len() > 1).collect()
    }

    /// Not told, and the state says so.
    pub fn visible(&self) -> Vec<&Fate> {
        self.fates.iter().filter(|fate| fate.copies.is_empty() && !fate.lost()).collect()
    }

    /// How many are in each state.
    pub fn states(&self) -> BTreeMap<&str, usize> {
        let mut states = BTreeMap::new();
        self.fates.iter().for_each(|fate| *states.entry(fate.state.as_str()).or_default() += 1);
        states
    }
}

impl Oracle {
    /// For this row of the matrix; `injected` says how the fault is made.
    pub fn new(row: u8, injected: &str) -> Self {
        static SERIES: AtomicUsize = AtomicUsize::new(1);
        Self {
            row,
            injected: injected.to_owned(),
            server: "",
            severity: "critical",
            mailbox: "inbox".to_owned(),
            text: 0,
            gateways: 1,
            prefix: format!("Oracle {}/", SERIES.fetch_add(1, Ordering::Relaxed)),
            store: None,
            patience: PATIENCE,
            sent: Mutex::default(),
            over: Mutex::default(),
        }
    }

    /// The row is about the chat server, and this is it.
    pub fn on(mut self, kind: super::chat::Kind) -> Self {
        self.server = match kind {
            super::chat::Kind::Prosody => "Prosody",
            super::chat::Kind::Ejabberd => "ejabberd",
        };
        self
    }

    /// Of another severity than critical.
    pub fn severity(mut self, severity: &'static str) -> Self {
        self.severity = severity;
        self
    }

    /// The mails go to another mailbox than `inbox`.
    pub fn in_mailbox(mut self, mailbox: &str) -> Self {
        mailbox.clone_into(&mut self.mailbox);
        self
    }

    /// Each mail has so many bytes of text.
    pub fn with_text(mut self, bytes: usize) -> Self {
        self.text = bytes;
        self
    }

    /// So many gateways, each with a store of its own, read the mailbox.
    pub fn read_by(mut self, gateways: usize) -> Self {
        self.gateways = gateways;
        self
    }

    /// The store is elsewhere than in mailbell's own directory.
    pub fn store(mut self, path: PathBuf) -> Self {
        self.store = Some(path);
        self
    }

    /// It may take so long until everything has found its end.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Title of the mail of that number, which begins with 0.
    pub fn title(&self, number: usize) -> String {
        format!("{}{number:05}.", self.prefix)
    }

    /// Number and text of the next mail, for whoever delivers it by other means. Without a key it is a condition of its own: of
    /// what is taken in twice, nothing but being the same mail keeps the second message back.
    pub fn next(&self) -> (usize, String) {
        let number = self.number();
        (number, self.mail_of(number, &format!("severity=\"{}\"", self.severity), ""))
    }

    /// The same of that severity, with the key `oracle/NUMBER` and further elements of its alert.
    pub fn next_as(&self, severity: &str, more: &str) -> (usize, String) {
        let number = self.number();
        (number, self.mail_of(number, &format!("key=\"oracle/{number}\" severity=\"{severity}\""), more))
    }

    fn number(&self) -> usize {
        let mut sent = self.sent.lock().unwrap();
        sent.push(Instant::now());
        sent.len() - 1
    }

    fn mail_of(&self, number: usize, attributes: &str, more: &str) -> String {
        let (title, text) = (self.title(number), "word ".repeat(self.text / 5));
        let mail = alert(attributes, &format!("<title>{title}</title><text>{text}</text>{more}"));
        // In its header too: of a mail that is too large the store has nothing else.
        mail.replace("Subject: alert", &format!("Subject: {title}")).replace('\n', "\r\n")
    }

    /// The mail server has it: its time is counted from now.
    pub fn delivered(&self, number: usize) {
        self.sent.lock().unwrap()[number] = Instant::now();
    }

    /// So many more mails, one after the other, by LMTP to its mailbox.
    pub fn mail(&self, lab: &Lab, count: usize) {
        self.mail_to(lab, &self.mailbox, count);
    }

    /// The same to another mailbox.
    pub fn mail_to(&self, lab: &Lab, user: &str, count: usize) {
        (0..count).for_each(|_| self.deliver(lab, user, self.next()));
    }

    /// One more mail as [`next_as`](Self::next_as) makes it, to `inbox`.
    pub fn mail_as(&self, lab: &Lab, severity: &str, more: &str) {
        self.deliver(lab, "inbox", self.next_as(severity, more));
    }

    fn deliver(&self, lab: &Lab, user: &str, (number, mail): (usize, String)) {
        lab.dovecot.deliver(user, mail.as_bytes());
        self.delivered(number);
    }

    /// How many mails went in so far.
    pub fn count(&self) -> usize {
        self.sent.lock().unwrap().len()
    }

    /// The fault is over: from now on it recovers.
    pub fn over(&self) {
        *self.over.lock().unwrap() = Some(Instant::now());
    }

    /// Waits until nothing moves any more, sends a last mail behind all others and waits for it with everybody, and then
    /// looks what became of each.
    pub async fn verdict(&self, mailbell: &Mailbell, lab: &Lab, witnesses: &[&Witness]) -> Verdict {
        self.settled(mailbell, witnesses).await;
        self.mail(lab, 1);
        let marker = self.title(self.count() - 1);
        for witness in witnesses {
            wait_for(&format!("{marker} at {}", witness.person), self.patience, async || {
                witness.has(&marker).then_some(())
            })
            .await;
        }
        self.settled(mailbell, witnesses).await;
        self.look(mailbell, witnesses).await
    }

    /// What became of each mail so far.
    pub async fn look(&self, mailbell: &Mailbell, witnesses: &[&Witness]) -> Verdict {
        let fates = self.fates(mailbell, witnesses).await;
        let sent = self.sent.lock().unwrap().clone();
        let over = self.over.lock().unwrap().unwrap_or_else(Instant::now);
        let firsts = || fates.iter().filter_map(|fate| Some((fate.number, fate.copies.first()?.0)));
        let last = firsts().filter(|(number, _)| sent[*number] <= over).map(|(_, came)| came).max();
        let recovered = last.map_or(Duration::ZERO, |last| last.saturating_duration_since(over));
        let took = |(number, came): (usize, Instant)| (number, came.saturating_duration_since(sent[number]));
        let latencies = firsts().map(took).collect();
        Verdict { recovered, latencies, fates }
    }

    /// Waits until no mail is on its way.
    pub async fn settled(&self, mailbell: &Mailbell, witnesses: &[&Witness]) {
        let what = format!("the end of all mails of row {}", self.row);
        let mut moving = Vec::new();
        let start = Instant::now();
        let end = start + self.patience;
        wait_for(&what, self.patience * 2, async || {
            let look = Instant::now();
            let fates = self.fates(mailbell, witnesses).await;
            // What is fetched later comes later: one that is unknown when its follower is not, and stays so, never comes.
            let newest = fates.iter().filter(|f| !f.state.is_empty()).map(|f| f.number).max();
            let never = |f: &Fate| newest.is_some_and(|newest| f.number < newest) && start.elapsed() > OVERTAKEN;
            let moves = |f: &Fate| MOVING.contains(&f.state.as_str()) || (f.state.is_empty() && !never(f));
            moving = fates.into_iter().filter(moves).collect();
            assert!(Instant::now() < end, "{what}: still on their way: {moving:#?}\n{}", mailbell.log());
            if moving.is_empty() {
                return Some(());
            }
            // Looking takes its time where there are many: what is waited for must not be crowded out.
            tokio::time::sleep(look.elapsed().max(Duration::from_millis(50))).await;
            None
        })
        .await;
    }

    async fn fates(&self, mailbell: &Mailbell, witnesses: &[&Witness]) -> Vec<Fate> {
        let known = self.known(mailbell).await;
        let mut fates = Vec::new();
        for witness in witnesses {
            let mut copies = self.by_number(witness);
            for number in 0..self.count() {
                let person = witness.person.clone();
                let (state, reason, stanza_id) = known
                    .get(&(number, person.clone()))
                    .or_else(|| known.get(&(number, String::new())))
                    .cloned()
                    .unwrap_or_default();
                let copies = copies.remove(&number).unwrap_or_default();
                fates.push(Fate { number, person, state, reason, copies, stanza_id });
            }
        }
        fates
    }

    /// What the store knows, by number and person: of the notification; with no person: of the alert, or of the mail.
    async fn known(&self, mailbell: &Mailbell) -> HashMap<(usize, String), (String, String, Option<String>)> {
        let path = self.store.clone().unwrap_or_else(|| mailbell.path("mailbell.db"));
        let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(Duration::from_secs(10));
        let mut known = HashMap::new();
        let mut conn = options.connect().await.unwrap();
        let sql = "SELECT CAST(r.bytes AS TEXT), m.state, m.reason || coalesce((SELECT group_concat(reason, '; ') \
                     FROM quarantine_reason q WHERE q.message = m.id), ''), '', NULL \
                     FROM message m JOIN raw r ON r.message = m.id \
                     WHERE m.state NOT IN ('parsed', 'duplicate') AND instr(r.bytes, 'Oracle ') \
                   UNION ALL SELECT title, state, reason, '', NULL FROM alert WHERE title GLOB 'Oracle *' \
                   UNION ALL SELECT a.title, n.state, n.reason, n.recipient, n.stanza_id FROM notification n \
                     JOIN alert a ON a.id = n.alert WHERE a.title GLOB 'Oracle *'";
        for row in sqlx::query(sql).fetch_all(&mut conn).await.unwrap() {
            let text: String = row.get(0);
            for number in self.numbers(&text) {
                known.insert((number, row.get::<String, _>(3)), (row.get(1), row.get(2), row.get(4)));
            }
        }
        conn.close().await.unwrap();
        known
    }

    /// Nothing is lost, nobody has a second stanza id, and no mail came more than `bound` times. Writes the row of the table.
    pub fn holds(&self, verdict: &Verdict, bound: usize) {
        self.report(verdict, bound);
        let lost = verdict.lost();
        assert!(lost.is_empty(), "lost: {lost:#?}");
        let second: Vec<_> = verdict.fates.iter().filter(|fate| fate.ids().len() > self.gateways).collect();
        assert!(second.is_empty(), "more stanza ids than gateways: {second:#?}");
        let most: Vec<_> = verdict.fates.iter().filter(|fate| fate.copies.len() > bound).collect();
        assert!(most.is_empty(), "more than {bound} copies: {most:#?}");
    }

    /// As [`holds`](Self::holds), and every mail came.
    pub fn all_told(&self, verdict: &Verdict, bound: usize) {
        self.holds(verdict, bound);
        let untold = verdict.visible();
        assert!(untold.is_empty(), "not told: {untold:#?}");
    }

    /// The row of the table, printed; and as a line of JSON for `tests/faults/matrix`.
    fn report(&self, verdict: &Verdict, bound: usize) {
        let mails = verdict.fates.len();
        let line = serde_json::json!({
            "row": self.row, "injected": self.injected, "server": self.server, "mails": mails,
            "lost": verdict.lost().len(), "extra": verdict.extra(), "most": verdict.most(), "bound": bound,
            "second_ids": verdict.second_ids().len(), "visible": verdict.visible().len(),
            "recovered_ms": u64::try_from(verdict.recovered.as_millis()).unwrap(),
        });
        let mut text = String::new();
        writeln!(text, "{line}").unwrap();
        print!("{text}");
        if let Some(path) = std::env::var_os("MAILBELL_FAULTS") {
            let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }
    }

    /// Copies by the number of their mail. What a notice to the operators quotes is no copy.
    fn by_number(&self, witness: &Witness) -> HashMap<usize, Vec<(Instant, String)>> {
        let mut copies: HashMap<usize, Vec<(Instant, String)>> = HashMap::new();
        for message in witness.messages() {
            let body = message.body().unwrap_or_default();
            if body.starts_with("mailbell: ") {
                continue;
            }
            for number in self.numbers(&body) {
                copies.entry(number).or_default().push((message.at, message.id().unwrap_or_default().to_owned()));
            }
        }
        copies
    }

    /// The numbers of the mails whose titles are in this text, each once.
    fn numbers(&self, text: &str) -> BTreeSet<usize> {
        let after = text.split(&self.prefix).skip(1);
        after.filter_map(|rest| rest.get(..6)?.strip_suffix('.')?.parse().ok()).collect()
    }
}
