//! When a token was last used.

use super::*;
use crate::policy::reason::Reason;
use crate::store::Sighting;

async fn last_used(gateway: &Gateway, issued: &Issued) -> Option<u64> {
    let token = gateway.desk.store.token(&issued.token.id).await.unwrap().unwrap();
    token.last_used_at.map(Timestamp::as_millis)
}

#[tokio::test]
async fn a_use_is_written_and_never_moves_back() {
    let gateway = Gateway::new().await;
    let issued = gateway.desk.create(TokenKind::ApiKey, "one").await;
    let presented = present(&issued);
    gateway.store.flush_usage().await.unwrap();
    assert_eq!(last_used(&gateway, &issued).await, None);
    gateway.ask(&presented).await;
    assert_eq!(last_used(&gateway, &issued).await, None, "not before it is flushed");
    gateway.store.flush_usage().await.unwrap();
    let first = NOW.as_millis();
    assert_eq!(last_used(&gateway, &issued).await, Some(first));

    // From the cache too.
    gateway.clock.advance(Duration::from_secs(5));
    assert_eq!(gateway.ask(&presented).await.1, CacheResult::Hit);
    gateway.store.flush_usage().await.unwrap();
    assert_eq!(last_used(&gateway, &issued).await, Some(first + 5_000));

    // Another gateway saw a later one; a request here had the clock of before.
    gateway.desk.sql(&format!("UPDATE token SET last_used_at = {}", first + 60_000)).await;
    gateway.clock.advance(Duration::from_secs(5));
    gateway.ask(&presented).await;
    gateway.identities.lookup(&presented, NOW).await;
    gateway.store.flush_usage().await.unwrap();
    assert_eq!(last_used(&gateway, &issued).await, Some(first + 60_000));
    gateway.clock.advance(Duration::from_secs(600));
    gateway.ask(&presented).await;
    gateway.identities.lookup(&presented, NOW).await;
    gateway.store.flush_usage().await.unwrap();
    assert_eq!(last_used(&gateway, &issued).await, Some(first + 610_000));
}

#[tokio::test]
async fn a_refused_token_was_not_used() {
    let gateway = Gateway::new().await;
    let wanted = NewToken { expires_at: Some(NOW), ..new(TokenKind::Bearer, "expired") };
    let expired = gateway.desk.store.create(wanted, NOW).await.unwrap();
    let revoked = gateway.desk.create(TokenKind::Bearer, "revoked").await;
    gateway.desk.store.revoke(&revoked.token.id, NOW).await.unwrap();
    let used = gateway.desk.create(TokenKind::Bearer, "used").await;
    for issued in [&expired, &revoked, &used] {
        for _ in 0..2 {
            gateway.ask(&present(issued)).await;
        }
    }
    gateway.store.flush_usage().await.unwrap();
    assert_eq!(last_used(&gateway, &expired).await, None);
    assert_eq!(last_used(&gateway, &revoked).await, None);
    assert_eq!(last_used(&gateway, &used).await, Some(NOW.as_millis()));
}

#[tokio::test]
async fn many_uses_are_written_each_to_its_token() {
    let gateway = Gateway::new().await;
    let mut all = Vec::new();
    for number in 0..20 {
        let issued = gateway.desk.create(TokenKind::Dsn, &format!("number {number}")).await;
        gateway.clock.advance(Duration::from_secs(1));
        gateway.ask(&present(&issued)).await;
        all.push((issued, gateway.clock.now().as_millis()));
    }
    gateway.store.flush_usage().await.unwrap();
    for (issued, at) in &all {
        assert_eq!(last_used(&gateway, issued).await, Some(*at));
    }
}

#[tokio::test]
async fn a_use_that_could_not_be_written_is_written_later() {
    let gateway = Gateway::new().await;
    let issued = gateway.desk.create(TokenKind::Bearer, "one").await;
    let found = gateway.store.find((&present(&issued)).into()).await.unwrap().unwrap();
    found.usage.unwrap().mark(NOW);
    sqlx::query("PRAGMA busy_timeout = 50")
        .execute(&crate::store::portcullis::tests::sqlite(&gateway.store).writer)
        .await
        .unwrap();
    let mut other = crate::store::portcullis::tests::shell(gateway.store.path().unwrap()).await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    // Nobody has the handle any more, and yet the mark is kept.
    assert!(gateway.store.flush_usage().await.is_err());
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    gateway.store.flush_usage().await.unwrap();
    assert_eq!(last_used(&gateway, &issued).await, Some(NOW.as_millis()));

    // With nothing new to write, nobody is waited for.
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    gateway.store.flush_usage().await.unwrap();
}

