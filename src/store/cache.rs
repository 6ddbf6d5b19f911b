//! The identity cache: what the stores said, for a while.
//!
//! Identities live in one cache and everything else in another, so that a flood of unknown tokens
//! can't push a known one out. The second one also joins the requests that ask for the same token
//! at the same time into one question (moka's entry API: a leader that is cancelled hands over to
//! the next in line). Lifetimes are judged by our own clock; moka's only bound memory.
//!
//! **Invariants:** decisions are never cached; an error is never taken for "not known"; what was
//! fetched before a purge is not served after it.

mod settings;

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use moka::future::Cache;

pub use settings::{Answer, CacheResult, CacheSettings};

use super::{Chain, Found, LookupResult, Observer, StoreError, TokenStore};
use crate::clock::{Clock, Timestamp};
use crate::policy::credential::{Credential, Digest, Fingerprint, Scheme};
use crate::policy::decision::Lookup;
use crate::policy::identity::State;

/// How long the answer of a store that failed is kept, so that an outage is not hammered.
const OUTAGE_TTL: Duration = Duration::from_millis(250);
/// How many answers other than identities are kept. Keeping one helps only where the same token
/// comes again, so that many distinct ones are not worth the memory.
const FLIGHTS: u64 = 10_000;
/// How often a question is repeated when tokens changed while it was asked.
const ATTEMPTS: usize = 3;
/// How far apart two readings of the clock in one request may lie. A lifetime that ends later
/// than this allows was set before the clock was moved back, and counts as over.
const SLACK: Duration = Duration::from_secs(10);
/// moka refuses lifetimes of a thousand years.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// The stores in the order in which they are asked, and what they said before.
#[derive(Debug)]
pub struct Identities {
    stores: Box<[Slot]>,
    known: Cache<Key, Arc<Known>>,
    flights: Cache<Key, Flight>,
    /// Counts purges. An answer that was fetched across one is not kept.
    epoch: AtomicU64,
    settings: CacheSettings,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
}

impl Identities {
    /// An empty cache before `stores`.
    pub fn new(
        stores: Vec<Arc<dyn TokenStore>>,
        settings: CacheSettings,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let lifetime = settings.ttl.saturating_add(settings.stale_if_error).min(LONGEST);
        let negative = settings.unknown_ttl.max(OUTAGE_TTL).min(LONGEST);
        let slot = |(index, store)| Slot { index, store, down: AtomicBool::new(false) };
        Self {
            stores: stores.into_iter().enumerate().map(slot).collect(),
            known: Cache::builder().max_capacity(settings.capacity).time_to_live(lifetime).build(),
            flights: Cache::builder().max_capacity(FLIGHTS).time_to_live(negative).build(),
            epoch: AtomicU64::new(0),
            settings,
            clock,
            observer,
        }
    }

    /// Who presents `credential`, and marks the use of a token that is in force.
    ///
    /// A store whose answer is still fresh wins over an earlier one that would have to be asked:
    /// otherwise every token of the second store would cost a question to the first one each few
    /// seconds, and an outage of the first would slow down all of the second.
    pub async fn lookup(&self, credential: &Credential, now: Timestamp) -> Answer {
        for slot in self.asked(credential) {
            if let Some(known) = self.known.get(&slot.key(credential)).await
                && known.is_fresh(now, self.settings.ttl)
            {
                return found(&known.found, CacheResult::Hit, now);
            }
        }
        // Boxed, because the future of the common case should stay small.
        Box::pin(self.ask(credential, now)).await
    }

