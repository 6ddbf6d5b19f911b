//! The identity cache: what the stores said, for a while.
//!
//! Identities live in one cache and everything else in another, so that a flood of unknown tokens
//! can't push a known one out. The second one also joins the requests that ask for the same token
//! at the same time into one question (moka's entry API: a leader that is cancelled hands over to
//! the next in line). Lifetimes are judged by our own clock; moka's only bound memory.
//!
//! **Invariants:** decisions are never cached; an error is never taken for "not known"; what was
//! fetched before a purge is not served after it.

mod blocked;
mod canaries;
mod entry;
mod epochs;
mod former;
mod purge;
mod settings;
mod shared;
mod slot;
pub mod snapshot;
mod uses;

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

pub use canaries::Canary;
pub use settings::{Answer, CacheResult, CacheSettings};
pub use slot::Consulted;
pub use uses::Used;

use super::{Found, LookupResult, Observer, StoreError};
use crate::clock::{Clock, Timestamp};
use crate::policy::credential::Presented;
use crate::policy::decision::{Listed, Lookup};
use crate::policy::identity::{Identity, State};
use blocked::Blocked;
use canaries::Canaries;
use entry::{Flight, Key, Known, Outcome, Place};
use epochs::Epochs;
use former::Former;
use shared::Shared;
use slot::Slot;

/// How long the answer of a store that failed is kept, so that an outage is not hammered.
const OUTAGE_TTL: Duration = Duration::from_millis(250);
/// How many answers other than identities are kept. Keeping one helps only where the same token
/// comes again, so that many distinct ones are not worth the memory.
const FLIGHTS: u64 = 10_000;
/// How often a question is repeated when tokens changed while it was asked.
const ATTEMPTS: usize = 3;
/// How many identities are renewed at the same time ahead of their end.
const RENEWALS: usize = 64;
/// moka refuses lifetimes of a thousand years.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// The stores in the order in which they are asked, and what they said before.
#[derive(Debug)]
pub struct Identities {
    stores: Box<[Slot]>,
    known: Cache<Key, Arc<Known>>,
    flights: Cache<Key, Flight>,
    former: Former,
    bounds: Shared,
    blocked: Blocked,
    canaries: Canaries,
    /// Counts purges. An answer that was fetched across one is not kept.
    epochs: Epochs,
    settings: CacheSettings,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
    /// Where identities are renewed ahead of their end.
    background: Handle,
    renewals: Arc<Semaphore>,
}

impl Identities {
    /// An empty cache before `stores`, that renews identities in the runtime `background`.
    pub fn new(
        stores: Vec<Consulted>,
        settings: CacheSettings,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn Observer>,
        background: Handle,
    ) -> Arc<Self> {
        let lifetime = settings.ttl.saturating_add(settings.stale_if_error).min(LONGEST);
        let negative = settings.unknown_ttl.max(OUTAGE_TTL).min(LONGEST);
        let start = clock.instant();
        Arc::new(Self {
            blocked: Blocked::new(stores.iter().map(|asked| asked.store.has_block_list())),
            stores: (0..)
                .zip(stores)
                .map(|(index, asked)| Slot::new(index, asked, start))
                .collect(),
            // Lifetimes are judged by our own clock; to drop who does not come back, moka need not keep
            // the order in which they came. And whoever comes is kept at once, in place of who was not
            // seen for longest: strangers are not in here.
            known: Cache::builder()
                .max_capacity(settings.capacity)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_idle(lifetime)
                .build(),
            bounds: Shared::default(),
            former: Former::new(lifetime, settings.capacity, start),
            canaries: Canaries::default(),
            flights: Cache::builder().max_capacity(FLIGHTS).time_to_live(negative).build(),
            epochs: Epochs::default(),
            settings,
            clock,
            observer,
            background,
            renewals: Arc::new(Semaphore::new(RENEWALS)),
        })
    }

