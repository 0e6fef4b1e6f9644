//! HTML read as text: for mails that have nothing else. No rendering, no links followed; one pass over the input.

use std::borrow::Cow;

/// Elements whose content nobody reads.
const HIDDEN: [&str; 5] = ["head", "style", "script", "template", "title"];
/// Elements that start a line of their own.
const BLOCKS: [&str; 24] = [
    "p",
    "br",
    "div",
    "tr",
    "li",
    "ul",
    "ol",
    "table",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "pre",
    "blockquote",
    "dt",
    "dd",
    "section",
    "article",
    "header",
    "footer",
    "center",
];

/// The text of an HTML document: lines at block elements, cells separated by a blank, entities resolved.
pub(crate) fn text(html: &str) -> String {
    let mut out = Text::default();
    let mut rest = html;
    let mut hidden: Option<&str> = None;
    while let Some(open) = rest.find('<') {
        let (before, tag) = rest.split_at(open);
        if hidden.is_none() {
            out.add(before);
        }
        if let Some(comment) = tag.strip_prefix("<!--") {
            rest = comment.split_once("-->").map_or("", |(_, after)| after);
            continue;
        }
        let Some((inside, after)) = tag.get(1..).and_then(|t| t.split_once('>')) else {
            rest = "";
            break;
        };
        rest = after;
        let closing = inside.starts_with('/');
        let name: String = inside.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
        let name = name.to_ascii_lowercase();
        match hidden {
            Some(until) if closing && name == until => hidden = None,
            Some(_) => {}
            None if !closing && !inside.ends_with('/') => hidden = HIDDEN.into_iter().find(|h| *h == name),
            None => {}
        }
        if BLOCKS.contains(&name.as_str()) {
            out.line();
        } else if matches!(name.as_str(), "td" | "th") {
            out.blank();
        }
    }
    if hidden.is_none() {
        out.add(rest);
    }
    out.text.trim().to_owned()
}

#[derive(Default)]
struct Text {
    text: String,
    blank: bool,
}

impl Text {
    fn add(&mut self, raw: &str) {
        for (n, word) in raw.split(|c: char| c.is_ascii_whitespace()).enumerate() {
            self.blank |= n > 0;
            if word.is_empty() {
                continue;
            }
            if std::mem::take(&mut self.blank) && !self.text.is_empty() && !self.text.ends_with('\n') {
                self.text.push(' ');
            }
            self.text.push_str(&entities(word));
        }
    }

    fn blank(&mut self) {
        self.blank = true;
    }

    fn line(&mut self) {
        self.blank = false;
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
    }
}

/// Resolves the references in one word; an unknown one stays as it is.
fn entities(word: &str) -> Cow<'_, str> {
    if !word.contains('&') {
        return word.into();
    }
    let mut out = String::with_capacity(word.len());
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let known = after.bytes().take(12).position(|b| b == b';').and_then(|end| {
            let name = after.get(..end)?;
            Some((entity(name)?, after.get(end + 1..)?))
        });
        match known {
            Some((c, tail)) => {
                out.push(c);
                rest = tail;
            }
            None => {
                out.push('&');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out.into()
}

fn entity(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code);
    }
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => ' ',
        "auml" => 'ä',
        "ouml" => 'ö',
        "uuml" => 'ü',
        "Auml" => 'Ä',
        "Ouml" => 'Ö',
        "Uuml" => 'Ü',
        "szlig" => 'ß',
        "eacute" => 'é',
        "egrave" => 'è',
        "agrave" => 'à',
        "deg" => '°',
        "micro" => 'µ',
        "middot" => '·',
        "bull" => '•',
        "hellip" => '…',
        "ndash" => '–',
        "mdash" => '—',
        "lsquo" => '‘',
        "rsquo" => '’',
        "ldquo" => '“',
        "rdquo" => '”',
        "laquo" => '«',
        "raquo" => '»',
        "copy" => '©',
        "reg" => '®',
        "euro" => '€',
        "times" => '×',
        "rarr" => '→',
        "larr" => '←',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn lines_cells_and_entities() {
        let html = "<html><head><title>no</title><style>p{}</style></head><body><!-- <p>no</p> --><h1>Backup&nbsp;failed</h1>\
                    <table><tr><td>Host</td><td>db1 &amp; db2</td></tr><tr><td>Job</td><td>a&uuml;b&#x21;&bogus;</td></tr></table>\
                    <p>see <b>log</b>s<br/>end</body></html>";
        assert_eq!(text(html), "Backup failed\nHost db1 & db2\nJob aüb!&bogus;\nsee logs\nend");
    }

    #[test]
    fn broken_html_ends_well() {
        for html in ["<", "a<b", "<!-- never closed", "<script>never closed", "&", "&#xFFFFFFFF;", "<p", "</"] {
            text(html);
        }
        assert_eq!(text("1 &lt; 2"), "1 < 2");
    }
}
