//! A gateway as a process of its own, with a store and tokens in it.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis::clock::{Clock as _, SystemClock, Timestamp};
use portcullis::policy::credential::Digest;
use portcullis::policy::identity::Binding;
use portcullis::policy::scope::{Scope, ScopeSet};
use portcullis::store::portcullis::admin::NewToken;
use portcullis::store::portcullis::{IfMissing, PortcullisStore, StoreLocation, TokenKind};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::client::{PATIENCE, Reply, request, send};
use crate::process::Serving;
use crate::upstream::Upstream;

/// The public name; not where it listens, so that nothing works by accident.
pub const HOST: &str = "gw.example";
/// What operators present.
pub const ADMIN: &str = "an-admin-credential-of-a-test";
/// What stands in for tokens of the gateway.
pub const UPSTREAM_TOKEN: &str = "sntryu_upstream-credential";
/// Sentry's own idea of its address.
pub const CANONICAL: &str = "https://sentry.internal";
/// The store with tokens of the gateway.
pub const OWN_STORE: &str = "[[store]]\nkind = \"portcullis\"\nurl = \"sqlite://tokens.db\"\n";

pub struct Gate {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub upstream: Upstream,
    pub folder: tempfile::TempDir,
    serving: Serving,
}

/// What a test changes of the config.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Instead of `http://gw.example`.
    pub public_url: Option<String>,
    /// Lines at the top level.
    pub top: String,
    /// Lines of `[[listen]]`.
    pub listen: String,
    /// Files beside the config, each with its text.
    pub files: Vec<(String, String)>,
    /// Lines of `[admin]`.
    pub admin: String,
    /// Lines of `[upstream.web]`.
    pub web: String,
    /// Lines of `[[store]]`.
    pub store: String,
    /// Instead of the `[[store]]` with tokens of the gateway.
    pub stores: Option<String>,
    /// Lines of `[server]`.
    pub server: String,
    /// More tables.
    pub tables: String,
    /// An own rule file.
    pub rules: String,
    /// Instead of the upstream's own address.
    pub upstream_url: Option<String>,
    /// More addresses of the upstream, after it.
    pub more_upstreams: Vec<SocketAddr>,
    /// Worker threads; by default 2.
    pub threads: Option<usize>,
    /// Variables of its environment.
    pub environment: Vec<(String, String)>,
    /// Words that run the program that is the last of them, instead of the program alone.
    pub program: Option<Vec<String>>,
}

impl Gate {
    pub fn start() -> Self {
        Self::with(Upstream::start(), &Options::default())
    }

    pub fn before(upstream: Upstream) -> Self {
        Self::with(upstream, &Options::default())
    }

    pub fn with(upstream: Upstream, options: &Options) -> Self {
        let folder = open_folder();
        std::fs::write(folder.path().join("sentry-token"), UPSTREAM_TOKEN).unwrap();
        std::fs::write(folder.path().join("admin-credential"), ADMIN).unwrap();
        std::fs::write(folder.path().join("own.toml"), &options.rules).unwrap();
        for (name, text) in &options.files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let path = folder.path().join("portcullis.toml");
        std::fs::write(&path, config(&upstream, options)).unwrap();
        let serving =
            Serving::start_in(folder.path(), &options.environment, options.program.as_deref());
        let (address, admin) = (serving.address, serving.admin);
        let gate = Self { address, admin, upstream, folder, serving };
        gate.wait_until_ready();
        gate
    }

    fn wait_until_ready(&self) {
        eventually("a gateway that is ready", || {
            std::net::TcpStream::connect(self.admin).is_ok()
                && self.admin("/readyz").is_some_and(|reply| reply.status == 200)
        });
    }

    /// A gateway with [`ADMIN`] as the credential of its operators.
    pub fn with_admin() -> Self {
        let admin = "credential = { file = \"admin-credential\" }".to_owned();
        Self::with(Upstream::start(), &Options { admin, ..Options::default() })
    }

    /// Asks the admin listener for what it has for operators.
    pub fn operator(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        send(self.admin, &request(line, headers, body.as_bytes())).expect("an answer")
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

    /// What the series count together becomes so much; a client has its answer a little earlier.
    pub fn counts(&self, name: &str, labels: &[&str], expected: f64) {
        let mut last = f64::NAN;
        let what = format!("{expected} of {name} {labels:?}");
        eventually(&what, || {
            last = self.metric(name, labels);
            last == expected
        });
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

    /// Runs SQL on the token store, as another process would.
    pub fn sql(&self, text: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let options = SqliteConnectOptions::new().filename(self.store()).busy_timeout(PATIENCE);
            let mut connection = options.connect().await.unwrap();
            let query = sqlx::raw_sql(sqlx::AssertSqlSafe(text.to_owned()));
            query.execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        });
    }

    /// Waits until the gateway has noticed every change of its tokens so far, each of which makes
    /// it forget what it has cached of them.
    pub fn settle(&self) {
        let noticed = || self.metric("portcullis_revocation_lag_seconds_count", &[]);
        let before = noticed();
        // What changed before the gateway first looked is not counted, so one may not be enough.
        eventually("a change that is noticed", || {
            self.sql("INSERT INTO change (digest, revoked_at) VALUES (zeroblob(32), 1)");
            std::thread::sleep(Duration::from_millis(300));
            noticed() > before
        });
    }

    /// The id of a token, by which its store and its log know it.
    pub fn id_of(&self, token: &str) -> String {
        with_store(&self.store(), async |store| {
            let (tokens, damaged) = store.list().await.unwrap();
            assert!(damaged.is_empty(), "{damaged:?}");
            tokens.into_iter().find(|known| known.digest == Digest::of(token)).unwrap().id
        })
    }

