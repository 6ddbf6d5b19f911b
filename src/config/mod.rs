//! The config: a file, read once, into things that work.
//!
//! [`raw`] mirrors the file, [`compile`] turns it into a [`Config`] or says everything that is
//! wrong with it. What is compiled can't be invalid any more: the request path meets no config
//! error.
//!
//! **Invariant:** no sockets and no stores are opened in here; files, the environment and the time
//! are read through [`Source`].

mod compile;
mod problem;
mod raw;
pub mod reference;
mod rules;
pub mod schema;
mod store;
mod value;
mod version;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use ipnet::IpNet;

pub use problem::{ConfigError, Problem};
pub use store::{Introspection, Own, Server as StoreServer, ServerOrigin, Store, StoreKind};
pub use version::{BadVersion, SentryVersion};

use crate::assertion::AssertionSettings;
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::limit::table::Limit;
use crate::policy::Policy;
use crate::policy::credential::Digest;
use crate::policy::exposure::{Exposures, Service};
use crate::policy::rules::RuleTable;
use crate::policy::site::BaseUrl;
use crate::rewrite::UrlRewriter;
use crate::seats::SeatLimits;
use crate::server_tls::{ServerTls, Shown};
pub use crate::shared_counts::redis::Settings as Redis;
use crate::spool::SpoolSettings;
use crate::telemetry::audit::{AuditSettings, Output};
use crate::telemetry::errors::ErrorSettings;
use crate::telemetry::privacy::Privacy;
use crate::telemetry::spans::Settings as Traces;
use crate::tls::ClientTls;

/// The annotated default config, as it is shipped.
pub const DEFAULT: &str = include_str!("../../config/portcullis.toml");
/// The rules for Sentry, as they are shipped.
pub const SENTRY_RULES: &str = include_str!("../../config/sentry.toml");
/// What the shipped rules are called in messages and logs.
pub const SENTRY_RULES_NAME: &str = "sentry.toml";

/// The profiles that come with the gateway.
pub const PROFILES: &str = include_str!("../../config/profiles.toml");
/// What they are called in messages and logs.
pub const PROFILES_NAME: &str = "profiles.toml";

/// The rules for what is not the Web API, as they are shipped.
pub const EDGE_RULES: &str = include_str!("../../config/edge.toml");
/// What they are called in messages and logs.
pub const EDGE_RULES_NAME: &str = "edge.toml";

/// A config that can be served.
#[derive(Debug)]
pub struct Config {
    /// The start of the SHA-256 of the config and its rule files, secrets aside: 8 hex digits.
    pub hash: String,
    /// Rules and public names.
    pub policy: Policy,
    /// The version of Sentry that the rules are for.
    pub sentry_version: SentryVersion,
    /// Where clients are listened to.
    pub listen: Vec<Listen>,
    /// Where operators are listened to.
    pub admin: SocketAddr,
    /// What operators present there for anything but health and metrics.
    pub admin_credential: Option<Digest>,
    /// Host names that a browser may call the status page by.
    pub admin_names: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Where requests go.
    pub upstreams: Upstreams,
    /// What Sentry calls itself in the URLs that it sends; the first is its `system.url-prefix`.
    pub canonical: Vec<BaseUrl>,
    /// `Authorization` in place of tokens that the gateway issued. Sensitive: prints nothing.
    pub credential: Option<HeaderValue>,
    /// The same for profiles that have one of their own, by [`CredentialId::extra`].
    ///
    /// [`CredentialId::extra`]: crate::policy::profile::CredentialId::extra
    pub profile_credentials: Vec<HeaderValue>,
    /// Whether upstreams are told who called.
    pub identity_headers: bool,
    /// How upstreams are told of the decision, signed; `None` when they are not.
    pub assertion: Option<AssertionSettings>,
    /// The token stores, in the order in which they are asked.
    pub stores: Vec<Store>,
    /// The identity cache.
    pub cache: Cache,
    /// How often callers may send requests, and how many at once.
    pub limits: Vec<Limit>,
    /// Where those are counted that a fleet shares.
    pub redis: Option<Redis>,
    /// Where request bodies are kept.
    pub spool: SpoolSettings,
    /// What is logged.
    pub log: Log,
    /// What is audited; `None` when nothing is.
    pub audit: Option<AuditSettings>,
    /// How much of clients is recorded.
    pub privacy: Privacy,
    /// Where spans go, if they are made.
    pub traces: Option<Traces>,
    /// Where the gateway's own errors are reported, if they are.
    pub errors: Option<ErrorSettings>,
    /// How the process runs.
    pub server: Server,
    /// What an operator should know, though it can be served.
    pub notes: Vec<Problem>,
}

