//! The background work of a store of the gateway's own: forgetting what others changed, keeping up
//! with the block list, and writing down what was used.
//!
//! **Invariant:** it never ends by itself. When the store can't be read it says so once and keeps
//! trying; until then the lifetimes of the cache bound how long a revoked token lives.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::admin::stored;
use super::database::{Cells, Database};
use super::{PortcullisStore, Used};
use crate::clock::{Clock, Timestamp};
use crate::policy::credential::Digest;
use crate::store::cache::Identities;
use crate::store::postgres::{Ears, Heard, Listener, Locate};
use crate::store::{Chain, Observer, StoreError, TokenStore as _};

/// How often changes are looked for in a file: an indexed look-up of microseconds.
const POLL: Duration = Duration::from_millis(250);
/// How often in a database that is asked over the network.
const POLL_SERVER: Duration = Duration::from_secs(1);
/// How many changes are taken at a time.
const BATCH: i64 = 1000;
/// How often what was used is written down.
const FLUSH: Duration = Duration::from_secs(5);
/// What a database notifies of when a token was changed.
const CHANNEL: &str = "portcullis_change";
/// How long to wait after a notification before the next look: a burst of them is one look.
const CALM: Duration = Duration::from_millis(20);

/// The first and the last revision in the log; zeros when it is empty. Two sub-selects, because SQLite
/// answers only a lone min or max from the index.
const REVISIONS: &str = "SELECT coalesce((SELECT min(revision) FROM change), 0) AS first, \
    coalesce((SELECT max(revision) FROM change), 0) AS last";
const CHANGES: &str = "SELECT revision, digest, revoked_at FROM change WHERE revision > $1 \
    ORDER BY revision LIMIT $2";
const USED: &str = "UPDATE token SET last_used_at = $1 \
    WHERE id = $2 AND (last_used_at IS NULL OR last_used_at < $1)";
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
    listener: Option<Listener>,
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
        Self { index, store, identities, clock, observer, listener: None }
    }

    /// That looks as soon as the database notifies of a change, over a connection that does not go
    /// through a pooler.
    #[must_use]
    pub fn listening(self, locate: Locate) -> Self {
        let listener = Listener::new(self.store.name(), CHANNEL, locate);
        Self { listener: Some(listener), ..self }
    }

    /// Reads the block list, without which nobody is let in.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn load(&self) -> Result<(), StoreError> {
        self.identities.block(self.index, self.store.blocked().await?);
        Ok(())
    }

    /// Works until `shutdown` turns true or its sender is gone, and writes down what was used.
    pub async fn run(mut self, mut shutdown: tokio::sync::watch::Receiver<bool>) {
        let mut ears = self.listener.take().map(Listener::start);
        let mut tick = tokio::time::interval(match self.store.database {
            Database::Sqlite(_) => POLL,
            Database::Postgres(_) => POLL_SERVER,
        });
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut flush = tokio::time::interval(FLUSH);
        flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut seen, mut due) = (None, false);
        let (mut deaf, mut unwritten) = (false, false);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = notified(&mut ears) => {}
                _ = flush.tick() => due = true,
                _ = shutdown.wait_for(|stop| *stop) => break,
            }
            if std::mem::take(&mut due) {
                let flushed = self.flush().await;
                self.log(UNWRITTEN, &mut unwritten, flushed);
            }
            let polled = bounded(self.poll(&mut seen)).await;
            if self.log(DEAF, &mut deaf, polled) {
                self.observer.watched(self.index, !deaf);
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
        self.store.database.check().await?;
        let (first, last) = self.store.revisions().await?;
        match *seen {
            Some(revision) if revision == last => Ok(()),
            // Changes between these two were cut off, or the file has an older content: what they
            // were is not known.
            Some(revision) if revision < last && first <= revision + 1 => {
                self.catch_up(seen, revision).await
            }
            Some(_) | None => {
                self.load().await?;
                self.identities.purge_store(self.store.name()).await;
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
            if changes.iter().any(|change| change.what == What::BlockList) {
                self.load().await?;
            }
            for change in &changes {
                match &change.what {
                    What::Token(digest) => self.identities.purge(digest).await,
                    What::BlockList => {}
                    What::Unreadable => {
                        self.identities.purge_store(self.store.name()).await;
                    }
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

/// Waits for a notification; for ever, where nobody listens.
async fn notified(ears: &mut Option<Ears>) {
    let Some(Ears { heard, .. }) = ears else { return std::future::pending().await };
    match heard.recv().await {
        Some(Heard::Connected | Heard::Message(_)) => {
            tokio::time::sleep(CALM).await;
            // The log has them all.
            while heard.try_recv().is_ok() {}
        }
        Some(Heard::Lost) => {}
        None => *ears = None,
    }
}

/// A token was created, changed or removed, or the block list was.
struct Change {
    revision: i64,
    what: What,
    /// Set when this change was its revocation.
    revoked_at: Option<Timestamp>,
}

#[derive(PartialEq, Eq)]
enum What {
    Token(Digest),
    BlockList,
    Unreadable,
}

impl Change {
    fn read(row: &dyn Cells) -> sqlx::Result<Self> {
        let digest = row.bytes("digest")?;
        let what = match <[u8; 32]>::try_from(digest.as_slice()) {
            Ok(digest) => What::Token(Digest::from_bytes(digest)),
            Err(_) if digest.is_empty() => What::BlockList,
            Err(_) => What::Unreadable,
        };
        let revoked_at = row.maybe_integer("revoked_at")?.and_then(|at| u64::try_from(at).ok());
        let revision = row.integer("revision")?;
        Ok(Self { revision, what, revoked_at: revoked_at.map(Timestamp::from_millis) })
    }
}

impl PortcullisStore {
    async fn revisions(&self) -> Result<(i64, i64), StoreError> {
        let rows = self.database.fetch(REVISIONS, Vec::new()).await?;
        let row = rows.first().ok_or_else(|| StoreError::unavailable(sqlx::Error::RowNotFound))?;
        let read = || Ok((row.integer("first")?, row.integer("last")?));
        read().map_err(|error: sqlx::Error| StoreError::unavailable(error))
    }

    async fn changes_after(&self, revision: i64) -> Result<Vec<Change>, StoreError> {
        let rows = self.database.fetch(CHANGES, vec![revision.into(), BATCH.into()]).await?;
        let changes: sqlx::Result<_> = rows.iter().map(|row| Change::read(&**row)).collect();
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
        let at = |at| stored(at).unwrap_or(i64::MAX);
        let values = due.iter().map(|(id, used)| vec![at(*used).into(), (**id).into()]).collect();
        self.database.write(USED, values).await.map_err(StoreError::unavailable)?;
        let mut used = self.used();
        for (id, at) in due {
            if let Some(used) = used.get_mut(&id) {
                used.flushed = Some(at);
            }
        }
        Ok(())
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