    /// Runs another `portcullis` on the same config, which must do what it is told.
    pub fn portcullis(&self, words: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(words).arg("--config").arg(self.folder.path().join("portcullis.toml"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
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

    /// The number of its process.
    pub fn process(&self) -> u32 {
        self.serving.process.id()
    }

    /// The most memory that it has had so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// The memory that it has, in bytes.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The time that it has spent on processors so far, in seconds.
    pub fn processor_time(&self) -> f64 {
        /// Of a second, whatever the kernel's own (`USER_HZ`).
        const TICKS: f64 = 100.0;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process())).unwrap();
        let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let [user, system] = [11, 12].map(|index: usize| fields[index].parse::<f64>().unwrap());
        (user + system) / TICKS
    }

    fn status(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.process());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    }

    /// Everything that it has written: access log and messages.
    pub fn output(&self) -> String {
        let access = std::fs::read_to_string(self.folder.path().join("access.log")).unwrap();
        access + &self.serving.log.lock().unwrap()
    }

    /// Its access lines, once it has been stopped.
    pub fn access_lines(&self) -> Vec<serde_json::Value> {
        let access = std::fs::read_to_string(self.folder.path().join("access.log")).unwrap();
        access.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Where it listens to clients, in the order of the config.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.serving.addresses
    }

    /// Its exit code, if it has ended.
    pub fn try_wait(&mut self) -> Option<i32> {
        self.serving.process.try_wait().unwrap().and_then(|status| status.code())
    }

    /// Asks it to stop, as an orchestrator does.
    pub fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let pid = self.process().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Waits until it has ended by itself, and gives its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        for _ in 0..6000 {
            if let Some(status) = self.serving.process.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the gateway did not end")
    }

    /// Stops it and waits until it has ended, fine.
    pub fn stop(&mut self) {
        self.terminate();
        assert_eq!(self.wait(), Some(0), "{}", self.output());
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.output());
        }
    }
}

fn config(upstream: &Upstream, options: &Options) -> String {
    let public = options.public_url.clone().unwrap_or_else(|| format!("http://{HOST}"));
    let url =
        options.upstream_url.clone().unwrap_or_else(|| format!("http://{}", upstream.address));
    let more = options.more_upstreams.iter().map(|address| format!("http://{address}"));
    let urls: Vec<_> = std::iter::once(url).chain(more).collect();
    // A test that looks at what the upstream received asks for checks itself.
    let health = match options.web.contains("health_interval") {
        true => "",
        false => "health_interval = \"0s\"",
    };
    let Options { top, listen, admin, web, store, tables, .. } = options;
    let mut server = options.server.clone();
    for (name, line) in [("stop_delay", "stop_delay = \"0s\""), ("drain", "drain = \"10s\"")] {
        if !server.contains(name) {
            server = format!("{line}\n{server}");
        }
    }
    let threads = options.threads.unwrap_or(2);
    let own = || format!("{OWN_STORE}{store}");
    let stores = options.stores.clone().unwrap_or_else(own);
    format!(
        r#"public_url = "{public}"
{top}
[[listen]]
address = "127.0.0.1:0"
{listen}
[admin]
address = "127.0.0.1:0"
{admin}
[upstream.web]
urls = {urls:?}
{health}
canonical_url = "{CANONICAL}"
credential = {{ file = "sentry-token" }}
{web}
{stores}
[rules]
files = ["own.toml"]
[server]
threads = {threads}
{server}
{tables}
"#
    )
}

/// Waits until `condition` holds, which it must before long.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = SystemClock.instant();
    while !condition() {
        let waited = SystemClock.instant().saturating_duration_since(start);
        assert!(waited < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Has whatever else runs end when this one does, also when a test fails.
pub struct Ending<'a>(pub &'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A folder that others may read, since some gateways run as somebody else.
pub fn open_folder() -> tempfile::TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap()
}

/// The description of a token; each gets a name of its own.
pub fn new(name: &str, kind: TokenKind, scopes: &str) -> NewToken {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let scopes: ScopeSet = match scopes {
        "all" => ScopeSet::ALL,
        "read" => ScopeSet::READ,
        names => names.split_whitespace().map(|name| name.parse::<Scope>().unwrap()).collect(),
    };
    NewToken {
        kind,
        name: format!("{name}-{count}"),
        scopes,
        organizations: Binding::Any,
        projects: Binding::Any,
        allowed_origins: Vec::new(),
        narrowing: portcullis::policy::identity::Narrowing::NONE,
        expires_at: Some(hours(1)),
    }
}

/// A binding to exactly these.
pub fn only(names: &[&str]) -> Binding {
    Binding::Only(names.iter().map(|name| Box::from(*name)).collect())
}

/// So many hours from now; hours ago when negative.
pub fn hours(hours: i64) -> Timestamp {
    let now = SystemClock.now().as_millis();
    Timestamp::from_millis(now.saturating_add_signed(hours * 3_600_000))
}

pub fn create(path: &Path, new: NewToken) -> String {
    with_store(path, async |store| {
        let issued = store.create(new, SystemClock.now()).await.unwrap();
        issued.secret.expose().to_owned()
    })
}

/// Opens the store as another process would, and closes it again.
pub fn with_store<T>(path: &Path, work: impl AsyncFnOnce(&PortcullisStore) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let location = StoreLocation::file(path);
        let store = PortcullisStore::open(&location, IfMissing::Create).await.unwrap();
        let done = work(&store).await;
        store.close().await;
        done
    })
}
