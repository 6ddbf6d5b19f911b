//! Rules in shadow: what they would refuse is told, and nothing else comes of them.
//!
//! **Invariant:** a verdict is made by the rules in force, and by them alone. What is here reads a verdict
//! that was made, and has no way to change it; so a rule in shadow neither refuses nor lets through, and
//! neither an exchange nor a limit is its own.

use super::bound::Unsettled;
use super::decision::{Caller, Denial, Forward, Shadow, Verdict};
use super::frame::{Body, Frame, RequestHead};
use super::identity::{Identity, Issuer};
use super::judge::{Lent, wrong_kind};
use super::path::CanonicalPath;
use super::profile::CredentialId;
use super::question::{Answers, Question};
use super::reason::Reason;
use super::rules::{Access, Found, Rule, RuleId};
use super::{Pending, Policy, Request, narrow};

/// The rule that would govern a request, were it in force.
#[derive(Clone, Copy, Debug)]
pub(super) struct InShadow<'a> {
    id: RuleId,
    rule: &'a Rule,
    /// Why nobody would get through, whoever it is.
    closed: Option<Reason>,
}

impl Policy {
    /// The rule in shadow that a request meets.
    pub(super) fn shadow(
        &self,
        path: &CanonicalPath<'_>,
        skip: usize,
        frame: &Frame<'_>,
        head: &RequestHead<'_>,
    ) -> Option<InShadow<'_>> {
        let found = self.rules.shadow(path, skip, frame.method.governed_by(), head.at)?;
        let (id, closed) = match found {
            Found::Rule(id) => (id, None),
            Found::MethodNotAllowed(id) => (id, Some(Reason::MethodNotAllowed)),
            // Every rule in shadow is laid over those in force, and takes no route away.
            Found::Nothing => return None,
        };
        let rule = self.rules.rule(id);
        let closed = if head.exposed.contains(rule.exposure) {
            closed.or_else(|| self.outgrown(id, frame.body))
        } else {
            Some(Reason::NoSuchRoute)
        };
        Some(InShadow { id, rule, closed })
    }

    fn outgrown(&self, id: RuleId, body: Body) -> Option<Reason> {
        match body {
            Body::Length(length) if length > self.max_body(id) => Some(Reason::TooLarge),
            Body::None | Body::Length(_) | Body::Chunked => None,
        }
    }
}

impl InShadow<'_> {
    /// What is told, where it is another verdict than the one that was made.
    fn told(&self, would: Result<(), Denial>, made: Option<&Denial>) -> Option<Box<Shadow>> {
        let refuses = would.err();
        let differs = match made {
            None => refuses.is_some(),
            // Of who calls, and of the frame, a rule says nothing.
            Some(denial) => refuses.is_none() && denial.reason.is_of_a_rule(),
        };
        differs.then(|| Box::new(Shadow { rule: self.id, refuses }))
    }
}

impl Pending<'_> {
    /// What the rule in shadow makes of the caller, where the rules in force let it through or refused
    /// it with `made`.
    ///
    /// # Errors
    /// What has to be known first.
    pub(super) fn in_shadow(
        &self,
        identity: &Identity,
        made: Option<&Denial>,
        answers: &Answers,
    ) -> Result<Option<Box<Shadow>>, Question> {
        let Some(shadow) = self.request.shadow else { return Ok(None) };
        match self.judge_in_shadow(&shadow, identity, answers) {
            Ok(()) => Ok(shadow.told(Ok(()), made)),
            Err(Unsettled::Denied(denial)) => Ok(shadow.told(Err(denial), made)),
            Err(Unsettled::Ask(question)) => Err(question),
        }
    }

    fn judge_in_shadow(
        &self,
        shadow: &InShadow<'_>,
        identity: &Identity,
        answers: &Answers,
    ) -> Result<(), Unsettled> {
        if let Some(reason) = shadow.closed {
            return Err(closed(reason).into());
        }
        if !shadow.rule.credentials.contains(identity.kind)
            && shadow.rule.access != Access::NotExposed
        {
            return Err(wrong_kind(shadow.rule, [identity.kind].into_iter()).into());
        }
        let profile = identity.bounds.narrowing().profile.as_deref();
        let profile = profile.and_then(|name| self.policy.profiles.profile(name));
        let scopes = narrow::scopes(identity, profile);
        let bound = self.entitled(shadow.rule, identity, scopes, answers)?.bound;
        match identity.issuer {
            Issuer::Sentry => Ok(()),
            Issuer::Gateway => {
                let lent = Lent { scopes, bound, credential: CredentialId::UPSTREAM };
                Ok(self.exchange(shadow.rule, identity, lent).map(|_| ())?)
            }
        }
    }
}

impl Request<'_> {
    /// What the rule in shadow makes of a caller whom nobody was asked about.
    pub(super) fn stranger_in_shadow(
        &self,
        caller: &Caller,
        verdict: &Verdict,
    ) -> Option<Box<Shadow>> {
        let shadow = self.shadow?;
        let (Verdict::Permit(permit), None) = (verdict, &caller.identity) else { return None };
        let would = match (shadow.closed, shadow.rule.access, permit.forward()) {
            (Some(reason), _, _) => Err(closed(reason)),
            (None, _, Forward::Session) if shadow.rule.session => Ok(()),
            (None, Access::NotExposed, _) => Err(Denial::new(Reason::RouteNotExposed)),
            (
                None,
                Access::Authenticated | Access::AnyOf(_),
                Forward::Anonymous | Forward::Session,
            ) => Err(Denial::new(Reason::MissingCredential)),
            // Whether what goes on untouched has a credential in it, nobody looked.
            (
                None,
                Access::Authenticated | Access::AnyOf(_),
                Forward::Untouched { .. } | Forward::AsIs | Forward::Exchange(_),
            )
            | (None, Access::Public | Access::Pass | Access::ProjectKey, _) => Ok(()),
        };
        shadow.told(would, None)
    }
}

/// The refusal of whoever it is.
fn closed(reason: Reason) -> Denial {
    let denial = Denial::new(reason);
    if reason == Reason::MethodNotAllowed {
        return denial.note("no rule of this route takes the method then");
    }
    denial
}
