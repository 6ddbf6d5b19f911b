//! The keys that sign, one after the other.
//!
//! **Invariant:** a key that was made here is published before it signs, and every key until what it
//! signed has expired.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use jsonwebtoken::jwk::JwkSet;

use super::key::{Algorithm, PublicKey, SigningKey, Unsigned};
use crate::clock::Timestamp;

/// How long a key stays published that signs no more: the longest that what it signed may be good, and a
/// minute for clocks that differ.
const KEPT: Duration = Duration::from_secs(360);

/// The keys in force. They may be replaced at any time.
#[derive(Debug)]
pub(super) struct Keys(ArcSwap<Ring>);

/// A key that signs, and those that are published beside it.
#[derive(Clone, Debug)]
pub(super) struct Ring {
    current: Arc<SigningKey>,
    /// Since when it signs.
    since: Timestamp,
    /// What signs next, where keys are made here.
    next: Option<Arc<SigningKey>>,
    others: Vec<PublicKey>,
    /// What signed before, and until when it is published.
    former: Vec<(PublicKey, Timestamp)>,
}

impl Ring {
    /// Of keys that are made here.
    pub(super) fn made(algorithm: Algorithm, now: Timestamp) -> Result<Self, Unsigned> {
        let make = || SigningKey::made(algorithm).map(Arc::new);
        let (current, next) = (make()?, Some(make()?));
        Ok(Self { current, since: now, next, others: Vec::new(), former: Vec::new() })
    }

    /// Of the operator's.
    pub(super) fn given(key: Arc<SigningKey>, others: Vec<PublicKey>, now: Timestamp) -> Self {
        Self { current: key, since: now, next: None, others, former: Vec::new() }
    }

    /// The key that signs.
    pub(super) fn current(&self) -> &SigningKey {
        &self.current
    }

    /// What took the place of `before` at `now`.
    fn after(self, before: &Self, now: Timestamp) -> Self {
        let mut former = before.former.clone();
        former.retain(|(_, until)| now < *until);
        if !self.signs_as(before) {
            former.push((before.current.public().clone(), now.after(KEPT)));
        }
        Self { former, ..self }
    }

    /// Whether both sign with one key.
    fn signs_as(&self, other: &Self) -> bool {
        self.current.public() == other.current.public()
    }

    /// What signs when the time of this is over.
    fn following(&self, now: Timestamp) -> Result<Self, Unsigned> {
        let Some(current) = self.next.clone() else { return Ok(self.clone()) };
        let next = Some(Arc::new(SigningKey::made(current.algorithm())?));
        let others = self.others.clone();
        let ring = Self { current, since: now, next, others, former: Vec::new() };
        Ok(ring.after(self, now))
    }

    /// All that are published, each once.
    pub(super) fn published(&self, now: Timestamp) -> JwkSet {
        let former = self.former.iter().filter(|(_, until)| now < *until).map(|(key, _)| key);
        let next = self.next.as_deref().map(SigningKey::public);
        let own = std::iter::once(self.current.public()).chain(next);
        let mut set = JwkSet { keys: Vec::new() };
        for key in own.chain(&self.others).chain(former) {
            if !set.keys.contains(key.jwk()) {
                set.keys.push(key.jwk().clone());
            }
        }
        set
    }
}

impl Keys {
    pub(super) fn new(ring: Ring) -> Self {
        Self(ArcSwap::from_pointee(ring))
    }

    /// Whether they are made here, for this algorithm.
    pub(super) fn were_made(&self, algorithm: Algorithm) -> bool {
        let ring = self.0.load();
        ring.next.as_ref().is_some_and(|next| next.algorithm() == algorithm)
    }

    /// Puts others in their place.
    pub(super) fn replace(&self, ring: &Ring, now: Timestamp) {
        let before = self.0.rcu(|before| ring.clone().after(before, now));
        if !ring.signs_as(&before) {
            tell(ring);
        }
    }

    /// Those at `now`. Where each signs for no longer than `every`, the next one may have taken over.
    pub(super) fn at(&self, now: Timestamp, every: Option<Duration>) -> Guard<Arc<Ring>> {
        let ring = self.0.load();
        let is_over = every.is_some_and(|every| now >= ring.since.after(every));
        if !is_over || ring.next.is_none() {
            return ring;
        }
        match ring.following(now) {
            Ok(following) => {
                let following = Arc::new(following);
                let before = self.0.compare_and_swap(&ring, Arc::clone(&following));
                // Whoever came first has made others already.
                if Arc::ptr_eq(&before, &ring) {
                    tell(&following);
                }
                self.0.load()
            }
            Err(error) => {
                tracing::error!(%error, "the next key for assertions can't be made; the one before signs on");
                ring
            }
        }
    }
}

/// Tells the operator.
fn tell(ring: &Ring) {
    let (kid, algorithm) = (ring.current.public().kid(), ring.current.algorithm());
    tracing::info!(kid, %algorithm, "another key signs assertions from now on");
}
