//! `[http]`.

use super::Writer;
use crate::http::Settings;
use crate::model::Size;

pub(super) fn write(out: &mut Writer, http: &Settings) {
    out.table("[http]");
    out.text("listen", http.listen.map(|address| address.to_string()).unwrap_or_default());
    if let Some(files) = &http.tls {
        out.path("tls_cert", &files.cert);
        out.path("tls_key", &files.key);
    }
    out.plain("behind_proxy", http.behind_proxy);
    out.plain("legacy_open", http.legacy_open);
    out.text("max_body", Size(http.max_body as u64));
    out.plain("rate", http.rate);
    out.plain("max_connections", http.max_connections);
    out.span("timeout", http.timeout);
    out.plain("events_kept", http.events.kept);
    out.plain("events_subscribers", http.events.subscribers);
    out.span("events_keep_alive", http.events.keep_alive);
    out.text("events_body", Size(http.events.body as u64));
}
