//! A person's XMPP client, as an independent witness: raw sockets and strings, nothing of the product's own session.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use xmpp_parsers::minidom::Element;

use super::DOMAIN;
use super::splitter::Splitter;

/// Longest wait for a step of the login, and for other things that take milliseconds.
const SOON: Duration = Duration::from_secs(20);

/// How to sign in.
#[derive(Debug, Clone)]
pub struct Login {
    port: u16,
    user: String,
    resource: String,
    presence: (Option<String>, i8),
    there: bool,
    receipts: bool,
    accept: bool,
    resumable: bool,
}

impl Login {
    /// As USER from the resource `pc`: available, sending receipts, accepting subscriptions.
    pub fn new(port: u16, user: &str) -> Self {
        Self {
            port,
            user: user.into(),
            resource: "pc".into(),
            presence: (None, 0),
            there: true,
            receipts: true,
            accept: true,
            resumable: false,
        }
    }

    pub fn resource(mut self, resource: &str) -> Self {
        self.resource = resource.into();
        self
    }

    pub fn show(mut self, show: &str) -> Self {
        self.presence.0 = Some(show.into());
        self
    }

    pub fn priority(mut self, priority: i8) -> Self {
        self.presence.1 = priority;
        self
    }

    /// Sends no presence: connected, but not there.
    pub fn invisible(mut self) -> Self {
        self.there = false;
        self
    }

    pub fn without_receipts(mut self) -> Self {
        self.receipts = false;
        self
    }

    /// Leaves subscription requests unanswered.
    pub fn without_accepting(mut self) -> Self {
        self.accept = false;
        self
    }

    /// With stream management: after a cut the server keeps the session for a while (XEP-0198).
    pub fn resumable(mut self) -> Self {
        self.resumable = true;
        self
    }

    /// Does anybody listen there?
    pub async fn reachable(&self) -> bool {
        TcpStream::connect(("127.0.0.1", self.port)).await.is_ok()
    }

    pub async fn connect(self) -> Client {
        Client::connect(self).await
    }
}

/// One stanza that arrived.
#[derive(Debug, Clone)]
pub struct Received {
    pub at: Instant,
    pub raw: String,
    pub element: Element,
}

impl Received {
    pub fn attr<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.element.attr(name)
    }

    pub fn id(&self) -> Option<&str> {
        self.attr("id")
    }

    pub fn from(&self) -> &str {
        self.attr("from").unwrap_or_default()
    }

    pub fn body(&self) -> Option<String> {
        self.element.get_child("body", "jabber:client").map(Element::text)
    }
}

#[derive(Default)]
struct Inbox {
    stanzas: Mutex<Vec<Received>>,
    closed: Mutex<bool>,
    changed: Notify,
}

/// A client that is signed in.
pub struct Client {
    pub jid: String,
    writer: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    inbox: Arc<Inbox>,
    reader: JoinHandle<()>,
}

impl Client {
    /// As USER, available, with receipts; see [`Login`] for anything else.
    pub async fn login(port: u16, user: &str) -> Self {
        Login::new(port, user).connect().await
    }

