//! A revocation that lands while a look-up is under way.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::*;
use crate::policy::identity::KindSet;
use crate::store::Found;

/// How often chance is given to order the steps in a bad way.
const ROUNDS: usize = 400;

/// Holds an answer back between its reading and its return.
#[derive(Debug)]
struct Held {
    store: Arc<PortcullisStore>,
    /// Whether answers are held.
    holds: AtomicBool,
    /// For how many milliseconds one is late that is not held.
    late: AtomicU64,
    /// One permit for each answer that was read.
    read: Semaphore,
    /// One permit for each that may go on.
    go: Semaphore,
}

#[async_trait]
impl TokenStore for Held {
    fn name(&self) -> &str {
        "held"
    }

    fn takes(&self) -> KindSet {
        self.store.takes()
    }

    async fn find(
        &self,
        presented: crate::policy::credential::Presented<'_>,
    ) -> Result<Option<Found>, StoreError> {
        let answer = self.store.find(presented).await;
        if self.holds.load(Ordering::SeqCst) {
            self.read.add_permits(1);
            self.go.acquire().await.unwrap().forget();
        } else {
            tokio::time::sleep(Duration::from_millis(self.late.load(Ordering::SeqCst))).await;
        }
        answer
    }
}

async fn held() -> (Gateway, Arc<Held>) {
    let mut held = None;
    let gateway = Gateway::behind(|store| {
        let (read, go) = (Semaphore::new(0), Semaphore::new(0));
        let (holds, late) = (AtomicBool::new(true), AtomicU64::new(0));
        let wrapped = Arc::new(Held { store, holds, late, read, go });
        held = Some(Arc::clone(&wrapped));
        wrapped
    })
    .await;
    (gateway, held.unwrap())
}

/// How often a look-up asks again because its answer was overtaken.
const ATTEMPTS: usize = 3;

#[tokio::test]
async fn an_answer_read_before_a_revocation_is_not_kept_after_it() {
    // So often is an answer outdated before it is back, and with this one the token is revoked.
    let rows = (0..=ATTEMPTS).flat_map(|times| (0..times).map(move |revoked| (times, revoked)));
    for (times, revoked) in rows {
        let (gateway, held) = held().await;
        let issued = gateway.desk.create(TokenKind::Bearer, "one").await;
        let presented = present(&issued);
        let mut seen = Seen::default();
        gateway.watch().poll(&mut seen).await.unwrap();
        let others = async {
            for time in 0..times {
                held.read.acquire().await.unwrap().forget();
                if time == revoked {
                    gateway.desk.store.revoke(&issued.token.id, NOW).await.unwrap();
                } else {
                    gateway.desk.sql("UPDATE token SET scopes = ''").await;
                }
                gateway.watch().poll(&mut seen).await.unwrap();
                held.go.add_permits(1);
            }
            held.holds.store(false, Ordering::SeqCst);
            held.go.add_permits(1);
        };
        let (first, ()) = tokio::join!(gateway.ask(&presented), others);
        // Who asked before the revocation may be told what held then, after the last attempt.
        let wanted = if revoked + 1 == ATTEMPTS { "active" } else { "disabled" };
        assert_eq!(first, (wanted, CacheResult::Miss), "{times} {revoked}");
        assert_eq!(gateway.ask(&presented).await.0, "disabled", "{times} {revoked}");
        let kept = gateway.ask(&presented).await;
        assert_eq!(kept, ("disabled", CacheResult::Hit), "{times} {revoked}");
    }
}

#[tokio::test]
async fn who_asks_after_a_revocation_gets_no_answer_from_before_it() {
    let (gateway, held) = held().await;
    let issued = gateway.desk.create(TokenKind::Bearer, "one").await;
    let presented = present(&issued);
    let mut seen = Seen::default();
    gateway.watch().poll(&mut seen).await.unwrap();
    let late = async {
        for _ in 1..ATTEMPTS {
            held.read.acquire().await.unwrap().forget();
            gateway.desk.sql("UPDATE token SET scopes = ''").await;
            gateway.watch().poll(&mut seen).await.unwrap();
            held.go.add_permits(1);
        }
        held.read.acquire().await.unwrap().forget();
        gateway.desk.store.revoke(&issued.token.id, NOW).await.unwrap();
        gateway.watch().poll(&mut seen).await.unwrap();
        let release = async {
            // The other one asks before the first has its answer.
            tokio::task::yield_now().await;
            held.holds.store(false, Ordering::SeqCst);
            held.go.add_permits(1);
        };
        tokio::join!(biased; gateway.ask(&presented), release).0
    };
    let (_, late) = tokio::join!(gateway.ask(&presented), late);
    assert_eq!(late.0, "disabled");
}

