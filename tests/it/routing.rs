//! Which mail becomes which alerts, and to whom they go.

use crate::support::cap::Cap;
use crate::support::lab::{Lab, OPERATORS, alert, asks, critical, group, severe, xml_mail};
use crate::support::mailbell::Mailbell;

#[tokio::test]
async fn who_is_in_several_groups_gets_one_message() {
    let lab = Lab::new(&["alice", "bob", "carol"]);
    let (alice, bob, carol) = (lab.online("alice").await, lab.online("bob").await, lab.online("carol").await);
    let mailbell = Mailbell::run(
        &(lab.base()
            + &lab.imap("inbox", "")
            + &group("dba", &["bob", "alice"], "")
            // Nested: bob by way of dba, twice.
            + &group("ops", &["alice", "@dba", "@night"], "")
            + &group("night", &["carol", "@dba"], "")
            + "[[route]]\nmatch = { severity = \"major\" }\ngroups = [\"ops\", \"dba\"]\n"
            + OPERATORS),
    );
    lab.mail(&severe("a", "major", "For everybody"));
    for client in [&alice, &bob, &carol] {
        client.gets("For everybody").await;
    }
    lab.mail(&severe("b", "warning", "Marker"));
    for client in [&alice, &bob, &carol] {
        client.gets("Marker").await;
        assert_eq!(client.count(), 2, "{}", client.jid);
    }
    assert_eq!(mailbell.notifications().await.len(), 6);
    assert!(alice.gets("For everybody").await.contains("\nops, dba · "));
}

#[tokio::test]
async fn the_first_route_that_matches_counts_and_continue_goes_on() {
    let lab = Lab::new(&["alice", "bob", "carol"]);
    let (alice, bob, carol) = (lab.online("alice").await, lab.online("bob").await, lab.online("carol").await);
    let routes = r#"
[[route]]
match = { "label.kind" = "noise" }
groups = []
[[route]]
match = { "label.host" = "~db[0-9]+" }
groups = ["bobs"]
continue = true
[[route]]
match = { severity = ["critical", "major"], sender = "*@example.test" }
groups = ["alices"]
[[route]]
match = { group = "wanted" }
groups = ["carols"]
[[route]]
match = { mailbox = "inbox", status = "update" }
groups = ["carols", "bobs"]
"#;
    let mailbell = Mailbell::run(
        &(lab.base()
            + &lab.imap("inbox", "")
            + &group("alices", &["alice"], "")
            + &group("bobs", &["bob"], "")
            + &group("carols", &["carol"], "")
            + routes
            + "[operators]\ngroup = \"alices\"\n"),
    );
    let labelled = |severity: &str, title: &str, more: &str| {
        alert(&format!("key=\"{title}\" severity=\"{severity}\""), &format!("<title>{title}</title>{more}"))
    };
    let host = |name: &str| format!("<label name=\"host\">{name}</label>");
    lab.mail(&labelled("critical", "Silent", "<label name=\"kind\">noise</label>"));
    lab.mail(&labelled("major", "Both", &host("db12")));
    lab.mail(&labelled("major", "Alice only", &host("olddb12")));
    lab.mail(&labelled("minor", "Bob only", &host("db1")));
    lab.mail(&labelled("minor", "Carol only", "<group>wanted</group>"));
    lab.mail(&labelled("minor", "Nobody", ""));
    alice.gets("Alice only").await;
    bob.gets("Bob only").await;
    carol.gets("Carol only").await;
    let nobody = mailbell.alert("Nobody").await;
    for (client, titles) in
        [(&alice, ["Both", "Alice only"]), (&bob, ["Both", "Bob only"]), (&carol, ["Carol only"; 2])]
    {
        let got = client.messages().iter().filter(|m| !m.body().unwrap().starts_with("mailbell: ")).count();
        assert!(titles.iter().all(|t| client.copies(t) == 1), "{}", client.jid);
        assert_eq!(got, if titles[0] == titles[1] { 1 } else { 2 }, "{}", client.jid);
    }
    assert_eq!(nobody.state, "unsubscribed");
    let silent = mailbell.alert("Silent").await;
    assert_eq!((silent.state.as_str(), silent.reason.as_str()), ("recorded", "route 1: recorded without paging"));
    assert_eq!(mailbell.alert("Both").await.reason, "route 2 → bobs; route 3 → alices");
    mailbell.logged("no route and no default group wants this alert; it is archived as unsubscribed", 1).await;
    let notice = alice.gets("mailbell: #").await;
    assert!(notice.contains("Nobody"), "{notice}");
}

