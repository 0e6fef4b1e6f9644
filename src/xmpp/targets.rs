//! Which servers to try, and in which order.

use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::{Name, RData};
use tokio::time::timeout;

use super::Settings;
use crate::net::TlsMode;

/// Host and port.
pub type Target = (String, u16);

/// One SRV record (RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Srv {
    priority: u16,
    weight: u16,
    target: Target,
}

/// The servers of the settings; without any, those of the domain's SRV records (`_xmpps-client` for direct TLS, else
/// `_xmpp-client`: RFC 6120 §3.2, XEP-0368); without those, the domain itself.
pub async fn targets(settings: &Settings, limit: Duration) -> Vec<Target> {
    if !settings.servers.is_empty() {
        return settings.servers.clone();
    }
    let resolver = match TokioResolver::builder_tokio().and_then(|builder| builder.build()) {
        Ok(resolver) => Some(resolver),
        Err(err) => {
            tracing::debug!(%err, "no resolver for SRV records; trying the domain itself");
            None
        }
    };
    by_domain(settings, limit, resolver.as_ref()).await
}

async fn by_domain(settings: &Settings, limit: Duration, resolver: Option<&TokioResolver>) -> Vec<Target> {
    let domain = host_name(settings.jid.domain().as_str());
    let (service, port) = match settings.tls {
        TlsMode::Direct => ("_xmpps-client._tcp", 5223),
        TlsMode::StartTls | TlsMode::None => ("_xmpp-client._tcp", 5222),
    };
    let found = match (resolver, domain.parse::<std::net::IpAddr>()) {
        (Some(resolver), Err(_)) => {
            timeout(limit, lookup(resolver, &format!("{service}.{domain}."))).await.unwrap_or_default()
        }
        _ => Vec::new(),
    };
    let found = order(found, |below| rand::random_range(0..=below));
    if found.is_empty() { vec![(domain, port)] } else { found }
}

/// A domain as DNS and TLS want it: ASCII, punycode where it is not.
pub fn host_name(domain: &str) -> String {
    match Name::from_utf8(domain) {
        Ok(name) if domain.parse::<std::net::IpAddr>().is_err() => name.to_ascii().trim_end_matches('.').to_owned(),
        _ => domain.to_owned(),
    }
}

async fn lookup(resolver: &TokioResolver, name: &str) -> Vec<Srv> {
    match resolver.srv_lookup(name).await {
        Ok(found) => found
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(srv) => Some(Srv {
                    priority: srv.priority,
                    weight: srv.weight,
                    target: (srv.target.to_ascii().trim_end_matches('.').to_owned(), srv.port),
                }),
                _ => None,
            })
            .collect(),
        Err(err) => {
            tracing::debug!(%err, name, "no SRV records; trying the domain itself");
            Vec::new()
        }
    }
}

