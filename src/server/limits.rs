//! Limits at work: those of a config, and the Redis that some of them are counted in.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::Redis;
use crate::shared_counts::redis::RedisCounts;
use crate::telemetry::metrics::Families;

/// Redis, asked for as long as this is kept.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) counts: Arc<RedisCounts>,
    _running: Arc<Running>,
}

struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Shared {
    /// The one before, if it is the same Redis, asked in the same way. Must be called in the runtime of
    /// background work.
    ///
    /// # Errors
    /// When the machine's certificates are needed and can't be read.
    pub(super) fn new(
        settings: Redis,
        before: Option<&Self>,
        families: &Families,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        if let Some(before) = before.filter(|before| *before.counts.settings() == settings) {
            return Ok(before.clone());
        }
        let observer = Arc::new(families.redis(&settings.server()));
        let counts = RedisCounts::new(settings, observer).context("Redis can't be asked")?;
        let counts = Arc::new(counts);
        let task = Handle::current().spawn(Arc::clone(&counts).keep_up(Arc::clone(clock)));
        let _running = Arc::new(Running(task));
        Ok(Self { counts, _running })
    }
}
