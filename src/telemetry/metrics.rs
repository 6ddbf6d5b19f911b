//! Every metric of the gateway: one table, one struct, and events as methods.
//!
//! Labels come from closed lists or from the config, never from a request, so the number of
//! series has a bound that is known at start. Handles are resolved at load.

mod register;
mod results;
mod upstream;

use std::time::Duration;

#[cfg(target_os = "linux")]
use prometheus::process_collector::ProcessCollector;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

pub use results::{JsonResult, LinkResult, StoreResult};
pub use upstream::UpstreamMetrics;

use register::{counter, counter_vec, gauge, gauge_vec, histogram, histogram_vec};

use super::Record;
use super::routes::RouteHandles;
use crate::clock::Timestamp;
use crate::policy::Policy;
use crate::policy::credential::Scheme;
use crate::policy::decision::{Denial, Verdict};
use crate::policy::exposure::Service;
use crate::policy::reason::{Reason, UpstreamFailure};

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
        "Requests by template of the route (`unmatched` without one), method and status (499: the client went away).";
    DURATION: "histogram" "request_duration_seconds" ["route"],
        "From the request head to the end of the response.";
    OVERHEAD: "histogram" "overhead_duration_seconds" [],
        "From the request head until the request was handed to the upstream: what the gateway itself adds, a wait for room at the upstream included.";
    UPSTREAM: "histogram" "upstream_duration_seconds" ["upstream"],
        "From then until the head of the upstream's response.";
    UPSTREAM_FAILURES: "counter" "upstream_failures_total" ["upstream", "reason"],
        "Permitted requests that got no answer of the upstream's, or half of one.";
    UPSTREAM_IN_FLIGHT: "gauge" "upstream_requests_in_flight" ["upstream"],
        "Requests that are at the upstream; at most `max_in_flight`.";
    UPSTREAM_WAITING: "gauge" "upstream_requests_waiting" ["upstream"],
        "Requests that wait for one of these to end; at most `max_waiting`.";
    UPSTREAM_ADDRESSES: "gauge" "upstream_addresses" ["upstream", "url", "state"],
        "Addresses of each of the upstream's `urls`: `up`, or `down` and left out while another is up.";
    IN_FLIGHT: "gauge" "requests_in_flight" [],
        "Requests that are being served.";
    DECISIONS: "counter" "decisions_total" ["credential", "decision", "reason"],
        "Decisions by scheme of the credential, `allow`, `observe` (let through, though it would be refused), `refuse` or `answer`, and reason (`none` when allowed).";
    OBSERVE_UNTIL: "gauge" "observe_until_timestamp_seconds" [],
        "Until when `mode = \"observe\"` lets through what a scope or a binding would refuse, in seconds since the epoch; 0 when everything is enforced.";
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
        "Whether a token store answers and tells of revocations.";
    REVOCATION_LAG: "histogram" "revocation_lag_seconds" [],
        "From a revocation until this gateway refused the token.";
    ACCESS_LOG_DROPPED: "counter" "access_log_dropped_total" [],
        "Access lines that were lost because their reader was too slow, or gone.";
    MESSAGES_DROPPED: "counter" "messages_dropped_total" [],
        "The gateway's own messages that were lost because their reader was too slow, or gone.";
    CONFIG_INFO: "gauge" "config_info" ["hash", "sentry_version"],
        "Always 1. The hash is of the config and its rules, and in every access line; the version is the one that the rules are for.";
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
    up: IntGauge,
}

/// Every metric, ready to be told of events.
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
    /// By scheme (none last), then: allow, answer, each reason refused, each reason observed.
    decisions: Vec<Vec<IntCounter>>,
    observe_until: IntGauge,
    links: Vec<IntCounter>,
    json: Vec<IntCounter>,
    cache: Vec<(&'static str, IntCounter)>,
    cache_entries: IntGauge,
    stores: Vec<StoreHandles>,
    revocation_lag: Histogram,
    access_log_dropped: IntCounter,
    messages_dropped: IntCounter,
}

