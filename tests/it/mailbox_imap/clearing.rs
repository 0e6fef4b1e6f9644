//! What becomes of mails that are stored, in folders of any name.

use mailbell::mailbox::{self, After, Failure, Settings};

use super::{assert_failure, cursors, imap, mail, subjects};
use crate::support::ca::Ca;
use crate::support::dovecot::Dovecot;

#[tokio::test]
async fn each_way_to_clear_does_what_it_says() {
    let ca = Ca::new();
    let dovecot = Dovecot::start(&ca, &["alerts"]);
    dovecot.put("alerts", (1..=8).map(|n| mail(n, 100)).collect::<Vec<_>>().iter().map(Vec::as_slice));
    let mut mailbox = mailbox::open(imap(&dovecot)).unwrap();
    let all = cursors(&mailbox.list(None).await.unwrap().entries);
    let count = |folder| dovecot.count("alerts", folder);

    let kept = mailbox.clear(&all[..2], &After::Keep).await.unwrap();
    assert_eq!((kept.done.as_slice(), count("INBOX")), (&all[..2], 8));

    mailbox.clear(&all[2..4], &After::Seen).await.unwrap();
    let seen = dovecot.files("alerts", "INBOX").iter().filter(|name| name.ends_with('S')).count();
    assert_eq!((seen, count("INBOX")), (2, 8));

    let moved = mailbox.clear(&all[4..6], &After::Move("Processed".into())).await.unwrap();
    assert_eq!((moved.done.len(), moved.warning), (2, None));
    assert_eq!((count("INBOX"), count("Processed")), (6, 2), "the folder was created");

    mailbox.clear(&all[6..], &After::Delete).await.unwrap();
    assert_eq!(count("INBOX"), 4);
    // What is gone already needs no clearing.
    let again = mailbox.clear(&all[4..], &After::Move("Processed".into())).await.unwrap();
    assert_eq!(again.done.as_slice(), &all[4..]);
    assert_eq!(subjects(mailbox.as_mut()).await.len(), 4);
}

#[tokio::test]
async fn folders_may_have_any_name() {
    let ca = Ca::new();
    let dovecot = Dovecot::start(&ca, &["alerts"]);
    dovecot.deliver("alerts", &mail(1, 100));
    let name = "Verärgert & \"Co\"";
    let mut mailbox = mailbox::open(imap(&dovecot)).unwrap();
    let all = cursors(&mailbox.list(None).await.unwrap().entries);
    mailbox.clear(&all, &After::Move(name.into())).await.unwrap();
    let mut there = mailbox::open(Settings { folder: name.into(), ..imap(&dovecot) }).unwrap();
    assert_eq!(subjects(there.as_mut()).await, ["mail 1"]);
    let mut missing = mailbox::open(Settings { folder: "Nowhere".into(), ..imap(&dovecot) }).unwrap();
    assert_failure(missing.list(None).await, Failure::Permanent, "create it, or correct `folder`");
}

#[tokio::test]
async fn without_move_it_copies_and_without_uidplus_it_never_expunges() {
    let ca = Ca::new();
    let uidplus = "imap_capability = IMAP4rev1 IDLE UIDPLUS";
    for (capability, left, warned) in [(uidplus, 1, false), ("imap_capability = IMAP4rev1", 4, true)] {
        let dovecot = Dovecot::start_with(&ca, &[("alerts", "pw-alerts")], capability);
        for number in 1..=4 {
            dovecot.deliver("alerts", &mail(number, 100));
        }
        let mut mailbox = mailbox::open(imap(&dovecot)).unwrap();
        let all = cursors(&mailbox.list(None).await.unwrap().entries);
        let moved = mailbox.clear(&all[..2], &After::Move("Processed".into())).await.unwrap();
        let deleted = mailbox.clear(&all[2..3], &After::Delete).await.unwrap();
        assert_eq!((moved.done.len(), deleted.done.len()), (2, 1));
        assert_eq!((moved.warning.is_some(), deleted.warning.is_some()), (warned, warned), "{capability}");
        assert_eq!(dovecot.count("alerts", "Processed"), 2);
        assert_eq!(dovecot.count("alerts", "INBOX"), left, "{capability}");
        let flagged = dovecot.files("alerts", "INBOX").iter().filter(|name| name.ends_with('T')).count();
        assert_eq!(flagged, if warned { 3 } else { 0 });
    }
}

#[tokio::test]
async fn mails_that_another_program_removed_are_told_of() {
    let ca = Ca::new();
    let dovecot = Dovecot::start(&ca, &["alerts"]);
    dovecot.put("alerts", (1..=5).map(|n| mail(n, 100)).collect::<Vec<_>>().iter().map(Vec::as_slice));
    let mut mailbox = mailbox::open(imap(&dovecot)).unwrap();
    let all = cursors(&mailbox.list(None).await.unwrap().entries);
    let mut other = mailbox::open(imap(&dovecot)).unwrap();
    assert_eq!(other.clear(&all[..1], &After::Delete).await.unwrap().warning, None);
    let cleared = mailbox.clear(&all[..3], &After::Delete).await.unwrap();
    assert_eq!(cleared.done, &all[..3]);
    let warning = cleared.warning.unwrap();
    assert!(warning.contains("of 3 mails 1 were gone") && warning.contains("a second mailbell"), "{warning}");
    other.clear(&all[3..4], &After::Delete).await.unwrap();
    let moved = mailbox.clear(&all[3..], &After::Move("Processed".into())).await;
    assert_failure(moved, Failure::Transient, "is it a second mailbell?");
    let again = mailbox.clear(&all[3..], &After::Move("Processed".into())).await.unwrap();
    assert_eq!((again.done.as_slice(), dovecot.count("alerts", "Processed")), (&all[3..], 1));
}
