//! SASL XOAUTH2: the client's one message, and the server's explanation of a refusal. (The mechanism has no RFC; Google and
//! Microsoft document it the same way.)

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::mailbox::common::base64;
use crate::mailbox::failure::quote;

/// What mends a refusal.
pub(in crate::mailbox) const ADVICE: &str =
    "check user, and that the token is one for this user's mailbox (client, scope)";

/// Longest explanation that is read, in characters of base64.
const LONGEST: usize = 8 * 1024;

/// The initial response: `user=USER ^A auth=Bearer TOKEN ^A ^A`, in base64.
pub(in crate::mailbox) fn response(user: &str, token: &str) -> Zeroizing<String> {
    let plain = Zeroizing::new(format!("user={user}\u{1}auth=Bearer {token}\u{1}\u{1}"));
    Zeroizing::new(base64(plain.as_bytes()))
}

/// What a challenge says about why: ` (status 401, scope …)`; empty where it says nothing.
pub(in crate::mailbox) fn explained(challenge: &str) -> String {
    #[derive(Deserialize)]
    struct Explanation {
        status: Option<serde_json::Value>,
        scope: Option<String>,
    }
    let json = decode(challenge.get(..LONGEST).unwrap_or(challenge).trim());
    let Some(told) = json.and_then(|json| serde_json::from_slice::<Explanation>(&json).ok()) else {
        return String::new();
    };
    let status = told.status.map(|status| status.as_str().map_or_else(|| status.to_string(), str::to_owned));
    let words: Vec<String> = [("status", status), ("scope", told.scope)]
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name} {}", quote(&value.filter(|value| !value.is_empty())?))))
        .collect();
    if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) }
}

/// Base64 (RFC 4648 §4); `None` for what is none.
fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut held) = (0u32, 0);
    for letter in text.bytes() {
        let digit = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(digit);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_response_is_as_documented() {
        // The example of Google's description.
        assert_eq!(
            response("someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg").as_str(),
            "dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZG1semRHRXVZMjl0\
             Q2cBAQ=="
        );
    }

    #[test]
    fn an_explanation_is_read_and_nothing_else_hurts() {
        let told = |json: &str| explained(&base64(json.as_bytes()));
        let google =
            "eyJzdGF0dXMiOiI0MDEiLCJzY2hlbWVzIjoiYmVhcmVyIG1hYyIsInNjb3BlIjoiaHR0cHM6Ly9tYWlsLmdvb2dsZS5jb20vIn0K";
        assert_eq!(explained(google), " (status 401, scope https://mail.google.com/)");
        assert_eq!(told("{\"status\":400}"), " (status 400)");
        assert_eq!(told("{\"status\":\"invalid\\u001b_token\",\"scope\":\"\"}"), " (status invalid?_token)");
        for nothing in ["", "=", "not base64!", "e30=", &"A".repeat(100_000), "é", "W10="] {
            assert_eq!(explained(nothing), "", "{nothing}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_back(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(decode(&base64(&bytes)), Some(bytes));
        }

        #[test]
        fn any_challenge_is_borne(text in ".{0,60}") {
            explained(&text);
        }
    }
}
