//! The config file and rule files as they are written.
//!
//! The comments of fields and tables are the descriptions of `config/reference.md` and of the JSON
//! Schemas; so are the defaults.

mod assertion;
mod errors;
mod issuer;
mod limit;
mod profile;
mod records;
mod rule;
mod traces;
mod upstream;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::{Group, Kind};
use super::value::{ByteSize, HumanDuration, PointInTime, SecretRef, TextOrSecret};
use crate::policy::frame::{MAX_FIELDS, MAX_HEAD_LEN};

pub(super) use assertion::{RawAlgorithm, RawAssertion};
pub(super) use errors::RawErrors;
pub(super) use issuer::{RawIssuer, RawTrust};
pub(super) use limit::{RawBy, RawLimit, RawLimits, RawRedis};
pub(super) use profile::{RawGroup, RawProfile, RawProfiles};
pub(super) use records::{RawAudit, RawDetail, RawPrivacy, Recorded, WhenFull};
pub(super) use rule::{RawFile, RawOnFailure, RawRemoval, RawRewrite, RawRule};
pub(super) use traces::RawTraces;
pub(super) use upstream::{ChunkedBodies, RawUpstream, RawUpstreamTls, RawUpstreams};

/// The whole file.
#[derive(Debug, Deserialize, JsonSchema)]
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
    /// Whether upstreams are told who called, in headers `X-Portcullis-…` that nobody else may send.
    #[serde(default)]
    pub(super) identity_headers: bool,
    /// Where clients are listened to.
    pub(super) listen: Vec<RawListen>,
    /// The listener for operators.
    #[serde(default)]
    pub(super) admin: RawAdmin,
    /// Where requests go.
    pub(super) upstream: RawUpstreams,
    /// What upstreams are told of the decision, signed; by default nothing.
    pub(super) assertion: Option<RawAssertion>,
    /// Token stores, asked in this order; at least one.
    #[serde(default)]
    pub(super) store: Vec<RawStore>,
    /// Issuers of JWTs, whose tokens are for no token store.
    #[serde(default)]
    pub(super) issuer: Vec<RawIssuer>,
    /// What is remembered of callers: identities, never decisions.
    #[serde(default)]
    pub(super) cache: RawCache,
    /// Which rules are in force.
    #[serde(default)]
    pub(super) rules: RawRules,
    /// What kinds of users need, by name; those that come with the gateway are in `config/profiles.toml`.
    #[serde(default)]
    pub(super) profile: BTreeMap<String, RawProfile>,
    /// Named sets of rules.
    #[serde(default)]
    pub(super) group: BTreeMap<String, RawGroup>,
    /// How often callers may send requests, and how many at once, by name; by default as they like.
    #[serde(default)]
    pub(super) limit: RawLimits,
    /// Where limits with `shared = true` are counted.
    pub(super) redis: Option<RawRedis>,
    /// Where request bodies are kept that have to be whole before they are sent on.
    #[serde(default)]
    pub(super) spool: RawSpool,
    /// What is logged.
    #[serde(default)]
    pub(super) log: RawLog,
    /// What is audited; by default nothing.
    pub(super) audit: Option<RawAudit>,
    /// How much of clients is recorded, in the access log, the audit and spans alike.
    #[serde(default)]
    pub(super) privacy: RawPrivacy,
    /// Where spans of requests go; by default none are made.
    pub(super) traces: Option<RawTraces>,
    /// Where the gateway's own errors are reported; by default nowhere.
    pub(super) errors: Option<RawErrors>,
    /// How the process runs.
    #[serde(default)]
    pub(super) server: RawServer,
}

/// What becomes of a refusal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    /// It is made.
    #[default]
    Enforce,
    /// It is told of, where it is about a scope or a binding.
    Observe,
}

