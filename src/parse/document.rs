//! Where XML stands in a mail, and the alerts in it.

use super::draft::{Context, Draft};
use super::mime::{Part, Tree};
use super::tree::{Doc, El};
use super::xml::{self, shown};
use super::{cap, decode, native};

/// How much of a text is looked at to see whether it is XML, in bytes.
const GLANCE: usize = 4096;
/// Root elements of what carries alerts.
const ROOTS: [&str; 3] = ["alert", "alerts", "EDXLDistribution"];

/// A part that is XML, or claims to be.
pub(crate) struct Candidate<'t> {
    /// Its index in the tree.
    pub(crate) index: usize,
    /// The part.
    pub(crate) part: &'t Part<'t>,
    /// What is read first: declared as XML, named as XML, text that is XML.
    rank: u8,
}

/// An alert and where it stands: part, and place in it.
pub(crate) struct Placed {
    /// Part and number of the element in it.
    pub(crate) place: (usize, usize),
    /// Line of its start tag.
    pub(crate) line: usize,
    /// The alert.
    pub(crate) draft: Draft,
}

/// What XML parts hold.
#[derive(Default)]
pub(crate) struct Found {
    /// Alerts; those of better declared parts first.
    pub(crate) alerts: Vec<Placed>,
    /// Why something that was meant to be an alert is none.
    pub(crate) bad: Vec<String>,
    /// Where those stand that are named as elements: they count when alerts are numbered.
    pub(crate) bad_places: Vec<(usize, usize)>,
    /// Why XML of other kinds was not read.
    pub(crate) unknown: Vec<String>,
}

/// The parts to be read as XML, those first that say so most clearly. Forwarded bounces and reports are left out.
pub(crate) fn candidates<'t>(tree: &'t Tree<'t>) -> Vec<Candidate<'t>> {
    let parts = tree.parts.iter().enumerate().filter(|(_, part)| !tree.is_ignored(part));
    let mut found: Vec<_> =
        parts.filter_map(|(index, part)| Some(Candidate { index, part, rank: rank(part)? })).collect();
    found.sort_by_key(|candidate| candidate.rank);
    found
}

fn rank(part: &Part<'_>) -> Option<u8> {
    let media = part.media.as_str();
    let declared = matches!(media, "text/xml" | "application/xml")
        || (media.starts_with("application/") && media.ends_with("+xml") && media != "application/xhtml+xml");
    let name = part.name.as_deref().unwrap_or_default().to_ascii_lowercase();
    let named = [".xml", ".cap"].iter().any(|end| name.trim_end().ends_with(end)) && !media.starts_with("message/");
    if declared {
        Some(1)
    } else if named {
        Some(2)
    } else {
        (media == "text/plain" && starts_as_xml(&part.glance(GLANCE))).then_some(3)
    }
}

/// Does a text start with `<?xml`, or with a root element that carries alerts? HTML never does.
fn starts_as_xml(text: &str) -> bool {
    let mut rest = text.trim_start_matches('\u{feff}').trim_start();
    let declared = rest.starts_with("<?xml");
    while rest.starts_with("<?") || rest.starts_with("<!") {
        if is_foreign_doctype(rest) {
            return true;
        }
        let end = if rest.starts_with("<!--") { "-->" } else { ">" };
        match rest.split_once(end) {
            Some((_, after)) => rest = after.trim_start(),
            None => return declared,
        }
    }
    let Some(tag) = rest.strip_prefix('<') else { return declared };
    let name = tag.split(|c: char| c.is_whitespace() || matches!(c, '>' | '/')).next().unwrap_or_default();
    let local = name.rsplit(':').next().unwrap_or_default();
    (declared && !local.eq_ignore_ascii_case("html")) || ROOTS.contains(&local)
}

/// A DOCTYPE of anything but HTML: only attacks begin like that. It is XML, and refused there.
fn is_foreign_doctype(text: &str) -> bool {
    let Some((start, root)) = text.split_at_checked(9) else { return false };
    let html = root.trim_start().get(..4).is_some_and(|name| name.eq_ignore_ascii_case("html"));
    start.eq_ignore_ascii_case("<!doctype") && !html
}

