//! The ready-made rules on mails as their senders write them. All sets are in force at once, so that none may take what is
//! another's.

use std::path::Path;

use mailbell::config::load_reading;
use mailbell::model::{Alert, Status};
use mailbell::parse::rules::{READY_MADE, RULE_LABEL};
use mailbell::parse::{How, Limits, Mappings, Outcome, Plain, Rules, mail};

const DIR: &str = "tests/fixtures/rules";

/// Fixture, rule, status, severity, key, title.
type Case = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

#[rustfmt::skip]
const CASES: &[Case] = &[
    ("apcupsd-battery", "apcupsd/change-battery", "firing", "minor", "gw2 ups smart1500 battery", "gw2 UPS smart1500 battery needs changing NOW."),
    ("apcupsd-communication-problem", "apcupsd/communication", "firing", "major", "gw2 ups smart1500 communication", "gw2 Communications with UPS smart1500 lost"),
    ("apcupsd-communication-recovery", "apcupsd/communication", "resolved", "info", "gw2 ups smart1500 communication", "gw2 Communications with UPS smart1500 restored"),
    ("apcupsd-problem", "apcupsd/power", "firing", "major", "gw2 ups smart1500 power", "gw2 UPS smart1500 Power Failure !!!"),
    ("apcupsd-recovery", "apcupsd/power", "resolved", "info", "gw2 ups smart1500 power", "gw2 UPS smart1500 Power has returned"),
    ("apcupsd-shutdown", "apcupsd/shutdown", "firing", "critical", "gw2 ups smart1500 power", "gw2 UPS smart1500 emergency shutdown"),
    ("cron-failed", "cron/failed", "firing", "minor", "root@db1 /usr/local/sbin/dump-databases --all", "db1: /usr/local/sbin/dump-databases --all failed"),
    ("cron-problem", "cron/output", "firing", "warning", "root@db1 /usr/local/sbin/dump-databases --all", "db1: output of /usr/local/sbin/dump-databases --all"),
    ("drac-empty", "idrac/without-text", "firing", "warning", "drac-empty@example.org", "Alert from Dell Remote Access Controller: 192.0.2.31"),
    ("drac-message", "idrac/message-without-id", "firing", "warning", "192.0.2.31 The system event log is almost full.", "iDRAC: The system event log is almost full."),
    ("drac-problem", "idrac/part", "firing", "critical", "192.0.2.31 fan 3", "iDRAC: Fan 3 RPM is less than the lower critical threshold."),
    ("drac-recovery", "idrac/part", "resolved", "info", "192.0.2.31 fan 3", "iDRAC: Fan 3 RPM is within range."),
    ("hp-fan", "hp/alertmail", "firing", "minor", "Fan #7", "Fan #7: Degraded"),
    ("hp-problem", "hp/alertmail", "firing", "critical", "Power Supply #1", "Power Supply #1: Failed"),
    ("hp-recovery", "hp/alertmail", "resolved", "info", "Power Supply #1", "Power Supply #1: OK"),
    ("icinga2-acknowledgement", "nagios/icinga2-acknowledgement", "update", "info", "web1/load", "web1/load is WARNING: acknowledged"),
    ("icinga2-downtime-end", "nagios/icinga2-downtime", "resolved", "info", "Host web1/downtime", "Host web1: scheduled downtime"),
    ("icinga2-downtime", "nagios/icinga2-downtime", "firing", "info", "Host web1/downtime", "Host web1: scheduled downtime"),
    ("icinga2-flapping-end", "nagios/icinga2-flapping", "resolved", "warning", "load on web1/flapping", "load on web1: flapping, now OK"),
    ("icinga2-flapping", "nagios/icinga2-flapping", "firing", "warning", "load on web1/flapping", "load on web1: flapping, now WARNING"),
    ("icinga2-host-acknowledgement", "nagios/icinga2-host-acknowledgement", "update", "info", "web1", "web1 is DOWN: acknowledged"),
    ("icinga2-host-problem", "nagios/icinga2-host", "firing", "critical", "web1", "web1 is DOWN"),
    ("icinga2-host-recovery", "nagios/icinga2-host", "resolved", "info", "web1", "web1 is UP"),
    ("icinga2-problem", "nagios/icinga2-service", "firing", "warning", "web1/load", "web1/load is WARNING"),
    ("icinga2-recovery", "nagios/icinga2-service", "resolved", "info", "web1/load", "web1/load is OK"),
    ("idrac-disk", "idrac/part", "firing", "critical", "esx1.example.org disk 2 in backplane 1 of integrated raid controller 1", "esx1.example.org: Disk 2 in Backplane 1 of Integrated RAID Controller 1 is removed."),
    ("idrac-fan-redundancy-problem", "idrac/fan-redundancy", "firing", "warning", "esx1.example.org fans redundancy", "esx1.example.org: fans redundancy is degraded"),
    ("idrac-fan-redundancy-recovery", "idrac/fan-redundancy", "resolved", "info", "esx1.example.org fans redundancy", "esx1.example.org: fans are redundant"),
    ("idrac-login", "idrac/message", "firing", "info", "esx1.example.org USR0030", "esx1.example.org: Successfully logged in using root, from 192.0.2.9 and GUI."),
    ("idrac-problem", "idrac/part", "firing", "critical", "esx1.example.org power supply 1", "esx1.example.org: The power input for power supply 1 is lost."),
    ("idrac-recovery", "idrac/part", "resolved", "info", "esx1.example.org power supply 1", "esx1.example.org: The input power for power supply 1 has been restored."),
    ("idrac-redundancy-problem", "idrac/power-redundancy", "firing", "major", "esx1.example.org power supplies redundancy", "esx1.example.org: power supplies redundancy is lost"),
    ("idrac-redundancy-recovery", "idrac/power-redundancy", "resolved", "info", "esx1.example.org power supplies redundancy", "esx1.example.org: power supplies are redundant"),
    ("jenkins-extended-problem", "jenkins/extended", "firing", "minor", "billing", "billing #131: Still Failing"),
    ("jenkins-extended-recovery", "jenkins/extended", "resolved", "info", "billing", "billing #132: Fixed"),
    ("jenkins-problem", "jenkins/broken", "firing", "minor", "billing » main", "billing » main #128: failed"),
    ("jenkins-recovery", "jenkins/back", "resolved", "info", "billing » main", "billing » main #130: back to normal"),
    ("jenkins-unstable", "jenkins/broken", "firing", "warning", "billing » main", "billing » main #129: unstable"),
    ("mdadm-degraded", "mdadm/degraded", "firing", "critical", "fs1:/dev/md0", "fs1: /dev/md0 is degraded"),
    ("mdadm-problem", "mdadm/fail", "update", "critical", "fs1:/dev/md0", "fs1: /dev/md0: Fail /dev/sdb1"),
    ("mdadm-rebuild", "mdadm/rebuild", "update", "info", "fs1:/dev/md0", "fs1: /dev/md0: RebuildStarted"),
    ("mdadm-recovery", "mdadm/rebuilt", "resolved", "info", "fs1:/dev/md0", "fs1: /dev/md0: SpareActive"),
    ("mdadm-spares", "mdadm/spares", "firing", "warning", "fs1:/dev/md0 spares", "fs1: /dev/md0 has fewer spares than it should"),
    ("mdadm-still-degraded", "mdadm/rebuilt-but-degraded", "update", "critical", "fs1:/dev/md0", "fs1: /dev/md0: RebuildFinished, but an array is still degraded"),
    ("mdadm-test", "mdadm/other", "firing", "info", "mdadm-test@example.org", "fs1: /dev/md0: TestMessage"),
    ("monit-content", "monit/other", "firing", "warning", "web1/syslog/Content match", "web1: syslog: content match: kernel: Out of memory: Killed process 901 (java)"),
    ("monit-existence-problem", "monit/existence", "firing", "critical", "web1/nginx/existence", "web1: nginx: process is not running"),
    ("monit-existence-recovery", "monit/existence", "resolved", "critical", "web1/nginx/existence", "web1: nginx: process is running with pid 4711"),
    ("monit-instance", "monit/instance", "firing", "info", "monit-instance@example.org", "web1: web1: Monit 5.33.0 started"),
    ("monit-limit-problem", "monit/failure", "firing", "warning", "web1/rootfs/Resource limit", "web1: rootfs: space usage 91.2% matches resource limit [space usage > 90.0%]"),
    ("monit-limit-recovery", "monit/recovery", "resolved", "info", "web1/rootfs/Resource limit", "web1: rootfs: space usage check succeeded [current space usage = 71.4%]"),
    ("monit-link-problem", "monit/link", "firing", "critical", "web1/eth1/link", "web1: eth1: link down"),
    ("monit-link-recovery", "monit/link", "resolved", "critical", "web1/eth1/link", "web1: eth1: link up"),
    ("monit-problem", "monit/failure", "firing", "critical", "web1/nginx/Connection", "web1: nginx: failed protocol test [HTTP] at [localhost]:80 [TCP/IP] -- HTTP: Error receiving data -- Connection refused"),
    ("monit-recovery", "monit/recovery", "resolved", "info", "web1/nginx/Connection", "web1: nginx: connection succeeded to [localhost]:80 [TCP/IP]"),
    ("nagios-acknowledgement", "nagios/acknowledgement", "update", "info", "db1/Disk /var", "db1/Disk /var is CRITICAL: acknowledged"),
    ("nagios-custom", "nagios/custom", "firing", "warning", "nagios-custom@example.org", "db1 is UP"),
    ("nagios-downtime-end", "nagios/downtime", "resolved", "info", "db1/downtime", "db1: scheduled downtime"),
    ("nagios-downtime", "nagios/downtime", "firing", "info", "db1/downtime", "db1: scheduled downtime"),
    ("nagios-flapping-stop", "nagios/flapping", "resolved", "warning", "db1/Disk /var/flapping", "db1/Disk /var: flapping, now OK"),
    ("nagios-flapping", "nagios/flapping", "firing", "warning", "db1/Disk /var/flapping", "db1/Disk /var: flapping, now WARNING"),
    ("nagios-host-problem", "nagios/host", "firing", "critical", "db1", "db1 is DOWN"),
    ("nagios-host-recovery", "nagios/host", "resolved", "info", "db1", "db1 is UP"),
    ("nagios-problem", "nagios/service", "firing", "critical", "db1/Disk /var", "db1/Disk /var is CRITICAL"),
    ("nagios-recovery", "nagios/service", "resolved", "info", "db1/Disk /var", "db1/Disk /var is OK"),
    ("nut-battery", "nut/replace-battery", "firing", "minor", "ups rack1@localhost battery", "UPS rack1@localhost: replace its battery"),
    ("nut-communication-problem", "nut/communication-lost", "firing", "major", "ups rack1@localhost communication", "Communications with UPS rack1@localhost lost"),
    ("nut-communication-recovery", "nut/communication", "resolved", "info", "ups rack1@localhost communication", "Communications with UPS rack1@localhost established"),
    ("nut-low", "nut/power", "firing", "critical", "ups rack1@localhost power", "UPS rack1@localhost battery is low"),
    ("nut-problem", "nut/power", "firing", "major", "ups rack1@localhost power", "UPS rack1@localhost on battery"),
    ("nut-recovery", "nut/power", "resolved", "info", "ups rack1@localhost power", "UPS rack1@localhost on line power"),
    ("nut-text-communication-problem", "nut/communication-in-text", "firing", "major", "ups rack1@localhost communication", "Communications with UPS rack1@localhost lost"),
    ("nut-text-communication-recovery", "nut/communication-in-text", "resolved", "info", "ups rack1@localhost communication", "Communications with UPS rack1@localhost established"),
    ("nut-text-problem", "nut/power-in-text", "firing", "major", "ups rack1@localhost power", "UPS rack1@localhost on battery"),
    ("nut-text-recovery", "nut/power-in-text", "resolved", "info", "ups rack1@localhost power", "UPS rack1@localhost on line power"),
    ("nut-unavailable", "nut/communication-lost", "firing", "major", "ups rack1@localhost communication", "UPS rack1@localhost is unavailable"),
    ("proxmox-fence", "proxmox/fence", "firing", "critical", "pve2 fenced", "pve2 is being fenced"),
    ("proxmox-fenced", "proxmox/fenced", "resolved", "info", "pve2 fenced", "pve2 was fenced, its guests are recovered"),
    ("proxmox-problem", "proxmox/backup", "firing", "major", "pve1.example.org backup", "pve1.example.org: backup failed"),
    ("proxmox-recovery", "proxmox/backup", "resolved", "info", "pve1.example.org backup", "pve1.example.org: backup successful"),
    ("smartd-health", "smartd/warning", "firing", "critical", "fs1:/dev/bus/0 [megaraid_disk_03] FailedHealthCheck", "fs1: /dev/bus/0 [megaraid_disk_03]: FAILED SMART self-check. BACK UP DATA NOW!"),
    ("smartd-problem", "smartd/warning", "firing", "major", "fs1:/dev/sda CurrentPendingSector", "fs1: /dev/sda: 8 Currently unreadable (pending) sectors"),
    ("smartd-test", "smartd/test", "firing", "info", "smartd-test@example.org", "fs1: smartd's test mail"),
    ("vcenter-event", "vcenter/event", "firing", "warning", "vcenter-event@example.org", "esx1.example.org: alarm.HostConnectivityAlarm: Host esx1.example.org in DC1 is not responding"),
    ("vcenter-problem", "vcenter/status", "firing", "critical", "esx1.example.org/Host memory usage", "esx1.example.org: Host memory usage: Green → Red"),
    ("vcenter-recovery", "vcenter/status", "resolved", "info", "esx1.example.org/Host memory usage", "esx1.example.org: Host memory usage: Red → Green"),
    ("veeam-problem", "veeam/job", "firing", "major", "Daily VMs", "Daily VMs: Failed 1 error"),
    ("veeam-recovery", "veeam/job", "resolved", "info", "Daily VMs", "Daily VMs: Success"),
    ("veeam-warning", "veeam/job", "firing", "warning", "Daily VMs", "Daily VMs: Warning 1 warning"),
    ("xymon-disabled", "xymon/recovered", "resolved", "info", "fs1.example.org:cpu", "fs1.example.org:cpu disabled"),
    ("xymon-notice", "xymon/notice", "update", "info", "fs1.example.org:disk", "fs1.example.org:disk: notice"),
    ("xymon-problem", "xymon/alert", "firing", "critical", "fs1.example.org:disk", "fs1.example.org:disk is RED"),
    ("xymon-purple", "xymon/alert", "firing", "major", "fs1.example.org:cpu", "fs1.example.org:cpu is PURPLE"),
    ("xymon-recovery", "xymon/recovered", "resolved", "info", "fs1.example.org:disk", "fs1.example.org:disk recovered"),
    ("xymon-warning", "xymon/alert", "firing", "warning", "fs1.example.org:cpu", "fs1.example.org:cpu is YELLOW"),
    ("zabbix-html-problem", "zabbix/problem", "firing", "critical", "problem 184470", "sw2: Interface eth1 down"),
    ("zabbix-html-recovery", "zabbix/resolved", "resolved", "critical", "problem 184470", "sw2: Interface eth1 down"),
    ("zabbix-problem", "zabbix/problem", "firing", "major", "problem 184467", "db1: Zu wenig Platz auf / (> 90 %)"),
    ("zabbix-recovery", "zabbix/resolved", "resolved", "major", "problem 184467", "db1: Zu wenig Platz auf / (> 90 %)"),
    ("zabbix-update-id", "zabbix/update", "update", "info", "problem 184470", "Interface eth1 down"),
    ("zabbix-update", "zabbix/update-without-id", "update", "info", "zabbix-update@example.org", "Interface eth1 down"),
];

