//! The wall clock is set, and no time has passed.

use super::*;

const HOUR: u64 = 60 * 60 * 1000;

/// An hour forward, or back.
fn jump(clock: &ManualClock, forward: bool) {
    let now = clock.now().as_millis();
    clock.jump(Timestamp::from_millis(if forward { now + HOUR } else { now - HOUR }));
}

fn started(store: &Arc<Fake>) -> (Arc<Identities>, Arc<ManualClock>) {
    let (cache, clock) = cache(&[Arc::clone(store)], 100);
    clock.jump(Timestamp::from_millis(10 * HOUR));
    (cache, clock)
}

#[tokio::test]
async fn what_was_known_is_asked_for_again_and_is_known_as_before() {
    for forward in [true, false] {
        let store = fake(&["a"]);
        let (cache, clock) = started(&store);
        assert_eq!(ask(&cache, &clock, "a").await, ("found", CacheResult::Miss));
        assert_eq!(ask(&cache, &clock, "b").await, ("unknown", CacheResult::Miss));
        jump(&clock, forward);
        // Both were revoked, and made, while the clock was being set.
        *store.known.lock().unwrap() = vec![Digest::of("b")];
        assert_eq!(ask(&cache, &clock, "a").await.0, "unknown", "{forward}");
        assert_eq!(ask(&cache, &clock, "b").await, ("found", CacheResult::Miss), "{forward}");
        // And then it is kept as ever.
        assert_eq!(ask(&cache, &clock, "b").await, ("found", CacheResult::Hit), "{forward}");
        let asked = store.asked.load(Ordering::SeqCst);
        clock.advance(Duration::from_secs(61));
        assert_eq!(ask(&cache, &clock, "b").await, ("found", CacheResult::Miss), "{forward}");
        assert_eq!(store.asked.load(Ordering::SeqCst), asked + 1);
    }
}

#[tokio::test]
async fn nobody_stands_in_for_longer_and_an_outage_ends() {
    for forward in [true, false] {
        let store = fake(&["a"]);
        let (cache, clock) = started(&store);
        ask(&cache, &clock, "a").await;
        store.down.store(true, Ordering::SeqCst);
        jump(&clock, forward);
        // How old it is can't be told any more.
        assert_eq!(ask(&cache, &clock, "a").await.0, "unavailable", "{forward}");
        jump(&clock, !forward);
        store.down.store(false, Ordering::SeqCst);
        clock.advance(Duration::from_secs(2));
        assert_eq!(ask(&cache, &clock, "a").await.0, "found", "{forward}");
    }
}

#[tokio::test]
async fn a_small_step_back_prolongs_by_no_more_than_itself() {
    let store = fake(&["a"]);
    let (cache, clock) = started(&store);
    ask(&cache, &clock, "a").await;
    clock.advance(Duration::from_secs(50));
    clock.jump(Timestamp::from_millis(clock.now().as_millis() - 30_000));
    store.known.lock().unwrap().clear();
    clock.advance(Duration::from_secs(39));
    assert_eq!(ask(&cache, &clock, "a").await.0, "found");
    clock.advance(Duration::from_secs(2));
    assert_eq!(ask(&cache, &clock, "a").await.0, "unknown");
}
