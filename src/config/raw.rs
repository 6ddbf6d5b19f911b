//! The config file as it is written. Comments here are its reference.

use serde::Deserialize;

use super::value::{ByteSize, HumanDuration, PointInTime, SecretRef};

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    /// The address that clients call: scheme, host, port, and a path prefix if there is one.
    pub(super) public_url: String,
    /// More addresses of the gateway, with the same path prefix. URLs are rewritten to the one
    /// that the client called.
    #[serde(default)]
    pub(super) public_aliases: Vec<String>,
    /// Networks of proxies in front of the gateway, whose `X-Forwarded-For` is believed.
    #[serde(default)]
    pub(super) trusted_proxies: Vec<String>,
    /// `enforce`, or `observe` to let through until `observe_until` what a scope or a binding would
    /// refuse, with a credential of Sentry's own alone.
    #[serde(default)]
    pub(super) mode: Mode,
    /// The end of `mode = "observe"`, in UTC: `2026-12-24` or `2026-12-24T18:00:00Z`; at most 90 days
    /// ahead.
    pub(super) observe_until: Option<PointInTime>,
    pub(super) listen: Vec<RawListen>,
    #[serde(default)]
    pub(super) admin: RawAdmin,
    pub(super) upstream: RawUpstreams,
    #[serde(default)]
    pub(super) store: Vec<RawStore>,
    #[serde(default)]
    pub(super) cache: RawCache,
    #[serde(default)]
    pub(super) rules: RawRules,
    #[serde(default)]
    pub(super) log: RawLog,
    #[serde(default)]
    pub(super) server: RawServer,
}

/// What becomes of a refusal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    /// It is made.
    #[default]
    Enforce,
    /// It is told of, where it is about a scope or a binding.
    Observe,
}

/// A listener for clients.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawListen {
    /// IP address and port; port 0 takes a free one.
    pub(super) address: String,
    /// What it lets in: `api`.
    #[serde(default = "api")]
    pub(super) expose: Vec<String>,
}

fn api() -> Vec<String> {
    vec!["api".to_owned()]
}

/// The listener for operators.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAdmin {
    /// IP address and port.
    pub(super) address: String,
    /// What an operator presents for anything but health and metrics, at least 16 characters;
    /// without it there is nothing else.
    pub(super) credential: Option<SecretRef>,
}

impl Default for RawAdmin {
    fn default() -> Self {
        Self { address: "127.0.0.1:9090".to_owned(), credential: None }
    }
}

/// The upstreams.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUpstreams {
    pub(super) web: RawUpstream,
}

/// Sentry's web service.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUpstream {
    /// Where it is reached: exactly one address.
    pub(super) urls: Vec<String>,
    /// Sentry's `system.url-prefix`: the address in the URLs that it sends. By default the
    /// address where it is reached.
    pub(super) canonical_url: Option<String>,
    /// A Sentry token that stands in for tokens which the gateway issued.
    pub(super) credential: Option<SecretRef>,
    #[serde(default = "seconds::<5>")]
    pub(super) connect_timeout: HumanDuration,
    /// How long it may be silent, where a rule has no `timeout`.
    #[serde(default = "seconds::<60>")]
    pub(super) timeout: HumanDuration,
    /// How long an idle connection is kept. Sentry's uWSGI closes it after 15 s.
    #[serde(default = "seconds::<10>")]
    pub(super) idle_timeout: HumanDuration,
    /// The largest request body, where a rule has no `max_body`.
    #[serde(default = "hundred_mib")]
    pub(super) max_body: ByteSize,
}

fn seconds<const N: u64>() -> HumanDuration {
    HumanDuration(std::time::Duration::from_secs(N))
}

fn hundred_mib() -> ByteSize {
    ByteSize(100 << 20)
}

/// A token store.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStore {
    /// `portcullis`: tokens that the gateway issues.
    pub(super) kind: String,
    /// `sqlite:///path/to/tokens.db`
    pub(super) url: String,
    /// The name in metrics and messages; by default the kind.
    pub(super) name: Option<String>,
}

/// The identity cache.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawCache {
    /// How long an identity is believed.
    pub(super) ttl: HumanDuration,
    /// How long an unknown token stays unknown.
    pub(super) unknown_ttl: HumanDuration,
    /// How long past `ttl` an identity is believed while its store can't answer.
    pub(super) stale_if_error: HumanDuration,
    /// How many identities are kept.
    pub(super) capacity: u64,
}

impl Default for RawCache {
    fn default() -> Self {
        Self {
            ttl: seconds::<60>(),
            unknown_ttl: seconds::<5>(),
            stale_if_error: seconds::<300>(),
            capacity: 100_000,
        }
    }
}

/// Which rules are in force.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRules {
    /// Whether the shipped rules for Sentry are.
    pub(super) sentry: bool,
    /// The version of Sentry that is in front, such as `24.7`: rules that are for other versions
    /// are left out. By default the newest that the rules know.
    pub(super) sentry_version: Option<String>,
    /// Files of your own, read after them, in this order.
    pub(super) files: Vec<String>,
}

impl Default for RawRules {
    fn default() -> Self {
        Self { sentry: true, sentry_version: None, files: Vec::new() }
    }
}

/// What is logged.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLog {
    /// The gateway's own messages: `error`, `warn`, `info` or `debug`.
    pub(super) level: String,
    /// Whether every request is logged, on standard output.
    pub(super) access: bool,
}

impl Default for RawLog {
    fn default() -> Self {
        Self { level: "info".to_owned(), access: true }
    }
}

/// How the process runs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawServer {
    /// Worker threads; 0 is one for each core.
    pub(super) threads: usize,
    /// How long requests in flight may take to end after a signal to stop.
    pub(super) drain: HumanDuration,
}

impl Default for RawServer {
    fn default() -> Self {
        Self { threads: 0, drain: seconds::<30>() }
    }
}
