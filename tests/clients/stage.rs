//! A stand-in for Sentry, its canonical host that nobody may call, a gateway before it, and its tokens.

use std::cell::RefCell;
use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use portcullis::clock::{Clock as _, SystemClock};
use serde_json::Value;

use crate::client::{Home, PATIENCE, wait};
use crate::http::Seen;
use crate::process::Serving;
use crate::sentry::{CREDENTIAL, PUBLIC_KEY, Sentry};
use crate::silent::Silent;

pub struct Stage {
    pub sentry: Sentry,
    pub canonical: Silent,
    /// The proxy for what is not on loopback.
    pub outside: Silent,
    /// What clients call.
    pub url: String,
    /// Its `system.url-prefix`.
    canonical_url: String,
    pub folder: tempfile::TempDir,
    gateway: Option<Serving>,
    /// The secrets that were made.
    tokens: RefCell<Vec<String>>,
}

impl Stage {
    /// With a gateway that lets in what is for Sentry's web service.
    pub fn start() -> Self {
        Self::bare().called(&free_url(), "\"api\"", "")
    }

    /// With a gateway that lets events in too.
    pub fn with_relay() -> Self {
        let stage = Self::bare();
        let relay = stage.sentry.relay.address;
        let table = format!("[upstream.relay]\nurls = [\"http://{relay}\"]");
        stage.called(&free_url(), "\"api\", \"ingest\"", &table)
    }

    /// With a gateway that is called by Sentry's own name, `system.url-prefix`.
    pub fn with_canonical_name() -> Self {
        let url = free_url();
        let mut stage = Self::bare();
        stage.sentry = Sentry::start(url.clone());
        stage.canonical_url.clone_from(&url);
        stage.called(&url, "\"api\"", "")
    }

    /// Without a gateway: clients call the stand-in itself.
    pub fn without_gateway() -> Self {
        let mut stage = Self::bare();
        stage.url = format!("http://{}", stage.sentry.web.address);
        stage
    }

    fn bare() -> Self {
        let canonical = Silent::start();
        Self {
            sentry: Sentry::start(canonical.url()),
            canonical_url: canonical.url(),
            canonical,
            outside: Silent::start(),
            url: String::new(),
            folder: tempfile::tempdir().unwrap(),
            gateway: None,
            tokens: RefCell::default(),
        }
    }

    /// Starts a gateway that clients call by this URL.
    fn called(mut self, url: &str, expose: &str, table: &str) -> Self {
        url.clone_into(&mut self.url);
        let config = format!(
            r#"public_url = "{url}"
[[listen]]
address = "{address}"
expose = [{expose}]
[admin]
address = "127.0.0.1:0"
[upstream.web]
urls = ["http://{web}"]
canonical_url = "{canonical}"
credential = {{ file = "sentry-token" }}
{table}
[[store]]
kind = "portcullis"
url = "sqlite://tokens.db"
[server]
threads = 2
stop_delay = "0s"
drain = "10s"
"#,
            address = url.strip_prefix("http://").unwrap(),
            web = self.sentry.web.address,
            canonical = self.canonical_url,
        );
        std::fs::write(self.folder.path().join("sentry-token"), CREDENTIAL).unwrap();
        std::fs::write(self.folder.path().join("portcullis.toml"), config).unwrap();
        self.gateway = Some(Serving::start(self.folder.path()));
        self
    }

    /// A Bearer token of the gateway with these scopes.
    pub fn token(&self, scopes: &str) -> String {
        self.create("bearer", scopes)
    }

