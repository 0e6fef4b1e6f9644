//! The mails that go in, and the ticket by which each is known again on every wire.

/// What stands before a ticket's digits.
const LEAD: &[u8] = b"ticket-";
/// Its digits.
const DIGITS: usize = 7;

/// Number of an alert, unique in the run.
pub type Ticket = u32;

/// A native alert of about 2 KB with a condition of its own. The same ticket gives the same mail, but for its date.
pub fn mail(ticket: Ticket) -> Vec<u8> {
    let (title, text) = (title(ticket), text(ticket));
    let host = ticket % 97;
    let date = jiff::Zoned::now().strftime("%a, %d %b %Y %H:%M:%S %z");
    format!(
        "From: Monitor <monitor@example.test>\r\nTo: Alerts <alerts@example.test>\r\nSubject: {title}\r\n\
         Date: {date}\r\nMessage-ID: <alert.{ticket}@monitor.example.test>\r\nMIME-Version: 1.0\r\n\
         Content-Type: application/xml; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
         <?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\
         <alert xmlns=\"urn:mailbell:alert:1\" id=\"alert.{ticket}\" key=\"disk/{ticket}\" severity=\"major\">\r\n\
         <title>{title}</title>\r\n<text>{text}</text>\r\n\
         <label name=\"host\">host{host}.example.test</label>\r\n<label name=\"port\">443</label>\r\n\
         <link>https://monitor.example.test/alerts/{ticket}</link>\r\n</alert>\r\n"
    )
    .into_bytes()
}

pub fn title(ticket: Ticket) -> String {
    format!("Disk of node {} is nearly full, ticket-{ticket:0DIGITS$}", ticket % 97)
}

/// About 1.2 KB, different for each ticket.
pub fn text(ticket: Ticket) -> String {
    let mut seed = ticket;
    let lines = (0..20).map(|n| {
        // A linear congruential generator: the same numbers in every run.
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        format!(
            "/dev/sd{} mounted on /srv/volume{:03} is {}% used",
            char::from(b'a' + n),
            seed >> 22,
            70 + (seed >> 8) % 30
        )
    });
    lines.collect::<Vec<_>>().join("\r\n")
}

/// The first whole ticket in these bytes, and where it ends.
pub fn ticket(bytes: &[u8]) -> Option<(Ticket, usize)> {
    let mut from = 0;
    while let Some(at) = find(&bytes[from..], LEAD) {
        let digits = from + at + LEAD.len();
        let end = digits + DIGITS;
        let number = bytes.get(digits..end).and_then(|d| std::str::from_utf8(d).ok()?.parse().ok());
        match number {
            Some(number) => return Some((number, end)),
            None => from = digits,
        }
    }
    None
}

/// Where `what` first stands in `bytes`.
pub fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    let first = *what.first()?;
    let mut from = 0;
    while let Some(at) = bytes.get(from..)?.iter().position(|b| *b == first) {
        if bytes[from + at..].starts_with(what) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}
