//! Every metric as it is registered, once for the life of the process; configs come and go.

use std::sync::Arc;

#[cfg(target_os = "linux")]
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
};

use super::register::{counter, counter_vec, gauge, gauge_vec, histogram, histogram_vec};
use super::{
    ACCESS_LOG_DROPPED, AUDIT_DROPPED, AUDIT_RECORDS, BUILD_INFO, CACHE, CACHE_ENTRIES,
    CACHE_RESULTS, CANARY_USES, CONFIG_INFO, CONFIG_LOADED, CONFIG_REFUSED, CONFIG_RELOADS,
    DECISIONS, DURATION, ErrorMetrics, FINE, IN_FLIGHT, JSON, JsonResult, KeyFamilies, LINKS,
    LimitFamilies, LinkResult, ListenMetrics, MESSAGES_DROPPED, Metrics, OBSERVE_UNTIL, OVERHEAD,
    REFUSALS, REQUESTS, REVOCATION_LAG, RULES, RedisMetrics, SECONDS, SHADOW_UNTIL, STORE,
    STORE_DURATION, STORE_LOOKUPS, STORE_UP, SpanMetrics, StoreHandles, UPSTREAM,
    UPSTREAM_FAILURES, USE_WRITES, Up, seconds, upstream,
};
use crate::clock::Timestamp;
use crate::policy::Policy;
use crate::policy::credential::Scheme;
use crate::policy::exposure::Service;
use crate::policy::reason::{Reason, UpstreamFailure};
use crate::telemetry::audit::{AuditCounters, Kind};
use crate::telemetry::routes::RouteHandles;

/// Every metric, registered.
#[derive(Debug)]
pub struct Families {
    requests: IntCounterVec,
    durations: HistogramVec,
    overhead: Histogram,
    upstream_durations: HistogramVec,
    failures: IntCounterVec,
    upstreams: upstream::Families,
    in_flight: IntGauge,
    listen: Arc<ListenMetrics>,
    decisions: IntCounterVec,
    refusals: IntCounterVec,
    observe_until: IntGauge,
    shadow_until: IntGauge,
    links: IntCounterVec,
    json: IntCounterVec,
    cache: IntCounterVec,
    cache_entries: IntGauge,
    lookups: IntCounterVec,
    store_durations: HistogramVec,
    store_up: IntGaugeVec,
    use_writes: IntCounterVec,
    canary_uses: IntCounter,
    keys: KeyFamilies,
    limits: LimitFamilies,
    revocation_lag: Histogram,
    access_log_dropped: IntCounter,
    audit: AuditCounters,
    messages_dropped: IntCounter,
    spans: SpanMetrics,
    errors: ErrorMetrics,
    config_info: IntGaugeVec,
    config_loaded: IntGauge,
    config_refused: IntGauge,
    config_reloads: IntCounterVec,
    rules: IntGauge,
}

/// What became of a config that was read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadResult {
    /// It is in force.
    Loaded,
    /// It is the one that is in force.
    Unchanged,
    /// It has problems.
    Refused,
}

impl ReloadResult {
    /// Every result.
    pub const ALL: &'static [ReloadResult] =
        &[ReloadResult::Loaded, ReloadResult::Unchanged, ReloadResult::Refused];

    /// The name as a label and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            ReloadResult::Loaded => "loaded",
            ReloadResult::Unchanged => "unchanged",
            ReloadResult::Refused => "refused",
        }
    }
}

