//! Who may not be told: CAP 1.2 §3.2.1 `scope` and `addresses`.

use crate::model::{Audience, Recipient};

/// Restricted and Private never go to a group marked public, nor to who is in a group only by way of a public one.
pub(super) fn allows_public(audience: &Audience) -> bool {
    *audience == Audience::Public
}

/// May this recipient be told? A Private alert's addresses must name them, by name or JID, in any case.
pub(super) fn names(audience: &Audience, recipient: &Recipient) -> bool {
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
        assert!(names(&Audience::Restricted, &alice) && names(&Audience::Public, &alice));
        assert!(
            allows_public(&Audience::Public)
                && !allows_public(&Audience::Restricted)
                && !allows_public(&to(&["alice"]))
        );
    }
}
