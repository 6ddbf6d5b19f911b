//! The embedded token store: tokens that the gateway issues, in one SQLite file.
//!
//! Read-only connections answer questions, one connection writes (journal in WAL mode, so neither
//! waits for the other). Other processes may open the same file, as `portcullis token` does; the
//! [watch] sees what they change.
//!
//! **Invariants:** the file holds digests, never a secret; a row that can't be read is an error,
//! never a token that may more than was written. Every text of SQL is a literal.

pub mod admin;
mod location;
mod new_token;
mod row;
mod schema;
pub mod watch;

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::ConnectOptions as _;
use sqlx::migrate::MigrateError;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

pub use self::location::{BadLocation, StoreLocation};
pub use self::row::{Token, TokenKind};
use super::{Found, StoreError, TokenStore, Usage};
use crate::policy::credential::Credential;
use crate::policy::identity::KindSet;
use schema::Unusable;

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

/// What to do when there is no file yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfMissing {
    /// Create it, readable for its owner only.
    Create,
    /// Refuse.
    Fail,
}

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its folder is missing.
    #[error(
        "the folder of the token store `{0}` does not exist; create it, or correct the store's `url`"
    )]
    NoFolder(PathBuf),
    /// The file is missing.
    #[error("there is no token store at `{0}`; create a token first, or correct the store's `url`")]
    NoFile(PathBuf),
    /// The file can't be created or looked at.
    #[error("the token store `{path}` can't be opened; check its owner and its permissions")]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// SQLite can't open it, or can't bring its tables up to date.
    #[error(
        "the token store `{path}` can't be opened; check its owner, its permissions and its disk"
    )]
    Database {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file is something else.
    #[error("`{0}` is not a token store; name another file in the store's `url`")]
    NotAStore(PathBuf),
    /// A newer version of this program wrote it.
    #[error(
        "the token store `{path}` has schema version {version}, which this version of portcullis does \
         not know; run the version that wrote it, or a newer one"
    )]
    Newer {
        /// Where.
        path: PathBuf,
        /// The version that is not known here.
        version: i64,
    },
}

/// The name of a store that has no other.
const DEFAULT_NAME: &str = "portcullis";

/// An open token store.
pub struct PortcullisStore {
    name: Box<str>,
    path: PathBuf,
    /// Device and inode of the file that is open.
    file: (u64, u64),
    /// Whether another file, or none, stands at the path now.
    detached: AtomicBool,
    readers: SqlitePool,
    writer: SqlitePool,
    used: Mutex<HashMap<Box<str>, Used>>,
}

/// When a token was last used, and what of it is in the file.
#[derive(Debug, Default)]
struct Used {
    usage: Usage,
    flushed: Option<crate::clock::Timestamp>,
}

impl PortcullisStore {
    /// Opens the store, brings its tables up to date, and checks that it is one.
    ///
    /// The pools start no background work and keep no timers, so that they may be used from
    /// several runtimes; a connection is a thread of sqlx's and not bound to any.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(location: &StoreLocation, missing: IfMissing) -> Result<Self, OpenError> {
        let path = location.path().to_owned();
        create_if_missing(&path, missing)?;
        let file =
            identity_of(&path).map_err(|source| OpenError::File { path: path.clone(), source })?;
        let writer = open_writer(&path).await?;
        let readers = pool(READERS, READ_TIMEOUT).connect_with(reading(&path)).await;
        let readers = readers.map_err(|error| database(&path, error))?;
        // All of them now: a later one would open whatever stands at the path by then.
        let mut all = Vec::new();
        for _ in 0..READERS {
            all.push(readers.acquire().await.map_err(|error| database(&path, error))?);
        }
        drop(all);
        let (detached, used) = (AtomicBool::new(false), Mutex::default());
        let name = DEFAULT_NAME.into();
        Ok(Self { name, path, file, detached, readers, writer, used })
    }

    /// With the name that logs and metrics have for it.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Finds out whether [`open`](Self::open) would work, and changes nothing.
    ///
    /// # Errors
    /// What opening it would say; [`OpenError::NoFile`] where there is none yet.
    pub async fn inspect(location: &StoreLocation) -> Result<(), OpenError> {
        let path = location.path();
        create_if_missing(path, IfMissing::Fail)?;
        // SQLite would take a file that it may not write, and fail at the first change.
        let appended = OpenOptions::new().append(true).open(path);
        appended.map_err(|source| OpenError::File { path: path.to_owned(), source })?;
        examine(path).await.map_err(|unusable| refused(path, unusable))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes all connections, so that the journal is merged into the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Whether the path still names the file that is open. If it does not, changes that others
    /// make are not seen here, and nothing that this file says can be relied on.
    async fn check_file(&self) -> Result<(), StoreError> {
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

    /// The handle that marks uses of this token.
    fn usage_of(&self, id: &str) -> Usage {
        let mut used = self.used();
        match used.get(id) {
            Some(used) => used.usage.clone(),
            None => used.entry(id.into()).or_default().usage.clone(),
        }
    }

    fn used(&self) -> MutexGuard<'_, HashMap<Box<str>, Used>> {
        // The map is whole after a panic too: each entry is written in one step.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for PortcullisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortcullisStore").field("path", &self.path).finish_non_exhaustive()
    }
}

#[async_trait]
impl TokenStore for PortcullisStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn takes(&self) -> KindSet {
        TokenKind::ALL.iter().map(|kind| kind.identity()).collect()
    }

    async fn find(&self, presented: &Credential) -> Result<Option<Found>, StoreError> {
        if self.detached.load(Ordering::Relaxed) {
            return Err(self.replaced());
        }
        let rows = sqlx::query(row::BY_DIGEST)
            .bind(presented.digest.as_bytes().as_slice())
            .fetch_all(&self.readers)
            .await
            .map_err(StoreError::unavailable)?;
        for row in &rows {
            let token = Token::read(row)?;
            if presented.kinds.contains(token.kind.identity()) {
                let usage = Some(self.usage_of(&token.id));
                return Ok(Some(Found { identity: token.identity().into(), usage }));
            }
        }
        Ok(None)
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
    let usable = schema::examine(&reader).await;
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
            schema::prepare(&writer).await.map(|()| writer)
        };
        match open.await {
            Ok(writer) => return Ok(writer),
            Err(Unusable::Busy(_)) if attempt < OPEN_ATTEMPTS => {
                tokio::time::sleep(OPEN_PAUSE).await;
            }
            Err(unusable) => return Err(refused(path, unusable)),
        }
    }
}

fn refused(path: &Path, unusable: Unusable) -> OpenError {
    match unusable {
        Unusable::Failed(MigrateError::VersionMissing(version)) => {
            OpenError::Newer { path: path.to_owned(), version }
        }
        Unusable::Foreign | Unusable::NotADatabase => OpenError::NotAStore(path.to_owned()),
        Unusable::Failed(error) => database(path, error),
        Unusable::Busy(error) => database(path, error),
    }
}

fn database(path: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> OpenError {
    OpenError::Database { path: path.to_owned(), source: source.into() }
}

#[cfg(test)]
mod tests;
