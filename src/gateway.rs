//! The story of a request, up to the decision.
//!
//! **Invariant:** no pingora and no config: a gateway is made of parts that work, so taking up a
//! new config is making a new gateway.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::clock::Clock;
use crate::policy::credential::Presented;
use crate::policy::decision::{Decision, Lookup};
use crate::policy::frame::RequestHead;
use crate::policy::identity::Identity;
use crate::policy::passing::{Passing, presented};
use crate::policy::{Policy, Screened};
use crate::store::Usage;
use crate::store::cache::{Answer, CacheResult, Canary, Identities};

/// Rules, identities and time.
#[derive(Debug)]
pub struct Gateway {
    policy: Policy,
    identities: Arc<Identities>,
    clock: Arc<dyn Clock>,
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
    pub fn new(policy: Policy, identities: Arc<Identities>, clock: Arc<dyn Clock>) -> Self {
        Self { policy, identities, clock }
    }

    /// Decides on a request of `client`: read it, look its caller up, judge.
    pub async fn admit(&self, head: &RequestHead<'_>, client: Option<IpAddr>) -> Admission {
        let admission = self.decide(head, client).await;
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

    async fn decide(&self, head: &RequestHead<'_>, client: Option<IpAddr>) -> Admission {
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
        let decision = pending.resolve(lookup, self.clock.now());
        Admission { decision, cache: Some(cache), asked, usage, canary: None }
    }

    /// Decides on a request as if its caller were `identity`.
    pub fn admit_as(&self, head: &RequestHead<'_>, identity: Arc<Identity>) -> Decision {
        match self.policy.screen(head) {
            Screened::Decided(decision) => decision,
            Screened::Passing(passing) => self.pass(*passing),
            Screened::Pending(pending) => {
                pending.resolve(Lookup::Found(identity), self.clock.now())
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

    /// The token stores and what is remembered of them.
    pub fn identities(&self) -> &Arc<Identities> {
        &self.identities
    }

    /// The clock.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }
}
