//! What each caller has used of one limit.
//!
//! Each has a count of its own, found by 128 bits of a keyed hash, so that nobody shares one by chance or
//! by intent. They are spread over several maps, each with a lock that is held for a look-up and some
//! arithmetic, and never while anything is waited for.
//!
//! A count that is used no more says what no count says, so those are what makes room, and nothing is
//! forgotten by it. When there is none either, whoever is new shares one count with the others who are:
//! then they have less than the limit, never more, and whoever was known before is not touched.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::rate::{Rate, Taken};

/// How many maps there are.
const SHARDS: usize = 32;
/// How long a map that was full of counts that are used is not looked through again, in nanoseconds.
const PAUSE: u64 = 100_000_000;
/// How many counts a map has before it is looked through for the first time.
const FEW: usize = 64;

/// What one caller has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    used_until: u64,
    in_flight: u32,
}

/// The counts of one limit.
#[derive(Debug)]
pub struct Counts {
    start: Instant,
    /// Chosen anew at every start, so that nobody knows who is where.
    hashers: [RandomState; 2],
    shards: Box<[Mutex<Shard>]>,
}

#[derive(Debug, Default)]
struct Shard {
    counts: HashMap<u128, Count>,
    /// Shared by those for whom there was no room.
    rest: Count,
    /// How many counts were left when it was looked through.
    left: usize,
    /// Until when it is not.
    pause_until: u64,
}

/// Whose count it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    shard: usize,
    /// `None` for the one that is shared.
    key: Option<u128>,
}

/// What a limit takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How often.
    pub rate: Option<Rate>,
    /// How much at once.
    pub in_flight: Option<NonZeroU32>,
    /// How many have a count of their own, more or less.
    pub max_keys: usize,
}

/// What is left of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Of its rate.
    pub rate: Option<LeftOfRate>,
    /// How many more there may be at once.
    pub in_flight: Option<u32>,
}

/// What is left of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOfRate {
    /// How many there are now.
    pub remaining: u32,
    /// How long until all are there again.
    pub whole_in: Duration,
}

/// Which of its terms refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// Too often; there is one in so much time.
    Rate(Duration),
    /// Too many at once.
    InFlight,
}

impl Counts {
    /// Nothing used.
    pub fn new(start: Instant) -> Arc<Self> {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Arc::new(Self { start, hashers: [RandomState::new(), RandomState::new()], shards })
    }

    /// Takes one of what `key` has under `terms` at `now`: all of it or nothing. What is said to be left
    /// is what is there afterwards.
    ///
    /// # Errors
    /// Which of the terms has none.
    pub fn take(
        &self,
        key: &impl Hash,
        terms: Terms,
        now: Instant,
    ) -> (Left, Result<Place, Excess>) {
        let now = self.nanos(now);
        let [high, low] = [0, 1].map(|index| self.hashers[index].hash_one(key));
        let key = u128::from(high) << 64 | u128::from(low);
        let shard = low as usize % self.shards.len();
        let mut locked = self.shard(shard);
        let own = locked.admit(key, terms.max_keys.div_ceil(SHARDS), now);
        let (left, taken) = locked.count(own).take(terms, now);
        (left, taken.map(|()| Place { shard, key: own }))
    }

    /// Gives back what is used of the rate.
    pub fn give_back(&self, place: Place, rate: Rate) {
        let mut shard = self.shard(place.shard);
        let count = shard.count(place.key);
        count.used_until = rate.give_back(count.used_until);
    }

    /// It is not under way any more.
    pub fn ended(&self, place: Place) {
        let mut shard = self.shard(place.shard);
        let count = shard.count(place.key);
        count.in_flight = count.in_flight.saturating_sub(1);
    }

    /// Somebody else counts too, and says that nothing is used any more in so much time.
    pub fn follow(&self, place: Place, whole_in: Duration, now: Instant) {
        let whole_in = u64::try_from(whole_in.as_nanos()).unwrap_or(u64::MAX);
        let until = self.nanos(now).saturating_add(whole_in);
        let mut shard = self.shard(place.shard);
        let count = shard.count(place.key);
        count.used_until = count.used_until.max(until);
    }