#[tokio::test]
async fn a_sender_chooses_the_group_only_where_the_mailbox_lets_it() {
    let lab = Lab::with(&["alice", "bob"], &["inbox", "free"], Default::default());
    let (alice, bob) = (lab.online("alice").await, lab.online("bob").await);
    let mailbell = Mailbell::run(
        &(lab.base()
            + &lab.imap("inbox", "")
            + &lab.imap("free", "sender_may_choose_group = true")
            + &group("ops", &["alice"], "")
            + &group("others", &["bob"], "")
            + OPERATORS),
    );
    lab.mail(&asks("others", "major", "Not yours to choose"));
    alice.gets("Not yours to choose").await;
    lab.mail_to("free", &asks("others", "major", "Chosen"));
    bob.gets("Chosen").await;
    lab.mail_to("free", &asks("nosuch", "major", "Chosen badly"));
    alice.gets("MAJOR: Chosen badly").await;
    alice.gets("`nosuch`, which does not exist").await;
    assert_eq!((alice.copies("Chosen\n"), bob.count()), (0, 1));
    drop(mailbell);
}

#[tokio::test]
async fn exercises_page_only_where_a_route_asks_for_them() {
    let lab = Lab::new(&["alice", "bob"]);
    let (alice, bob) = (lab.online("alice").await, lab.online("bob").await);
    let mailbell = Mailbell::run(
        &(lab.base()
            + &lab.imap("inbox", "")
            + &group("ops", &["alice"], "")
            + &group("drill", &["bob"], "")
            + "[[route]]\nmatch = { \"label.cap.status\" = \"Exercise\" }\ngroups = [\"drill\"]\n"
            + OPERATORS),
    );
    lab.mail(&Cap::alert("t1").status("Test").info("Extreme", "Only a test", "").mail());
    lab.mail(&Cap::alert("e1").status("Exercise").info("Extreme", "Only a drill", "").mail());
    lab.mail(&Cap::alert("a1").info("Extreme", "The real thing", "").mail());
    assert!(bob.gets("Only a drill").await.starts_with("[Exercise] CRITICAL: Only a drill\n"));
    let real = alice.gets("The real thing").await;
    assert_eq!(real.matches("Area: Lake County").count(), 1, "{real}");
    let test = mailbell.alert("Only a test").await;
    assert_eq!(test.state, "recorded");
    assert_eq!((alice.count(), bob.count()), (1, 1));
}

#[tokio::test]
async fn what_is_not_public_stays_so() {
    let lab = Lab::new(&["alice", "bob"]);
    let (alice, bob) = (lab.online("alice").await, lab.online("bob").await);
    let everyone = group("everyone", &["bob"], "").replace("members", "public = true\nmembers");
    let mailbell = Mailbell::run(
        &(lab.base()
            + &lab.imap("inbox", "")
            + &group("ops", &["alice"], "")
            + &everyone
            + "[[route]]\ngroups = [\"ops\", \"everyone\"]\n"
            + OPERATORS),
    );
    lab.mail(&Cap::alert("r1").scope("Restricted").info("Severe", "Restricted news", "").mail());
    let to_bob = Cap::alert("p1").scope("Private").addresses("bob@example.test");
    lab.mail(&to_bob.info("Severe", "Private news", "").mail());
    lab.mail(&Cap::alert("u1").info("Severe", "Public news", "").mail());
    for client in [&alice, &bob] {
        client.gets("Public news").await;
    }
    assert_eq!((alice.copies("Restricted news"), bob.copies("Restricted news")), (1, 0));
    assert_eq!(
        (alice.copies("MAJOR: Private news"), bob.copies("Private news")),
        (0, 0),
        "she is not named, his group is public"
    );
    let private = mailbell.alert("Private news").await;
    assert!(private.reason.contains("nobody is told"), "{}", private.reason);
    alice.gets("`Private news` from storms@example.test: nobody is told").await;
}

