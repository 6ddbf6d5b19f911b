//! The tables, and how they come to be: the same migrations for a SQLite file and a PostgreSQL.
//!
//! A migration that was released is never edited: sqlx keeps its checksum and refuses to run. One
//! whose description ends with [`ADDITIVE`] leaves what was there as it was, so that a version of this
//! program which does not know it can go on with the store: so an upgrade can be taken back.

use std::error::Error;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqlitePool;
use sqlx::{AssertSqlSafe, Connection as _, SqlSafeStr as _};

/// Marks the file as ours (`PRAGMA application_id`): `PtCs`. Also the lock under which a PostgreSQL
/// is written.
const APPLICATION_ID: i64 = 0x5074_4373;
/// The end of the description of a migration that older versions of this program can live with.
const ADDITIVE: &str = "(additive)";

/// A step of the schema.
struct Step {
    version: i64,
    description: &'static str,
    parts: &'static [Part],
}

/// A part of a step.
enum Part {
    /// For both, in the words of SQLite.
    Tables(&'static str),
    Sqlite(&'static str),
    Postgres(&'static str),
}

/// `change` is the log by which other processes learn what to forget: triggers write it, so that
/// an edit by hand is seen too, a deleted row included. What was used last is not a change. Its end is
/// cut; who finds a gap forgets everything. An empty digest is a change of the block list.
const STEPS: &[Step] = &[
    Step {
        version: 1,
        description: "tokens",
        parts: &[
            Part::Sqlite("\nPRAGMA application_id = 1349796723;\n"),
            Part::Tables(include_str!("schema/tokens.sql")),
            Part::Sqlite(include_str!("schema/tokens.sqlite.sql")),
            Part::Postgres(include_str!("schema/tokens.postgres.sql")),
        ],
    },
    Step {
        version: 2,
        description: "block list (additive)",
        parts: &[
            Part::Tables(include_str!("schema/block.sql")),
            Part::Sqlite(include_str!("schema/block.sqlite.sql")),
            Part::Postgres(include_str!("schema/block.postgres.sql")),
        ],
    },
    // What it narrows has a kind that older versions don't know, and so refuse.
    Step {
        version: 3,
        description: "narrow tokens (additive)",
        parts: &[
            Part::Tables(include_str!("schema/narrow.sql")),
            Part::Sqlite(include_str!("schema/narrow.sqlite.sql")),
            Part::Postgres(include_str!("schema/narrow.postgres.sql")),
        ],
    },
    // An older version may give out the name of a token that was rotated, which does no harm, and does not
    // know the kinds of canaries, and so refuses them.
    Step {
        version: 4,
        description: "census, rotation and canaries (additive)",
        parts: &[Part::Tables(include_str!("schema/census.sql"))],
    },
];

/// The same types in a PostgreSQL.
const WORDS: [(&str, &str); 4] = [
    (
        "INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT",
        "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    ),
    ("INTEGER", "bigint"),
    ("BLOB", "bytea"),
    (") STRICT;", ");"),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Sqlite,
    Postgres,
}

impl Step {
    fn sql(&self, dialect: Dialect) -> String {
        let part = |part: &Part| match (part, dialect) {
            (Part::Tables(sql), Dialect::Sqlite) => (*sql).to_owned(),
            (Part::Tables(sql), Dialect::Postgres) => {
                WORDS.iter().fold((*sql).to_owned(), |sql, (from, to)| sql.replace(from, to))
            }
            (Part::Sqlite(sql), Dialect::Sqlite) | (Part::Postgres(sql), Dialect::Postgres) => {
                (*sql).to_owned()
            }
            (Part::Sqlite(_), Dialect::Postgres) | (Part::Postgres(_), Dialect::Sqlite) => {
                String::new()
            }
        };
        self.parts.iter().map(part).collect()
    }
}

/// Brings what was not there yet. Whoever calls it keeps other processes out.
fn migrator(dialect: Dialect) -> Migrator {
    let migration = |step: &Step| {
        let sql = AssertSqlSafe(step.sql(dialect)).into_sql_str();
        Migration::new(step.version, step.description.into(), MigrationType::Simple, sql, false)
    };
    let mut migrator = Migrator::with_migrations(STEPS.iter().map(migration).collect());
    // Looked at before: those that are not known here are additive.
    migrator.set_ignore_missing(true);
    migrator
}

/// Why a database can't be used as a token store.
#[derive(Debug)]
pub(super) enum Unusable {
    /// It belongs to something else.
    Foreign,
    /// The file is not of SQLite's.
    NotADatabase,
    /// There are no tables, and none shall be made.
    Empty,
    /// Tables are missing, and none shall be made.
    Outdated,
    /// Tables are missing, and none may be made.
    Forbidden,
    /// A newer version of this program changed it in a way that this one can't live with.
    Newer(i64),
    /// Another process is in the way just now.
    Busy(sqlx::Error),
    /// Anything else.
    Failed(Box<dyn Error + Send + Sync>),
}

impl From<sqlx::Error> for Unusable {
    fn from(error: sqlx::Error) -> Self {
        // The low byte of an extended code of SQLite's is the primary one: 5 is SQLITE_BUSY, 26
        // SQLITE_NOTADB. PostgreSQL's codes have five characters.
        let code = error.as_database_error().and_then(|error| error.code());
        let code = code.filter(|code| code.len() < 5).and_then(|code| code.parse::<u32>().ok());
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
            other => Unusable::Failed(other.into()),
        }
    }
}

/// Whether this program can live with what other versions of it did.
fn compatible<'a>(mut steps: impl Iterator<Item = (i64, &'a str)>) -> Result<(), Unusable> {
    let known = |version: i64| STEPS.iter().any(|step| step.version == version);
    let newer =
        |(version, description): &(i64, &str)| !known(*version) && !description.ends_with(ADDITIVE);
    steps.find(newer).map_or(Ok(()), |(version, _)| Err(Unusable::Newer(version)))
}

/// What was done to the database so far, newest last.
const DONE: &str = "SELECT version, description FROM _sqlx_migrations ORDER BY version";
const DONE_HOW: &str =
    "SELECT version, description, checksum FROM _sqlx_migrations ORDER BY version";

/// Finds out whether [`prepare_sqlite`] would work, and changes nothing.
pub(super) async fn examine_sqlite(reader: &SqlitePool) -> Result<(), Unusable> {
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
    let done: Vec<(i64, String)> = sqlx::query_as(DONE).fetch_all(&mut *view).await?;
    compatible(done.iter().map(|(version, description)| (*version, description.as_str())))
}

/// Brings the tables up to date, in one transaction that keeps other processes out: sqlx itself
/// takes no lock for SQLite.
pub(super) async fn prepare_sqlite(writer: &SqlitePool) -> Result<(), Unusable> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let id: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *transaction).await?;
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *transaction)
        .await?;
    if id != APPLICATION_ID && (id != 0 || tables != 0) {
        return Err(Unusable::Foreign);
    }
    migrator(Dialect::Sqlite).run(&mut *transaction).await?;
    Ok(transaction.commit().await?)
}

