//! A gateway in this process, with a store of its own and tokens in it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use portcullis::clock::{Clock, SystemClock, Timestamp};
use portcullis::config::{Config, Machine};
use portcullis::policy::scope::{Scope, ScopeSet};
use portcullis::server::{AccessSink, Server, Stop};
use portcullis::store::portcullis::PortcullisStore;
use portcullis::store::portcullis::admin::{NewToken, TokenKind};
use tokio::sync::watch;

use crate::client::{Reply, request, send};
use crate::upstream::Upstream;

/// The public name; not where it listens, so that nothing works by accident.
pub const HOST: &str = "gw.example";
/// What stands in for tokens of the gateway.
pub const UPSTREAM_TOKEN: &str = "sntryu_upstream-credential";
/// Sentry's own idea of its address.
pub const CANONICAL: &str = "https://sentry.internal";

pub struct Gate {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub upstream: Upstream,
    pub folder: tempfile::TempDir,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// What a test changes of the config.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Instead of `http://gw.example`.
    pub public_url: Option<String>,
    /// Lines at the top level.
    pub top: String,
    /// Lines of `[upstream.web]`.
    pub web: String,
    /// More tables.
    pub tables: String,
    /// An own rule file.
    pub rules: String,
    /// Instead of the upstream's own address.
    pub upstream_url: Option<String>,
}

impl Gate {
    pub fn start() -> Self {
        Self::with(Upstream::start(), &Options::default())
    }

    pub fn before(upstream: Upstream) -> Self {
        Self::with(upstream, &Options::default())
    }

    pub fn with(upstream: Upstream, options: &Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("sentry-token"), UPSTREAM_TOKEN).unwrap();
        std::fs::write(folder.path().join("own.toml"), &options.rules).unwrap();
        let path = folder.path().join("portcullis.toml");
        std::fs::write(&path, config(&upstream, options)).unwrap();
        let config = Config::load(&path, &Machine).unwrap_or_else(|error| panic!("{error}"));
        let server = Server::build(config, AccessSink::Stderr).unwrap();
        let (address, admin) = (server.addresses()[0], server.admin());
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::spawn(move || server.run(Stop::Channel(stopped)));
        let gate = Self { address, admin, upstream, folder, stop, thread: Some(thread) };
        gate.wait_until_ready();
        gate
    }

    fn wait_until_ready(&self) {
        for _ in 0..1000 {
            let ready = std::net::TcpStream::connect(self.admin).is_ok()
                && self.admin("/readyz").is_some_and(|reply| reply.status == 200);
            if ready {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the gateway did not become ready");
    }

    pub fn admin(&self, path: &str) -> Option<Reply> {
        send(self.admin, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
    }

    /// The sum of the series of a metric whose labels contain all of `labels`.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let reply = self.admin("/metrics").unwrap();
        let text = String::from_utf8(reply.body).unwrap();
        let series = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']))
                && labels.iter().all(|label| line.contains(label))
        });
        series.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// Sends a request with these headers, and gets an answer.
    pub fn send(&self, line: &str, headers: &[(&str, &str)]) -> Reply {
        self.send_body(line, headers, b"")
    }

    pub fn send_body(&self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        send(self.address, &request(line, headers, body)).expect("an answer")
    }

    /// Sends a request with a Bearer token.
    pub fn bearer(&self, line: &str, token: &str) -> Reply {
        self.send(line, &[("Authorization", &format!("Bearer {token}"))])
    }

    pub fn store(&self) -> PathBuf {
        self.folder.path().join("tokens.db")
    }

    /// A Bearer token with these scopes.
    pub fn token(&self, scopes: &str) -> String {
        self.create(new("t", TokenKind::Bearer, scopes))
    }

    pub fn create(&self, new: NewToken) -> String {
        create(&self.store(), new)
    }

    /// Stops it and waits until it has ended.
    pub fn stop(mut self) {
        self.end();
    }

    /// Tells it to stop and does not wait.
    pub fn ask_to_stop(&self) {
        self.stop.send_replace(true);
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the gateway panicked");
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.end();
    }
}

fn config(upstream: &Upstream, options: &Options) -> String {
    let public = options.public_url.clone().unwrap_or_else(|| format!("http://{HOST}"));
    let url = options.upstream_url.clone().unwrap_or_else(|| format!("http://{}", upstream.address));
    let Options { top, web, tables, .. } = options;
    format!(
        r#"public_url = "{public}"
{top}
[[listen]]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[upstream.web]
urls = ["{url}"]
canonical_url = "{CANONICAL}"
credential = {{ file = "sentry-token" }}
{web}
[[store]]
kind = "portcullis"
url = "sqlite://tokens.db"
[rules]
files = ["own.toml"]
[server]
threads = 2
drain = "10s"
{tables}
"#
    )
}

/// The description of a token; each gets a name of its own.
pub fn new(name: &str, kind: TokenKind, scopes: &str) -> NewToken {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let scopes: ScopeSet = match scopes {
        "all" => ScopeSet::ALL,
        "read" => ScopeSet::READ,
        names => names.split_whitespace().map(|name| name.parse::<Scope>().unwrap()).collect(),
    };
    NewToken { expires_at: Some(hours(1)), ..NewToken::new(format!("{name}-{count}"), kind, scopes) }
}

/// So many hours from now; hours ago when negative.
pub fn hours(hours: i64) -> Timestamp {
    let now = SystemClock.now().as_millis();
    Timestamp::from_millis(now.saturating_add_signed(hours * 3_600_000))
}

pub fn create(store: &Path, new: NewToken) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = PortcullisStore::open("test", store, clock).await.unwrap();
        let secret = store.create(new).await.unwrap().secret;
        store.close().await;
        secret
    })
}