/// A listener for clients.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawListen {
    /// IP address and port; port 0 takes a free one. `[::]` takes IPv4 too.
    pub(super) address: String,
    /// What it lets in: `api`, the Web API; `ingest`, what SDKs send; `relays`, what external Relays
    /// ask; `webhooks`, what other services call; `oauth`, the OAuth 2.0 endpoints; `ui`, the pages and
    /// browser sessions.
    #[schemars(with = "Vec<Group>")]
    #[serde(default = "api")]
    pub(super) expose: Vec<String>,
    /// Has clients speak TLS, 1.2 or 1.3, with HTTP/2 or HTTP/1.1 above it; by default they speak
    /// plain HTTP/1.1.
    pub(super) tls: Option<RawListenTls>,
    /// Networks of load balancers that begin every connection with a PROXY protocol header, version 1 or
    /// 2, before TLS: who it names is the client. Nobody else may connect then. By default a header is
    /// no request (400).
    pub(super) proxy_protocol: Option<Vec<String>>,
}

/// How clients speak TLS.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawListenTls {
    /// The certificates: a client is shown the first that has the name which it calls, and the first of
    /// all where none has it.
    pub(super) certificates: Vec<RawCertificate>,
    /// A PEM file with the certificates that those of clients are signed with. A request without
    /// `Authorization` is then made by who the client's certificate names, if a token store knows it.
    pub(super) client_ca: Option<String>,
    /// Whether a client must have a certificate: `required`, or `optional`; one that is shown must be
    /// signed and valid. By default `required` with `client_ca`.
    pub(super) client_certificates: Option<ClientCertificates>,
}

/// Whether clients must have certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ClientCertificates {
    /// Without one there is no connection.
    Required,
    /// Whoever has none may present a token.
    Optional,
}

/// A certificate, and its key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCertificate {
    /// A PEM file with the certificate, and after it those that lead to its root.
    pub(super) certificate: String,
    /// A PEM file with its private key, not encrypted.
    pub(super) key: String,
}

fn api() -> Vec<String> {
    vec!["api".to_owned()]
}

fn seconds<const N: u64>() -> HumanDuration {
    HumanDuration(std::time::Duration::from_secs(N))
}

/// The listener for operators.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAdmin {
    /// IP address and port.
    pub(super) address: String,
    /// What an operator presents for anything but health and metrics, at least 16 characters;
    /// without it there is nothing else.
    pub(super) credential: Option<SecretRef>,
    /// Host names that a browser may call the status page by, besides addresses and `localhost`.
    pub(super) names: Vec<String>,
}

impl Default for RawAdmin {
    fn default() -> Self {
        Self { address: "127.0.0.1:9090".to_owned(), credential: None, names: Vec::new() }
    }
}

/// A token store.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStore {
    /// `portcullis`: tokens that the gateway issues. `sentry`: Sentry's own, in its PostgreSQL.
    /// `introspection`: whoever issued them is asked over HTTP. `file`: digests in a TOML file.
    #[schemars(extend("enum" = ["portcullis", "sentry", "introspection", "file"]))]
    pub(super) kind: String,
    /// Of a `portcullis` store `sqlite:///path/to/tokens.db`, or `postgres://user@host/database` for a
    /// fleet; of a `sentry` store `postgres://portcullis@host/sentry`; of an `introspection` store the
    /// endpoint. A secret, if it holds a password. `?sslmode=verify-full&sslrootcert=/path` asks for TLS
    /// and checks it.
    pub(super) url: Option<TextOrSecret>,
    /// The password of a PostgreSQL, read again when the database refuses it.
    pub(super) password: Option<SecretRef>,
    /// Where a PostgreSQL is listened to for revocations: the server itself, because PgBouncer does not
    /// carry notifications. Without it, `portcullis` stores are looked at every second, and revocations
    /// of a `sentry` store are seen when `cache.ttl` is over.
    pub(super) listen_url: Option<TextOrSecret>,
    /// How many connections a PostgreSQL is asked over; by default 4. `listen_url` takes one more.
    pub(super) connections: Option<u32>,
    /// Whether a start fails while a PostgreSQL can't be asked; by default it does. If not, its
    /// credentials are answered with 503 until it can.
    pub(super) required_at_start: Option<bool>,
    /// The file of a `file` store, read again when it changes.
    pub(super) path: Option<String>,
    /// How an `introspection` store is asked: `sentry` sends the credential to Sentry's `/api/0/`,
    /// `rfc7662` asks an OAuth 2.0 server.
    #[schemars(extend("enum" = ["sentry", "rfc7662"]))]
    pub(super) protocol: Option<String>,
    /// What the gateway presents to an `rfc7662` endpoint: a token, or `client:secret`.
    pub(super) credential: Option<SecretRef>,
    /// The kinds of credential that it is asked for; by default all that it can know.
    #[schemars(with = "Option<Vec<Kind>>")]
    pub(super) credentials: Option<Vec<String>>,
    /// How often in a second it is asked for credentials that are not known; by default 1000, of an
    /// `introspection` store 50. What comes beyond that is answered with 429.
    pub(super) unknown_per_second: Option<u32>,
    /// How many of these are for one client; by default a quarter.
    pub(super) unknown_per_client: Option<u32>,
    /// The name in metrics and messages; by default the kind.
    pub(super) name: Option<String>,
}

