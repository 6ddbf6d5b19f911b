//! A rate in all and for each client, where it is not known who they are.
//!
//! Each is one atomic number: no lock, and nothing to clean up. Clients share a table of fixed size,
//! so that many of them cost no memory; two that meet in one place of it share their rate.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::key::Key;
use super::rate::{Rate, SECOND, Taken};

/// How many places there are for clients.
const PLACES: usize = 4096;

/// How often something may happen in a second: evenly, or as many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// In all.
    pub total: u32,
    /// For one client: an IPv4 address, or the 64 bits of an IPv6 network.
    pub per_client: u32,
}

/// Counts against [`Rates`].
#[derive(Debug)]
pub struct Budget {
    rates: Rates,
    start: Instant,
    total: Meter,
    clients: Box<[Meter]>,
    /// What is left for each client when others have used up all there is.
    reserve: Box<[Meter]>,
    /// Chosen anew at every start, so that nobody knows who shares a place with whom.
    hasher: RandomState,
}

impl Budget {
    /// All of it unused.
    pub fn new(rates: Rates, start: Instant) -> Self {
        let (clients, reserve) = (places(), Box::default());
        let (total, hasher) = (Meter::default(), RandomState::new());
        Self { rates, start, total, clients, reserve, hasher }
    }

    /// The same, where a client that has not had one in a second gets one, whatever others took.
    #[must_use]
    pub fn with_reserve(self) -> Self {
        Self { reserve: places(), ..self }
    }

    /// Takes one for `client` at `now`, and says whether there was one. A client that has used up its
    /// own takes nothing from the others.
    pub fn take(&self, client: Option<IpAddr>, now: Instant) -> bool {
        let now = self.nanos(now);
        let of_client =
            client.is_none_or(|client| self.of(client).take(self.rates.per_client, now));
        let reserved = || self.reserved(client).is_some_and(|own| own.take(1, now));
        of_client && (self.total.take(self.rates.total, now) || reserved())
    }

    /// Whether there is none for `client` at `now`.
    pub fn is_used_up(&self, client: Option<IpAddr>, now: Instant) -> bool {
        let now = self.nanos(now);
        let of_client =
            client.is_some_and(|client| self.of(client).next(self.rates.per_client, now).is_none());
        let reserved = || self.reserved(client).is_some_and(|own| own.next(1, now).is_some());
        of_client || self.total.next(self.rates.total, now).is_none() && !reserved()
    }

    fn of(&self, client: IpAddr) -> &Meter {
        &self.clients[self.place(client)]
    }

    fn reserved(&self, client: Option<IpAddr>) -> Option<&Meter> {
        self.reserve.get(self.place(client?))
    }

    fn place(&self, client: IpAddr) -> usize {
        self.hasher.hash_one(Key::client(client)) as usize % PLACES
    }

    fn nanos(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.start);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

fn places() -> Box<[Meter]> {
    (0..PLACES).map(|_| Meter::default()).collect()
}

/// When nothing is used any more, in nanoseconds.
#[derive(Debug, Default)]
struct Meter(AtomicU64);

impl Meter {
    fn take(&self, per_second: u32, now: u64) -> bool {
        let next = |used| Self::after(used, per_second, now);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }

    fn next(&self, per_second: u32, now: u64) -> Option<u64> {
        Self::after(self.0.load(Ordering::Relaxed), per_second, now)
    }

    /// When nothing is used any more, once one more is taken, if there is one.
    fn after(used: u64, per_second: u32, now: u64) -> Option<u64> {
        let per_second = NonZeroU32::new(per_second)?;
        match Rate::new(per_second, SECOND, per_second).take(used, now) {
            Taken::Granted { used_until, .. } => Some(used_until),
            Taken::Refused { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    fn client(last: u8) -> Option<IpAddr> {
        Some(Ipv4Addr::new(10, 0, 0, last).into())
    }

    /// How many of so many tries take one, so many milliseconds after the start.
    fn taken(
        budget: &Budget,
        client: Option<IpAddr>,
        start: Instant,
        at: u64,
        tries: usize,
    ) -> usize {
        let now = start + Duration::from_millis(at);
        let takes = |_: &usize| {
            let used_up = budget.is_used_up(client, now);
            assert_eq!(budget.take(client, now), !used_up);
            !used_up
        };
        (0..tries).filter(takes).count()
    }

    #[test]
    fn a_second_gives_what_the_rate_says() {
        let start = SystemClock.instant();
        let budget = Budget::new(Rates { total: 10, per_client: 4 }, start);
        let taken = |client, at, tries| taken(&budget, client, start, at, tries);
        // One guesser gets its own, and leaves the others theirs.
        assert_eq!(taken(client(1), 0, 100), 4);
        assert_eq!(taken(client(2), 0, 2), 2);
        assert_eq!(taken(client(3), 0, 100), 4);
        assert_eq!(taken(client(4), 0, 1), 0);
        // Half a second later half of it is there again.
        assert_eq!(taken(client(1), 500, 100), 2);
        assert_eq!(taken(None, 500, 100), 3);
        // Time that went by unused is not saved up.
        assert_eq!(taken(None, 60_000, 100), 10);
    }

    #[test]
    fn who_has_had_none_gets_one_whatever_others_took() {
        let start = SystemClock.instant();
        let rates = Rates { total: 8, per_client: 4 };
        for (budget, reserved) in
            [(Budget::new(rates, start), 0), (Budget::new(rates, start).with_reserve(), 1)]
        {
            let taken = |client, at, tries| taken(&budget, client, start, at, tries);
            assert_eq!(taken(None, 0, 100), 8);
            for last in [1, 2] {
                assert_eq!(taken(client(last), 0, 100), reserved);
            }
            assert_eq!(taken(client(1), 100, 100), 0);
            assert_eq!(taken(None, 1000, 100), 8);
            assert_eq!(taken(client(1), 1000, 100), reserved);
        }
    }

    #[test]
    fn nothing_is_nothing() {
        let start = SystemClock.instant();
        let budget = Budget::new(Rates { total: 0, per_client: 1 }, start);
        assert!(!budget.take(None, start));
        let budget = Budget::new(Rates { total: 1, per_client: 0 }, start);
        assert!(!budget.take(client(1), start));
    }
}
