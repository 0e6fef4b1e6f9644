//! Signing in (SASL, RFC 6120 §6). SCRAM proves both sides to each other; the password itself is given away only where the
//! operator allowed it.

use std::borrow::Cow;

use sasl::client::Mechanism;
use sasl::client::mechanisms::{Plain, Scram};
use sasl::common::scram::{Sha1, Sha256};
use sasl::common::{ChannelBinding, Credentials};
use xmpp_parsers::minidom::Element;
use xmpp_parsers::sasl::{Auth, Challenge, Response, Success};

use super::Settings;
use super::connect::{Link, Opened, read, restart, write};
use super::failure::Failure;
use super::xml::condition;

const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const CHANNEL_BINDING: &str = "urn:xmpp:sasl-cb:0";
/// A server that asks for more rounds wants to keep us busy (a million take about half a second).
const MAX_ROUNDS: u32 = 1_000_000;

/// A mechanism, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chosen {
    Sha256Plus,
    Sha1Plus,
    Sha256,
    Sha1,
    Plain,
}

impl Chosen {
    const ALL: [Self; 5] = [Self::Sha256Plus, Self::Sha1Plus, Self::Sha256, Self::Sha1, Self::Plain];

    const fn name(self) -> &'static str {
        match self {
            Self::Sha256Plus => "SCRAM-SHA-256-PLUS",
            Self::Sha1Plus => "SCRAM-SHA-1-PLUS",
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha1 => "SCRAM-SHA-1",
            Self::Plain => "PLAIN",
        }
    }

    const fn binds(self) -> bool {
        matches!(self, Self::Sha256Plus | Self::Sha1Plus)
    }
}

/// What the choice hangs on.
#[derive(Debug, Clone, Copy)]
struct Terms {
    allow_plain: bool,
    /// PLAIN would not cross a wire in the clear.
    private: bool,
    /// We have channel binding data, and the server says that it takes that kind.
    can_bind: bool,
}

/// Signs in. Gives the stream as begun anew, its features, and the mechanism's name.
pub async fn login(opened: Opened, settings: &Settings) -> Result<(Link, Element, &'static str), Failure> {
    let Opened { mut link, features, encrypted, loopback, exporter } = opened;
    let offered = offered(&features);
    let takes_exporter = features.get_child("sasl-channel-binding", CHANNEL_BINDING).is_some_and(|types| {
        types.children().any(|c| c.name() == "channel-binding" && c.attr("type") == Some("tls-exporter"))
    });
    let terms = Terms {
        allow_plain: settings.allow_plain,
        private: encrypted || loopback,
        can_bind: exporter.is_some() && takes_exporter,
    };
    let chosen = choose(&offered, terms).map_err(|err| err.at(settings.jid.as_str()))?;
    let server_binds = offered.iter().any(|name| name.ends_with("-PLUS"));
    let binding = match exporter {
        Some(data) if chosen.binds() => ChannelBinding::TlsExporter(data),
        // "I could, but you do not": the server notices if somebody in between took its -PLUS mechanisms away.
        Some(_) if !server_binds => ChannelBinding::Unsupported,
        _ => ChannelBinding::None,
    };
    let mechanism = mechanism(chosen, settings, binding)?;
    exchange(&mut link, mechanism, chosen, settings).await?;
    let (link, features) = restart(link.initiate_reset(), settings).await?;
    Ok((link, features, chosen.name()))
}

fn offered(features: &Element) -> Vec<String> {
    let list = features.get_child("mechanisms", SASL);
    list.into_iter()
        .flat_map(Element::children)
        .filter(|c| c.name() == "mechanism")
        .map(|c| c.text().trim().to_owned())
        .collect()
}

fn choose(offered: &[String], terms: Terms) -> Result<Chosen, Failure> {
    let has = |wanted: Chosen| offered.iter().any(|name| name == wanted.name());
    let usable = |wanted: Chosen| match wanted {
        Chosen::Plain => terms.allow_plain && terms.private,
        plus if plus.binds() => terms.can_bind,
        _ => true,
    };
    if let Some(chosen) = Chosen::ALL.into_iter().find(|c| has(*c) && usable(*c)) {
        return Ok(chosen);
    }
    let offered = if offered.is_empty() { "nothing".to_owned() } else { offered.join(", ") };
    let offered: String = offered.chars().take(200).collect();
    Err(Failure::refused(match (has(Chosen::Plain), terms.allow_plain) {
        (true, false) => format!(
            "the server offers no SCRAM, only {offered}; PLAIN would hand it the password itself: enable SCRAM there, or set \
             allow_plain = true"
        ),
        (true, true) => {
            format!("the server offers only {offered}, and PLAIN is never sent over a network in the clear; use TLS")
        }
        (false, _) => format!("the server offers no way to sign in that we know (it offers {offered})"),
    }))
}

