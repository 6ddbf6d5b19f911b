//! Tokens that the gateway issues, in one SQLite file, or in a PostgreSQL that a fleet shares.
//!
//! Other processes may open the same store, as `portcullis token` does; the [watch] sees what they
//! change.
//!
//! **Invariants:** the store holds digests, never a secret; a row that can't be read is an error,
//! never a token that may more than was written.

pub mod admin;
pub mod block;
mod database;
mod location;
mod new_token;
mod open_error;
mod row;
mod schema;
pub mod watch;

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

pub use self::location::{BadLocation, StoreLocation};
pub use self::open_error::OpenError;
pub use self::row::{Token, TokenKind};
use super::postgres::{Address, Locate, Pool};
use super::{Found, StoreError, TokenStore, Usage};
use crate::policy::credential::Presented;
use crate::policy::identity::KindSet;
use database::{Database, Postgres, Sqlite};

/// What to do when there is no file yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfMissing {
    /// Create it, readable for its owner only.
    Create,
    /// Refuse.
    Fail,
}

/// The name of a store that has no other.
const DEFAULT_NAME: &str = "portcullis";

/// A token store of the gateway's own.
#[derive(Debug)]
pub struct PortcullisStore {
    name: Box<str>,
    database: Database,
    used: Mutex<HashMap<Box<str>, Used>>,
}

/// When a token was last used, and what of it is in the store.
#[derive(Debug, Default)]
struct Used {
    usage: Usage,
    flushed: Option<crate::clock::Timestamp>,
}

impl PortcullisStore {
    /// Opens the store in a file, brings its tables up to date, and checks that it is one.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(location: &StoreLocation, missing: IfMissing) -> Result<Self, OpenError> {
        let sqlite = Sqlite::open(location.path(), missing).await?;
        Ok(Self::over(Database::Sqlite(sqlite)))
    }

    /// The store in a database, asked over at most `connections`, in the runtime that this is called
    /// in. It is opened by [`prepare`](TokenStore::prepare).
    pub fn at(address: Address, connections: u32, locate: Locate) -> Self {
        let place = address.to_string();
        let pool = Pool::new(address, connections, locate);
        Self::over(Database::Postgres(Postgres::new(pool, place)))
    }

    fn over(database: Database) -> Self {
        Self { name: DEFAULT_NAME.into(), database, used: Mutex::default() }
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
        Sqlite::inspect(location.path()).await
    }

    /// Finds out whether [`prepare`](TokenStore::prepare) would work, and changes nothing.
    ///
    /// # Errors
    /// What that would say; [`OpenError::Empty`] where there are no tables yet.
    pub async fn examine(&self) -> Result<(), OpenError> {
        match &self.database {
            Database::Sqlite(_) => Ok(()),
            Database::Postgres(postgres) => postgres.prepare(false).await,
        }
    }

    /// The file, if it is in one.
    pub fn path(&self) -> Option<&Path> {
        match &self.database {
            Database::Sqlite(sqlite) => Some(sqlite.path()),
            Database::Postgres(_) => None,
        }
    }

    /// Closes all connections, so that the journal of a file is merged into it.
    pub async fn close(&self) {
        self.database.close().await;
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

#[async_trait]
impl TokenStore for PortcullisStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn takes(&self) -> KindSet {
        TokenKind::identities()
    }

    fn has_block_list(&self) -> bool {
        true
    }

    async fn prepare(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        match &self.database {
            Database::Sqlite(_) => Ok(()),
            Database::Postgres(postgres) => Ok(postgres.prepare(true).await?),
        }
    }

    async fn find(&self, presented: Presented<'_>) -> Result<Option<Found>, StoreError> {
        let credential = presented.credential;
        let digest = credential.digest.as_bytes().as_slice();
        for row in self.database.fetch(row::BY_DIGEST, vec![digest.into()]).await? {
            let token = Token::read(&*row)?;
            let kind = token.kind;
            if credential.kinds.contains(kind.identity()) && credential.scheme == kind.scheme() {
                let usage = Some(self.usage_of(&token.id));
                return Ok(Some(Found { identity: token.identity(), usage }));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
