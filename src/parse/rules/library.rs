//! Ready-made rules for what classic senders mail.

macro_rules! sets {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../config/rules/", $name, ".toml")))),*]
    };
}

/// Sets of rules by name, as the text of their files (`config/rules/NAME.toml`).
pub const READY_MADE: &[(&str, &str)] = sets![
    "apcupsd", "cron", "events", "hp", "idrac", "jenkins", "mdadm", "monit", "nagios", "nut", "proxmox", "smartd",
    "vcenter", "veeam", "xymon", "zabbix",
];
