//! Redis as what a fleet counts with. It holds no token and no address: keys are digests.
//!
//! **Invariant:** a request waits for Redis once, no longer than the deadline, and not at all while Redis
//! does not answer. Whether it does again is found out beside requests, never by one.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError, Script};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{error::Elapsed, sleep, timeout};
use tokio_rustls::TlsConnector;

use super::{Ask, Asked, CountsObserver, SharedCounts, Told, script};
use crate::clock::Clock;
use crate::tls::ClientTls;

/// How long it may take to connect, TLS and the log-in included.
const CONNECT: Duration = Duration::from_secs(2);
/// How many answers in a row may be late before it is not asked any more.
const LATE: u32 = 3;
/// How long it is left alone before it is tried again: at first, and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(5)];
/// How long a connection has to last so that the next pause is a short one.
const STEADY: Duration = Duration::from_secs(10);

/// Where Redis is, and how it is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Its host name or address, without brackets.
    pub host: Box<str>,
    /// Its port.
    pub port: u16,
    /// The number of the database there.
    pub database: u16,
    /// How TLS is spoken; not at all when `None`.
    pub tls: Option<Arc<ClientTls>>,
    /// Who logs in; the default user when `None`.
    pub username: Option<Box<str>>,
    /// With which password, if with any.
    pub password: Option<Password>,
    /// How long a request waits for an answer.
    pub timeout: Duration,
    /// What keys begin with.
    pub key_prefix: Box<str>,
}

impl Settings {
    /// Where it is, for messages and metrics.
    pub fn server(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

/// A password. Prints nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Box<str>);

impl<T: Into<Box<str>>> From<T> for Password {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

/// Why Redis can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum RedisFault {
    /// There is no connection.
    #[error("`{0}` can't be reached: {1}; see that it runs there, and that this host may reach it")]
    Unreachable(String, io::Error),
    /// There is one, and TLS fails.
    #[error("TLS with `{0}` fails: {1}; see `redis.tls`")]
    Tls(String, io::Error),
    /// It refuses what it is asked, or the log-in.
    #[error(
        "`{0}` refuses: {1}; see `redis.username` and `redis.password`, and that the user may run scripts"
    )]
    Refused(String, RedisError),
    /// It takes too long to connect.
    #[error("`{0}` does not answer within {CONNECT:?}; see that it is Redis")]
    Silent(String),
    /// It takes longer to answer than a request waits.
    #[error("`{0}` takes longer to answer than {1:?}; widen `redis.timeout`, or have it nearer")]
    Late(String, Duration),
}

/// Counts in Redis.
#[derive(Debug)]
pub struct RedisCounts {
    settings: Settings,
    login: RedisConnectionInfo,
    tls: Option<Tls>,
    script: Script,
    /// While it answers.
    connection: ArcSwapOption<MultiplexedConnection>,
    late: AtomicU32,
    lost: Notify,
    observer: Arc<dyn CountsObserver>,
}

struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// A connection, and what reads and writes it for as long as this is kept.
#[derive(Debug)]
struct Connected {
    connection: MultiplexedConnection,
    driver: JoinHandle<()>,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl RedisCounts {
    /// Not connected yet; [`RedisCounts::keep_up`] does that.
    ///
    /// # Errors
    /// When the machine's certificates are needed and can't be read.
    pub fn new(settings: Settings, observer: Arc<dyn CountsObserver>) -> io::Result<Self> {
        let login = RedisConnectionInfo::default()
            .set_db(settings.database.into())
            .set_lib_name("portcullis", env!("CARGO_PKG_VERSION"));
        let login = match &settings.username {
            Some(username) => login.set_username(username),
            None => login,
        };
        let login = match &settings.password {
            Some(Password(password)) => login.set_password(password),
            None => login,
        };
        let tls = match &settings.tls {
            Some(tls) => {
                let name = tls.server_name.as_ref().unwrap_or(&settings.host);
                let name = ServerName::try_from(String::from(&**name)).map_err(io::Error::other)?;
                Some(Tls { connector: Arc::new(tls.config()?).into(), name })
            }
            None => None,
        };
        let connection = ArcSwapOption::empty();
        let (late, lost) = (AtomicU32::new(0), Notify::new());
        let script = script::script();
        Ok(Self { settings, login, tls, script, connection, late, lost, observer })
    }

    /// Where it is, and how it is asked.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Asks as a request would, on a connection of its own, and changes nothing.
    ///
    /// # Errors
    /// Why that does not work.
    pub async fn examine(&self) -> Result<(), RedisFault> {
        self.connect().await.map(|_| ())
    }

    /// Sees to it that there is a connection whenever Redis answers. Does not end.
    pub async fn keep_up(self: Arc<Self>, clock: Arc<dyn Clock>) {
        let [first, last] = PAUSES;
        let (mut pause, mut told) = (first, String::new());
        self.observer.can_be_asked(false);
        loop {
            match self.connect().await {
                Ok(mut connected) => {
                    let began = clock.instant();
                    self.late.store(0, Ordering::Relaxed);
                    self.connection.store(Some(Arc::new(connected.connection.clone())));
                    self.observer.can_be_asked(true);
                    tracing::info!(
                        redis = self.settings.server(),
                        "shared limits are counted in Redis"
                    );
                    let cause = self.lasts(&mut connected).await;
                    self.connection.store(None);
                    self.observer.can_be_asked(false);
                    self.tell(cause);
                    told.clear();
                    let lasted = clock.instant().saturating_duration_since(began);
                    pause = if lasted >= STEADY { first } else { pause };
                }
                Err(fault) => {
                    let cause = fault.to_string();
                    if cause != told {
                        self.tell(&cause);
                        told = cause;
                    }
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(last);
        }
    }

    /// Waits for as long as a connection answers, and says why it does not any more.
    async fn lasts(&self, connected: &mut Connected) -> &'static str {
        loop {
            tokio::select! {
                _ = &mut connected.driver => return "the connection has ended",
                () = self.lost.notified() => {
                    // What was said of the one before counts no more.
                    if self.connection.load().is_none() {
                        return "it did not answer in time, or not as it should";
                    }
                }
            }
        }
    }

    fn tell(&self, cause: &str) {
        tracing::warn!(
            redis = self.settings.server(),
            cause,
            "shared limits can't be counted in Redis, so each gateway counts for itself"
        );
    }

    async fn connect(&self) -> Result<Connected, RedisFault> {
        let silent = |_: Elapsed| RedisFault::Silent(self.settings.server());
        let connected = timeout(CONNECT, self.log_in()).await.map_err(silent)??;
        // The first time it may have to learn the script.
        let first = timeout(CONNECT, self.run(&connected.connection, &[])).await.map_err(silent)?;
        first.map_err(|error| RedisFault::Refused(self.settings.server(), error))?;
        let deadline = self.settings.timeout;
        match timeout(deadline, self.run(&connected.connection, &[])).await {
            Ok(Ok(_)) => Ok(connected),
            Ok(Err(error)) => Err(RedisFault::Refused(self.settings.server(), error)),
            Err(_) => Err(RedisFault::Late(self.settings.server(), deadline)),
        }
    }

    async fn log_in(&self) -> Result<Connected, RedisFault> {
        let Settings { host, port, .. } = &self.settings;
        let unreachable = |error| RedisFault::Unreachable(self.settings.server(), error);
        let stream = TcpStream::connect((&**host, *port)).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let made = match &self.tls {
            None => self.log_in_over(stream).await,
            Some(Tls { connector, name }) => {
                let stream = connector.connect(name.clone(), stream).await;
                let stream =
                    stream.map_err(|error| RedisFault::Tls(self.settings.server(), error))?;
                self.log_in_over(stream).await
            }
        };
        made.map_err(|error| RedisFault::Refused(self.settings.server(), error))
    }

    async fn log_in_over<S>(&self, stream: S) -> Result<Connected, RedisError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        // How long an answer may take is decided where it is waited for.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let made = MultiplexedConnection::new_with_config(&self.login, stream, config).await;
        let (connection, driver) = made?;
        Ok(Connected { connection, driver: Handle::current().spawn(driver) })
    }

    async fn run(
        &self,
        connection: &MultiplexedConnection,
        asks: &[Ask<'_>],
    ) -> Result<Vec<i64>, RedisError> {
        let mut invocation = self.script.prepare_invoke();
        for ask in asks {
            script::ask(&mut invocation, &self.settings.key_prefix, ask);
        }
        invocation.invoke_async(&mut connection.clone()).await
    }
}

#[async_trait]
impl SharedCounts for RedisCounts {
    async fn take(&self, asks: &[Ask<'_>]) -> Option<Vec<Told>> {
        let Some(connection) = self.connection.load_full() else {
            self.observer.asked(Asked::Skipped);
            return None;
        };
        let answer = timeout(self.settings.timeout, self.run(&connection, asks)).await;
        let (asked, told) = match answer {
            Ok(Ok(answer)) => match script::told(asks.len(), &answer) {
                Some(told) => (Asked::Answered, Some(told)),
                None => (Asked::Failed, None),
            },
            Ok(Err(error)) => {
                tracing::debug!(%error, "Redis does not count");
                (Asked::Failed, None)
            }
            Err(_) => (Asked::Late, None),
        };
        let is_lost = match asked {
            Asked::Answered | Asked::Skipped => {
                self.late.store(0, Ordering::Relaxed);
                false
            }
            Asked::Late => self.late.fetch_add(1, Ordering::Relaxed) + 1 >= LATE,
            Asked::Failed => true,
        };
        if is_lost {
            // Nobody else waits for it from here on.
            self.connection.compare_and_swap(&Some(connection), None);
            self.lost.notify_one();
        }
        self.observer.asked(asked);
        told
    }
}
