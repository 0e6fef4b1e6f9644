//! Who may not be told: CAP 1.2 §3.2.1 `scope` and `addresses`.

use crate::model::{Audience, Recipient};

/// Restricted and Private never go to a group marked public, nor to who is in a group only by way of a public one.
pub(super) fn allows_public(audience: &Audience) -> bool {
    *audience == Audience::Public
}

/// May this recipient be told, and why not? A Private alert's addresses must name them, and they must be a person.
pub(super) fn forbids(audience: &Audience, recipient: &Recipient) -> Option<&'static str> {
    let unnamed = (!names(audience, recipient)).then_some("not among the alert's addresses");
    not_in_rooms(audience, recipient).or(unnamed)
}

/// A room is public: nobody knows here who reads in it.
pub(super) fn not_in_rooms(audience: &Audience, recipient: &Recipient) -> Option<&'static str> {
    (recipient.room && !allows_public(audience)).then_some("it is a room, the alert is not public")
}

/// By name or JID, in any case.
fn names(audience: &Audience, recipient: &Recipient) -> bool {
    let Audience::Private(addresses) = audience else { return true };
    let (name, jid) = (recipient.name.as_str().to_lowercase(), recipient.jid.as_str().to_lowercase());
    addresses.iter().any(|address| {
        let address = address.trim().to_lowercase();
        address == name || address == jid
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::fixtures::recipient;

    #[test]
    fn private_names_each_recipient() {
        let alice = recipient("alice");
        let to = |addresses: &[&str]| Audience::Private(addresses.iter().map(|a| (*a).to_owned()).collect());
        assert!(names(&to(&["bob", "ALICE"]), &alice));
        assert!(names(&to(&["Alice@Example.org"]), &alice));
        assert!(!names(&to(&["alice@example.com", "al"]), &alice));
        assert!(!names(&to(&[]), &alice));
        assert_eq!(forbids(&to(&["alice"]), &alice), None);
        assert_eq!(forbids(&to(&["bob"]), &alice), Some("not among the alert's addresses"));
        assert!(names(&Audience::Restricted, &alice) && names(&Audience::Public, &alice));
        let room = Recipient { room: true, ..recipient("alice") };
        for audience in [Audience::Restricted, to(&["alice", "alice@example.org"])] {
            assert_eq!(forbids(&audience, &room), Some("it is a room, the alert is not public"));
        }
        assert_eq!(forbids(&Audience::Public, &room), None);
        assert!(
            allows_public(&Audience::Public)
                && !allows_public(&Audience::Restricted)
                && !allows_public(&to(&["alice"]))
        );
    }
}
