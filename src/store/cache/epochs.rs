//! Counts what is forgotten, so that an answer which was fetched across it is not kept.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::policy::credential::Digest;

/// How many groups of credentials are counted apart: a burst of revocations must not keep the answers
/// about all others from being kept.
const GROUPS: usize = 256;

/// Counters that only go up.
#[derive(Debug)]
pub(super) struct Epochs {
    all: AtomicU64,
    groups: Box<[AtomicU64]>,
    losses: AtomicU64,
}

impl Default for Epochs {
    fn default() -> Self {
        let groups = (0..GROUPS).map(|_| AtomicU64::new(0)).collect();
        Self { all: AtomicU64::new(0), groups, losses: AtomicU64::new(0) }
    }
}

impl Epochs {
    /// Of a credential: greater after everything that was forgotten and could be it.
    pub(super) fn of(&self, digest: &Digest) -> u64 {
        self.all.load(Ordering::SeqCst) + self.group(digest).load(Ordering::SeqCst)
    }

    /// Of all credentials together: greater after everybody who must be let in no longer.
    pub(super) fn total(&self) -> u64 {
        let groups = self.groups.iter().map(|group| group.load(Ordering::SeqCst));
        let counted = [&self.all, &self.losses].map(|count| count.load(Ordering::SeqCst));
        groups.sum::<u64>() + counted.iter().sum::<u64>()
    }

    /// A credential turned out not to be in force any more. What was fetched before says so too.
    pub(super) fn count_loss(&self) {
        self.losses.fetch_add(1, Ordering::SeqCst);
    }

    /// A credential is forgotten.
    pub(super) fn count(&self, digest: &Digest) {
        self.group(digest).fetch_add(1, Ordering::SeqCst);
    }

    /// Any may be.
    pub(super) fn count_all(&self) {
        self.all.fetch_add(1, Ordering::SeqCst);
    }

    fn group(&self, digest: &Digest) -> &AtomicU64 {
        &self.groups[usize::from(digest.as_bytes()[0]) % GROUPS]
    }
}
