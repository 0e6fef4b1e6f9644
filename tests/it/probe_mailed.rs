//! The whole round: a target dies, a probe elsewhere mails it, the mailbox is read, and somebody is told.

use std::process::Command;

use crate::probe_serve::{fast, listen, probed};
use crate::support::child::Server;
use crate::support::dovecot::Dovecot;
use crate::support::lab::Lab;
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::postfix::Postfix;
use crate::support::{DOMAIN, free_port, wait_for};

/// `mailbell probe`, with a directory of its own.
struct Probe {
    server: Server,
    args: Vec<String>,
}

impl Probe {
    fn new(config: &str, args: &[&str]) -> Self {
        let server = Server::new("probe");
        server.write("probe.toml", config);
        Self { server, args: args.iter().map(|arg| (*arg).to_owned()).collect() }
    }

    fn start(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mailbell"));
        command.arg("probe").arg("--config").arg(self.server.path("probe.toml")).args(&self.args);
        command.env_remove("MAILBELL_CONFIG").current_dir(self.server.dir());
        self.server.start(&mut command, &[]);
    }

    async fn logged(&self, text: &str, times: usize) {
        wait_for(&format!("`{text}`, {times} times, in:\n{}", self.server.log()), SOON, async || {
            (self.server.log().matches(text).count() >= times).then_some(())
        })
        .await;
    }

    fn ends(&mut self) {
        let done = Command::new("kill").arg(self.server.pid().to_string()).status().unwrap();
        assert!(done.success());
        let start = std::time::Instant::now();
        loop {
            if let Some(status) = self.server.ended() {
                assert!(status.success(), "{status}: {}", self.server.log());
                return;
            }
            assert!(start.elapsed() < SOON, "it does not end");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the probe said:\n{}", self.server.log());
        }
    }
}

#[tokio::test]
async fn an_outage_and_its_end_go_the_whole_round_by_mail() {
    let lab = Lab::new(&["alice"]);
    let sasl = free_port();
    let listener =
        format!("service auth {{\n  inet_listener sasl {{\n    address = 127.0.0.1\n    port = {sasl}\n  }}\n}}");
    let _accounts = Dovecot::start_with(&lab.ca, &[("prober", "pw-prober")], &listener);
    let inbox = format!("inet:127.0.0.1:{}", lab.dovecot.lmtp);
    let Some(mut postfix) = Postfix::start_guarded(&inbox, &lab.ca, sasl) else { return };
    let alice = lab.online("alice").await;
    let mut mailbell = Mailbell::run(&lab.config());

    let port = free_port();
    let target = listen(port);
    let (ca, smtp) = (lab.ca.ca().display().to_string(), format!("localhost:{}", postfix.smtp));
    let to = format!("inbox@{DOMAIN}");
    let mut probe = Probe::new(&fast(&[port], ""), &["--mail-to", &to, "--smtp", &smtp, "--ca-file", &ca]);
    let password = probe.server.write("password", "pw-prober\n");
    std::fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let from = format!("prober@{DOMAIN}");
    probe.args.extend(["--from", &from, "--user", "prober", "--password-file"].map(str::to_owned));
    probe.args.push(password.display().to_string());
    probe.start();
    probed(&target).await;
    drop(target);
    let told = alice.gets(&format!("127.0.0.1:{port} is down: refused")).await;
    assert!(told.contains("Attempts: 2") && told.contains("mailbox:inbox"), "{told}");

    // The mail server is away, and then the probe as well: the end waits in the spool.
    postfix.stop();
    let target = listen(port);
    probe.logged("alerts cannot be handed on; they are kept", 1).await;
    probe.server.kill();
    postfix.restart();
    probe.start();
    let end = alice.gets(&format!("RESOLVED: 127.0.0.1:{port} answers again")).await;
    assert!(end.contains("Ends #") && end.contains("Down for "), "{end}");
    probe.logged("handed on", 3).await;
    probed(&target).await;
    assert_eq!((alice.copies("is down"), alice.copies("answers again")), (1, 1));
    probe.ends();
    let state = std::fs::read_to_string(probe.server.path("probe.probe")).unwrap();
    assert!(state.ends_with("\"states\":{},\"spool\":[]}"), "{state}");
    mailbell.stop();
}

#[tokio::test]
async fn without_a_mail_server_alerts_are_printed_and_a_restart_prints_nothing_twice() {
    let port = free_port();
    let mut probe = Probe::new(&fast(&[port], ""), &[]);
    let printed = |probe: &Probe| -> Vec<serde_json::Value> {
        let log = probe.server.log();
        log.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    probe.start();
    wait_for("an outage", SOON, async || (printed(&probe).len() == 1).then_some(())).await;
    probe.logged("handed on", 1).await;
    probe.ends();
    probe.start();
    probe.logged("probing", 2).await;
    let target = listen(port);
    wait_for("its end", SOON, async || (printed(&probe).len() == 2).then_some(())).await;
    let printed = printed(&probe);
    let field = |n: usize, name: &str| printed[n][name].as_str().unwrap().to_owned();
    assert_eq!((field(0, "status"), field(1, "status")), ("firing".into(), "resolved".into()));
    assert_eq!(field(0, "key"), format!("probe/127.0.0.1:{port}"));
    assert_eq!(field(0, "key"), field(1, "key"));
    assert_eq!(printed[0]["labels"]["failure"], "refused");
    // SIGHUP: another config.
    let other = free_port();
    probe.server.write("probe.toml", &fast(&[other], ""));
    assert!(Command::new("kill").args(["-HUP", &probe.server.pid().to_string()]).status().unwrap().success());
    probe.logged("the config is reloaded", 1).await;
    probe.logged(&format!("probe/127.0.0.1:{other}"), 1).await;
    drop(target);
}
