//! How a mailbox is logged in to: `auth`, and what belongs to it.

use super::item::Item;
use super::reader::Section;
use super::report::quote;
use super::schema::{Law, Want, What};
use super::secret;
use crate::mailbox::{Auth, ClientAuth, Endpoint, TokenSource, check_token_url};

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Password,
    Xoauth2,
}

const WAYS: [(&str, Way); 2] = [("password", Way::Password), ("xoauth2", Way::Xoauth2)];
pub(super) const CLIENT_AUTHS: [(&str, ClientAuth); 2] = [("body", ClientAuth::Body), ("basic", ClientAuth::Basic)];

/// Reads `auth`, and the password or where tokens come from.
pub(super) fn read(section: &Section<'_, '_>) -> Option<Auth> {
    // All of them are read in any case, so that each key is known.
    let passwords = secret::given(section, &secret::PASSWORD);
    let way = section.value("auth").and_then(|item| item.choice(&WAYS));
    let command = section.optional("token_command").map(|item| (program(&item), item));
    let table = section.table("oauth2");
    let given = table.line.is_some();
    let endpoint = endpoint(&table, given);
    let table_line = table.line;
    table.done();
    laws(section);
    let token_keys = [("token_command", command.as_ref().and_then(|(_, item)| item.line)), ("oauth2", table_line)];
    let there: Vec<_> = token_keys.into_iter().filter(|(_, line)| line.is_some()).collect();
    match way? {
        Way::Password => {
            for (key, line) in there {
                let mend = "set auth = \"xoauth2\", or leave it out";
                section.reader.error(line, &section.key(key), "is for auth = \"xoauth2\" only", mend);
            }
            secret::password(section).map(Auth::Password)
        }
        Way::Xoauth2 => {
            for item in passwords {
                item.fail::<()>("is not used with auth = \"xoauth2\"", "leave it out, or set auth = \"password\"");
            }
            match (command, given) {
                (Some((_, item)), true) => {
                    item.fail("is a second way to get a token", "keep one of token_command and [mailbox.oauth2]")
                }
                (Some((program, _)), false) => Some(Auth::Xoauth2(TokenSource::Command(program?))),
                (None, true) => Some(Auth::Xoauth2(TokenSource::Endpoint(Box::new(endpoint?)))),
                (None, false) => {
                    section
                        .missing("token_command", "token_command = [\"/PATH/PROGRAM\"], or a table [mailbox.oauth2]");
                    None
                }
            }
        }
    }
}

/// The same, for a schema.
fn laws(section: &Section<'_, '_>) {
    let tokens = ["token_command", "oauth2"];
    section.law(Law::when("auth", &["password"], What::One(secret::PASSWORD.keys.to_vec())));
    section.law(Law::when("auth", &["password"], What::None(tokens.to_vec())));
    section.law(Law::when("auth", &["xoauth2"], What::One(tokens.to_vec())));
    section.law(Law::when("auth", &["xoauth2"], What::None(secret::PASSWORD.keys.to_vec())));
}

/// A program by its whole path: no shell, and nobody's PATH, stands between.
fn program(item: &Item<'_, '_>) -> Option<Vec<String>> {
    item.wants(Want::Filled);
    item.wants(Want::First("^/"));
    let words = item.each(|item| item.text().map(str::to_owned))?;
    let allowed = "write the program with its whole path and each argument as a text of its own: \
                   [\"/usr/local/bin/token\", \"ops\"]";
    match words.first() {
        None => item.fail("is empty", allowed),
        Some(program) if !std::path::Path::new(program).is_absolute() => {
            item.fail(format!("{} is no absolute path", quote(program)), allowed)
        }
        Some(_) => Some(words),
    }
}

fn endpoint(table: &Section<'_, '_>, given: bool) -> Option<Endpoint> {
    let url = table.optional("token_url").map(|item| token_url(&item));
    let id = table.optional("client_id").map(|item| item.some_text());
    ["token_url", "client_id"].into_iter().for_each(|key| table.law(Law::new(What::Needs(key))));
    table.law(Law::new(What::Some(secret::CLIENT_SECRET.keys.into_iter().chain(secret::REFRESH_TOKEN.keys).collect())));
    let client_secret = secret::optional(table, &secret::CLIENT_SECRET);
    let refresh_token = secret::optional(table, &secret::REFRESH_TOKEN);
    let scope = table.optional("scope").map(|item| item.some_text().map(str::to_owned));
    let client_auth = table.optional("client_auth").map_or(Some(ClientAuth::Body), |item| item.choice(&CLIENT_AUTHS));
    if !given {
        return None;
    }
    if url.is_none() {
        table.missing("token_url", "token_url = \"https://login.example.org/token\"");
    }
    if id.is_none() {
        table.missing("client_id", "client_id = \"ID\"");
    }
    if let (Some(None), Some(None)) = (&client_secret, &refresh_token) {
        let keys = "refresh_token_file = \"FILE\", or client_secret_file = \"FILE\" for the client's own login";
        table.missing("refresh_token", keys);
        return None;
    }
    Some(Endpoint {
        token_url: url??,
        client_id: id??.to_owned(),
        client_secret: client_secret?,
        client_auth: client_auth?,
        refresh_token: refresh_token?,
        scope: scope.map_or(Some(None), |scope| scope.map(Some))?,
    })
}

fn token_url(item: &Item<'_, '_>) -> Option<String> {
    item.wants(Want::like("^ *[Hh][Tt][Tt][Pp][Ss]?:"));
    let text = item.some_text()?;
    match check_token_url(text) {
        Ok(()) => Some(text.to_owned()),
        // It could hold a secret.
        Err(wrong) => item.fail(wrong, "write the endpoint's address: \"https://login.example.org/token\""),
    }
}
