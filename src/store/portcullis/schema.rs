//! The tables, and how they come to be.
//!
//! A migration that was released is never edited: sqlx keeps its checksum and refuses to run.

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::SqlitePool;

/// Marks the file as ours (`PRAGMA application_id`): `PtCs`.
const APPLICATION_ID: i64 = 0x5074_4373;

/// `change` is the log by which other processes learn what to forget: triggers write it, so that
/// an edit by hand with the `sqlite3` shell is seen too, a deleted row included. What was used
/// last is not a change. Its end is cut; who finds a gap forgets everything.
const TOKENS: &str = "
PRAGMA application_id = 1349796723;

CREATE TABLE token (
    id              TEXT NOT NULL PRIMARY KEY,
    kind            TEXT NOT NULL,
    name            TEXT NOT NULL,
    digest          BLOB NOT NULL,
    fingerprint     TEXT NOT NULL,
    scopes          TEXT NOT NULL,
    organizations   TEXT,
    projects        TEXT,
    allowed_origins TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER,
    revoked_at      INTEGER,
    last_used_at    INTEGER,
    UNIQUE (digest, kind)
) STRICT;

CREATE UNIQUE INDEX token_name ON token (name) WHERE revoked_at IS NULL;

CREATE TABLE change (
    revision   INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    digest     BLOB NOT NULL,
    revoked_at INTEGER
) STRICT;

CREATE TRIGGER token_created AFTER INSERT ON token BEGIN
    INSERT INTO change (digest) VALUES (NEW.digest);
END;

CREATE TRIGGER token_changed AFTER UPDATE OF
    id, kind, name, digest, scopes, organizations, projects, allowed_origins, created_at,
    expires_at, revoked_at
ON token BEGIN
    INSERT INTO change (digest, revoked_at) VALUES
        (OLD.digest, CASE WHEN OLD.revoked_at IS NULL THEN NEW.revoked_at END);
    INSERT INTO change (digest) SELECT NEW.digest WHERE NEW.digest <> OLD.digest;
END;

CREATE TRIGGER token_deleted AFTER DELETE ON token BEGIN
    INSERT INTO change (digest) VALUES (OLD.digest);
END;

CREATE TRIGGER change_cut AFTER INSERT ON change WHEN NEW.revision % 1000 = 0 BEGIN
    DELETE FROM change WHERE revision <= NEW.revision - 10000;
END;
";

/// Why a database can't be used as a token store.
#[derive(Debug)]
pub(super) enum Unusable {
    /// It belongs to something else.
    Foreign,
    /// The file is not of SQLite's.
    NotADatabase,
    /// Another process is in the way just now.
    Busy(sqlx::Error),
    /// Anything else.
    Failed(MigrateError),
}

impl From<sqlx::Error> for Unusable {
    fn from(error: sqlx::Error) -> Self {
        // The low byte of an extended code is the primary one: 5 is SQLITE_BUSY, 26 SQLITE_NOTADB.
        let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
        match code.map(|code| code & 0xff) {
            Some(5) => Unusable::Busy(error),
            Some(26) => Unusable::NotADatabase,
            Some(_) | None => Unusable::Failed(error.into()),
        }
    }
}

impl From<MigrateError> for Unusable {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) => error.into(),
            other => Unusable::Failed(other),
        }
    }
}

/// The newest version of the tables that this program knows.
const VERSION: i64 = 1;

/// Finds out whether [`prepare`] would work, and changes nothing.
pub(super) async fn examine(reader: &SqlitePool) -> Result<(), Unusable> {
    // One view of the file: another process may be creating it.
    let mut view = reader.begin().await?;
    let id: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *view).await?;
    let tables: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *view).await?;
    match (id, tables) {
        (APPLICATION_ID, _) => {}
        (0, 0) => return Ok(()),
        (_, _) => return Err(Unusable::Foreign),
    }
    let version: i64 = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
        .fetch_one(&mut *view)
        .await?;
    if version > VERSION {
        return Err(MigrateError::VersionMissing(version).into());
    }
    Ok(())
}

/// Brings the tables up to date, in one transaction that keeps other processes out: sqlx itself
/// takes no lock for SQLite.
pub(super) async fn prepare(writer: &SqlitePool) -> Result<(), Unusable> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let id: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *transaction).await?;
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *transaction)
        .await?;
    if id != APPLICATION_ID && (id != 0 || tables != 0) {
        return Err(Unusable::Foreign);
    }
    let tokens = Migration::new(
        VERSION,
        "tokens".into(),
        MigrationType::Simple,
        TOKENS.into_sql_str(),
        false,
    );
    Migrator::with_migrations(vec![tokens]).run(&mut *transaction).await?;
    Ok(transaction.commit().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_application_id_is_the_one_in_the_migration() {
        assert!(TOKENS.contains(&format!("application_id = {APPLICATION_ID};")));
    }
}