impl Config {
    /// What recognises Sentry's own URLs.
    pub fn rewriter(&self) -> UrlRewriter {
        let urls = self.upstreams.iter().flat_map(|(_, upstream)| &upstream.urls);
        UrlRewriter::new(self.canonical.iter().chain(urls).cloned())
    }
}

/// A listener for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Its address.
    pub address: SocketAddr,
    /// What it lets in.
    pub exposed: Exposures,
    /// How its clients speak TLS; `None` when they don't.
    pub tls: Option<ServerTls>,
    /// Load balancers that begin each connection with a PROXY protocol header, and who may connect at
    /// all then; `None` without one.
    pub proxy_protocol: Option<Vec<IpNet>>,
}

/// The parts of Sentry.
#[derive(Debug, PartialEq)]
pub struct Upstreams {
    /// The web service.
    pub web: Upstream,
    /// Relay.
    pub relay: Option<Upstream>,
    /// What serves the files of the pages, where that is not the web service.
    pub assets: Option<Upstream>,
}

impl Upstreams {
    /// Those that there are.
    pub fn iter(&self) -> impl Iterator<Item = (Service, &Upstream)> {
        let relay = self.relay.as_ref().map(|relay| (Service::Relay, relay));
        let assets = self.assets.as_ref().map(|assets| (Service::Assets, assets));
        std::iter::once((Service::Web, &self.web)).chain(relay).chain(assets)
    }

    /// The certificates that they are shown.
    pub fn shown(&self) -> Vec<Shown> {
        let shown = self.iter().filter_map(|(_, upstream)| upstream.tls.shown());
        shown.map(|(path, not_after)| Shown { path: path.to_owned(), not_after }).collect()
    }

    /// Whether there is one to go to.
    pub const fn has(&self, service: Service) -> bool {
        match service {
            Service::Web | Service::Assets => true,
            Service::Relay => self.relay.is_some(),
        }
    }
}

/// A part of Sentry.
#[derive(Debug, PartialEq)]
pub struct Upstream {
    /// Where it is reached: at least one address, all of one scheme, without a path.
    pub urls: Vec<BaseUrl>,
    /// How TLS is spoken with `https` URLs.
    pub tls: Arc<ClientTls>,
    /// Whether HTTP/2 is spoken where TLS agrees on it.
    pub http2: bool,
    /// The largest request body, in bytes, where a rule does not say.
    pub max_body: u64,
    /// How long a connection may take to be made, TLS included.
    pub connect_timeout: Duration,
    /// How long it may be silent, where a rule does not say.
    pub timeout: Duration,
    /// How long an idle connection is kept; shorter than the upstream keeps it.
    pub idle_timeout: Duration,
    /// Whether it reads chunked request bodies; if not, they are kept until their length is known.
    pub takes_chunks: bool,
    /// How its addresses are checked, if they are.
    pub health: Option<HealthCheck>,
    /// How many requests may be in flight to it.
    pub max_in_flight: u32,
    /// How many may wait for one of these to end.
    pub max_waiting: u32,
    /// How long one may wait.
    pub max_wait: Duration,
}

/// How the addresses of an upstream are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked for: a path, with a query if there is one.
    pub path: String,
    /// How long between two checks.
    pub interval: Duration,
}

