//! Certificates that end soon.

use super::*;

#[test]
fn a_certificate_is_warned_of_once_and_no_outage() {
    let mut host = HostState::default();
    host.configure([tls_probe(443, 2)], at(0));
    assert_eq!(show(&mut host, 443, Certificate::Lasts, 0), Step::Same);
    assert!(!host.is_troubled());
    assert_eq!(show(&mut host, 443, ends(10), 60), Step::Same);
    assert!(host.is_troubled(), "it is looked at what there is to tell");
    assert_eq!(tell(&mut host, 60), ["certificate of 443 ends in 9 days"]);
    show(&mut host, 443, ends(10), 7200);
    assert_eq!(tell(&mut host, 7200), [""; 0], "once a day at most, although outages are told of each hour");
    // An outage comes and goes beside it, and for want of a certificate nothing is known of it.
    see(&mut host, 443, Kind::Certificate, 7260);
    see(&mut host, 443, Kind::Certificate, 7270);
    assert_eq!(tell(&mut host, 7270), ["443 down after 2"]);
    show(&mut host, 443, ends(10), 7300);
    assert_eq!(tell(&mut host, 7300), ["443 up"]);
    assert_eq!(tell(&mut host, 86_461), ["certificate of 443 ends in 8 days again"]);
    show(&mut host, 443, Certificate::Lasts, 90_000);
    assert_eq!(tell(&mut host, 90_000), ["certificate of 443 renewed"]);
    assert!(host.saved().is_empty() && !host.is_troubled());
}

#[test]
fn a_warning_outlives_a_restart_and_ends_with_what_asked_for_it() {
    let mut before = HostState::default();
    before.configure([tls_probe(443, 2)], at(0));
    show(&mut before, 443, ends(10), 0);
    tell(&mut before, 0);
    let json = serde_json::to_string(before.saved()).unwrap();
    insta::assert_snapshot!(json, @r#"{"certificates":{"443":{"since":"2027-01-15T08:00:00Z","last":"2027-01-15T08:00:00Z","severity":"warning","attempts":1,"kind":"certificate_expires","reason":"its certificate expires 2027-01-25 08:00:00 UTC"}}}"#);
    let again = || HostState::new(serde_json::from_str(&json).unwrap());
    let mut after = again();
    after.configure([tls_probe(443, 2)], at(0));
    assert_eq!(tell(&mut after, 100), [""; 0], "nothing was seen yet");
    show(&mut after, 443, ends(10), 110);
    assert_eq!(tell(&mut after, 110), [""; 0], "it was told");
    show(&mut after, 443, Certificate::Lasts, 120);
    assert_eq!(tell(&mut after, 120), ["certificate of 443 renewed"]);
    // Its TLS is not looked at any more; then not even the port.
    for probes in [vec![probe(443, 2)], Vec::new()] {
        let mut gone = again();
        gone.configure([tls_probe(443, 2)], at(0));
        show(&mut gone, 443, ends(10), 50);
        gone.configure(probes, at(0));
        assert_eq!(tell(&mut gone, 100), ["certificate of 443 renewed, gone"]);
        assert!(gone.saved().is_empty());
        gone.configure([tls_probe(443, 2)], at(0));
        assert_eq!(tell(&mut gone, 110), [""; 0], "what was seen under other rules is forgotten");
    }
}
