//! The sample, odd files each with everything that is read of it and said of it, and whatever else may stand in such a file.

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::probe::settings::MOST_TARGETS;
use crate::probe::settings::tests::rules;

const DIR: &str = "tests/fixtures/healthcheck";

fn read(text: &str) -> Healthcheck {
    Healthcheck::read(text.as_bytes())
}

/// Everything that was read, as people would write it down; the password as what it is.
fn told(read: &Healthcheck) -> String {
    let mut told = String::new();
    let mut line = |what: &str, text: String| told.push_str(&format!("{what} {text}\n"));
    for Class { name, ports, hosts } in &read.classes {
        let hosts: Vec<_> = hosts.iter().map(Listed::to_string).collect();
        line("class", format!("{name} {ports:?}: {}", hosts.join(" ")));
    }
    read.hosts.iter().for_each(|host| line("host", host.to_string()));
    read.interval.iter().for_each(|interval| line("interval", format!("{interval:?}")));
    read.users.iter().for_each(|user| line("user", user.clone()));
    read.server.iter().for_each(|server| line("server", server.clone()));
    read.login_user.iter().for_each(|user| line("login user", user.clone()));
    read.password.iter().for_each(|password| line("password", password.expose().to_owned()));
    read.faults.iter().for_each(|fault| line("fault", fault.to_string()));
    told
}

#[test]
fn the_sample_is_read_without_a_fault() {
    let sample = std::fs::read("config/healthcheck.properties").unwrap();
    let read = Healthcheck::read(&sample);
    insta::assert_snapshot!(told(&read));
    let defaults = rules();
    let probes = read.probes(&defaults);
    assert_eq!(probes.len(), 3 + 4 + 10 + 2 + 3 + 3 + 4);
    assert!(probes.iter().all(|probe| probe.rules.interval == Duration::from_secs(300)));
    assert_eq!(Rules { interval: defaults.interval, ..probes[0].rules.clone() }, defaults);
    assert_eq!(
        (probes[0].target.to_string().as_str(), probes[0].classes.join(" ").as_str()),
        ("mail1.example.org:1352", "domino")
    );
    let last = probes.last().unwrap();
    assert_eq!((last.target.to_string().as_str(), last.classes.len()), ("192.0.2.17:1024", 0));
}

#[test]
fn odd_files_are_read_as_far_as_they_can_be() {
    let mut files: Vec<_> = std::fs::read_dir(DIR).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 7, "{files:?}");
    for file in files {
        let read = Healthcheck::read(&std::fs::read(&file).unwrap());
        insta::assert_snapshot!(file.file_stem().unwrap().to_str().unwrap(), told(&read));
    }
}

#[test]
fn no_fault_holds_a_password() {
    let bytes = std::fs::read(Path::new(DIR).join("passwords.properties")).unwrap();
    let read = Healthcheck::read(&bytes);
    assert_eq!(read.password.as_ref().map(Secret::expose), Some("CANARY #3 ;="));
    assert!(read.faults.len() > 15, "{:#?}", read.faults);
    let users = vec![String::new(); 2];
    let shown = format!("{:?} {:#?}", Healthcheck { users, ..read.clone() }, read.faults);
    assert!(!shown.contains("CANARY"), "{shown}");
}

#[test]
fn a_target_of_two_classes_is_probed_once() {
    let probes = read("[Domino]\na\n[Quickplace]\nA.\n[Hosts]\na;389,22\n").probes(&rules());
    let shown: Vec<_> = probes.iter().map(|probe| format!("{} {}", probe.target, probe.classes.join("+"))).collect();
    assert_eq!(shown, ["a:1352 domino+quickplace", "a:80 domino+quickplace", "a:389 quickplace", "a:22 "]);
    assert_eq!(probes[0].rules, rules());
}

#[test]
fn a_time_out_is_shorter_than_the_files_interval() {
    let seconds = Duration::from_secs_f64;
    for (file, interval, timeout) in [("", 60.0, 3.0), ("4", 4.0, 3.0), ("3", 3.0, 1.5), ("1", 1.0, 0.5)] {
        let of_file = read(&format!("Check_Interval={file}")).rules(&rules());
        assert_eq!(of_file, Rules { interval: seconds(interval), timeout: seconds(timeout), ..rules() });
    }
}

