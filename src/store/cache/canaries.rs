//! Tokens that nobody is to use, by their digests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;

use super::Identities;
use crate::policy::credential::Digest;
use crate::store::Usage;

/// A token that nobody is to use.
#[derive(Clone, Debug)]
pub struct Canary {
    /// The name of the store that has it.
    pub store: Box<str>,
    /// By what logs know it.
    pub id: Box<str>,
    /// How it is used.
    pub usage: Usage,
}

/// Those of all stores; none while there are none.
type All = HashMap<Digest, Arc<Canary>>;

/// The canaries of all stores.
#[derive(Debug, Default)]
pub(super) struct Canaries {
    /// By the place of the store.
    lists: Mutex<HashMap<usize, Vec<(Digest, Arc<Canary>)>>>,
    all: ArcSwapOption<All>,
}

impl Identities {
    /// Takes up the canaries of the store at this place.
    pub fn set_canaries(&self, store: usize, list: Vec<(Digest, Canary)>) {
        let Canaries { lists, all } = &self.canaries;
        // Each list is replaced in one step, so a panic elsewhere leaves them whole.
        let mut lists = lists.lock().unwrap_or_else(PoisonError::into_inner);
        let list = list.into_iter().map(|(digest, canary)| (digest, Arc::new(canary)));
        lists.insert(store, list.collect());
        let merged: All = lists.values().flatten().cloned().collect();
        all.store((!merged.is_empty()).then(|| Arc::new(merged)));
    }

    /// Whether there are canaries.
    pub fn has_canaries(&self) -> bool {
        self.canaries.all.load().is_some()
    }

    /// The canary of this digest, if it is one.
    pub fn canary(&self, digest: &Digest) -> Option<Arc<Canary>> {
        self.canaries.all.load().as_ref()?.get(digest).map(Arc::clone)
    }
}
