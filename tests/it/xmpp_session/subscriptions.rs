//! Whose presence is told, who is asked for it, and contacts that come and go.

use mailbell::dispatch::Event;
use mailbell::model::Show;
use mailbell::xmpp::Change;

use super::{Bot, SOON, full, jid, settings};
use crate::support::ca::Ca;
use crate::support::chat::{Options, Roster};
use crate::support::client::{Client, Login};
use crate::support::prosody::Prosody;
use crate::support::proxy::Proxy;

#[tokio::test]
async fn contacts_presence_is_told_and_nobody_elses() {
    let ca = Ca::new();
    let prosody = Prosody::start(&ca, &["alice", "mallory"], Options::default());
    let mut bot = Bot::up(settings(prosody.c2s, &ca, &["alice"])).await;
    assert_eq!(bot.seen[0], Event::Subscription { who: jid("alice"), granted: true });
    let _mallory = Client::login(prosody.c2s, "mallory").await;
    let pc = Login::new(prosody.c2s, "alice").show("away").connect().await;
    bot.wait_presence(full("alice", "pc"), Some((Show::Away, 0))).await;
    let phone = Login::new(prosody.c2s, "alice").resource("phone").show("xa").priority(-1).connect().await;
    bot.wait_presence(full("alice", "phone"), Some((Show::Xa, -1))).await;
    pc.set_presence(Some("chat"), 5).await;
    bot.wait_presence(full("alice", "pc"), Some((Show::Chat, 5))).await;
    pc.cut();
    bot.wait_presence(full("alice", "pc"), None).await;
    phone.logout().await;
    bot.wait_presence(full("alice", "phone"), None).await;
    assert!(!format!("{:?}", bot.seen).contains("mallory"), "{:?}", bot.seen);
}

#[tokio::test]
async fn subscriptions_grow_from_empty_rosters_with_contacts_only() {
    let ca = Ca::new();
    let options = Options { roster: Roster::Empty, ..Options::default() };
    let prosody = Prosody::start(&ca, &["alice", "bob", "mallory"], options);
    // Bob asked before the bot ever signed in; Alice is asked by it.
    let bob = Login::new(prosody.c2s, "bob").connect().await;
    bob.raw("<presence type='subscribe' to='alerts@example.test'/>").await;
    let mut bot = Bot::up(settings(prosody.c2s, &ca, &["alice", "bob"])).await;
    assert_eq!(bot.seen[..2], ["alice", "bob"].map(|c| Event::Subscription { who: jid(c), granted: false }));
    let alice = Client::login(prosody.c2s, "alice").await;
    let mut wanted = vec![jid("alice"), jid("bob")];
    while !wanted.is_empty() {
        let event = bot.wait("the grants", |e| matches!(e, Event::Subscription { granted: true, .. })).await;
        let Event::Subscription { who, .. } = event else { panic!("{event:?}") };
        wanted.retain(|w| *w != who);
    }
    for client in [&alice, &bob] {
        client
            .wait("the bot's grant", SOON, |s| {
                s.attr("type") == Some("subscribed") && s.from() == "alerts@example.test"
            })
            .await;
    }
    let mallory = Client::login(prosody.c2s, "mallory").await;
    mallory.raw("<presence type='subscribe' to='alerts@example.test'/>").await;
    mallory.wait("a denial", SOON, |s| s.attr("type") == Some("unsubscribed")).await;
    alice.raw("<presence type='unsubscribed' to='alerts@example.test'/>").await;
    bot.wait("the withdrawal", |e| *e == Event::Subscription { who: jid("alice"), granted: false }).await;
    assert!(!format!("{:?}", bot.seen).contains("mallory"), "{:?}", bot.seen);
}

#[tokio::test]
async fn a_shared_roster_group_counts_as_granted() {
    let ca = Ca::new();
    let options = Options { roster: Roster::Groups, ..Options::default() };
    let prosody = Prosody::start(&ca, &["alice"], options);
    let mut bot = Bot::up(settings(prosody.c2s, &ca, &["alice"])).await;
    assert_eq!(bot.seen[0], Event::Subscription { who: jid("alice"), granted: true });
    let _alice = Client::login(prosody.c2s, "alice").await;
    bot.wait_presence(full("alice", "pc"), Some((Show::Available, 0))).await;
}

#[tokio::test]
async fn new_contacts_are_looked_up_in_the_session_that_is_up_and_in_one_that_is_resumed() {
    let ca = Ca::new();
    let users = ["alice", "bob", "carol"];
    let prosody = Prosody::start(&ca, &users, Options { roster: Roster::Empty, ..Options::default() });
    let proxy = Proxy::start(prosody.c2s).await;
    let _bob = Client::login(prosody.c2s, "bob").await;
    let _carol = Client::login(prosody.c2s, "carol").await;
    let mut settings = settings(prosody.c2s, &ca, &["alice"]);
    settings.servers = vec![("127.0.0.1".into(), proxy.port)];
    let mut bot = Bot::up(settings).await;
    let change =
        |who: &[&str]| Change { contacts: who.iter().map(|c| jid(c)).collect(), rooms: Vec::new(), credentials: None };
    bot.handle.change(change(&["alice", "bob"]));
    bot.wait("what the roster says of bob", |e| *e == Event::Subscription { who: jid("bob"), granted: false }).await;
    bot.wait("bob's consent", |e| *e == Event::Subscription { who: jid("bob"), granted: true }).await;
    bot.wait_presence(full("bob", "pc"), Some((Show::Available, 0))).await;

    // While the connection is cut; bob is a stranger from then on.
    proxy.refuse(true);
    proxy.sever();
    bot.wait("the cut", |e| matches!(e, Event::Down { .. })).await;
    bot.handle.change(change(&["carol"]));
    proxy.refuse(false);
    bot.wait("a resumption", |e| *e == Event::Up { resumed: true }).await;
    bot.wait("carol's consent", |e| *e == Event::Subscription { who: jid("carol"), granted: true }).await;
    bot.wait_presence(full("carol", "pc"), Some((Show::Available, 0))).await;
    bot.handle.change(change(&["bob"]));
    // He was on the roster all along: no question, just a look where he is.
    bot.wait("bob again", |e| *e == Event::Subscription { who: jid("bob"), granted: true }).await;
    bot.wait_presence(full("bob", "pc"), Some((Show::Available, 0))).await;
    bot.stop().await;
}
