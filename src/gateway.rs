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
use crate::policy::passing::Passing;
use crate::policy::{Policy, Screened};
use crate::store::cache::{CacheResult, Identities};

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
}

impl Gateway {
    /// A gateway of these parts.
    pub fn new(policy: Policy, identities: Arc<Identities>, clock: Arc<dyn Clock>) -> Self {
        Self { policy, identities, clock }
    }

    /// Decides on a request of `client`: read it, look its caller up, judge.
    pub async fn admit(&self, head: &RequestHead<'_>, client: Option<IpAddr>) -> Admission {
        let mut pending = match self.policy.screen(head) {
            Screened::Decided(decision) => return Admission { decision, cache: None, asked: None },
            Screened::Passing(passing) => {
                return Admission { decision: self.pass(*passing), cache: None, asked: None };
            }
            Screened::Pending(pending) => pending,
        };
        let answer = loop {
            let presented = Presented { client, ..pending.presented() };
            let answer = self.identities.lookup(presented, self.clock.now()).await;
            if !matches!(answer.lookup, Lookup::Unknown) || !pending.advance() {
                break answer;
            }
        };
        let decision = pending.resolve(answer.lookup, self.clock.now());
        Admission { decision, cache: Some(answer.cache), asked: answer.asked }
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
