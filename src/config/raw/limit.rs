//! Limits, as they are written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::schema::Group;
use super::super::value::{HumanDuration, SecretRef};
use super::RawUpstreamTls;

/// Limits by name.
pub(in super::super) type RawLimits = BTreeMap<String, RawLimit>;

/// How often callers may send requests that are let through, and how many at once. What is refused for
/// another reason counts against no limit.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct RawLimit {
    /// What is counted by: `token`, the identity behind a credential (who has none is not counted);
    /// `organization`, as the path names it (what names none is not counted); `client`, its address, of
    /// IPv6 its /64; `rule_group`, each of `groups` for all callers together.
    pub(in super::super) by: RawBy,
    /// How many requests there may be in a second, evenly, after a burst.
    pub(in super::super) per_second: Option<u32>,
    /// The same in a minute, instead.
    pub(in super::super) per_minute: Option<u32>,
    /// How many may come at once; by default as many as may in a second, at least one.
    pub(in super::super) burst: Option<u32>,
    /// How many may be under way at once, from the decision to the end of the answer.
    pub(in super::super) in_flight: Option<u32>,
    /// The rule groups (`[group.NAME]`) whose requests it is for; by default those of every rule that
    /// `expose` names.
    pub(in super::super) groups: Option<Vec<String>>,
    /// The rule groups whose requests it is not for: those that have limits of their own.
    #[serde(default)]
    pub(in super::super) except_groups: Vec<String>,
    /// What the rules have to be exposed as that it is for, as in `listen`; by default `api`.
    #[schemars(with = "Option<Vec<Group>>")]
    pub(in super::super) expose: Option<Vec<String>>,
    /// Whether the rate is counted in `[redis]`, by all gateways that use it together; by default each counts for
    /// itself.
    #[serde(default)]
    pub(in super::super) shared: bool,
    /// Whether it refuses. If not, what it would refuse is only counted, to find numbers that fit.
    #[serde(default = "yes")]
    pub(in super::super) enforce: bool,
    /// How many callers have a count of their own. Beyond that, those who are new share one; a count that
    /// is not used is forgotten. Some 100 bytes each.
    #[serde(default = "max_keys")]
    pub(in super::super) max_keys: u32,
}

/// What a limit counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum RawBy {
    /// The identity behind a credential.
    Token,
    /// The organization that the path names.
    Organization,
    /// The client's address.
    Client,
    /// A rule group.
    RuleGroup,
}

/// The Redis in which limits with `shared = true` are counted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct RawRedis {
    /// Where it is: `redis://host:6379`, or `rediss://host:6379` for TLS; a number at the end is that of the
    /// database, by default 0.
    pub(in super::super) url: String,
    /// Who logs in; by default the user `default`, where there is a password.
    pub(in super::super) username: Option<String>,
    /// The password.
    pub(in super::super) password: Option<SecretRef>,
    /// How `rediss` is spoken: by default as the certificates of the machine have it.
    pub(in super::super) tls: Option<RawUpstreamTls>,
    /// How long a request waits for an answer. Without one, each gateway counts for itself.
    #[serde(default = "milliseconds::<20>")]
    pub(in super::super) timeout: HumanDuration,
    /// What keys begin with: gateways that count together have the same.
    #[serde(default = "key_prefix")]
    pub(in super::super) key_prefix: String,
}

fn milliseconds<const N: u64>() -> HumanDuration {
    HumanDuration(std::time::Duration::from_millis(N))
}

fn key_prefix() -> String {
    "portcullis".to_owned()
}

const fn yes() -> bool {
    true
}

const fn max_keys() -> u32 {
    100_000
}
