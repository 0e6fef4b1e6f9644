//! Mails that never are alerts: bounces (RFC 3464), read receipts (RFC 8098), auto-replies (RFC 3834), abuse reports
//! (RFC 5965), notices of this gateway. A page for one of them would be noise, and an answer to one a loop.
//!
//! Some marks decide alone: a report's MIME type, `Auto-Submitted: auto-replied`, a mail daemon as the sender. Others only
//! together, and never against a mail that carries alert XML as its own content: monitoring systems also send with an empty
//! envelope sender, as `auto-generated`, or with auto-replies suppressed.

mod words;

use super::fields::{Fields, one_line};
use super::html;
use super::mime::Tree;
use super::xml::shown;
use words::{AUTO_REPLY_FIELDS, AUTO_REPLY_SUBJECTS, BOUNCE_PHRASES, BOUNCE_SUBJECTS, SYSTEM_NAMES};

/// Bytes of the text that are looked at.
const GLANCE: usize = 16 * 1024;

/// Why the header alone says that this is no alert, whatever the mail holds.
pub(crate) fn by_header(header: &Fields<'_>) -> Option<String> {
    if let Some(instance) = header.text("X-Mailbell-Notice").or_else(|| header.token("X-Mailbell-Notice")) {
        return Some(format!("a notice of mailbell itself (X-Mailbell-Notice: {})", shown(&instance)));
    }
    auto_reply(header).or_else(|| bounce(header)).or_else(|| report_type(header))
}

fn auto_reply(header: &Fields<'_>) -> Option<String> {
    let submitted = header.token("Auto-Submitted").unwrap_or_default();
    if submitted.starts_with("auto-replied") || ["vacation", "reply"].iter().any(|word| submitted.contains(word)) {
        return Some("an auto-reply (Auto-Submitted: auto-replied)".to_owned());
    }
    if header.token("X-Apple-Action").is_some_and(|action| action == "vacation") {
        return Some("an auto-reply (X-Apple-Action: vacation)".to_owned());
    }
    let precedence = header.token("Precedence").unwrap_or_default();
    if matches!(precedence.as_str(), "auto_reply" | "auto-reply" | "autoreply") {
        return Some(format!("an auto-reply (Precedence: {precedence})"));
    }
    let no = |value: String| matches!(value.as_str(), "" | "no" | "false" | "0" | "none");
    let field = AUTO_REPLY_FIELDS.into_iter().find(|name| header.token(name).is_some_and(|value| !no(value)))?;
    Some(format!("an auto-reply ({field})"))
}

fn bounce(header: &Fields<'_>) -> Option<String> {
    for field in ["X-Failed-Recipients", "X-MS-Exchange-Message-Is-Ndr"] {
        if header.has(field) {
            return Some(format!("a bounce ({field})"));
        }
    }
    if header.token("Content-Class").is_some_and(|class| class.contains("content-classes:dsn")) {
        return Some("a bounce (Content-Class)".to_owned());
    }
    if header.token("Content-Class").is_some_and(|class| class.contains("content-classes:mdn")) {
        return Some("a read receipt (Content-Class)".to_owned());
    }
    if header.has("X-ARF") || header.has("X-XARF") {
        return Some("an abuse report (X-ARF)".to_owned());
    }
    if return_path(header).is_some_and(|path| path.starts_with("double-bounce@")) {
        return Some("a bounce (Return-Path: double-bounce)".to_owned());
    }
    let daemon = |field: &str| {
        // `From: MAILER-DAEMON <>` has no address: the name stands for it.
        let listed = header.addresses(field).into_iter().any(|(_, address)| is_daemon(&address));
        listed || header.token(field).is_some_and(|text| is_daemon(&text))
    };
    daemon("From").then(|| "a bounce (From: MAILER-DAEMON)".to_owned())
}

fn is_daemon(address: &str) -> bool {
    let local = address.trim_start_matches(['<', '"']).to_ascii_lowercase();
    let local = local.split(['@', ' ', '>', '"']).next().unwrap_or_default();
    matches!(local, "mailer-daemon" | "mailer_daemon" | "mailerdaemon" | "mail-daemon" | "maildaemon")
}

