//! Where tokens are kept: a SQLite file of one host, or a PostgreSQL that a fleet shares. Both take
//! the same statements.
//!
//! **Invariant:** every text of SQL is a literal with `$1`, `$2`, … for what comes from outside.

mod postgres;
mod sqlite;

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

use crate::store::StoreError;

pub(super) use postgres::Postgres;
pub(super) use sqlite::Sqlite;

/// An open database.
#[derive(Debug)]
pub(super) enum Database {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

/// What takes the place of `$1`.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(Option<String>),
    Integer(Option<i64>),
    Bytes(Vec<u8>),
}

/// A statement in the words of both.
#[derive(Clone, Copy)]
pub(super) struct Sql {
    pub(super) sqlite: &'static str,
    pub(super) postgres: &'static str,
}

/// A row.
pub(super) type Row = Box<dyn Cells>;

/// What is in a row, by the names of its columns.
pub(super) trait Cells: Send {
    fn text(&self, column: &str) -> sqlx::Result<String>;
    fn maybe_text(&self, column: &str) -> sqlx::Result<Option<String>>;
    /// A text whatever bytes it has.
    fn lossy_text(&self, column: &str) -> sqlx::Result<String>;
    fn integer(&self, column: &str) -> sqlx::Result<i64>;
    fn maybe_integer(&self, column: &str) -> sqlx::Result<Option<i64>>;
    fn bytes(&self, column: &str) -> sqlx::Result<Vec<u8>>;
    fn maybe_bytes(&self, column: &str) -> sqlx::Result<Option<Vec<u8>>>;
}

macro_rules! cells {
    ($($row:ty),*) => {$(
        impl Cells for $row {
            fn text(&self, column: &str) -> sqlx::Result<String> {
                self.try_get(column)
            }

            fn maybe_text(&self, column: &str) -> sqlx::Result<Option<String>> {
                self.try_get(column)
            }

            fn lossy_text(&self, column: &str) -> sqlx::Result<String> {
                let bytes: Vec<u8> = self.try_get_unchecked(column)?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }

            fn integer(&self, column: &str) -> sqlx::Result<i64> {
                self.try_get(column)
            }

            fn maybe_integer(&self, column: &str) -> sqlx::Result<Option<i64>> {
                self.try_get(column)
            }

            fn bytes(&self, column: &str) -> sqlx::Result<Vec<u8>> {
                self.try_get(column)
            }

            fn maybe_bytes(&self, column: &str) -> sqlx::Result<Option<Vec<u8>>> {
                self.try_get(column)
            }
        }
    )*};
}

cells!(SqliteRow, PgRow);

/// A query with its values, for the database that it is then run on.
macro_rules! query {
    ($sql:expr, $values:expr) => {
        $values.into_iter().fold(sqlx::query($sql), |query, value| match value {
            Value::Text(text) => query.bind(text),
            Value::Integer(integer) => query.bind(integer),
            Value::Bytes(bytes) => query.bind(bytes),
        })
    };
}
use query;

impl Database {
    /// The rows that a query answers.
    pub(super) async fn fetch(
        &self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, StoreError> {
        match self {
            Database::Sqlite(sqlite) => sqlite.fetch(sql, values).await,
            Database::Postgres(postgres) => postgres.fetch(sql, values).await,
        }
    }

    /// Runs a statement once for each of `values`, all or none, and says how many rows it changed.
    pub(super) async fn write(
        &self,
        sql: &'static str,
        values: Vec<Vec<Value>>,
    ) -> sqlx::Result<u64> {
        match self {
            Database::Sqlite(sqlite) => sqlite.write(sql, values).await,
            Database::Postgres(postgres) => postgres.write(sql, values).await,
        }
    }

    /// Runs statements, each of which must change one row: all of them, or none.
    pub(super) async fn steps(&self, steps: Vec<(&'static str, Vec<Value>)>) -> sqlx::Result<bool> {
        match self {
            Database::Sqlite(sqlite) => sqlite.steps(steps).await,
            Database::Postgres(postgres) => postgres.steps(steps).await,
        }
    }

    /// Reads rows with `read`, makes of them what takes the place of `$1` in `write`, and runs that, with
    /// nobody else changing them in between.
    pub(super) async fn rewrite(
        &self,
        read: Sql,
        which: String,
        change: impl FnOnce(Vec<Row>) -> sqlx::Result<String> + Send + 'static,
        write: Sql,
    ) -> sqlx::Result<()> {
        match self {
            Database::Sqlite(sqlite) => {
                sqlite.rewrite(read.sqlite, which, change, write.sqlite).await
            }
            Database::Postgres(postgres) => {
                postgres.rewrite(read.postgres, which, change, write.postgres).await
            }
        }
    }

    /// Whether what is open is still what it was opened as.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        match self {
            Database::Sqlite(sqlite) => sqlite.check_file().await,
            Database::Postgres(_) => Ok(()),
        }
    }

    /// Closes all connections.
    pub(super) async fn close(&self) {
        match self {
            Database::Sqlite(sqlite) => sqlite.close().await,
            Database::Postgres(postgres) => postgres.close().await,
        }
    }
}

macro_rules! values {
    ($($from:ty: $value:ident => $to:expr;)*) => {$(
        impl From<$from> for Value {
            fn from($value: $from) -> Self {
                $to
            }
        }
    )*};
}

values! {
    &str: text => Value::Text(Some(text.to_owned()));
    String: text => Value::Text(Some(text));
    Option<String>: text => Value::Text(text);
    i64: integer => Value::Integer(Some(integer));
    Option<i64>: integer => Value::Integer(integer);
    &[u8]: bytes => Value::Bytes(bytes.to_vec());
}
