//! What others change is forgotten here in time, and what was used is written down.

mod race;
mod usage;

use std::sync::Mutex;

use super::*;
use crate::clock::{ManualClock, SystemClock};
use crate::policy::credential::Credential;
use crate::policy::decision::Lookup;
use crate::policy::identity::State;
use crate::store::TokenStore;
use crate::store::cache::{CacheResult, CacheSettings};
use crate::store::portcullis::TokenKind;
use crate::store::portcullis::admin::{Issued, NewToken, Revoked};
use crate::store::portcullis::tests::{Desk, NOW, new, present};

/// Far over the interval, for a machine that is busy, and far below the lifetimes of the cache.
const SOON: Duration = Duration::from_secs(10);

/// Keeps the lags that it is told.
#[derive(Debug, Default)]
struct Lags(Mutex<Vec<u64>>);

impl Observer for Lags {
    fn lookup(&self, _: usize, _: crate::store::LookupResult, _: Duration) {}

    fn answers(&self, _: usize, _: bool) {}

    fn watched(&self, _: usize, _: bool) {}

    fn keys_read(&self, _store: usize, _at: Option<Timestamp>, _every: Duration) {}
    fn revocation_lag(&self, lag: Duration) {
        self.0.lock().unwrap().push(lag.as_millis() as u64);
    }
}

/// A gateway's store with its cache and its watch, beside the [`Desk`] of another process.
struct Gateway {
    desk: Desk,
    store: Arc<PortcullisStore>,
    identities: Arc<Identities>,
    clock: Arc<ManualClock>,
    lags: Arc<Lags>,
}

impl Gateway {
    async fn new() -> Self {
        Self::behind(|store| store).await
    }

    /// With something between the cache and the store.
    async fn behind(wrap: impl FnOnce(Arc<PortcullisStore>) -> Arc<dyn TokenStore>) -> Self {
        let desk = Desk::new().await;
        let store = Arc::new(desk.again().await);
        let clock = Arc::new(ManualClock::at(NOW));
        let lags = Arc::new(Lags::default());
        let their_clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let observer: Arc<dyn Observer> = Arc::<Lags>::clone(&lags);
        let identities = Identities::new(
            vec![wrap(Arc::clone(&store)).into()],
            CacheSettings::default(),
            Arc::clone(&their_clock),
            Arc::clone(&observer),
            tokio::runtime::Handle::current(),
        );
        let gateway = Self { desk, store, identities, clock, lags };
        gateway.watch().load().await.unwrap();
        gateway
    }

    fn watch(&self) -> Watch {
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&self.clock);
        let observer: Arc<dyn Observer> = Arc::<Lags>::clone(&self.lags);
        Watch::new(0, Arc::clone(&self.store), Arc::clone(&self.identities), clock, observer)
    }

    async fn ask(&self, presented: &Credential) -> (&'static str, CacheResult) {
        let answer = self.identities.lookup(presented, self.clock.now()).await;
        (verdict(&answer.lookup), answer.cache)
    }

    /// A token of the other process that the cache here holds.
    async fn cached(&self, name: &str) -> (Issued, Credential) {
        let issued = self.desk.create(TokenKind::Bearer, name).await;
        let presented = present(&issued);
        self.ask(&presented).await;
        assert_eq!(self.ask(&presented).await, ("active", CacheResult::Hit), "{name}");
        (issued, presented)
    }
}

fn verdict(lookup: &Lookup) -> &'static str {
    match lookup {
        Lookup::Found(identity) if identity.identity().state == State::Disabled => "disabled",
        Lookup::Found(_) => "active",
        Lookup::Unknown => "unknown",
        Lookup::Unavailable => "unavailable",
        Lookup::Limited => "limited",
        Lookup::Blocked => "blocked",
    }
}

