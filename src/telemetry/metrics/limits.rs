//! The metrics of limits.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::register::{counter_vec, gauge_vec};
use super::{LIMIT_KEYS, Metrics, RATE_LIMITED, REDIS_REQUESTS, REDIS_UP};

/// Which term of a limit is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LimitTerm {
    /// How often.
    Rate,
    /// How much at once.
    InFlight,
}

impl LimitTerm {
    const ALL: &'static [(LimitTerm, &'static str)] =
        &[(LimitTerm::Rate, "rate"), (LimitTerm::InFlight, "in_flight")];
}

/// What becomes of what is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Excessive {
    /// It is refused.
    Refused,
    /// The limit is not enforced, so it is only told.
    Told,
}

impl Excessive {
    const ALL: &'static [(Excessive, &'static str)] =
        &[(Excessive::Refused, "refuse"), (Excessive::Told, "shadow")];
}

/// What became of asking the Redis that counts shared limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RedisResult {
    /// It answered.
    Answered,
    /// It did not in time.
    Late,
    /// It could not.
    Error,
    /// It was not asked.
    Skipped,
}

impl RedisResult {
    const ALL: &'static [(RedisResult, &'static str)] = &[
        (RedisResult::Answered, "answered"),
        (RedisResult::Late, "late"),
        (RedisResult::Error, "error"),
        (RedisResult::Skipped, "skipped"),
    ];
}

/// Of the Redis that counts shared limits.
#[derive(Debug)]
pub struct RedisMetrics {
    requests: Vec<IntCounter>,
    up: IntGauge,
}

impl RedisMetrics {
    /// It was asked once, or should have been.
    pub fn asked(&self, result: RedisResult) {
        self.requests[result as usize].inc();
    }

    /// It can be asked, or can't.
    pub fn up(&self, so: bool) {
        self.up.set(so.into());
    }
}

/// Registered.
#[derive(Clone, Debug)]
pub(super) struct LimitFamilies {
    limited: IntCounterVec,
    keys: IntGaugeVec,
    redis_requests: IntCounterVec,
    redis_up: IntGaugeVec,
}

/// Of one limit.
#[derive(Debug)]
pub(super) struct LimitHandles {
    /// By term, then by what becomes of it.
    limited: Vec<Vec<IntCounter>>,
    keys: IntGauge,
}

impl LimitFamilies {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            limited: counter_vec(registry, RATE_LIMITED)?,
            keys: gauge_vec(registry, LIMIT_KEYS)?,
            redis_requests: counter_vec(registry, REDIS_REQUESTS)?,
            redis_up: gauge_vec(registry, REDIS_UP)?,
        })
    }

    pub(super) fn of(&self, limit: &str) -> LimitHandles {
        let of_term = |term: &str| {
            let decisions = Excessive::ALL.iter();
            let counters = decisions
                .map(|(_, decision)| self.limited.with_label_values(&[limit, term, decision]));
            counters.collect()
        };
        LimitHandles {
            limited: LimitTerm::ALL.iter().map(|(_, term)| of_term(term)).collect(),
            keys: self.keys.with_label_values(&[limit]),
        }
    }

    pub(super) fn redis(&self, server: &str) -> RedisMetrics {
        let requests = RedisResult::ALL.iter();
        let requests = requests.map(|(_, label)| self.redis_requests.with_label_values(&[label]));
        let up = self.redis_up.with_label_values(&[server]);
        RedisMetrics { requests: requests.collect(), up }
    }

    pub(super) fn redis_closed(&self, server: &str) {
        // It is gone already, if so.
        self.redis_up.remove_label_values(&[server]).unwrap_or_default();
    }

    /// There is no such limit any more.
    pub(super) fn closed(&self, limit: &str) {
        // It is gone already, if so.
        self.keys.remove_label_values(&[limit]).unwrap_or_default();
    }
}

impl Metrics {
    /// A request is more than the limit of this number takes.
    pub fn limited(&self, limit: usize, term: LimitTerm, excessive: Excessive) {
        if let Some(handles) = self.limits.get(limit) {
            handles.limited[term as usize][excessive as usize].inc();
        }
    }

    /// So many callers have a count of their own, of each limit.
    pub fn limit_keys(&self, keys: impl Iterator<Item = usize>) {
        for (handles, keys) in self.limits.iter().zip(keys) {
            handles.keys.set(i64::try_from(keys).unwrap_or(i64::MAX));
        }
    }
}
