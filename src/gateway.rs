//! The story of a request, up to the decision.
//!
//! **Invariant:** no pingora and no config: a gateway is made of parts that work, so taking up a
//! new config is making a new gateway.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::clock::Clock;
use crate::directory::Directory;
use crate::limit::counts::Excess;
use crate::limit::table::{Held, Limits, Outcome, Refused, Sent};
use crate::policy::allowance::Allowance;
use crate::policy::bound::{BodyCheck, BodyNames, BodyVerdict};
use crate::policy::credential::Presented;
use crate::policy::decision::{Decision, Denial, Lookup, Verdict};
use crate::policy::frame::RequestHead;
use crate::policy::identity::Identity;
use crate::policy::judge::{Circumstances, Resolved};
use crate::policy::passing::{Passing, presented};
use crate::policy::question::Answers;
use crate::policy::reason::Reason;
use crate::policy::{Pending, Policy, Screened};
use crate::shared_counts::{Ask, SharedCounts, Told};
use crate::store::Usage;
use crate::store::cache::{Answer, CacheResult, Canary, Identities};

/// Rules, identities and time.
#[derive(Debug)]
pub struct Gateway {
    policy: Policy,
    identities: Arc<Identities>,
    clock: Arc<dyn Clock>,
    directory: Arc<dyn Directory>,
    limits: Limits,
    shared: Option<Arc<dyn SharedCounts>>,
}

/// What became of a request at the limits.
#[derive(Debug, Default)]
pub struct Limiting {
    /// What it has taken, until it ends.
    pub held: Held,
    /// What its caller has left, where a limit was met.
    pub allowance: Option<Allowance>,
    /// The numbers of limits that are not enforced, which would refuse it.
    pub over: Vec<(usize, Excess)>,
    /// The number of the limit that refuses it, and the refusal.
    pub denial: Option<(usize, Excess, Denial)>,
}

/// A decision, and where the identity behind it came from.
#[derive(Debug)]
pub struct Admission {
    /// The decision.
    pub decision: Decision,
    /// What the cache said; `None` when nobody was looked up.
    pub cache: Option<CacheResult>,
    /// From when to when token stores were asked, if they were.
    pub asked: Option<(Instant, Instant)>,
    /// Where it is counted how the caller's token is used, if its store records that.
    pub usage: Option<Usage>,
    /// The token that nobody is to use and that came with the request, whatever was decided on it.
    pub canary: Option<Arc<Canary>>,
}

impl From<Decision> for Admission {
    /// One for which nobody was looked up.
    fn from(decision: Decision) -> Self {
        Self { decision, cache: None, asked: None, usage: None, canary: None }
    }
}

impl Gateway {
    /// A gateway of these parts.
    pub fn new(
        policy: Policy,
        identities: Arc<Identities>,
        clock: Arc<dyn Clock>,
        directory: Arc<dyn Directory>,
    ) -> Self {
        Self { policy, identities, clock, directory, limits: Limits::default(), shared: None }
    }

    /// With these limits, and what a fleet counts with those that it shares.
    #[must_use]
    pub fn limited(self, limits: Limits, shared: Option<Arc<dyn SharedCounts>>) -> Self {
        Self { limits, shared, ..self }
    }

    /// Decides on a request of `client`: read it, look its caller up, judge.
    pub async fn admit(&self, head: &RequestHead<'_>, client: Option<IpAddr>) -> Admission {
        let admission = self.admit_whole(head, client).await;
        // Who is known is no canary, and one credential is all that is taken.
        if admission.decision.caller.identity.is_some() || !self.identities.has_canaries() {
            return admission;
        }
        Admission { canary: self.canary(head), ..admission }
    }

    /// The canary in a request, wherever in its head, and whatever else is wrong with it.
    fn canary(&self, head: &RequestHead<'_>) -> Option<Arc<Canary>> {
        let found = presented(head.headers, head.target);
        found.iter().find_map(|(_, digest)| self.identities.canary(digest))
    }

    async fn admit_whole(&self, head: &RequestHead<'_>, client: Option<IpAddr>) -> Admission {
        let admission = self.admit_as_it_is(head, client).await;
        let Some(added) = added(&admission.decision) else { return admission };
        // What the upstream gets is decided on as a whole. Its bytes are not those that came.
        let target = with_query(head.target, added);
        let whole = RequestHead { target: &target, raw: &[], ..*head };
        let whole = self.admit_as_it_is(&whole, client).await;
        let same = matches!(&whole.decision.verdict, Verdict::Permit(permit) if permit.added().is_none())
            && whole.decision.rule == admission.decision.rule;
        if same {
            return admission;
        }
        let decision = match &whole.decision.verdict {
            Verdict::Deny(_) => whole.decision,
            Verdict::Permit(_) | Verdict::Options(_) => {
                whole.decision.refused(Denial::new(Reason::Binding))
            }
        };
        Admission { decision, ..admission }
    }

    async fn admit_as_it_is(&self, head: &RequestHead<'_>, client: Option<IpAddr>) -> Admission {
        let mut pending = match self.policy.screen(head) {
            Screened::Decided(decision) => return decision.into(),
            Screened::Passing(passing) => return self.pass(*passing).into(),
            Screened::Pending(pending) => pending,
        };
        let answer = loop {
            let presented = Presented { client, ..pending.presented() };
            let answer = self.identities.lookup(presented, self.clock.now()).await;
            if !matches!(answer.lookup, Lookup::Unknown) || !pending.advance() {
                break answer;
            }
        };
        let Answer { lookup, cache, asked, usage } = answer;
        let decision = self.settle(&pending, &lookup, client).await;
        Admission { decision, cache: Some(cache), asked, usage, canary: None }
    }

