//! Limits, for the rules that they are for.

use std::num::NonZeroU32;

use super::super::raw::{RawBy, RawLimit, RawLimits};
use super::Compiler;
use crate::limit::key::By;
use crate::limit::rate::{Rate, SECOND};
use crate::limit::refusal::requests;
use crate::limit::table::Limit;
use crate::policy::exposure::{Exposure, Exposures};
use crate::policy::profile::{Profiles, RuleMethods};
use crate::policy::rules::RuleTable;

/// The most that a rate or a burst may be: more is no limit.
const MOST: u32 = 1_000_000;
/// The least time between two requests at a rate that is shared, in nanoseconds.
const SHARED_INTERVAL: u64 = SECOND / 10_000;
/// The fewest and the most callers that have a count of their own.
const KEYS: std::ops::RangeInclusive<u32> = 1000..=10_000_000;

impl Compiler<'_> {
    /// Compiles limits for these rules and rule groups.
    pub(super) fn limits(
        &mut self,
        raw: &RawLimits,
        rules: &RuleTable,
        profiles: &Profiles,
    ) -> Vec<Limit> {
        raw.iter().filter_map(|(name, raw)| self.limit(name, raw, rules, profiles)).collect()
    }

    fn limit(
        &mut self,
        name: &str,
        raw: &RawLimit,
        rules: &RuleTable,
        profiles: &Profiles,
    ) -> Option<Limit> {
        let at = format!("limit.{name}");
        self.name(&at, name);
        let rate = self.rate(&at, raw);
        let in_flight =
            raw.in_flight.and_then(|most| self.number(&format!("{at}.in_flight"), most));
        if raw.per_second.is_none() && raw.per_minute.is_none() && raw.in_flight.is_none() {
            let help = "write `per_second`, `per_minute` or `in_flight`";
            self.problem(&at, "limits nothing", help);
        }
        if !KEYS.contains(&raw.max_keys) {
            let what = format!("is not between {} and {}", KEYS.start(), KEYS.end());
            let help = "delete the line to take the default";
            self.problem(format!("{at}.max_keys"), what, help);
        }
        if raw.shared {
            self.shared(&at, raw, rate.as_ref().map(|(rate, _)| *rate));
        }
        let by = match raw.by {
            RawBy::Token => By::Token,
            RawBy::Organization => By::Organization,
            RawBy::Client => By::Client,
            RawBy::RuleGroup => By::RuleGroup,
        };
        let rules = self.limited_rules(&at, by, raw, rules, profiles);
        let (rate, pace) = rate.unzip();
        Some(Limit {
            name: name.into(),
            by,
            rate,
            pace: pace.unwrap_or_default(),
            in_flight,
            enforce: raw.enforce,
            shared: raw.shared,
            max_keys: usize::try_from(raw.max_keys).unwrap_or(usize::MAX),
            rules,
        })
    }

    /// What can't be counted together.
    fn shared(&mut self, at: &str, raw: &RawLimit, rate: Option<Rate>) {
        if raw.in_flight.is_some() {
            let what = "can't be shared: each gateway knows what is under way at itself alone";
            let help = "write it into a limit of its own, without `shared`";
            self.problem(format!("{at}.in_flight"), what, help);
        } else if raw.per_second.is_none() && raw.per_minute.is_none() {
            let help = "write `per_second` or `per_minute`, or delete it";
            self.problem(format!("{at}.shared"), "means nothing without a rate", help);
        }
        if rate.is_some_and(|rate| rate.interval() < SHARED_INTERVAL) {
            let what = "is more than 10,000 a second, for each of which Redis would be asked";
            self.problem(format!("{at}.shared"), what, "delete it, or make the rate smaller");
        }
    }

    /// The rate, and the same in words.
    fn rate(&mut self, at: &str, raw: &RawLimit) -> Option<(Rate, Box<str>)> {
        let (key, count, period, unit) = match (raw.per_second, raw.per_minute) {
            (Some(count), None) => ("per_second", count, SECOND, "second"),
            (None, Some(count)) => ("per_minute", count, 60 * SECOND, "minute"),
            (Some(_), Some(_)) => {
                let help = "delete one of the two";
                self.problem(at, "has both `per_second` and `per_minute`", help);
                return None;
            }
            (None, None) => {
                if raw.burst.is_some() {
                    let help = "write `per_second` or `per_minute`, or delete it";
                    self.problem(format!("{at}.burst"), "means nothing without a rate", help);
                }
                return None;
            }
        };
        let count = self.number(&format!("{at}.{key}"), count);
        let burst = raw.burst.map(|burst| self.number(&format!("{at}.burst"), burst));
        let count = count?;
        let in_a_second = u64::from(count.get()) * SECOND / period;
        let default = u32::try_from(in_a_second).ok().and_then(NonZeroU32::new);
        let burst = burst.unwrap_or(default.or(NonZeroU32::new(1)))?;
        let pace = format!("{} a {unit}, {burst} at once", requests(count.get()));
        Some((Rate::new(count, period, burst), pace.into()))
    }

    fn number(&mut self, at: &str, number: u32) -> Option<NonZeroU32> {
        let help = format!("write a number from 1 to {MOST}");
        if number > MOST {
            self.problem(at, "is so much that it is no limit", help);
            return None;
        }
        let number = NonZeroU32::new(number);
        if number.is_none() {
            self.problem(at, "is zero, so that nobody would get through", help);
        }
        number
    }

    /// The rules that a limit is for, by group where it counts by that.
    fn limited_rules(
        &mut self,
        at: &str,
        by: By,
        raw: &RawLimit,
        rules: &RuleTable,
        profiles: &Profiles,
    ) -> Vec<(Box<str>, RuleMethods)> {
        let known = self.problems.len();
        let except = self.groups(&format!("{at}.except_groups"), &raw.except_groups, profiles);
        let groups = match (&raw.groups, by) {
            (Some(names), _) => {
                if raw.expose.is_some() {
                    let what = "means nothing beside `groups`, which say which rules it is for";
                    self.problem(format!("{at}.expose"), what, "delete one of the two");
                }
                if names.is_empty() {
                    let help = "name a group, or delete the line for every rule";
                    self.problem(format!("{at}.groups"), "is empty", help);
                }
                self.groups(&format!("{at}.groups"), names, profiles)
            }
            (None, By::RuleGroup) => {
                let help = "name the groups that it is for, such as `groups = [\"uploads\"]`";
                self.problem(format!("{at}.groups"), "is missing, and it counts by it", help);
                Vec::new()
            }
            (None, By::Token | By::Organization | By::Client) => {
                let exposed = match &raw.expose {
                    Some(names) => self.exposed(&format!("{at}.expose"), names),
                    None => Exposures::NONE.with(Exposure::Api),
                };
                let mut own = RuleMethods::default();
                for (id, rule) in rules.all().filter(|(_, rule)| exposed.contains(rule.exposure)) {
                    own.add(id, rule.methods);
                }
                vec![("".into(), own)]
            }
        };
        let groups = groups.into_iter().map(|(name, own)| {
            (name, except.iter().fold(own, |own, (_, except)| own.without(except)))
        });
        let groups: Vec<_> = match by {
            By::RuleGroup => groups.collect(),
            By::Token | By::Organization | By::Client => {
                let all = groups.fold(RuleMethods::default(), |all, (_, own)| all.union(&own));
                vec![("".into(), all)]
            }
        };
        if self.problems.len() == known && groups.iter().all(|(_, own)| own.is_empty()) {
            let help = "name other groups, or delete the limit";
            self.problem(at, "is for no request", help);
        }
        groups
    }

    /// The groups of these names.
    fn groups(
        &mut self,
        at: &str,
        names: &[String],
        profiles: &Profiles,
    ) -> Vec<(Box<str>, RuleMethods)> {
        let mut found: Vec<(Box<str>, RuleMethods)> = Vec::new();
        for name in names {
            if found.iter().any(|(own, _)| **own == **name) {
                self.problem(at, format!("has `{name}` twice"), "delete one");
            }
            match profiles.groups.iter().find(|(own, _)| **own == **name) {
                Some((name, rules)) => found.push((name.clone(), rules.clone())),
                None => {
                    let known = profiles.groups.iter().map(|(name, _)| format!("`{name}`"));
                    let known: Vec<_> = known.collect();
                    let help = format!("add `[group.{name}]`, or take one of {}", known.join(", "));
                    self.problem(at, format!("there is no group `{name}`"), help);
                }
            }
        }
        found
    }
}