    async fn connect(login: Login) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", login.port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut reader, mut writer) = stream.into_split();
        let mut xml = Splitter::default();
        open(&mut reader, &mut writer, &mut xml).await;
        let token = base64(format!("\0{0}\0pw-{0}", login.user).as_bytes());
        let auth = format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{token}</auth>");
        let answer = exchange(&mut reader, &mut writer, &mut xml, &auth).await;
        assert!(answer.starts_with("<success"), "{answer}");
        xml = Splitter::default();
        open(&mut reader, &mut writer, &mut xml).await;
        let bind = format!(
            "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{}</resource></bind></iq>",
            login.resource
        );
        let answer = exchange(&mut reader, &mut writer, &mut xml, &bind).await;
        assert!(answer.contains("<jid>"), "{answer}");
        if login.resumable {
            let enable = "<enable xmlns='urn:xmpp:sm:3' resume='true'/>";
            let answer = exchange(&mut reader, &mut writer, &mut xml, enable).await;
            assert!(answer.starts_with("<enabled"), "{answer}");
        }
        let writer = Arc::new(tokio::sync::Mutex::new(writer));
        let inbox = Arc::new(Inbox::default());
        let task = read(reader, xml, writer.clone(), inbox.clone(), login.clone());
        let jid = format!("{}@{DOMAIN}/{}", login.user, login.resource);
        let client = Self { jid, writer, inbox, reader: tokio::spawn(task) };
        // Whoever has not asked for the roster is not told of changes in it.
        client.raw("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>").await;
        let (show, priority) = &login.presence;
        if login.there {
            client.set_presence(show.as_deref(), *priority).await;
        }
        // Answered behind whatever the login brought: presence of others, stored messages.
        client.iq(DOMAIN, "get", "<ping xmlns='urn:xmpp:ping'/>").await;
        client
    }

    /// Writes XML as it is.
    pub async fn raw(&self, xml: &str) {
        self.writer.lock().await.write_all(xml.as_bytes()).await.unwrap();
    }

    pub async fn set_presence(&self, show: Option<&str>, priority: i8) {
        let show = show.map(|s| format!("<show>{s}</show>")).unwrap_or_default();
        self.raw(&format!("<presence>{show}<priority>{priority}</priority></presence>")).await;
    }

    pub async fn unavailable(&self) {
        self.raw("<presence type='unavailable'/>").await;
    }

    pub async fn chat(&self, to: &str, body: &str) {
        self.raw(&format!("<message type='chat' to='{to}'><body>{}</body></message>", escape(body))).await;
    }

    /// A receipt for any id, also for one that was never received.
    pub async fn receipt(&self, to: &str, id: &str) {
        self.raw(&format!("<message to='{to}'><received xmlns='urn:xmpp:receipts' id='{id}'/></message>")).await;
    }

    /// An error for a message.
    pub async fn bounce(&self, to: &str, id: &str, kind: &str, condition: &str) {
        self.raw(&format!(
            "<message type='error' to='{to}' id='{id}'><error type='{kind}'>\
             <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
        ))
        .await;
    }

    /// A request and its answer.
    pub async fn iq(&self, to: &str, kind: &str, payload: &str) -> Received {
        let id = format!("q{:08x}", rand::random::<u32>());
        self.raw(&format!("<iq type='{kind}' to='{to}' id='{id}'>{payload}</iq>")).await;
        self.wait("the answer to a request", SOON, |s| s.element.name() == "iq" && s.id() == Some(&id)).await
    }

    /// All stanzas so far.
    pub fn stanzas(&self) -> Vec<Received> {
        self.inbox.stanzas.lock().unwrap().clone()
    }

    /// All messages with a body so far: every copy counts.
    pub fn messages(&self) -> Vec<Received> {
        let mut messages = self.stanzas();
        messages.retain(is_message);
        messages
    }

    /// Did a message with a body arrive that fits? The newest are looked at first.
    pub fn has(&self, fits: impl Fn(&Received) -> bool) -> bool {
        self.inbox.stanzas.lock().unwrap().iter().rev().any(|s| is_message(s) && fits(s))
    }

    /// How many messages with a body arrived, without copying them.
    pub fn count(&self) -> usize {
        self.inbox.stanzas.lock().unwrap().iter().filter(|s| is_message(s)).count()
    }

    /// The first stanza that fits; fails after `limit`.
    pub async fn wait(&self, what: &str, limit: Duration, fits: impl Fn(&Received) -> bool) -> Received {
        let until = tokio::time::Instant::now() + limit;
        let mut seen = 0;
        loop {
            let changed = self.inbox.changed.notified();
            {
                let stanzas = self.inbox.stanzas.lock().unwrap();
                if let Some(found) = stanzas[seen..].iter().find(|s| fits(s)) {
                    return found.clone();
                }
                seen = stanzas.len();
            }
            if tokio::time::timeout_at(until, changed).await.is_err() {
                panic!("{} waited {limit:?} in vain for {what}; it has:\n{:#?}", self.jid, self.raws());
            }
        }
    }

    /// The first message with a body that fits; fails after `limit`.
    pub async fn wait_message(&self, fits: impl Fn(&Received) -> bool, limit: Duration) -> Received {
        self.wait("a message", limit, |s| is_message(s) && fits(s)).await
    }

    /// Waits until so many messages with a body arrived.
    pub async fn wait_count(&self, count: usize, limit: Duration) {
        let until = tokio::time::Instant::now() + limit;
        loop {
            let changed = self.inbox.changed.notified();
            let have = self.count();
            if have >= count {
                return;
            }
            let more = tokio::time::timeout_at(until, changed).await;
            assert!(more.is_ok(), "{} has {have} of {count} messages after {limit:?}", self.jid);
        }
    }

    /// Has the server ended the connection?
    pub fn closed(&self) -> bool {
        *self.inbox.closed.lock().unwrap()
    }

    /// Signs out.
    pub async fn logout(self) {
        self.raw("<presence type='unavailable'/></stream:stream>").await;
        let _ = tokio::time::timeout(SOON, async {
            while !self.closed() {
                self.inbox.changed.notified().await
            }
        })
        .await;
    }

    /// Drops the connection without a word.
    pub fn cut(self) {}

    fn raws(&self) -> Vec<String> {
        let stanzas = self.inbox.stanzas.lock().unwrap();
        stanzas.iter().rev().take(20).rev().map(|s| s.raw.chars().take(400).collect()).collect()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Its half of the socket goes with the task; ours goes with us.
        self.reader.abort();
    }
}

