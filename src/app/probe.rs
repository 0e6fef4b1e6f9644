//! The probe engine as a source of the service: what it finds enters the queue, in one commit with what it has to remember.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::intake::{Raised, Verify};
use crate::metrics::ProbeMeter;
use crate::model::{Labels, PortCheck, Source};
use crate::probe::{Engine, Kind, Ledger, Monitor, Outcome, Probe, Prober, Settings, Verifier, named, now};
use crate::queue::sqlite::Sqlite;
use crate::queue::{Findings, Found, Outbox, StoreError, patiently};

/// The store as the engine's ledger.
struct Book(Raised<Sqlite>);

#[async_trait]
impl Ledger for Book {
    async fn load(&self) -> Result<Vec<(String, String)>, StoreError> {
        self.0.queue.probe_states().await
    }

    async fn commit(&self, found: Vec<Found>) -> Result<(), StoreError> {
        self.0.commit(&Source::Probe, found).await
    }

    async fn warn(&self, text: &str) -> Result<(), StoreError> {
        patiently("note a warning", || self.0.queue.note("probe", text, Timestamp::now())).await
    }
}

/// An engine whose probes are counted.
struct Counted {
    engine: Engine,
    meter: Arc<ProbeMeter>,
}

#[async_trait]
impl Prober for Counted {
    async fn probe(&self, probe: &Probe) -> Outcome {
        let outcome = Prober::probe(&self.engine, probe).await;
        self.meter.probed(outcome.kind.as_str(), (outcome.kind == Kind::Open).then_some(outcome.took));
        outcome
    }

    fn configure(&self, settings: &Settings) {
        Prober::configure(&self.engine, settings);
    }
}

/// A monitor, and what replaces its settings.
pub fn monitor(
    raised: Raised<Sqlite>,
    settings: Settings,
    meter: Arc<ProbeMeter>,
) -> (Monitor, watch::Sender<Arc<Settings>>) {
    let (replace, settings) = watch::channel(Arc::new(settings));
    let prober = Arc::new(Counted { engine: Engine::monitoring(), meter });
    (Monitor { prober, ledger: Arc::new(Book(raised)), settings, clock: now }, replace)
}

#[async_trait]
impl Verify for Verifier {
    fn names_port(&self, labels: &Labels) -> bool {
        named(labels).is_some()
    }

    async fn verify(&self, labels: &Labels) -> PortCheck {
        Verifier::verify(self, labels).await
    }
}

/// Looks at what mails tell of, by the settings in force. `own`: ports that this process listens at.
pub fn verifier(settings: &watch::Sender<Arc<Settings>>, own: impl IntoIterator<Item = u16>) -> Verifier {
    Verifier::new(settings.subscribe(), own)
}
