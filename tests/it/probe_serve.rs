//! The probe engine inside the service: what dies is told, and what comes back.

use std::net::TcpListener;

use crate::support::free_port;
use crate::support::lab::{Lab, OPERATORS, group};
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::outcome::all_in_state;
use crate::support::wait_for;

/// `[probe]` that notices within a second.
pub fn fast(targets: &[u16], more: &str) -> String {
    let targets: Vec<String> = targets.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    format!(
        "[probe]\ninterval = \"1s\"\ntimeout = \"500ms\"\nattempts = 2\nretry_interval = \"200ms\"\ntargets = {targets:?}\n{more}\n"
    )
}

pub fn listen(port: u16) -> TcpListener {
    TcpListener::bind(("127.0.0.1", port)).unwrap()
}

/// Waits until somebody connected.
pub async fn probed(listener: &TcpListener) {
    listener.set_nonblocking(true).unwrap();
    wait_for("a probe", SOON, async || listener.accept().ok()).await;
}

#[tokio::test]
async fn an_outage_is_told_once_across_a_crash_and_so_is_its_end() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let (port, beside) = (free_port(), free_port());
    let (target, other) = (listen(port), listen(beside));
    let mut mailbell = Mailbell::run(&(lab.config() + &fast(&[port, beside], "")));
    probed(&target).await;
    drop(target);
    let told = alice.gets(&format!("127.0.0.1:{port} is down: refused")).await;
    for part in
        ["MAJOR: ", "Outage since ", "Host: 127.0.0.1", "Reason: 127.0.0.1 refused the connection", "Attempts: 2"]
    {
        assert!(told.contains(part), "no {part:?} in {told}");
    }
    assert!(told.lines().last().unwrap().contains("probe · "), "{told}");

    all_in_state(&mailbell, "is down", 1, "delivered").await;

    // It knows after a crash what it told: both ports are probed at the same moments.
    mailbell.kill();
    mailbell.start();
    for _ in 0..3 {
        probed(&other).await;
    }
    assert_eq!(alice.copies("is down"), 1);
    let target = listen(port);
    let end = alice.gets("answers again").await;
    assert!(end.starts_with(&format!("RESOLVED: 127.0.0.1:{port} answers again")), "{end}");
    assert!(end.contains("Down for ") && end.contains("Ends #"), "{end}");
    probed(&target).await;
    assert_eq!((alice.copies("is down"), alice.copies("answers again")), (1, 1));
    mailbell.stop();
}

#[tokio::test]
async fn a_dead_host_is_one_message_and_goes_where_its_class_says() {
    let lab = Lab::new(&["alice", "bob"]);
    let (alice, bob) = (lab.online("alice").await, lab.online("bob").await);
    let ports = [free_port(), free_port()];
    let targets = ports.map(listen);
    let class = format!(
        "[[probe.class]]\nname = \"shop\"\nports = {ports:?}\nhosts = [\"127.0.0.1\"]\nseverity = \"critical\"\n\
         [[route]]\nmatch = {{ source = \"probe\", \"label.class\" = \"shop\" }}\ngroups = [\"shopkeepers\"]\n"
    );
    let config = lab.config() + &group("shopkeepers", &["bob"], "") + &fast(&[], &class);
    let mailbell = Mailbell::run(&config);
    for target in &targets {
        probed(target).await;
    }
    drop(targets);
    let told = bob.gets("127.0.0.1 is down: none of its 2 ports answers: refused").await;
    for port in ports {
        assert!(told.contains(&format!("Port {port} (shop): 127.0.0.1 refused the connection, 2 attempts")), "{told}");
    }
    let first = listen(ports[0]);
    bob.gets(&format!("127.0.0.1 answers again on port {}", ports[0])).await;
    // The other one has its attempts again, and is told by itself.
    bob.gets(&format!("127.0.0.1:{} is down: refused", ports[1])).await;
    let second = listen(ports[1]);
    bob.gets(&format!("127.0.0.1:{} answers again", ports[1])).await;
    assert_eq!((bob.count(), alice.count()), (4, 0));
    drop((mailbell, first, second));
}

#[tokio::test]
async fn a_reload_takes_new_targets_and_ends_the_outage_of_one_that_is_gone() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let (dead, new) = (free_port(), free_port());
    let mailbell = Mailbell::run(&(lab.config() + &fast(&[dead], "")));
    alice.gets(&format!("127.0.0.1:{dead} is down")).await;
    let target = listen(new);
    mailbell.reload(&(lab.config() + &fast(&[new], "")));
    alice.gets(&format!("127.0.0.1:{dead} is not probed any more")).await;
    probed(&target).await;
    assert_eq!(alice.count(), 2);
}