/// The rules of a mailbox with these sets, in this order.
fn rules(sets: &[&str]) -> Rules {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.toml");
    let text = format!("[[mailbox]]\nname = \"m\"\nrules = {sets:?}\n");
    std::fs::write(&file, text).unwrap();
    let reading = load_reading(&file).unwrap_or_else(|errors| panic!("{errors}"));
    reading.mailboxes[0].2.clone()
}

fn read(name: &str, rules: &Rules) -> Outcome {
    let raw = std::fs::read(Path::new(DIR).join(format!("{name}.eml"))).unwrap();
    let how = How { plain: Plain::Quarantine, limits: &Limits::default(), mappings: &Mappings::default(), rules };
    mail(&raw, &how).outcome
}

fn alert(name: &str, rules: &Rules) -> Alert {
    match read(name, rules) {
        Outcome::Alerts { alerts, bad } if alerts.len() == 1 && bad.is_empty() => alerts.into_iter().next().unwrap(),
        other => panic!("{name}: {other:?}"),
    }
}

fn shown(name: &str, alert: &Alert) -> String {
    let rule = alert.labels.get(RULE_LABEL).join(" ");
    let said = [rule.as_str(), alert.status.as_str(), alert.severity.as_str(), &alert.key.0, &alert.title];
    format!("    ({name:?}, {})", said.map(|text| format!("{text:?}")).join(", "))
}