    /// Who presents a credential, and marks the use of a token that is in force.
    ///
    /// A store whose answer is still fresh wins over an earlier one that would have to be asked:
    /// otherwise every token of the second store would cost a question to the first one each few
    /// seconds, and an outage of the first would slow down all of the second.
    pub async fn lookup<'a>(
        self: &Arc<Self>,
        presented: impl Into<Presented<'a>>,
        now: Timestamp,
    ) -> Answer {
        let presented = presented.into();
        let credential = presented.credential;
        let lookup = match self.listed_in_any_form(presented) {
            Listed::No => None,
            Listed::Yes => Some(Lookup::Blocked),
            Listed::Unread => Some(Lookup::Unavailable),
        };
        if let Some(lookup) = lookup {
            return Answer { lookup, cache: CacheResult::Negative, asked: None, usage: None };
        }
        for slot in self.stores.iter().filter(|slot| slot.takes(credential.kinds)) {
            if let Some(known) = self.known.get(&slot.key(credential)).await
                && known.is_fresh(now, self.settings.ttl)
            {
                if known.is_due(now, self.settings.ttl) {
                    self.renew_ahead(slot.index, presented, &known);
                }
                return found(known, CacheResult::Hit, now);
            }
        }
        // Boxed, because the future of the common case should stay small.
        let from = self.clock.instant();
        let answer = Box::pin(self.ask(presented, now)).await;
        Answer { asked: Some((from, self.clock.instant())), ..answer }
    }

    /// Asks again for an identity that is still served, so that no request waits for it later.
    fn renew_ahead(self: &Arc<Self>, store: Place, presented: Presented<'_>, known: &Arc<Known>) {
        let Some(claim) = known.claim() else { return };
        let Ok(permit) = Arc::clone(&self.renewals).try_acquire_owned() else { return };
        let this = Arc::clone(self);
        // The header is shared, not copied.
        let (credential, header) = (presented.credential.clone(), presented.authorization.cloned());
        self.background.spawn(async move {
            let Some(slot) = this.stores.get(usize::from(store)) else { return };
            let authorization = header.as_ref();
            let presented = Presented { credential: &credential, authorization, client: None };
            this.renew(slot, presented, &claim.0).await;
            drop((claim, permit));
        });
    }

    /// Asks for an identity again, although it may still be served, and says whether it was answered.
    async fn renew(&self, slot: &Slot, presented: Presented<'_>, known: &Known) -> bool {
        let (key, now) = (slot.key(presented.credential), self.clock.now());
        let (flight, _) = self.join(key, slot, presented, now, Some(known.fresh_until())).await;
        flight.outcome.is_answer()
    }

    /// How many identities are kept.
    pub async fn entries(&self) -> u64 {
        self.known.run_pending_tasks().await;
        self.known.entry_count()
    }

    /// How many it keeps at most.
    pub const fn capacity(&self) -> u64 {
        self.settings.capacity
    }

    /// Asks the stores in order until one knows the token.
    async fn ask(self: &Arc<Self>, presented: Presented<'_>, now: Timestamp) -> Answer {
        let (mut stale, mut otherwise) = (None, Lookup::Unknown);
        let mut cache = CacheResult::Negative;
        let mut slots = Vec::with_capacity(self.stores.len());
        let owner = self.stores.iter().position(|slot| slot.owns(presented));
        let asked = |slot: &&Slot| {
            owner.is_none_or(|owner| owner == usize::from(slot.index)) && slot.concerns(presented)
        };
        for slot in self.stores.iter().filter(asked) {
            let key = slot.key(presented.credential);
            let known = self.known.get(&key).await;
            let strange = known.is_none() && !self.former.has(&key, self.clock.instant());
            let known = known.filter(|known| known.bridges(now, &self.settings));
            slots.push((slot, key, known, strange));
        }
        // The one that knew it is asked first: to the others it is a stranger's.
        slots.sort_by_key(|(_, _, _, strange)| *strange);
        for (slot, key, known, strange) in slots {
            match known {
                // While its store is known not to answer, nobody waits for it in vain.
                Some(known) if slot.is_down() => {
                    self.renew_ahead(slot.index, presented, &known);
                    return found(known, CacheResult::Stale, now);
                }
                None if strange && self.is_guess_too_many(key, slot, presented, now).await => {
                    otherwise = limited(otherwise);
                    continue;
                }
                Some(_) | None => {}
            }
            let (flight, asked) = self.join(key, slot, presented, now, None).await;
            if asked {
                cache = CacheResult::Miss;
            }
            match flight.outcome {
                Outcome::Found(known) => return found(known, CacheResult::Miss, now),
                Outcome::Unknown => {}
                Outcome::Limited => otherwise = limited(otherwise),
                Outcome::Unavailable => {
                    otherwise = Lookup::Unavailable;
                    // Read only now: it may have been purged while its store was asked.
                    let known = self.known.get(&key).await;
                    stale = stale.or(known.filter(|known| known.bridges(now, &self.settings)));
                }
            }
        }
        match stale {
            Some(known) => found(known, CacheResult::Stale, now),
            None => Answer { lookup: otherwise, cache, asked: None, usage: None },
        }
    }

    /// Whether a flood goes on to which nothing is known to answer: then not even a place is made for
    /// the question.
    async fn is_guess_too_many(
        &self,
        key: Key,
        slot: &Slot,
        presented: Presented<'_>,
        now: Timestamp,
    ) -> bool {
        if !slot.is_used_up(presented, self.clock.instant()) {
            return false;
        }
        let epoch = self.epochs.of(&key.digest);
        let flight = self.flights.get(&key).await;
        !flight.is_some_and(|flight| flight.holds(epoch, now, self.negative_ttl()))
    }

    /// The answer of one store, and whether this request was the one that asked. An answer that
    /// was read before the last purge when this request came is not for it; neither is the one whose
    /// lifetime ends at `old`, which is to be replaced.
    async fn join(
        &self,
        key: Key,
        slot: &Slot,
        presented: Presented<'_>,
        now: Timestamp,
        old: Option<Timestamp>,
    ) -> (Flight, bool) {
        let epoch = self.epochs.of(&key.digest);
        loop {
            let entry = self.flights.entry(key);
            let fetch = self.fetch(key, slot, presented, old);
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
    async fn fetch(
        &self,
        key: Key,
        slot: &Slot,
        presented: Presented<'_>,
        old: Option<Timestamp>,
    ) -> Flight {
        let (mut outcome, mut epoch) = (Outcome::Unavailable, 0);
        for _ in 0..ATTEMPTS {
            let began = self.clock.now();
            epoch = self.epochs.of(&key.digest);
            // The request before may have finished between our look at the cache and now.
            let known = self.known.get(&key).await;
            if let Some(known) = &known
                && known.is_fresh(began, self.settings.ttl)
                && old != Some(known.fresh_until())
            {
                return Flight::shared(Outcome::Found(Arc::clone(known)), epoch);
            }
            // What was known before is no guess.
            let instant = self.clock.instant();
            let strange = known.is_none() && !self.former.has(&key, instant);
            if strange && !slot.may_guess(presented, instant) {
                return Flight::shared(Outcome::Limited, epoch);
            }
            outcome = self.find(slot, presented).await;
            match &outcome {
                // Anybody for whom an issuer vouches could push out who is let in.
                Outcome::Found(new) if new.identity.state.is_passing() => {
                    self.known.invalidate(&key).await;
                }
                Outcome::Found(new) => {
                    if let Some(before) = &known {
                        new.follow(before);
                    }
                    self.known.insert(key, Arc::clone(new)).await;
                }
                Outcome::Unknown => self.known.invalidate(&key).await,
                Outcome::Unavailable | Outcome::Limited => {}
            }
            if outcome.is_answer() {
                self.former.remove(&key, instant);
                if known.is_some_and(|known| known.identity.state == State::Active)
                    && !outcome.lets_in()
                {
                    self.epochs.count_loss();
                }
            }
            // A purge counts up first and removes then. So either it is seen here, or it finds
            // what was inserted above.
            if self.epochs.of(&key.digest) == epoch {
                let until = match &outcome {
                    Outcome::Found(known) if known.identity.state.is_passing() => {
                        began.after(self.settings.unknown_ttl)
                    }
                    Outcome::Found(known) => {
                        known.settle(began.after(self.settings.ttl));
                        return Flight::shared(outcome, epoch);
                    }
                    Outcome::Unknown => began.after(self.settings.unknown_ttl),
                    Outcome::Unavailable => self.clock.now().after(OUTAGE_TTL),
                    Outcome::Limited => return Flight::shared(outcome, epoch),
                };
                return Flight { until, epoch, outcome };
            }
        }
        Flight::shared(outcome, epoch)
    }

    async fn find(&self, slot: &Slot, presented: Presented<'_>) -> Outcome {
        let (began, timeout) = (self.clock.instant(), self.settings.timeout);
        let answer = tokio::time::timeout(timeout, slot.find(presented)).await;
        let answer = answer.unwrap_or(Err(StoreError::Timeout(timeout)));
        let elapsed = self.clock.instant().saturating_duration_since(began);
        slot.log(&answer);
        let (result, outcome) = match answer {
            Ok(Some(found)) => {
                let bounds = self.bounds.shared(found.identity.bounds);
                let identity = Identity { bounds, ..found.identity };
                let known = Known::unsettled(Found { identity, usage: found.usage });
                (LookupResult::Found, Outcome::Found(Arc::new(known)))
            }
            Ok(None) => (LookupResult::Unknown, Outcome::Unknown),
            Err(_) => (LookupResult::Error, Outcome::Unavailable),
        };
        self.observer.lookup(usize::from(slot.index), result, elapsed);
        outcome
    }

    fn negative_ttl(&self) -> Duration {
        self.settings.unknown_ttl.max(OUTAGE_TTL)
    }
}

/// That a store was not asked is said unless there is worse to say.
fn limited(otherwise: Lookup) -> Lookup {
    match otherwise {
        Lookup::Unknown => Lookup::Limited,
        Lookup::Found(_) | Lookup::Unavailable | Lookup::Limited | Lookup::Blocked => otherwise,
    }
}

fn found(known: Arc<Known>, cache: CacheResult, now: Timestamp) -> Answer {
    known.mark(now);
    let usage = known.usage().cloned();
    Answer { lookup: Lookup::Found(known), cache, asked: None, usage }
}

#[cfg(test)]
mod tests;