#[tokio::test]
async fn cap_updates_and_cancels_by_reference() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let mailbell = Mailbell::run(&lab.config());
    let first = Cap::alert("storm-1").info("Moderate", "Storm comes", "");
    let other = Cap::alert("storm-2").info("Moderate", "Another storm", "");
    lab.mail(&first.mail());
    lab.mail(&other.mail());
    alice.gets("Another storm").await;
    let worse = Cap::update("storm-1b", &[&first]).info("Extreme", "Storm is here", "");
    lab.mail(&worse.mail());
    assert!(alice.gets("Storm is here").await.starts_with("UPDATE CRITICAL: "));
    lab.mail(&Cap::cancel("storm-1c", &[&first, &worse]).info("Minor", "Storm is over", "").mail());
    let over = alice.gets("Storm is over").await;
    assert!(over.starts_with("RESOLVED: Storm is over\nEnds #1 after "), "{over}");
    // Somebody else's cancel of the other one ends nothing.
    let forged = Cap::cancel("x", &[&other]).info("Minor", "Forged end", "").mail();
    lab.mail(&forged.replace("<sender>storms@", "<sender>forger@"));
    assert_eq!(mailbell.alert("Forged end").await.state, "recorded");
    lab.mail(&critical("marker", "Marker"));
    alice.gets("Marker").await;
    assert_eq!(alice.count(), 5);
}

#[tokio::test]
async fn everybody_reads_their_language() {
    let lab = Lab::new(&["alice"]);
    lab.chat.add_user("hans");
    let (alice, hans) = (lab.online("alice").await, lab.online("hans").await);
    let _mailbell = Mailbell::run(
        &(lab.base()
            + "[[recipient]]\nname = \"hans\"\njid = \"hans@example.test\"\nlang = \"de\"\n"
            + &lab.imap("inbox", "")
            + &group("ops", &["alice", "hans"], "")
            + OPERATORS),
    );
    let cap = Cap::alert("storm").info("Extreme", "Storm comes", "").info_in("de-DE", "Extreme", "Sturm kommt", "");
    lab.mail(&cap.mail());
    alice.gets("CRITICAL: Storm comes").await;
    hans.gets("CRITICAL: Sturm kommt").await;
}

#[tokio::test]
async fn one_bad_alert_in_a_mail_takes_no_other_with_it() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let mailbell = Mailbell::run(&lab.config());
    lab.mail(&xml_mail(
        "<alerts xmlns=\"urn:mailbell:alert:1\">\n<alert id=\"a\"><title>First</title></alert>\n\
         <alert id=\"b\" severity=\"apocalyptic\"><title>Second</title></alert>\n\
         <alert id=\"c\"><title>Third</title></alert>\n</alerts>",
    ));
    alice.gets("WARNING: First").await;
    alice.gets("WARNING: Third").await;
    let notice = alice.gets("mailbell: mailbox inbox: message 1 is in quarantine: ").await;
    assert!(notice.contains("line 4") && notice.contains("severity") && notice.contains("apocalyptic"), "{notice}");
    assert_eq!(alice.copies("Second\n"), 0);
    let listed = mailbell.cli(&["quarantine", "list", "--json"], true);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert!(listed["reasons"][0].as_str().unwrap().contains("apocalyptic"), "{listed}");
}

#[tokio::test]
async fn only_allowed_senders_are_believed_and_the_others_are_put_away() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let senders = "senders = [\"*@example.test\"]\nafter = \"move:Done\"\nrejected = \"move:Rejected\"";
    let mailbell = Mailbell::run(&(lab.base() + &lab.imap("inbox", senders) + &lab.everybody("ops") + OPERATORS));
    let from = |header: &str, title: &str| critical(title, title).replace("From: monitor@example.test", header);
    lab.mail(&from("From: evil@example.org", "Stranger"));
    lab.mail(&from("From: monitor@example.test\nFrom: evil@example.org", "Two headers"));
    lab.mail(&from("From: monitor@example.test, evil@example.org", "Two addresses"));
    lab.mail(&from("From: \"monitor@example.test\" <evil@example.org>", "Display name"));
    lab.mail(&from("From: Monitor <MONITOR@Example.Test>", "Allowed"));
    alice.gets("Allowed").await;
    let states: Vec<_> = mailbell.judged(5).await.into_iter().map(|(state, _)| state).collect();
    assert_eq!(states, ["rejected", "rejected", "rejected", "rejected", "parsed"]);
    crate::support::wait_for("4 mails in Rejected, one in Done", crate::support::mailbell::SOON, async || {
        let there = (lab.dovecot.count("inbox", "Rejected"), lab.dovecot.count("inbox", "Done"));
        (there == (4, 1)).then_some(())
    })
    .await;
    lab.mail(&critical("marker", "Marker"));
    alice.gets("Marker").await;
    assert_eq!(alice.count(), 2, "who is rejected is not announced");
}