    /// Forgets what is known of a token, at every store. A question that is under way does not
    /// bring it back.
    pub async fn purge(&self, digest: &Digest) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        for slot in &self.stores {
            for scheme in [Scheme::Bearer, Scheme::Basic, Scheme::Dsn] {
                self.known.invalidate(&Key { store: slot.index, scheme, digest: *digest }).await;
            }
        }
    }

    /// Forgets what is known of tokens with this fingerprint, of which there may be several, and says
    /// of how many it was.
    pub async fn purge_fingerprint(&self, fingerprint: Fingerprint) -> usize {
        self.purge_where(|key| key.digest.fingerprint() == fingerprint).await
    }

    /// Forgets what the store of this name said, and says of how many tokens it was; nothing if there
    /// is no such store.
    pub async fn purge_store(&self, name: &str) -> Option<usize> {
        let slot = self.stores.iter().find(|slot| slot.store.name() == name)?;
        Some(self.purge_where(|key| key.store == slot.index).await)
    }

    async fn purge_where(&self, is_meant: impl Fn(&Key) -> bool) -> usize {
        // Counted up first, as for one token: what is read before that is not kept.
        self.epoch.fetch_add(1, Ordering::SeqCst);
        let meant: Vec<Key> =
            self.known.iter().map(|(key, _)| *key).filter(|key| is_meant(key)).collect();
        for key in &meant {
            self.known.invalidate(key).await;
        }
        meant.len()
    }

    /// Forgets everything.
    pub fn purge_all(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.known.invalidate_all();
        self.flights.invalidate_all();
    }

    /// How many identities are kept.
    pub async fn entries(&self) -> u64 {
        self.known.run_pending_tasks().await;
        self.known.entry_count()
    }

    /// The stores that can know `credential`.
    fn asked(&self, credential: &Credential) -> impl Iterator<Item = &Slot> {
        let kinds = credential.kinds;
        self.stores.iter().filter(move |slot| slot.store.takes().intersects(kinds))
    }

    /// Asks the stores in order until one knows the token.
    async fn ask(&self, credential: &Credential, now: Timestamp) -> Answer {
        let (mut stale, mut unavailable, mut cache) = (None, false, CacheResult::Negative);
        for slot in self.asked(credential) {
            let key = slot.key(credential);
            let (flight, asked) = self.join(key, slot, credential, now).await;
            if asked {
                cache = CacheResult::Miss;
            }
            match flight.outcome {
                Outcome::Found(known) => return found(&known, CacheResult::Miss, now),
                Outcome::Unknown => {}
                Outcome::Unavailable => {
                    unavailable = true;
                    // Read only now: it may have been purged while its store was asked.
                    let known = self.known.get(&key).await;
                    stale = stale.or(known.filter(|known| known.bridges(now, &self.settings)));
                }
            }
        }
        match stale {
            Some(known) => found(&known.found, CacheResult::Stale, now),
            None if unavailable => Answer { lookup: Lookup::Unavailable, cache },
            None => Answer { lookup: Lookup::Unknown, cache },
        }
    }

    /// The answer of one store, and whether this request was the one that asked. An answer that
    /// was read before the last purge when this request came is not for it.
    async fn join(
        &self,
        key: Key,
        slot: &Slot,
        credential: &Credential,
        now: Timestamp,
    ) -> (Flight, bool) {
        let epoch = self.epoch.load(Ordering::SeqCst);
        loop {
            let entry = self.flights.entry(key);
            let fetch = self.fetch(key, slot, credential);
            let over = |flight: &Flight| !flight.holds(epoch, now, self.negative_ttl());
            let entry = entry.or_insert_with_if(fetch, over).await;
            let asked = entry.is_fresh();
            let flight = entry.into_value();
            if asked || flight.epoch >= epoch {
                return (flight, asked);
            }
        }
    }

    /// Asks one store on behalf of all who wait for the same token.
    async fn fetch(&self, key: Key, slot: &Slot, credential: &Credential) -> Flight {
        let (mut outcome, mut epoch) = (Outcome::Unavailable, 0);
        for _ in 0..ATTEMPTS {
            let began = self.clock.now();
            epoch = self.epoch.load(Ordering::SeqCst);
            // The request before may have finished between our look at the cache and now.
            if let Some(known) = self.known.get(&key).await
                && known.is_fresh(began, self.settings.ttl)
            {
                return Flight::shared(Outcome::Found(known.found.clone()), epoch);
            }
            outcome = self.find(slot, credential).await;
            let kept = match &outcome {
                Outcome::Found(found) => {
                    let known = Arc::new(Known::unsettled(found.clone()));
                    self.known.insert(key, known.clone()).await;
                    Some(known)
                }
                Outcome::Unknown => {
                    self.known.invalidate(&key).await;
                    None
                }
                Outcome::Unavailable => None,
            };
            // A purge counts up first and removes then. So either it is seen here, or it finds
            // what was inserted above.
            if self.epoch.load(Ordering::SeqCst) == epoch {
                return match (kept, &outcome) {
                    (Some(known), _) => {
                        known.settle(began.after(self.settings.ttl));
                        Flight::shared(outcome, epoch)
                    }
                    (None, Outcome::Unavailable) => {
                        Flight { until: self.clock.now().after(OUTAGE_TTL), epoch, outcome }
                    }
                    (None, Outcome::Found(_) | Outcome::Unknown) => {
                        Flight { until: began.after(self.settings.unknown_ttl), epoch, outcome }
                    }
                };
            }
        }
        Flight::shared(outcome, epoch)
    }

    async fn find(&self, slot: &Slot, credential: &Credential) -> Outcome {
        let (began, timeout) = (self.clock.instant(), self.settings.timeout);
        let answer = tokio::time::timeout(timeout, slot.store.find(credential)).await;
        let answer = answer.unwrap_or(Err(StoreError::Timeout(timeout)));
        let elapsed = self.clock.instant().saturating_duration_since(began);
        slot.log(&answer);
        let (result, outcome) = match answer {
            Ok(Some(found)) => (LookupResult::Found, Outcome::Found(found)),
            Ok(None) => (LookupResult::Unknown, Outcome::Unknown),
            Err(_) => (LookupResult::Error, Outcome::Unavailable),
        };
        self.observer.lookup(slot.index, result, elapsed);
        outcome
    }

    fn negative_ttl(&self) -> Duration {
        self.settings.unknown_ttl.max(OUTAGE_TTL)
    }
}