/// Asks until `done`, for as long as is still soon.
async fn soon(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let began = SystemClock.instant();
    while !done().await {
        let elapsed = SystemClock.instant().saturating_duration_since(began);
        assert!(elapsed < SOON, "{what}: not within {SOON:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs the watch while `work` does, stops it, and waits for its end.
async fn while_watching<T>(gateway: &Gateway, work: impl Future<Output = T>) -> T {
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let work = async {
        let outcome = work.await;
        stop.send(true).unwrap();
        outcome
    };
    let both = async { tokio::join!(gateway.watch().run(stopped), work) };
    tokio::time::timeout(6 * SOON, both).await.unwrap().1
}

#[tokio::test]
async fn a_revocation_elsewhere_is_seen_soon() {
    let gateway = Gateway::new().await;
    while_watching(&gateway, async {
        for number in 0..3 {
            let (issued, presented) = gateway.cached(&format!("number {number}")).await;
            // The first poll forgets everything and would hide what this is about.
            tokio::time::sleep(2 * POLL).await;
            gateway.ask(&presented).await;
            assert_eq!(gateway.ask(&presented).await, ("active", CacheResult::Hit));
            gateway.desk.store.revoke(&issued.token.id, NOW).await.unwrap();
            soon("revoked", async || gateway.ask(&presented).await.0 == "disabled").await;
        }
    })
    .await;
    assert_eq!(gateway.lags.0.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn every_change_by_hand_is_seen_at_the_next_poll() {
    let rows = [
        ("UPDATE token SET revoked_at = 1", "disabled"),
        ("DELETE FROM token", "unknown"),
        ("UPDATE token SET digest = zeroblob(32)", "unknown"),
        ("UPDATE token SET digest = x'00'", "unknown"),
        ("UPDATE token SET kind = 'dsn'", "unknown"),
        ("UPDATE token SET kind = 'broken'", "unavailable"),
        ("UPDATE token SET expires_at = -1", "unavailable"),
        ("UPDATE token SET scopes = ''", "active"),
        ("UPDATE token SET organizations = '[]'", "active"),
        ("UPDATE token SET projects = '[]'", "active"),
        ("UPDATE token SET allowed_origins = '[]'", "active"),
        ("UPDATE token SET expires_at = 1", "active"),
        ("UPDATE token SET kind = 'canary-bearer'", "unknown"),
        ("UPDATE token SET narrow = '{}'", "unavailable"),
        ("UPDATE token SET kind = 'narrow-bearer', narrow = '{}'", "active"),
        (
            "REPLACE INTO token SELECT id, kind, name, digest, fingerprint, '', organizations, \
          projects, allowed_origins, created_at, expires_at, 1, last_used_at, NULL, NULL, NULL, \
          NULL FROM token",
            "disabled",
        ),
    ];
    for (change, wanted) in rows {
        let gateway = Gateway::new().await;
        let mut seen = Seen::default();
        gateway.watch().poll(&mut seen).await.unwrap();
        let (_, presented) = gateway.cached("one").await;
        gateway.watch().poll(&mut seen).await.unwrap();
        gateway.ask(&presented).await;
        gateway.desk.sql(change).await;
        assert_eq!(gateway.ask(&presented).await, ("active", CacheResult::Hit), "{change}");
        gateway.watch().poll(&mut seen).await.unwrap();
        assert_eq!(gateway.ask(&presented).await, (wanted, CacheResult::Miss), "{change}");
    }
}

#[tokio::test]
async fn a_token_made_elsewhere_is_known_at_the_next_poll() {
    let gateway = Gateway::new().await;
    let mut seen = Seen::default();
    gateway.watch().poll(&mut seen).await.unwrap();
    let issued = gateway.desk.create(TokenKind::Bearer, "one").await;
    let presented = present(&issued);
    // As if it had been asked for a moment before it was created.
    gateway.desk.sql("CREATE TABLE kept AS SELECT * FROM token; DELETE FROM token").await;
    gateway.watch().poll(&mut seen).await.unwrap();
    assert_eq!(gateway.ask(&presented).await, ("unknown", CacheResult::Miss));
    gateway.desk.sql("INSERT INTO token SELECT * FROM kept").await;
    assert_eq!(gateway.ask(&presented).await, ("unknown", CacheResult::Negative));
    gateway.watch().poll(&mut seen).await.unwrap();
    assert_eq!(gateway.ask(&presented).await, ("active", CacheResult::Miss));
}

#[tokio::test]
async fn only_what_changed_is_forgotten() {
    let gateway = Gateway::new().await;
    let (one, two) = (gateway.cached("one").await, gateway.cached("two").await);
    let mut seen = Seen::default();
    gateway.watch().poll(&mut seen).await.unwrap();
    for (_, presented) in [&one, &two] {
        // What happened before the first look is not known.
        assert_eq!(gateway.ask(presented).await, ("active", CacheResult::Miss));
    }
    gateway.watch().poll(&mut seen).await.unwrap();
    assert_eq!(gateway.ask(&one.1).await, ("active", CacheResult::Hit));
    gateway.desk.store.revoke(&one.0.token.id, NOW).await.unwrap();
    gateway.watch().poll(&mut seen).await.unwrap();
    assert_eq!(gateway.ask(&one.1).await, ("disabled", CacheResult::Miss));
    assert_eq!(gateway.ask(&two.1).await, ("active", CacheResult::Hit));
    gateway.desk.sql("UPDATE token SET last_used_at = 5").await;
    gateway.watch().poll(&mut seen).await.unwrap();
    assert_eq!(gateway.ask(&two.1).await, ("active", CacheResult::Hit), "a use is no change");
}

#[tokio::test]
async fn a_log_with_a_gap_forgets_everything() {
    let fill = |last: i64| {
        format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {last}) \
             INSERT INTO change (digest) SELECT zeroblob(32) FROM n"
        )
    };
    let rows = [
        // More than a batch, but whole: only what changed.
        (fill(2_500), "hit"),
        // So many that the end was cut off.
        (fill(12_000), "miss"),
        ("DELETE FROM change".to_owned(), "miss"),
        (
            "INSERT INTO change VALUES (1000000, zeroblob(32), NULL); \
          DELETE FROM change WHERE revision < 1000000"
                .to_owned(),
            "miss",
        ),
        // The file has an older content, as from a backup.
        ("DELETE FROM change WHERE revision > 1".to_owned(), "miss"),
        // What this says is not a digest.
        ("INSERT INTO change (digest) VALUES (x'00')".to_owned(), "miss"),
    ];
    for (change, wanted) in rows {
        let gateway = Gateway::new().await;
        let (revoked, gone) = gateway.cached("one").await;
        let (_, presented) = gateway.cached("two").await;
        let mut seen = Seen::default();
        gateway.watch().poll(&mut seen).await.unwrap();
        gateway.ask(&gone).await;
        gateway.ask(&presented).await;
        gateway.desk.sql(&change).await;
        if wanted == "hit" {
            gateway.desk.store.revoke(&revoked.token.id, NOW).await.unwrap();
        }
        gateway.watch().poll(&mut seen).await.unwrap();
        assert_eq!(gateway.ask(&presented).await.1.as_str(), wanted, "{change}");
        if wanted == "hit" {
            assert_eq!(gateway.ask(&gone).await, ("disabled", CacheResult::Miss));
        }
        let last = gateway.store.log(0).await.unwrap().last;
        assert_eq!(seen.revision, Some(last), "{change}");
    }
}

#[tokio::test]
async fn the_log_does_not_grow_without_end() {
    let gateway = Gateway::new().await;
    let issued = gateway.desk.create(TokenKind::Bearer, "one").await;
    let statement = "UPDATE token SET revoked_at = NULL; UPDATE token SET revoked_at = 1;";
    gateway.desk.sql(&format!("BEGIN; {} COMMIT", statement.repeat(12_000))).await;
    let Log { first, last, .. } = gateway.store.log(0).await.unwrap();
    assert!(last > 24_000, "{last}");
    assert!((10_000..=11_000).contains(&(last - first)), "{first} to {last}");
    assert!(gateway.store.token(&issued.token.id).await.unwrap().is_some());
}

#[tokio::test]
async fn the_lag_of_a_revocation_is_told_once() {
    let gateway = Gateway::new().await;
    let (one, two) = (gateway.cached("one").await.0, gateway.cached("two").await.0);
    let mut seen = Seen::default();
    gateway.watch().poll(&mut seen).await.unwrap();
    gateway.desk.store.revoke(&one.token.id, NOW).await.unwrap();
    gateway.clock.advance(Duration::from_millis(700));
    // Neither is one: it was revoked before, and what else changes is no revocation.
    assert_eq!(
        gateway.desk.store.revoke(&one.token.id, gateway.clock.now()).await.unwrap(),
        Revoked::Before(NOW)
    );
    gateway.desk.sql("UPDATE token SET scopes = ''").await;
    for _ in 0..2 {
        gateway.watch().poll(&mut seen).await.unwrap();
        assert_eq!(*gateway.lags.0.lock().unwrap(), [700]);
    }
    // Of a clock that is ahead of ours.
    let ahead = gateway.clock.now().after(SOON);
    gateway.desk.store.revoke(&two.token.id, ahead).await.unwrap();
    gateway.watch().poll(&mut seen).await.unwrap();
    assert_eq!(*gateway.lags.0.lock().unwrap(), [700, 0]);
}

#[tokio::test]
async fn a_file_that_is_replaced_ends_nothing_and_is_refused_until_it_is_back() {
    let gateway = Gateway::new().await;
    let path = gateway.store.path().unwrap().to_owned();
    let aside = gateway.desk.folder.path().join("aside.db");
    let (held, unheld) =
        (gateway.cached("held").await, gateway.desk.create(TokenKind::Bearer, "unheld").await);
    let unheld = present(&unheld);
    while_watching(&gateway, async {
        tokio::time::sleep(2 * POLL).await;
        gateway.ask(&held.1).await;
        std::fs::rename(&path, &aside).unwrap();
        std::fs::write(&path, "").unwrap();
        soon("refused", async || gateway.store.find((&unheld).into()).await.is_err()).await;
        assert_eq!(gateway.ask(&unheld).await.0, "unavailable", "never not known");
        // What the cache holds lives on for its lifetime.
        assert_eq!(gateway.ask(&held.1).await, ("active", CacheResult::Hit));
        std::fs::rename(&aside, &path).unwrap();
        soon("back", async || gateway.store.find((&unheld).into()).await.is_ok()).await;
        gateway.desk.store.revoke(&held.0.token.id, NOW).await.unwrap();
        soon("revoked", async || gateway.ask(&held.1).await.0 == "disabled").await;
    })
    .await;
}
