//! Tokens in a SQLite file.
//!
//! Read-only connections answer questions, one connection writes (journal in WAL mode, so neither
//! waits for the other). The pools start no background work and keep no timers, so that they may be
//! used from several runtimes; a connection is a thread of sqlx's and not bound to any.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use super::super::schema::{self, Unusable};
use super::super::{IfMissing, OpenError};
use super::{Row, Value, query};
use crate::store::StoreError;

/// How many questions are answered at a time. Each takes microseconds and a thread.
const READERS: u32 = 3;
/// How long a writer waits for another process to finish writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a reader waits for a connection, and for a checkpoint that is in its way.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// How often opening is tried when another process opens the same new file.
const OPEN_ATTEMPTS: u32 = 50;
/// How long to wait in between: the switch to WAL does not heed the busy time-out.
const OPEN_PAUSE: Duration = Duration::from_millis(20);

/// A file that is open.
#[derive(Debug)]
pub(in super::super) struct Sqlite {
    path: PathBuf,
    /// Device and inode of the file that is open.
    file: (u64, u64),
    /// Whether another file, or none, stands at the path now.
    detached: AtomicBool,
    pub(in super::super) readers: SqlitePool,
    pub(in super::super) writer: SqlitePool,
}

impl Sqlite {
    /// Opens the file, brings its tables up to date, and checks that it is a token store.
    pub(in super::super) async fn open(path: &Path, missing: IfMissing) -> Result<Self, OpenError> {
        let path = path.to_owned();
        create_if_missing(&path, missing)?;
        let file =
            identity_of(&path).map_err(|source| OpenError::File { path: path.clone(), source })?;
        let writer = open_writer(&path).await?;
        let readers = pool(READERS, READ_TIMEOUT).connect_with(reading(&path)).await;
        let readers = readers.map_err(|error| OpenError::of_file(&path, error.into()))?;
        // All of them now: a later one would open whatever stands at the path by then.
        let mut all = Vec::new();
        for _ in 0..READERS {
            all.push(
                readers.acquire().await.map_err(|error| OpenError::of_file(&path, error.into()))?,
            );
        }
        drop(all);
        Ok(Self { path, file, detached: AtomicBool::new(false), readers, writer })
    }

    /// Finds out whether [`open`](Self::open) would work, and changes nothing.
    pub(in super::super) async fn inspect(path: &Path) -> Result<(), OpenError> {
        create_if_missing(path, IfMissing::Fail)?;
        // SQLite would take a file that it may not write, and fail at the first change.
        let appended = OpenOptions::new().append(true).open(path);
        appended.map_err(|source| OpenError::File { path: path.to_owned(), source })?;
        examine(path).await.map_err(|unusable| OpenError::of_file(path, unusable))
    }

    /// The file.
    pub(in super::super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) async fn fetch(
        &self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, StoreError> {
        if self.detached.load(Ordering::Relaxed) {
            return Err(self.replaced());
        }
        let rows = query!(sql, values).fetch_all(&self.readers).await;
        let rows = rows.map_err(StoreError::unavailable)?;
        Ok(rows.into_iter().map(|row| Box::new(row) as Row).collect())
    }

    pub(super) async fn write(
        &self,
        sql: &'static str,
        values: Vec<Vec<Value>>,
    ) -> sqlx::Result<u64> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let mut changed = 0;
        for values in values {
            changed += query!(sql, values).execute(&mut *transaction).await?.rows_affected();
        }
        transaction.commit().await?;
        Ok(changed)
    }

    pub(super) async fn steps(&self, steps: Vec<(&'static str, Vec<Value>)>) -> sqlx::Result<bool> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        for (sql, values) in steps {
            if query!(sql, values).execute(&mut *transaction).await?.rows_affected() != 1 {
                transaction.rollback().await?;
                return Ok(false);
            }
        }
        transaction.commit().await?;
        Ok(true)
    }

    pub(super) async fn rewrite(
        &self,
        read: &'static str,
        which: String,
        change: impl FnOnce(Vec<Row>) -> sqlx::Result<String> + Send,
        write: &'static str,
    ) -> sqlx::Result<()> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let rows = sqlx::query(read).bind(which).fetch_all(&mut *transaction).await?;
        let rows = rows.into_iter().map(|row| Box::new(row) as Row).collect();
        sqlx::query(write).bind(change(rows)?).execute(&mut *transaction).await?;
        transaction.commit().await
    }

    /// Closes all connections, so that the journal is merged into the file.
    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Whether the path still names the file that is open. If it does not, changes that others
    /// make are not seen here, and nothing that this file says can be relied on.
    pub(in super::super) async fn check_file(&self) -> Result<(), StoreError> {
        let now = tokio::fs::metadata(&self.path).await.map(|file| (file.dev(), file.ino()));
        let detached = !now.is_ok_and(|now| now == self.file);
        self.detached.store(detached, Ordering::Relaxed);
        if detached { Err(self.replaced()) } else { Ok(()) }
    }

    fn replaced(&self) -> StoreError {
        let path = self.path.display();
        StoreError::unavailable(format!(
            "the file `{path}` was replaced or removed while it was open; restart portcullis"
        ))
    }
}

fn pool(connections: u32, timeout: Duration) -> SqlitePoolOptions {
    // Without lifetimes there is no task that watches them, and so none that would be tied to
    // the runtime that happened to open the store.
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(timeout)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

/// SQLite would create the file readable for all.
fn create_if_missing(path: &Path, missing: IfMissing) -> Result<(), OpenError> {
    if path.parent().is_some_and(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        return Err(OpenError::NoFolder(path.to_owned()));
    }
    match missing {
        IfMissing::Fail if !path.exists() => return Err(OpenError::NoFile(path.to_owned())),
        IfMissing::Fail => return Ok(()),
        IfMissing::Create => {}
    }
    // Only ever opens a new file: closing one that SQLite has open in this process would drop
    // SQLite's locks on it (https://www.sqlite.org/howtocorrupt.html, section 2.2).
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match created {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(OpenError::File { path: path.to_owned(), source }),
    }
}

fn identity_of(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

fn reading(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(READ_TIMEOUT)
        .disable_statement_logging()
}

/// Whether the file is a store of ours, or empty. Nothing in it changes.
async fn examine(path: &Path) -> Result<(), Unusable> {
    let reader = pool(1, READ_TIMEOUT).connect_with(reading(path)).await?;
    let usable = schema::examine_sqlite(&reader).await;
    reader.close().await;
    usable
}

async fn open_writer(path: &Path) -> Result<SqlitePool, OpenError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        // A revocation that was reported as done must survive a power cut, and writes are rare.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    let mut attempt = 0;
    loop {
        attempt += 1;
        let open = async {
            // Before the journal of a file is switched, that is another program's.
            examine(path).await?;
            let writer = pool(1, BUSY_TIMEOUT).connect_with(options.clone()).await?;
            schema::prepare_sqlite(&writer).await.map(|()| writer)
        };
        match open.await {
            Ok(writer) => return Ok(writer),
            Err(Unusable::Busy(_)) if attempt < OPEN_ATTEMPTS => {
                tokio::time::sleep(OPEN_PAUSE).await;
            }
            Err(unusable) => return Err(OpenError::of_file(path, unusable)),
        }
    }
}
