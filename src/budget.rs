//! A number of bytes that is shared out, and comes back whatever becomes of who took it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What there is, in bytes.
#[derive(Debug)]
pub struct Budget {
    size: u64,
    taken: AtomicU64,
    /// What it is a part of.
    of: Option<Arc<Budget>>,
}

/// What one has taken of it. Dropping it gives it back.
#[derive(Debug)]
pub struct Share {
    of: Arc<Budget>,
    taken: u64,
}

impl Budget {
    /// So many bytes.
    pub const fn new(size: u64) -> Self {
        Self { size, taken: AtomicU64::new(0), of: None }
    }

    /// At most so many bytes of another one.
    pub const fn part(of: Arc<Self>, size: u64) -> Self {
        Self { size, taken: AtomicU64::new(0), of: Some(of) }
    }

    /// A share of nothing yet.
    pub fn share(self: &Arc<Self>) -> Share {
        Share { of: Arc::clone(self), taken: 0 }
    }

    fn take(&self, more: u64) -> bool {
        let grown = |taken: u64| taken.checked_add(more).filter(|taken| *taken <= self.size);
        if self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_err() {
            return false;
        }
        let took = self.of.as_ref().is_none_or(|of| of.take(more));
        if !took {
            self.taken.fetch_sub(more, Ordering::Relaxed);
        }
        took
    }

    fn give_back(&self, size: u64) {
        self.taken.fetch_sub(size, Ordering::Relaxed);
        if let Some(of) = &self.of {
            of.give_back(size);
        }
    }

    /// How much is taken.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Share {
    /// Takes more, or nothing where there is not enough.
    pub fn take(&mut self, more: u64) -> bool {
        let took = self.of.take(more);
        if took {
            self.taken += more;
        }
        took
    }

    /// Gives back all that was taken.
    pub fn give_back(&mut self) {
        self.of.give_back(std::mem::take(&mut self.taken));
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_takes_no_more_than_its_size_and_than_there_is() {
        let whole = Arc::new(Budget::new(10));
        let part = Arc::new(Budget::part(Arc::clone(&whole), 5));
        let (mut one, mut other) = (part.share(), whole.share());
        assert!(!one.take(6) && one.take(5) && !one.take(1));
        assert_eq!((part.taken(), whole.taken()), (5, 5));
        assert!(!other.take(6) && other.take(5));
        one.give_back();
        assert!(other.take(3) && !one.take(3) && one.take(2));
        assert_eq!((part.taken(), whole.taken()), (2, 10));
        drop((one, other));
        assert_eq!((part.taken(), whole.taken()), (0, 0));
    }
}
