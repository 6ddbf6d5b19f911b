//! Every metric of the gateway: one table, one struct, and events as methods.
//!
//! Labels come from closed lists or from the config, never from a request, so the number of
//! series has a bound that is known at start. Handles are resolved at load.

mod ended;
mod families;
mod keys;
mod limits;
mod listen;
mod register;
mod results;
mod up;
mod upstream;

use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntGauge};

pub use ended::{ErrorMetrics, ErrorResult, SpanMetrics, SpanResult};
pub use families::{Families, ReloadResult};
pub use limits::{Excessive, LimitTerm, RedisMetrics, RedisResult};
pub use listen::{ConnectionLimit, HandshakeFailure, ListenMetrics, Open, ProxyFailure};
pub use results::{JsonResult, LinkResult, StoreResult};
pub use upstream::UpstreamMetrics;

use super::Record;
use super::routes::{Refusal, RouteHandles};
use crate::clock::Timestamp;
use crate::policy::Policy;
use crate::policy::credential::Scheme;
use crate::policy::decision::{Denial, Verdict};
use crate::policy::exposure::Service;
use crate::policy::reason::Reason;
use keys::{KeyFamilies, KeyHandles};
use limits::{LimitFamilies, LimitHandles};
use up::Up;

/// A metric: what the table in the documentation is made of.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name, `portcullis_` left out.
    pub name: &'static str,
    /// Its type.
    pub kind: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it counts or measures.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($id:ident: $kind:literal $name:literal $labels:expr, $help:literal;)*) => {
        $(const $id: Metric = Metric { name: $name, kind: $kind, labels: &$labels, help: $help };)*
        /// Every metric.
        pub const METRICS: &[Metric] = &[$($id,)*];
    };
}

