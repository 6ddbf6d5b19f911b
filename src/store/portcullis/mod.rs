//! Tokens that the gateway issues, in one SQLite file, or in a PostgreSQL that a fleet shares.
//!
//! Other processes may open the same store, as `portcullis token` does; the [watch] sees what they
//! change.
//!
//! **Invariants:** the store holds digests, never a secret; a row that can't be read is an error,
//! never a token that may more than was written.

pub mod admin;
pub mod block;
pub mod canary;
pub mod census;
mod database;
mod location;
mod new_token;
mod open_error;
mod rotation;
mod row;
mod schema;
mod shown;
mod uses;
pub mod watch;

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use std::sync::Mutex;

use async_trait::async_trait;

pub use self::location::{BadLocation, StoreLocation};
pub use self::open_error::OpenError;
pub use self::rotation::{Lifetime, RotateError, Rotation};
pub use self::row::{Token, TokenKind};
use super::postgres::{Address, Locate, Pool};
use super::{Found, StoreError, TokenStore};
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
    used: Mutex<HashMap<Box<str>, uses::Used>>,
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

    /// The name that logs and metrics have for it.
    pub fn own_name(&self) -> &str {
        &self.name
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
            // To whoever presents one, a canary is nobody; [`canary`] says who notices.
            if token.canary {
                continue;
            }
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