/// The identity cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// How long an identity is believed.
    pub ttl: Duration,
    /// How long an unknown token stays unknown.
    pub unknown_ttl: Duration,
    /// How long past `ttl` an identity is believed while the store can't answer.
    pub stale_if_error: Duration,
    /// How many identities are kept.
    pub capacity: u64,
    /// How long it is believed which id a slug has, and which project an issue.
    pub directory_ttl: Duration,
    /// Where the last known identities are written to.
    pub snapshot: Option<PathBuf>,
}

/// What is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// The gateway's own messages.
    pub level: crate::telemetry::diagnostics::Level,
    /// Whether requests are logged.
    pub access: bool,
}

/// What administering tokens needs.
#[derive(Debug)]
pub struct Administration {
    /// Where the gateway's own tokens are, if it has any.
    pub own: Option<Own>,
    /// The public address.
    pub public_url: BaseUrl,
    /// Where the audit goes, if there is one.
    pub audit: Option<Output>,
}

/// How the process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Worker threads.
    pub threads: usize,
    /// How long new connections are taken after SIGTERM, while `/readyz` says that the gateway stops.
    pub stop_delay: Duration,
    /// How long requests in flight may take to end then.
    pub drain: Duration,
    /// How many connections of clients there may be.
    pub seats: SeatLimits,
}

/// Where files, the environment and the time are read from.
pub trait Source {
    /// The time.
    fn now(&self) -> Timestamp;
    /// The text of a file.
    ///
    /// # Errors
    /// As the file system has them.
    fn read(&self, path: &Path) -> io::Result<String>;
    /// A variable of the environment.
    fn env(&self, name: &str) -> Option<String>;
}

/// The machine's own files, environment and clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine;

impl Source for Machine {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

impl Config {
    /// Reads and compiles the config at `path`.
    ///
    /// # Errors
    /// [`ConfigError`] with every problem that was found.
    pub fn load(path: &Path, source: &dyn Source) -> Result<Self, ConfigError> {
        let text = source.read(path).map_err(|error| ConfigError::read(path, &error))?;
        Self::parse(path, &text, source)
    }

    /// Reads nothing but what administering tokens needs of the config at `path`. Other secrets are not
    /// touched.
    ///
    /// # Errors
    /// [`ConfigError`] with every problem of these.
    pub fn load_administration(
        path: &Path,
        source: &dyn Source,
    ) -> Result<Administration, ConfigError> {
        let text = source.read(path).map_err(|error| ConfigError::read(path, &error))?;
        compile::administration(&raw(path, &text)?, folder(path), source)
            .map_err(|problems| ConfigError::new(path, problems))
    }

    /// Reads nothing but the rules of the config at `path`.
    ///
    /// # Errors
    /// [`ConfigError`] with every problem of these.
    pub fn load_rules(path: &Path, source: &dyn Source) -> Result<RuleTable, ConfigError> {
        let text = source.read(path).map_err(|error| ConfigError::read(path, &error))?;
        compile::rules(&raw(path, &text)?.rules, folder(path), source)
            .map_err(|problems| ConfigError::new(path, problems))
    }

    /// The shipped rules for a version of Sentry.
    ///
    /// # Errors
    /// [`ConfigError`] when they know no version that old.
    pub fn sentry_rules(version: SentryVersion) -> Result<RuleTable, ConfigError> {
        let rules =
            raw::RawRules { sentry_version: Some(version.to_string()), ..Default::default() };
        compile::rules(&rules, Path::new("."), &Machine)
            .map_err(|problems| ConfigError::new(Path::new(SENTRY_RULES_NAME), problems))
    }

    /// Compiles the text of a config; `path` is what it is called, and where its relative paths
    /// start from.
    ///
    /// # Errors
    /// [`ConfigError`] with every problem that was found.
    pub fn parse(path: &Path, text: &str, source: &dyn Source) -> Result<Self, ConfigError> {
        compile::compile(text, raw(path, text)?, folder(path), source)
            .map_err(|problems| ConfigError::new(path, problems))
    }
}

fn raw(path: &Path, text: &str) -> Result<raw::RawConfig, ConfigError> {
    let wrong = |error| ConfigError::new(path, vec![problem::syntax(None, text, &error)]);
    toml::from_str(text).map_err(wrong)
}

/// Where relative paths of a config start from.
fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests;