    /// How many have a count of their own.
    pub fn len(&self) -> usize {
        (0..self.shards.len()).map(|shard| self.shard(shard).counts.len()).sum()
    }

    /// Whether nobody has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, index: usize) -> MutexGuard<'_, Shard> {
        // Nothing that is done under the lock can leave half of it.
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn nanos(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.start);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Shard {
    /// Sees to it that the key has a count; without room for it among `most`, it is the one that is
    /// shared.
    fn admit(&mut self, key: u128, most: usize, now: u64) -> Option<u128> {
        if self.counts.contains_key(&key) {
            return Some(key);
        }
        // What was left is looked through again when it has doubled.
        let full = (self.left * 2).max(FEW).min(most);
        if self.counts.len() >= full && now >= self.pause_until {
            self.counts.retain(|_, count| count.is_used(now));
            self.left = self.counts.len();
            if self.left >= most {
                self.pause_until = now.saturating_add(PAUSE);
            }
        }
        if self.counts.len() >= most {
            return None;
        }
        self.counts.insert(key, Count::default());
        Some(key)
    }

    fn count(&mut self, key: Option<u128>) -> &mut Count {
        match key {
            // One that is under way is used, so it is there.
            Some(key) => self.counts.entry(key).or_default(),
            None => &mut self.rest,
        }
    }
}

impl Count {
    const fn is_used(&self, now: u64) -> bool {
        self.in_flight > 0 || self.used_until > now
    }