fn is_message(stanza: &Received) -> bool {
    stanza.element.name() == "message" && stanza.attr("type") != Some("error") && stanza.body().is_some()
}

async fn read(
    mut reader: OwnedReadHalf,
    mut xml: Splitter,
    writer: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    inbox: Arc<Inbox>,
    login: Login,
) {
    let mut handled = 0u32;
    loop {
        while let Some(raw) = xml.next() {
            let element = parse(&raw);
            let reply = if element.ns() == "urn:xmpp:sm:3" {
                (element.name() == "r").then(|| format!("<a xmlns='urn:xmpp:sm:3' h='{handled}'/>"))
            } else {
                handled += 1;
                reply(&element, &login)
            };
            inbox.stanzas.lock().unwrap().push(Received { at: Instant::now(), raw, element });
            inbox.changed.notify_waiters();
            if let Some(reply) = reply {
                let _ = writer.lock().await.write_all(reply.as_bytes()).await;
            }
        }
        if !xml.fill(&mut reader).await {
            *inbox.closed.lock().unwrap() = true;
            inbox.changed.notify_waiters();
            return;
        }
    }
}

/// What a person's client answers by itself.
fn reply(stanza: &Element, login: &Login) -> Option<String> {
    let from = escape(stanza.attr("from").unwrap_or_default());
    match stanza.name() {
        "message" if login.receipts && stanza.has_child("request", "urn:xmpp:receipts") => {
            let id = escape(stanza.attr("id")?);
            Some(format!("<message to='{from}'><received xmlns='urn:xmpp:receipts' id='{id}'/></message>"))
        }
        "presence" if login.accept && stanza.attr("type") == Some("subscribe") => {
            Some(format!("<presence type='subscribed' to='{from}'/><presence type='subscribe' to='{from}'/>"))
        }
        "iq" if stanza.attr("type") == Some("set") => {
            Some(format!("<iq type='result' id='{}'/>", escape(stanza.attr("id")?)))
        }
        _ => None,
    }
}

async fn open(reader: &mut OwnedReadHalf, writer: &mut OwnedWriteHalf, xml: &mut Splitter) {
    let header = format!(
        "<?xml version='1.0'?><stream:stream to='{DOMAIN}' xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
    );
    let features = exchange(reader, writer, xml, &header).await;
    assert!(features.starts_with("<stream:features"), "{features}");
}

/// Writes something and reads the next element.
async fn exchange(reader: &mut OwnedReadHalf, writer: &mut OwnedWriteHalf, xml: &mut Splitter, out: &str) -> String {
    writer.write_all(out.as_bytes()).await.unwrap();
    let answer = async {
        loop {
            if let Some(raw) = xml.next() {
                return raw;
            }
            assert!(xml.fill(reader).await, "the server closed during the login");
        }
    };
    tokio::time::timeout(SOON, answer).await.expect("the server answers")
}

fn parse(raw: &str) -> Element {
    let whole = format!("<w xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>{raw}</w>");
    let whole: Element = whole.parse().unwrap_or_else(|err| panic!("{err}: {raw}"));
    whole.children().next().unwrap().clone()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;").replace('"', "&quot;")
}

fn base64(data: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in data.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, b| bits << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let digit = if digit <= chunk.len() { DIGITS[(bits >> (18 - 6 * digit)) as usize & 63] } else { b'=' };
            out.push(char::from(digit));
        }
    }
    out
}
