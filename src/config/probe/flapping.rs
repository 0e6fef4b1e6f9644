//! `flapping`, `flap_start` and `flap_stop`.

use crate::config::item::Item;
use crate::config::reader::Section;
use crate::probe::Flapping;

/// Reads them of a table, where `get` finds its values; what is not there is as in `unsaid`.
pub(super) fn read<'r, 'a>(
    section: &Section<'r, 'a>,
    get: impl Fn(&'static str) -> Option<Item<'r, 'a>>,
    unsaid: Option<Flapping>,
) -> Option<Flapping> {
    let percent = |key, unsaid| {
        get(key).map_or(unsaid, |item| item.number(1..=100).and_then(|percent| u8::try_from(percent).ok()))
    };
    let on = get("flapping").map_or(unsaid.map(|unsaid| unsaid.on), |item| item.yes());
    let start = percent("flap_start", unsaid.map(|unsaid| unsaid.start));
    let stop = percent("flap_stop", unsaid.map(|unsaid| unsaid.stop));
    let (on, start, stop) = (on?, start?, stop?);
    if stop >= start {
        let line = ["flap_stop", "flap_start"].into_iter().find_map(|key| section.line_of_key(key)).or(section.line);
        let wrong = format!("{stop} is not less than flap_start ({start})");
        section.reader.error(line, &section.key("flap_stop"), wrong, "lower it, or raise flap_start");
        return None;
    }
    Some(Flapping { on, start, stop })
}