type BoxedMechanism = Box<dyn Mechanism + Send>;

fn mechanism(chosen: Chosen, settings: &Settings, binding: ChannelBinding) -> Result<BoxedMechanism, Failure> {
    let Some(user) = settings.jid.node() else {
        return Err(Failure::refused(format!("{}: [xmpp] jid needs a user, as in alerts@example.org", settings.jid)));
    };
    // RFC 5802 §5.1: these two are escaped in a SCRAM user name; the library leaves that to us.
    let escaped = user.as_str().replace('=', "=3D").replace(',', "=2C");
    let user = if chosen == Chosen::Plain { user.as_str().to_owned() } else { escaped };
    let password = settings.password.expose();
    let password = if chosen == Chosen::Plain { Cow::Borrowed(password) } else { prepared(password) };
    let credentials =
        Credentials::default().with_username(user).with_password(&*password).with_channel_binding(binding);
    let made: Result<BoxedMechanism, _> = match chosen {
        Chosen::Sha256Plus | Chosen::Sha256 => {
            Scram::<Sha256>::from_credentials(credentials).map(|m| Box::new(m) as BoxedMechanism)
        }
        Chosen::Sha1Plus | Chosen::Sha1 => {
            Scram::<Sha1>::from_credentials(credentials).map(|m| Box::new(m) as BoxedMechanism)
        }
        Chosen::Plain => Plain::from_credentials(credentials).map(|m| Box::new(m) as BoxedMechanism),
    };
    made.map_err(|err| Failure::transient(format!("cannot prepare {}: {err}", chosen.name())))
}

/// SCRAM hashes the password as SASLprep (RFC 4013) leaves it (RFC 5802 §2.2): whether an umlaut was typed as one character
/// or two makes no difference then. What SASLprep forbids goes as it is, and the server says what it thinks of it.
fn prepared(password: &str) -> Cow<'_, str> {
    stringprep::saslprep(password).unwrap_or(Cow::Borrowed(password))
}

async fn exchange(
    link: &mut Link,
    mut mechanism: BoxedMechanism,
    chosen: Chosen,
    settings: &Settings,
) -> Result<(), Failure> {
    let name = chosen.name().parse().map_err(|_| Failure::transient("unknown mechanism"))?;
    write(link, &Auth { mechanism: name, data: mechanism.initial() }.into()).await?;
    // SCRAM's last word proves that the server knows the password too; it may come in a challenge or with the success.
    let mut proven = chosen == Chosen::Plain;
    loop {
        let answer = read(link, settings).await?;
        if answer.ns() != SASL {
            return Err(Failure::transient(format!("the server sent <{}/> during the login", answer.name())));
        }
        match answer.name() {
            "challenge" => {
                let data = Challenge::try_from(answer).map_err(|_| garbled())?.data;
                let response = if data.starts_with(b"v=") {
                    mechanism.success(&data).map_err(|_| unproven(settings))?;
                    proven = true;
                    Vec::new()
                } else {
                    let (used, response) = respond(mechanism, data).await?;
                    mechanism = used;
                    response
                };
                write(link, &Response { data: response }.into()).await?;
            }
            "success" => {
                let data = Success::try_from(answer).map(|s| s.data).unwrap_or_default();
                if !proven {
                    mechanism.success(&data).map_err(|_| unproven(settings))?;
                }
                return Ok(());
            }
            "failure" => return Err(refusal(&answer, settings)),
            _ => return Err(garbled()),
        }
    }
}

