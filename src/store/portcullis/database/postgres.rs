//! Tokens in a PostgreSQL.
//!
//! Each statement runs in a transaction of its own and unnamed, so that PgBouncer in transaction mode
//! keeps its parts together.

use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::Connection as _;

use super::super::OpenError;
use super::super::schema::{self, Unusable};
use super::{Row, Value, query};
use crate::store::StoreError;
use crate::store::postgres::{Pool, patiently};

/// A database of a server.
#[derive(Debug)]
pub(in super::super) struct Postgres {
    pool: Pool,
    /// Host and port, for messages.
    place: String,
    /// Whether its tables were seen to be up to date.
    usable: AtomicBool,
}

impl Postgres {
    /// A database that is asked over `pool`. Nothing is connected yet.
    pub(in super::super) fn new(pool: Pool, place: String) -> Self {
        Self { pool, place, usable: AtomicBool::new(false) }
    }

    /// Brings its tables up to date, if `change`, or finds out whether that would work. Until then
    /// nobody is looked up in it.
    pub(in super::super) async fn prepare(&self, change: bool) -> Result<(), OpenError> {
        let prepare = || {
            self.pool.run(move |connection| {
                Box::pin(async move { Ok(schema::prepare_postgres(connection, change).await) })
            })
        };
        let done = patiently(prepare).await.map_err(Unusable::from).flatten();
        done.map_err(|unusable| OpenError::of_server(&self.place, unusable))?;
        self.usable.store(true, Ordering::Release);
        Ok(())
    }

    pub(super) async fn fetch(
        &self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, StoreError> {
        if !self.usable.load(Ordering::Acquire) {
            let place = &self.place;
            return Err(StoreError::unavailable(format!("`{place}` could not be opened yet")));
        }
        let asked = self.pool.run(move |connection| {
            Box::pin(async move {
                let mut transaction = connection.begin().await?;
                let rows =
                    query!(sql, values).persistent(false).fetch_all(&mut *transaction).await?;
                transaction.commit().await?;
                Ok(rows.into_iter().map(|row| Box::new(row) as Row).collect())
            })
        });
        asked.await.map_err(StoreError::unavailable)
    }

    pub(super) async fn write(
        &self,
        sql: &'static str,
        values: Vec<Vec<Value>>,
    ) -> sqlx::Result<u64> {
        let written = self.pool.run(move |connection| {
            Box::pin(async move {
                let mut transaction = connection.begin().await?;
                let mut changed = 0;
                for values in values {
                    let query = query!(sql, values).persistent(false);
                    changed += query.execute(&mut *transaction).await?.rows_affected();
                }
                transaction.commit().await?;
                Ok(changed)
            })
        });
        written.await
    }

    pub(super) async fn steps(&self, steps: Vec<(&'static str, Vec<Value>)>) -> sqlx::Result<bool> {
        let done = self.pool.run(move |connection| {
            Box::pin(async move {
                let mut transaction = connection.begin().await?;
                for (sql, values) in steps {
                    let query = query!(sql, values).persistent(false);
                    if query.execute(&mut *transaction).await?.rows_affected() != 1 {
                        transaction.rollback().await?;
                        return Ok(false);
                    }
                }
                transaction.commit().await?;
                Ok(true)
            })
        });
        done.await
    }

    pub(super) async fn rewrite(
        &self,
        read: &'static str,
        which: String,
        change: impl FnOnce(Vec<Row>) -> sqlx::Result<String> + Send + 'static,
        write: &'static str,
    ) -> sqlx::Result<()> {
        let done = self.pool.run(move |connection| {
            Box::pin(async move {
                let mut transaction = connection.begin().await?;
                let read = sqlx::query(read).bind(which).persistent(false);
                let rows = read.fetch_all(&mut *transaction).await?;
                let rows = rows.into_iter().map(|row| Box::new(row) as Row).collect();
                let write = sqlx::query(write).bind(change(rows)?).persistent(false);
                write.execute(&mut *transaction).await?;
                transaction.commit().await
            })
        });
        done.await
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}
