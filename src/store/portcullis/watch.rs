//! The background work of a store of the gateway's own: forgetting what others changed, keeping up
//! with the block list, and writing down what was used.
//!
//! **Invariant:** it never ends by itself. When the store can't be read it says so once and keeps
//! trying; until then the lifetimes of the cache bound how long a revoked token lives.

use std::sync::Arc;
use std::time::Duration;

use super::PortcullisStore;
use super::database::{Cells, Database};
use crate::clock::{Clock, Timestamp};
use crate::policy::credential::Digest;
use crate::store::cache::Identities;
use crate::store::postgres::{Ears, Heard, Listener, Locate};
use crate::store::{Chain, Observer, Shutdown, StoreError, TokenStore as _, every};

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

/// The first and the last revision in the log, zeros when it is empty, and what a revision was. Two
/// sub-selects, because SQLite answers only a lone min or max from the index.
const LOG: &str = "SELECT coalesce((SELECT min(revision) FROM change), 0) AS first, \
    coalesce((SELECT max(revision) FROM change), 0) AS last, \
    (SELECT digest FROM change WHERE revision = $1) AS digest, \
    (SELECT revoked_at FROM change WHERE revision = $1) AS revoked_at";
const CHANGES: &str = "SELECT revision, digest, revoked_at FROM change WHERE revision > $1 \
    ORDER BY revision LIMIT $2";
/// What is wrong while changes can't be read.
const DEAF: &str = "changes of tokens can't be read; a revocation may take as long as the cache keeps \
    a token";
/// What is wrong while uses can't be written.
const UNWRITTEN: &str = "uses of tokens can't be written; they are kept until they can";
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

    /// Reads the block list, without which nobody is let in, and the list of canaries.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn load(&self) -> Result<(), StoreError> {
        self.identities.block(self.index, self.store.blocked().await?);
        self.load_canaries().await
    }

    /// Reads which tokens are canaries.
    async fn load_canaries(&self) -> Result<(), StoreError> {
        self.identities.set_canaries(self.index, self.store.canaries().await?);
        Ok(())
    }

    /// Works until `shutdown` turns true or its sender is gone, and writes down what was used.
    pub async fn run(mut self, shutdown: Shutdown) {
        let ears = self.listener.take().map(Listener::start);
        // Beside each other: a revocation does not wait for uses to be written.
        tokio::join!(self.follow(ears, shutdown.clone()), self.record(shutdown));
    }

    async fn follow(&self, mut ears: Option<Ears>, mut shutdown: Shutdown) {
        let mut tick = every(match self.store.database {
            Database::Sqlite(_) => POLL,
            Database::Postgres(_) => POLL_SERVER,
        });
        let (mut seen, mut deaf) = (Seen::default(), false);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = notified(&mut ears) => {}
                _ = shutdown.wait_for(|stop| *stop) => return,
            }
            let polled = bounded(self.poll(&mut seen)).await;
            if self.log(DEAF, &mut deaf, polled) {
                self.observer.watched(self.index, !deaf);
            }
        }
    }

    async fn record(&self, mut shutdown: Shutdown) {
        let (mut tick, mut unwritten, mut stop) = (every(FLUSH), false, false);
        while !stop {
            stop = tokio::select! {
                _ = tick.tick() => false,
                _ = shutdown.wait_for(|stop| *stop) => true,
            };
            let written = bounded(self.store.flush_usage()).await;
            if !matches!(written, Ok(0)) {
                self.observer.uses_written(self.index, written.is_ok());
            }
            self.log(UNWRITTEN, &mut unwritten, written.map(|_| ()));
        }
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

    /// Forgets what changed since what was `seen` last.
    async fn poll(&self, seen: &mut Seen) -> Result<(), StoreError> {
        self.store.database.check().await?;
        let log = self.store.log(seen.revision.unwrap_or(0)).await?;
        let same = seen.mark.is_none() || seen.mark == log.mark;
        let mut revoked = Vec::new();
        match seen.revision {
            Some(revision) if same && revision == log.last => seen.mark = log.mark,
            Some(revision) if same && revision < log.last && log.first <= revision + 1 => {
                revoked = self.catch_up(seen, revision).await?;
            }
            // Changes between these two were cut off, or the store has an older content: what they
            // were is not known.
            Some(_) | None => {
                self.identities.purge_store(self.store.name()).await;
                let (revision, canaries_due) = (Some(log.last), false);
                // Both lists.
                *seen = Seen { revision, mark: None, blocks_due: true, canaries_due };
            }
        }
        // Last, and again until it succeeds: a list that can't be read holds up no revocation.
        let loaded = if seen.blocks_due {
            self.load().await
        } else if seen.canaries_due {
            self.load_canaries().await
        } else {
            Ok(())
        };
        seen.blocks_due &= loaded.is_err();
        seen.canaries_due &= loaded.is_err();
        let now = self.clock.now().as_millis();
        for at in revoked {
            self.observer.revocation_lag(Duration::from_millis(now.saturating_sub(at.as_millis())));
        }
        loaded
    }

    /// Forgets what changed since a revision, and says when revocations among that were made.
    async fn catch_up(
        &self,
        seen: &mut Seen,
        mut revision: i64,
    ) -> Result<Vec<Timestamp>, StoreError> {
        let mut revoked = Vec::new();
        loop {
            let changes = self.store.changes_after(revision).await?;
            let Some(last) = changes.last() else { return Ok(revoked) };
            revision = last.revision;
            for change in &changes {
                match change.what() {
                    What::Token(digest) => {
                        self.identities.purge(&digest).await;
                        seen.canaries_due = true;
                    }
                    What::BlockList => seen.blocks_due = true,
                    What::Unreadable => {
                        seen.canaries_due = true;
                        self.identities.purge_store(self.store.name()).await;
                    }
                }
            }
            revoked.extend(changes.iter().filter_map(Change::revoked_at));
            (seen.revision, seen.mark) = (Some(revision), Some(last.mark.clone()));
        }
    }
}

