//! Deciding to the end, and naming what came of it.

use super::super::judge::{Circumstances, Resolved};
use super::super::question::{Answers, Learnt, Question};
use super::*;

/// The decision, where Sentry has the organisations `acme` (1) and `globex` (2).
pub(super) fn settled(pending: &Pending<'_>, lookup: &Lookup) -> Decision {
    settled_at(pending, lookup, NOW)
}

/// The same at another time.
pub(super) fn settled_at(pending: &Pending<'_>, lookup: &Lookup, now: Timestamp) -> Decision {
    let mut answers = Answers::default();
    loop {
        let given = Circumstances { now, client: None, answers: &answers };
        match pending.resolve(lookup, given) {
            Resolved::Decided(decision) => return decision,
            Resolved::Ask(question) => {
                let learnt = match &question {
                    Question::Organization(name) => match &**name {
                        "acme" => Learnt::Ids([1].into()),
                        "globex" => Learnt::Ids([2].into()),
                        _ => Learnt::Nothing,
                    },
                    Question::Project { .. }
                    | Question::Release { .. }
                    | Question::Issue { .. } => Learnt::Unavailable,
                };
                answers.add(question, learnt);
            }
        }
    }
}

pub(super) fn forwarded(forward: Forward) -> String {
    match forward {
        Forward::Exchange(_) => "Exchange".to_owned(),
        Forward::AsIs | Forward::Anonymous | Forward::Session | Forward::Untouched { .. } => {
            format!("{forward:?}")
        }
    }
}

/// A policy of these rules.
pub(super) fn of(rules: RuleTable) -> Policy {
    let site = Site::new(BaseUrl::parse("https://sentry.example.com").unwrap(), Vec::new());
    Policy { max_body: [100; _], ..Policy::new(rules, site) }
}
