//! What many identities are bound to is kept once: an organisation has many tokens.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};

use crate::policy::identity::Bounds;

/// How many parts they are kept in, each swept by itself, so that nobody waits for a sweep of all.
const PARTS: usize = 256;
/// How many a part may have before the ones are looked for that nobody has any more.
const FEW: usize = 16;

/// The bounds that identities share. Asked when a store has answered, and never on a hit.
#[derive(Debug)]
pub(super) struct Shared {
    parts: Box<[Mutex<Kept>]>,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Kept {
    bounds: HashSet<Bounds>,
    /// How many were left when it was swept last.
    left: usize,
}

impl Default for Shared {
    fn default() -> Self {
        let parts = (0..PARTS).map(|_| Mutex::default()).collect();
        Self { parts, hasher: RandomState::new() }
    }
}

impl Shared {
    /// The same bounds, in memory that others use too.
    pub(super) fn shared(&self, bounds: Bounds) -> Bounds {
        if bounds == Bounds::NONE {
            return bounds;
        }
        let part = &self.parts[self.hasher.hash_one(&bounds) as usize % PARTS];
        // An entry is whole, or not there.
        let mut kept = part.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.bounds.get(&bounds) {
            return known.clone();
        }
        if kept.bounds.len() >= 2 * kept.left.max(FEW) {
            kept.bounds.retain(|known| !known.is_unshared());
            kept.left = kept.bounds.len();
        }
        kept.bounds.insert(bounds.clone());
        bounds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::identity::{Binding, Bound};

    fn bounds(number: usize) -> Bounds {
        let name = number.to_string().into_boxed_str();
        Bound { organizations: Binding::Only([name].into()), ..Bound::default() }.into()
    }

    #[test]
    fn the_same_is_kept_once_and_forgotten_with_its_last_holder() {
        let shared = Shared::default();
        let (one, two) = (shared.shared(bounds(1)), shared.shared(bounds(1)));
        assert!(one == two && !one.is_unshared());
        drop(shared.shared(bounds(0)));
        for number in 2..100_000 {
            assert_eq!(shared.shared(bounds(number)), bounds(number));
        }
        let kept: Vec<_> = shared.parts.iter().map(|part| part.lock().unwrap()).collect();
        // No part is larger than a sweep of it is short.
        assert!(kept.iter().all(|part| part.bounds.len() <= 2 * (FEW + 1)));
        assert!(kept.iter().any(|part| part.bounds.contains(&one)));
        assert!(Shared::default().shared(Bounds::NONE) == Bounds::NONE);
    }
}