fn report_type(header: &Fields<'_>) -> Option<String> {
    let media = header.media("Content-Type")?;
    let report = media.ctype().eq_ignore_ascii_case("multipart")
        && media.subtype().is_some_and(|s| s.eq_ignore_ascii_case("report"));
    let kind = media.attribute("report-type").unwrap_or_default().to_ascii_lowercase();
    if report { report_reason(&kind) } else { None }
}

fn report_reason(kind: &str) -> Option<String> {
    let what = match kind {
        "delivery-status" | "global-delivery-status" => "a bounce",
        "disposition-notification" | "global-disposition-notification" => "a read receipt",
        "feedback-report" => "an abuse report",
        "tlsrpt" | "dmarc" => "a mail server's statistics",
        _ => return None,
    };
    Some(format!("{what} (report-type={kind})"))
}

/// Why the parts of the mail say that it is no alert. Quoted mails do not count, only what stands around them.
/// `has_xml`: alert XML stands in the mail itself.
pub(crate) fn by_content(header: &Fields<'_>, tree: &Tree<'_>, has_xml: bool) -> Option<String> {
    if let Some(reason) = tree.reports.iter().filter(|(mail, _)| *mail == 0).find_map(|(_, kind)| report_reason(kind)) {
        return Some(reason);
    }
    for part in tree.parts.iter().filter(|p| p.mail == 0) {
        let what = match part.media.as_str() {
            "message/delivery-status" | "message/global-delivery-status" => "a bounce",
            "message/disposition-notification" | "message/global-disposition-notification" => "a read receipt",
            "message/feedback-report" => "an abuse report",
            _ => continue,
        };
        return Some(format!("{what} (it holds a part {})", part.media));
    }
    if has_xml {
        return None;
    }
    auto_reply_subject(header).or_else(|| Evidence::of(header, tree).bounce())
}

fn auto_reply_subject(header: &Fields<'_>) -> Option<String> {
    let subject = header.text("Subject")?.to_lowercase();
    let automatic = header.token("Auto-Submitted").is_some_and(|value| value.starts_with("auto-"));
    let quiet =
        automatic || header.has("X-Auto-Response-Suppress") || return_path(header).is_some_and(|p| p.is_empty());
    let known = AUTO_REPLY_SUBJECTS.into_iter().find(|start| subject.starts_with(start));
    if let Some(known) = known.or_else(|| Some("auto:").filter(|start| quiet && subject.starts_with(start))) {
        return Some(format!("an auto-reply (its subject starts with {known:?})"));
    }
    let reply = automatic && header.has("In-Reply-To") && (subject.starts_with("re:") || subject.starts_with("aw:"));
    reply.then(|| "an auto-reply (it is a reply, and Auto-Submitted)".to_owned())
}

/// What speaks for a bounce, none of it enough alone.
struct Evidence {
    /// The sender is an address that mail systems use.
    system: bool,
    /// The sender is the robot of a mailing list.
    list: bool,
    /// The envelope has no sender.
    null_sender: bool,
    /// The subject begins as those of bounces do.
    subject: bool,
    /// The text says that something was not delivered.
    phrase: bool,
    /// Another mail is attached, whole or its header.
    attached: bool,
    /// Another mail is quoted with its header, attached or in the text.
    quote: bool,
}

impl Evidence {
    fn of(header: &Fields<'_>, tree: &Tree<'_>) -> Self {
        let text = glance(tree);
        let low = one_line(&text).to_lowercase();
        let subject = header.text("Subject").unwrap_or_default().to_lowercase();
        let attached = tree.parts.iter().any(|p| {
            p.mail == 0
                && matches!(
                    p.media.as_str(),
                    "message/rfc822" | "message/global" | "text/rfc822-headers" | "message/global-headers"
                )
        });
        let senders = header.addresses("From");
        let listed =
            ["List-Id", "List-Help", "X-MLServer", "X-ML-Name", "X-Mailman-Version", "X-Listprocessor-Version"];
        Self {
            system: senders.iter().any(|(name, address)| is_system(name.as_deref().unwrap_or_default(), address)),
            list: senders.iter().any(|(_, address)| is_list_robot(address)) && listed.iter().any(|f| header.has(f)),
            null_sender: return_path(header).is_some_and(|path| path.is_empty() || is_daemon(&path)),
            subject: BOUNCE_SUBJECTS.iter().any(|start| subject.starts_with(start)),
            phrase: BOUNCE_PHRASES.iter().any(|phrase| low.contains(phrase)),
            attached,
            quote: attached || quotes_header(&text),
        }
    }

