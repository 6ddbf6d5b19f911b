//! Tells the metrics what the stores and the cache saw.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::shared_counts::{Asked, CountsObserver};
use crate::store::{LookupResult, Observer};
use crate::telemetry::metrics::{Metrics, RedisMetrics, RedisResult, StoreResult};

/// Metrics as the observer of the stores, which know nothing of metrics.
#[derive(Debug)]
pub(super) struct MetricsObserver(Arc<Metrics>);

impl MetricsObserver {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self(metrics)
    }
}

impl Observer for MetricsObserver {
    fn lookup(&self, store: usize, result: LookupResult, elapsed: Duration) {
        let result = match result {
            LookupResult::Found => StoreResult::Found,
            LookupResult::Unknown => StoreResult::Unknown,
            LookupResult::Error => StoreResult::Error,
        };
        self.0.store_lookup(store, result, elapsed);
    }

    fn answers(&self, store: usize, so: bool) {
        self.0.store_answers(store, so);
    }

    fn watched(&self, store: usize, up: bool) {
        self.0.store_tells(store, up);
    }

    fn uses_written(&self, store: usize, so: bool) {
        self.0.uses_written(store, so);
    }

    fn keys_read(&self, store: usize, at: Option<Timestamp>, every: Duration) {
        self.0.keys_read(store, at, every);
    }

    fn revocation_lag(&self, lag: Duration) {
        self.0.revocation_lag(lag);
    }
}

impl CountsObserver for RedisMetrics {
    fn asked(&self, asked: Asked) {
        RedisMetrics::asked(
            self,
            match asked {
                Asked::Answered => RedisResult::Answered,
                Asked::Late => RedisResult::Late,
                Asked::Failed => RedisResult::Error,
                Asked::Skipped => RedisResult::Skipped,
            },
        );
    }

    fn can_be_asked(&self, so: bool) {
        self.up(so);
    }
}
