//! What the status page says, as values: read from the metrics and from what is in force, at the
//! moment of asking. Every list has a bound that is known at start or here.

use serde::{Serialize, Serializer};

use super::figures::{Figures, Spread};
use super::up::{self, Certificate, Store, Upstream};
use crate::clock::Timestamp;
use crate::explain::Vouching;
use crate::reload::Outcome;
use crate::store::cache::Used;
use crate::telemetry::metrics::CACHE_RESULTS;
use crate::telemetry::unmatched::Entry;

/// How many routes a list of them has.
const ROUTES: usize = 10;
/// How many tokens the list of them has.
pub(super) const TOKENS: usize = 10;
/// How many rows the list of decisions has.
const DECISIONS: usize = 25;

/// Where the model is read from.
pub(super) struct Sources {
    pub(super) figures: Figures,
    pub(super) now: Timestamp,
    pub(super) not_ready: Option<&'static str>,
    pub(super) observing_until: Option<Timestamp>,
    pub(super) last_reload: Option<Outcome>,
    pub(super) config_hash: String,
    pub(super) cache_capacity: u64,
    pub(super) unmatched: Vec<Entry>,
    pub(super) tokens: Vec<Used>,
    pub(super) upstreams_told: Told,
}

/// Everything that the page says.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    #[serde(serialize_with = "time")]
    pub(super) at: Timestamp,
    pub(super) version: &'static str,
    #[serde(serialize_with = "some_time")]
    pub(super) started_at: Option<Timestamp>,
    pub(super) ready: bool,
    pub(super) not_ready_because: Option<&'static str>,
    #[serde(serialize_with = "some_time")]
    pub(super) observing_until: Option<Timestamp>,
    pub(super) config: Config,
    pub(super) upstreams_told: Told,
    pub(super) stores: Vec<Store>,
    pub(super) upstreams: Vec<Upstream>,
    pub(super) certificates: Vec<Certificate>,
    pub(super) traffic: Traffic,
    pub(super) decisions: Vec<Decision>,
    pub(super) busiest_routes: Vec<Route>,
    pub(super) slowest_routes: Vec<Route>,
    pub(super) most_refused_routes: Vec<Refused>,
    pub(super) cache: Cache,
    pub(super) revocations: Spread,
    pub(super) lost: Lost,
    pub(super) unmatched: Vec<Entry>,
    pub(super) tokens: Vec<Used>,
}

/// The config in force, and what came of the one that was read last.
#[derive(Debug, Serialize)]
pub(super) struct Config {
    pub(super) hash: String,
    pub(super) sentry_version: String,
    pub(super) rules: u64,
    #[serde(serialize_with = "time")]
    pub(super) loaded_at: Timestamp,
    pub(super) last: Option<Outcome>,
}

/// What upstreams are told of decisions.
#[derive(Debug, Default, Serialize)]
pub(super) struct Told {
    /// Whether identity headers say who called.
    pub(super) identity_headers: bool,
    pub(super) assertion: Option<Assertions>,
}

