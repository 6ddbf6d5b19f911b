//! What is kept: identities, and for a moment what else a store said.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::CacheSettings;
use crate::clock::Timestamp;
use crate::policy::credential::{Credential, Digest, Scheme};
use crate::policy::identity::{Identity, KindSet, State};
use crate::store::{Found, Usage};

/// How far apart two readings of the clock in one request may lie. A lifetime that ends later
/// than this allows was set before the clock was moved back, and counts as over.
const SLACK: Duration = Duration::from_secs(10);
/// The part of a lifetime that is left when it is renewed ahead of its end.
const AHEAD: u32 = 5;

/// The place of a store in the configured order; small, because there is one in each key.
pub(super) type Place = u16;

/// What an answer is kept under: the answer of one store never stands for another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) store: Place,
    pub(super) scheme: Scheme,
    pub(super) digest: Digest,
}

/// An identity that is kept, in one piece of memory.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) identity: Identity,
    usage: Option<Usage>,
    /// How often it was presented, also before it was renewed.
    uses: AtomicU64,
    /// Until when it is served without asking, in milliseconds; 0 until it is sure that no purge came
    /// between. So a leader that is cancelled in between leaves nothing behind that counts. The bit
    /// [`CLAIMED`] says that it is being renewed.
    fresh_until: AtomicU64,
}

const CLAIMED: u64 = 1 << 63;

impl Known {
    pub(super) fn unsettled(found: Found) -> Self {
        let Found { identity, usage } = found;
        Self { identity, usage, uses: AtomicU64::new(0), fresh_until: AtomicU64::new(0) }
    }

    /// Counts a use, and marks that of a token that is in force.
    pub(super) fn mark(&self, now: Timestamp) {
        self.uses.fetch_add(1, Ordering::Relaxed);
        if let Some(usage) = &self.usage
            && self.is_in_force(now)
        {
            usage.mark(now);
        }
    }

    /// Where it is counted how it is used.
    pub(super) const fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }

    /// How often it was presented.
    pub(super) fn uses(&self) -> u64 {
        self.uses.load(Ordering::Relaxed)
    }

    /// Takes the place of what was known before.
    pub(super) fn follow(&self, before: &Self) {
        self.uses.store(before.uses(), Ordering::Relaxed);
    }

    pub(super) fn settle(&self, fresh_until: Timestamp) {
        self.fresh_until.store(fresh_until.as_millis() & !CLAIMED, Ordering::Release);
    }

    /// Until when it is served without asking.
    pub(super) fn fresh_until(&self) -> Timestamp {
        Timestamp::from_millis(self.fresh_until.load(Ordering::Acquire) & !CLAIMED)
    }

    pub(super) fn is_fresh(&self, now: Timestamp, ttl: Duration) -> bool {
        is_within(self.fresh_until(), ttl, now)
    }

    /// Whether it is so near the end of its lifetime that it should be renewed.
    pub(super) fn is_due(&self, now: Timestamp, ttl: Duration) -> bool {
        self.fresh_until() <= now.after(ttl / AHEAD)
    }

    /// The right to renew it, if nobody else has it.
    pub(super) fn claim(self: &Arc<Self>) -> Option<Claim> {
        let free = self.fresh_until.fetch_or(CLAIMED, Ordering::Relaxed) & CLAIMED == 0;
        free.then(|| Claim(Arc::clone(self)))
    }

    /// Whether it is of a credential in force.
    pub(super) fn is_in_force(&self, now: Timestamp) -> bool {
        self.identity.state == State::Active && !self.identity.is_expired(now)
    }

    /// Whether it may stand in while its store can't answer.
    pub(super) fn bridges(&self, now: Timestamp, settings: &CacheSettings) -> bool {
        let lifetime = settings.ttl.saturating_add(settings.stale_if_error);
        let until = self.fresh_until();
        until.as_millis() != 0 && is_within(until.after(settings.stale_if_error), lifetime, now)
    }

    /// The credential that it is kept for, as far as a store needs it.
    pub(super) fn credential(&self, key: &Key) -> Credential {
        let kinds = KindSet::EMPTY.with(self.identity.kind);
        Credential { scheme: key.scheme, digest: key.digest, project: None, kinds }
    }
}

/// That an identity is being renewed, until this is gone.
pub(super) struct Claim(pub(super) Arc<Known>);

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.fresh_until.fetch_and(!CLAIMED, Ordering::Relaxed);
    }
}

impl AsRef<Identity> for Known {
    fn as_ref(&self) -> &Identity {
        &self.identity
    }
}

/// What a question to one store came to, shared by all who waited for it.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) outcome: Outcome,
    /// Until when it stands for the store.
    pub(super) until: Timestamp,
    /// The purges before it was read: a token that was created or revoked since may be the one.
    pub(super) epoch: u64,
}

impl Flight {
    /// An answer for those who wait, and for nobody after them.
    pub(super) const fn shared(outcome: Outcome, epoch: u64) -> Self {
        Self { outcome, until: Timestamp::from_millis(0), epoch }
    }

    pub(super) fn holds(&self, epoch: u64, now: Timestamp, lifetime: Duration) -> bool {
        self.epoch == epoch && is_within(self.until, lifetime, now)
    }
}

#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Found(Arc<Known>),
    Unknown,
    Unavailable,
    Limited,
}

impl Outcome {
    /// Whether the store has told.
    pub(super) const fn is_answer(&self) -> bool {
        match self {
            Outcome::Found(_) | Outcome::Unknown => true,
            Outcome::Unavailable | Outcome::Limited => false,
        }
    }

    /// Whether somebody may be let in on it.
    pub(super) fn lets_in(&self) -> bool {
        match self {
            Outcome::Found(known) => known.identity.state == State::Active,
            Outcome::Unknown | Outcome::Unavailable | Outcome::Limited => false,
        }
    }
}

/// Whether `now` lies in a lifetime that ends at `until`.
fn is_within(until: Timestamp, lifetime: Duration, now: Timestamp) -> bool {
    now < until && until <= now.after(lifetime).after(SLACK)
}
