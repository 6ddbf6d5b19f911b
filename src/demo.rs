//! The quickstart: a gateway in front of a sample upstream, with tokens of every kind.

mod sample;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::config::{Config, Machine};
use crate::policy::identity::{Binding, Narrowing};
use crate::policy::scope::ScopeSet;
use crate::server::{AccessSink, Listener, Server};
use crate::store::portcullis::admin::NewToken;
use crate::store::portcullis::{IfMissing, PortcullisStore, StoreLocation, TokenKind};

/// The tokens of a demo, by the names that its output has.
#[derive(Clone, Debug, Serialize)]
pub struct Tokens {
    /// Every scope.
    pub all: String,
    /// The scopes that read.
    pub read: String,
    /// No scope.
    pub none: String,
    /// Every scope, expired.
    pub expired: String,
    /// An API key with the scopes that read, for Basic.
    pub api_key: String,
    /// A DSN of the project `web`.
    pub dsn: String,
}

/// A demo that is ready to run.
pub struct Demo {
    server: Server,
    /// The tokens.
    pub tokens: Tokens,
    /// Where the gateway is.
    pub gateway: SocketAddr,
    /// Where its admin listener is.
    pub admin: SocketAddr,
    /// Where the sample upstream is.
    pub upstream: SocketAddr,
    /// Holds the token store; deleted with the demo.
    _folder: tempfile::TempDir,
}

impl Demo {
    /// Puts a demo together at these addresses; port 0 takes a free one.
    ///
    /// # Errors
    /// What could not be taken, opened or started.
    pub fn build(listen: SocketAddr, admin: SocketAddr) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("there is no temporary folder for the demo")?;
        let [public, operators, sample] =
            [listen, admin, SocketAddr::from(([127, 0, 0, 1], 0))].map(Listener::open);
        let (public, operators, sample) = (public?, operators?, sample?);
        let (listened, admin) = (public.address(), called(operators.address()));
        let gateway = called(listened);
        let upstream = sample.address();
        let path = folder.path().join("tokens.db");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let tokens = runtime.block_on(create_tokens(&path, gateway))?;
        drop(runtime);

        // The sample takes any credential; this one shows that tokens are exchanged.
        std::fs::write(folder.path().join("sentry-token"), "sample-upstream-credential")?;
        let config = Config::parse(
            &folder.path().join("portcullis.toml"),
            &config(listened, operators.address(), upstream),
            &Machine,
        )?;
        let mut server = Server::build_on(config, vec![public], operators, AccessSink::Stderr)?;
        server.add_service("sample", sample::Sample, sample);
        Ok(Self { server, tokens, gateway, admin, upstream, _folder: folder })
    }

    /// Serves until a signal comes.
    ///
    /// # Errors
    /// When a part of the gateway failed that it can't do without.
    pub fn run(self) -> anyhow::Result<()> {
        self.server.run()
    }
}

/// The demo is called by the address that it listens to, or by the name of this machine to itself.
fn config(gateway: SocketAddr, admin: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        r#"public_url = "http://{called}"
public_aliases = ["http://localhost:{port}"]
[[listen]]
address = "{gateway}"
[admin]
address = "{admin}"
[upstream.web]
urls = ["http://{upstream}"]
canonical_url = "{canonical}"
credential = {{ file = "sentry-token" }}
[[store]]
kind = "portcullis"
url = "sqlite://tokens.db"
"#,
        called = called(gateway),
        port = gateway.port(),
        canonical = sample::CANONICAL_URL,
    )
}

/// How this machine calls `address`, which may be all of its addresses.
fn called(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    };
    SocketAddr::new(ip, address.port())
}

async fn create_tokens(path: &Path, gateway: SocketAddr) -> anyhow::Result<Tokens> {
    let store = PortcullisStore::open(&StoreLocation::file(path), IfMissing::Create).await?;
    let now = SystemClock.now();
    let tomorrow = now.after(Duration::from_secs(24 * 60 * 60));
    let past = Timestamp::from_millis(now.as_millis().saturating_sub(60_000));
    let token = |name: &str, kind, scopes, expires_at| NewToken {
        kind,
        name: name.to_owned(),
        scopes,
        organizations: Binding::Any,
        projects: Binding::Any,
        allowed_origins: Vec::new(),
        narrowing: Narrowing::NONE,
        expires_at: Some(expires_at),
    };
    let only = |names: &[&str]| Binding::Only(names.iter().map(|name| Box::from(*name)).collect());
    let new = [
        token("all", TokenKind::Bearer, ScopeSet::ALL, tomorrow),
        token("read", TokenKind::Bearer, ScopeSet::READ, tomorrow),
        token("none", TokenKind::Bearer, ScopeSet::EMPTY, tomorrow),
        token("expired", TokenKind::Bearer, ScopeSet::ALL, past),
        token("api_key", TokenKind::ApiKey, ScopeSet::READ, tomorrow),
        NewToken {
            organizations: only(&["acme"]),
            projects: only(&["2", "web"]),
            ..token("dsn", TokenKind::Dsn, ScopeSet::PROJECT_KEY, tomorrow)
        },
    ];
    let mut issued = Vec::new();
    for new in new {
        issued.push(store.create(new, now).await?);
    }
    store.close().await;
    let dsn = issued.last().and_then(|issued| issued.dsn(&format!("http://{gateway}")));
    let dsn = dsn.context("the demo has no DSN")?;
    let secrets = issued.iter().map(|issued| issued.secret.expose().to_owned());
    let [all, read, none, expired, api_key, _] =
        <[String; 6]>::try_from(secrets.collect::<Vec<_>>())
            .map_err(|_| anyhow::anyhow!("a demo has six tokens"))?;
    Ok(Tokens { all, read, none, expired, api_key, dsn })
}
