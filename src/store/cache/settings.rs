//! What a cache of identities is told, and what it tells.

use std::time::{Duration, Instant};

use crate::policy::decision::Lookup;
use crate::store::Usage;

/// How long and how much is cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// How long an identity is served without asking again.
    pub ttl: Duration,
    /// How long "not known" is.
    pub unknown_ttl: Duration,
    /// How much longer an identity is served when its store can't answer.
    pub stale_if_error: Duration,
    /// How many identities are kept.
    pub capacity: u64,
    /// How long a store may take to answer.
    pub timeout: Duration,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(60),
            unknown_ttl: Duration::from_secs(5),
            stale_if_error: Duration::from_secs(300),
            capacity: 100_000,
            timeout: Duration::from_secs(1),
        }
    }
}

/// The part that the cache had in an answer: a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheResult {
    /// It held the identity.
    Hit,
    /// A store was asked, by this request or by the one that it waited for.
    Miss,
    /// It held a recent "not known" or "can't tell".
    Negative,
    /// It held an identity past its lifetime, whose store can't answer.
    Stale,
}

impl CacheResult {
    /// Every result.
    pub const ALL: &'static [CacheResult] =
        &[CacheResult::Hit, CacheResult::Miss, CacheResult::Negative, CacheResult::Stale];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            CacheResult::Hit => "hit",
            CacheResult::Miss => "miss",
            CacheResult::Negative => "negative",
            CacheResult::Stale => "stale",
        }
    }
}

/// The answer to "who is this?".
#[derive(Clone, Debug)]
pub struct Answer {
    /// For policy.
    pub lookup: Lookup,
    /// For metrics.
    pub cache: CacheResult,
    /// From when to when stores were asked, if they were.
    pub asked: Option<(Instant, Instant)>,
    /// Where it is counted how the token is used, if its store records that.
    pub usage: Option<Usage>,
}
