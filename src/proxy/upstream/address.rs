//! An address of an upstream's, and which of several is next.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use pingora::prelude::HttpPeer;

/// After so many checks that failed in a row an address is left out; one that succeeds brings it
/// back. One failed check may be a worker that restarts.
const FALL: u32 = 2;

/// One address.
#[derive(Debug)]
pub(super) struct Address {
    /// The number of its URL.
    pub(super) url: usize,
    /// Where it is.
    pub(super) at: SocketAddr,
    /// What connects to it.
    pub(super) peer: HttpPeer,
    failures: AtomicU32,
    in_flight: AtomicUsize,
}

impl Address {
    pub(super) fn new(url: usize, at: SocketAddr, peer: HttpPeer) -> Self {
        Self { url, at, peer, failures: AtomicU32::new(0), in_flight: AtomicUsize::new(0) }
    }

    /// Whether it is used while others could be. It is until something is known against it.
    pub(super) fn is_up(&self) -> bool {
        self.failures.load(Ordering::Relaxed) < FALL
    }

    /// It was checked; says whether that changed whether it is up.
    pub(super) fn checked(&self, works: bool) -> bool {
        if works {
            return self.failures.swap(0, Ordering::Relaxed) >= FALL;
        }
        let one_more = |failures: u32| Some(failures.saturating_add(1));
        let before = self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        before.is_ok_and(|before| before.saturating_add(1) == FALL)
    }

    /// A request could not connect to it; says whether that changed whether it is up.
    pub(super) fn failed(&self) -> bool {
        self.failures.fetch_max(FALL, Ordering::Relaxed) < FALL
    }
}

/// An address with a request at it, for as long as this is kept.
#[derive(Debug)]
pub(super) struct InUse(Arc<Address>);

impl InUse {
    pub(super) fn of(address: &Arc<Address>) -> Self {
        address.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(address))
    }

    pub(super) fn address(&self) -> &Arc<Address> {
        &self.0
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The next one that is not `passed`: of those that are up the one with the fewest requests at it,
/// of those with as few the one whose `turn` it is. When none is up, all count as up: a check that
/// fails wrongly is no outage.
///
/// Not round robin alone: an address that hangs would take its share of the requests until it is
/// found out, and with them the slots of all.
pub(super) fn choose<'a>(
    all: &'a [Arc<Address>],
    turn: usize,
    passed: &[Arc<Address>],
) -> Option<&'a Arc<Address>> {
    let (before, from) = all.split_at(turn.checked_rem(all.len())?);
    let load =
        |address: &&Arc<Address>| (!address.is_up(), address.in_flight.load(Ordering::Relaxed));
    from.iter().chain(before).filter(|address| !is_one_of(address, passed)).min_by_key(load)
}

/// Whether it is one of these.
pub(super) fn is_one_of(address: &Arc<Address>, some: &[Arc<Address>]) -> bool {
    some.iter().any(|one| Arc::ptr_eq(one, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(count: u16) -> Vec<Arc<Address>> {
        let address = |port| {
            let at = SocketAddr::from(([127, 0, 0, 1], port));
            Arc::new(Address::new(0, at, HttpPeer::new(at, false, String::new())))
        };
        (1..=count).map(address).collect()
    }

    fn chosen(all: &[Arc<Address>], turn: usize, passed: &[Arc<Address>]) -> Option<u16> {
        choose(all, turn, passed).map(|address| address.at.port())
    }

    #[test]
    fn equals_take_turns_and_the_least_used_goes_first() {
        let all = addresses(3);
        let turns: Vec<_> = (0..4).map(|turn| chosen(&all, turn, &[]).unwrap()).collect();
        assert_eq!(turns, [1, 2, 3, 1]);
        let (a, b) = (InUse::of(&all[0]), InUse::of(&all[1]));
        let _more = InUse::of(&all[0]);
        assert_eq!(chosen(&all, 0, &[]), Some(3));
        let _c = (InUse::of(&all[2]), InUse::of(&all[2]));
        assert_eq!(chosen(&all, 2, &[]), Some(2));
        drop((a, b));
        assert_eq!(chosen(&all, 2, &[]), Some(2));
        assert_eq!(chosen(&addresses(0), 3, &[]), None);
        assert_eq!(chosen(&all, usize::MAX, &[]), Some(2));
    }

    #[test]
    fn what_is_down_is_left_out_until_it_works_or_all_are() {
        let all = addresses(2);
        assert!(!all[0].checked(false));
        assert!(all[0].is_up());
        assert!(all[0].checked(false));
        assert!(!all[0].checked(false) && !all[0].is_up());
        let _busy = InUse::of(&all[1]);
        assert_eq!(chosen(&all, 0, &[]), Some(2));
        assert!(all[1].failed());
        assert!(!all[1].failed());
        // Both are down: as if both were up.
        assert_eq!(chosen(&all, 0, &[]), Some(1));
        assert!(all[1].checked(true));
        assert_eq!(chosen(&all, 0, &[]), Some(2));
        assert!(!all[1].checked(true));
        // A success in between starts the count anew.
        assert!(!all[1].checked(false) && !all[1].checked(true) && !all[1].checked(false));
        assert!(all[1].is_up());
    }

    #[test]
    fn what_was_passed_over_is_not_tried_again() {
        let all = addresses(2);
        assert_eq!(chosen(&all, 0, &all[..1]), Some(2));
        assert!(all[1].failed());
        assert_eq!(chosen(&all, 0, &all[..1]), Some(2));
        assert_eq!(chosen(&all, 0, &all), None);
    }
}