/// Where assertions go, and in which header.
#[derive(Debug, Serialize)]
pub(super) struct Assertions {
    pub(super) header: String,
    pub(super) upstreams: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
pub(super) struct Traffic {
    pub(super) requests: u64,
    pub(super) in_flight: u64,
    /// By the first digit of the status.
    pub(super) statuses: Vec<Counted>,
    pub(super) overhead: Spread,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Counted {
    pub(super) what: String,
    pub(super) count: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Decision {
    pub(super) decision: String,
    pub(super) reason: String,
    pub(super) credential: String,
    pub(super) count: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Route {
    pub(super) route: String,
    pub(super) duration: Spread,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Refused {
    pub(super) route: String,
    pub(super) decision: String,
    pub(super) reason: String,
    pub(super) count: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Cache {
    pub(super) entries: u64,
    pub(super) capacity: u64,
    /// By what the cache said.
    pub(super) lookups: Vec<Counted>,
}

/// What got no further, or was not written down.
#[derive(Debug, Serialize)]
pub(super) struct Lost {
    pub(super) accept_errors: u64,
    pub(super) tls_handshakes: u64,
    pub(super) proxy_protocol: u64,
    pub(super) access_lines: u64,
    pub(super) messages: u64,
    pub(super) audit_records: u64,
    pub(super) spans: u64,
    pub(super) error_reports: u64,
}

impl Status {
    pub(super) fn of(sources: Sources) -> Self {
        let Sources { figures, now, last_reload, mut unmatched, tokens, .. } = sources;
        unmatched.truncate(ROUTES);
        let routes = routes(&figures);
        let unsent = |name| {
            ["failed", "dropped"]
                .map(|result| figures.sum(name, &[("result", result)]))
                .iter()
                .sum()
        };
        Self {
            at: now,
            version: env!("CARGO_PKG_VERSION"),
            started_at: figures.started().map(Timestamp::from_millis),
            ready: sources.not_ready.is_none(),
            not_ready_because: sources.not_ready,
            observing_until: sources.observing_until,
            config: Config::of(&figures, sources.config_hash, last_reload),
            upstreams_told: sources.upstreams_told,
            stores: figures
                .series("store_up")
                .map(|up| Store::of(&figures, up.label("store")))
                .collect(),
            upstreams: up::upstreams(&figures),
            certificates: up::certificates(&figures, now),
            traffic: Traffic::of(&figures),
            decisions: decisions(&figures),
            busiest_routes: first(routes.clone(), |a, b| b.duration.count.cmp(&a.duration.count)),
            slowest_routes: first(routes, |a, b| {
                b.duration.mean_seconds.total_cmp(&a.duration.mean_seconds)
            }),
            most_refused_routes: first(refused(&figures), |a, b| b.count.cmp(&a.count)),
            cache: Cache::of(&figures, sources.cache_capacity),
            revocations: figures.spread("revocation_lag_seconds", None),
            lost: Lost {
                accept_errors: figures.sum("accept_errors_total", &[]),
                tls_handshakes: figures.sum("tls_handshake_failures_total", &[]),
                proxy_protocol: figures.sum("proxy_protocol_failures_total", &[]),
                access_lines: figures.sum("access_log_dropped_total", &[]),
                messages: figures.sum("messages_dropped_total", &[]),
                audit_records: figures.sum("audit_dropped_total", &[]),
                spans: unsent("spans_total"),
                error_reports: unsent("error_reports_total"),
            },
            unmatched,
            tokens,
        }
    }
}

/// The first of a list in this order; what is equal stays in the order of the metrics.
fn first<T>(mut list: Vec<T>, order: impl Fn(&T, &T) -> std::cmp::Ordering) -> Vec<T> {
    list.sort_by(order);
    list.truncate(ROUTES);
    list
}

impl Config {
    fn of(figures: &Figures, hash: String, last: Option<Outcome>) -> Self {
        let seconds = figures.sum("config_last_reload_success_timestamp_seconds", &[]);
        let info = figures.series("config_info").next();
        let sentry_version = info.map_or("", |info| info.label("sentry_version")).to_owned();
        let loaded_at = Timestamp::from_millis(seconds.saturating_mul(1000));
        Self { hash, sentry_version, rules: figures.sum("rules", &[]), loaded_at, last }
    }
}

impl Told {
    pub(super) fn of(vouching: &Vouching<'_>) -> Self {
        let Vouching { identity_headers, assertion } = *vouching;
        let assertion = assertion.map(|(header, upstreams)| Assertions {
            header: header.to_string(),
            upstreams: upstreams.iter().map(|service| service.as_str()).collect(),
        });
        Self { identity_headers, assertion }
    }
}

impl Traffic {
    fn of(figures: &Figures) -> Self {
        let mut statuses: Vec<Counted> = Vec::new();
        for one in figures.series("requests_total") {
            let what = match one.label("status") {
                "499" => "499".to_owned(),
                status if status.starts_with(|first: char| first.is_ascii_digit()) => {
                    format!("{}xx", &status[..1])
                }
                other => other.to_owned(),
            };
            match statuses.iter_mut().find(|counted| counted.what == what) {
                Some(counted) => counted.count += one.count(),
                None => statuses.push(Counted { what, count: one.count() }),
            }
        }
        statuses.sort_by(|a, b| a.what.cmp(&b.what));
        Self {
            requests: statuses.iter().map(|counted| counted.count).sum(),
            in_flight: figures.sum("requests_in_flight", &[]),
            statuses,
            overhead: figures.spread("overhead_duration_seconds", None),
        }
    }
}

/// Those that were made, most of them first.
fn decisions(figures: &Figures) -> Vec<Decision> {
    let decision = |one: super::figures::Series<'_>| Decision {
        decision: one.label("decision").to_owned(),
        reason: one.label("reason").to_owned(),
        credential: one.label("credential").to_owned(),
        count: one.count(),
    };
    let mut list: Vec<_> = figures.series("decisions_total").map(decision).collect();
    list.retain(|decision| decision.count > 0);
    list.sort_by_key(|one| std::cmp::Reverse(one.count));
    list.truncate(DECISIONS);
    list
}

fn routes(figures: &Figures) -> Vec<Route> {
    let route = |one: super::figures::Series<'_>| Route {
        route: one.label("route").to_owned(),
        duration: one.spread(),
    };
    figures.series("request_duration_seconds").map(route).collect()
}

fn refused(figures: &Figures) -> Vec<Refused> {
    let refused = |one: super::figures::Series<'_>| Refused {
        route: one.label("route").to_owned(),
        decision: one.label("decision").to_owned(),
        reason: one.label("reason").to_owned(),
        count: one.count(),
    };
    figures.series("refusals_total").map(refused).collect()
}

impl Cache {
    fn of(figures: &Figures, capacity: u64) -> Self {
        let counted = |result: &&str| Counted {
            what: (*result).to_owned(),
            count: figures.sum("cache_requests_total", &[("result", result)]),
        };
        let lookups = CACHE_RESULTS.iter().map(counted).collect();
        Self { entries: figures.sum("cache_entries", &[]), capacity, lookups }
    }
}

pub(super) fn time<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

fn some_time<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}
