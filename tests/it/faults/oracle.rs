//! The oracle itself: a gateway that is broken on purpose is caught.

use crate::support::lab::Lab;
use crate::support::mailbell::Mailbell;
use crate::support::oracle::Oracle;
use crate::support::witness::Witness;

#[tokio::test]
async fn a_gateway_that_works_is_not_accused() {
    let lab = Lab::new(&["alice"]);
    let alice = Witness::start(lab.login("alice"), "alice").await;
    let mailbell = Mailbell::run(&lab.config());
    let oracle = Oracle::new(0, "nothing");
    oracle.mail(&lab, 3);
    oracle.over();
    let verdict = oracle.verdict(&mailbell, &lab, &[&alice]).await;
    oracle.all_told(&verdict, 1);
    // The three, and the marker.
    assert_eq!((verdict.fates.len(), verdict.extra(), verdict.latencies.len()), (4, 0, 4));
}

#[cfg(feature = "failpoints")]
mod broken {
    use super::*;
    use crate::support::outcome::aborted;

    /// Three mails: the second one dies with the gateway at that failpoint.
    async fn dies_in_the_second(failpoints: &str, after: &str) -> crate::support::oracle::Verdict {
        let lab = Lab::new(&["alice"]);
        let alice = Witness::start(lab.login("alice"), "alice").await;
        let config = lab.config().replace("poll = \"3s\"\n", &format!("poll = \"3s\"\n{after}\n"));
        let mut mailbell = Mailbell::new(&config);
        mailbell.env("FAILPOINTS", failpoints);
        mailbell.start();
        let oracle = Oracle::new(0, failpoints);
        oracle.mail(&lab, 1);
        oracle.settled(&mailbell, &[&alice]).await;
        oracle.mail(&lab, 1);
        aborted(&mut mailbell).await;
        mailbell.env("FAILPOINTS", "");
        mailbell.start();
        oracle.over();
        oracle.mail(&lab, 1);
        oracle.verdict(&mailbell, &lab, &[&alice]).await
    }

    #[tokio::test]
    async fn one_that_clears_the_mailbox_before_d1_is_caught() {
        let verdict = dies_in_the_second("clear_before_d1=return;before_d1=1*off->panic", "after = \"delete\"").await;
        let lost: Vec<_> = verdict.lost().iter().map(|fate| (fate.number, fate.state.clone())).collect();
        assert_eq!(lost, [(1, String::new())], "{verdict:#?}");
    }

    #[tokio::test]
    async fn one_that_marks_accepted_before_the_write_is_caught() {
        let verdict = dies_in_the_second("accepted_before_write=1*off->return;after_d2=1*off->panic", "").await;
        let lost: Vec<_> = verdict.lost().iter().map(|fate| (fate.number, fate.state.clone())).collect();
        assert_eq!(lost, [(1, "accepted".to_owned())], "{verdict:#?}");
    }
}
