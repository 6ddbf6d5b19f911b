//! What a PostgreSQL notifies of (`LISTEN`), over a connection of its own.
//!
//! PgBouncer does not carry notifications, so the connection goes to the server itself. What was
//! notified while there was none is lost: whoever listens is told of every new connection, and has to
//! look for itself.

use std::fmt;
use std::io;
use std::time::Duration;

use sqlx::postgres::{PgConnection, PgListener, PgPoolOptions, Postgres};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor, Row as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Locate, STATEMENT_TIMEOUT};
use crate::store::Chain;

/// How long to wait before the next attempt to connect.
const RETRY: Duration = Duration::from_secs(1);
/// How long a connection may take until it is known to listen.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long each step of the probe of a connection may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// What a probe says. It is no word of the channels', so whoever hears it looks, or does nothing.
const PROBE: &str = "listening";
/// PgBouncer takes a `LISTEN`, hands on nothing, and breaks what runs over that connection later.
const POOLED: &str = "notifications do not arrive over this connection; name the server itself in \
    `listen_url`, and no pooler";
/// How long a silent connection is trusted before it is asked for a sign of life.
const SILENCE: Duration = Duration::from_secs(5);
/// How many notifications may wait to be read. The server keeps the others.
const BACKLOG: usize = 1024;

/// What was heard.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) enum Heard {
    /// A connection listens; what came before is not known.
    Connected,
    /// It is lost, and another one is tried.
    Lost,
    /// A notification.
    Message(String),
}

/// Where what was heard arrives.
#[derive(Debug)]
pub(in crate::store) struct Ears {
    pub(in crate::store) heard: mpsc::Receiver<Heard>,
    /// Ends with this.
    _task: JoinSet<()>,
}

/// Listens to one channel.
pub(in crate::store) struct Listener {
    store: Box<str>,
    channel: &'static str,
    locate: Locate,
}

impl Listener {
    /// To `channel`, on behalf of `store`.
    pub(in crate::store) fn new(store: &str, channel: &'static str, locate: Locate) -> Self {
        Self { store: store.into(), channel, locate }
    }

    /// Listens in the background, for as long as somebody has what this answers.
    pub(in crate::store) fn start(self) -> Ears {
        let (sender, heard) = mpsc::channel(BACKLOG);
        let mut task = JoinSet::new();
        task.spawn(async move { self.listen(&sender).await });
        Ears { heard, _task: task }
    }

    async fn listen(&self, sender: &mpsc::Sender<Heard>) {
        let (store, mut told) = (&*self.store, false);
        loop {
            let ended = self.one_connection(sender, &mut told).await;
            // An outage is told of once: it is tried every second.
            if !told {
                let error = ended.as_ref().map(|error| Chain(error).to_string());
                let error = error.unwrap_or_default();
                tracing::error!(store, error, "notifications of revocations are not heard");
                told = true;
            }
            if sender.send(Heard::Lost).await.is_err() {
                return;
            }
            sleep(RETRY).await;
        }
    }

    /// Connects and listens until the connection is lost, and says why, if there is more to say.
    async fn one_connection(
        &self,
        sender: &mpsc::Sender<Heard>,
        told: &mut bool,
    ) -> Option<sqlx::Error> {
        let mut listener = match timeout(CONNECT_TIMEOUT, self.connect()).await {
            Ok(Ok(listener)) => listener,
            Ok(Err(error)) => return Some(error),
            Err(_) => return Some(sqlx::Error::PoolTimedOut),
        };
        if std::mem::take(told) {
            tracing::info!(store = &*self.store, "notifications of revocations are heard again");
        }
        let mut heard = Heard::Connected;
        loop {
            sender.send(heard).await.ok()?;
            heard = loop {
                match timeout(SILENCE, listener.try_recv()).await {
                    Ok(Ok(Some(message))) => break Heard::Message(message.payload().to_owned()),
                    Ok(Ok(None)) => return None,
                    Ok(Err(error)) => return Some(error),
                    // Nothing to tell, or nobody there.
                    Err(_) => {
                        match timeout(STATEMENT_TIMEOUT, listener.execute("SELECT 1")).await {
                            Ok(Ok(_)) => {}
                            Ok(Err(error)) => return Some(error),
                            Err(_) => return Some(sqlx::Error::PoolTimedOut),
                        }
                    }
                }
            };
        }
    }

    async fn connect(&self) -> sqlx::Result<PgListener> {
        let unreadable = || sqlx::Error::Configuration("its URL or password can't be read".into());
        let address = (self.locate)().ok_or_else(unreadable)?;
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(STATEMENT_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(address.options.clone())
            .await?;
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        // There may be no second one to spare.
        let other = timeout(PROBE_TIMEOUT, address.options.connect()).await;
        let Ok(Ok(mut other)) = other else {
            listener.listen(self.channel).await?;
            return Ok(listener);
        };
        let pooled = || sqlx::Error::Configuration(POOLED.into());
        // Before a pooler has a connection that listens for somebody who is gone.
        if backend(&mut listener).await? == backend(&mut other).await? {
            return Err(pooled());
        }
        listener.listen(self.channel).await?;
        let heard = timeout(PROBE_TIMEOUT, self.probe(&mut listener, &mut other)).await;
        if heard.is_err() {
            listener.unlisten_all().await?;
            return Err(pooled());
        }
        timeout(PROBE_TIMEOUT, other.close()).await.unwrap_or(Ok(()))?;
        heard.unwrap_or(Ok(()))?;
        Ok(listener)
    }

    /// Waits for a notification of our own. What else is told before it counts as missed, as what was
    /// before the connection.
    async fn probe(&self, listener: &mut PgListener, other: &mut PgConnection) -> sqlx::Result<()> {
        let notify = format!("NOTIFY {}, '{PROBE}'", self.channel);
        // A standby takes none.
        if sqlx::raw_sql(AssertSqlSafe(notify)).execute(other).await.is_err() {
            return Ok(());
        }
        while let Some(message) = listener.try_recv().await? {
            if message.payload() == PROBE {
                return Ok(());
            }
        }
        Err(sqlx::Error::Io(io::ErrorKind::UnexpectedEof.into()))
    }
}

/// The process of the server that a connection leads to.
async fn backend<'c>(connection: impl Executor<'c, Database = Postgres>) -> sqlx::Result<i32> {
    let row = connection.fetch_one("SELECT pg_backend_pid()").await?;
    row.try_get(0)
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("channel", &self.channel).finish_non_exhaustive()
    }
}