#[test]
fn what_a_large_file_asks_for_is_bounded() {
    let ports: Vec<_> = (1..=1000).map(|port: u16| port.to_string()).collect();
    let hosts: String = (0..100).map(|n| format!("h{n}\n")).collect();
    let read =
        read(&format!("Domino_Ports={}\n[Domino]\n{hosts}[Hosts]\na;80\nb;{}\n", ports.join(","), ports.join(",")));
    assert_eq!(read.probes(&rules()).len(), 65_000 + 1);
    assert_eq!(read.faults.len(), 100 - 65 + 1);
    assert_eq!(
        read.faults[0].to_string(),
        format!(
            "line 68: with this host there are more than {MOST_TARGETS} targets: it was left out; check fewer ports or hosts"
        )
    );
    let users: Vec<_> = (0..1500).map(|n| n.to_string()).collect();
    let told = Healthcheck::read(format!("Sametime_Notification_Users={}", users.join(",")).as_bytes());
    assert_eq!((told.users.len(), told.faults.len()), (1000, 1));
    let faults = Healthcheck::read("x\n".repeat(5000).as_bytes()).faults;
    assert_eq!(faults.len(), Healthcheck::MOST_FAULTS + 1);
    assert_eq!(faults.last().unwrap().wrong, "4000 more faults are not shown");
}

/// What stands in such files, and what may go wrong in it.
fn line() -> impl Strategy<Value = String> {
    const SECTIONS: &[&str] = &["Ports", "Domino", "sametime", "Hosts", "Options", "Web Servers", "", "pw"];
    const KEYS: &[&str] = &[
        "Domino_Ports",
        "web_servers_ports",
        "Check_Interval",
        "Sametime_Notification_Users",
        "Sametime_login_user",
        "X",
    ];
    let values = "[a-z0-9;,#/ <=.-]{0,12}";
    prop_oneof![
        prop::sample::select(SECTIONS).prop_map(|name| format!("[{name}]")),
        (prop::sample::select(KEYS), values).prop_map(|(key, value)| format!("{key}={value}")),
        "[a-z0-9.:-]{1,8}( ?; ?[0-9, x]{0,10})?( (<-|;|#) ?[a-z;=#]{0,5})?",
        "(?i:sametime_login_pw) *= ?CANARY[a-z;# =]{0,9}( <- CANARY)?",
        "(Sametime_login_pw|Password|login|pw)[:_ ]? ?CANARY=?",
        "\\PC{0,12}",
        any::<String>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn whatever_stands_there_is_read_and_no_password_is_shown(
        lines in prop::collection::vec(line(), 0..30),
        end in prop::sample::select(&["\n", "\r\n"][..]),
    ) {
        let text = lines.join(end);
        holds(&Healthcheck::read(text.as_bytes()), text.lines().count())?;
    }

    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let read = Healthcheck::read(&bytes);
        holds(&read, bytes.iter().filter(|byte| **byte == b'\n').count() + 1)?;
    }
}

fn holds(read: &Healthcheck, lines: usize) -> Result<(), TestCaseError> {
    let shown = format!("{read:?} {}", read.faults.iter().map(Fault::to_string).collect::<String>());
    prop_assert!(!shown.contains("CANARY"), "{}", shown);
    for fault in &read.faults {
        prop_assert!((1..=lines.max(1)).contains(&fault.line), "{} of {} lines", fault, lines);
        prop_assert!(!fault.to_string().contains(crate::model::plays_tricks), "{:?}", fault);
        prop_assert!(!fault.wrong.is_empty() && !fault.mend.is_empty());
    }
    let probes = read.probes(&rules());
    let targets: BTreeSet<_> = probes.iter().map(|probe| &probe.target).collect();
    prop_assert_eq!(targets.len(), probes.len());
    prop_assert!(probes.len() <= MOST_TARGETS);
    let names: BTreeSet<_> = read.classes.iter().map(|class| class.name.as_str().to_lowercase()).collect();
    prop_assert_eq!(names.len(), read.classes.len());
    // Every probe of a class has a port to go to.
    let of_ports = read.classes.iter().all(|class| class.size() >= class.hosts.len());
    prop_assert!(of_ports && read.hosts.iter().all(|host| !host.ports.is_empty()));
    Ok(())
}