#[tokio::test]
async fn an_answer_read_before_the_token_was_made_is_not_kept_after_it() {
    let (gateway, held) = held().await;
    let issued = gateway.desk.create(TokenKind::Bearer, "one").await;
    let presented = present(&issued);
    gateway.desk.sql("CREATE TABLE kept AS SELECT * FROM token; DELETE FROM token").await;
    let mut seen = Seen::default();
    gateway.watch().poll(&mut seen).await.unwrap();
    let others = async {
        held.read.acquire().await.unwrap().forget();
        gateway.desk.sql("INSERT INTO token SELECT * FROM kept").await;
        gateway.watch().poll(&mut seen).await.unwrap();
        held.holds.store(false, Ordering::SeqCst);
        held.go.add_permits(1);
    };
    let (first, ()) = tokio::join!(gateway.ask(&presented), others);
    assert_eq!(first, ("active", CacheResult::Miss));
    assert_eq!(gateway.ask(&presented).await, ("active", CacheResult::Hit));
}

#[tokio::test]
async fn a_look_up_that_is_dropped_half_way_keeps_nothing_old() {
    let (gateway, held) = held().await;
    let issued = gateway.desk.create(TokenKind::Bearer, "one").await;
    let presented = present(&issued);
    let mut seen = Seen::default();
    gateway.watch().poll(&mut seen).await.unwrap();
    {
        let leader = gateway.ask(&presented);
        let read = async { held.read.acquire().await.unwrap().forget() };
        tokio::select! {
            biased;
            answer = leader => panic!("{answer:?}"),
            () = read => {}
        }
    }
    gateway.desk.store.revoke(&issued.token.id, NOW).await.unwrap();
    gateway.watch().poll(&mut seen).await.unwrap();
    held.holds.store(false, Ordering::SeqCst);
    assert_eq!(gateway.ask(&presented).await, ("disabled", CacheResult::Miss));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_order_of_steps_keeps_a_revoked_token() {
    let (gateway, slow) = held().await;
    slow.holds.store(false, Ordering::SeqCst);
    let mut seen = Seen::default();
    gateway.watch().poll(&mut seen).await.unwrap();
    for round in 0..ROUNDS {
        let issued = gateway.desk.create(TokenKind::Bearer, &format!("number {round}")).await;
        let presented = present(&issued);
        if round % 2 == 0 {
            // So that the purge of the creation falls into the look-up too.
            gateway.watch().poll(&mut seen).await.unwrap();
        }
        // So that a look-up takes about as long as a revocation and a poll.
        slow.late.store(round as u64 % 4, Ordering::SeqCst);
        let mut askers = tokio::task::JoinSet::new();
        let stop = Arc::new(AtomicBool::new(false));
        for lead in [0, round % 7] {
            let (identities, presented) = (Arc::clone(&gateway.identities), presented.clone());
            let stop = Arc::clone(&stop);
            askers.spawn(async move {
                for _ in 0..lead {
                    tokio::task::yield_now().await;
                }
                while !stop.load(Ordering::SeqCst) {
                    identities.lookup(&presented, NOW).await;
                    tokio::task::yield_now().await;
                }
            });
        }
        for _ in 0..round % 11 {
            tokio::task::yield_now().await;
        }
        gateway.desk.store.revoke(&issued.token.id, NOW).await.unwrap();
        gateway.watch().poll(&mut seen).await.unwrap();
        // This one may have joined a question that was asked before.
        gateway.ask(&presented).await;
        // From here on, also for those who ask while others still do.
        assert_eq!(gateway.ask(&presented).await.0, "disabled", "{round}");
        stop.store(true, Ordering::SeqCst);
        askers.join_all().await;
        assert_eq!(gateway.ask(&presented).await.0, "disabled", "{round}");
    }
}
