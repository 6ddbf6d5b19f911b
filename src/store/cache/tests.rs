//! Lifetimes, single flight, outages, and what a flood can't do.

mod guesses;
mod jumps;
mod renewal;
mod uses;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;

use super::*;
use crate::clock::ManualClock;
use crate::policy::credential::{Authorization, Credential, Digest};
use crate::policy::identity::{Bounds, Expiry, Identity, IdentityKind, Issuer, KindSet, State};
use crate::policy::scope::ScopeSet;
use crate::store::TokenStore;

/// A store that knows some tokens, can be down, and counts what it is asked.
#[derive(Debug, Default)]
pub(super) struct Fake {
    known: Mutex<Vec<Digest>>,
    pub(super) down: AtomicBool,
    asked: AtomicUsize,
    delay: Duration,
    /// Whether it has a block list.
    lists: bool,
    /// Whether what it knows is disabled.
    disabled: AtomicBool,
}

impl Fake {
    pub(super) fn forget(&self, secret: &str) {
        self.known.lock().unwrap().retain(|digest| *digest != Digest::of(secret));
    }

    pub(super) fn disable(&self) {
        self.disabled.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl TokenStore for Fake {
    fn name(&self) -> &str {
        "fake"
    }

    fn takes(&self) -> KindSet {
        KindSet::EMPTY.with(IdentityKind::UserToken)
    }

    fn has_block_list(&self) -> bool {
        self.lists
    }

    async fn find(&self, presented: Presented<'_>) -> Result<Option<Found>, StoreError> {
        let presented = presented.credential;
        self.asked.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(self.delay).await;
        if self.down.load(Ordering::SeqCst) {
            return Err(StoreError::unavailable("down"));
        }
        let known = self.known.lock().unwrap().contains(&presented.digest);
        let disabled = self.disabled.load(Ordering::SeqCst);
        let identity = Identity {
            id: "t".into(),
            kind: IdentityKind::UserToken,
            issuer: Issuer::Gateway,
            state: if disabled { State::Disabled } else { State::Active },
            scopes: ScopeSet::ALL,
            bounds: Bounds::NONE,
            expires_at: Expiry::NEVER,
        };
        Ok(known.then_some(Found { identity, usage: None }))
    }
}

pub(super) fn fake(known: &[&str]) -> Arc<Fake> {
    let known = Mutex::new(known.iter().map(|secret| Digest::of(secret)).collect());
    Arc::new(Fake { known, ..Fake::default() })
}

/// One that has a block list.
pub(super) fn with_list(known: &[&str]) -> Arc<Fake> {
    Arc::new(Fake { lists: true, ..Arc::into_inner(fake(known)).unwrap() })
}

fn bearer(secret: &str) -> Credential {
    match Authorization::parse(format!("Bearer {secret}").as_bytes()) {
        Authorization::Credential(credential) => credential,
        other => panic!("{other:?}"),
    }
}

pub(super) fn cache(stores: &[Arc<Fake>], capacity: u64) -> (Arc<Identities>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_000_000)));
    let stores =
        stores.iter().map(|store| (Arc::clone(store) as Arc<dyn TokenStore>).into()).collect();
    let settings = CacheSettings { capacity, ..CacheSettings::default() };
    let their_clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    (Identities::new(stores, settings, their_clock, Arc::new(()), Handle::current()), clock)
}

pub(super) async fn ask(
    cache: &Arc<Identities>,
    clock: &ManualClock,
    secret: &str,
) -> (&'static str, CacheResult) {
    let answer = cache.lookup(&bearer(secret), clock.now()).await;
    let lookup = match answer.lookup {
        Lookup::Found(_) => "found",
        Lookup::Unknown => "unknown",
        Lookup::Unavailable => "unavailable",
        Lookup::Limited => "limited",
        Lookup::Blocked => "blocked",
    };
    (lookup, answer.cache)
}

