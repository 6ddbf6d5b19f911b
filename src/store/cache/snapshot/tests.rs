//! What a restart during an outage has, and what it has not.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::Ordering;

use super::*;
use crate::policy::credential::{Digest, Fingerprint};
use crate::store::cache::CacheResult;
use crate::store::cache::tests::{ask, cache, fake, with_list};

/// A snapshot of a gateway that knew `a` and `b` and had `blocked` on its list.
async fn written(blocked: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let store = with_list(&["a", "b"]);
    let (cache, clock) = cache(&[store], 100);
    let list: HashSet<Fingerprint> =
        blocked.iter().map(|secret| Digest::of(secret).fingerprint()).collect();
    cache.block(0, HashSet::new());
    for secret in ["a", "b", "nobody"] {
        ask(&cache, &clock, secret).await;
    }
    cache.block(0, list);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identities.json");
    cache.write_snapshot(&path).unwrap();
    (folder, path)
}

#[tokio::test]
async fn a_restart_during_an_outage_knows_who_was_known() {
    let (_folder, path) = written(&["b"]).await;
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 3);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);

    let store = with_list(&["a", "b"]);
    let (again, clock) = cache(&[Arc::clone(&store)], 100);
    store.down.store(true, Ordering::SeqCst);
    assert_eq!(again.read_snapshot(&path).await.unwrap(), 2);
    assert_eq!(ask(&again, &clock, "a").await, ("found", CacheResult::Stale));
    assert_eq!(ask(&again, &clock, "b").await.0, "blocked");
    assert_eq!(ask(&again, &clock, "nobody").await.0, "unavailable");
    // For as long as without the restart, and not any longer.
    clock.advance(Duration::from_secs(299));
    assert_eq!(ask(&again, &clock, "a").await, ("found", CacheResult::Stale));
    clock.advance(Duration::from_secs(2));
    assert_eq!(ask(&again, &clock, "a").await.0, "unavailable");
}

#[tokio::test]
async fn a_store_that_answers_is_asked() {
    let (_folder, path) = written(&[]).await;
    let store = with_list(&["a"]);
    let (again, clock) = cache(&[Arc::clone(&store)], 100);
    again.read_snapshot(&path).await.unwrap();
    assert_eq!(ask(&again, &clock, "a").await, ("found", CacheResult::Miss));
    assert_eq!(ask(&again, &clock, "b").await, ("unknown", CacheResult::Miss));
    // And so is one whose block list was read meanwhile.
    again.block(0, HashSet::from([Digest::of("a").fingerprint()]));
    again.read_snapshot(&path).await.unwrap();
    assert_eq!(ask(&again, &clock, "a").await.0, "blocked");
}

#[tokio::test]
async fn who_turns_out_to_be_gone_is_soon_in_no_snapshot() {
    let store = fake(&["a", "b"]);
    let (cache, clock) = cache(&[Arc::clone(&store)], 100);
    for secret in ["a", "b"] {
        ask(&cache, &clock, secret).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identities.json");
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    let mut kept = tokio::task::JoinSet::new();
    kept.spawn(Arc::clone(&cache).keep_snapshot(path.clone(), stopped));
    let has = |secret: &str| {
        let text = fs::read_to_string(&path).unwrap_or_default();
        text.contains(&Digest::of(secret).hex())
    };
    cache.block(0, HashSet::new());
    let soon = async |what: &str, is: &dyn Fn() -> bool| {
        for _ in 0..1_000 {
            if is() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{what}");
    };
    soon("a snapshot", &|| has("a") && has("b")).await;
    // Nobody tells of it: the store is asked when the time of what it said is over.
    store.forget("a");
    clock.advance(Duration::from_secs(61));
    assert_eq!(ask(&cache, &clock, "a").await.0, "unknown");
    soon("a snapshot without it", &|| !has("a")).await;
    store.disable();
    assert_eq!(ask(&cache, &clock, "b").await.0, "found");
    soon("a snapshot without anybody", &|| !has("b")).await;
}

#[tokio::test]
async fn what_is_too_old_is_not_taken_up() {
    let (_folder, path) = written(&[]).await;
    let (again, clock) = cache(&[fake(&[])], 100);
    clock.advance(Duration::from_secs(361));
    assert_eq!(again.read_snapshot(&path).await.unwrap(), 0);
    assert_eq!(again.read_snapshot(&path.with_extension("none")).await.unwrap(), 0);
}

#[tokio::test]
async fn a_snapshot_that_somebody_else_may_have_written_is_none() {
    let (folder, path) = written(&[]).await;
    let (again, _) = cache(&[fake(&[])], 100);
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    for bad in [0o644, 0o660, 0o602] {
        mode(&path, bad);
        let refused = again.read_snapshot(&path).await;
        assert!(matches!(refused, Err(SnapshotError::NotOurs(_))), "{bad:o}: {refused:?}");
    }
    mode(&path, 0o600);
    // Only root may give a file away.
    if std::os::unix::fs::chown(&path, Some(65_534), None).is_ok() {
        assert!(matches!(again.read_snapshot(&path).await, Err(SnapshotError::NotOurs(_))));
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
    }
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(matches!(again.read_snapshot(&link).await, Err(SnapshotError::NotOurs(_))));
    assert_eq!(again.read_snapshot(&path).await.unwrap(), 2);
}

#[tokio::test]
async fn a_damaged_snapshot_counts_as_none() {
    let (_folder, path) = written(&["a"]).await;
    let whole = fs::read_to_string(&path).unwrap();
    let rows = [
        ("cut off", whole[..whole.len() - 20].to_owned()),
        ("another key", whole.replace("\"id\"", "\"ident\"")),
        ("another kind", whole.replace("user_token", "root")),
        ("a kind that does not come this way", whole.replace("user_token", "api_key")),
        ("a digest too short", whole.replacen("\"digest\":\"", "\"digest\":\"0", 1)),
        ("a scope of nobody", whole.replacen("\"org:read\"", "\"org:reed\"", 1)),
        ("a fingerprint of nobody", whole.replace("\"fingerprints\":[\"", "\"fingerprints\":[\"x")),
        ("no JSON", "identities".to_owned()),
    ];
    for (what, text) in rows {
        assert_ne!(text, whole, "{what}");
        fs::write(&path, text).unwrap();
        let (again, clock) = cache(&[fake(&[])], 100);
        let refused = again.read_snapshot(&path).await;
        assert!(matches!(refused, Err(SnapshotError::Damaged { .. })), "{what}: {refused:?}");
        assert_ne!(ask(&again, &clock, "a").await.0, "found", "{what}");
    }
}

#[tokio::test]
async fn a_block_list_that_is_too_old_is_none() {
    let (_folder, path) = written(&["b"]).await;
    let (again, clock) = cache(&[with_list(&["a"])], 100);
    clock.advance(Duration::from_secs(361));
    again.read_snapshot(&path).await.unwrap();
    assert!(!again.has_block_lists());
    assert_eq!(ask(&again, &clock, "a").await.0, "unavailable");
    // Its age stays, though it is written again: nobody has asked the store.
    let (again, clock) = cache(&[with_list(&["a"])], 100);
    clock.advance(Duration::from_secs(300));
    again.read_snapshot(&path).await.unwrap();
    assert!(again.has_block_lists());
    again.write_snapshot(&path).unwrap();
    let (third, clock) = cache(&[with_list(&["a"])], 100);
    clock.advance(Duration::from_secs(361));
    third.read_snapshot(&path).await.unwrap();
    assert!(!third.has_block_lists());
}
