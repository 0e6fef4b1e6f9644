//! Receipts, errors, copies and roster changes that somebody else made up: none of them changes what becomes of an alert.

use crate::support::chat::{Kind, Options};
use crate::support::client::Client;
use crate::support::lab::{Lab, OPERATORS, critical, group};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::outcome::came_with_one_id;

const BOT: &str = "alerts@example.test/mailbell";

on_each_server!(nobody_else_ends_delivers_or_diverts_a_notification);

/// Everything that a client can send in its own name about the stanza with this id.
fn forgeries(id: &str, victim: &str) -> String {
    let bare = "alerts@example.test";
    let inner = format!(
        "<forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>\
         <message xmlns='jabber:client' from='{victim}/pc' to='{BOT}'><received xmlns='urn:xmpp:receipts' id='{id}'/>\
         <body>forged</body></message></forwarded>"
    );
    let error = |kind: &str, condition: &str| {
        format!(
            "<message type='error' to='{BOT}' id='{id}'><error type='{kind}'>\
             <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
        )
    };
    [
        format!("<message to='{BOT}'><received xmlns='urn:xmpp:receipts' id='{id}'/></message>"),
        format!("<message to='{BOT}' type='chat'><received xmlns='urn:xmpp:receipts' id='{id}'/><body>ack</body></message>"),
        format!("<message to='{bare}' type='chat'><received xmlns='urn:xmpp:receipts' id='{id}'/></message>"),
        format!("<message to='{BOT}'><displayed xmlns='urn:xmpp:chat-markers:0' id='{id}'/></message>"),
        error("cancel", "item-not-found"),
        error("cancel", "gone"),
        error("auth", "forbidden"),
        error("wait", "resource-constraint"),
        error("cancel", "service-unavailable"),
        format!("<message to='{BOT}'><received xmlns='urn:xmpp:carbons:2'>{inner}</received></message>"),
        format!("<message to='{BOT}'><sent xmlns='urn:xmpp:carbons:2'>{inner}</sent></message>"),
        format!("<message to='{BOT}'><result xmlns='urn:xmpp:mam:2' queryid='q' id='1'>{inner}</result></message>"),
        format!("<message to='{BOT}'>{inner}</message>"),
        format!(
            "<iq type='set' id='push1' to='{BOT}'><query xmlns='jabber:iq:roster'>\
             <item jid='{victim}' subscription='remove'/></query></iq>"
        ),
        format!(
            "<iq type='result' id='{id}' to='{BOT}'><query xmlns='jabber:iq:roster'><item jid='{victim}' subscription='none'/>\
             </query></iq>"
        ),
        format!("<iq type='result' id='{id}' to='{BOT}'><fin xmlns='urn:xmpp:mam:2' complete='true'/></iq>"),
        format!("<iq type='error' id='{id}' to='{BOT}'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"),
        format!("<presence type='unsubscribed' to='{bare}'/><presence type='unavailable' to='{BOT}'/><presence type='error' to='{BOT}'/>"),
    ]
    .concat()
}

/// Sent, and through the server.
async fn sent(client: &Client, xml: &str) {
    client.raw(xml).await;
    client.iq("example.test", "get", "<ping xmlns='urn:xmpp:ping'/>").await;
    // The way through the server is the same for what the gateway answers.
    client.iq(BOT, "get", "<ping xmlns='urn:xmpp:ping'/>").await;
}

async fn nobody_else_ends_delivers_or_diverts_a_notification(kind: Kind) {
    let lab = Lab::with(&["alice", "bob"], &["inbox"], Options::on(kind));
    // A stranger: in nobody's config or roster.
    lab.chat.add_user("mallory");
    // She sends no receipts, so that a forged one would be the first.
    let alice = lab.login("alice").without_receipts().connect().await;
    let bob = lab.online("bob").await;
    let mallory = lab.online("mallory").await;
    let config = lab.base()
        + &lab.imap("inbox", "")
        + &group("ops", &["alice"], "")
        // Somebody who is told of other things is as strange to this one as anybody.
        + &group("others", &["bob"], "")
        + "[[route]]\nmatch = { \"label.to\" = \"bob\" }\ngroups = [\"others\"]\n"
        + OPERATORS;
    let mailbell = Mailbell::run(&config);
    lab.mail(&critical("first", "First"));
    let first = alice.wait_message(|m| m.body().unwrap().contains("First"), SOON).await;
    let id = first.id().unwrap().to_owned();
    mailbell.notified("First", "alice", "accepted").await;
    for client in [&bob, &mallory] {
        sent(client, &forgeries(&id, "alice@example.test")).await;
    }
    assert_eq!(mailbell.notified("First", "alice", "accepted").await.reason, "");
    mailbell.logged("ignored a receipt: it is for nothing that was sent to this sender", 2).await;
    mailbell.logged("ignored an error", 2).await;
    // Presence, roster and counts are as they were: the next one reaches her at once, and once.
    lab.mail(&critical("next", "Next"));
    alice.gets("Next").await;
    mailbell.notified("Next", "alice", "accepted").await;
    assert!(!mailbell.log().contains("forged"), "{}", mailbell.log());
    came_with_one_id(&alice, "First", 1);
    let copies = |client: &Client| client.copies("First") + client.copies("Next");
    assert_eq!((copies(&bob), mallory.count()), (0, 0));
    // And she herself is believed: what is ignored is ignored for who sent it.
    alice.receipt(BOT, &id).await;
    mailbell.notified("First", "alice", "delivered").await;
    // What was delivered stays so, whoever says otherwise, be it a device of hers.
    alice.bounce(BOT, &id, "cancel", "item-not-found").await;
    sent(&mallory, &forgeries(&id, "alice@example.test")).await;
    mailbell.notified("First", "alice", "delivered").await;
}