#[tokio::test]
async fn our_own_limits_are_nobodys_outage() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let port = free_port();
    let target = listen(port);
    let mut mailbell = Mailbell::run(&(lab.config() + &fast(&[port], "attempts = 1")).replace("attempts = 2\n", ""));
    probed(&target).await;
    // No file can be opened any more, and so no socket.
    let limit = |soft: &str| {
        let limit = format!("--nofile={soft}:");
        let done = std::process::Command::new("prlimit").args(["--pid", &mailbell.pid().to_string(), &limit]).status();
        assert!(done.unwrap().success());
    };
    limit("3");
    mailbell.logged("could not be probed, by no fault of its own", 1).await;
    assert!(mailbell.log().contains("too many open files"), "{}", mailbell.log());
    limit("1024");
    mailbell.logged("can be probed again", 1).await;
    assert_eq!(alice.count(), 0);
    drop(target);
    alice.gets("is down: refused").await;
    mailbell.stop();
}

#[tokio::test]
async fn who_is_online_only_later_hears_of_an_outage_that_lasts() {
    let lab = Lab::new(&["alice"]);
    let port = free_port();
    let policy = "offline = \"hold\"\nhold_for = \"1h\"";
    let config = lab.base() + &group("ops", &["alice"], policy) + OPERATORS + &fast(&[port], "");
    let mailbell = Mailbell::run(&config);
    wait_for("a held outage", SOON, async || (!mailbell.queue(&["--state", "held"]).is_empty()).then_some(())).await;
    let target = listen(port);
    wait_for("its end", SOON, async || (!mailbell.queue(&["--state", "superseded"]).is_empty()).then_some(())).await;
    drop(target);
    wait_for("the next one", SOON, async || (!mailbell.queue(&["--state", "held"]).is_empty()).then_some(())).await;
    let alice = lab.online("alice").await;
    alice.gets("is down: refused").await;
    assert_eq!(alice.copies("is down: refused"), 1);
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_crash_in_the_commit_of_an_outage_neither_loses_it_nor_tells_it_as_two() {
    use crate::support::outcome::{aborted, came_with_one_id};
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    for point in ["inside_d2", "after_d2"] {
        let (dead, beside) = (free_port(), free_port());
        let other = listen(beside);
        let mut mailbell = Mailbell::new(&(lab.config() + &fast(&[dead, beside], "")));
        mailbell.env("FAILPOINTS", &format!("{point}=panic"));
        mailbell.spawn();
        aborted(&mut mailbell).await;
        mailbell.env("FAILPOINTS", "");
        mailbell.start();
        let title = format!("127.0.0.1:{dead} is down: refused");
        alice.gets(&title).await;
        all_in_state(&mailbell, &title, 1, "delivered").await;
        for _ in 0..3 {
            probed(&other).await;
        }
        came_with_one_id(&alice, &title, 2);
        let end = listen(dead);
        alice.gets(&format!("127.0.0.1:{dead} answers again")).await;
        drop(end);
        mailbell.stop();
    }
}

#[tokio::test]
async fn what_is_behind_a_dead_gateway_or_in_maintenance_is_told_when_it_is_still_dead_after_it() {
    let lab = Lab::new(&["alice"]);
    let alice = lab.online("alice").await;
    let [gateway, child, mended, beside] = [(); 4].map(|()| free_port());
    let targets = [gateway, child, mended, beside].map(listen);
    let depends =
        format!("[[probe.target]]\naddress = \"127.0.0.1:{child}\"\ndepends_on = [\"127.0.0.1:{gateway}\"]\n");
    let window = format!(
        "[[probe.maintenance]]\nname = \"patch night\"\ntargets = [\"127.0.0.1:{mended}\"]\nat = \"00:00\"\nfor = \"7d\"\n"
    );
    let config = |more: &str| lab.config() + &fast(&[gateway, mended, beside], &(depends.clone() + more));
    let mailbell = Mailbell::run(&config(&window));
    let [gate, behind, under_repair, other] = targets;
    probed(&behind).await;
    drop((gate, behind, under_repair));
    alice.gets(&format!("127.0.0.1:{gateway} is down: refused")).await;
    mailbell.logged("its outage is held back", 2).await;
    for why in [&format!("127.0.0.1:{gateway} fails, which it depends on"), "maintenance: patch night"] {
        assert!(mailbell.log().contains(why), "no {why:?} in {}", mailbell.log());
    }
    assert_eq!(alice.count(), 1);

    let gate = listen(gateway);
    alice.gets(&format!("127.0.0.1:{gateway} answers again")).await;
    alice.gets(&format!("127.0.0.1:{child} is down: refused")).await;
    assert_eq!(alice.count(), 3);

    // The maintenance is over before its time.
    mailbell.reload(&config(""));
    alice.gets(&format!("127.0.0.1:{mended} is down: refused")).await;
    let back = [listen(child), listen(mended)];
    for port in [child, mended] {
        alice.gets(&format!("127.0.0.1:{port} answers again")).await;
    }
    assert_eq!(alice.count(), 6);
    drop((mailbell, gate, back, other));
}