/// How many tables there are, whether ours are among them, and whether more can be made.
const TABLES: &str = "SELECT count(*) AS tables, \
    coalesce(bool_or(relname = '_sqlx_migrations'), false) \
    AND coalesce(bool_or(relname = 'token'), false) AS ours, \
    coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS creates \
    FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p') AND relnamespace = \
    (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = current_schema())";
/// As sqlx does for a file.
const NOTES: &str = "CREATE TABLE _sqlx_migrations (version bigint PRIMARY KEY, \
    description text NOT NULL, installed_on timestamptz NOT NULL DEFAULT now(), \
    success boolean NOT NULL, checksum bytea NOT NULL, execution_time bigint NOT NULL)";
const NOTE: &str = "INSERT INTO _sqlx_migrations \
    (version, description, success, checksum, execution_time) VALUES ($1, $2, true, $3, 0)";
/// What the functions find their tables by: whoever fires them may have another path.
const PIN: &str =
    "SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true)";
/// Whether the role may read what is there.
const PROBE: &str = "SELECT FROM token, change, block LIMIT 0";

/// Brings the tables up to date, in one transaction that keeps other processes out; with `change`
/// unset, only finds out whether that would work.
pub(super) async fn prepare_postgres(
    connection: &mut PgConnection,
    change: bool,
) -> Result<(), Unusable> {
    // Without the lock, which whoever changes a token by hand may hold for long.
    let mut view = connection.begin().await?;
    let missing = missing(&mut view).await?;
    if missing.is_empty() {
        sqlx::query(PROBE).persistent(false).execute(&mut *view).await?;
    }
    view.commit().await?;
    match missing.first() {
        None => Ok(()),
        Some(_) if change => migrate(connection).await,
        Some(first) if first.version == 1 => Err(Unusable::Empty),
        Some(_) => Err(Unusable::Outdated),
    }
}