#[tokio::test]
async fn lifetimes_and_outages() {
    let store = fake(&["a"]);
    let (cache, clock) = cache(&[Arc::clone(&store)], 100);
    assert_eq!(ask(&cache, &clock, "a").await, ("found", CacheResult::Miss));
    assert_eq!(ask(&cache, &clock, "a").await, ("found", CacheResult::Hit));
    assert_eq!(ask(&cache, &clock, "b").await, ("unknown", CacheResult::Miss));
    assert_eq!(ask(&cache, &clock, "b").await, ("unknown", CacheResult::Negative));
    assert_eq!(store.asked.load(Ordering::SeqCst), 2);
    store.down.store(true, Ordering::SeqCst);
    clock.advance(Duration::from_secs(61));
    // Known before: served for a while. Unknown before: never 401, never let in.
    assert_eq!(ask(&cache, &clock, "a").await, ("found", CacheResult::Stale));
    assert_eq!(ask(&cache, &clock, "b").await.0, "unavailable");
    clock.advance(Duration::from_secs(300));
    assert_eq!(ask(&cache, &clock, "a").await.0, "unavailable");
    store.down.store(false, Ordering::SeqCst);
    clock.advance(Duration::from_secs(1));
    assert_eq!(ask(&cache, &clock, "a").await.0, "found");
}

#[tokio::test]
async fn a_token_that_is_gone_is_not_served_stale() {
    let store = fake(&["a"]);
    let (cache, clock) = cache(&[Arc::clone(&store)], 100);
    ask(&cache, &clock, "a").await;
    store.known.lock().unwrap().clear();
    cache.purge(&Digest::of("a")).await;
    assert_eq!(ask(&cache, &clock, "a").await.0, "unknown");
    store.down.store(true, Ordering::SeqCst);
    clock.advance(Duration::from_secs(61));
    assert_eq!(ask(&cache, &clock, "a").await.0, "unavailable");
}

#[tokio::test]
async fn a_thousand_first_uses_are_one_question() {
    let delay = Duration::from_millis(50);
    let known = Mutex::new(vec![Digest::of("a")]);
    let store = Arc::new(Fake { known, delay, ..Fake::default() });
    let (cache, clock) = cache(&[Arc::clone(&store)], 100);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let (cache, now) = (Arc::clone(&cache), clock.now());
        tasks.spawn(async move { cache.lookup(&bearer("a"), now).await.lookup });
    }
    let lookups = tasks.join_all().await;
    assert!(lookups.iter().all(|lookup| matches!(lookup, Lookup::Found(_))));
    assert_eq!((lookups.len(), store.asked.load(Ordering::SeqCst)), (1000, 1));
}

#[tokio::test]
async fn a_thousand_first_uses_are_one_question_even_without_their_leader() {
    let delay = Duration::from_millis(50);
    let known = Mutex::new(vec![Digest::of("a")]);
    let store = Arc::new(Fake { known, delay, ..Fake::default() });
    let (cache, clock) = cache(&[Arc::clone(&store)], 100);
    let ask_once = |cache: Arc<Identities>, now| async move {
        matches!(cache.lookup(&bearer("a"), now).await.lookup, Lookup::Found(_))
    };
    let mut tasks = tokio::task::JoinSet::new();
    let leader = tasks.spawn(ask_once(Arc::clone(&cache), clock.now()));
    tokio::task::yield_now().await;
    for _ in 0..1000 {
        tasks.spawn(ask_once(Arc::clone(&cache), clock.now()));
    }
    tokio::task::yield_now().await;
    leader.abort();
    let mut found = 0;
    while let Some(joined) = tasks.join_next().await {
        found += usize::from(joined.is_ok_and(|found| found));
    }
    assert!(found >= 1000, "{found}");
    // The leader's question, and at most one more in its place.
    assert!(store.asked.load(Ordering::SeqCst) <= 2);
}

#[tokio::test]
async fn unknown_tokens_push_no_known_one_out() {
    let store = fake(&["a"]);
    let (cache, clock) = cache(&[Arc::clone(&store)], 2);
    ask(&cache, &clock, "a").await;
    for n in 0..3_000 {
        ask(&cache, &clock, &format!("unknown-{n}")).await;
    }
    assert_eq!(ask(&cache, &clock, "a").await, ("found", CacheResult::Hit));
}

#[tokio::test]
async fn one_stores_answer_never_stands_for_anothers() {
    let (first, second) = (fake(&[]), fake(&["a"]));
    let (cache, clock) = cache(&[Arc::clone(&first), Arc::clone(&second)], 100);
    assert_eq!(ask(&cache, &clock, "a").await.0, "found");
    assert_eq!(ask(&cache, &clock, "b").await.0, "unknown");
    // One that can't answer leaves it open whether it knows the token.
    first.down.store(true, Ordering::SeqCst);
    assert_eq!(ask(&cache, &clock, "c").await.0, "unavailable");
}
