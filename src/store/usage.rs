//! How a token is used, as requests tell it and until its store has it written down.
//!
//! Requests count with atomics and wait for nobody. What takes words (routes, user agents, networks) is
//! looked at a few times a second at most, and left out while somebody else is writing it.
//!
//! **Invariant:** what is kept of one token has a bound, however it is used.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::policy::reason::Reason;

/// Uses closer together than this are one, so that a busy token's counters stay in the caches of all
/// cores; and words are looked at so often.
const RESOLUTION: Duration = Duration::from_secs(1);
/// How many more times in that span, where the client calls itself something else.
const CHANGES: u32 = 8;
/// How many user agents are kept, those that came last.
pub(super) const MAX_AGENTS: usize = 5;
/// The longest text that is kept, in bytes.
const MAX_LEN: usize = 300;

/// How a token is used: written by requests, read by the store that records it.
#[derive(Clone, Debug, Default)]
pub struct Usage(Arc<Uses>);

#[derive(Debug, Default)]
struct Uses {
    first: AtomicU64,
    last: AtomicU64,
    requests: AtomicU64,
    refused_at: AtomicU64,
    /// By reason; there is none until something was refused.
    refusals: OnceLock<Box<[AtomicU64]>>,
    noted_at: AtomicU64,
    /// What the client called itself that was noted last, and how often it was another in this second.
    agent: AtomicU64,
    changes: AtomicU32,
    seen: Mutex<Seen>,
}

/// What takes words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// When it was seen last.
    pub(super) at: Option<Timestamp>,
    pub(super) first_route: Option<Box<str>>,
    pub(super) last_route: String,
    pub(super) last_network: String,
    /// What clients call themselves, and when they last came.
    pub(super) agents: Vec<(String, Timestamp)>,
}

/// A request that was seen, in words that may be kept.
#[derive(Clone, Copy, Default)]
pub struct Sighting<'a> {
    /// The template of the route, where there is one.
    pub route: Option<&'a str>,
    /// What the client calls itself, if that may be kept.
    pub agent: Option<&'a dyn fmt::Display>,
    /// Where it is, if that may be kept.
    pub network: Option<&'a dyn fmt::Display>,
}

/// What was counted so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) first: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
    pub(super) requests: u64,
    pub(super) refused_at: Option<Timestamp>,
    /// By reason; empty while nothing was refused.
    pub(super) refusals: Vec<u64>,
}

impl Usage {
    /// Marks that a token in force was presented at `now`, and says whether this was the first time in
    /// a second.
    pub fn mark(&self, now: Timestamp) -> bool {
        let uses = &*self.0;
        let last = Timestamp::from_millis(uses.last.load(Ordering::Relaxed));
        let due = now >= last.after(RESOLUTION);
        if due {
            let millis = now.as_millis();
            // Zero is none, and so is the beginning of time.
            let first =
                uses.first.compare_exchange(0, millis, Ordering::Relaxed, Ordering::Relaxed);
            if first.is_err_and(|first| millis < first) {
                uses.first.fetch_min(millis, Ordering::Relaxed);
            }
            uses.last.fetch_max(millis, Ordering::Relaxed);
        }
        due
    }

    /// Counts a request that was decided at `now`.
    pub fn decided(&self, now: Timestamp, refused: Option<Reason>) {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        if let Some(reason) = refused {
            self.refused(now, reason);
        }
    }