#[tokio::test]
async fn what_nobody_holds_is_dropped_once_it_is_written() {
    let gateway = Gateway::new().await;
    let (_, presented) = gateway.cached("one").await;
    let found = gateway.store.find((&presented).into()).await.unwrap().unwrap();
    gateway.store.flush_usage().await.unwrap();
    assert_eq!(gateway.store.used().len(), 1, "the cache holds it");
    gateway.identities.purge_all().await;
    soon("forgotten", async || {
        // moka drops what was invalidated when it is next used.
        gateway
            .ask(&crate::store::portcullis::tests::under(
                crate::policy::credential::Scheme::Bearer,
                Digest::of("nobody's"),
            ))
            .await;
        gateway.store.flush_usage().await.unwrap();
        assert_eq!(gateway.store.used().len(), 1, "a request holds it");
        found.usage.as_ref().unwrap().handles() == 2
    })
    .await;
    drop(found);
    gateway.store.flush_usage().await.unwrap();
    assert_eq!(gateway.store.used().len(), 0);
}

#[tokio::test]
async fn a_stop_writes_what_was_used() {
    let gateway = Gateway::new().await;
    let issued = gateway.cached("one").await.0;
    // Far less than the time between two flushes.
    while_watching(&gateway, async {}).await;
    assert_eq!(last_used(&gateway, &issued).await, Some(NOW.as_millis()));
}

#[tokio::test]
async fn uses_are_written_while_the_gateway_runs() {
    let gateway = Gateway::new().await;
    let issued = gateway.cached("one").await.0;
    while_watching(&gateway, async {
        let written = async || last_used(&gateway, &issued).await.is_some();
        assert!(FLUSH < SOON);
        soon("written", written).await;
    })
    .await;
}

/// A request as the proxy tells of it.
fn decided(usage: &crate::store::Usage, now: u64, route: &str, refused: Option<Reason>) {
    let now = Timestamp::from_millis(now);
    usage.mark(now);
    usage.decided(now, refused);
    usage.note(now, Sighting { route: Some(route), agent: Some(&"cli/1"), network: None });
}

#[tokio::test]
async fn a_census_is_taken_by_several_and_none_of_them_is_a_change() {
    let gateway = Gateway::new().await;
    let other = gateway.desk.again().await;
    let issued = gateway.desk.create(TokenKind::Bearer, "one").await;
    let presented = present(&issued);
    let (mine, theirs) = (gateway.store.find((&presented).into()), other.find((&presented).into()));
    let [mine, theirs] =
        [mine.await, theirs.await].map(|found| found.unwrap().unwrap().usage.unwrap());
    let revisions = async || gateway.store.log(0).await.unwrap().last;
    let before = revisions().await;
    decided(&mine, 5_000, "/mine/", None);
    decided(&theirs, 4_000, "/theirs/", Some(Reason::MissingScope));
    assert_eq!(gateway.store.flush_usage().await.unwrap(), 1);
    assert_eq!(other.flush_usage().await.unwrap(), 1);
    decided(&mine, 9_000, "/last/", Some(Reason::MissingScope));
    decided(&mine, 9_100, "/last/", None);
    for store in [&*gateway.store, &other, &*gateway.store] {
        store.flush_usage().await.unwrap();
    }
    assert_eq!(gateway.store.flush_usage().await.unwrap(), 0);
    let token = gateway.desk.store.token(&issued.token.id).await.unwrap().unwrap();
    let census = &token.census;
    assert_eq!((census.requests, census.refusals["missing_scope"].count), (4, 2));
    assert_eq!(census.refusals["missing_scope"].last_at, 9_000);
    assert_eq!(census.first_used_at, Some(4_000));
    assert_eq!(census.first_route.as_deref(), Some("/mine/"));
    assert_eq!(census.last_route.as_deref(), Some("/last/"));
    assert_eq!(census.user_agents.len(), 1);
    assert_eq!(token.last_used_at, Some(Timestamp::from_millis(9_000)));
    assert_eq!(revisions().await, before, "what was used is no change");
    // Of who asks for somebody it is not read.
    let found = gateway.store.find((&presented).into()).await.unwrap().unwrap();
    assert_eq!(found.identity.id.to_string(), issued.token.id);
}

