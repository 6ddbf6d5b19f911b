//! The token stores of a config and what is remembered of them, with the work that keeps up with them.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::observer::MetricsObserver;
use super::stores::{self, Stores};
use crate::clock::Clock;
use crate::config::Config;
use crate::store::Observer;
use crate::store::cache::{CacheSettings, Identities};
use crate::store::portcullis::PortcullisStore;
use crate::telemetry::metrics::Metrics;

/// How long background work may take to end.
const END: Duration = Duration::from_secs(5);

/// Who is known.
#[derive(Debug)]
pub(super) struct Callers {
    pub(super) identities: Arc<Identities>,
    /// The stores of the gateway's own.
    pub(super) own: Vec<Arc<PortcullisStore>>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Callers {
    /// Opens the stores of `config`. Some may not be asked yet, if that was configured: they are to be
    /// [waited](Stores::wait) for. Must be called in the runtime of background work.
    ///
    /// # Errors
    /// What could not be opened.
    pub(super) async fn open(
        config: &Config,
        clock: &Arc<dyn Clock>,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<(Self, Stores)> {
        let observer: Arc<dyn Observer> = Arc::new(MetricsObserver::new(Arc::clone(metrics)));
        let stores = stores::open(config, &observer).await?;
        let identities = Identities::new(
            stores.consulted(config),
            CacheSettings {
                ttl: config.cache.ttl,
                unknown_ttl: config.cache.unknown_ttl,
                stale_if_error: config.cache.stale_if_error,
                capacity: config.cache.capacity,
                ..CacheSettings::default()
            },
            Arc::clone(clock),
            Arc::clone(&observer),
            Handle::current(),
        );
        let (stop, stopped) = watch::channel(false);
        let mut tasks = stores.keep_up(config, &identities, clock, &stopped).await?;
        if let Some(path) = config.cache.snapshot.clone() {
            stores::read_snapshot(&identities, &path).await;
            let kept = Arc::clone(&identities).keep_snapshot(path, stopped);
            tasks.push(Handle::current().spawn(kept));
        }
        let own = stores.own();
        Ok((Self { identities, own, stop, tasks }, stores))
    }

    /// Ends the work, within some seconds. What is remembered stays for requests that still use it.
    pub(super) async fn close(self) {
        self.stop.send_replace(true);
        let ended = async {
            for task in self.tasks {
                task.await.unwrap_or_default();
            }
        };
        timeout(END, ended).await.unwrap_or_default();
    }
}
