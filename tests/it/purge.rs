//! What is old and over goes; what is not over stays, however old.

use crate::support::lab::{Lab, OPERATORS, alert, critical};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::outcome::all_in_state;
use crate::support::wait_for;

fn resolved(key: &str, title: &str) -> String {
    alert(&format!("key=\"{key}\" status=\"resolved\""), &format!("<title>{title}</title>"))
}

async fn left(mailbell: &Mailbell, table: &str, rows: i64) {
    let what = format!("{rows} rows in {table}");
    wait_for(&what, SOON, async || (mailbell.count(table).await == rows).then_some(())).await;
}

#[tokio::test]
async fn a_year_later_the_past_is_gone_but_for_what_is_not_over() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    // A complete listing each time that it starts, and mails that stay in their mailbox.
    let config = lab.base() + &lab.imap("inbox", "after = \"seen\"") + &lab.everybody("ops") + OPERATORS;
    let mut mailbell = Mailbell::run(&config);
    for (title, mail) in [
        ("Disk is full", critical("disk", "Disk is full")),
        ("Fan is dead", critical("fan", "Fan is dead")),
        ("Fan runs again", resolved("fan", "Fan runs again")),
    ] {
        lab.mail(&mail);
        alice.gets(title).await;
        all_in_state(&mailbell, title, 1, "delivered").await;
    }
    // After a silence of a year the clock would not be believed at once.
    lab.mail(&resolved("nothing", "Nothing was wrong"));
    mailbell.alert("Nothing was wrong").await;
    mailbell.stop();
    mailbell.age(400).await;

    mailbell.start();
    mailbell.logged("purged old alerts", 1).await;
    let titles: Vec<_> = mailbell.alerts().await.into_iter().map(|a| a.title).collect();
    assert_eq!(titles, ["Disk is full", "Nothing was wrong"], "the condition of one is open, the other is new");
    left(&mailbell, "raw", 1).await;
    // The mails are still listed, and no news.
    assert_eq!(mailbell.count("message").await, 4);
    lab.mail(&resolved("disk", "Disk has room again"));
    let text = alice.gets("Disk has room again").await;
    assert!(text.contains("400 d"), "{text}");
    all_in_state(&mailbell, "Disk has room again", 1, "delivered").await;
    assert_eq!(alice.messages().len(), 4, "nothing came twice");
    mailbell.stop();

    // Somebody tidies the mailbox up.
    lab.dovecot.empty("inbox");
    mailbell.start();
    left(&mailbell, "message WHERE retired = 0", 0).await;
    mailbell.stop();
    mailbell.age(400).await;
    mailbell.start();
    // What came last is new.
    for table in ["alert", "condition", "alert_condition", "notification", "raw", "message"] {
        left(&mailbell, table, 1).await;
    }
    lab.mail(&critical("disk", "Disk is full once more"));
    alice.gets("Disk is full once more").await;
    assert_eq!(alice.messages().len(), 5);
    mailbell.stop();
}
