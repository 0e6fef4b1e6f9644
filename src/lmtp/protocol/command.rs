//! One command line (RFC 5321 §4.1.1, RFC 2033 §4).

/// What the other side wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Lhlo,
    Mail {
        /// As written, without the angle brackets; empty for the null sender.
        from: String,
        /// What SIZE says, bytes.
        size: Option<u64>,
    },
    Rcpt(String),
    Data,
    Rset,
    Noop,
    Help,
    Vrfy,
    Quit,
}

/// Reads a line without its CRLF.
///
/// # Errors
/// The reply that refuses it.
pub(super) fn parse(line: &[u8]) -> Result<Command, &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| "500 5.5.2 the line is not UTF-8")?;
    if line.chars().any(char::is_control) {
        return Err("500 5.5.2 the line holds a control character");
    }
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let alone = |command| if rest.trim().is_empty() { Ok(command) } else { Err("501 5.5.4 it takes no argument") };
    match verb.to_ascii_uppercase().as_str() {
        "LHLO" if rest.trim().is_empty() => Err("501 5.5.4 say LHLO and your name"),
        "LHLO" => Ok(Command::Lhlo),
        "HELO" | "EHLO" => Err("500 5.5.1 this is LMTP: say LHLO"),
        "MAIL" => mail(rest),
        "RCPT" => rcpt(rest),
        "DATA" => alone(Command::Data),
        "RSET" => alone(Command::Rset),
        "QUIT" => alone(Command::Quit),
        "NOOP" => Ok(Command::Noop),
        "HELP" => Ok(Command::Help),
        "VRFY" => Ok(Command::Vrfy),
        _ => Err("500 5.5.1 there is no such command here"),
    }
}

fn mail(rest: &str) -> Result<Command, &'static str> {
    const SYNTAX: &str = "501 5.5.4 write MAIL FROM:<ADDRESS>";
    let (from, parameters) = path(after(rest, "FROM:").ok_or(SYNTAX)?).ok_or(SYNTAX)?;
    let mut size = None;
    for (key, value) in parameters.split(' ').filter(|p| !p.is_empty()).map(key_value) {
        match (key.to_ascii_uppercase().as_str(), value) {
            ("SIZE", Some(value)) => size = Some(octets(value).ok_or("501 5.5.4 SIZE is no number")?),
            // What it is makes no difference: any octet is taken.
            ("BODY", Some(body)) if ["7BIT", "8BITMIME"].iter().any(|known| known.eq_ignore_ascii_case(body)) => {}
            ("SMTPUTF8", None) => {}
            ("SIZE" | "BODY" | "SMTPUTF8", _) => return Err("501 5.5.4 that parameter has no such value"),
            _ => return Err("555 5.5.4 there is no such parameter here"),
        }
    }
    Ok(Command::Mail { from: from.to_owned(), size })
}

fn rcpt(rest: &str) -> Result<Command, &'static str> {
    const SYNTAX: &str = "501 5.5.4 write RCPT TO:<ADDRESS>";
    let (to, parameters) = path(after(rest, "TO:").ok_or(SYNTAX)?).ok_or(SYNTAX)?;
    match to {
        "" => Err("501 5.1.3 the address is empty"),
        _ if !parameters.trim().is_empty() => Err("555 5.5.4 there is no such parameter here"),
        to => Ok(Command::Rcpt(to.to_owned())),
    }
}

/// What follows the word, in any case; a space before or behind it is forgiven.
fn after<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let text = text.trim_start_matches(' ');
    let start = text.get(..word.len())?;
    let rest = text.get(word.len()..)?;
    start.eq_ignore_ascii_case(word).then(|| rest.trim_start_matches(' '))
}

/// The address between angle brackets and what follows it. A source route is dropped, as RFC 5321 (appendix C) wants it;
/// which addresses there are is for the book to say, so that no sender is refused for the form of its address.
fn path(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix('<')?;
    let (mut quoted, mut escaped) = (false, false);
    let end = text.find(|c: char| {
        let was_escaped = std::mem::take(&mut escaped);
        match c {
            '\\' if quoted => escaped = !was_escaped,
            '"' if !was_escaped => quoted = !quoted,
            '>' => return !quoted,
            _ => {}
        }
        false
    })?;
    let (address, rest) = (text.get(..end)?, text.get(end + 1..)?);
    let address = match address.strip_prefix('@') {
        Some(route) => route.split_once(':')?.1,
        None => address,
    };
    let bare_space = !address.contains('"') && address.contains([' ', '<']);
    (!bare_space && (rest.is_empty() || rest.starts_with(' '))).then_some((address, rest))
}

