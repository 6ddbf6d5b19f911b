//! The background work of the embedded store: forgetting what others changed, and writing down
//! what was used.
//!
//! **Invariant:** it never ends by itself. When the store can't be read it says so once and keeps
//! trying; until then the lifetimes of the cache bound how long a revoked token lives.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use tokio::time::MissedTickBehavior;

use super::{PortcullisStore, Used};
use crate::clock::{Clock, Timestamp};
use crate::policy::credential::Digest;
use crate::store::cache::Identities;
use crate::store::{Chain, Observer, StoreError, TokenStore as _};

/// How often changes are looked for: an indexed look-up of microseconds.
const POLL: Duration = Duration::from_millis(250);
/// How many changes are taken at a time.
const BATCH: i64 = 1000;
/// How many polls there are between two writings of what was used.
const FLUSH_EVERY: u32 = 20;
/// What is wrong while changes can't be read.
const DEAF: &str = "changes of tokens can't be read; a revocation may take as long as the cache keeps \
    a token";
/// What is wrong while uses can't be written.
const UNWRITTEN: &str = "the last uses of tokens can't be written";
/// How long one step may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// Carries the changes of one store to one cache.
#[derive(Debug)]
pub struct Watch {
    /// The place of the store in the configured order.
    index: usize,
    store: Arc<PortcullisStore>,
    identities: Arc<Identities>,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
}

impl Watch {
    /// Between `store`, at the place `index`, and the cache before it.
    pub fn new(
        index: usize,
        store: Arc<PortcullisStore>,
        identities: Arc<Identities>,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self { index, store, identities, clock, observer }
    }

    /// Works until `shutdown` turns true or its sender is gone, and writes down what was used.
    pub async fn run(self: Arc<Self>, mut shutdown: tokio::sync::watch::Receiver<bool>) {
        let mut tick = tokio::time::interval(POLL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut seen, mut polls) = (None, 0_u32);
        let (mut deaf, mut unwritten) = (false, false);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                _ = shutdown.wait_for(|stop| *stop) => break,
            }
            let polled = bounded(self.poll(&mut seen)).await;
            if self.log(DEAF, &mut deaf, polled) {
                self.observer.watched(self.index, !deaf);
            }
            polls = polls.wrapping_add(1);
            if polls.is_multiple_of(FLUSH_EVERY) {
                let flushed = self.flush().await;
                self.log(UNWRITTEN, &mut unwritten, flushed);
            }
        }
        let flushed = self.flush().await;
        self.log(UNWRITTEN, &mut unwritten, flushed);
    }

    /// Logs the beginning and the end of an outage, and says whether it was one of these.
    fn log(&self, what: &'static str, down: &mut bool, outcome: Result<(), StoreError>) -> bool {
        let store = self.store.name();
        match outcome {
            Ok(()) if *down => tracing::info!(store, "over: {what}"),
            Err(error) if !*down => tracing::error!(store, error = %Chain(&error), "{what}"),
            Ok(()) | Err(_) => return false,
        }
        *down = !*down;
        true
    }

    /// Forgets what changed since the revision that was `seen` last.
    async fn poll(&self, seen: &mut Option<i64>) -> Result<(), StoreError> {
        self.store.check_file().await?;
        let (first, last) = self.store.revisions().await?;
        match *seen {
            Some(revision) if revision == last => Ok(()),
            // Changes between these two were cut off, or the file has an older content: what they
            // were is not known.
            Some(revision) if revision < last && first <= revision + 1 => {
                self.catch_up(seen, revision).await
            }
            Some(_) | None => {
                self.identities.purge_all();
                *seen = Some(last);
                Ok(())
            }
        }
    }

    async fn catch_up(&self, seen: &mut Option<i64>, mut revision: i64) -> Result<(), StoreError> {
        loop {
            let changes = self.store.changes_after(revision).await?;
            let Some(last) = changes.last() else { return Ok(()) };
            revision = last.revision;
            for change in &changes {
                match &change.digest {
                    Some(digest) => self.identities.purge(digest).await,
                    None => self.identities.purge_all(),
                }
            }
            let now = self.clock.now().as_millis();
            for revoked_at in changes.iter().filter_map(|change| change.revoked_at) {
                let lag = now.saturating_sub(revoked_at.as_millis());
                self.observer.revocation_lag(Duration::from_millis(lag));
            }
            *seen = Some(revision);
        }
    }

    async fn flush(&self) -> Result<(), StoreError> {
        bounded(self.store.flush_usage()).await
    }
}

