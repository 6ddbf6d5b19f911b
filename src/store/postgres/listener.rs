//! What a PostgreSQL notifies of (`LISTEN`), over a connection of its own.
//!
//! PgBouncer does not carry notifications, so the connection goes to the server itself. What was
//! notified while there was none is lost: whoever listens is told of every new connection, and has to
//! look for itself.

use std::fmt;
use std::time::Duration;

use sqlx::Executor as _;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Locate, STATEMENT_TIMEOUT};
use crate::store::Chain;

/// How long to wait before the next attempt to connect.
const RETRY: Duration = Duration::from_secs(1);
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
        let mut listener = match timeout(STATEMENT_TIMEOUT, self.connect()).await {
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
            .connect_with(address.options)
            .await?;
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        listener.listen(self.channel).await?;
        Ok(listener)
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("channel", &self.channel).finish_non_exhaustive()
    }
}