/// Reads all candidates.
pub(crate) fn read_all(candidates: &[Candidate<'_>], context: &Context<'_>) -> Found {
    let mut found = Found::default();
    for candidate in candidates {
        let place = if candidates.len() > 1 { format!(" (in {})", candidate.part.label()) } else { String::new() };
        found.read(candidate, &place, context);
    }
    found
}

impl Found {
    fn read(&mut self, candidate: &Candidate<'_>, place: &str, context: &Context<'_>) {
        let bytes = candidate.part.bytes();
        if bytes.trim_ascii().is_empty() {
            self.unknown.push(format!("the part {} is empty", candidate.part.label()));
            return;
        }
        let (text, bent) = match decode::xml(&bytes, candidate.part.charset.as_deref()) {
            Ok(decoded) => decoded,
            Err(why) => return self.bad.push(why + place),
        };
        // Only the text and its document are kept from here on: a mail may be large.
        drop(bytes);
        match xml::read(&text, context.limits) {
            Ok(doc) => self.document(&doc, candidate.index, place, bent, context),
            Err(broken) if is_foreign(&broken.doc) => self.unknown.push(broken.what + place),
            Err(broken) => self.bad.push(broken.what + place),
        }
    }

    fn document(&mut self, doc: &Doc, part: usize, place: &str, bent: Option<String>, context: &Context<'_>) {
        let alerts = alerts(doc);
        if alerts.is_empty() {
            match doc.root() {
                Some(root) if is_envelope(&root) => {
                    self.bad.push(format!("line {}: <{}> holds no alert{place}", root.line(), shown(root.name())));
                }
                root => self.unknown.extend(root.map(|root| unknown_root(&root) + place)),
            }
        }
        for (n, el) in alerts.iter().enumerate() {
            if self.alerts.len() >= context.limits.alerts {
                let more = alerts.len() - n;
                let most = context.limits.alerts;
                self.bad.push(format!(
                    "line {}: more than {most} alerts in a mail; {more} were not read{place}",
                    el.line()
                ));
                return;
            }
            let read = if is_cap(el) { cap::read(el, context) } else { native::read(el, context) };
            match read {
                Ok(mut draft) => {
                    draft.alert.warnings.extend(bent.clone());
                    self.alerts.push(Placed { place: (part, n), line: el.line(), draft });
                }
                Err(why) => {
                    self.bad.push(why + place);
                    self.bad_places.push((part, n));
                }
            }
        }
    }
}

/// The outermost alerts of a document: its root, or at any depth of an envelope. An alert without any namespace counts where
/// the document is nothing else and the alert's children say what it is.
fn alerts(doc: &Doc) -> Vec<El<'_>> {
    let bare = doc.root().is_some_and(|root| root.space().is_empty() && matches!(root.name(), "alert" | "alerts"));
    doc.outermost(|el| {
        let space = el.space();
        el.name() == "alert"
            && (space == native::SPACE
                || cap::version(space).is_some()
                || (bare && space.is_empty() && says_what_it_is(el)))
    })
}

fn says_what_it_is(el: &El<'_>) -> bool {
    el.children().any(|child| matches!(child.name(), "identifier" | "msgType" | "title"))
}

fn is_cap(el: &El<'_>) -> bool {
    let bare = || el.space().is_empty() && el.children().any(|c| matches!(c.name(), "identifier" | "msgType"));
    cap::version(el.space()).is_some() || bare()
}

/// Is the root of a vocabulary that carries alerts?
fn is_envelope(root: &El<'_>) -> bool {
    let ours = root.space() == native::SPACE || cap::version(root.space()).is_some();
    ours || (root.name() == "EDXLDistribution" && root.space().contains("EDXL"))
}

/// A broken document is none of ours if its root says so, and no alert was in what could be read.
fn is_foreign(doc: &Doc) -> bool {
    let bare = |root: &El<'_>| root.space().is_empty() && ROOTS.contains(&root.name());
    doc.root().is_some_and(|root| !is_envelope(&root) && !bare(&root)) && alerts(doc).is_empty()
}

fn unknown_root(root: &El<'_>) -> String {
    let space =
        if root.space().is_empty() { "no namespace".to_owned() } else { format!("namespace {}", shown(root.space())) };
    format!(
        "line {}: the root <{}> of {space} is unknown; known are <alert> and <alerts> of {}, and of \
         urn:oasis:names:tc:emergency:cap:1.0 to 1.2 also inside an envelope",
        root.line(),
        shown(root.name()),
        native::SPACE,
    )
}
