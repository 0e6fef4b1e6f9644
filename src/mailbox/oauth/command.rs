//! A token from a program of the operator's.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::Issued;
use crate::mailbox::failure::quote;
use crate::mailbox::port::MailboxError;
use crate::model::Secret;

/// Far above any token, bytes.
const MOST: u64 = 64 * 1024;
/// Words of the program's complaint that are longer are left out: they may be a token.
const WORD: usize = 40;

/// Runs the program and reads the token that it prints: its first line, or JSON with `access_token` and perhaps `expires_in`.
/// It and what it started is killed after `limit`.
pub(super) async fn run(command: &[String], limit: Duration) -> Result<Issued, MailboxError> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(MailboxError::permanent("token_command: names no program"));
    };
    let failed = |what: String| format!("token_command {program:?} {what}");
    let mut job = Job::start(program, arguments)
        .map_err(|err| MailboxError::permanent(failed(format!("cannot be run: {err}; correct token_command"))))?;
    let done = timeout(limit, job.end()).await.map_err(|_| {
        MailboxError::transient(failed(format!("did not end within {} s and was killed", limit.as_secs_f32())))
    })?;
    let (status, out, complaint) = done.map_err(|err| MailboxError::transient(failed(format!("failed: {err}"))))?;
    if !status.success() {
        let complaint = harmless(&complaint);
        let says = if complaint.is_empty() { String::new() } else { format!(", and says: {complaint}") };
        return Err(MailboxError::transient(failed(format!("failed ({status}){says}"))));
    }
    issued(&out).map_err(|wrong| MailboxError::permanent(failed(format!("{wrong}; it has to print the token alone"))))
}

/// A running program with its descendants.
struct Job {
    child: Child,
}

impl Job {
    fn start(program: &str, arguments: &[String]) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        Ok(Self { child: command.kill_on_drop(true).spawn()? })
    }

    /// Its status, what it printed, and what it complained of.
    async fn end(&mut self) -> io::Result<(ExitStatus, Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>)> {
        let (out, complaint) = (self.child.stdout.take(), self.child.stderr.take());
        let (out, complaint) = tokio::try_join!(all(out), all(complaint))?;
        Ok((self.child.wait().await?, out, complaint))
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // Still there: not waited for, so the number is its own and names its group.
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

/// All of it, kept up to [`MOST`]; the rest is read and dropped, so that the program does not wait for ever.
async fn all(stream: Option<impl AsyncRead + Unpin>) -> io::Result<Zeroizing<Vec<u8>>> {
    let Some(mut stream) = stream else { return Ok(Zeroizing::default()) };
    let mut kept = Zeroizing::new(Vec::new());
    (&mut stream).take(MOST).read_to_end(&mut kept).await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(kept)
}

/// The first line of a complaint without what could be a secret.
fn harmless(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let words = line.split_ascii_whitespace().map(|word| if word.chars().count() > WORD { "(…)" } else { word });
    quote(&words.collect::<Vec<_>>().join(" "))
}

fn issued(out: &[u8]) -> Result<Issued, &'static str> {
    let text = std::str::from_utf8(out).map_err(|_| "printed what is not UTF-8")?;
    if !text.trim_start().starts_with('{') {
        return Ok(Issued {
            token: usable(text.lines().next().unwrap_or_default().trim())?,
            life: None,
            refresh: None,
        });
    }
    let Ok(Value::Object(told)) = serde_json::from_str(text) else { return Err("printed JSON that cannot be read") };
    let token = told.get("access_token").and_then(Value::as_str).ok_or("printed JSON without access_token")?;
    let life = match told.get("expires_in") {
        None | Some(Value::Null) => None,
        // Some endpoints write the number as text.
        Some(Value::String(text)) => Some(text.trim().parse().map_err(|_| "printed an expires_in that is no number")?),
        Some(number) => Some(number.as_u64().ok_or("printed an expires_in that is no number of seconds")?),
    };
    Ok(Issued { token: usable(token)?, life: life.map(Duration::from_secs), refresh: None })
}

