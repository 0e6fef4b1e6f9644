//! The `<references>` of CAP: `sender,identifier,sent` triples, separated by white space (CAP 1.2 §3.2.1).

use crate::model::Reference;

use super::time;

/// Most pieces that one triple may be torn into by blanks in its sender or identifier.
const MAX_PIECES: usize = 6;
/// Pieces that are no reference, after which the rest is not looked at.
const MAX_UNREAD: usize = 100;
/// Most references that are kept; a feed that lists more names its first alert among them.
const MAX_REFERENCES: usize = 1000;

/// The triples, and what could not be read as one.
pub(super) fn read(text: &str) -> (Vec<Reference>, String) {
    let mut found = Vec::new();
    let mut unread = String::new();
    let mut strays = 0;
    let mut open: Vec<&str> = Vec::new();
    for piece in text.split_whitespace() {
        open.push(piece);
        // A blank in a sender or identifier tears a triple: its pieces are put together until they make one.
        let whole = (0..open.len()).find_map(|from| triple(&open.get(from..)?.join(" ")).map(|r| (from, r)));
        if let Some((from, reference)) = whole {
            note(&mut unread, open.get(..from).unwrap_or_default());
            open.clear();
            if found.len() < MAX_REFERENCES {
                found.push(reference);
            }
        } else if open.len() >= MAX_PIECES {
            note(&mut unread, &[open.remove(0)]);
            strays += 1;
        }
        if strays >= MAX_UNREAD {
            break;
        }
    }
    note(&mut unread, &open);
    (found, unread)
}

fn note(unread: &mut String, pieces: &[&str]) {
    for piece in pieces {
        if unread.len() < 200 {
            unread.push_str(if unread.is_empty() { "" } else { " " });
            unread.push_str(piece);
        }
    }
}

fn triple(text: &str) -> Option<Reference> {
    let (sender, rest) = text.split_once(',')?;
    // The identifier ends at the last comma, but some senders write one in the time's offset.
    let last = rest.rfind(',')?;
    let before = rest.get(..last).and_then(|r| r.rfind(','));
    [Some(last), before].into_iter().flatten().find_map(|at| {
        let (id, sent) = rest.split_at_checked(at)?;
        let (sent, _) = time::read(sent.strip_prefix(',')?.trim_end_matches(','))?;
        let id = id.trim();
        (!id.is_empty()).then(|| Reference { sender: sender.trim().to_owned(), id: id.to_owned(), sent })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> (Vec<String>, String) {
        let (found, unread) = read(text);
        (found.iter().map(|r| format!("{}|{}|{}", r.sender, r.id, r.sent)).collect(), unread)
    }

    #[test]
    fn triples_are_split_and_compared_as_instants() {
        let (found, unread) = seen(
            "a@b,1,2026-11-21T18:42:00-00:00\n a@b,x,y,2026-11-21T19:42:00+01:00 c,3,2026-11-21T13:42:00-05,00 Some One,4,2026-11-21T18:42:00Z",
        );
        assert_eq!(
            found,
            [
                "a@b|1|2026-11-21T18:42:00Z",
                "a@b|x,y|2026-11-21T18:42:00Z",
                "c|3|2026-11-21T18:42:00Z",
                "Some One|4|2026-11-21T18:42:00Z"
            ]
        );
        assert_eq!(unread, "");
    }

    #[test]
    fn what_is_none_is_told() {
        assert_eq!(seen(""), (vec![], String::new()));
        let (found, unread) = seen("1234 a,b a@b,1,2026-11-21T18:42:00Z tail");
        assert_eq!((found.len(), unread.as_str()), (1, "tail"), "a blank may be part of a sender");
        let (found, unread) = seen("one two three four five six seven eight a@b,1,2026-11-21T18:42:00Z");
        assert_eq!((found.len(), unread.as_str()), (1, "one two three"));
    }
}
