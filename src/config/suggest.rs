//! What was probably meant.

/// `did you mean …?`, else the list of what there is.
pub(super) fn suggestion(wrong: &str, all: &[&str]) -> String {
    let steps = |key: &str| if swapped(wrong, key) { 1 } else { distance(wrong, key) };
    let near = all.iter().map(|key| (steps(key), *key)).min();
    match near {
        Some((steps, key)) if steps <= (wrong.len() / 3).max(1) => format!("did you mean `{key}`?"),
        _ => {
            let mut all = all.to_vec();
            all.sort_unstable();
            format!("allowed: {}", all.join(", "))
        }
    }
}

/// Do the texts differ by two neighbours that changed places, the commonest slip?
fn swapped(a: &str, b: &str) -> bool {
    let differ: Vec<_> = a.char_indices().zip(b.chars()).filter(|((_, from), to)| from != to).collect();
    let [((at, x), y), ((next, z), w)] = &differ[..] else { return false };
    a.len() == b.len() && *next == at + x.len_utf8() && x == w && z == y
}

/// Edits (insert, remove, replace a character) from one text to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut next = vec![left];
        for ((to, up), diagonal) in b.iter().zip(row.iter().skip(1)).zip(&row) {
            left = (left + 1).min(up + 1).min(diagonal + usize::from(*to != from));
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_and_suggestions() {
        assert_eq!(distance("pol", "poll"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(suggestion("pasword", &["password", "poll"]), "did you mean `password`?");
        assert_eq!(suggestion("plol", &["poll"]), "did you mean `poll`?");
        assert!(!swapped("plol", "ploly") && !swapped("abc", "cba") && !swapped("ab", "ab"));
        assert_eq!(suggestion("zzz", &["poll", "after"]), "allowed: after, poll");
    }
}
