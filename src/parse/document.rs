//! Where XML stands in a mail, and the alerts in it.

use super::draft::{Context, Draft};
use super::envelope::{self, Contents, What, edxl::Around};
use super::mapping::{self, Mapping, Mappings};
use super::mime::{Part, Tree};
use super::tree::{Doc, El};
use super::xml::{self, shown};
use super::{cap, decode, native};

/// How much of a text is looked at to see whether it is XML, in bytes.
const GLANCE: usize = 4096;
/// Root elements of what carries alerts, beside those of mappings.
const ROOTS: [&str; 5] = ["alert", "alerts", "EDXLDistribution", "edxlDistribution", "Envelope"];
/// Documents inside documents, as text.
const MAX_NESTED: usize = 2;

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
pub(crate) fn candidates<'t>(tree: &'t Tree<'t>, mappings: &Mappings) -> Vec<Candidate<'t>> {
    let parts = tree.parts.iter().enumerate().filter(|(_, part)| !tree.is_ignored(part));
    let mut found: Vec<_> =
        parts.filter_map(|(index, part)| Some(Candidate { index, part, rank: rank(part, mappings)? })).collect();
    found.sort_by_key(|candidate| candidate.rank);
    found
}

fn rank(part: &Part<'_>, mappings: &Mappings) -> Option<u8> {
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
        (media == "text/plain" && starts_as_xml(&part.glance(GLANCE), mappings)).then_some(3)
    }
}

/// Does a text start with `<?xml`, or with a root element that carries alerts? HTML never does.
fn starts_as_xml(text: &str, mappings: &Mappings) -> bool {
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
    (declared && !local.eq_ignore_ascii_case("html"))
        || ROOTS.contains(&local)
        || mappings.all().any(|mapping| mapping.root == local)
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
        let mut place = Place { part: candidate.index, next: 0, said: place, nested: 0, bent };
        self.text(&text, &[], &mut place, context);
    }

    /// Reads a document: that of a part, or one that stands as text in another.
    fn text(&mut self, text: &str, around: &[Around], place: &mut Place<'_>, context: &Context<'_>) {
        match xml::read(text, context.limits) {
            Ok(doc) => self.document(&doc, around, place, context),
            Err(broken) if is_foreign(&broken.doc, context.mappings) => self.unknown.push(broken.what + place.said),
            Err(broken) => self.bad.push(broken.what + place.said),
        }
    }

    fn document(&mut self, doc: &Doc, around: &[Around], place: &mut Place<'_>, context: &Context<'_>) {
        let Some(root) = doc.root() else { return };
        let Contents { found, left_out } = envelope::contents(root, around);
        let (mut seen, mut unknown) = (0, Vec::new());
        for content in found {
            let element = match content.what {
                What::Element(element) => element,
                What::Text(text, el, bent) => {
                    seen += 1;
                    self.nested(&text, &el, bent, &content.around, place, context);
                    continue;
                }
            };
            match alerts(&element, context) {
                Ok(alerts) if alerts.is_empty() => unknown.push(element),
                Ok(alerts) => {
                    seen += 1;
                    self.alerts(&alerts, &content.around, place, context);
                }
                Err(why) => {
                    seen += 1;
                    self.bad.push(why + place.said);
                }
            }
        }
        if seen > 0 {
            return;
        }
        if is_envelope(&root) {
            let also = if left_out.is_empty() { String::new() } else { format!("; {}", left_out.join("; ")) };
            self.bad.push(format!("line {}: <{}> holds no alert{also}{}", root.line(), shown(root.name()), place.said));
        } else {
            self.unknown.push(unknown_root(unknown.first().unwrap_or(&root)) + place.said);
        }
    }

    /// Reads a document that stands as text in an element.
    fn nested(
        &mut self,
        text: &str,
        el: &El<'_>,
        bent: Option<String>,
        around: &[Around],
        place: &mut Place<'_>,
        context: &Context<'_>,
    ) {
        let said = format!(" (in <{}> of line {}){}", shown(el.name()), el.line(), place.said);
        if place.nested >= MAX_NESTED {
            return self.bad.push(format!("documents stand in documents more than {MAX_NESTED} deep{said}"));
        }
        let (nested, bent) = (place.nested + 1, bent.or_else(|| place.bent.clone()));
        let mut inner = Place { part: place.part, next: place.next, said: &said, nested, bent };
        self.text(text, around, &mut inner, context);
        place.next = inner.next;
    }

    fn alerts(
        &mut self,
        alerts: &[(El<'_>, Vocabulary<'_>)],
        around: &[Around],
        place: &mut Place<'_>,
        context: &Context<'_>,
    ) {
        for (n, (el, what)) in alerts.iter().enumerate() {
            if self.alerts.len() >= context.limits.alerts {
                let more = alerts.len() - n;
                let most = context.limits.alerts;
                self.bad.push(format!(
                    "line {}: more than {most} alerts in a mail; {more} were not read{}",
                    el.line(),
                    place.said
                ));
                return;
            }
            let read = match what {
                Vocabulary::Cap => cap::read(el, context),
                Vocabulary::Native => native::read(el, context),
                Vocabulary::Mapped(mapping) => mapping::read(mapping, el, context),
            };
            let number = (place.part, place.next);
            place.next += 1;
            match read {
                Ok(mut draft) => {
                    around.iter().for_each(|around| around.mark(&mut draft.alert, context));
                    draft.alert.warnings.extend(place.bent.clone());
                    self.alerts.push(Placed { place: number, line: el.line(), draft });
                }
                Err(why) => {
                    self.bad.push(why + place.said);
                    self.bad_places.push(number);
                }
            }
        }
    }
}

