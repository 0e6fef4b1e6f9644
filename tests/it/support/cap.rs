//! Alerts in the Common Alerting Protocol, as mails.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::lab::xml_mail;

/// A CAP 1.2 message, of `storms@example.test`, Actual, Public, sent now.
#[derive(Debug, Clone)]
pub struct Cap {
    id: String,
    sent: Timestamp,
    status: &'static str,
    kind: &'static str,
    scope: &'static str,
    references: Vec<String>,
    addresses: String,
    infos: Vec<String>,
}

impl Cap {
    /// An Alert with this identifier.
    pub fn alert(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            sent: Timestamp::from_second(Timestamp::now().as_second()).unwrap(),
            status: "Actual",
            kind: "Alert",
            scope: "Public",
            references: Vec::new(),
            addresses: String::new(),
            infos: Vec::new(),
        }
    }

    /// An Update of others.
    pub fn update(id: &str, of: &[&Cap]) -> Self {
        Self { kind: "Update", references: of.iter().map(|c| c.reference()).collect(), ..Self::alert(id) }
    }

    /// A Cancel of others.
    pub fn cancel(id: &str, of: &[&Cap]) -> Self {
        Self { kind: "Cancel", ..Self::update(id, of) }
    }

    pub fn status(mut self, status: &'static str) -> Self {
        self.status = status;
        self
    }

    pub fn scope(mut self, scope: &'static str) -> Self {
        self.scope = scope;
        self
    }

    pub fn addresses(mut self, addresses: &str) -> Self {
        self.addresses = format!("<addresses>{addresses}</addresses>");
        self
    }

    /// Another `<info>`, in English. `more`: further elements, which stand before the area.
    pub fn info(self, severity: &str, headline: &str, more: &str) -> Self {
        self.info_in("en-US", severity, headline, more)
    }

    pub fn info_in(mut self, lang: &str, severity: &str, headline: &str, more: &str) -> Self {
        self.infos.push(format!(
            "<info><language>{lang}</language><category>Met</category><event>storm</event><urgency>Immediate</urgency>\
             <severity>{severity}</severity><certainty>Observed</certainty><headline>{headline}</headline>{more}\
             <area><areaDesc>Lake County</areaDesc></area></info>"
        ));
        self
    }

    pub fn mail(&self) -> String {
        let Self { id, status, kind, scope, addresses, .. } = self;
        let mut xml = format!(
            "<alert xmlns=\"urn:oasis:names:tc:emergency:cap:1.2\"><identifier>{id}</identifier>\
             <sender>storms@example.test</sender><sent>{}</sent><status>{status}</status><msgType>{kind}</msgType>\
             <scope>{scope}</scope>{addresses}",
            time(self.sent)
        );
        if !self.references.is_empty() {
            write!(xml, "<references>{}</references>", self.references.join(" ")).unwrap();
        }
        xml_mail(&(xml + &self.infos.concat() + "</alert>"))
    }

    fn reference(&self) -> String {
        format!("storms@example.test,{},{}", self.id, time(self.sent))
    }
}

/// CAP 1.2 §3.3.2: no `Z`.
pub fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S-00:00").to_string()
}