/// The answer to a challenge; the password hash takes milliseconds to half a second and is computed aside.
async fn respond(mut mechanism: BoxedMechanism, data: Vec<u8>) -> Result<(BoxedMechanism, Vec<u8>), Failure> {
    let text = String::from_utf8_lossy(&data);
    let rounds = text.split(',').find_map(|part| part.strip_prefix("i=")).map(|n| n.parse::<u32>());
    if !matches!(rounds, Some(Ok(rounds)) if (1..=MAX_ROUNDS).contains(&rounds)) {
        return Err(Failure::transient("the server's SCRAM challenge asks for an absurd number of rounds"));
    }
    let work = tokio::task::spawn_blocking(move || {
        let response = mechanism.response(&data);
        (mechanism, response)
    });
    let (mechanism, response) = work.await.map_err(|_| garbled())?;
    let response = response.map_err(|_| garbled())?;
    Ok((mechanism, response))
}

fn garbled() -> Failure {
    Failure::transient("the server's part of the login makes no sense")
}

fn unproven(settings: &Settings) -> Failure {
    Failure::refused(format!(
        "{}: the server could not prove that it knows the password; it may be an impostor",
        settings.jid
    ))
}

/// `<failure/>` (RFC 6120 §6.5).
fn refusal(failure: &Element, settings: &Settings) -> Failure {
    let (condition, text) = condition(failure, SASL);
    let said = text.map(|t| format!("; it says: {}", t.escape_debug())).unwrap_or_default();
    let jid = &settings.jid;
    match condition.as_str() {
        "temporary-auth-failure" => {
            Failure::transient(format!("{jid}: the server cannot check passwords at the moment ({condition}){said}"))
        }
        "not-authorized" => Failure::refused(format!(
            "{jid}: the server refused the password ({condition}); correct [xmpp] password{said}"
        )),
        "account-disabled" | "credentials-expired" => Failure::refused(format!(
            "{jid}: the server refused the account ({condition}); have its administrator enable it{said}"
        )),
        _ => Failure::refused(format!("{jid}: the server refused the login ({condition}){said}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xmpp::failure::Class;

    fn pick(offered: &[&str], terms: Terms) -> Result<Chosen, Failure> {
        choose(&offered.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>(), terms)
    }

    const TERMS: Terms = Terms { allow_plain: false, private: true, can_bind: true };

    #[test]
    fn the_best_mechanism_wins() {
        let all = ["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "X-OAUTH2", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"];
        assert_eq!(pick(&all, TERMS), Ok(Chosen::Sha256Plus));
        assert_eq!(pick(&all, Terms { can_bind: false, ..TERMS }), Ok(Chosen::Sha256));
        assert_eq!(pick(&["PLAIN", "SCRAM-SHA-1"], Terms { allow_plain: true, ..TERMS }), Ok(Chosen::Sha1));
    }

    #[test]
    fn plain_needs_permission_and_privacy() {
        let err = pick(&["PLAIN"], TERMS).unwrap_err();
        assert_eq!(err.class, Class::Refused);
        assert!(err.reason.contains("allow_plain = true"), "{}", err.reason);
        let allowed = Terms { allow_plain: true, ..TERMS };
        assert_eq!(pick(&["PLAIN"], allowed), Ok(Chosen::Plain));
        let err = pick(&["PLAIN"], Terms { private: false, ..allowed }).unwrap_err();
        assert!(err.reason.contains("use TLS"), "{}", err.reason);
        let err = pick(&["SCRAM-SHA-1-PLUS"], Terms { can_bind: false, ..allowed }).unwrap_err();
        assert!(err.reason.contains("it offers SCRAM-SHA-1-PLUS"), "{}", err.reason);
        assert!(pick(&[], allowed).unwrap_err().reason.contains("nothing"));
    }

    #[test]
    fn passwords_are_prepared_as_the_server_does() {
        // The examples of RFC 4013 §3, and an umlaut of two characters.
        for (given, hashed) in [
            ("I\u{ad}X", "IX"),
            ("user", "user"),
            ("\u{aa}", "a"),
            ("\u{2168}", "IX"),
            ("u\u{308}", "ü"),
            ("a\u{7}", "a\u{7}"),
        ] {
            assert_eq!(prepared(given), hashed, "{given:?}");
        }
    }

    #[tokio::test]
    async fn absurd_challenges_are_refused() {
        for challenge in ["r=x,s=eA==,i=4294967295", "r=x,s=eA==,i=0", "r=x,s=eA==", "r=x,s=eA==,i=99999999999"] {
            let scram = Scram::<Sha1>::new("u", "p".to_owned(), ChannelBinding::None).unwrap();
            assert!(respond(Box::new(scram), challenge.into()).await.is_err(), "{challenge}");
        }
    }
}