/// Where in the mail it is being read.
struct Place<'p> {
    part: usize,
    /// Number of the next alert in the part.
    next: usize,
    /// In words, for reasons.
    said: &'p str,
    /// Documents around this one.
    nested: usize,
    /// What was bent to decode it.
    bent: Option<String>,
}

/// What reads an alert.
enum Vocabulary<'m> {
    Cap,
    Native,
    Mapped(&'m Mapping),
}

/// The alerts of an element that is no envelope: those of its mapping; else the outermost at any depth, it itself included.
/// An alert without any namespace counts where the document is nothing else and the alert's children say what it is.
fn alerts<'d, 'm>(root: &El<'d>, context: &Context<'m>) -> Result<Vec<(El<'d>, Vocabulary<'m>)>, String> {
    if let Some(mapping) = context.mappings.of(root) {
        let each = mapping::each(mapping, root, context)?;
        return Ok(each.into_iter().map(|el| (el, Vocabulary::Mapped(mapping))).collect());
    }
    let vocabulary = |el: El<'d>| (el, if is_cap(&el) { Vocabulary::Cap } else { Vocabulary::Native });
    Ok(known_alerts(root).into_iter().map(vocabulary).collect())
}

fn known_alerts<'d>(root: &El<'d>) -> Vec<El<'d>> {
    let bare = root.space().is_empty() && matches!(root.name(), "alert" | "alerts");
    root.outermost(|el| {
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

/// Is the root of a vocabulary that carries alerts? SOAP carries anything.
fn is_envelope(root: &El<'_>) -> bool {
    let ours = root.space() == native::SPACE || cap::version(root.space()).is_some();
    ours || envelope::edxl::is_root(root.name(), root.space())
}

/// A broken document is none of ours if its root says so, and nothing of ours was in what could be read.
fn is_foreign(doc: &Doc, mappings: &Mappings) -> bool {
    let Some(root) = doc.root() else { return false };
    let bare = root.space().is_empty() && ROOTS.contains(&root.name());
    let ours = |el: &El<'_>| mappings.of(el).is_some() || !known_alerts(el).is_empty();
    let inside = || envelope::contents(root, &[]).found;
    !is_envelope(&root)
        && !bare
        && !inside().iter().any(|content| matches!(&content.what, What::Element(el) if ours(el)))
}

fn unknown_root(root: &El<'_>) -> String {
    let space =
        if root.space().is_empty() { "no namespace".to_owned() } else { format!("namespace {}", shown(root.space())) };
    format!(
        "line {}: the root <{}> of {space} is unknown; known are <alert> and <alerts> of {}, of \
         urn:oasis:names:tc:emergency:cap:1.0 to 1.2 also inside an envelope, and what a [[mapping]] names",
        root.line(),
        shown(root.name()),
        native::SPACE,
    )
}