metrics! {
    REQUESTS: "counter" "requests_total" ["route", "method", "status"],
        "Requests by template of the route (`unmatched` without one), method and status (499: the client went away, or did not read its answer).";
    DURATION: "histogram" "request_duration_seconds" ["route"],
        "From the request head to the end of the response.";
    OVERHEAD: "histogram" "overhead_duration_seconds" [],
        "From the request head until the request was handed to the upstream: what the gateway itself adds, a wait for room at the upstream or for the audit included, for a request body not.";
    UPSTREAM: "histogram" "upstream_duration_seconds" ["upstream"],
        "From then until the head of the upstream's response.";
    UPSTREAM_FAILURES: "counter" "upstream_failures_total" ["upstream", "reason"],
        "Permitted requests that got no answer of the upstream's, or half of one.";
    UPSTREAM_IN_FLIGHT: "gauge" "upstream_requests_in_flight" ["upstream"],
        "Requests that are at the upstream; at most `max_in_flight`.";
    UPSTREAM_WAITING: "gauge" "upstream_requests_waiting" ["upstream"],
        "Requests that wait for one of these to end; at most `max_waiting`.";
    UPSTREAM_LIMIT: "gauge" "upstream_requests_limit" ["upstream", "of"],
        "How many requests may be at an upstream (`in_flight`), and how many may wait (`waiting`).";
    UPSTREAM_ADDRESSES: "gauge" "upstream_addresses" ["upstream", "url", "state"],
        "Addresses of each of the upstream's `urls`: `up`, or `down` and left out while another is up.";
    IN_FLIGHT: "gauge" "requests_in_flight" [],
        "Requests that are being served.";
    ACCEPT_ERRORS: "counter" "accept_errors_total" [],
        "Connections that could not be accepted, such as for want of file descriptors.";
    CONNECTIONS: "gauge" "connections" [],
        "Connections of clients and operators that are open.";
    CONNECTIONS_LIMITED: "counter" "connections_limited_total" ["limit"],
        "How often clients met a limit of connections: `total`, nobody was accepted until one ended; `client`, one was closed because its client had as many as it may.";
    TLS_FAILURES: "counter" "tls_handshake_failures_total" ["reason"],
        "Connections of clients that ended in the TLS handshake: `timeout`, `closed`, `not_tls`, `incompatible`, `refused` by the client, `client_certificate`, `not_http2`, `other`.";
    PROXY_FAILURES: "counter" "proxy_protocol_failures_total" ["reason"],
        "Connections that were closed over their PROXY protocol header: of a `peer` that is not in the networks, `missing`, `malformed`, `too_long`, `timeout`, `closed`.";
    CERTIFICATES: "gauge" "certificate_not_after_seconds" ["certificate"],
        "Until when a certificate is valid that clients or an upstream are shown, by its path in the config, in seconds since the epoch.";
    DECISIONS: "counter" "decisions_total" ["credential", "decision", "reason"],
        "Decisions by scheme of the credential, `allow`, `observe` (let through, though it would be refused), `shadow` (let through, though a rule in shadow would refuse it), `refuse` or `answer`, and reason (`none` when allowed).";
    REFUSALS: "counter" "refusals_total" ["route", "decision", "reason"],
        "Refusals by template of the route (`unmatched` without one), `refuse`, `observe` or `shadow`, and reason.";
    RATE_LIMITED: "counter" "rate_limited_total" ["limit", "term", "decision"],
        "Requests that were too many for a limit of the config, by `rate` or `in_flight`: `refuse`, or `shadow` where the limit is not enforced.";
    LIMIT_KEYS: "gauge" "limit_keys" ["limit"],
        "Callers that have a count of their own of a limit; at `max_keys` new ones share one.";
    REDIS_REQUESTS: "counter" "redis_requests_total" ["result"],
        "Requests for which Redis was to count shared limits: `answered`; `late` or `error`, so that this gateway counted for itself; `skipped`, because it did not answer before.";
    REDIS_UP: "gauge" "redis_up" ["server"],
        "Whether the Redis that counts shared limits answers.";
    OBSERVE_UNTIL: "gauge" "observe_until_timestamp_seconds" [],
        "Until when `mode = \"observe\"` lets through what a scope or a binding would refuse, in seconds since the epoch; 0 when everything is enforced.";
    SHADOW_UNTIL: "gauge" "shadow_until_timestamp_seconds" [],
        "When the next rule in shadow comes into force, in seconds since the epoch; 0 when none is in shadow.";
    LINKS: "counter" "link_rewrites_total" ["result"],
        "`Link` fields: `rewritten`, `unchanged`, or `dropped` because they could not be read.";
    JSON: "counter" "json_rewrites_total" ["result"],
        "JSON answers of rules with `rewrite`: `rewritten`, `unchanged`, `failed` because they could not be read (answered with 502), or `passed` as they were all the same.";
    CACHE: "counter" "cache_requests_total" ["result"],
        "Look-ups of identities: `hit`, `miss`, `negative` (known to be unknown), `stale` (the store is down).";
    CACHE_ENTRIES: "gauge" "cache_entries" [],
        "Identities in the cache.";
    STORE_LOOKUPS: "counter" "store_lookups_total" ["store", "result"],
        "Look-ups in a token store: `found`, `unknown`, `error`.";
    STORE_DURATION: "histogram" "store_lookup_duration_seconds" ["store"],
        "How long a token store took.";
    STORE_UP: "gauge" "store_up" ["store"],
        "Whether a token store answers and, where it is to, tells of revocations.";
    USE_WRITES: "counter" "token_use_writes_total" ["store", "result"],
        "Times that the uses of tokens since the last time were written to their store: `written`, or `failed` and kept for the next time.";
    CANARY_USES: "counter" "canary_uses_total" [],
        "Requests with a token that nobody is to use, whatever they were answered.";
    JWKS_REFRESHES: "counter" "jwks_refreshes_total" ["store", "result"],
        "Attempts to read the keys of an issuer of JWTs: `ok`, `error`.";
    JWKS_REFRESHED: "gauge" "jwks_last_refresh_success_timestamp_seconds" ["store"],
        "When the keys of an issuer of JWTs were read last.";
    JWKS_DUE: "gauge" "jwks_refresh_due_timestamp_seconds" ["store"],
        "When the keys of an issuer of JWTs are to be read again; what is past is overdue.";
    REVOCATION_LAG: "histogram" "revocation_lag_seconds" [],
        "From a revocation until this gateway refused the token.";
    ACCESS_LOG_DROPPED: "counter" "access_log_dropped_total" [],
        "Access lines that were lost because their reader was too slow, or gone.";
    MESSAGES_DROPPED: "counter" "messages_dropped_total" [],
        "The gateway's own messages that were lost because their reader was too slow, or gone.";
    AUDIT_RECORDS: "counter" "audit_records_total" ["kind"],
        "Audit records that were made: `decision`, `administration` or `settings`; all are written but those that were lost.";
    AUDIT_DROPPED: "counter" "audit_dropped_total" [],
        "Audit records that were lost, because they could not be written and there was no room for more.";
    SPANS: "counter" "spans_total" ["result"],
        "Spans of traced requests: `exported`; `failed`, because the collector did not take them; `dropped`, because too many waited for it.";
    ERROR_REPORTS: "counter" "error_reports_total" ["result"],
        "The gateway's own errors, for a Sentry: `sent`; `failed`, because it did not take them; `suppressed`, because there were too many of them; `dropped`, because too many waited for it.";
    CONFIG_INFO: "gauge" "config_info" ["hash", "sentry_version"],
        "Always 1. The hash is of the config and its rules, and in every access line; the version is the one that the rules are for.";
    CONFIG_RELOADS: "counter" "config_reloads_total" ["result"],
        "Configs that were read again: `loaded`, `unchanged`, or `refused`, so that the one before stayed in force.";
    CONFIG_REFUSED: "gauge" "config_last_reload_refused" [],
        "1 while the config that was read last is not the one in force, because it has problems.";
    CONFIG_LOADED: "gauge" "config_last_reload_success_timestamp_seconds" [],
        "When the config in force was loaded, in seconds since the epoch.";
    RULES: "gauge" "rules" [],
        "Rules in force. With none, every request is refused.";
    BUILD_INFO: "gauge" "build_info" ["version"],
        "Always 1.";
}

