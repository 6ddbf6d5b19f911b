//! The limits of a config: which of them a request meets, and what it takes of them.
//!
//! **Invariant:** a request takes of all limits that it meets or of none, so that what one refuses costs
//! nothing of another. What it has taken of what may be at once comes back when [`Held`] is dropped.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::counts::{Counts, Excess, Left, LeftOfRate, Place, Terms};
use super::key::{By, Key};
use super::rate::Rate;
use crate::policy::allowance::{Allowance, Concurrent, RateAllowance};
use crate::policy::decision::{Decision, Verdict};
use crate::policy::path::decoded;
use crate::policy::profile::RuleMethods;
use crate::policy::rules::RuleTable;

/// A limit, as the config has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// Its name.
    pub name: Box<str>,
    /// What it counts by.
    pub by: By,
    /// How often.
    pub rate: Option<Rate>,
    /// The same in words, such as `20 a second`.
    pub pace: Box<str>,
    /// How much at once.
    pub in_flight: Option<NonZeroU32>,
    /// Whether it refuses; otherwise it is only told what it would refuse.
    pub enforce: bool,
    /// Whether the rate is counted by a fleet together.
    pub shared: bool,
    /// How many callers have a count of their own.
    pub max_keys: usize,
    /// The rules that it is for, by the name of their group; without a name where groups are not what
    /// it counts by.
    pub rules: Vec<(Box<str>, RuleMethods)>,
}

impl Limit {
    const fn terms(&self) -> Terms {
        Terms { rate: self.rate, in_flight: self.in_flight, max_keys: self.max_keys }
    }

    /// What is left where so much of the rate is used, as somebody else says.
    pub fn allowance_of(&self, used: Duration) -> Allowance {
        let nanos = u64::try_from(used.as_nanos()).unwrap_or(u64::MAX);
        let left = |rate: Rate| LeftOfRate { remaining: rate.remaining(nanos), whole_in: used };
        self.allowance(Left { rate: self.rate.map(left), in_flight: None })
    }

    fn allowance(&self, left: Left) -> Allowance {
        let rate = self.rate.zip(left.rate).map(|(rate, left)| RateAllowance {
            limit: rate.burst(),
            remaining: left.remaining,
            whole_in: left.whole_in,
        });
        let concurrent = self.in_flight.zip(left.in_flight);
        let concurrent =
            concurrent.map(|(most, remaining)| Concurrent { limit: most.get(), remaining });
        Allowance { rate, concurrent }
    }
}

/// A limit and what is used of it.
#[derive(Debug)]
struct Counted {
    limit: Limit,
    counts: Arc<Counts>,
}

/// The limits of a config.
#[derive(Debug, Default)]
pub struct Limits {
    all: Vec<Counted>,
    by_rule: Vec<OfRule>,
}

/// What there is for the requests of a rule.
#[derive(Debug, Default)]
struct OfRule {
    /// The limits that are for some of its methods.
    limits: Box<[u16]>,
    /// Which segment of the path names an organisation.
    organization: Option<usize>,
}

/// Where a request came from and where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// The client's address, if it is known.
    pub client: Option<IpAddr>,
    /// The path, without the gateway's own prefix and without a query.
    pub path: &'a str,
}

impl<'a> Sent<'a> {
    /// What was let through with this target.
    pub fn new(client: Option<IpAddr>, target: &'a [u8], prefix_len: usize) -> Self {
        let path = target.get(prefix_len..).unwrap_or_default();
        let path = path.split(|byte| *byte == b'?').next().unwrap_or_default();
        Self { client, path: std::str::from_utf8(path).unwrap_or_default() }
    }
}

/// A limit that a request meets, and whom it counts for there.
#[derive(Debug)]
pub struct Met<'a> {
    /// Its number.
    pub index: usize,
    /// The limit.
    pub limit: &'a Limit,
    /// For whom.
    pub key: Key<'a>,
}

/// What a request has taken. What may be at once comes back when this is dropped.
#[derive(Debug, Default)]
pub struct Held(Vec<Share>);

#[derive(Debug)]
struct Share {
    index: usize,
    counts: Arc<Counts>,
    place: Place,
    rate: Option<Rate>,
}

/// What became of a request at the limits that it meets.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What it has taken; nothing when it is refused.
    pub held: Held,
    /// What refuses it.
    pub refused: Option<Refused>,
    /// The limits that would refuse it, were they enforced.
    pub told: Vec<(usize, Excess)>,
    /// What others count too.
    pub shared: Vec<Shared>,
    /// The narrowest of what is left of the limits that are enforced.
    pub allowance: Allowance,
}

/// What others count too of what a request has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared {
    /// The number of the limit.
    pub index: usize,
    /// How often.
    pub rate: Rate,
    /// Whose it is, by digest.
    pub whose: [u8; 16],
}

/// A refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The number of the limit.
    pub index: usize,
    /// Which of its terms.
    pub excess: Excess,
}

