//! Sentry's own credentials, read from its PostgreSQL.
//!
//! The gateway's role may call four functions and read no table (`deploy/postgres/sentry-store.sql`).
//! Each takes the digest of a secret and answers what Sentry's rows say of it, so no secret comes
//! here, and none goes there.
//!
//! Statements go as text in one message, with the digest written in hex: PgBouncer in transaction
//! mode passes them on, which it does not do with prepared ones.
//!
//! **Invariants:** nothing is written; an answer that can't be read is an error, never a credential
//! that may more than Sentry says.

mod row;
pub mod watch;

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use sqlx::postgres::PgDatabaseError;
use sqlx::{AssertSqlSafe, Row as _};

use super::postgres::{Address, Locate, Pool, patiently};
use super::{Found, StoreError, TokenStore};
use crate::policy::credential::{Digest, Presented};
use crate::policy::identity::{IdentityKind, KindSet};

/// The SQL that makes the role and the functions.
pub const SETUP: &str = include_str!("../../../deploy/postgres/sentry-store.sql");
/// The version of the functions that this code reads.
const VERSION: i32 = 1;
/// Why Sentry's database can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It can't be reached.
    #[error("Sentry's database can't be reached; check its URL, its password and the network")]
    Unreachable(#[source] sqlx::Error),
    /// The functions are missing.
    #[error(
        "Sentry's database lacks what the gateway asks ({0}); run deploy/postgres/sentry-store.sql there, as the owner of Sentry's tables"
    )]
    NotSetUp(String),
    /// The functions are of another version.
    #[error(
        "Sentry's database has version {found} of the look-up functions, and this gateway asks version {VERSION}; run its deploy/postgres/sentry-store.sql there"
    )]
    Version {
        /// The version.
        found: i32,
    },
    /// A table or column of Sentry's is not as the functions expect it.
    #[error(
        "Sentry's tables are not as this gateway knows them ({0}); take a version of the gateway for this Sentry and run its deploy/postgres/sentry-store.sql"
    )]
    Schema(String),
    /// The role may not call them.
    #[error(
        "the role of the gateway may not ask Sentry's database ({0}); run deploy/postgres/sentry-store.sql there and connect as `portcullis`"
    )]
    Forbidden(String),
}

/// The credentials of a Sentry.
#[derive(Debug)]
pub struct SentryStore {
    name: Box<str>,
    pool: Pool,
    /// Whether it was seen that it has what is asked for.
    usable: AtomicBool,
}

impl SentryStore {
    /// A store that asks the database over at most `connections`, in the runtime that this is called
    /// in. Nothing is connected yet.
    pub fn new(name: &str, address: Address, connections: u32, locate: Locate) -> Self {
        let pool = Pool::new(address, connections, locate);
        Self { name: name.into(), pool, usable: AtomicBool::new(false) }
    }

    /// Whether the database can be asked, and has what is asked for. Until it is seen to, nobody is
    /// looked up in it.
    ///
    /// # Errors
    /// What is missing, by name.
    pub async fn inspect(&self) -> Result<(), OpenError> {
        let version = || self.answer("SELECT portcullis.version()::text".to_owned());
        let version = patiently(version).await;
        let found = version.map_err(open_error)?.and_then(|text| text.parse().ok()).unwrap_or(0);
        if found != VERSION {
            return Err(OpenError::Version { found });
        }
        for kind in IdentityKind::ALL {
            self.ask(*kind, Digest::from_bytes([0; 32])).await.map_err(open_error)?;
        }
        self.usable.store(true, Ordering::Release);
        Ok(())
    }

    /// What Sentry says of a digest, as JSON.
    async fn ask(&self, kind: IdentityKind, digest: Digest) -> sqlx::Result<Option<String>> {
        let function = match kind {
            IdentityKind::UserToken => "find_token",
            IdentityKind::OrgToken => "find_org_token",
            IdentityKind::ApiKey => "find_api_key",
            IdentityKind::ProjectKey => "find_project_key",
        };
        // Names of ours and hex digits, and nothing that came from outside.
        let hex = digest.hex();
        self.answer(format!("SELECT portcullis.{function}('\\x{hex}')::text")).await
    }

    /// The one value that a statement answers.
    async fn answer(&self, statement: String) -> sqlx::Result<Option<String>> {
        let asked = self.pool.run(|connection| {
            Box::pin(async move {
                let row = sqlx::raw_sql(AssertSqlSafe(statement)).fetch_optional(connection).await;
                row?.map_or(Ok(None), |row| row.try_get(0))
            })
        });
        asked.await
    }
}

#[async_trait]
impl TokenStore for SentryStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn takes(&self) -> KindSet {
        KindSet::ALL
    }

    async fn prepare(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(self.inspect().await?)
    }

    async fn find(&self, presented: Presented<'_>) -> Result<Option<Found>, StoreError> {
        let presented = presented.credential;
        if !self.usable.load(Ordering::Acquire) {
            return Err(StoreError::unavailable("Sentry's database was not seen to be set up yet"));
        }
        for kind in presented.kinds.iter() {
            let answer = self.ask(kind, presented.digest).await;
            let answer = answer.map_err(StoreError::unavailable)?;
            if let Some(text) = answer {
                return row::read(&text, kind).map(Some);
            }
        }
        Ok(None)
    }
}

/// What an error at the start means, by its code (PostgreSQL, appendix A).
fn open_error(error: sqlx::Error) -> OpenError {
    let database = error.as_database_error().and_then(|e| e.try_downcast_ref::<PgDatabaseError>());
    let Some(database) = database else { return OpenError::Unreachable(error) };
    let told = database.message().to_owned();
    match database.code() {
        // Functions are called by their whole name, so a missing one is of the gateway.
        "42883" | "3F000" => OpenError::NotSetUp(told),
        "42P01" | "42703" | "42804" => OpenError::Schema(told),
        "42501" => OpenError::Forbidden(told),
        _ => OpenError::Unreachable(error),
    }
}
