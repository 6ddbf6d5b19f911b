//! The limits that a request meets. Asking counts against none.

use std::net::IpAddr;

use serde::Serialize;

use crate::gateway::Gateway;
use crate::limit::key::{By, Key};
use crate::limit::refusal::requests;
use crate::limit::table::{Met, Sent};
use crate::policy::decision::{Decision, Verdict};

/// A limit, and whom the request counts for there.
#[derive(Debug, Serialize)]
pub struct Limited<'a> {
    name: &'a str,
    by: &'static str,
    /// The token, the organization or the group; of a client nothing is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<String>,
    /// How often, in words.
    #[serde(skip_serializing_if = "str::is_empty")]
    rate: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight: Option<u32>,
    enforced: bool,
}

impl<'a> Limited<'a> {
    /// Those of a request for `target` that was let through.
    pub(super) fn all(decision: &'a Decision, gateway: &'a Gateway, target: &str) -> Vec<Self> {
        let Verdict::Permit(permit) = &decision.verdict else { return Vec::new() };
        let sent = Sent::new(None::<IpAddr>, target.as_bytes(), permit.prefix_len());
        gateway.limits().met(decision, sent).map(|met| Self::of(&met, gateway)).collect()
    }

    fn of(met: &Met<'_>, gateway: &'a Gateway) -> Self {
        let limit = gateway.limits().limit(met.index);
        let of = match (&met.key, limit.by) {
            (Key::Client(_), _) | (_, By::Client) => None,
            (key, By::Token | By::Organization | By::RuleGroup) => Some(key.to_string()),
        };
        Self {
            name: &limit.name,
            by: limit.by.as_str(),
            of,
            rate: &limit.pace,
            in_flight: limit.in_flight.map(Into::into),
            enforced: limit.enforce,
        }
    }

    /// In words.
    pub(super) fn line(&self) -> String {
        let in_flight = self.in_flight.map(|most| format!("{} under way", requests(most)));
        let terms: Vec<_> = [Some(self.rate.to_owned()).filter(|rate| !rate.is_empty()), in_flight]
            .into_iter()
            .flatten()
            .collect();
        let of = self.of.as_ref().map(|of| format!(" {}", of.escape_debug())).unwrap_or_default();
        let told = if self.enforced { "" } else { "; not enforced" };
        format!("{}: {}, by {}{of}{told}", self.name, terms.join(", "), self.by)
    }
}
