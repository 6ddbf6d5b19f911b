//! What is counted of an issuer's keys.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Registry};

use super::register::{counter_vec, gauge_vec};
use super::{JWKS_DUE, JWKS_REFRESHED, JWKS_REFRESHES, seconds};
use crate::clock::Timestamp;

/// The metrics, registered.
#[derive(Clone, Debug)]
pub(super) struct KeyFamilies {
    refreshes: IntCounterVec,
    refreshed: IntGaugeVec,
    due: IntGaugeVec,
}

impl KeyFamilies {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let refreshes = counter_vec(registry, JWKS_REFRESHES)?;
        let refreshed = gauge_vec(registry, JWKS_REFRESHED)?;
        Ok(Self { refreshes, refreshed, due: gauge_vec(registry, JWKS_DUE)? })
    }

    /// Those of one store, which there are from its first event on: most stores read no keys.
    pub(super) fn of(&self, store: &str) -> KeyHandles {
        let (families, store) = (self.clone(), store.into());
        KeyHandles { families, store, counters: OnceLock::new() }
    }

    /// A store is no longer asked.
    pub(super) fn closed(&self, store: &str) {
        for gauge in [&self.refreshed, &self.due] {
            // It was never there, if so.
            gauge.remove_label_values(&[store]).unwrap_or_default();
        }
    }
}

/// Those of one store.
#[derive(Debug)]
pub(super) struct KeyHandles {
    families: KeyFamilies,
    store: Box<str>,
    counters: OnceLock<[IntCounter; 2]>,
}

impl KeyHandles {
    /// Keys were read at this time, or could not be; they are to be read again so long after they were.
    pub(super) fn read(&self, at: Option<Timestamp>, every: Duration) {
        let of = |result| self.families.refreshes.with_label_values(&[&*self.store, result]);
        let [ok, error] = self.counters.get_or_init(|| [of("ok"), of("error")]);
        match at {
            Some(at) => {
                ok.inc();
                let KeyFamilies { refreshed, due, .. } = &self.families;
                refreshed.with_label_values(&[&*self.store]).set(seconds(at));
                due.with_label_values(&[&*self.store]).set(seconds(at.after(every)));
            }
            None => error.inc(),
        }
    }
}
