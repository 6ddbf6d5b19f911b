//! What is up, as values: token stores, upstreams and certificates.

use serde::Serialize;

use super::figures::{Figures, Spread};
use super::model::time;
use crate::clock::Timestamp;

/// How long before its end a certificate is worth a word: 14 days, in seconds.
const SOON: i64 = 14 * 24 * 3600;

#[derive(Debug, Serialize)]
pub(super) struct Store {
    pub(super) name: String,
    pub(super) up: bool,
    pub(super) found: u64,
    pub(super) unknown: u64,
    pub(super) errors: u64,
    pub(super) lookups: Spread,
}

#[derive(Debug, Serialize)]
pub(super) struct Upstream {
    pub(super) name: String,
    pub(super) addresses: Vec<Addresses>,
    pub(super) in_flight: u64,
    pub(super) max_in_flight: u64,
    pub(super) waiting: u64,
    pub(super) max_waiting: u64,
    pub(super) failures: u64,
    pub(super) answers: Spread,
}

/// Those of one URL.
#[derive(Debug, Serialize)]
pub(super) struct Addresses {
    pub(super) url: String,
    pub(super) up: u64,
    pub(super) down: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Certificate {
    pub(super) path: String,
    #[serde(serialize_with = "time")]
    pub(super) not_after: Timestamp,
    pub(super) days_left: i64,
    pub(super) state: Validity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Validity {
    Valid,
    EndsSoon,
    Ended,
}

impl Store {
    pub(super) fn of(figures: &Figures, name: &str) -> Self {
        let lookups =
            |result| figures.sum("store_lookups_total", &[("store", name), ("result", result)]);
        Self {
            name: name.to_owned(),
            up: figures.sum("store_up", &[("store", name)]) > 0,
            found: lookups("found"),
            unknown: lookups("unknown"),
            errors: lookups("error"),
            lookups: figures.spread("store_lookup_duration_seconds", Some(("store", name))),
        }
    }
}

/// Those that have addresses; others are not configured any more.
pub(super) fn upstreams(figures: &Figures) -> Vec<Upstream> {
    let mut upstreams: Vec<Upstream> = Vec::new();
    for one in figures.series("upstream_addresses") {
        let (name, url) = (one.label("upstream"), one.label("url"));
        let known = upstreams.iter().position(|upstream| upstream.name == name);
        let upstream = known.unwrap_or_else(|| {
            upstreams.push(Upstream::of(figures, name));
            upstreams.len() - 1
        });
        let addresses = &mut upstreams[upstream].addresses;
        let known = addresses.iter().position(|addresses| addresses.url == url);
        let index = known.unwrap_or_else(|| {
            addresses.push(Addresses { url: url.to_owned(), up: 0, down: 0 });
            addresses.len() - 1
        });
        match one.label("state") {
            "up" => addresses[index].up = one.count(),
            _ => addresses[index].down = one.count(),
        }
    }
    upstreams
}

impl Upstream {
    fn of(figures: &Figures, name: &str) -> Self {
        let labels = [("upstream", name)];
        let limit = |of| figures.sum("upstream_requests_limit", &[("upstream", name), ("of", of)]);
        Self {
            name: name.to_owned(),
            addresses: Vec::new(),
            in_flight: figures.sum("upstream_requests_in_flight", &labels),
            max_in_flight: limit("in_flight"),
            waiting: figures.sum("upstream_requests_waiting", &labels),
            max_waiting: limit("waiting"),
            failures: figures.sum("upstream_failures_total", &labels),
            answers: figures.spread("upstream_duration_seconds", Some(("upstream", name))),
        }
    }

    /// Whether any address is up.
    pub(super) fn is_up(&self) -> bool {
        self.addresses.iter().any(|addresses| addresses.up > 0)
    }
}

pub(super) fn certificates(figures: &Figures, now: Timestamp) -> Vec<Certificate> {
    let seconds = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    let now = seconds(now.as_millis() / 1000);
    let certificate = |one: super::figures::Series<'_>| {
        let left = seconds(one.count()).saturating_sub(now);
        Certificate {
            path: one.label("certificate").to_owned(),
            not_after: Timestamp::from_millis(one.count().saturating_mul(1000)),
            days_left: left.div_euclid(24 * 3600),
            state: match left {
                ..0 => Validity::Ended,
                0..SOON => Validity::EndsSoon,
                SOON.. => Validity::Valid,
            },
        }
    };
    figures.series("certificate_not_after_seconds").map(certificate).collect()
}