impl Limits {
    /// These limits for these rules, nothing used. What of `before` has the same name and counts by the
    /// same is taken over, whatever its terms were.
    pub fn new(
        limits: Vec<Limit>,
        rules: &RuleTable,
        before: Option<&Limits>,
        now: Instant,
    ) -> Self {
        let mut by_rule: Vec<OfRule> = Vec::new();
        by_rule.resize_with(rules.numbers(), OfRule::default);
        for (id, rule) in rules.all() {
            let is_for = |limit: &Limit| {
                let mut methods = rule.methods.iter();
                methods.any(|method| limit.rules.iter().any(|(_, own)| own.contains(id, method)))
            };
            let limits = limits.iter().enumerate().filter(|(_, limit)| is_for(limit));
            let is_organization = |name: &str| name.starts_with("organization_");
            let mut segments = rule.template.segments().iter();
            by_rule[id.index()] = OfRule {
                // There are as many as somebody has written down.
                limits: limits.map(|(index, _)| index as u16).collect(),
                organization: segments.position(|own| own.name().is_some_and(is_organization)),
            };
        }
        let taken_over = |limit: &Limit| {
            let same = |own: &&Counted| own.limit.name == limit.name && own.limit.by == limit.by;
            Some(Arc::clone(&before?.all.iter().find(same)?.counts))
        };
        let counted = |limit: Limit| Counted {
            counts: taken_over(&limit).unwrap_or_else(|| Counts::new(now)),
            limit,
        };
        Self { all: limits.into_iter().map(counted).collect(), by_rule }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Every limit.
    pub fn iter(&self) -> impl Iterator<Item = &Limit> {
        self.all.iter().map(|counted| &counted.limit)
    }

    /// The limit of this number.
    pub fn limit(&self, index: usize) -> &Limit {
        &self.all[index].limit
    }

    /// How many callers have a count of their own, of each limit.
    pub fn keys(&self) -> impl Iterator<Item = usize> {
        self.all.iter().map(|counted| counted.counts.len())
    }

    /// The limits that a request meets that was let through, in the order of their names.
    pub fn met<'a>(
        &'a self,
        decision: &'a Decision,
        sent: Sent<'a>,
    ) -> impl Iterator<Item = Met<'a>> {
        let permit = match &decision.verdict {
            Verdict::Permit(permit) => Some(permit),
            Verdict::Deny(_) | Verdict::Options(_) => None,
        };
        let own =
            permit.and_then(|permit| Some((permit, self.by_rule.get(permit.rule().index())?)));
        own.into_iter().flat_map(move |(permit, own)| {
            own.limits.iter().filter_map(move |index| {
                let index = usize::from(*index);
                let limit = &self.all[index].limit;
                let mut groups = limit.rules.iter();
                let (rule, method) = (permit.rule(), permit.method());
                let (group, _) = groups.find(|(_, rules)| rules.contains(rule, method))?;
                let key = match limit.by {
                    By::Token => Key::Token(&decision.caller.identity.as_deref()?.identity().id),
                    By::Organization => {
                        let segment = sent.path.split('/').nth(own.organization? + 1)?;
                        Key::Organization(decoded(segment))
                    }
                    // All whose address is not known are one.
                    By::Client => Key::client(sent.client.unwrap_or(Ipv4Addr::UNSPECIFIED.into())),
                    By::RuleGroup => Key::RuleGroup(group),
                };
                Some(Met { index, limit, key })
            })
        })
    }

    /// Counts a request that was let through against the limits that it meets.
    pub fn take(&self, decision: &Decision, sent: Sent<'_>, now: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        for Met { index, limit, key } in self.met(decision, sent) {
            let counts = &self.all[index].counts;
            let (left, taken) = counts.take(&key, limit.terms(), now);
            match taken {
                Ok(place) => {
                    if limit.enforce {
                        outcome.allowance = outcome.allowance.and(limit.allowance(left));
                    }
                    if let Some(rate) = limit.rate.filter(|_| limit.shared) {
                        outcome.shared.push(Shared { index, rate, whose: key.digest() });
                    }
                    let (counts, rate) = (Arc::clone(counts), limit.rate);
                    outcome.held.0.push(Share { index, counts, place, rate });
                }
                Err(excess) if limit.enforce => {
                    outcome.held.give_back();
                    outcome.held = Held::default();
                    outcome.shared.clear();
                    // What the others have left is not what was in the way.
                    outcome.allowance = limit.allowance(left);
                    outcome.refused = Some(Refused { index, excess });
                    return outcome;
                }
                Err(excess) => outcome.told.push((index, excess)),
            }
        }
        outcome
    }
}

impl Held {
    /// The request is refused after all, and has used nothing.
    pub fn give_back(&self) {
        for share in &self.0 {
            if let Some(rate) = share.rate {
                share.counts.give_back(share.place, rate);
            }
        }
    }

    /// Others have used so much of the limit of this number at `at`.
    pub fn follow(&self, index: usize, used: Duration, at: Instant) {
        for share in self.0.iter().filter(|share| share.index == index) {
            share.counts.follow(share.place, used, at);
        }
    }

    /// Whether it has taken anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.counts.ended(self.place);
    }
}
