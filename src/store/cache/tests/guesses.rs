//! What strangers can't do: take the store's time, the memory, or the place of who is known.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::limit::Rates;
use crate::policy::identity::KindSet;
use crate::store::cache::Consulted;

/// A cache before stores that are asked for so many strangers a second.
fn limited(store: &Arc<Fake>, rates: Rates) -> (Arc<Identities>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_000_000)));
    let all: Arc<dyn TokenStore> = Arc::<Fake>::clone(store);
    let asked = Consulted { rates: Some(rates), ..all.into() };
    let theirs: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    let settings = CacheSettings { capacity: 1_000, ..CacheSettings::default() };
    (Identities::new(vec![asked], settings, theirs, Arc::new(()), Handle::current()), clock)
}

async fn of(
    cache: &Arc<Identities>,
    clock: &ManualClock,
    client: u8,
    secret: &str,
) -> &'static str {
    let (credential, client) = (bearer(secret), IpAddr::from(Ipv4Addr::new(10, 0, 0, client)));
    let presented = Presented { client: Some(client), ..Presented::from(&credential) };
    match cache.lookup(presented, clock.now()).await.lookup {
        Lookup::Found(_) => "found",
        Lookup::Unknown => "unknown",
        Lookup::Limited => "limited",
        Lookup::Unavailable => "unavailable",
        Lookup::Blocked => "blocked",
    }
}

#[tokio::test]
async fn one_guesser_spends_its_own_part() {
    let store = fake(&["a", "b", "c"]);
    let (cache, clock) = limited(&store, Rates { total: 20, per_client: 5 });
    assert_eq!(of(&cache, &clock, 1, "a").await, "found");
    let mut limited = 0;
    for number in 0..100 {
        let answer = of(&cache, &clock, 1, &format!("guess-{number}")).await;
        assert!(["unknown", "limited"].contains(&answer), "{answer}");
        limited += usize::from(answer == "limited");
    }
    assert_eq!((limited, store.asked.load(Ordering::SeqCst)), (96, 5));
    // It is still served itself, where it is known, and the neighbour may come for the first time.
    assert_eq!(of(&cache, &clock, 1, "a").await, "found");
    assert_eq!(of(&cache, &clock, 2, "b").await, "found");
    assert_eq!(of(&cache, &clock, 1, "c").await, "limited");
    // What is known is no guess when it is asked for again.
    clock.advance(Duration::from_secs(61));
    for number in 0..100 {
        of(&cache, &clock, 1, &format!("more-{number}")).await;
    }
    assert_eq!(of(&cache, &clock, 1, "a").await, "found");
    clock.advance(Duration::from_secs(1));
    assert_eq!(of(&cache, &clock, 1, "c").await, "found");
}

