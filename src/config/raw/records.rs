//! What is recorded of requests, as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::seconds;
use crate::config::value::HumanDuration;

/// What is audited.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawAudit {
    /// `stdout`, or the path of a file that is appended to. It may be rotated by name at any time.
    pub(in crate::config) output: String,
    /// The decisions that are recorded: `refuse`, refusals, made or only observed; `write`, what was let
    /// through by another method than `GET` and `HEAD`; `ingest`, the same of SDKs and Relays; `read`,
    /// everything else. What operators do and changes of the settings always are.
    #[serde(default = "usual")]
    pub(in crate::config) decisions: Vec<Recorded>,
    /// What becomes of a request whose record can't be written: `count`, it goes on, and a record that
    /// finds no room is lost and counted; `wait`, it is forwarded or answered once its record is written,
    /// and refused with 503 when that fails.
    #[serde(default)]
    pub(in crate::config) when_full: WhenFull,
    /// How long it waits at most.
    #[serde(default = "seconds::<5>")]
    pub(in crate::config) max_wait: HumanDuration,
}

fn usual() -> Vec<Recorded> {
    vec![Recorded::Refuse, Recorded::Write]
}

/// Decisions that are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Recorded {
    /// Refusals.
    Refuse,
    /// What may change something.
    Write,
    /// Events.
    Ingest,
    /// Everything else.
    Read,
}

/// What becomes of a request whose record can't be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum WhenFull {
    /// It goes on.
    #[default]
    Count,
    /// It waits, and is refused.
    Wait,
}

/// How much of clients is recorded, in the access log, the audit and spans alike.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct RawPrivacy {
    /// Their address: `full`; `shortened`, the /24 of IPv4 and the /48 of IPv6; or `off`.
    pub(in crate::config) client_address: RawDetail,
    /// Their `User-Agent`: `full`, up to 256 characters; `shortened`, the first product and its version;
    /// or `off`.
    pub(in crate::config) user_agent: RawDetail,
}

impl Default for RawPrivacy {
    fn default() -> Self {
        Self { client_address: RawDetail::Full, user_agent: RawDetail::Shortened }
    }
}

/// How much of something is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RawDetail {
    /// All of it.
    Full,
    /// What does not tell one person from the next.
    Shortened,
    /// Nothing.
    Off,
}