    /// Decides on a request as if its caller were `identity`, at the address `client`.
    pub async fn admit_as(
        &self,
        head: &RequestHead<'_>,
        identity: Arc<Identity>,
        client: Option<IpAddr>,
    ) -> Decision {
        match self.policy.screen(head) {
            Screened::Decided(decision) => decision,
            Screened::Passing(passing) => self.pass(*passing),
            Screened::Pending(pending) => {
                self.settle(&pending, &Lookup::Found(identity), client).await
            }
        }
    }

    /// Decides, and learns of Sentry what has to be known for it.
    async fn settle(
        &self,
        pending: &Pending<'_>,
        lookup: &Lookup,
        client: Option<IpAddr>,
    ) -> Decision {
        let mut answers = Answers::default();
        loop {
            let given = Circumstances { now: self.clock.now(), client, answers: &answers };
            match pending.resolve(lookup, given) {
                Resolved::Decided(decision) => return decision,
                Resolved::Ask(question) => {
                    let learnt = self.directory.learn(&question).await;
                    answers.add(question, learnt);
                }
            }
        }
    }

    /// Counts a request that was let through against the limits that it meets.
    pub async fn limit(
        &self,
        head: &RequestHead<'_>,
        decision: &Decision,
        client: Option<IpAddr>,
    ) -> Limiting {
        let Verdict::Permit(permit) = &decision.verdict else { return Limiting::default() };
        if self.limits.is_empty() {
            return Limiting::default();
        }
        let sent = Sent::new(client, head.target, permit.prefix_len());
        let mut outcome = self.limits.take(decision, sent, self.clock.instant());
        if let Some(shared) = &self.shared
            && !outcome.shared.is_empty()
        {
            self.share(&**shared, &mut outcome).await;
        }
        let denial = outcome.refused.map(|refused| {
            let limit = self.limits.limit(refused.index);
            (refused.index, refused.excess, limit.refusal(refused.excess, outcome.allowance))
        });
        let allowance = Some(outcome.allowance).filter(|allowance| !allowance.is_empty());
        Limiting { held: outcome.held, allowance, over: outcome.told, denial }
    }

    /// Counts what was taken together with others too. When they don't answer, the own counts stand.
    async fn share(&self, shared: &dyn SharedCounts, outcome: &mut Outcome) {
        let limit = |index: usize| self.limits.limit(index);
        let asks = outcome.shared.iter().map(|own| {
            let limit = limit(own.index);
            Ask { limit: &limit.name, whose: own.whose, rate: own.rate, enforce: limit.enforce }
        });
        let asks: Vec<_> = asks.collect();
        // Before it is asked: so what is followed is never later than what it says.
        let at = self.clock.instant();
        let Some(told) = shared.take(&asks).await else { return };
        let told = || outcome.shared.iter().map(|own| own.index).zip(told.iter().copied());
        let refused = told().find(|(index, told)| told.wait.is_some() && limit(*index).enforce);
        if refused.is_some() {
            outcome.held.give_back();
        }
        for (index, told) in told() {
            outcome.held.follow(index, told.used, at);
            if let (Some(wait), false) = (told.wait, limit(index).enforce) {
                outcome.told.push((index, Excess::Rate(wait)));
            }
            if limit(index).enforce {
                outcome.allowance = outcome.allowance.and(limit(index).allowance_of(told.used));
            }
        }
        if let Some((index, Told { wait: Some(wait), used })) = refused {
            outcome.held = Held::default();
            outcome.allowance = limit(index).allowance_of(used);
            outcome.refused = Some(Refused { index, excess: Excess::Rate(wait) });
        }
    }

    /// Whether a request that was let through may have a body with these names.
    ///
    /// # Errors
    /// Why not.
    pub async fn admit_body(
        &self,
        check: &BodyCheck,
        identity: &Identity,
        names: &BodyNames,
    ) -> Result<(), Denial> {
        let mut answers = Answers::default();
        loop {
            match check.judge(identity, names, &answers) {
                BodyVerdict::Admitted => return Ok(()),
                BodyVerdict::Refused(denial) => return Err(denial),
                BodyVerdict::Ask(question) => {
                    let learnt = self.directory.learn(&question).await;
                    answers.add(question, learnt);
                }
            }
        }
    }

    /// Decides on what nobody is looked up for.
    fn pass(&self, passing: Passing<'_>) -> Decision {
        if self.identities.blocks_nobody() {
            return passing.unblocked();
        }
        passing.resolve(|digest| self.identities.listed(digest))
    }

    /// The rules and the public names.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The token stores and what is remembered of them.
    pub fn identities(&self) -> &Arc<Identities> {
        &self.identities
    }

    /// The clock.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }
}

/// What a permit adds to the query.
fn added(decision: &Decision) -> Option<&str> {
    match &decision.verdict {
        Verdict::Permit(permit) => permit.added(),
        Verdict::Deny(_) | Verdict::Options(_) => None,
    }
}

/// A request target with more in its query.
pub fn with_query(target: &[u8], added: &str) -> Vec<u8> {
    let between = match target.iter().position(|byte| *byte == b'?') {
        None => "?",
        Some(at) if at + 1 == target.len() => "",
        Some(_) => "&",
    };
    [target, between.as_bytes(), added.as_bytes()].concat()
}