    /// Counts a refusal; also of a request that was let through before.
    pub fn refused(&self, now: Timestamp, reason: Reason) {
        let none = || Reason::ALL.iter().map(|_| AtomicU64::new(0)).collect();
        self.0.refused_at.fetch_max(now.as_millis(), Ordering::Relaxed);
        if let Some(count) = self.0.refusals.get_or_init(none).get(reason as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether a request of a client that calls itself `agent` is to be [noted](Self::note).
    pub fn is_due(&self, now: Timestamp, agent: Option<&[u8]>) -> bool {
        let uses = &*self.0;
        let last = Timestamp::from_millis(uses.noted_at.load(Ordering::Relaxed));
        let tag = tag(agent);
        if now >= last.after(RESOLUTION) {
            uses.changes.store(0, Ordering::Relaxed);
        } else if uses.agent.load(Ordering::Relaxed) == tag
            || uses.changes.fetch_add(1, Ordering::Relaxed) >= CHANGES
        {
            return false;
        }
        uses.agent.store(tag, Ordering::Relaxed);
        true
    }

    /// Notes a request, unless another one is being noted.
    pub fn note(&self, now: Timestamp, sighting: Sighting<'_>) {
        let mut seen = match self.0.seen.try_lock() {
            Ok(seen) => seen,
            // Each field is whole, whatever happened elsewhere.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        self.0.noted_at.fetch_max(now.as_millis(), Ordering::Relaxed);
        seen.note(now, sighting);
    }

    /// The last use that was marked.
    pub fn last(&self) -> Option<Timestamp> {
        time(&self.0.last)
    }

    pub(super) fn totals(&self) -> Totals {
        let uses = &*self.0;
        let refusals = uses.refusals.get().map_or(&[][..], |counts| counts);
        Totals {
            first: time(&uses.first),
            last: time(&uses.last),
            requests: uses.requests.load(Ordering::Relaxed),
            refused_at: time(&uses.refused_at),
            refusals: refusals.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
        }
    }

    /// What was noted. For who writes it down: a request that comes meanwhile is not noted.
    pub(super) fn seen(&self) -> Seen {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many hold it.
    pub(super) fn handles(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// Whether nobody else can mark it any more.
    pub(super) fn is_last_handle(&self) -> bool {
        self.handles() == 1
    }
}

impl Seen {
    fn note(&mut self, now: Timestamp, sighting: Sighting<'_>) {
        self.at = self.at.max(Some(now));
        if let Some(route) = sighting.route {
            if self.first_route.is_none() {
                self.first_route = Some(cut(route).into());
            }
            rewrite(&mut self.last_route, &route);
        }
        if let Some(network) = sighting.network {
            rewrite(&mut self.last_network, network);
        }
        let Some(agent) = sighting.agent else { return };
        let mut text = String::new();
        rewrite(&mut text, agent);
        if text.is_empty() {
            return;
        }
        match self.agents.iter_mut().find(|(known, _)| *known == text) {
            Some((_, last)) => *last = now.max(*last),
            None => {
                if self.agents.len() == MAX_AGENTS
                    && let Some(oldest) = self.agents.iter_mut().min_by_key(|(_, last)| *last)
                {
                    *oldest = (text, now);
                } else {
                    self.agents.push((text, now));
                }
            }
        }
    }
}

fn rewrite(text: &mut String, with: &dyn fmt::Display) {
    text.clear();
    // A text takes whatever is written to it.
    write!(text, "{with}").unwrap_or_default();
    let len = cut(text).len();
    text.truncate(len);
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_LEN);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn time(millis: &AtomicU64) -> Option<Timestamp> {
    let millis = millis.load(Ordering::Relaxed);
    (millis != 0).then(|| Timestamp::from_millis(millis))
}

/// Tells one text from another, most probably (FNV-1a, of what can be kept of it).
fn tag(agent: Option<&[u8]>) -> u64 {
    let Some(agent) = agent else { return 0 };
    let agent = agent.iter().take(MAX_LEN);
    agent.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// Notes a request as the proxy does.
    fn request(usage: &Usage, now: u64, route: &str, agent: Option<&str>) -> bool {
        let due = usage.is_due(at(now), agent.map(str::as_bytes));
        if due {
            let agent = agent.as_ref().map(|agent| agent as &dyn fmt::Display);
            usage.note(
                at(now),
                Sighting { route: Some(route), agent, network: Some(&"10.0.0.0/24") },
            );
        }
        due
    }

    #[test]
    fn a_use_is_marked_once_a_second_and_never_moves_back() {
        let usage = Usage::default();
        assert_eq!(usage.last(), None);
        for (now, last, due) in
            [(5_000, 5_000, true), (5_999, 5_000, false), (6_000, 6_000, true), (1, 6_000, false)]
        {
            assert_eq!(usage.mark(at(now)), due, "at {now}");
            assert_eq!(usage.last(), Some(at(last)), "at {now}");
        }
        assert_eq!(usage.totals().first, Some(at(5_000)));
    }

    #[test]
    fn requests_and_refusals_are_counted() {
        let usage = Usage::default();
        usage.decided(at(1), None);
        assert!(usage.totals().refusals.is_empty());
        usage.decided(at(2), Some(Reason::MissingScope));
        usage.decided(at(3), Some(Reason::MissingScope));
        usage.refused(at(4), Reason::TooLarge);
        let totals = usage.totals();
        assert_eq!((totals.requests, totals.refused_at), (3, Some(at(4))));
        assert_eq!(totals.refusals.len(), Reason::ALL.len());
        for (reason, count) in Reason::ALL.iter().zip(&totals.refusals) {
            let wanted = match reason {
                Reason::MissingScope => 2,
                Reason::TooLarge => 1,
                _ => 0,
            };
            assert_eq!(*count, wanted, "{reason}");
        }
    }

    #[test]
    fn words_are_looked_at_once_a_second_and_when_the_client_is_another() {
        let usage = Usage::default();
        assert!(request(&usage, 1_000, "/first/", Some("a")));
        assert!(!request(&usage, 1_500, "/second/", Some("a")));
        assert!(request(&usage, 1_600, "/third/", Some("b")));
        assert!(request(&usage, 2_600, "/fourth/", Some("b")));
        let seen = usage.seen();
        assert_eq!(seen.at, Some(at(2_600)));
        assert_eq!((seen.first_route.as_deref(), &*seen.last_route), (Some("/first/"), "/fourth/"));
        assert_eq!(seen.last_network, "10.0.0.0/24");
        assert_eq!(seen.agents, [("a".to_owned(), at(1_000)), ("b".to_owned(), at(2_600))]);
    }

    #[test]
    fn whatever_comes_it_stays_small() {
        let usage = Usage::default();
        let mut noted = 0;
        for number in 0..1_000 {
            noted += usize::from(request(&usage, 5_000, "/", Some(&format!("agent {number}"))));
        }
        assert_eq!(noted, 1 + CHANGES as usize);
        let long = "é".repeat(1_000);
        for number in 0..100 {
            let agent = format!("{number} {long}");
            assert!(request(&usage, 10_000 + 1_000 * number, &long, Some(&agent)));
        }
        let seen = usage.seen();
        assert_eq!(seen.agents.len(), MAX_AGENTS);
        assert!(seen.agents.iter().all(|(agent, _)| agent.len() <= MAX_LEN));
        assert!(seen.last_route.len() <= MAX_LEN);
        assert!(seen.agents.iter().any(|(agent, _)| agent.starts_with("99 ")));
    }

    #[test]
    fn who_is_being_written_down_is_waited_for_by_nobody() {
        let usage = Usage::default();
        let held = usage.0.seen.lock().unwrap();
        assert!(request(&usage, 1_000, "/", None));
        drop(held);
        assert_eq!(usage.seen(), Seen::default());
        // It was not noted, so the next one is.
        assert!(request(&usage, 1_001, "/", None) && usage.seen().at == Some(at(1_001)));
    }
}
