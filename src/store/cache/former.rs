//! Who was known until a purge: asking for them again is no guess.
//!
//! Whoever purges everything makes all callers come again at once. As strangers they would use up what
//! a store is asked for those, and be refused for it.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::entry::Key;

/// How many parts the keys are kept in, so that nobody waits long for one.
const PARTS: usize = 64;

/// Keys, as numbers: two that share one are both no guess, which neither of them can bring about.
#[derive(Debug)]
pub(super) struct Former {
    parts: Box<[Mutex<Part>]>,
    hasher: RandomState,
    lifetime: Duration,
    /// How many are kept in each part at most.
    most: usize,
}

/// Those of this lifetime, and of the one before it.
#[derive(Debug)]
struct Part {
    since: Instant,
    keys: HashSet<u64>,
    before: HashSet<u64>,
}

impl Former {
    /// Nobody yet; keys are kept for a `lifetime` at least, and about `capacity` of them.
    pub(super) fn new(lifetime: Duration, capacity: u64, now: Instant) -> Self {
        let part = || Part { since: now, keys: HashSet::new(), before: HashSet::new() };
        let each = usize::try_from(capacity).unwrap_or(usize::MAX) / PARTS;
        Self {
            parts: (0..PARTS).map(|_| Mutex::new(part())).collect(),
            hasher: RandomState::new(),
            lifetime,
            most: each.saturating_mul(2).saturating_add(PARTS),
        }
    }

    /// Somebody who was known is forgotten.
    pub(super) fn add(&self, key: &Key, now: Instant) {
        let (number, mut part) = self.part(key, now);
        if part.keys.len() < self.most {
            part.keys.insert(number);
        }
    }

    /// Whether somebody was known, and was not asked for since.
    pub(super) fn has(&self, key: &Key, now: Instant) -> bool {
        let (number, part) = self.part(key, now);
        part.keys.contains(&number) || part.before.contains(&number)
    }

    /// Somebody was asked for.
    pub(super) fn remove(&self, key: &Key, now: Instant) {
        let (number, mut part) = self.part(key, now);
        part.keys.remove(&number);
        part.before.remove(&number);
    }

    fn part(&self, key: &Key, now: Instant) -> (u64, MutexGuard<'_, Part>) {
        let number = self.hasher.hash_one(key);
        let part = &self.parts[number as usize % PARTS];
        // Each key is there or not, whatever happened elsewhere.
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        let over = |part: &Part| now.saturating_duration_since(part.since) >= self.lifetime;
        if over(&part) {
            part.before = std::mem::take(&mut part.keys);
            part.since = now;
        }
        (number, part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};
    use crate::policy::credential::{Digest, Scheme};

    fn key(number: u64) -> Key {
        Key { store: 0, scheme: Scheme::Bearer, digest: Digest::of(&number.to_string()) }
    }

    #[test]
    fn they_are_kept_for_a_while_and_not_too_many() {
        let (start, second) = (SystemClock.instant(), Duration::from_secs(1));
        let former = Former::new(10 * second, 6_400, start);
        former.add(&key(1), start + 9 * second);
        former.add(&key(2), start + 9 * second);
        former.remove(&key(2), start + 9 * second);
        assert!(!former.has(&key(2), start + 9 * second));
        // For one lifetime, and two at most.
        assert!(former.has(&key(1), start + 19 * second));
        assert!(!former.has(&key(1), start + 30 * second));
        for number in 0..30_000 {
            former.add(&key(number), start + 30 * second);
        }
        let kept = former.parts.iter().map(|part| part.lock().unwrap().keys.len()).sum::<usize>();
        assert!((12_800..=PARTS * former.most).contains(&kept), "{kept}");
    }
}
