//! A store behind the cache: its place in the order, what it is asked for, and how often.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::entry::{Key, Place};
use crate::limit::{Budget, Rates};
use crate::policy::credential::{Credential, Presented, Scheme};
use crate::policy::identity::KindSet;
use crate::store::{Chain, Found, StoreError, TokenStore};

/// How many causes of one outage are logged.
const CAUSES: usize = 4;

/// A store, and what it is asked for.
#[derive(Clone, Debug)]
pub struct Consulted {
    /// The store.
    pub store: Arc<dyn TokenStore>,
    /// The kinds of credential that it is asked for, as far as it can know them.
    pub kinds: KindSet,
    /// How often it is asked for credentials that are not known; `None` for as often as they come.
    pub rates: Option<Rates>,
}

impl From<Arc<dyn TokenStore>> for Consulted {
    /// For all that it can know, as often as they come.
    fn from(store: Arc<dyn TokenStore>) -> Self {
        Self { kinds: store.takes(), store, rates: None }
    }
}

/// A store and its place in the order.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) index: Place,
    pub(super) store: Arc<dyn TokenStore>,
    kinds: KindSet,
    budget: Option<Budget>,
    /// Whether it does not answer.
    down: AtomicBool,
    /// What was logged of an outage that has not ended.
    told: Mutex<Vec<String>>,
}

impl Slot {
    pub(super) fn new(index: Place, consulted: Consulted, start: Instant) -> Self {
        let Consulted { store, kinds, rates } = consulted;
        let takes = store.takes();
        let budget = rates.map(|rates| match Budget::new(rates, start) {
            budget if store.asks_nobody() => budget.with_reserve(),
            budget => budget,
        });
        Self {
            index,
            kinds: kinds.iter().filter(|kind| takes.contains(*kind)).collect(),
            store,
            budget,
            down: AtomicBool::new(false),
            told: Mutex::default(),
        }
    }

    pub(super) const fn key(&self, credential: &Credential) -> Key {
        Key { store: self.index, scheme: credential.scheme, digest: credential.digest }
    }

    /// Whether it can know a credential of one of these kinds.
    pub(super) const fn takes(&self, kinds: KindSet) -> bool {
        self.kinds.intersects(kinds)
    }

    /// Whether it may be asked for a credential.
    pub(super) fn concerns(&self, presented: Presented<'_>) -> bool {
        let certificate = presented.credential.scheme == Scheme::Certificate;
        self.takes(presented.credential.kinds)
            && (!certificate || self.store.knows_certificates())
            && self.store.concerns(presented)
    }

    /// Whether a credential is its own, and so for no other, though it may not be asked for it either.
    pub(super) fn owns(&self, presented: Presented<'_>) -> bool {
        self.store.owns(presented)
    }

    /// Whether it may be asked now for a credential that is not known.
    pub(super) fn may_guess(&self, presented: Presented<'_>, now: Instant) -> bool {
        self.budget.as_ref().is_none_or(|budget| budget.take(presented.client, now))
    }

    /// Whether it may not be asked now for a credential that is not known.
    pub(super) fn is_used_up(&self, presented: Presented<'_>, now: Instant) -> bool {
        self.budget.as_ref().is_some_and(|budget| budget.is_used_up(presented.client, now))
    }

    /// Asks it, for the kinds that it is there for alone.
    pub(super) async fn find(&self, presented: Presented<'_>) -> Result<Option<Found>, StoreError> {
        let kinds = presented.credential.kinds.iter().filter(|kind| self.kinds.contains(*kind));
        let credential = Credential { kinds: kinds.collect(), ..presented.credential.clone() };
        self.store.find(Presented { credential: &credential, ..presented }).await
    }

    /// Whether it did not answer when it was asked last.
    pub(super) fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    /// Logs the causes and the end of an outage, each once, and every token that can't be read.
    pub(super) fn log(&self, answer: &Result<Option<Found>, StoreError>) {
        let store = self.store.name();
        match answer {
            Ok(_) if self.down.load(Ordering::Relaxed) => {
                if self.down.swap(false, Ordering::Relaxed) {
                    self.told().clear();
                    tracing::info!(store, "the token store answers again");
                }
            }
            Ok(_) => {}
            Err(error @ StoreError::Corrupt { .. }) => {
                tracing::error!(store, error = %Chain(error), "a stored token can't be read");
            }
            Err(error @ (StoreError::Timeout(_) | StoreError::Unavailable(_))) => {
                self.down.store(true, Ordering::Relaxed);
                let error = Chain(error).to_string();
                let mut told = self.told();
                if told.len() < CAUSES && !told.contains(&error) {
                    tracing::error!(store, error, "the token store does not answer");
                    told.push(error);
                }
            }
        }
    }

    fn told(&self) -> MutexGuard<'_, Vec<String>> {
        // Each entry is whole, whatever happened elsewhere.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
