//! The parts of Sentry as they are written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::seconds;
use crate::config::value::{ByteSize, HumanDuration, SecretRef};

/// The upstreams.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawUpstreams {
    /// Sentry's web service.
    pub(in crate::config) web: RawUpstream,
    /// Relay, where ingestion goes.
    pub(in crate::config) relay: Option<RawUpstream>,
    /// What serves the files of the pages, such as Sentry's own nginx; by default `web`.
    pub(in crate::config) assets: Option<RawUpstream>,
}

/// A part of Sentry.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawUpstream {
    /// Where it is reached: scheme, host and port, all of one scheme. Every address of every host is
    /// used, the one with the fewest requests in flight first; names are resolved every 5 s.
    pub(in crate::config) urls: Vec<String>,
    /// Of `web`: Sentry's `system.url-prefix`, the address in the URLs that it sends. By default the
    /// addresses where it is reached.
    pub(in crate::config) canonical_url: Option<String>,
    /// Of `web`: more addresses in the URLs that it sends, such as `system.upload-url-prefix`.
    #[serde(default)]
    pub(in crate::config) canonical_aliases: Vec<String>,
    /// Of `web`: a Sentry token that stands in for tokens which the gateway issued.
    pub(in crate::config) credential: Option<SecretRef>,
    /// Of `web`: the cookie of browser sessions, Sentry's `SESSION_COOKIE_NAME`; by default
    /// `sentrysid`.
    pub(in crate::config) session_cookie: Option<String>,
    /// Of `relay`: whether the key of the project is looked up in the token stores before an event
    /// goes on. By default not: Relay checks it.
    pub(in crate::config) check_keys: Option<bool>,
    /// How `https` URLs are reached: by default as the certificates of the machine have it.
    pub(in crate::config) tls: Option<RawUpstreamTls>,
    /// Whether HTTP/2 is spoken with `https` URLs that offer it. Where one does not, and for WebSockets,
    /// it is HTTP/1.1, as by default.
    #[serde(default)]
    pub(in crate::config) http2: bool,
    /// How long a connection may take to be made, TLS included.
    #[serde(default = "seconds::<5>")]
    pub(in crate::config) connect_timeout: HumanDuration,
    /// How long it may be silent, and a client not read what it sends, where a rule has no `timeout`.
    #[serde(default = "seconds::<60>")]
    pub(in crate::config) timeout: HumanDuration,
    /// How long an idle connection is kept. Sentry's uWSGI closes it after 15 s.
    #[serde(default = "seconds::<10>")]
    pub(in crate::config) idle_timeout: HumanDuration,
    /// The largest request body, where a rule has no `max_body`.
    #[serde(default = "hundred_mib")]
    pub(in crate::config) max_body: ByteSize,
    /// What becomes of a chunked request body: `spool` keeps it and sends it with `Content-Length`,
    /// without which Sentry's uWSGI reads it as empty; `stream` sends it on in chunks, to `web`
    /// if it is known who calls. By default `spool`, of `relay` `stream`.
    pub(in crate::config) chunked_bodies: Option<ChunkedBodies>,
    /// What every address is asked for, to see whether it works; by default `/_health/`, and
    /// `/api/relay/healthcheck/ready/` of `relay`. Any 2xx within 5 s will do. An address that fails
    /// twice in a row, or that a request can't connect to, is left out until it answers; if all are,
    /// all are used.
    pub(in crate::config) health_path: Option<String>,
    /// How long between two of these checks; `"0s"` is none, and an address that a request can't
    /// connect to is left out for 5 s.
    #[serde(default = "seconds::<5>")]
    pub(in crate::config) health_interval: HumanDuration,
    /// How many requests may be in flight to it, all addresses together. Of `web`, callers without a
    /// credential that the gateway knows get at most three quarters, here and of `max_waiting`.
    #[serde(default = "number::<256>")]
    pub(in crate::config) max_in_flight: u32,
    /// How many more may wait for one of these to end, first come first served; beyond it 503
    /// `upstream_busy`.
    #[serde(default = "number::<1024>")]
    pub(in crate::config) max_waiting: u32,
    /// How long one may wait; then 503 `upstream_busy`.
    #[serde(default = "seconds::<10>")]
    pub(in crate::config) max_wait: HumanDuration,
}

/// What becomes of a chunked request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum ChunkedBodies {
    /// It is kept and sent with `Content-Length`.
    Spool,
    /// It is sent on in chunks.
    Stream,
}

/// TLS with an upstream. Files are in PEM; there is no way not to check who answers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawUpstreamTls {
    /// A file with the certificates that are believed in place of the machine's.
    pub(in crate::config) ca: Option<String>,
    /// The name that is asked for and that the certificate must have, in place of the URL's host.
    pub(in crate::config) server_name: Option<String>,
    /// A file with the gateway's own certificate, and after it those that lead to its root.
    pub(in crate::config) certificate: Option<String>,
    /// The file of its key, not encrypted.
    pub(in crate::config) key: Option<String>,
}

fn number<const N: u32>() -> u32 {
    N
}

fn hundred_mib() -> ByteSize {
    ByteSize(100 << 20)
}