fn all() -> Vec<&'static str> {
    READY_MADE.iter().map(|(name, _)| *name).collect()
}

#[test]
fn each_mail_becomes_what_its_sender_meant() {
    let mut sets = all();
    for order in 0..2 {
        let rules = rules(&sets);
        let mut wrong = Vec::new();
        for (name, rule, status, severity, key, title) in CASES {
            let seen = shown(name, &alert(name, &rules));
            let said = [rule, status, severity, key, title].map(|text| format!("{text:?}")).join(", ");
            if seen != format!("    ({name:?}, {said})") {
                wrong.push(seen);
            }
        }
        assert!(wrong.is_empty(), "order {order}:\n{}", wrong.join(",\n"));
        sets.reverse();
    }
}

/// A recovery names the condition that its problem opened.
#[test]
fn each_recovery_is_of_the_condition_that_its_problem_opened() {
    let rules = rules(&all());
    let cases: Vec<&str> = CASES.iter().map(|case| case.0).collect();
    let problems: Vec<&str> = cases.iter().filter_map(|name| name.strip_suffix("problem")).collect();
    for problem in &problems {
        let (open, end) = (format!("{problem}problem"), format!("{problem}recovery"));
        // What never says that it is over: its file says so.
        if matches!(*problem, "cron-" | "smartd-") {
            assert!(!cases.contains(&end.as_str()), "{end}");
            continue;
        }
        let (open, end) = (alert(&open, &rules), alert(&end, &rules));
        assert_eq!((open.key, end.status), (end.key.clone(), Status::Resolved), "{problem}");
        assert!(matches!(open.status, Status::Firing | Status::Update), "{problem}");
        assert_eq!(open.sender, end.sender, "{problem}");
    }
    for (open, later) in [
        ("nagios-problem", "nagios-acknowledgement"),
        ("nagios-flapping", "nagios-flapping-stop"),
        ("nagios-downtime", "nagios-downtime-end"),
        ("icinga2-problem", "icinga2-acknowledgement"),
        ("icinga2-host-problem", "icinga2-host-acknowledgement"),
        ("icinga2-flapping", "icinga2-flapping-end"),
        ("icinga2-downtime", "icinga2-downtime-end"),
        ("apcupsd-problem", "apcupsd-shutdown"),
        ("zabbix-html-problem", "zabbix-update-id"),
        ("xymon-warning", "xymon-purple"),
        ("xymon-warning", "xymon-disabled"),
        ("mdadm-degraded", "mdadm-problem"),
        ("mdadm-problem", "mdadm-rebuild"),
        ("mdadm-problem", "mdadm-still-degraded"),
        ("nut-problem", "nut-low"),
        ("nut-problem", "nut-text-recovery"),
        ("nut-unavailable", "nut-communication-recovery"),
        ("cron-problem", "cron-failed"),
        ("jenkins-problem", "jenkins-unstable"),
        ("veeam-problem", "veeam-warning"),
        ("proxmox-fence", "proxmox-fenced"),
    ] {
        assert_eq!(alert(open, &rules).key, alert(later, &rules).key, "{open} {later}");
    }
}

