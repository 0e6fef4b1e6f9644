//! Hosts with both protocols: open where any address is, and no protocol's trouble is the other's.

use std::time::Duration;

use super::{Checked, Probed, bed, check};
use crate::support::dns::{Dns, Reply};
use crate::support::hosts::{Answer, Family, Host, Way, Wire};
use crate::support::listener::{Listener, Then};

const DUAL: &str = "dual.test:80";

/// A host with both protocols by the name of `dual.test`, and with one by `v4.test` and `v6.test`.
struct Bed {
    _wire: Wire,
    prober: Host,
    host: Host,
    _dns: Dns,
}

impl Bed {
    fn new() -> Option<Self> {
        let (wire, prober, host) = bed()?;
        let dns = Dns::start(&prober, [127, 0, 0, 1]);
        prober.resolv_conf("nameserver 127.0.0.1\n");
        dns.says("dual.test", Reply::Addresses(vec![host.v4.into(), host.v6.into()]));
        dns.says("v4.test", Reply::Addresses(vec![host.v4.into()]));
        dns.says("v6.test", Reply::Addresses(vec![host.v6.into()]));
        Some(Self { _wire: wire, prober, host, _dns: dns })
    }

    fn swallow(&self, family: Family) {
        self.host.firewall(family, Way::In, Some(80), Answer::Nothing);
    }

    fn dual(&self) -> Probed {
        self.check(&[DUAL]).of(DUAL).clone()
    }

    fn check(&self, targets: &[&str]) -> Checked {
        check(&self.prober, targets)
    }
}

#[test]
fn a_black_hole_of_one_protocol_leaves_the_host_open() {
    let Some(bed) = Bed::new() else { return };
    let listener = Listener::start(&bed.host, 80, Then::Close);
    for (family, by) in [(Family::V6, bed.host.v4.to_string()), (Family::V4, bed.host.v6.to_string())] {
        bed.swallow(family);
        let probed = bed.dual();
        assert_eq!(probed.outcome, "open", "{family:?}: {}", probed.reason);
        assert!(probed.reason.starts_with(&by), "{}", probed.reason);
        assert!(probed.took < Duration::from_secs(2), "{:?}", probed.took);
        bed.host.no_firewall();
    }
    drop(listener);
    // Both: then it is down, in no more time than one takes; both are named.
    bed.swallow(Family::V4);
    bed.swallow(Family::V6);
    let probed = bed.dual();
    assert_eq!(probed.outcome, "timed_out");
    assert!(probed.reason.contains(&bed.host.v4.to_string()) && probed.reason.contains(&bed.host.v6.to_string()));
    assert!((3.0..4.5).contains(&probed.took.as_secs_f64()), "{:?}", probed.took);
}

#[test]
fn the_most_telling_answer_counts_where_no_address_is_open() {
    let Some(bed) = Bed::new() else { return };
    // The port is closed; IPv6 is swallowed.
    bed.swallow(Family::V6);
    let probed = bed.dual();
    assert_eq!(probed.outcome, "refused", "{}", probed.reason);
    bed.host.no_firewall();
    // There is no way to its IPv6 network.
    bed.prober.ip("route del 2001:db8::/64 dev eth0");
    let probed = bed.dual();
    assert_eq!(probed.outcome, "refused", "{}", probed.reason);
    let listener = Listener::start(&bed.host, 80, Then::Close);
    assert_eq!(bed.dual().outcome, "open");
    let checked = bed.check(&["v4.test:80", "v6.test:80"]);
    assert_eq!((checked.outcome("v4.test:80"), checked.outcome("v6.test:80")), ("open", "network_unreachable"));
    drop(listener);
}

/// The prober's machine has no IPv6: connect() says EADDRNOTAVAIL, as it does when no port is left, which would be our fault.
#[test]
fn without_ipv6_a_host_is_what_its_ipv4_says() {
    let Some(bed) = Bed::new() else { return };
    let listener = Listener::start(&bed.host, 80, Then::Close);
    bed.prober.sysctl("ipv6/conf/all/disable_ipv6", "1");
    let checked = bed.check(&[DUAL, "v4.test:80", "v6.test:80", "dual.test:81"]);
    assert_eq!(checked.outcome(DUAL), "open", "{checked:#?}");
    assert_eq!(checked.outcome("v4.test:80"), "open");
    assert_eq!(checked.outcome("v6.test:80"), "network_unreachable", "{checked:#?}");
    assert_eq!(checked.outcome("dual.test:81"), "refused", "{checked:#?}");
    drop(listener);
    assert_eq!(bed.dual().outcome, "refused");
    bed.swallow(Family::V4);
    assert_eq!(bed.dual().outcome, "timed_out");
}