#[tokio::test]
async fn counts_that_could_not_be_written_are_written_later_and_once() {
    let gateway = Gateway::new().await;
    let issued = gateway.desk.create(TokenKind::Bearer, "one").await;
    let found = gateway.store.find((&present(&issued)).into()).await.unwrap().unwrap();
    let usage = found.usage.unwrap();
    gateway.desk.sql("ALTER TABLE token RENAME COLUMN census TO away").await;
    for round in 0..3 {
        decided(&usage, 5_000 + round, "/", None);
        assert!(gateway.store.flush_usage().await.is_err());
    }
    gateway.desk.sql("ALTER TABLE token RENAME COLUMN away TO census").await;
    gateway.desk.sql("UPDATE token SET census = 'damaged'").await;
    assert_eq!(gateway.store.flush_usage().await.unwrap(), 1);
    assert_eq!(gateway.store.flush_usage().await.unwrap(), 0);
    let token = gateway.desk.store.token(&issued.token.id).await.unwrap().unwrap();
    assert_eq!(token.census.requests, 3);
    // One whose row is gone is in nobody's way.
    decided(&usage, 9_000, "/", None);
    gateway.desk.sql("DELETE FROM token").await;
    assert_eq!(gateway.store.flush_usage().await.unwrap(), 1);
    assert_eq!(gateway.store.flush_usage().await.unwrap(), 0);
}

#[tokio::test]
async fn batches_of_any_size_are_written_whole() {
    let gateway = Gateway::new().await;
    let mut usages = Vec::new();
    for number in 0..230 {
        let issued = gateway.desk.create(TokenKind::Bearer, &format!("number {number}")).await;
        let found = gateway.store.find((&present(&issued)).into()).await.unwrap().unwrap();
        decided(found.usage.as_ref().unwrap(), 5_000 + number, "/", None);
        usages.push(found.usage);
    }
    assert_eq!(gateway.store.flush_usage().await.unwrap(), 230);
    let (tokens, _) = gateway.desk.store.list().await.unwrap();
    for (number, token) in tokens.iter().enumerate() {
        let used = token.name.strip_prefix("number ").unwrap().parse::<u64>().unwrap();
        assert_eq!(token.last_used_at, Some(Timestamp::from_millis(5_000 + used)), "{number}");
        assert_eq!(token.census.requests, 1);
    }
}

#[tokio::test]
async fn a_canary_is_nobody_and_is_told() {
    let gateway = Gateway::new().await;
    let store = &gateway.desk.store;
    let of = |kind| (kind == TokenKind::Dsn).then(|| ("acme".to_owned(), 42));
    let mut canaries = Vec::new();
    for kind in TokenKind::ALL {
        let name = format!("canary {kind}");
        canaries.push(store.create_canary(*kind, name, of(*kind), NOW).await.unwrap());
    }
    let known = |issued: &Issued| gateway.identities.canary(&issued.token.digest).is_some();
    while_watching(&gateway, async {
        soon("known", async || canaries.iter().all(known)).await;
        for issued in &canaries {
            assert_eq!(gateway.ask(&present(issued)).await.0, "unknown");
            assert!(store.token(&issued.token.id).await.unwrap().unwrap().canary);
        }
        store.revoke(&canaries[0].token.id, NOW).await.unwrap();
        soon("forgotten", async || !known(&canaries[0])).await;
        assert!(known(&canaries[1]));
        // It stays nobody.
        assert_eq!(gateway.ask(&present(&canaries[0])).await.0, "unknown");
    })
    .await;
    // A start reads them too.
    let next = Gateway { ..gateway };
    next.identities.set_canaries(0, Vec::new());
    assert!(!next.identities.has_canaries());
    next.watch().load().await.unwrap();
    assert!(next.identities.has_canaries());
}