    /// A credential of the gateway.
    pub fn create(&self, kind: &str, scopes: &str) -> String {
        let name = format!("{kind} {}", self.tokens.borrow().len());
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(["token", "create", "--expires", "1h", "--kind", kind, "--name", &name]);
        command.args(scopes.split_whitespace().flat_map(|scope| ["--scope", scope]));
        command.arg("--config").arg(self.folder.path().join("portcullis.toml"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let secret = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        self.tokens.borrow_mut().push(secret.clone());
        secret
    }

    /// A home for a client that is nobody yet.
    pub fn home(&self) -> Home {
        Home::new(&self.outside.url()).set("SENTRY_URL", &self.url)
    }

    /// A home for a client with this token, for the organisation and the project that there are.
    pub fn home_with(&self, token: &str) -> Home {
        self.home()
            .set("SENTRY_AUTH_TOKEN", token)
            .set("SENTRY_ORG", "acme")
            .set("SENTRY_PROJECT", "web")
    }

    /// The address that events of project 2 are sent to.
    pub fn dsn(&self) -> String {
        format!("{}/2", self.url.replace("http://", &format!("http://{PUBLIC_KEY}@")))
    }

    /// What Sentry's web service has received since it was last asked. All of it came through the
    /// gateway with the gateway's own credential, and with nothing of what the client presented.
    pub fn seen(&self) -> Vec<Seen> {
        let seen = self.sentry.web.take();
        for one in &seen {
            let credential = format!("Bearer {CREDENTIAL}");
            assert_eq!(one.header("authorization"), Some(&*credential), "{}", one.line());
            // It is of one connection alone, and older clients send it.
            assert_eq!(one.header("te"), None, "{}", one.line());
            assert!(!one.chunked, "a body that Sentry would not read: {}", one.line());
            for token in self.tokens.borrow().iter() {
                assert!(!one.mentions(token), "the client's credential in {one:?}");
            }
        }
        seen
    }

    /// The same, as `METHOD /path` each.
    pub fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }

    /// Has a new process of the gateway take over, and gives it once it serves.
    pub fn hand_over(&self) -> Successor {
        let gateway = self.gateway.as_ref().unwrap();
        let pid = gateway.process.id().to_string();
        assert!(Command::new("kill").args(["-USR2", &pid]).status().unwrap().success());
        let start = SystemClock.instant();
        loop {
            let log = gateway.log.lock().unwrap().clone();
            let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            if let Some(line) = lines.find(|line| line["message"] == "a new process serves") {
                return Successor(line["process"].to_string());
            }
            let waited = SystemClock.instant().saturating_duration_since(start);
            assert!(waited < PATIENCE, "{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The messages and the access log of the gateway, which has ended.
    fn output(&mut self) -> String {
        if let Some(gateway) = &mut self.gateway {
            let pid = gateway.process.id().to_string();
            let _ = Command::new("kill").args(["-TERM", &pid]).status();
            wait(&mut gateway.process);
        }
        let access = std::fs::read_to_string(self.folder.path().join("access.log"));
        let log = self.gateway.as_ref().map(|gateway| gateway.log.lock().unwrap().clone());
        access.unwrap_or_default() + &log.unwrap_or_default()
    }
}

/// A process that has taken over. It ends with this value.
pub struct Successor(String);

impl Drop for Successor {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.0]).status();
    }
}

impl Drop for Stage {
    /// Whatever a test was about: nothing went behind the gateway's back, and no secret of a client
    /// or of the gateway is in what it wrote.
    fn drop(&mut self) {
        let output = self.output();
        if std::thread::panicking() {
            eprintln!("{output}");
            eprintln!("canonical host: {:?}", self.canonical.requests());
            eprintln!("outside: {:?}", self.outside.requests());
            return;
        }
        if self.gateway.is_none() {
            return;
        }
        assert_eq!(self.canonical.connections(), 0, "{:?}", self.canonical.requests());
        assert_eq!(self.outside.connections(), 0, "{:?}", self.outside.requests());
        assert!(output.contains("\"serving\""), "{output}");
        for secret in [CREDENTIAL, PUBLIC_KEY] {
            assert!(!output.contains(secret), "{secret} in the gateway's log");
        }
        for token in self.tokens.borrow().iter() {
            assert!(!output.contains(token), "a token in the gateway's log");
        }
    }
}

/// A URL for a gateway, on a port that is free. Not of those that the system gives to whoever asks for
/// any, one of which another process could be given before the gateway listens.
pub fn free_url() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = std::process::id() % 1_000 * 10;
    loop {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let address = format!("127.0.0.1:{}", 20_000 + (base + step) % 10_000);
        if TcpListener::bind(&address).is_ok() {
            return format!("http://{address}");
        }
    }
}
