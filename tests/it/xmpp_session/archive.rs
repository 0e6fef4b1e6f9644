//! What the session asks the server's archive, and whom it believes.

use mailbell::dispatch::{Event, Messenger};
use mailbell::model::{Doubt, Epoch, StanzaId, Timestamp};

use super::scripted::{ROSTER, Script, login_script, scripted, scripted_settings, session_script};
use super::{Bot, jid};
use crate::support::ca::Ca;

/// A server that says this while the archive is searched for `S`, and ends the answer so.
fn archive(results: &str, fin: &str) -> Script {
    let disco = "<query xmlns='http://jabber.org/protocol/disco#info'><feature var='urn:xmpp:mam:2'/></query>";
    let prefs = "<prefs xmlns='urn:xmpp:mam:2' default='always'/>";
    let answer = |payload: &str| format!("<iq type='result' id='{{id}}'>{payload}</iq>");
    let asked = vec![
        ("jabber:iq:roster", ROSTER.to_owned()),
        ("disco#info", answer(disco)),
        ("<prefs", answer(prefs)),
        ("queryid=", format!("{results}{fin}")),
    ];
    [login_script(), session_script(""), asked].concat()
}

fn result(outer: &str, inner: &str, query: &str) -> String {
    format!(
        "<message {outer}><result xmlns='urn:xmpp:mam:2' queryid='{query}' id='1'><forwarded xmlns='urn:xmpp:forward:0'>\
         <message xmlns='jabber:client' from='{inner}' to='alice@example.test' id='S'/></forwarded></result></message>"
    )
}

async fn looked_up(script: Script) -> (Vec<StanzaId>, Option<String>) {
    let ca = Ca::new();
    let mut bot = Bot::up(scripted_settings(scripted(script).await, &ca)).await;
    let since = Timestamp::now();
    let doubt = Doubt { to: jid("alice"), stanza_id: StanzaId("S".into()), copy: 1, since, after: None };
    bot.handle.look_up(Epoch(3), vec![doubt]);
    match bot.wait("the end of the search", |e| matches!(e, Event::LookedUp { .. })).await {
        Event::LookedUp { epoch: Epoch(3), found, trouble } => (found, trouble),
        other => panic!("{other:?}"),
    }
}

const COMPLETE: &str = "<iq type='result' id='{id}'><fin xmlns='urn:xmpp:mam:2' complete='true'/></iq>";
const US: &str = "alerts@example.test/mailbell";

#[tokio::test]
async fn only_our_own_server_is_believed_and_only_an_answer() {
    for own in ["", "from='alerts@example.test'"] {
        let script = archive(&result(own, US, "{id}"), COMPLETE);
        assert_eq!(looked_up(script).await, (vec![StanzaId("S".into())], None), "{own}");
    }
    let mut forged = String::new();
    for from in ["alice@example.test", "alerts@example.test/other", "mallory@other.test", "alerts@other.test"] {
        forged += &result(&format!("from='{from}'"), US, "{id}");
        forged += &COMPLETE.replace("<iq ", &format!("<iq from='{from}' "));
    }
    forged += &result("", US, "another");
    forged += &result("", "mallory@other.test/x", "{id}");
    assert_eq!(looked_up(archive(&forged, COMPLETE)).await, (vec![], None));
    // Nor does a forged end keep our server's own answer from being heard.
    forged += &result("", US, "{id}");
    assert_eq!(looked_up(archive(&forged, COMPLETE)).await, (vec![StanzaId("S".into())], None));
}

#[tokio::test]
async fn a_refusal_leaves_the_doubt() {
    let refusal = "<iq type='error' id='{id}'><error type='cancel'>\
        <internal-server-error xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>";
    let (found, trouble) = looked_up(archive("", refusal)).await;
    assert_eq!(found, []);
    assert!(trouble.as_deref().is_some_and(|t| t.contains("internal-server-error")), "{trouble:?}");
}

#[tokio::test]
async fn an_archive_that_is_silent_is_not_waited_for_long() {
    let (found, trouble) = looked_up(archive("", "")).await;
    assert_eq!(found, []);
    assert!(trouble.as_deref().is_some_and(|t| t.contains("within 10 s")), "{trouble:?}");
}
