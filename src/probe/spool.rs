//! Hands on what a probe that runs by itself has found, until somebody took it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;

use super::file::StateFile;
use crate::model::{Alert, Span};
use crate::queue::StoreError;

/// Most alerts that are handed on at once.
const AT_ONCE: usize = 50;
/// After a failure: twice as long each time, up to the last.
const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(300);

/// Where alerts go.
#[async_trait]
pub trait Outlet: Send + Sync {
    /// Hands them on. `Ok`: somebody else is responsible for them now.
    ///
    /// # Errors
    /// Why not, for people; it is tried again.
    async fn hand_on(&self, alerts: &[Alert]) -> Result<(), String>;
}

/// Runs until it is dropped: what was taken and not yet noted is handed on once more after the next start, and known by its id.
pub async fn hand_on(file: Arc<StateFile>, outlet: Arc<dyn Outlet>) -> Result<(), StoreError> {
    let mut pause = FIRST;
    loop {
        let alerts = file.next(AT_ONCE).await;
        match outlet.hand_on(&alerts).await {
            Ok(()) => {
                file.handed_on(&alerts).await?;
                for alert in &alerts {
                    tracing::info!(key = %alert.key, status = alert.status.as_str(), "handed on");
                }
                pause = FIRST;
            }
            Err(why) => {
                let waiting = file.waiting().await;
                tracing::error!(%why, waiting, again_in = %Span(pause), "alerts cannot be handed on; they are kept");
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::monitor::Ledger;
    use super::*;
    use crate::model::{Format, Key};
    use crate::queue::Found;

    /// Refuses so many times.
    struct Stubborn {
        refuses: Mutex<u32>,
        took: Mutex<Vec<(tokio::time::Instant, Vec<String>)>>,
    }

    #[async_trait]
    impl Outlet for Stubborn {
        async fn hand_on(&self, alerts: &[Alert]) -> Result<(), String> {
            let mut refuses = self.refuses.lock().unwrap();
            if *refuses > 0 {
                *refuses -= 1;
                return Err("not now".into());
            }
            let ids = alerts.iter().map(|alert| alert.id.clone()).collect();
            self.took.lock().unwrap().push((tokio::time::Instant::now(), ids));
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_until_everything_was_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = Arc::new(StateFile::open(&dir.path().join("state")).await.unwrap());
        let alerts = |from: u32, to: u32| {
            let alert = |n| Alert { id: format!("{n}"), key: Key(format!("{n}")), ..Alert::empty(Format::Native) };
            vec![Found { name: "a".into(), state: None, alerts: (from..to).map(alert).collect() }]
        };
        file.commit(alerts(0, 60)).await.unwrap();
        let outlet = Arc::new(Stubborn { refuses: Mutex::new(3), took: Mutex::default() });
        let start = tokio::time::Instant::now();
        let task = tokio::spawn(hand_on(file.clone(), outlet.clone()));
        let taken = || outlet.took.lock().unwrap().iter().map(|(_, ids)| ids.len()).sum::<usize>();
        while taken() < 60 || file.waiting().await > 0 {
            sleep(Duration::from_secs(1)).await;
        }
        file.commit(alerts(60, 61)).await.unwrap();
        while taken() < 61 || file.waiting().await > 0 {
            sleep(Duration::from_secs(1)).await;
        }
        task.abort();
        let took = outlet.took.lock().unwrap();
        assert_eq!(took[0].0 - start, FIRST * 7, "2, 4 and 8 s after the refusals");
        let ids: Vec<String> = took.iter().flat_map(|(_, ids)| ids.clone()).collect();
        assert_eq!(ids, (0..61).map(|n| n.to_string()).collect::<Vec<_>>());
    }
}
