//! Identities that are asked about again before their time is over, and what was revoked meanwhile.

use super::*;

/// Waits until the store was asked so often.
async fn asked(store: &Fake, times: usize) {
    for _ in 0..1_000 {
        if store.asked.load(Ordering::SeqCst) >= times {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Whatever came of it is kept a moment later.
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(store.asked.load(Ordering::SeqCst), times);
}

#[tokio::test]
async fn a_busy_token_never_waits_for_the_store() {
    let store = fake(&["a"]);
    let (cache, clock) = cache(&[Arc::clone(&store)], 100);
    assert_eq!(ask(&cache, &clock, "a").await, ("found", CacheResult::Miss));
    // Not before its last fifth.
    clock.advance(Duration::from_secs(47));
    assert_eq!(ask(&cache, &clock, "a").await, ("found", CacheResult::Hit));
    asked(&store, 1).await;
    for renewals in 2..5 {
        clock.advance(Duration::from_secs(2));
        for _ in 0..100 {
            assert_eq!(ask(&cache, &clock, "a").await, ("found", CacheResult::Hit));
        }
        asked(&store, renewals).await;
        clock.advance(Duration::from_secs(47));
        assert_eq!(ask(&cache, &clock, "a").await, ("found", CacheResult::Hit));
        asked(&store, renewals).await;
    }
}

#[tokio::test]
async fn what_the_store_does_not_know_any_more_is_not_renewed() {
    let store = fake(&["a"]);
    let (cache, clock) = cache(&[Arc::clone(&store)], 100);
    ask(&cache, &clock, "a").await;
    store.known.lock().unwrap().clear();
    clock.advance(Duration::from_secs(50));
    assert_eq!(ask(&cache, &clock, "a").await, ("found", CacheResult::Hit));
    asked(&store, 2).await;
    assert_eq!(ask(&cache, &clock, "a").await.0, "unknown");
}

#[tokio::test]
async fn a_renewal_that_fails_is_tried_again() {
    let store = fake(&["a"]);
    let (cache, clock) = cache(&[Arc::clone(&store)], 100);
    ask(&cache, &clock, "a").await;
    store.down.store(true, Ordering::SeqCst);
    clock.advance(Duration::from_secs(50));
    assert_eq!(ask(&cache, &clock, "a").await, ("found", CacheResult::Hit));
    asked(&store, 2).await;
    clock.advance(Duration::from_secs(1));
    assert_eq!(ask(&cache, &clock, "a").await, ("found", CacheResult::Hit));
    asked(&store, 3).await;
    // Past its lifetime nobody waits for a store that is known not to answer.
    clock.advance(Duration::from_secs(10));
    assert_eq!(ask(&cache, &clock, "a").await, ("found", CacheResult::Stale));
    asked(&store, 4).await;
    store.down.store(false, Ordering::SeqCst);
    clock.advance(Duration::from_secs(1));
    assert_eq!(ask(&cache, &clock, "a").await, ("found", CacheResult::Stale));
    asked(&store, 5).await;
    assert_eq!(ask(&cache, &clock, "a").await, ("found", CacheResult::Hit));
}

#[tokio::test]
async fn a_renewal_does_not_bring_back_what_is_purged_meanwhile() {
    let delay = Duration::from_millis(100);
    let known = Mutex::new(vec![Digest::of("a")]);
    let store = Arc::new(Fake { known, delay, ..Fake::default() });
    let (cache, clock) = cache(&[Arc::clone(&store)], 100);
    ask(&cache, &clock, "a").await;
    clock.advance(Duration::from_secs(50));
    assert_eq!(ask(&cache, &clock, "a").await, ("found", CacheResult::Hit));
    // The question is on its way, and its answer will be that the token is known.
    tokio::time::sleep(delay / 2).await;
    cache.purge(&Digest::of("a")).await;
    store.known.lock().unwrap().clear();
    tokio::time::sleep(3 * delay).await;
    store.down.store(true, Ordering::SeqCst);
    assert_ne!(ask(&cache, &clock, "a").await.0, "found");
}

#[tokio::test]
async fn what_was_not_answered_after_a_gap_is_asked_again() {
    let store = fake(&["a", "b", "c", "gone"]);
    let (cache, clock) = cache(&[Arc::clone(&store)], 100);
    for name in ["a", "b", "c", "gone", "purged"] {
        ask(&cache, &clock, name).await;
    }
    store.known.lock().unwrap().retain(|digest| *digest != Digest::of("gone"));
    clock.advance(Duration::from_secs(1));
    store.down.store(true, Ordering::SeqCst);
    let before = store.asked.load(Ordering::SeqCst);
    let (again, now) = (Arc::clone(&cache), clock.now());
    let mut revalidation = tokio::task::JoinSet::new();
    revalidation.spawn(async move { again.revalidate(0, now).await });
    // The first of them at least failed.
    while store.asked.load(Ordering::SeqCst) == before {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(ask(&cache, &clock, "gone").await, ("found", CacheResult::Hit));
    cache.purge(&Digest::of("c")).await;
    store.down.store(false, Ordering::SeqCst);
    revalidation.join_all().await;
    assert_eq!(ask(&cache, &clock, "gone").await.0, "unknown");
    for name in ["a", "b"] {
        assert_eq!(ask(&cache, &clock, name).await, ("found", CacheResult::Hit), "{name}");
    }
    assert_eq!(ask(&cache, &clock, "c").await, ("found", CacheResult::Miss));
}

#[tokio::test]
async fn asking_again_ends_when_nobody_is_served_any_more() {
    let store = fake(&["a"]);
    let (cache, clock) = cache(&[Arc::clone(&store)], 100);
    ask(&cache, &clock, "a").await;
    clock.advance(Duration::from_secs(1));
    store.down.store(true, Ordering::SeqCst);
    let (again, now) = (Arc::clone(&cache), clock.now());
    let mut revalidation = tokio::task::JoinSet::new();
    revalidation.spawn(async move { again.revalidate(0, now).await });
    while store.asked.load(Ordering::SeqCst) == 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    clock.advance(Duration::from_secs(360));
    revalidation.join_all().await;
}

#[tokio::test]
async fn all_that_was_said_before_is_asked_again() {
    let names: Vec<String> = (0..200).map(|number| format!("t{number}")).collect();
    let store = fake(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let (cache, clock) = cache(&[Arc::clone(&store)], 1_000);
    for name in &names {
        ask(&cache, &clock, name).await;
    }
    store.known.lock().unwrap().retain(|digest| *digest != Digest::of("t7"));
    clock.advance(Duration::from_secs(5));
    let moment = clock.now();
    clock.advance(Duration::from_secs(1));
    ask(&cache, &clock, "later").await;
    assert_eq!(ask(&cache, &clock, "t7").await, ("found", CacheResult::Hit));
    let before = store.asked.load(Ordering::SeqCst);
    cache.revalidate(0, moment).await;
    assert_eq!(store.asked.load(Ordering::SeqCst), before + names.len());
    assert_eq!(ask(&cache, &clock, "t7").await.0, "unknown");
    assert_eq!(ask(&cache, &clock, "t8").await, ("found", CacheResult::Hit));
    // Once is enough: what was said since is not asked again, and no other store is.
    let before = store.asked.load(Ordering::SeqCst);
    cache.revalidate(0, moment).await;
    cache.revalidate(1, clock.now()).await;
    assert_eq!(store.asked.load(Ordering::SeqCst), before);
}