/// Every set has a mail with a problem, every rule has a mail, and every mail is in the table.
#[test]
fn nothing_is_without_a_test() {
    let mut files: Vec<String> = std::fs::read_dir(DIR)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    files.retain(|name| name != "events");
    files.sort();
    let mut cases: Vec<&str> = CASES.iter().map(|case| case.0).collect();
    cases.sort_unstable();
    assert_eq!(cases, files);
    let tested: Vec<&str> = CASES.iter().map(|case| case.1).chain(["events/line"]).collect();
    for rule in rules(&all()).iter() {
        assert!(tested.contains(&rule.name()), "no mail for {}", rule.name());
    }
}

#[test]
fn event_lines_are_alerts_of_their_own() {
    let Outcome::Alerts { alerts, bad } = read("events", &rules(&["events"])) else { panic!() };
    assert!(bad.is_empty(), "{bad:?}");
    let seen: Vec<String> = alerts.iter().map(|alert| shown("", alert)).collect();
    assert_eq!(
        seen,
        [
            r#"    ("", "events/line", "firing", "critical", "ups7 on battery", "ups7 raised on battery")"#,
            r#"    ("", "events/line", "firing", "major", "link-3", "link-3 down")"#,
            r#"    ("", "events/line", "resolved", "warning", "ups6 on battery", "ups6 cleared on battery")"#,
        ]
    );
    let first = &alerts[0];
    assert_eq!(first.text, r#"input power lost, "main" feed"#);
    assert_eq!(first.sent.unwrap().to_string(), "2026-11-21T18:41:58Z");
    assert_eq!(
        (first.labels.get("site"), first.labels.get("entity")),
        (&["berlin".to_owned()][..], &["ups7".to_owned()][..])
    );
    assert_eq!(first.warnings, ["2 lines of the mail are no event, the first is \"--\""]);
    assert_eq!(
        alerts.iter().map(|a| a.id.as_str()).collect::<Vec<_>>(),
        ["events@example.org", "events@example.org#2", "events@example.org#3"]
    );
}

#[test]
fn links_and_labels_come_along() {
    let rules = rules(&all());
    let zabbix = alert("zabbix-problem", &rules);
    assert_eq!(zabbix.links, ["https://zabbix.example.org/tr_events.php?triggerid=17&eventid=184467"]);
    assert_eq!(zabbix.labels.get("host"), ["db1"]);
    assert!(zabbix.text.contains("Operational data: 93.1 %"), "{}", zabbix.text);
    let jenkins = alert("jenkins-problem", &rules);
    assert_eq!(jenkins.links, ["https://ci.example.org/job/billing/job/main/128/display/redirect"]);
    assert_eq!(alert("veeam-problem", &rules).labels.get("objects"), ["3"]);
    // By these, routes send all that is said of one host to the same people.
    for name in ["problem", "recovery", "acknowledgement", "flapping", "flapping-stop"] {
        let nagios = alert(&format!("nagios-{name}"), &rules);
        assert_eq!(
            (nagios.labels.get("host"), nagios.labels.get("service")),
            (&["db1".to_owned()][..], &["Disk /var".to_owned()][..])
        );
    }
    for name in ["host-problem", "host-acknowledgement", "downtime", "downtime-end", "flapping"] {
        assert_eq!(alert(&format!("icinga2-{name}"), &rules).labels.get("host"), ["web1"], "{name}");
    }
}

/// A mail that no set knows is left to `plain`, and says why.
#[test]
fn what_no_rule_knows_is_no_alert_by_rule() {
    let raw = b"From: a@b\nSubject: lunch\n\nat noon?";
    let rules = rules(&all());
    let how =
        How { plain: Plain::Quarantine, limits: &Limits::default(), mappings: &Mappings::default(), rules: &rules };
    let Outcome::Quarantined(why) = mail(raw, &how).outcome else { panic!() };
    assert_eq!(
        why,
        "no alert XML in it and no rule of the mailbox matches; set plain = \"alert\" on the mailbox to page it anyway"
    );
}