/// How far the log was read.
#[derive(Debug, Default)]
struct Seen {
    revision: Option<i64>,
    /// What that revision was. An older copy of the store counts on to the same revision, of something
    /// else.
    mark: Option<Mark>,
    /// Whether the block list was changed since it was read.
    blocks_due: bool,
    /// Whether a token was, which may be a canary.
    canaries_due: bool,
}

/// What tells a change from another of the same revision.
type Mark = (Vec<u8>, Option<i64>);

/// A step that hangs must not end the watch.
async fn bounded<T>(step: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
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

/// What the log has.
struct Log {
    first: i64,
    last: i64,
    /// Of the revision that was asked for.
    mark: Option<Mark>,
}

/// A token was created, changed or removed, or the block list was.
struct Change {
    revision: i64,
    /// The digest, and if this change was a revocation, when.
    mark: Mark,
}

#[derive(PartialEq, Eq)]
enum What {
    Token(Digest),
    BlockList,
    Unreadable,
}

impl Change {
    fn read(row: &dyn Cells) -> sqlx::Result<Self> {
        let mark = (row.bytes("digest")?, row.maybe_integer("revoked_at")?);
        Ok(Self { revision: row.integer("revision")?, mark })
    }

    fn what(&self) -> What {
        let (digest, _) = &self.mark;
        match <[u8; 32]>::try_from(digest.as_slice()) {
            Ok(digest) => What::Token(Digest::from_bytes(digest)),
            Err(_) if digest.is_empty() => What::BlockList,
            Err(_) => What::Unreadable,
        }
    }

    fn revoked_at(&self) -> Option<Timestamp> {
        self.mark.1.and_then(|at| u64::try_from(at).ok()).map(Timestamp::from_millis)
    }
}

impl PortcullisStore {
    async fn log(&self, revision: i64) -> Result<Log, StoreError> {
        let rows = self.database.fetch(LOG, vec![revision.into()]).await?;
        let row = rows.first().ok_or_else(|| StoreError::unavailable(sqlx::Error::RowNotFound))?;
        let read = || {
            let revoked_at = row.maybe_integer("revoked_at")?;
            let mark = row.maybe_bytes("digest")?.map(|digest| (digest, revoked_at));
            Ok(Log { first: row.integer("first")?, last: row.integer("last")?, mark })
        };
        read().map_err(|error: sqlx::Error| StoreError::unavailable(error))
    }

    async fn changes_after(&self, revision: i64) -> Result<Vec<Change>, StoreError> {
        let rows = self.database.fetch(CHANGES, vec![revision.into(), BATCH.into()]).await?;
        let changes: sqlx::Result<_> = rows.iter().map(|row| Change::read(&**row)).collect();
        changes.map_err(StoreError::unavailable)
    }
}

#[cfg(test)]
mod tests;
