//! The keys of an issuer as they were read last, and when they are read again.
//!
//! **Invariants:** they are asked for once in a cooldown at most, whoever asks, whatever comes of it;
//! what is not read changes nothing; keys are not believed for longer than they may be.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, Notify};

use super::jwk::Jwks;
use super::source::{Reader, SourceError};
use crate::clock::Clock;
use crate::store::{Chain, StoreError};

/// When keys are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// How old they become before they are read again.
    pub every: Duration,
    /// The least time between two attempts.
    pub cooldown: Duration,
    /// How much older than `every` they may become while they can't be read.
    pub stale_if_error: Duration,
}

/// What is told of attempts.
pub(super) trait Told: Send + Sync {
    /// Keys were read, or not.
    fn refreshed(&self, ok: bool);
}

/// The keys of one issuer.
pub(super) struct Keys {
    name: Box<str>,
    reader: Reader,
    refresh: Refresh,
    clock: Arc<dyn Clock>,
    held: ArcSwap<Held>,
    /// When they were last asked for. Held by who is asking.
    asked: Mutex<Option<Instant>>,
    /// That a key is no longer there.
    pub(super) lost: Notify,
    told: std::sync::Mutex<Option<Arc<dyn Told>>>,
}

/// What was read last.
#[derive(Default)]
struct Held {
    keys: Arc<Jwks>,
    read_at: Option<Instant>,
    /// Why they could not be read again since.
    failure: Option<String>,
}

impl Keys {
    pub(super) fn new(
        name: &str,
        reader: Reader,
        refresh: Refresh,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            reader,
            refresh,
            clock,
            held: ArcSwap::default(),
            asked: Mutex::default(),
            lost: Notify::new(),
            told: std::sync::Mutex::default(),
        })
    }

    /// Has somebody told of attempts.
    pub(super) fn tell(&self, told: Arc<dyn Told>) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
    }

    /// The keys, if there are any that may still be believed.
    pub(super) fn usable(&self) -> Option<Arc<Jwks>> {
        let held = self.held.load();
        let oldest = self.refresh.every.saturating_add(self.refresh.stale_if_error);
        let age = self.clock.instant().saturating_duration_since(held.read_at?);
        (age < oldest).then(|| Arc::clone(&held.keys))
    }

    /// What a token of no key that is known comes to: with keys that are as they should be, nobody's.
    pub(super) fn certain(&self) -> Result<(), StoreError> {
        match &self.held.load().failure {
            Some(why) => Err(StoreError::unavailable(why.clone())),
            None => Ok(()),
        }
    }

    /// Whether it is time to read them again.
    pub(super) fn is_due(&self) -> bool {
        let held = self.held.load();
        let age = |at| self.clock.instant().saturating_duration_since(at);
        held.failure.is_some() || held.read_at.is_none_or(|at| age(at) >= self.refresh.every)
    }

    /// Reads them, unless that was done since `wanted` or too short a time ago. Whoever comes meanwhile
    /// waits for the one attempt.
    pub(super) async fn read(self: Arc<Self>, wanted: Instant) {
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|at| at >= wanted || self.cools(at)) {
            return;
        }
        *asked = Some(self.clock.instant());
        let read = self.reader.read().await;
        self.keep(read);
    }

    /// Whether nothing would come of asking now.
    pub(super) fn rests(&self) -> bool {
        self.asked.try_lock().is_ok_and(|asked| asked.is_some_and(|at| self.cools(at)))
    }

    fn cools(&self, asked: Instant) -> bool {
        self.clock.instant().saturating_duration_since(asked) < self.refresh.cooldown
    }

    fn keep(&self, read: Result<Jwks, SourceError>) {
        let (store, before) = (&*self.name, self.held.load_full());
        let ok = read.is_ok();
        match read {
            Ok(keys) => {
                let (lost, new) = (before.keys.loses(&keys), keys.loses(&before.keys));
                if lost || new || before.failure.is_some() || before.read_at.is_none() {
                    tracing::info!(store, keys = keys.len(), "the keys of the issuer were read");
                }
                if keys.is_empty() {
                    tracing::warn!(
                        store,
                        "the issuer has no key that can be used; no token of it is"
                    );
                }
                let read_at = Some(self.clock.instant());
                self.held.store(Arc::new(Held { keys: Arc::new(keys), read_at, failure: None }));
                if lost {
                    self.lost.notify_one();
                }
            }
            Err(error) => {
                let error = Chain(&error).to_string();
                if before.failure.as_ref() != Some(&error) {
                    tracing::error!(store, error, "the keys of the issuer can't be read");
                }
                let (keys, read_at) = (Arc::clone(&before.keys), before.read_at);
                self.held.store(Arc::new(Held { keys, read_at, failure: Some(error) }));
            }
        }
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(told) = told {
            told.refreshed(ok);
        }
    }
}