    fn take(&mut self, terms: Terms, now: u64) -> (Left, Result<(), Excess>) {
        let used = |until, rate: Rate| Duration::from_nanos(rate.used(until, now));
        let taken = terms.rate.map(|rate| (rate, rate.take(self.used_until, now)));
        let room = terms.in_flight.map(|most| most.get().checked_sub(self.in_flight + 1));
        let mut left = Left { rate: None, in_flight: room.map(Option::unwrap_or_default) };
        match (taken, room) {
            (Some((rate, Taken::Refused { wait })), _) => {
                let whole_in = used(self.used_until, rate);
                left.rate = Some(LeftOfRate { remaining: 0, whole_in });
                left.in_flight =
                    terms.in_flight.map(|most| most.get().saturating_sub(self.in_flight));
                (left, Err(Excess::Rate(Duration::from_nanos(wait))))
            }
            (taken, Some(None)) => {
                left.rate = taken.map(|(rate, taken)| LeftOfRate {
                    remaining: match taken {
                        Taken::Granted { remaining, .. } => remaining.saturating_add(1),
                        Taken::Refused { .. } => 0,
                    },
                    whole_in: used(self.used_until, rate),
                });
                (left, Err(Excess::InFlight))
            }
            (taken, Some(Some(_)) | None) => {
                if let Some((rate, Taken::Granted { used_until, remaining })) = taken {
                    self.used_until = used_until;
                    let whole_in = used(used_until, rate);
                    left.rate = Some(LeftOfRate { remaining, whole_in });
                }
                // Counted whether or not there is a limit to it, so that a new one knows.
                self.in_flight = self.in_flight.saturating_add(1);
                (left, Ok(()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};
    use crate::limit::rate::SECOND;

    fn terms(per_second: u32, burst: u32, in_flight: u32) -> Terms {
        let rate = NonZeroU32::new(per_second).zip(NonZeroU32::new(burst));
        let rate = rate.map(|(count, burst)| Rate::new(count, SECOND, burst));
        Terms { rate, in_flight: NonZeroU32::new(in_flight), max_keys: 100_000 }
    }

    /// How many of so many tries are granted; they stay under way.
    fn granted(counts: &Counts, key: &str, terms: Terms, now: Instant, tries: usize) -> usize {
        (0..tries).filter(|_| counts.take(&key, terms, now).1.is_ok()).count()
    }

    #[test]
    fn everybody_has_a_count_of_their_own() {
        let start = SystemClock.instant();
        let counts = Counts::new(start);
        let terms = terms(1, 3, 0);
        for caller in 0..10_000 {
            let key = format!("tok_{caller}");
            assert_eq!(granted(&counts, &key, terms, start, 5), 3, "{key}");
        }
        assert_eq!(counts.len(), 10_000);
    }

    #[test]
    fn what_is_under_way_ends_and_what_is_given_back_was_not_taken() {
        let start = SystemClock.instant();
        let counts = Counts::new(start);
        let both = terms(1, 3, 2);
        let taken = |now| counts.take(&"a", both, now);
        let rate = |remaining, millis| {
            Some(LeftOfRate { remaining, whole_in: Duration::from_millis(millis) })
        };

        let (left, first) = taken(start);
        assert_eq!(left, Left { rate: rate(2, 1000), in_flight: Some(1) });
        let (left, second) = taken(start);
        assert_eq!(left, Left { rate: rate(1, 2000), in_flight: Some(0) });
        // Too many at once, which costs nothing of the rate.
        let (left, third) = taken(start);
        assert_eq!(third, Err(Excess::InFlight));
        assert_eq!(left, Left { rate: rate(1, 2000), in_flight: Some(0) });

        counts.ended(first.unwrap());
        let (left, third) = taken(start);
        assert_eq!(left, Left { rate: rate(0, 3000), in_flight: Some(0) });
        counts.ended(second.unwrap());
        let (left, fourth) = taken(start);
        assert_eq!(fourth, Err(Excess::Rate(Duration::from_secs(1))));
        assert_eq!(left, Left { rate: rate(0, 3000), in_flight: Some(1) });

        counts.give_back(third.unwrap(), both.rate.unwrap());
        assert_eq!(taken(start).0.rate, rate(0, 3000));
    }

    #[test]
    fn what_somebody_else_counts_is_followed_and_never_less_than_the_own() {
        let start = SystemClock.instant();
        let counts = Counts::new(start);
        let terms = terms(1, 3, 0);
        let (_, place) = counts.take(&"a", terms, start);
        let place = place.unwrap();
        counts.follow(place, Duration::from_millis(500), start);
        assert_eq!(granted(&counts, "a", terms, start, 5), 2);
        counts.follow(place, Duration::from_secs(9), start);
        let (left, refused) = counts.take(&"a", terms, start + Duration::from_secs(1));
        // It has said more than there could be used.
        assert_eq!(refused, Err(Excess::Rate(Duration::from_secs(1))));
        assert_eq!(left.rate.unwrap().whole_in, Duration::from_secs(3));
    }

    #[test]
    fn what_is_used_no_more_makes_room_and_without_any_the_new_share_one_count() {
        let start = SystemClock.instant();
        let counts = Counts::new(start);
        let terms = Terms { max_keys: SHARDS * 4, ..terms(1, 1, 0) };
        let all = |from: usize, to: usize, now| -> Vec<Place> {
            let keys = (from..to).map(|caller| format!("tok_{caller}"));
            keys.filter_map(|key| counts.take(&key, terms, now).1.ok()).collect()
        };
        // More than there is room for: who has none shares, and gets less.
        let taken = all(0, 1000, start);
        assert!(counts.len() <= SHARDS * 4, "{}", counts.len());
        assert!(taken.len() <= SHARDS * 5, "{}", taken.len());
        // Nobody gets two, whoever came since.
        assert_eq!(all(0, 1000, start).len(), 0);
        // Who is under way is remembered, whatever the rate says.
        let later = start + Duration::from_secs(10);
        let shared = taken.iter().filter(|place| place.key.is_none()).count();
        assert_eq!(counts.len(), taken.len() - shared);
        assert!(all(2000, 3000, later).len() <= SHARDS);
        for place in taken {
            counts.ended(place);
        }
        assert!(all(3000, 3100, later + Duration::from_secs(10)).len() >= 50);
        assert!(counts.len() <= SHARDS * 4, "{}", counts.len());
    }
}