impl Families {
    /// Registers every metric in `registry`.
    ///
    /// # Errors
    /// When a name is taken in the registry.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        #[cfg(target_os = "linux")]
        registry.register(Box::new(ProcessCollector::for_self()))?;
        gauge_vec(registry, BUILD_INFO)?.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let config_reloads = counter_vec(registry, CONFIG_RELOADS)?;
        for result in ReloadResult::ALL {
            config_reloads.with_label_values(&[result.as_str()]);
        }
        let records = counter_vec(registry, AUDIT_RECORDS)?;
        for kind in Kind::ALL {
            records.with_label_values(&[kind.as_str()]);
        }
        let audit = AuditCounters { records, dropped: counter(registry, AUDIT_DROPPED)? };
        Ok(Self {
            requests: counter_vec(registry, REQUESTS)?,
            durations: histogram_vec(registry, DURATION, SECONDS)?,
            overhead: histogram(registry, OVERHEAD, FINE)?,
            upstream_durations: histogram_vec(registry, UPSTREAM, SECONDS)?,
            failures: counter_vec(registry, UPSTREAM_FAILURES)?,
            upstreams: upstream::Families::register(registry)?,
            in_flight: gauge(registry, IN_FLIGHT)?,
            listen: Arc::new(ListenMetrics::register(registry)?),
            decisions: counter_vec(registry, DECISIONS)?,
            refusals: counter_vec(registry, REFUSALS)?,
            observe_until: gauge(registry, OBSERVE_UNTIL)?,
            shadow_until: gauge(registry, SHADOW_UNTIL)?,
            links: counter_vec(registry, LINKS)?,
            json: counter_vec(registry, JSON)?,
            cache: counter_vec(registry, CACHE)?,
            cache_entries: gauge(registry, CACHE_ENTRIES)?,
            lookups: counter_vec(registry, STORE_LOOKUPS)?,
            store_durations: histogram_vec(registry, STORE_DURATION, STORE)?,
            store_up: gauge_vec(registry, STORE_UP)?,
            use_writes: counter_vec(registry, USE_WRITES)?,
            canary_uses: counter(registry, CANARY_USES)?,
            keys: KeyFamilies::register(registry)?,
            limits: LimitFamilies::register(registry)?,
            revocation_lag: histogram(registry, REVOCATION_LAG, STORE)?,
            access_log_dropped: counter(registry, ACCESS_LOG_DROPPED)?,
            audit,
            messages_dropped: counter(registry, MESSAGES_DROPPED)?,
            spans: SpanMetrics::register(registry)?,
            errors: ErrorMetrics::register(registry)?,
            config_info: gauge_vec(registry, CONFIG_INFO)?,
            config_loaded: gauge(registry, CONFIG_LOADED)?,
            config_refused: gauge(registry, CONFIG_REFUSED)?,
            config_reloads,
            rules: gauge(registry, RULES)?,
        })
    }

    /// The series of a config with these rules, these token stores and these limits, ready to be told of
    /// events. What was counted under another one goes on.
    pub fn of(&self, policy: &Policy, stores: &[&str], limits: &[&str]) -> Metrics {
        let by_outcome = |scheme: &str| {
            let refusals = Reason::ALL.iter().map(|reason| ("refuse", reason.code()));
            let outcomes = [("allow", "none"), ("answer", "none")].into_iter().chain(refusals);
            let observed = Reason::ALL.iter().filter(|reason| reason.is_about_entitlement());
            let outcomes = outcomes.chain(observed.map(|reason| ("observe", reason.code())));
            let shadowed = Reason::ALL.iter().filter(|reason| reason.is_of_a_rule());
            let outcomes = outcomes.chain(shadowed.map(|reason| ("shadow", reason.code())));
            outcomes
                .map(|(decision, reason)| {
                    self.decisions.with_label_values(&[scheme, decision, reason])
                })
                .collect()
        };
        let services = Service::ALL.iter().map(|service| service.as_str());
        let schemes = Scheme::ALL.iter().map(|scheme| scheme.as_str());
        let upstream = |name| self.upstream_durations.with_label_values(&[name]);
        let links = LinkResult::ALL.iter();
        let json = JsonResult::ALL.iter();
        let cache = CACHE_RESULTS.iter();
        Metrics {
            routes: RouteHandles::new(
                self.requests.clone(),
                self.refusals.clone(),
                self.durations.clone(),
                &policy.rules,
            ),
            overhead: self.overhead.clone(),
            upstream: services.clone().map(upstream).collect(),
            failures: services.map(|name| self.failures_of(name)).collect(),
            upstreams: self.upstreams.clone(),
            in_flight: self.in_flight.clone(),
            decisions: schemes.chain(["none"]).map(by_outcome).collect(),
            observe_until: self.observe_until.clone(),
            shadow_until: self.shadow_until.clone(),
            links: links.map(|(_, label)| self.links.with_label_values(&[label])).collect(),
            json: json.map(|(_, label)| self.json.with_label_values(&[label])).collect(),
            cache: cache.map(|name| (*name, self.cache.with_label_values(&[name]))).collect(),
            cache_entries: self.cache_entries.clone(),
            stores: stores.iter().map(|store| self.store(store)).collect(),
            limits: limits.iter().map(|limit| self.limits.of(limit)).collect(),
            canary_uses: self.canary_uses.clone(),
            revocation_lag: self.revocation_lag.clone(),
            messages_dropped: self.messages_dropped.clone(),
        }
    }

    /// The failures of one service, by number.
    fn failures_of(&self, service: &str) -> Vec<IntCounter> {
        let codes = UpstreamFailure::ALL.iter().map(|failure| failure.code());
        codes.map(|code| self.failures.with_label_values(&[service, code])).collect()
    }

    fn store(&self, store: &str) -> StoreHandles {
        StoreHandles {
            found: self.lookups.with_label_values(&[store, "found"]),
            unknown: self.lookups.with_label_values(&[store, "unknown"]),
            error: self.lookups.with_label_values(&[store, "error"]),
            duration: self.store_durations.with_label_values(&[store]),
            uses_written: self.use_writes.with_label_values(&[store, "written"]),
            uses_failed: self.use_writes.with_label_values(&[store, "failed"]),
            up: Up::new(self.store_up.with_label_values(&[store])),
            keys: self.keys.of(store),
        }
    }

    /// A store is no longer asked.
    pub fn store_closed(&self, store: &str) {
        // It is gone already, if so.
        self.store_up.remove_label_values(&[store]).unwrap_or_default();
        self.keys.closed(store);
    }

    /// The series of the Redis that counts shared limits at this address.
    pub fn redis(&self, server: &str) -> RedisMetrics {
        self.limits.redis(server)
    }

    /// That Redis is no longer asked.
    pub fn redis_closed(&self, server: &str) {
        self.limits.redis_closed(server);
    }

    /// A limit is no longer there.
    pub fn limit_closed(&self, limit: &str) {
        self.limits.closed(limit);
    }

    /// A URL of an upstream is no longer used.
    pub fn url_left(&self, upstream: &str, url: &str) {
        self.upstreams.left(upstream, url);
    }

    /// The config of this hash is in force, whose rules are for this version of Sentry.
    pub fn config_loaded(&self, hash: &str, sentry_version: &str, at: Timestamp) {
        self.config_info.reset();
        self.config_info.with_label_values(&[hash, sentry_version]).set(1);
        self.config_loaded.set(seconds(at));
    }

    /// So many rules are in force.
    pub fn rules(&self, rules: usize) {
        self.rules.set(i64::try_from(rules).unwrap_or(i64::MAX));
    }

    /// A config was read again.
    pub fn reloaded(&self, result: ReloadResult) {
        self.config_reloads.with_label_values(&[result.as_str()]).inc();
        self.config_refused.set((result == ReloadResult::Refused).into());
    }

    /// What is told of connections.
    pub fn listen(&self) -> &Arc<ListenMetrics> {
        &self.listen
    }

    /// So many requests may be at an upstream, and so many may wait for it.
    pub fn upstream_limited(&self, name: &str, in_flight: u32, waiting: u32) {
        self.upstreams.limited(name, in_flight, waiting);
    }

    /// What is told of reports of errors.
    pub fn errors(&self) -> &ErrorMetrics {
        &self.errors
    }

    /// What is told of spans.
    pub fn spans(&self) -> &SpanMetrics {
        &self.spans
    }

    /// The counter of lost access lines.
    pub fn access_log_dropped(&self) -> &IntCounter {
        &self.access_log_dropped
    }

    /// What is counted of audits.
    pub fn audit(&self) -> &AuditCounters {
        &self.audit
    }
}
