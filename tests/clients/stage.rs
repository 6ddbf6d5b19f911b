//! A stand-in for Sentry, its canonical host that nobody may call, a gateway before it, and its tokens.

use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::client::Home;
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
    folder: tempfile::TempDir,
    gateway: Option<Serving>,
    tokens: std::cell::RefCell<Vec<String>>,
}

impl Stage {
    /// With a gateway that lets in what is for Sentry's web service.
    pub fn start() -> Self {
        Self::with("api", "")
    }

    /// With a gateway that lets events in too.
    pub fn with_relay() -> Self {
        if std::env::var("CLIENTS_OWN").is_ok() {
            return Self::start();
        }
        Self::with("api\", \"ingest", "[upstream.relay]\nurls = [\"http://RELAY\"]\n")
    }

    /// With a gateway that is called by Sentry's own name, `system.url-prefix`.
    pub fn with_canonical_name() -> Self {
        Self::on(Self::bare(), true, "api", "")
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
            canonical,
            outside: Silent::start(),
            url: String::new(),
            folder: tempfile::tempdir().unwrap(),
            gateway: None,
            tokens: std::cell::RefCell::default(),
        }
    }

    fn with(expose: &str, tables: &str) -> Self {
        Self::on(Self::bare(), false, expose, tables)
    }

    fn on(mut stage: Self, canonical_name: bool, expose: &str, tables: &str) -> Self {
        let port = free_port();
        stage.url = format!("http://127.0.0.1:{port}");
        let canonical = if canonical_name { stage.url.clone() } else { stage.canonical.url() };
        if canonical_name {
            stage.sentry = Sentry::start(canonical.clone());
        }
        if std::env::var("CLIENTS_OWN").is_ok() {
            stage.sentry = Sentry::start(stage.url.clone());
        }
        let web = stage.sentry.web.address;
        let tables = tables.replace("RELAY", &stage.sentry.relay.address.to_string());
        let config = format!(
            r#"public_url = "{}"
[[listen]]
address = "127.0.0.1:{port}"
expose = ["{expose}"]
[admin]
address = "127.0.0.1:0"
[upstream.web]
urls = ["http://{web}"]
canonical_url = "{canonical}"
credential = {{ file = "sentry-token" }}
{tables}
[[store]]
kind = "portcullis"
url = "sqlite://tokens.db"
[server]
threads = 2
drain = "10s"
"#,
            stage.url,
        );
        std::fs::write(stage.folder.path().join("sentry-token"), CREDENTIAL).unwrap();
        std::fs::write(stage.folder.path().join("portcullis.toml"), config).unwrap();
        stage.gateway = Some(Serving::start(stage.folder.path()));
        stage
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
        {
            let url = if std::env::var("CLIENTS_OWN").is_ok() {
                format!("http://{}", self.sentry.relay.address)
            } else {
                self.url.clone()
            };
            format!("{}/2", url.replace("http://", &format!("http://{PUBLIC_KEY}@")))
        }
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

    /// The messages and the access log of the gateway.
    fn output(&self) -> String {
        let access = std::fs::read_to_string(self.folder.path().join("access.log"));
        let log = self.gateway.as_ref().map(|gateway| gateway.log.lock().unwrap().clone());
        access.unwrap_or_default() + &log.unwrap_or_default()
    }
}

impl Drop for Stage {
    /// Whatever a test was about: nothing went behind the gateway's back, and no secret of a client
    /// or of the gateway is in what it wrote.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.output());
            eprintln!("canonical host: {:?}", self.canonical.requests());
            eprintln!("outside: {:?}", self.outside.requests());
            return;
        }
        if self.gateway.is_none() {
            return;
        }
        assert_eq!(self.canonical.connections(), 0, "{:?}", self.canonical.requests());
        assert_eq!(self.outside.connections(), 0, "{:?}", self.outside.requests());
        let output = self.output();
        for secret in [CREDENTIAL, PUBLIC_KEY] {
            assert!(!output.contains(secret), "{secret} in the gateway's log");
        }
        for token in self.tokens.borrow().iter() {
            assert!(!output.contains(token), "a token in the gateway's log");
        }
    }
}

/// A port that is free. Not of those that the system gives to whoever asks for any, one of which
/// another process could be given before the gateway listens.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = std::process::id() % 1_000 * 10;
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(20_000 + (base + u32::from(step)) % 10_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
