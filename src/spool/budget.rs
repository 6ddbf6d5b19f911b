//! A number of bytes that is shared out, and comes back whatever becomes of who took it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What there is, in bytes.
#[derive(Debug)]
pub(super) struct Budget {
    size: u64,
    taken: AtomicU64,
}

/// What one has taken of it. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Share {
    of: Arc<Budget>,
    taken: u64,
}

impl Budget {
    pub(super) const fn new(size: u64) -> Self {
        Self { size, taken: AtomicU64::new(0) }
    }

    /// A share of nothing yet.
    pub(super) fn share(self: &Arc<Self>) -> Share {
        Share { of: Arc::clone(self), taken: 0 }
    }

    /// How much is taken.
    #[cfg(test)]
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Share {
    /// Takes more, or nothing where there is not enough.
    pub(super) fn take(&mut self, more: u64) -> bool {
        let grown = |taken: u64| taken.checked_add(more).filter(|taken| *taken <= self.of.size);
        let took = self.of.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok();
        if took {
            self.taken += more;
        }
        took
    }

    /// Gives back all that was taken.
    pub(super) fn give_back(&mut self) {
        self.of.taken.fetch_sub(std::mem::take(&mut self.taken), Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back();
    }
}
