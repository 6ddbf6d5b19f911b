//! Who asks the admin listener without its credential: recorded, but not as often as somebody likes.
//!
//! **Invariant:** what is not recorded at once is counted, and the count is recorded later.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::limit::key::network;

/// How often one client is recorded at most.
const QUIET: Duration = Duration::from_secs(1);
/// How many clients are told apart; beyond them they are one.
const CLIENTS: usize = 256;

/// Clients that were recorded a moment ago.
#[derive(Debug, Default)]
pub struct Strangers(Mutex<HashMap<Option<IpAddr>, Noted>>);

#[derive(Debug)]
struct Noted {
    at: Instant,
    left_out: u64,
}

impl Strangers {
    /// Whether a request of `client` at `now` is to be recorded; if not, it is counted.
    pub(super) fn note(&self, client: Option<IpAddr>, now: Instant) -> bool {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut client = client.map(network);
        if noted.len() >= CLIENTS && !noted.contains_key(&client) {
            noted.retain(|_, noted| noted.left_out > 0 || !noted.is_over(now));
            client = client.filter(|_| noted.len() < CLIENTS);
        }
        match noted.get_mut(&client) {
            // Those that were counted are recorded first.
            Some(known) if known.left_out > 0 || !known.is_over(now) => {
                known.left_out += 1;
                false
            }
            Some(_) | None => {
                noted.insert(client, Noted { at: now, left_out: 0 });
                true
            }
        }
    }

    /// Whose requests were counted and are to be recorded at `now`, and how many.
    pub(super) fn due(&self, now: Instant) -> Vec<(Option<IpAddr>, u64)> {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = noted.iter_mut().filter(|(_, noted)| noted.left_out > 0 && noted.is_over(now));
        due.map(|(client, noted)| {
            noted.at = now;
            (*client, std::mem::take(&mut noted.left_out))
        })
        .collect()
    }
}

impl Noted {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) >= QUIET
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_client_is_recorded_once_a_second_and_the_rest_is_counted() {
        let (strangers, start) = (Strangers::default(), SystemClock.instant());
        let at = |millis| start + Duration::from_millis(millis);
        let (one, other) = (address("10.0.0.1"), address("10.0.0.2"));
        assert!(strangers.note(one, at(0)) && strangers.note(other, at(0)));
        assert!(!strangers.note(one, at(1)) && !strangers.note(one, at(999)));
        assert_eq!(strangers.due(at(999)), []);
        assert_eq!(strangers.due(at(1000)), [(one, 2)]);
        assert_eq!(strangers.due(at(1000)), []);
        // Their record was one.
        assert!(!strangers.note(one, at(1500)) && strangers.note(other, at(1500)));
        // Nobody has looked meanwhile.
        assert!(!strangers.note(one, at(9000)));
        assert_eq!(strangers.due(at(9000)), [(one, 2)]);
        assert!(strangers.note(one, at(10_000)));
        // A network is one client.
        assert!(strangers.note(address("2001:db8::1"), at(0)));
        assert!(!strangers.note(address("2001:db8::ffff:1"), at(0)));
        assert!(!strangers.note(address("::ffff:10.0.0.1"), at(10_000)));
    }

    #[test]
    fn of_many_clients_none_is_lost() {
        let (strangers, now) = (Strangers::default(), SystemClock.instant());
        let client = |number: u32| Some(IpAddr::V4(number.into()));
        let recorded = (0..1000).filter(|number| strangers.note(client(*number), now)).count();
        assert_eq!(recorded, CLIENTS + 1);
        let due = strangers.due(now + QUIET);
        assert_eq!(due, [(None, 1000 - recorded as u64)]);
        // What is over makes room.
        assert!(strangers.note(client(5000), now + QUIET));
    }
}