impl Metrics {
    /// Registers every metric in `registry`, with a series for each thing that the config names.
    /// `config_info` is its hash and the version of Sentry that its rules are for.
    ///
    /// # Errors
    /// When a name is taken in the registry.
    pub fn register(
        registry: &Registry,
        policy: &Policy,
        stores: &[&str],
        config_info: [&str; 2],
        loaded_at: Timestamp,
    ) -> prometheus::Result<Self> {
        #[cfg(target_os = "linux")]
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let durations = histogram_vec(registry, DURATION, SECONDS)?;
        let routes = RouteHandles::new(counter_vec(registry, REQUESTS)?, durations, &policy.rules);
        let failures = counter_vec(registry, UPSTREAM_FAILURES)?;
        let decisions = counter_vec(registry, DECISIONS)?;
        let links = counter_vec(registry, LINKS)?;
        let json = counter_vec(registry, JSON)?;
        let cache = counter_vec(registry, CACHE)?;
        let lookups = counter_vec(registry, STORE_LOOKUPS)?;
        let store_durations = histogram_vec(registry, STORE_DURATION, STORE)?;
        let ups = gauge_vec(registry, STORE_UP)?;
        gauge_vec(registry, BUILD_INFO)?.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        gauge_vec(registry, CONFIG_INFO)?.with_label_values(&config_info).set(1);
        gauge(registry, CONFIG_LOADED)?.set(seconds(loaded_at));
        let rules = i64::try_from(policy.rules.len()).unwrap_or(i64::MAX);
        gauge(registry, RULES)?.set(rules);
        let by_outcome = |scheme: &str| {
            let refusals = Reason::ALL.iter().map(|reason| ("refuse", reason.code()));
            let outcomes = [("allow", "none"), ("answer", "none")].into_iter().chain(refusals);
            let observed = Reason::ALL.iter().filter(|reason| reason.is_about_entitlement());
            let outcomes = outcomes.chain(observed.map(|reason| ("observe", reason.code())));
            outcomes
                .map(|(decision, reason)| decisions.with_label_values(&[scheme, decision, reason]))
                .collect()
        };
        let durations = histogram_vec(registry, UPSTREAM, SECONDS)?;
        let services = Service::ALL.iter().map(|service| service.as_str());
        let schemes = Scheme::ALL.iter().map(|scheme| scheme.as_str());
        Ok(Self {
            routes,
            overhead: histogram(registry, OVERHEAD, FINE)?,
            upstream: services.clone().map(|name| durations.with_label_values(&[name])).collect(),
            failures: services.map(|name| of_service(&failures, name)).collect(),
            upstreams: upstream::Families::register(registry)?,
            in_flight: gauge(registry, IN_FLIGHT)?,
            decisions: schemes.chain(["none"]).map(by_outcome).collect(),
            observe_until: gauge(registry, OBSERVE_UNTIL)?,
            links: LinkResult::ALL
                .iter()
                .map(|(_, label)| links.with_label_values(&[label]))
                .collect(),
            json: JsonResult::ALL
                .iter()
                .map(|(_, label)| json.with_label_values(&[label]))
                .collect(),
            cache: CACHE_RESULTS
                .iter()
                .map(|name| (*name, cache.with_label_values(&[name])))
                .collect(),
            cache_entries: gauge(registry, CACHE_ENTRIES)?,
            stores: stores
                .iter()
                .map(|store| StoreHandles {
                    found: lookups.with_label_values(&[store, "found"]),
                    unknown: lookups.with_label_values(&[store, "unknown"]),
                    error: lookups.with_label_values(&[store, "error"]),
                    duration: store_durations.with_label_values(&[store]),
                    up: up(&ups, store),
                })
                .collect(),
            revocation_lag: histogram(registry, REVOCATION_LAG, STORE)?,
            access_log_dropped: counter(registry, ACCESS_LOG_DROPPED)?,
            messages_dropped: counter(registry, MESSAGES_DROPPED)?,
        })
    }

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
            let outcome = match &decision.verdict {
                Verdict::Permit(permit) => permit.observed().map_or(0, observed_slot),
                Verdict::Options(_) => 1,
                Verdict::Deny(denial) => 2 + denial.reason as usize,
            };
            self.decisions[scheme][outcome].inc();
        }
    }

    /// Refusals are only observed until then; `None` when they are made.
    pub fn observe_until(&self, until: Option<Timestamp>) {
        self.observe_until.set(until.map_or(0, seconds));
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

    /// The counter of lost access lines.
    pub fn access_log_dropped(&self) -> &IntCounter {
        &self.access_log_dropped
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
            StoreResult::Found => (&handles.found, 1),
            StoreResult::Unknown => (&handles.unknown, 1),
            StoreResult::Error => (&handles.error, 0),
        };
        counter.inc();
        handles.up.set(up);
    }

    /// The store of this number tells of revocations, or does not.
    pub fn store_up(&self, store: usize, up: bool) {
        if let Some(handles) = self.stores.get(store) {
            handles.up.set(up.into());
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

/// The failures of one service, by number.
fn of_service(failures: &IntCounterVec, service: &str) -> Vec<IntCounter> {
    let codes = UpstreamFailure::ALL.iter().map(|failure| failure.code());
    codes.map(|code| failures.with_label_values(&[service, code])).collect()
}

/// Where a refusal that was only observed is counted.
fn observed_slot(denial: &Denial) -> usize {
    let before = Reason::ALL[..denial.reason as usize].iter();
    2 + Reason::ALL.len() + before.filter(|reason| reason.is_about_entitlement()).count()
}

/// A store that was opened is up until it fails.
fn up(gauges: &IntGaugeVec, store: &str) -> IntGauge {
    let gauge = gauges.with_label_values(&[store]);
    gauge.set(1);
    gauge
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
