//! Walls keep alerts from people whatever would bring them there; disclaimers stand under what they get.

use mailbell::model::AlertId;

use crate::support::lab::{Lab, OPERATORS, alert, group, severe};
use crate::support::mailbell::Mailbell;

/// A firing alert with a label by which walls know it.
fn secret(title: &str, severity: &str) -> String {
    alert(
        &format!("key=\"{title}\" severity=\"{severity}\""),
        &format!("<title>{title}</title><label name=\"secret\">yes</label>"),
    )
}

#[tokio::test]
async fn a_wall_stands_after_routes_and_fallbacks_and_its_reason_is_kept() {
    let lab = Lab::new(&["alice", "bob", "carol", "dave"]);
    let (alice, bob, carol) = (lab.online("alice").await, lab.online("bob").await, lab.online("carol").await);
    let mailbell = Mailbell::run(
        &(lab.base()
            + &lab.imap("inbox", "")
            + &group("ops", &["alice", "@guests"], "")
            + &group("guests", &["bob"], "")
            + &group("night", &["dave"], "fallback = \"@second\"")
            + &group("second", &["alice", "@guests", "carol"], "")
            + &group("all-guests", &["@guests"], "")
            + "[[route]]\nmatch = { \"label.secret\" = \"*\", severity = \"major\" }\ngroups = [\"night\"]\n\
               [[route]]\nmatch = { \"label.secret\" = \"*\", severity = \"minor\" }\ngroups = [\"all-guests\"]\n\
               [[wall]]\nname = \"no-guests\"\nmatch = { \"label.secret\" = \"*\" }\nto = [\"@guests\", \"carol\"]\n"
            + OPERATORS),
    );
    lab.mail(&secret("Secret for ops", "critical"));
    alice.gets("Secret for ops").await;
    let told = mailbell.alert("Secret for ops").await;
    assert!(told.reason.contains("left out bob: behind the wall `no-guests`"), "{}", told.reason);

    // Dave is away: the fallback brings alice, and neither bob nor carol.
    lab.mail(&secret("Secret at night", "major"));
    alice.gets("Secret at night").await;
    let id = mailbell.alert("Secret at night").await.id;
    let shown = mailbell.cli(&["queue", "show", &AlertId(id).to_string()], true).stdout;
    let shown = String::from_utf8(shown).unwrap();
    let wanted =
        "second is added; left out bob: behind the wall `no-guests`; left out carol: behind the wall `no-guests`";
    assert!(shown.contains(wanted), "{shown}");

    // Nobody is left: that is told.
    lab.mail(&secret("Secret for guests", "minor"));
    alice.gets("`Secret for guests` from monitor@example.test: nobody is told").await;
    assert_eq!(mailbell.alert("Secret for guests").await.state, "recorded");

    lab.mail(&severe("open", "critical", "Marker"));
    bob.gets("Marker").await;
    for client in [&bob, &carol] {
        let told = client
            .messages()
            .iter()
            .filter_map(|m| m.body())
            .filter(|b| b.contains("L: Secret") || b.contains("R: Secret"))
            .count();
        assert_eq!(told, 0, "{}", client.jid);
    }
}

#[tokio::test]
async fn disclaimers_stand_under_messages_by_route_group_and_domain() {
    let lab = Lab::new(&["alice", "bob"]);
    let (alice, bob) = (lab.online("alice").await, lab.online("bob").await);
    let _mailbell = Mailbell::run(
        &(lab.base()
            + &lab.imap("inbox", "")
            + &group("ops", &["alice", "@guests"], "")
            + &group("guests", &["bob"], "")
            + "[[route]]\nname = \"fires\"\nmatch = { severity = \"critical\" }\ngroups = [\"ops\"]\n\
               [[disclaimer]]\ntext = \"Leave the house.\"\nroutes = [\"fires\"]\n\
               [[disclaimer]]\ntext = \"Guests: ask at the desk.\"\ngroups = [\"guests\"]\n\
               [[disclaimer]]\ntext = \"Elsewhere.\"\ndomains = [\"*.example.com\"]\n\
               [[disclaimer]]\ntext = \"Internal.\"\ndomains = [\"example.*\"]\n"
            + OPERATORS),
    );
    let last_lines =
        |body: String| body.lines().skip_while(|l| !l.contains(" · ")).skip(1).collect::<Vec<_>>().join("|");
    lab.mail(&severe("fire", "critical", "Fire"));
    assert_eq!(last_lines(alice.gets("Fire").await), "Leave the house.|Internal.");
    assert_eq!(last_lines(bob.gets("Fire").await), "Leave the house.|Guests: ask at the desk.|Internal.");
    lab.mail(&severe("smoke", "warning", "Smoke"));
    assert_eq!(last_lines(alice.gets("Smoke").await), "Internal.");
    assert_eq!(last_lines(bob.gets("Smoke").await), "Guests: ask at the desk.|Internal.");
    // Whoever was told with a disclaimer hears the end with it.
    lab.mail(&alert("key=\"fire\" status=\"resolved\"", "<title>No more fire</title>"));
    assert_eq!(last_lines(bob.gets("No more fire").await), "Leave the house.|Guests: ask at the desk.|Internal.");
    // Mailbell's own words to the operators carry none.
    lab.mail("From: a@example.test\nSubject: no alert\n\nhello\n");
    assert!(!alice.gets("mailbell: mailbox inbox:").await.contains("Internal."));
}
