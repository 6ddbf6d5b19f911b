//! What a database says of itself and of the gateway's role, for whoever looks after both.
//!
//! **Invariant:** nothing but the server's own catalogs is read.

use std::time::Duration;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use tokio::time::timeout;

use super::Address;
use crate::clock::Timestamp;

/// How long connecting, or one question, may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The clock of the server, in milliseconds.
const CLOCK: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint::text";
/// What the role has beyond what `deploy/postgres/sentry-store.sql` gives it.
const EXCESSES: &str = include_str!("audit.sql");
/// The tables of which not every trigger of `deploy/postgres/sentry-notify.sql` is there.
const UNTOLD: &str = include_str!("untold.sql");

/// Why a database could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// It did not answer, or not so.
    #[error("the database can't be asked")]
    Database(#[from] sqlx::Error),
    /// It took too long.
    #[error("the database did not answer within {TIMEOUT:?}")]
    Timeout,
    /// Its answer is of another form.
    #[error("the database told a time that is none")]
    Time,
}

/// Something that the role has and need not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    /// What.
    pub what: String,
    /// The statement that takes it away, for the owner of Sentry's tables to run.
    pub fix: String,
}

/// The clock of a database.
///
/// # Errors
/// When it can't be asked.
pub async fn clock(address: &Address) -> Result<Timestamp, AuditError> {
    let rows = ask(address, CLOCK).await?;
    let millis: Option<String> = rows.first().and_then(|row| row.try_get(0).ok());
    let millis = millis.and_then(|text| text.parse().ok()).ok_or(AuditError::Time)?;
    Ok(Timestamp::from_millis(millis))
}

/// What the role of the gateway has too much in Sentry's database.
///
/// # Errors
/// When it can't be asked.
pub async fn excesses(address: &Address) -> Result<Vec<Excess>, AuditError> {
    let rows = ask(address, EXCESSES).await?;
    let read = |row: PgRow| Ok(Excess { what: row.try_get(0)?, fix: row.try_get(1)? });
    rows.into_iter().map(read).collect()
}

/// The tables of Sentry's whose changes nobody is told of.
///
/// # Errors
/// When it can't be asked.
pub async fn untold(address: &Address) -> Result<Vec<String>, AuditError> {
    let rows = ask(address, UNTOLD).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

async fn ask(address: &Address, statement: &'static str) -> Result<Vec<PgRow>, AuditError> {
    let connecting = timeout(TIMEOUT, address.options.connect());
    let mut connection: PgConnection = connecting.await.map_err(|_| AuditError::Timeout)??;
    let asking = sqlx::raw_sql(AssertSqlSafe(statement)).fetch_all(&mut connection);
    let rows = timeout(TIMEOUT, asking).await.map_err(|_| AuditError::Timeout)??;
    timeout(TIMEOUT, connection.close()).await.map_err(|_| AuditError::Timeout)??;
    Ok(rows)
}