    fn bounce(&self) -> Option<String> {
        let Self { system, list, null_sender, subject, phrase, attached, quote } = *self;
        let votes = [system, null_sender, subject, phrase, quote].into_iter().filter(|v| *v).count();
        let found = votes >= 3
            || (phrase && quote)
            || (null_sender && attached)
            || (system && (subject || quote || (phrase && null_sender)))
            || (list && (subject || phrase || quote));
        let named = [
            (system, "a mail system sent it"),
            (list, "a mailing list's robot sent it"),
            (null_sender, "its envelope has no sender"),
            (subject, "its subject says so"),
            (phrase, "its text says that something was not delivered"),
            (quote, "it quotes another mail"),
        ];
        let named: Vec<&str> = named.into_iter().filter_map(|(holds, name)| holds.then_some(name)).collect();
        found.then(|| format!("a bounce ({})", named.join(", ")))
    }
}

/// The start of the text that people read.
fn glance(tree: &Tree<'_>) -> String {
    let own = || tree.parts.iter().filter(|p| p.mail == 0 && p.media.starts_with("text/"));
    match own().find(|p| p.media == "text/plain").or_else(|| own().find(|p| p.media == "text/html")) {
        Some(part) if part.media == "text/html" => html::text(&part.glance(GLANCE)),
        Some(part) => part.glance(GLANCE),
        None => String::new(),
    }
}

/// The envelope sender that the last server wrote down, without its angle brackets.
fn return_path(header: &Fields<'_>) -> Option<String> {
    let path = header.token("Return-Path")?;
    Some(path.trim_matches(['<', '>', ' ']).to_owned())
}

fn is_system(name: &str, address: &str) -> bool {
    let local = address.split('@').next().unwrap_or_default().to_ascii_lowercase();
    let name = name.to_lowercase();
    matches!(
        local.as_str(),
        "postmaster" | "post_master" | "mdaemon" | "double-bounce" | "bounce" | "mmdf" | "mail-system" | "mailsystem"
    ) || local.starts_with("microsoftexchange")
        || SYSTEM_NAMES.iter().any(|known| name.contains(known))
}

fn is_list_robot(address: &str) -> bool {
    let local = address.split('@').next().unwrap_or_default().to_ascii_lowercase();
    ["-admin", "-owner", "-request", "-bounces", "-bounce"].iter().any(|end| local.ends_with(end))
        || local.starts_with("owner-")
        || matches!(local.as_str(), "majordomo" | "listserv" | "mailman" | "sympa" | "fml")
}

/// Does the text hold three lines of a mail's header in a row, one of them from the transport?
fn quotes_header(text: &str) -> bool {
    let (mut run, mut transport) = (0, false);
    for line in text.lines() {
        let bare = line.trim_start_matches(['>', ' ', '\t', '|']);
        let name = bare.split_once(':').map(|(name, _)| name.to_ascii_lowercase()).unwrap_or_default();
        match name.as_str() {
            "received" | "return-path" | "message-id" | "delivered-to" => {
                run += 1;
                transport = true;
            }
            "from"
            | "to"
            | "subject"
            | "date"
            | "cc"
            | "sender"
            | "reply-to"
            | "mime-version"
            | "content-type"
            | "content-transfer-encoding" => run += 1,
            _ if name.starts_with("x-") || line.starts_with([' ', '\t']) && run > 0 => {}
            _ => (run, transport) = (0, false),
        }
        if run >= 3 && transport {
            return true;
        }
    }
    false
}
