//! Which recipients, groups and mailboxes there are, so that references to them are checked where they stand.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::item::{Formed, Item};
use super::reader::Section;
use super::report::quote;
use super::schema::Want;
use super::suggest::suggestion;
use crate::lmtp::Address;
use crate::model::{BareJid, GroupName, MailboxName, NAME_FORM, RecipientName};

/// The name of a recipient or a group, with or without an `@`.
fn reference() -> Want {
    Want::Like(NAME_FORM.replacen('^', "^@?", 1).into())
}

impl Formed for MailboxName {
    const FORM: Option<&'static str> = Some(NAME_FORM);
}

impl Formed for RecipientName {
    const FORM: Option<&'static str> = Some(NAME_FORM);
}

impl Formed for GroupName {
    const FORM: Option<&'static str> = Some(NAME_FORM);
}

impl Formed for String {
    const FORM: Option<&'static str> = None;
}

/// Names as written, each with the line of its first table. A name that is itself wrong is here too: it is told once, not
/// again at every reference.
#[derive(Default)]
pub(super) struct Names {
    pub(super) recipients: BTreeMap<String, Option<usize>>,
    pub(super) groups: BTreeMap<String, Option<usize>>,
    pub(super) mailboxes: BTreeMap<String, Option<usize>>,
    pub(super) routes: BTreeMap<String, Option<usize>>,
    pub(super) walls: BTreeMap<String, Option<usize>>,
    jids: RefCell<BTreeMap<BareJid, Option<usize>>>,
    accounts: RefCell<BTreeMap<Account, Option<usize>>>,
    addresses: RefCell<BTreeMap<Address, Option<usize>>>,
    doors: RefCell<BTreeMap<String, Option<usize>>>,
}

/// Host, port, user and folder.
type Account = (String, u16, String, String);

/// Reads the `name` of every table, and finds those that are there twice.
pub(super) fn names_of<T>(
    sections: &[Section<'_, '_>],
    what: &str,
    seen: &mut BTreeMap<String, Option<usize>>,
) -> Vec<Option<T>>
where
    T: Formed,
{
    let read = |section: &Section<'_, '_>| {
        let item = section.required("name", "name = \"NAME\"")?;
        let text = item.text()?;
        if let Some(first) = seen.get(text) {
            return item.fail(twice(*first), format!("give each {what} a name of its own"));
        }
        seen.insert(text.to_owned(), section.line);
        item.parse()
    };
    sections.iter().map(read).collect()
}

pub(super) fn twice(first: Option<usize>) -> String {
    match first {
        Some(line) => format!("is the same as on line {line}"),
        None => "is the same as another".into(),
    }
}

impl Names {
    /// A reference to a group, with or without its `@`.
    pub(super) fn group(&self, item: &Item<'_, '_>) -> Option<GroupName> {
        item.wants(reference());
        let text = item.text()?;
        let name = text.strip_prefix('@').unwrap_or(text);
        if !self.groups.contains_key(name) {
            return item.fail(format!("there is no group {}", quote(name)), one_of("group", &self.groups, name));
        }
        // Known but no valid name: told at its own table.
        name.parse().ok()
    }

    /// A reference to a recipient.
    pub(super) fn recipient(&self, item: &Item<'_, '_>) -> Option<RecipientName> {
        item.wants(reference());
        let name = item.text()?;
        if !self.recipients.contains_key(name) {
            let hint = if self.groups.contains_key(name) {
                format!("a group is written \"@{name}\"")
            } else {
                one_of("recipient", &self.recipients, name)
            };
            return item.fail(format!("there is no recipient {}", quote(name)), hint);
        }
        name.parse().ok()
    }

    /// Each person once: two names for one JID would page them twice.
    pub(super) fn one_recipient_each(&self, item: &Item<'_, '_>, jid: &BareJid) -> Option<()> {
        if let Some(first) = self.jids.borrow().get(jid) {
            return item.fail(twice(*first), "give each JID to one recipient");
        }
        self.jids.borrow_mut().insert(jid.clone(), item.line);
        Some(())
    }

    /// Each address once: which mailbox's settings apply must not be chance.
    pub(super) fn one_mailbox_an_address(&self, item: &Item<'_, '_>, address: &Address) -> Option<()> {
        if let Some(first) = self.addresses.borrow().get(address) {
            return item.fail(format!("`{address}` {}", twice(*first)), "give each address to one mailbox, once");
        }
        self.addresses.borrow_mut().insert(address.clone(), item.line);
        Some(())
    }

    /// Each door once.
    pub(super) fn one_door_each(&self, item: &Item<'_, '_>, listen: &str) -> Option<()> {
        if let Some(first) = self.doors.borrow().get(listen) {
            return item.fail(twice(*first), "listen in each place once");
        }
        self.doors.borrow_mut().insert(listen.to_owned(), item.line);
        Some(())
    }

    /// Each mailbox once: its mails would be taken by either at random.
    pub(super) fn one_mailbox_each(&self, section: &Section<'_, '_>, host: &str, port: u16, user: &str, folder: &str) {
        let inbox = folder.eq_ignore_ascii_case("INBOX");
        let folder = if inbox { "INBOX" } else { folder };
        let account = (host.to_ascii_lowercase(), port, user.to_owned(), folder.to_owned());
        let mut accounts = self.accounts.borrow_mut();
        if let Some(first) = accounts.get(&account) {
            let wrong = format!("server, user and folder are {}", twice(*first).trim_start_matches("is "));
            section.reader.error(section.line, &section.label, wrong, "read each folder by one [[mailbox]]");
            return;
        }
        accounts.insert(account, section.line);
    }
}

/// `did you mean …?`, else what there is, if anything.
pub(super) fn one_of(what: &str, names: &BTreeMap<String, Option<usize>>, wrong: &str) -> String {
    if names.is_empty() {
        return format!("add a [[{what}]]");
    }
    suggestion(wrong, &names.keys().map(String::as_str).collect::<Vec<_>>())
}