/// 5 ms to 10 s, as OpenTelemetry recommends for HTTP.
const SECONDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// 10 µs to 0.5 s: what a gateway may add.
const FINE: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05,
    0.1, 0.5,
];

/// 1 ms to 10 s: a store may take a second, and so may a revocation.
const STORE: &[f64] =
    &[0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What the identity cache says of a look-up.
pub const CACHE_RESULTS: &[&str] = &["hit", "miss", "negative", "stale"];

/// The handles of one token store.
#[derive(Debug)]
struct StoreHandles {
    found: IntCounter,
    unknown: IntCounter,
    error: IntCounter,
    duration: Histogram,
    uses_written: IntCounter,
    uses_failed: IntCounter,
    up: Up,
    keys: KeyHandles,
}

/// Every metric, ready to be told of events under one config.
#[derive(Debug)]
pub struct Metrics {
    routes: RouteHandles,
    overhead: Histogram,
    /// By service.
    upstream: Vec<Histogram>,
    /// By service, then by failure.
    failures: Vec<Vec<IntCounter>>,
    upstreams: upstream::Families,
    in_flight: IntGauge,
    /// By scheme (none last), then: allow, answer, each reason refused, each reason observed, each reason of
    /// a rule in shadow.
    decisions: Vec<Vec<IntCounter>>,
    observe_until: IntGauge,
    shadow_until: IntGauge,
    links: Vec<IntCounter>,
    json: Vec<IntCounter>,
    cache: Vec<(&'static str, IntCounter)>,
    cache_entries: IntGauge,
    stores: Vec<StoreHandles>,
    limits: Vec<LimitHandles>,
    canary_uses: IntCounter,
    revocation_lag: Histogram,
    messages_dropped: IntCounter,
}

impl Metrics {
    /// A request has ended.
    pub fn ended(&self, record: &Record<'_>, policy: &Policy) {
        let rule = record.decision.and_then(|decision| decision.rule);
        let seconds = record.duration.as_secs_f64();
        self.routes.record(&policy.rules, rule, record.method, record.status, seconds);
        if let Some(overhead) = record.overhead {
            self.overhead.observe(overhead.as_secs_f64());
        }
        let service = rule.map_or(Service::Web, |rule| policy.rules.rule(rule).service) as usize;
        if let Some(upstream) = record.upstream {
            self.upstream[service].observe(upstream.as_secs_f64());
        }
        if let Some(failure) = record.failure {
            self.failures[service][failure as usize].inc();
        }
        if let Some(result) = record.cache
            && let Some((_, counter)) = self.cache.iter().find(|(name, _)| *name == result)
        {
            counter.inc();
        }
        if let Some(decision) = record.decision {
            let scheme = decision.caller.scheme.map_or(Scheme::ALL.len(), |s| s as usize);
            let shadowed = decision.shadowed().map(|(_, denial)| denial);
            let outcome = match &decision.verdict {
                Verdict::Permit(permit) => match (permit.observed(), shadowed) {
                    (Some(denial), _) => observed_slot(denial),
                    (None, Some(denial)) => shadowed_slot(denial),
                    (None, None) => 0,
                },
                Verdict::Options(_) => 1,
                Verdict::Deny(denial) => 2 + denial.reason as usize,
            };
            self.decisions[scheme][outcome].inc();
            let refusal = match &decision.verdict {
                Verdict::Permit(permit) => {
                    let observed = permit.observed().map(|denial| (denial, Refusal::Observed));
                    observed.or(shadowed.map(|denial| (denial, Refusal::Shadowed)))
                }
                Verdict::Options(_) => None,
                Verdict::Deny(denial) => Some((denial, Refusal::Made)),
            };
            if let Some((denial, refusal)) = refusal {
                self.routes.refused(&policy.rules, rule, denial.reason, refusal);
            }
        }
    }

    /// Refusals are only observed until then; `None` when they are made.
    pub fn observe_until(&self, until: Option<Timestamp>) {
        self.observe_until.set(until.map_or(0, seconds));
    }

    /// The next rule in shadow comes into force then; `None` when there is none.
    pub fn shadow_until(&self, until: Option<Timestamp>) {
        self.shadow_until.set(until.map_or(0, seconds));
    }

    /// The handles of an upstream of this name, which is reached at `urls`.
    pub fn upstream<'a>(
        &self,
        name: &str,
        urls: impl IntoIterator<Item = &'a str>,
    ) -> UpstreamMetrics {
        self.upstreams.of(name, urls)
    }

    /// The gauge of requests that are being served.
    pub fn in_flight(&self) -> &IntGauge {
        &self.in_flight
    }

    /// So many messages were lost so far.
    pub fn messages_dropped(&self, lost: u64) {
        self.messages_dropped.inc_by(lost.saturating_sub(self.messages_dropped.get()));
    }

    /// A `Link` field was read.
    pub fn link(&self, result: LinkResult) {
        self.links[result as usize].inc();
    }

    /// A JSON answer was to be rewritten.
    pub fn json(&self, result: JsonResult) {
        self.json[result as usize].inc();
    }

    /// So many identities are cached.
    pub fn cache_entries(&self, entries: u64) {
        self.cache_entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    /// The store of this number was asked.
    pub fn store_lookup(&self, store: usize, result: StoreResult, elapsed: Duration) {
        let Some(handles) = self.stores.get(store) else { return };
        handles.duration.observe(elapsed.as_secs_f64());
        let (counter, up) = match result {
            StoreResult::Found => (&handles.found, true),
            StoreResult::Unknown => (&handles.unknown, true),
            StoreResult::Error => (&handles.error, false),
        };
        counter.inc();
        handles.up.answers(up);
    }

    /// The store of this number can be asked, or can't.
    pub fn store_answers(&self, store: usize, so: bool) {
        if let Some(handles) = self.stores.get(store) {
            handles.up.answers(so);
        }
    }

    /// The store of this number tells of revocations, or does not.
    pub fn store_tells(&self, store: usize, so: bool) {
        if let Some(handles) = self.stores.get(store) {
            handles.up.tells(so);
        }
    }

    /// The uses of tokens of the store of this number were written to it, or were not.
    pub fn uses_written(&self, store: usize, so: bool) {
        if let Some(handles) = self.stores.get(store) {
            if so { &handles.uses_written } else { &handles.uses_failed }.inc();
        }
    }

    /// A token came that nobody is to use.
    pub fn canary_used(&self) {
        self.canary_uses.inc();
    }

    /// The keys of the issuer at this place were read at this time, or could not be; they are to be read
    /// again so long after they were.
    pub fn keys_read(&self, store: usize, at: Option<Timestamp>, every: Duration) {
        if let Some(handles) = self.stores.get(store) {
            handles.keys.read(at, every);
        }
    }

    /// A revocation took effect after `lag`.
    pub fn revocation_lag(&self, lag: Duration) {
        self.revocation_lag.observe(lag.as_secs_f64());
    }
}

fn seconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_millis() / 1000).unwrap_or(i64::MAX)
}

/// Where a refusal that was only observed is counted.
fn observed_slot(denial: &Denial) -> usize {
    let before = Reason::ALL[..denial.reason as usize].iter();
    2 + Reason::ALL.len() + before.filter(|reason| reason.is_about_entitlement()).count()
}

/// Where a refusal of a rule in shadow is counted.
fn shadowed_slot(denial: &Denial) -> usize {
    let observed = Reason::ALL.iter().filter(|reason| reason.is_about_entitlement()).count();
    let before = Reason::ALL[..denial.reason as usize].iter();
    2 + Reason::ALL.len() + observed + before.filter(|reason| reason.is_of_a_rule()).count()
}

/// The metrics as a table in Markdown, as the README has it.
pub fn table() -> String {
    let mut text = String::from("| metric | labels | what it counts |\n| --- | --- | --- |\n");
    for Metric { name, kind, labels, help } in METRICS {
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        text.push_str(&format!("| `{name}` ({kind}) | {} | {help} |\n", labels.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_readme_has_the_table() {
        let readme = include_str!("../../README.md");
        let same = readme.contains(&format!("\n\n{}\n", super::table()));
        assert!(same, "put the output of `portcullis generate metrics` into README.md");
    }
}