#[tokio::test]
async fn whoever_was_known_is_no_stranger_after_a_purge() {
    let names: Vec<String> = (0..1_000).map(|number| format!("known-{number}")).collect();
    let rates = Rates { total: 1_000, per_client: 250 };
    for (what, purged) in [("all", 1_000), ("store", 1_000), ("fingerprint", 1), ("digest", 1)] {
        let store = fake(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let (cache, clock) = limited(&store, rates);
        for name in &names {
            assert_eq!(of(&cache, &clock, 1, name).await, "found");
            clock.advance(Duration::from_millis(4));
        }
        cache.entries().await;
        store.known.lock().unwrap().retain(|digest| *digest != Digest::of("known-7"));
        let forgotten = match what {
            "all" => cache.purge_all().await,
            "store" => cache.purge_store("fake").await.unwrap(),
            "fingerprint" => cache.purge_fingerprint(Digest::of("known-7").fingerprint()).await,
            _ => {
                cache.purge(&Digest::of("known-7")).await;
                1
            }
        };
        assert_eq!(forgotten, purged, "{what}");
        assert_eq!(cache.entries().await, 1_000 - purged as u64, "{what}");
        // Not even while nobody can be asked is anything of it served.
        store.down.store(true, Ordering::SeqCst);
        assert_eq!(of(&cache, &clock, 1, "known-7").await, "unavailable", "{what}");
        store.down.store(false, Ordering::SeqCst);
        clock.advance(Duration::from_secs(1));
        for name in &names {
            let wanted = if name == "known-7" { "unknown" } else { "found" };
            assert_eq!(of(&cache, &clock, 1, name).await, wanted, "{what}: {name}");
        }
        // What was refused is a stranger from now on, and others always were.
        clock.advance(Duration::from_secs(10));
        let mut limited = 0;
        for number in 0..250 {
            let answer = of(&cache, &clock, 1, &format!("guess-{number}")).await;
            limited += usize::from(answer == "limited");
        }
        assert_eq!(limited, 0, "{what}");
        assert_eq!(of(&cache, &clock, 1, "known-7").await, "limited", "{what}");
    }
}

#[tokio::test]
async fn a_million_guesses_cost_little_and_push_nobody_out() {
    const KNOWN: usize = 500;
    const EACH: usize = 10_000;
    let names: Vec<String> = (0..KNOWN).map(|number| format!("known-{number}")).collect();
    let store = fake(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let (cache, clock) = limited(&store, Rates { total: 100, per_client: 100 });
    for name in &names {
        assert_eq!(of(&cache, &clock, 0, name).await, "found");
        clock.advance(Duration::from_millis(10));
    }
    let (mut credential, mut number) = (bearer("guess"), 0_u64);
    let mut digest = [7; 32];
    for second in 0..100_usize {
        for _ in 0..EACH {
            number += 1;
            digest[..8].copy_from_slice(&number.to_le_bytes());
            credential.digest = Digest::from_bytes(digest);
            let answer = cache.lookup(&credential, clock.now()).await;
            assert!(matches!(answer.lookup, Lookup::Unknown | Lookup::Limited), "{answer:?}");
        }
        // Everybody who is known is, without a question.
        let name = &names[second * 5 % KNOWN];
        let answer = cache.lookup(&bearer(name), clock.now()).await;
        assert_eq!(answer.cache, CacheResult::Hit, "{name} after {number} guesses");
        clock.advance(Duration::from_millis(400));
        for name in &names {
            // Renewed ahead of their end, so that no second has all of them.
            cache.lookup(&bearer(name), clock.now()).await;
        }
    }
    assert_eq!(number, 1_000_000);
    // 40 seconds of a hundred, the first one twice, and what is known: once each, and once again.
    assert!(store.asked.load(Ordering::SeqCst) <= 4_100 + 2 * KNOWN);
    assert_eq!(cache.entries().await, KNOWN as u64);
    cache.flights.run_pending_tasks().await;
    assert!(cache.flights.entry_count() <= FLIGHTS);
}

#[tokio::test]
async fn a_store_is_asked_for_the_kinds_that_it_is_there_for() {
    let store = fake(&["a", "key"]);
    let all: Arc<dyn TokenStore> = Arc::<Fake>::clone(&store);
    let none = Consulted { kinds: KindSet::EMPTY.with(IdentityKind::ApiKey), ..all.into() };
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_000_000)));
    let theirs: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    let settings = CacheSettings::default();
    let cache = Identities::new(vec![none], settings, theirs, Arc::new(()), Handle::current());
    // The store can't know keys at all, and is not to be asked for tokens.
    assert_eq!(ask(&cache, &clock, "a").await.0, "unknown");
    assert_eq!(store.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn who_is_blocked_is_refused_whatever_is_known() {
    let store = with_list(&["a", "b"]);
    let (cache, clock) = cache(&[Arc::clone(&store)], 100);
    // Before the list was read nobody is known not to be on it.
    assert!(!cache.has_block_lists());
    assert_eq!(ask(&cache, &clock, "a").await.0, "unavailable");
    cache.block(0, HashSet::new());
    assert_eq!(ask(&cache, &clock, "a").await.0, "found");
    let list = |secret: &str| HashSet::from([Digest::of(secret).fingerprint()]);
    cache.block(0, list("a"));
    assert_eq!(ask(&cache, &clock, "a").await.0, "blocked");
    assert_eq!(ask(&cache, &clock, "b").await.0, "found");
    cache.block(0, list("b"));
    assert_eq!(ask(&cache, &clock, "a").await, ("found", CacheResult::Hit));
    assert_eq!(ask(&cache, &clock, "b").await.0, "blocked");
}
