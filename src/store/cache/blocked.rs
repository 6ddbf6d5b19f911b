//! Credentials that are refused, whatever store knows them.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::clock::Timestamp;
use crate::policy::credential::Fingerprint;
use crate::policy::decision::Listed;

/// The block lists of all stores that have one.
#[derive(Debug)]
pub(super) struct Blocked {
    /// By the place of the store; `None` for one that has a list which was not read yet.
    lists: Mutex<Vec<Option<List>>>,
    all: ArcSwap<Merged>,
}

/// A list.
#[derive(Clone, Debug, Default)]
pub(super) struct List {
    pub(super) fingerprints: HashSet<Fingerprint>,
    /// When it was the store's own, if a snapshot had it and the store was not asked since.
    pub(super) as_of: Option<Timestamp>,
}

/// All lists in one.
#[derive(Debug)]
enum Merged {
    /// One of them was not read yet, so nobody is known not to be on it.
    Unread,
    Nobody,
    These(HashSet<Fingerprint>),
}

impl Blocked {
    /// For stores of which these have a list.
    pub(super) fn new(have: impl Iterator<Item = bool>) -> Self {
        let lists: Vec<_> = have.map(|has| (!has).then(List::default)).collect();
        let all = ArcSwap::from_pointee(merged(&lists));
        Self { lists: Mutex::new(lists), all }
    }

    /// Takes up the list of the store at this place.
    pub(super) fn set(&self, store: usize, list: HashSet<Fingerprint>) {
        // Each list is replaced in one step, so a panic elsewhere leaves them whole.
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = lists.get_mut(store) {
            *own = Some(List { fingerprints: list, as_of: None });
        }
        self.all.store(merged(&lists).into());
    }

    /// Takes up a list of the store at this place, unless one was read already.
    pub(super) fn set_first(&self, store: usize, list: List) {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own @ None) = lists.get_mut(store) {
            *own = Some(list);
            self.all.store(merged(&lists).into());
        }
    }

    /// The list of each store that has one which was read.
    pub(super) fn lists_of_all(&self) -> Vec<Option<List>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn is_read(&self) -> bool {
        !matches!(**self.all.load(), Merged::Unread)
    }

    /// Whether all lists were read, and are empty.
    pub(super) fn is_nobody(&self) -> bool {
        matches!(**self.all.load(), Merged::Nobody)
    }

    pub(super) fn lists(&self, fingerprint: Fingerprint) -> Listed {
        match &**self.all.load() {
            Merged::Nobody => Listed::No,
            Merged::These(list) if list.contains(&fingerprint) => Listed::Yes,
            Merged::These(_) => Listed::No,
            Merged::Unread => Listed::Unread,
        }
    }
}

fn merged(lists: &[Option<List>]) -> Merged {
    let mut all = HashSet::new();
    for list in lists {
        match list {
            Some(list) => all.extend(&list.fingerprints),
            None => return Merged::Unread,
        }
    }
    if all.is_empty() { Merged::Nobody } else { Merged::These(all) }
}