/// By priority, and within one at random by weight (RFC 2782). `pick(n)` gives a number from 0 to n. A target of `.` means
/// that the service is not offered there.
fn order(mut records: Vec<Srv>, mut pick: impl FnMut(u32) -> u32) -> Vec<Target> {
    records.retain(|r| !r.target.0.is_empty());
    // Those without weight first within a priority, as the RFC has it: they keep a small chance.
    records.sort_by_key(|r| (r.priority, r.weight != 0));
    let mut out = Vec::with_capacity(records.len());
    while let Some(first) = records.first() {
        let same = records.iter().take_while(|r| r.priority == first.priority);
        let total = same.clone().map(|r| u32::from(r.weight)).sum();
        let chosen = pick(total);
        let mut sum = 0;
        let at = same
            .take_while(|r| {
                sum += u32::from(r.weight);
                sum < chosen
            })
            .count();
        out.push(records.remove(at.min(records.len() - 1)).target);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn srv(priority: u16, weight: u16, host: &str) -> Srv {
        Srv { priority, weight, target: (host.into(), 5222) }
    }

    fn names(targets: Vec<Target>) -> Vec<String> {
        targets.into_iter().map(|t| t.0).collect()
    }

    #[test]
    fn priorities_come_first_and_weights_decide_within() {
        let records = || vec![srv(20, 0, "c"), srv(10, 1, "a"), srv(10, 9, "b"), srv(30, 5, ""), srv(10, 0, "z")];
        assert_eq!(names(order(records(), |_| 0)), ["z", "a", "b", "c"]);
        assert_eq!(names(order(records(), |most| most)), ["b", "a", "z", "c"]);
        let mut first_b = 0;
        for n in 0..=10 {
            let mut chosen = Some(n);
            first_b += usize::from(order(records(), |_| chosen.take().unwrap_or(0))[0].0 == "b");
        }
        assert_eq!(first_b, 9, "nine parts of ten");
    }

    /// A name server on loopback that knows these records of the services asked for, and nothing else.
    async fn name_server(records: &'static [(&'static str, u16, &'static str, u16)]) -> TokioResolver {
        use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
        use hickory_resolver::net::runtime::TokioRuntimeProvider;
        use hickory_resolver::proto::op::{Message, OpCode};
        use hickory_resolver::proto::rr::{Record, rdata::SRV};

        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut udp = ConnectionConfig::udp();
        udp.port = socket.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((n, from)) = socket.recv_from(&mut buffer).await {
                let asked = Message::from_vec(&buffer[..n]).unwrap();
                let query = asked.queries[0].clone();
                let mut answer = Message::response(asked.id, OpCode::Query);
                for (name, priority, host, port) in records {
                    if query.name().to_ascii() == *name {
                        let srv = SRV::new(*priority, 0, *port, Name::from_ascii(host).unwrap());
                        answer.add_answer(Record::from_rdata(query.name().clone(), 60, RData::SRV(srv)));
                    }
                }
                answer.add_query(query);
                socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
            }
        });
        let server = NameServerConfig::new("127.0.0.1".parse().unwrap(), true, vec![udp]);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).build().unwrap()
    }

    #[tokio::test]
    async fn srv_records_name_the_servers_and_without_them_the_domain_does() {
        let resolver = name_server(&[
            ("_xmpp-client._tcp.example.test.", 20, "b.example.test.", 5222),
            ("_xmpp-client._tcp.example.test.", 10, "a.example.test.", 5269),
            ("_xmpps-client._tcp.example.test.", 10, "tls.example.test.", 443),
            ("_xmpp-client._tcp.gone.test.", 10, ".", 0),
        ])
        .await;
        let found = async |jid: &str, tls| {
            let settings = Settings { jid: jid.parse().unwrap(), tls, ..settings() };
            let found = by_domain(&settings, Duration::from_secs(10), Some(&resolver)).await;
            found.iter().map(|(host, port)| format!("{host}:{port}")).collect::<Vec<_>>()
        };
        let start = TlsMode::StartTls;
        assert_eq!(found("bot@example.test", start).await, ["a.example.test:5269", "b.example.test:5222"]);
        assert_eq!(found("bot@example.test", TlsMode::Direct).await, ["tls.example.test:443"]);
        assert_eq!(found("bot@other.test", start).await, ["other.test:5222"]);
        assert_eq!(found("bot@other.test", TlsMode::Direct).await, ["other.test:5223"]);
        assert_eq!(found("bot@gone.test", start).await, ["gone.test:5222"]);
        assert_eq!(found("bot@127.0.0.1", start).await, ["127.0.0.1:5222"]);
    }

    fn settings() -> Settings {
        Settings {
            jid: "bot@example.test".parse().unwrap(),
            password: crate::model::Secret::new(String::new()),
            servers: Vec::new(),
            tls: TlsMode::StartTls,
            allow_plaintext: false,
            ca_file: None,
            tls_name: None,
            allow_plain: false,
            show: crate::model::Show::Dnd,
            status: String::new(),
            resource: "mailbell".into(),
            window: 1,
            ping_after: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(30),
            contacts: Vec::new(),
            rooms: Vec::new(),
        }
    }

    #[test]
    fn domains_become_ascii() {
        assert_eq!(host_name("bücher.example"), "xn--bcher-kva.example");
        assert_eq!(host_name("example.org"), "example.org");
        assert_eq!(host_name("127.0.0.1"), "127.0.0.1");
        assert_eq!(host_name("::1"), "::1");
    }
}