fn key_value(parameter: &str) -> (&str, Option<&str>) {
    parameter.split_once('=').map_or((parameter, None), |(key, value)| (key, Some(value)))
}

/// RFC 1870 allows 20 digits, more than fit: so large is too large anyway.
fn octets(text: &str) -> Option<u64> {
    let digits = (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail_of(from: &str, size: Option<u64>) -> Command {
        Command::Mail { from: from.to_owned(), size }
    }

    #[test]
    fn commands_are_read() {
        for (line, command) in [
            ("LHLO mx.example", Command::Lhlo),
            ("MAIL FROM:<a@b>", mail_of("a@b", None)),
            ("mail from: <a@b> size=12 body=8bitmime smtputf8", mail_of("a@b", Some(12))),
            ("MAIL FROM:<> BODY=7BIT", mail_of("", None)),
            ("MAIL FROM:<root>", mail_of("root", None)),
            ("MAIL FROM:<a@[127.0.0.1]>", mail_of("a@[127.0.0.1]", None)),
            ("MAIL FROM:<a@b> SIZE=99999999999999999999", mail_of("a@b", Some(u64::MAX))),
            ("MAIL FROM:<\"a > \\\" b\"@c>", mail_of("\"a > \\\" b\"@c", None)),
            ("RCPT TO:<@x,@y:c@d>", Command::Rcpt("c@d".into())),
            ("RCPT TO:<ä@ö.example>", Command::Rcpt("ä@ö.example".into())),
            ("rcpt to:<Postmaster>", Command::Rcpt("Postmaster".into())),
            ("DATA", Command::Data),
            ("data ", Command::Data),
            ("RSET", Command::Rset),
            ("NOOP anything", Command::Noop),
            ("HELP MAIL", Command::Help),
            ("VRFY ops", Command::Vrfy),
            ("QUIT", Command::Quit),
        ] {
            assert_eq!(parse(line.as_bytes()), Ok(command), "{line}");
        }
    }

    #[test]
    fn what_is_none_is_refused_with_its_code() {
        for (line, code) in [
            ("", "500 5.5.1"),
            ("EHLO a", "500 5.5.1"),
            ("HELO a", "500 5.5.1"),
            ("BDAT 10 LAST", "500 5.5.1"),
            ("STARTTLS", "500 5.5.1"),
            ("LHLO", "501 5.5.4"),
            ("MAIL", "501 5.5.4"),
            ("MAIL FROM", "501 5.5.4"),
            ("MAIL FROM:a@b", "501 5.5.4"),
            ("MAIL FROM:<a@b", "501 5.5.4"),
            ("MAIL FROM:<a@b>SIZE=1", "501 5.5.4"),
            ("MAIL FROM:<a b@c>", "501 5.5.4"),
            ("MAIL FROM:<\"a@b>", "501 5.5.4"),
            ("MAIL FROM:<@a>", "501 5.5.4"),
            ("MAIL FROM:<a@b> SIZE=", "501 5.5.4"),
            ("MAIL FROM:<a@b> SIZE=-1", "501 5.5.4"),
            ("MAIL FROM:<a@b> SIZE", "501 5.5.4"),
            ("MAIL FROM:<a@b> BODY=BINARYMIME", "501 5.5.4"),
            ("MAIL FROM:<a@b> SMTPUTF8=1", "501 5.5.4"),
            ("MAIL FROM:<a@b> RET=FULL", "555 5.5.4"),
            ("RCPT TO:<>", "501 5.1.3"),
            ("RCPT TO:<a@b> NOTIFY=NEVER", "555 5.5.4"),
            ("RCPT FROM:<a@b>", "501 5.5.4"),
            ("DATA x", "501 5.5.4"),
            ("QUIT now", "501 5.5.4"),
            ("NOOP\0", "500 5.5.2"),
            ("MAIL FROM:<a\r@b>", "500 5.5.2"),
            ("é", "500 5.5.1"),
            ("MAIL FROé", "501 5.5.4"),
        ] {
            let reply = parse(line.as_bytes()).unwrap_err();
            assert!(reply.starts_with(code), "{line}: {reply}");
        }
        assert!(parse(b"MAIL FROM:<\xff@b>").unwrap_err().starts_with("500 5.5.2"));
    }
}