/// A step that hangs must not end the watch.
async fn bounded(step: impl Future<Output = Result<(), StoreError>>) -> Result<(), StoreError> {
    let outcome = tokio::time::timeout(STEP_TIMEOUT, step).await;
    outcome.unwrap_or(Err(StoreError::Timeout(STEP_TIMEOUT)))
}

/// A token was created, changed or removed.
struct Change {
    revision: i64,
    /// `None` when what is in the log is not a digest.
    digest: Option<Digest>,
    /// Set when this change was its revocation.
    revoked_at: Option<Timestamp>,
}

impl Change {
    fn read(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let digest: Vec<u8> = row.try_get("digest")?;
        let revoked_at: Option<i64> = row.try_get("revoked_at")?;
        Ok(Self {
            revision: row.try_get("revision")?,
            digest: <[u8; 32]>::try_from(digest).ok().map(Digest::from_bytes),
            revoked_at: revoked_at
                .and_then(|at| u64::try_from(at).ok())
                .map(Timestamp::from_millis),
        })
    }
}

impl PortcullisStore {
    /// The first and the last revision in the log; zeros when it is empty.
    async fn revisions(&self) -> Result<(i64, i64), StoreError> {
        // Two sub-selects, because SQLite answers only a lone min or max from the index.
        sqlx::query_as(
            "SELECT coalesce((SELECT min(revision) FROM change), 0), \
             coalesce((SELECT max(revision) FROM change), 0)",
        )
        .fetch_one(&self.readers)
        .await
        .map_err(StoreError::unavailable)
    }

    async fn changes_after(&self, revision: i64) -> Result<Vec<Change>, StoreError> {
        let rows = sqlx::query(
            "SELECT revision, digest, revoked_at FROM change WHERE revision > ? \
             ORDER BY revision LIMIT ?",
        )
        .bind(revision)
        .bind(BATCH)
        .fetch_all(&self.readers)
        .await
        .map_err(StoreError::unavailable)?;
        let changes: Result<Vec<_>, _> = rows.iter().map(Change::read).collect();
        changes.map_err(StoreError::unavailable)
    }

    /// Writes down when tokens were last used, and drops the handles that nobody holds any more.
    async fn flush_usage(&self) -> Result<(), StoreError> {
        let due: Vec<(Box<str>, Timestamp)> = {
            let mut used = self.used();
            used.retain(|_, used| used.is_due() || !used.usage.is_last_handle());
            let due = used.iter().filter(|(_, used)| used.is_due());
            due.filter_map(|(id, used)| Some((id.clone(), used.usage.last()?))).collect()
        };
        if due.is_empty() {
            return Ok(());
        }
        self.write_usage(&due).await.map_err(StoreError::unavailable)?;
        let mut used = self.used();
        for (id, at) in due {
            if let Some(used) = used.get_mut(&id) {
                used.flushed = Some(at);
            }
        }
        Ok(())
    }

    async fn write_usage(&self, due: &[(Box<str>, Timestamp)]) -> Result<(), sqlx::Error> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        for (id, at) in due {
            sqlx::query(
                "UPDATE token SET last_used_at = ?1 \
                 WHERE id = ?2 AND (last_used_at IS NULL OR last_used_at < ?1)",
            )
            .bind(i64::try_from(at.as_millis()).unwrap_or(i64::MAX))
            .bind(&**id)
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await
    }
}

impl Used {
    /// Whether it was used since it was written down.
    fn is_due(&self) -> bool {
        self.usage.last() > self.flushed
    }
}

#[cfg(test)]
mod tests;
