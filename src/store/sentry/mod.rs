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

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::{Found, StoreError, TokenStore};
use crate::policy::credential::{Credential, Digest};
use crate::policy::identity::{IdentityKind, KindSet};

/// The SQL that makes the role and the functions.
pub const SETUP: &str = include_str!("../../../deploy/postgres/sentry-store.sql");
/// The version of the functions that this code reads.
const VERSION: i32 = 1;
/// How long a statement may take. The role's own limit, 2 s, comes first while the server answers.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a statement waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an idle connection is kept: Sentry's own need the room.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a connection lives, so that a database that moved is found again.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// What a URL may say besides host, port, user, password and database.
const PARAMETERS: [&str; 7] =
    ["sslmode", "sslrootcert", "sslcert", "sslkey", "host", "port", "password"];

/// Where Sentry's database is, secrets in it. Prints neither.
#[derive(Clone)]
pub struct Database {
    options: PgConnectOptions,
}

/// A URL that is none of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDatabase {
    /// Another scheme.
    #[error("is not a PostgreSQL URL")]
    Scheme,
    /// A parameter that means nothing here; it could be a secret, misspelt.
    #[error("has a parameter that is none of {known}", known = PARAMETERS.join(", "))]
    Parameter,
    /// A certificate that nothing would be checked against.
    #[error(
        "has `sslrootcert` without `sslmode=verify-full` or `verify-ca`, so that it checks nothing"
    )]
    Unchecked,
    /// A path that depends on where the gateway was started.
    #[error("has a relative path to a certificate or key")]
    Relative,
    /// Not readable. The reason could repeat the password.
    #[error("can't be read as a PostgreSQL URL")]
    Unreadable,
}

impl Database {
    /// Reads `postgres://user:password@host:port/database?sslmode=verify-full&sslrootcert=…`.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(url: &str) -> Result<Self, BadDatabase> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(BadDatabase::Scheme);
        }
        let query = url.split_once('?').map_or("", |(_, query)| query);
        let pairs: Vec<_> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        if query.split('&').any(|pair| !pair.is_empty() && !pair.contains('='))
            || pairs.iter().any(|(key, _)| !PARAMETERS.contains(key))
        {
            return Err(BadDatabase::Parameter);
        }
        let value =
            |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        let verified = value("sslmode").is_some_and(|mode| mode.starts_with("verify-"));
        if value("sslrootcert").is_some() && !verified {
            return Err(BadDatabase::Unchecked);
        }
        let files = ["sslrootcert", "sslcert", "sslkey"].into_iter().filter_map(value);
        if files.into_iter().any(|path| !path.starts_with(['/', '%'])) {
            return Err(BadDatabase::Relative);
        }
        let options: PgConnectOptions = url.parse().map_err(|_| BadDatabase::Unreadable)?;
        let name = format!("portcullis {}", env!("CARGO_PKG_VERSION"));
        // PgBouncer knows no `extra_float_digits`.
        let options = options.application_name(&name).extra_float_digits(None);
        Ok(Self { options: options.disable_statement_logging() })
    }

    /// With this password in place of the one in the URL.
    #[must_use]
    pub fn with_password(self, password: &str) -> Self {
        Self { options: self.options.password(password) }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = (self.options.get_host(), self.options.get_port());
        write!(f, "Database({host}:{port})")
    }
}

/// Reads where the database is anew: a password may have been rotated.
pub type Locate = Box<dyn Fn() -> Option<Database> + Send + Sync>;

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
pub struct SentryStore {
    name: Box<str>,
    pool: PgPool,
    /// Where statements run, to their end, whoever stops waiting: a request may come from any of
    /// several runtimes, and a connection belongs to one.
    runtime: Handle,
    locate: Locate,
    /// Whether it was seen that it has what is asked for.
    usable: AtomicBool,
}

impl SentryStore {
    /// A store that asks the database over at most `connections`, in the runtime that this is called
    /// in. Nothing is connected yet.
    pub fn new(name: &str, database: Database, connections: u32, locate: Locate) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(IDLE_TIMEOUT)
            .max_lifetime(LIFETIME)
            .connect_lazy_with(database.options);
        Self {
            name: name.into(),
            pool,
            runtime: Handle::current(),
            locate,
            usable: AtomicBool::new(false),
        }
    }

    /// A store for one command, over one connection, that was seen to have what is asked for.
    ///
    /// # Errors
    /// What is missing, by name.
    pub async fn open(name: &str, database: Database) -> Result<Self, OpenError> {
        let store = Self::new(name, database, 1, Box::new(|| None));
        store.inspect().await?;
        Ok(store)
    }

    /// Whether the database can be asked, and has what is asked for. Until it is seen to, nobody is
    /// looked up in it.
    ///
    /// # Errors
    /// What is missing, by name.
    pub async fn inspect(&self) -> Result<(), OpenError> {
        let version = self.answer("SELECT portcullis.version()::text".to_owned()).await;
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
        let hex: String = digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        self.answer(format!("SELECT portcullis.{function}('\\x{hex}')::text")).await
    }

    /// The one value that a statement answers.
    async fn answer(&self, statement: String) -> sqlx::Result<Option<String>> {
        let pool = self.pool.clone();
        let asked = self.runtime.spawn(async move {
            let mut connection = pool.acquire().await?;
            let asked = sqlx::raw_sql(AssertSqlSafe(statement)).fetch_optional(&mut *connection);
            let Ok(row) = timeout(STATEMENT_TIMEOUT, asked).await else {
                // A peer that fell silent is never heard of again; what waits for it would keep its
                // place in the pool.
                drop(connection.detach());
                return Err(sqlx::Error::PoolTimedOut);
            };
            // Giving it back asks the peer once more, without a limit of its own.
            timeout(STATEMENT_TIMEOUT, connection.return_to_pool()).await.unwrap_or_default();
            row?.map_or(Ok(None), |row| row.try_get(0))
        });
        let answer = asked.await.map_err(|_| sqlx::Error::WorkerCrashed)?;
        if answer.as_ref().err().is_some_and(lets_nobody_in) {
            self.relocate();
        }
        answer
    }

    /// Takes up a password that was changed, after the database did not let the gateway in.
    fn relocate(&self) {
        if let Some(database) = (self.locate)() {
            self.pool.set_connect_options(database.options);
        }
    }
}

#[async_trait]
impl TokenStore for SentryStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn takes(&self) -> KindSet {
        IdentityKind::ALL.iter().copied().collect()
    }

    async fn find(&self, presented: &Credential) -> Result<Option<Found>, StoreError> {
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

impl fmt::Debug for SentryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentryStore").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Whether the database refused the role or its password (class 28).
fn lets_nobody_in(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code.starts_with("28"))
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