fn found(found: &Found, cache: CacheResult, now: Timestamp) -> Answer {
    let in_force = found.identity.state == State::Active && !found.identity.is_expired(now);
    if let Some(usage) = &found.usage
        && in_force
    {
        usage.mark(now);
    }
    Answer { lookup: Lookup::Found(found.identity.clone()), cache }
}

/// Whether `now` lies in a lifetime that ends at `until`.
fn is_within(until: Timestamp, lifetime: Duration, now: Timestamp) -> bool {
    now < until && until <= now.after(lifetime).after(SLACK)
}

/// A store and its place in the order.
#[derive(Debug)]
struct Slot {
    index: usize,
    store: Arc<dyn TokenStore>,
    /// Whether an outage was logged that has not ended.
    down: AtomicBool,
}

impl Slot {
    fn key(&self, credential: &Credential) -> Key {
        Key { store: self.index, scheme: credential.scheme, digest: credential.digest }
    }

    /// Logs the beginning and the end of an outage, and every token that can't be read.
    fn log(&self, answer: &Result<Option<Found>, StoreError>) {
        let store = self.store.name();
        match answer {
            Ok(_) if self.down.load(Ordering::Relaxed) => {
                if self.down.swap(false, Ordering::Relaxed) {
                    tracing::info!(store, "the token store answers again");
                }
            }
            Ok(_) => {}
            Err(error @ StoreError::Corrupt { .. }) => {
                tracing::error!(store, error = %Chain(error), "a stored token can't be read");
            }
            Err(error @ (StoreError::Timeout(_) | StoreError::Unavailable(_))) => {
                if !self.down.swap(true, Ordering::Relaxed) {
                    tracing::error!(store, error = %Chain(error), "the token store does not answer");
                }
            }
        }
    }
}

/// What an answer is kept under: the answer of one store never stands for another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    store: usize,
    scheme: Scheme,
    digest: Digest,
}

/// An identity that is kept.
#[derive(Debug)]
struct Known {
    found: Found,
    /// Until when it is served without asking; unset until it is sure that no purge came between.
    /// So a leader that is cancelled in between leaves nothing behind that counts.
    fresh_until: OnceLock<Timestamp>,
}

impl Known {
    fn unsettled(found: Found) -> Self {
        Self { found, fresh_until: OnceLock::new() }
    }

    fn settle(&self, fresh_until: Timestamp) {
        self.fresh_until.get_or_init(|| fresh_until);
    }

    fn is_fresh(&self, now: Timestamp, ttl: Duration) -> bool {
        self.fresh_until.get().is_some_and(|until| is_within(*until, ttl, now))
    }

    /// Whether it may stand in while its store can't answer.
    fn bridges(&self, now: Timestamp, settings: &CacheSettings) -> bool {
        let lifetime = settings.ttl.saturating_add(settings.stale_if_error);
        self.fresh_until
            .get()
            .is_some_and(|until| is_within(until.after(settings.stale_if_error), lifetime, now))
    }
}

/// What a question to one store came to, shared by all who waited for it.
#[derive(Clone, Debug)]
struct Flight {
    outcome: Outcome,
    /// Until when it stands for the store.
    until: Timestamp,
    /// The purges before it was read: a token that was created or revoked since may be the one.
    epoch: u64,
}

impl Flight {
    /// An answer for those who wait, and for nobody after them.
    fn shared(outcome: Outcome, epoch: u64) -> Self {
        Self { outcome, until: Timestamp::from_millis(0), epoch }
    }

    fn holds(&self, epoch: u64, now: Timestamp, lifetime: Duration) -> bool {
        self.epoch == epoch && is_within(self.until, lifetime, now)
    }
}

#[derive(Clone, Debug)]
enum Outcome {
    Found(Found),
    Unknown,
    Unavailable,
}

#[cfg(test)]
mod tests;