/// A token is visible ASCII (RFC 6750 §2.1): anything else would break out of its place in the login.
pub(super) fn usable(token: &str) -> Result<Secret, &'static str> {
    if token.is_empty() {
        Err("gave an empty token")
    } else if !token.bytes().all(|b| b.is_ascii_graphic()) {
        Err("gave a token with blanks or characters that no token has")
    } else {
        Ok(Secret::new(token.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::port::Failure;

    fn read(out: &str) -> (String, Option<u64>) {
        let issued = issued(out.as_bytes()).unwrap_or_else(|wrong| panic!("{out}: {wrong}"));
        (issued.token.expose().to_owned(), issued.life.map(|life| life.as_secs()))
    }

    fn refused(out: &[u8]) -> &'static str {
        issued(out).err().unwrap()
    }

    #[test]
    fn a_line_or_json() {
        assert_eq!(read("ya29.token"), ("ya29.token".into(), None));
        assert_eq!(read("ya29.token\r\nmore\n"), ("ya29.token".into(), None));
        assert_eq!(read("{\"access_token\":\"t\"}"), ("t".into(), None));
        assert_eq!(
            read("\n{\"access_token\":\"t\",\"expires_in\":3599,\"token_type\":\"Bearer\"}\n"),
            ("t".into(), Some(3599))
        );
        assert_eq!(read("{\"access_token\":\"t\",\"expires_in\":\"3599\"}"), ("t".into(), Some(3599)));
        assert_eq!(read("{\"access_token\":\"t\",\"expires_in\":null}"), ("t".into(), None));
    }

    #[test]
    fn what_is_no_token_is_told() {
        for (out, wrong) in [
            (&b""[..], "empty"),
            (b"\n\ntoken", "empty"),
            (b"error: no network\n", "blanks"),
            (b"to\x01ken", "blanks"),
            ("töken".as_bytes(), "blanks"),
            (b"\xff", "UTF-8"),
            (b"{", "cannot be read"),
            (b"{}", "without access_token"),
            (b"{\"access_token\":7}", "without access_token"),
            (b"{\"access_token\":\"\"}", "empty"),
            (b"{\"access_token\":\"t\",\"expires_in\":-1}", "no number of seconds"),
            (b"{\"access_token\":\"t\",\"expires_in\":\"soon\"}", "no number"),
        ] {
            assert!(refused(out).contains(wrong), "{out:?}: {}", refused(out));
        }
    }

    #[test]
    fn a_complaint_is_told_without_what_could_be_a_token() {
        assert_eq!(harmless(b"\n  no network: try later\nsecond line"), "no network: try later");
        assert_eq!(harmless(format!("+ curl -d {}", "x".repeat(41)).as_bytes()), "+ curl -d (…)");
        assert_eq!(harmless(b"a\x1b[31mb"), "a?[31mb");
    }

    async fn sh(script: &str, limit: Duration) -> Result<Issued, MailboxError> {
        run(&["/bin/sh".into(), "-c".into(), script.into()], limit).await
    }

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn programs_that_do_not_do_it() {
        for (script, failure, words) in [
            (
                "echo 'no such account' >&2; exit 3",
                Failure::Transient,
                "failed (exit status: 3), and says: no such account",
            ),
            ("exit 1", Failure::Transient, "failed (exit status: 1)"),
            ("true", Failure::Permanent, "gave an empty token; it has to print the token alone"),
            ("yes | head -c 300000", Failure::Permanent, ""),
            ("echo 'two words'", Failure::Permanent, "blanks"),
        ] {
            match sh(script, LONG).await {
                Ok(issued) => assert_eq!((issued.token.expose(), words), ("y", ""), "{script}"),
                Err(err) => {
                    assert_eq!(err.failure, failure, "{script}: {err}");
                    assert!(!words.is_empty() && err.to_string().contains(words), "{script}: {err}");
                }
            }
        }
        let none = run(&["/nowhere/token".into()], LONG).await.err().unwrap();
        assert_eq!(none.failure, Failure::Permanent);
        assert!(none.to_string().starts_with("token_command \"/nowhere/token\" cannot be run: No such file"), "{none}");
    }

    #[tokio::test]
    async fn one_that_hangs_is_killed_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", pid.display());
        let err = sh(&script, Duration::from_millis(500)).await.err().unwrap();
        assert_eq!(err.failure, Failure::Transient);
        assert!(err.to_string().contains("did not end within 0.5 s and was killed"), "{err}");
        let pid = std::fs::read_to_string(&pid).unwrap().trim().to_owned();
        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            // A zombie waits for whoever adopted it.
            stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
        };
        let start = std::time::Instant::now();
        while !gone() {
            assert!(start.elapsed() < LONG, "the child {pid} lives on");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
