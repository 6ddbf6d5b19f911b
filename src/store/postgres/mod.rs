//! What the stores that are in a PostgreSQL share: where it is, a small pool, and its notifications.
//!
//! **Invariants:** what waits for a server is bounded; a password that was changed is taken up without
//! a restart; no statement and no secret is logged.

mod address;
pub mod audit;
mod listener;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

pub use address::{Address, BadAddress};
pub(super) use listener::{Ears, Heard, Listener};

/// How long a statement may take. A limit of the role comes first while the server answers.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a statement waits for a connection. Whoever asks waits a second, and is then told why
/// there is none.
const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(600);
/// How long is looked for why there is none.
const DIAGNOSIS_TIMEOUT: Duration = Duration::from_millis(300);
/// How often what is worth the wait is tried.
const ATTEMPTS: usize = 5;
/// What is said of a statement that was given up.
const TOO_SLOW: &str =
    "a statement timed out; the server is busy, or another transaction is in the way";
/// How long an idle connection is kept: others need the room.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a connection lives, so that a database that moved is found again.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// Reads where a database is anew: a password may have been rotated.
pub type Locate = Box<dyn Fn() -> Option<Address> + Send + Sync>;

/// What is done over a connection.
type Work<'c, T> = Pin<Box<dyn Future<Output = sqlx::Result<T>> + Send + 'c>>;

/// A few connections.
pub(super) struct Pool {
    pool: PgPool,
    /// Where statements run, to their end, whoever stops waiting: a request may come from any of
    /// several runtimes, and a connection belongs to one.
    runtime: Handle,
    locate: Locate,
    /// For one at a time who looks for why there is no connection.
    diagnosis: Arc<Semaphore>,
}

impl Pool {
    /// At most `connections`, in the runtime that this is called in. Nothing is connected yet.
    pub(super) fn new(address: Address, connections: u32, locate: Locate) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(IDLE_TIMEOUT)
            .max_lifetime(LIFETIME)
            .connect_lazy_with(address.options);
        let diagnosis = Arc::new(Semaphore::new(1));
        Self { pool, runtime: Handle::current(), locate, diagnosis }
    }

    /// Does something over one of them.
    pub(super) async fn run<T, F>(&self, work: F) -> sqlx::Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> Work<'c, T> + Send + 'static,
    {
        let (pool, one) = (self.pool.clone(), Arc::clone(&self.diagnosis));
        let done = self.runtime.spawn(async move {
            let mut connection = match pool.acquire().await {
                Err(sqlx::Error::PoolTimedOut) => return Err(diagnose(&pool, &one).await),
                acquired => acquired?,
            };
            let Ok(done) = timeout(STATEMENT_TIMEOUT, work(&mut connection)).await else {
                // A peer that fell silent is never heard of again; what waits for it would keep its
                // place in the pool.
                drop(connection.detach());
                return Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, TOO_SLOW)));
            };
            // Giving it back asks the peer once more, without a limit of its own.
            timeout(STATEMENT_TIMEOUT, connection.return_to_pool()).await.unwrap_or_default();
            done
        });
        let done = done.await.map_err(|_| sqlx::Error::WorkerCrashed)?;
        if done.as_ref().err().is_some_and(lets_nobody_in) {
            self.relocate();
        }
        done
    }

    /// Closes all of them.
    pub(super) async fn close(&self) {
        timeout(STATEMENT_TIMEOUT, self.pool.close()).await.unwrap_or_default();
    }

    /// Takes up a password that was changed, after the database did not let the gateway in.
    fn relocate(&self) {
        if let Some(address) = (self.locate)() {
            self.pool.set_connect_options(address.options);
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

/// Does again what timed out, for a while: a start and a command are worth the wait, and a machine that
/// starts is busy.
pub(super) async fn patiently<T, W>(mut work: impl FnMut() -> W) -> sqlx::Result<T>
where
    W: Future<Output = sqlx::Result<T>>,
{
    let mut attempt = 1;
    loop {
        let done = work().await;
        if attempt == ATTEMPTS || !done.as_ref().err().is_some_and(timed_out) {
            return done;
        }
        attempt += 1;
    }
}

fn timed_out(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::PoolTimedOut => true,
        sqlx::Error::Io(error) => error.kind() == io::ErrorKind::TimedOut,
        _ => false,
    }
}

/// Why there is no connection: a pool tries on until its time is over, and does not say what it met.
async fn diagnose(pool: &PgPool, one: &Semaphore) -> sqlx::Error {
    let options = pool.connect_options();
    match (one.try_acquire(), timeout(DIAGNOSIS_TIMEOUT, options.connect())) {
        (Ok(_permit), attempt) => match attempt.await {
            Ok(Err(error)) => error,
            // All of them are busy, or nobody answers.
            Ok(Ok(_)) | Err(_) => sqlx::Error::PoolTimedOut,
        },
        // Somebody is looking.
        (Err(_), _) => sqlx::Error::PoolTimedOut,
    }
}

/// Whether the database refused the role or its password (class 28).
fn lets_nobody_in(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code.starts_with("28"))
}
