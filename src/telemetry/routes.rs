//! Metric handles per rule, resolved once and kept, so that a request looks nothing up.
//!
//! A rule's handles are made when it is first met: a gateway with all of Sentry's rules exports
//! series only for those that are used, and never more than rules, known methods and known
//! statuses allow.

use std::sync::OnceLock;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};

use crate::policy::method::Method;
use crate::policy::reason::Reason;
use crate::policy::rules::{RuleId, RuleTable};

/// The route label of a request that met no rule.
pub(super) const UNMATCHED: &str = "unmatched";
/// The label of what is not in a closed list.
const OTHER: &str = "other";

/// Statuses that have a label of their own.
const STATUSES: &[(u16, &str)] = &[
    (200, "200"),
    (201, "201"),
    (202, "202"),
    (204, "204"),
    (206, "206"),
    (208, "208"),
    (301, "301"),
    (302, "302"),
    (304, "304"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (408, "408"),
    (409, "409"),
    (410, "410"),
    (411, "411"),
    (412, "412"),
    (413, "413"),
    (415, "415"),
    (416, "416"),
    (421, "421"),
    (422, "422"),
    (429, "429"),
    (499, "499"),
    (500, "500"),
    (501, "501"),
    (502, "502"),
    (503, "503"),
    (504, "504"),
];

/// One more for every other status, and one more for every other method.
const STATUS_SLOTS: usize = STATUSES.len() + 1;
const METHOD_SLOTS: usize = Method::ALL.len() + 1;

/// The method as a label.
pub(super) fn method_label(method: &str) -> &'static str {
    Method::from_name(method).map_or(OTHER, Method::as_str)
}

fn status_slot(status: u16) -> (usize, &'static str) {
    let found = STATUSES.binary_search_by_key(&status, |(known, _)| *known);
    found.map_or((STATUSES.len(), OTHER), |index| (index, STATUSES[index].1))
}

/// What becomes of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Refusal {
    /// It is made.
    Made,
    /// The gateway observes, so it is only told of.
    Observed,
    /// It is of a rule in shadow, so it is only told of.
    Shadowed,
}

impl Refusal {
    const ALL: &'static [Refusal] = &[Refusal::Made, Refusal::Observed, Refusal::Shadowed];

    /// The name as a label.
    const fn as_str(self) -> &'static str {
        match self {
            Refusal::Made => "refuse",
            Refusal::Observed => "observe",
            Refusal::Shadowed => "shadow",
        }
    }
}

/// For each of these every reason.
const REFUSAL_SLOTS: usize = Refusal::ALL.len() * Reason::ALL.len();

#[derive(Debug)]
pub(super) struct RouteHandles {
    requests: IntCounterVec,
    refusals: IntCounterVec,
    durations: HistogramVec,
    /// One a rule, and the last for what met no rule.
    rules: Box<[OnceLock<Box<Handles>>]>,
}

#[derive(Debug)]
struct Handles {
    route: Box<str>,
    requests: [OnceLock<IntCounter>; METHOD_SLOTS * STATUS_SLOTS],
    refusals: [OnceLock<IntCounter>; REFUSAL_SLOTS],
    duration: Histogram,
}

impl RouteHandles {
    pub(super) fn new(
        requests: IntCounterVec,
        refusals: IntCounterVec,
        durations: HistogramVec,
        rules: &RuleTable,
    ) -> Self {
        let rules = (0..=rules.numbers()).map(|_| OnceLock::new()).collect();
        Self { requests, refusals, durations, rules }
    }

    fn handles(&self, rules: &RuleTable, rule: Option<RuleId>) -> &Handles {
        let index = rule.map_or(rules.numbers(), RuleId::index);
        self.rules[index].get_or_init(|| {
            let route = rule.map_or(UNMATCHED, |id| rules.rule(id).template.as_str());
            let requests = [const { OnceLock::new() }; METHOD_SLOTS * STATUS_SLOTS];
            let refusals = [const { OnceLock::new() }; REFUSAL_SLOTS];
            let duration = self.durations.with_label_values(&[route]);
            Box::new(Handles { route: route.into(), requests, refusals, duration })
        })
    }

    pub(super) fn record(
        &self,
        rules: &RuleTable,
        rule: Option<RuleId>,
        method: &str,
        status: u16,
        seconds: f64,
    ) {
        let handles = self.handles(rules, rule);
        let known = Method::from_name(method);
        let method_slot = known.map_or(Method::ALL.len(), |method| method as usize);
        let (slot, status) = status_slot(status);
        let counter = handles.requests[method_slot * STATUS_SLOTS + slot].get_or_init(|| {
            let method = known.map_or(OTHER, Method::as_str);
            self.requests.with_label_values(&[&*handles.route, method, status])
        });
        counter.inc();
        handles.duration.observe(seconds);
    }

    /// A request was refused, or would have been.
    pub(super) fn refused(
        &self,
        rules: &RuleTable,
        rule: Option<RuleId>,
        reason: Reason,
        refusal: Refusal,
    ) {
        let handles = self.handles(rules, rule);
        let slot = refusal as usize * Reason::ALL.len() + reason as usize;
        let counter = handles.refusals[slot].get_or_init(|| {
            let labels = [&*handles.route, refusal.as_str(), reason.code()];
            self.refusals.with_label_values(&labels)
        });
        counter.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_from_closed_lists() {
        assert!(STATUSES.is_sorted_by_key(|(status, _)| status));
        for (status, label) in STATUSES {
            assert_eq!(status.to_string(), *label);
            assert_eq!(status_slot(*status).1, *label);
        }
        assert_eq!(status_slot(599).1, "other");
        assert_eq!((method_label("GET"), method_label("get")), ("GET", "other"));
    }
}