/// The identity cache.
#[derive(Debug, Deserialize, JsonSchema)]
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
    /// How long it is believed which id a slug has in Sentry, and which project an issue: for tokens that
    /// are bound to organizations or projects. A slug that moves means its former owner for so long.
    pub(super) directory_ttl: HumanDuration,
    /// A file that the last known identities are written to, by digest, for a start while their store
    /// can't be asked; by default none. It is written every minute, and within a second after a
    /// revocation.
    pub(super) snapshot: Option<String>,
}

impl Default for RawCache {
    fn default() -> Self {
        Self {
            ttl: seconds::<60>(),
            unknown_ttl: seconds::<5>(),
            stale_if_error: seconds::<300>(),
            capacity: 100_000,
            directory_ttl: seconds::<30>(),
            snapshot: None,
        }
    }
}

/// Which rules are in force.
#[derive(Debug, Deserialize, JsonSchema)]
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

/// Where request bodies are kept that have to be whole before they are sent on: chunked ones, and
/// to `web` those of callers without a credential that the gateway knows.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSpool {
    /// The folder of their files, which have no name and end with the request; by default the system's
    /// folder for temporary files. Where that is in memory, name one on a disk.
    pub(super) folder: Option<String>,
    /// What one body may keep in memory; all together keep no more than 64 MiB there.
    pub(super) memory: ByteSize,
    /// The largest body that is kept, where a rule or `upstream.web.max_body` has no smaller one; beyond
    /// it 413.
    pub(super) max_body: ByteSize,
    /// What all bodies together may take in the folder; beyond it 503. Those of callers who are not known
    /// take at most half.
    pub(super) budget: ByteSize,
}

impl Default for RawSpool {
    fn default() -> Self {
        Self {
            folder: None,
            memory: ByteSize(64 << 10),
            max_body: ByteSize(32 << 20),
            budget: ByteSize(1 << 30),
        }
    }
}

/// What is logged.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLog {
    /// The gateway's own messages: `error`, `warn`, `info` or `debug`.
    #[schemars(extend("enum" = ["error", "warn", "info", "debug"]))]
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
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawServer {
    /// Worker threads; 0 is one for each core.
    pub(super) threads: usize,
    /// How long new connections are taken as before after SIGTERM, while `/readyz` is 503 already, so
    /// that whoever sends requests can turn to another replica.
    pub(super) stop_delay: HumanDuration,
    /// How long requests in flight may take to end then; both together below the time after which the
    /// process is killed, by 5 s at least.
    pub(super) drain: HumanDuration,
    /// How many connections of clients there may be, at least 16; more wait, in the queue of the
    /// system, until one ends.
    pub(super) max_connections: usize,
    /// How many of them may be of one client, an IPv4 address or the /64 of an IPv6 address; one more is
    /// closed. Networks of `trusted_proxies` may have as many as there are.
    pub(super) max_connections_per_client: usize,
    /// The largest request head, the request line with its header fields; beyond it 400. At most 1 MiB.
    pub(super) max_head: ByteSize,
    /// The most header fields of a request; beyond it 400. At most 256.
    pub(super) max_headers: usize,
}

impl Default for RawServer {
    fn default() -> Self {
        Self {
            threads: 0,
            stop_delay: seconds::<5>(),
            drain: seconds::<20>(),
            max_connections: 8192,
            max_connections_per_client: 1024,
            max_head: ByteSize(MAX_HEAD_LEN as u64),
            max_headers: MAX_FIELDS,
        }
    }
}
