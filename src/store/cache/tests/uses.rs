//! Who comes most.

use super::*;

#[tokio::test]
async fn most_first_and_none_that_is_forgotten() {
    let names: Vec<String> = (0..20).map(|number| format!("t{number}")).collect();
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let store = fake(&known);
    let (cache, clock) = cache(&[Arc::clone(&store)], 100);
    for (times, name) in known.iter().enumerate() {
        for _ in 0..=times {
            assert_eq!(ask(&cache, &clock, name).await.0, "found");
        }
    }
    assert_eq!(ask(&cache, &clock, "unknown").await.0, "unknown");
    let most =
        |number| -> Vec<u64> { cache.most_used(number).iter().map(|used| used.requests).collect() };
    assert_eq!(most(3), [20, 19, 18]);
    assert_eq!(most(100), (1..=20).rev().collect::<Vec<_>>());
    assert!(most(0).is_empty());
    let first = &cache.most_used(1)[0];
    assert_eq!((&*first.store, &*first.id, first.kind), ("fake", "t", "user_token"));

    // Asked for anew, it goes on counting; forgotten and known again, it begins anew.
    clock.advance(Duration::from_secs(61));
    assert_eq!(ask(&cache, &clock, "t19").await, ("found", CacheResult::Miss));
    assert_eq!(most(1), [21]);
    cache.purge_all().await;
    assert!(most(1).is_empty());
    assert_eq!(ask(&cache, &clock, "t19").await.0, "found");
    assert_eq!(most(2), [1]);
}