/// Does what is missing. sqlx would, but names what it asks, which through PgBouncer stays at a
/// connection of the server's and is in the way of whoever gets that one next.
async fn migrate(connection: &mut PgConnection) -> Result<(), Unusable> {
    let mut transaction = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(APPLICATION_ID)
        .persistent(false)
        .execute(&mut *transaction)
        .await?;
    sqlx::raw_sql(PIN).execute(&mut *transaction).await?;
    for migration in missing(&mut transaction).await? {
        if migration.version == 1 {
            sqlx::raw_sql(NOTES).execute(&mut *transaction).await?;
        }
        sqlx::raw_sql(migration.sql).execute(&mut *transaction).await?;
        sqlx::query(NOTE)
            .bind(migration.version)
            .bind(&*migration.description)
            .bind(&*migration.checksum)
            .persistent(false)
            .execute(&mut *transaction)
            .await?;
    }
    Ok(transaction.commit().await?)
}

/// What was not done yet to a database that is ours or empty.
async fn missing(view: &mut PgConnection) -> Result<Vec<Migration>, Unusable> {
    let (tables, ours, creates): (i64, bool, bool) =
        sqlx::query_as(TABLES).persistent(false).fetch_one(&mut *view).await?;
    let mut done: Vec<(i64, String, Vec<u8>)> = Vec::new();
    if ours {
        done = sqlx::query_as(DONE_HOW).persistent(false).fetch_all(&mut *view).await?;
    }
    let mut missing = Vec::new();
    for migration in migrator(Dialect::Postgres).iter() {
        match done.iter().find(|(version, ..)| *version == migration.version) {
            Some((_, description, _)) if *description != migration.description => {
                return Err(Unusable::Foreign);
            }
            Some((version, _, checksum)) if **checksum != *migration.checksum => {
                return Err(MigrateError::VersionMismatch(*version).into());
            }
            Some(_) => {}
            None => missing.push(migration.clone()),
        }
    }
    if tables != 0 && missing.iter().any(|migration| migration.version == 1) {
        return Err(Unusable::Foreign);
    }
    compatible(done.iter().map(|(version, description, _)| (*version, description.as_str())))?;
    // A role that may not make tables is enough where they are there.
    if missing.is_empty() || creates { Ok(missing) } else { Err(Unusable::Forbidden) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_application_id_is_the_one_in_the_migration() {
        let tokens = STEPS[0].sql(Dialect::Sqlite);
        assert!(tokens.contains(&format!("application_id = {APPLICATION_ID};")));
    }

    #[test]
    fn versions_count_up_and_what_is_additive_says_so() {
        for (index, step) in STEPS.iter().enumerate() {
            assert_eq!(step.version, i64::try_from(index).unwrap() + 1);
            assert!(index == 0 || step.description.ends_with(ADDITIVE), "{}", step.description);
        }
    }

    #[test]
    fn no_word_of_sqlite_is_left_for_a_postgresql() {
        for step in STEPS {
            let sql = step.sql(Dialect::Postgres);
            for word in ["INTEGER", "BLOB", "STRICT", "AUTOINCREMENT", "PRAGMA"] {
                assert!(!sql.contains(word), "{word} in {sql}");
            }
        }
    }
}
