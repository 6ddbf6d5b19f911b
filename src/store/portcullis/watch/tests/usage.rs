//! When a token was last used.

use super::*;

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
        Arc::strong_count(&found.usage.as_ref().unwrap().0) == 2
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
