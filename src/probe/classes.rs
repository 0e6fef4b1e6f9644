//! Server classes whose ports everybody who runs them knows: those of the health checker that mailbell replaces.

const DOMINO: &[u16] = &[1352, 80];
const SAMETIME: &[u16] = &[1352, 80, 1533, 8081, 8082];
const MUX: &[u16] = &[1533, 8082];
const SIP: &[u16] = &[5060, 5061];
const QUICKPLACE: &[u16] = &[1352, 80, 389];

/// Names of the classes whose ports need not be given, lower case.
pub const BUILT_IN: [&str; 5] = ["domino", "sametime", "mux", "sip", "quickplace"];

/// The ports of a built-in class, whatever the case of its name; `None`: it is no built-in one.
pub fn built_in_ports(class: &str) -> Option<&'static [u16]> {
    let ports = [DOMINO, SAMETIME, MUX, SIP, QUICKPLACE];
    let mut known = BUILT_IN.into_iter().zip(ports);
    known.find(|(name, _)| name.eq_ignore_ascii_case(class)).map(|(_, ports)| ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_tools_classes_are_known_in_any_case() {
        assert_eq!(built_in_ports("Domino"), Some(&[1352, 80][..]));
        assert_eq!(built_in_ports("SAMETIME"), Some(&[1352, 80, 1533, 8081, 8082][..]));
        assert_eq!(built_in_ports("mux"), Some(&[1533, 8082][..]));
        assert_eq!(built_in_ports("Sip"), Some(&[5060, 5061][..]));
        assert_eq!(built_in_ports("QuickPlace"), Some(&[1352, 80, 389][..]));
        assert_eq!(built_in_ports("web"), None);
    }
}
