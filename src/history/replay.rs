//! What another config makes of the requests of an audit.

use std::collections::BTreeMap;
use std::fmt;

use super::Entry;
use super::again::{Gap, decide};
use crate::clock::Timestamp;
use crate::policy::Policy;
use crate::policy::decision::{Decision, Verdict};

/// How many different flips are kept; those beyond are counted.
const KEPT: usize = 10_000;

/// A verdict that is another one now.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flip {
    /// What was decided, with the reason.
    pub was: String,
    /// What would be.
    pub now: String,
    /// The method.
    pub method: String,
    /// The template of the route that was met, or that would be.
    pub route: String,
    /// Who called: the id of the identity, or how the credential came.
    pub caller: String,
}

/// The requests of audits, decided on again.
#[derive(Debug)]
pub struct Replay<'a> {
    policy: &'a Policy,
    now: Timestamp,
    same: u64,
    /// Refused as before, for another reason.
    otherwise: u64,
    flipped: u64,
    flips: BTreeMap<Flip, u64>,
    gaps: BTreeMap<Gap, u64>,
}

impl<'a> Replay<'a> {
    /// Under this policy, as it is at `now`.
    pub fn new(policy: &'a Policy, now: Timestamp) -> Self {
        let (flips, gaps) = (BTreeMap::new(), BTreeMap::new());
        Self { policy, now, same: 0, otherwise: 0, flipped: 0, flips, gaps }
    }

    /// Decides on a request again.
    pub fn add(&mut self, entry: &Entry) {
        let decision = match decide(entry, self.policy, self.now) {
            Ok(decision) => decision,
            Err(gap) => return *self.gaps.entry(gap).or_default() += 1,
        };
        let (verdict, reason) = verdict(&decision);
        let side = match (&decision.verdict, entry.is_through()) {
            (Verdict::Permit(_), through) => through,
            (Verdict::Deny(_), _) => entry.decision == "refuse",
            (Verdict::Options(_), _) => entry.decision == "answer",
        };
        if side {
            let refused = entry.decision == "refuse";
            let other = refused && entry.reason.as_deref() != reason;
            *(if other { &mut self.otherwise } else { &mut self.same }) += 1;
            return;
        }
        self.flipped += 1;
        let text = |verdict: &str, reason: Option<&str>| match reason {
            Some(reason) => format!("{verdict} {reason}"),
            None => verdict.to_owned(),
        };
        let rule = decision.rule.map(|id| self.policy.rules.rule(id).template.to_string());
        let caller = entry.principal.as_deref().or(entry.scheme.as_deref());
        let flip = Flip {
            was: text(&entry.decision, entry.reason.as_deref()),
            now: text(verdict, reason),
            method: entry.method.clone(),
            route: rule.or_else(|| entry.route.clone()).unwrap_or_else(|| entry.path.clone()),
            caller: caller.unwrap_or("nobody").to_owned(),
        };
        if self.flips.len() < KEPT || self.flips.contains_key(&flip) {
            *self.flips.entry(flip).or_default() += 1;
        }
    }

    /// How many verdicts are other ones.
    pub const fn flipped(&self) -> u64 {
        self.flipped
    }

    /// How many were decided on again.
    pub const fn decided(&self) -> u64 {
        self.same + self.otherwise + self.flipped
    }

    /// The flips, the most frequent first, `limit` of them, and the sums.
    pub fn table(&self, limit: usize) -> Table<'_> {
        let mut flips: Vec<_> = self.flips.iter().map(|(flip, count)| (flip, *count)).collect();
        flips.sort_by(|(a, one), (b, other)| other.cmp(one).then(a.cmp(b)));
        flips.truncate(limit);
        Table { replay: self, flips }
    }
}

/// The verdict as records have it, with its reason.
fn verdict(decision: &Decision) -> (&'static str, Option<&'static str>) {
    match &decision.verdict {
        Verdict::Permit(permit) => match (permit.observed(), decision.shadowed()) {
            (Some(denial), _) => ("observe", Some(denial.reason.code())),
            (None, Some((_, denial))) => ("shadow", Some(denial.reason.code())),
            (None, None) => ("allow", None),
        },
        Verdict::Deny(denial) => ("refuse", Some(denial.reason.code())),
        Verdict::Options(_) => ("answer", None),
    }
}

/// The flips as people read them.
#[derive(Debug)]
pub struct Table<'a> {
    replay: &'a Replay<'a>,
    flips: Vec<(&'a Flip, u64)>,
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let replay = self.replay;
        let mut told = 0;
        for (Flip { was, now, method, route, caller }, count) in &self.flips {
            let [was, route, caller] = [was, route, caller].map(|text| text.escape_debug());
            writeln!(f, "{count:>7}  {was} -> {now}  {method} {route}  {caller}")?;
            told += count;
        }
        if told < replay.flipped {
            writeln!(
                f,
                "{:>7}  more that are not shown; `--limit` shows more",
                replay.flipped - told
            )?;
        }
        let (decided, flipped) = (replay.decided(), replay.flipped);
        write!(f, "{decided} decided again: {flipped} flipped, {} the same", replay.same)?;
        match replay.otherwise {
            0 => writeln!(f)?,
            others => writeln!(f, ", {others} refused for another reason")?,
        }
        for (gap, count) in &replay.gaps {
            writeln!(f, "{count} not decided again: {}", gap.as_str())?;
        }
        Ok(())
    }
}
