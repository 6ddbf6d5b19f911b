//! The second half of a decision: what the identity that was looked up may do here.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::AUTHORIZATION;

use super::bound::{Held, Unsettled};
use super::credential::{Presented, Scheme};
use super::decision::{Caller, Decision, Denial, Forward, Lookup, Permit, Verdict};
use super::identity::{Binding, Identity, IdentityKind, Issuer, State};
use super::profile::CredentialId;
use super::question::{Answers, Question};
use super::reason::Reason;
use super::rules::{Access, Rule};
use super::scope::ScopeSet;
use super::{Pending, narrow};
use crate::clock::Timestamp;

/// Why the upstream's credential is not lent to a token of the gateway.
const STANDS_FOR_NOBODY: &str = "this route acts as the user whom a token stands for, and a token \
    of the gateway stands for nobody; use a token of Sentry's own";

/// Why a credential that may be in force is refused.
pub(super) const BLOCKED: &str = "the token is on the gateway's block list; ask its operator";

/// Why a token is refused whose time will come.
const TOO_EARLY: &str = "the token is not valid yet; wait, or have the clocks of its issuer and of the \
    gateway set";

/// Why a certificate that is verified is not enough.
const UNCERTIFIED: &str = "no token store knows a name of the client's certificate; have its operator \
    add it, or send a token";

/// What is forwarded, the refusal that it would have been, and what the bindings ask for.
struct Judged {
    forward: Forward,
    /// What it was decided with.
    scopes: ScopeSet,
    observed: Option<Box<Denial>>,
    held: Held,
}

/// What a decision depends on besides the request and the identity.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The time.
    pub now: Timestamp,
    /// The client's address, if it is known.
    pub client: Option<IpAddr>,
    /// What was learnt of Sentry for this request.
    pub answers: &'a Answers,
}

/// What a look-up led to.
#[derive(Debug)]
pub enum Resolved {
    /// It is decided.
    Decided(Decision),
    /// This has to be learnt of Sentry first.
    Ask(Question),
}

impl Pending<'_> {
    /// The credential to look up.
    pub fn presented(&self) -> Presented<'_> {
        let authorization = self.request.headers.get(AUTHORIZATION);
        Presented { credential: &self.credential, authorization, client: None }
    }

    /// Goes on to what else the caller may be known by; `false` when that was all.
    pub fn advance(&mut self) -> bool {
        let [next, others @ ..] = self.others else { return false };
        (self.credential, self.others) = (next.clone(), others);
        true
    }

    /// Decides on what the look-up came to.
    pub fn resolve(&self, lookup: &Lookup, given: Circumstances<'_>) -> Resolved {
        let mut shadow = None;
        let (verdict, identity) = match lookup {
            Lookup::Found(identity) => {
                let judged = match self.judge(identity.identity(), given) {
                    Ok(judged) => Ok(judged),
                    Err(Unsettled::Denied(denial)) => Err(denial),
                    Err(Unsettled::Ask(question)) => return Resolved::Ask(question),
                };
                match self.in_shadow(identity.identity(), judged.as_ref().err(), given.answers) {
                    Ok(told) => shadow = told,
                    Err(question) => return Resolved::Ask(question),
                }
                let verdict = match judged {
                    Ok(Judged { forward, scopes, observed, held }) => Verdict::Permit(Permit {
                        scopes,
                        observed,
                        added: held.added,
                        body_check: held.body.map(Box::new),
                        ..self.request.permit(self.policy, forward)
                    }),
                    Err(denial) => Verdict::Deny(denial),
                };
                (verdict, Some(Arc::clone(identity)))
            }
            Lookup::Unknown if self.credential.scheme == Scheme::Certificate => {
                return Resolved::Decided(self.uncertified());
            }
            Lookup::Unknown => (Verdict::Deny(Denial::new(Reason::UnknownToken)), None),
            Lookup::Blocked => {
                let denial = Denial::new(Reason::DisabledToken).note(BLOCKED);
                (Verdict::Deny(denial), None)
            }
            Lookup::Unavailable => (later(Reason::StoreUnavailable), None),
            Lookup::Limited => (later(Reason::GuessingLimited), None),
        };
        let (scheme, digest) = (Some(self.credential.scheme), Some(self.credential.digest));
        let caller = Caller { scheme, digest, identity };
        Resolved::Decided(Decision { shadow, ..self.request.decide(caller, verdict) })
    }

    /// Nobody knows the client's certificate: where it takes no credential, that is none.
    fn uncertified(&self) -> Decision {
        let rule = self.policy.rules.rule(self.request.rule);
        if rule.access == Access::Public {
            let verdict = match self.request.body(self.policy) {
                Ok(()) => Verdict::Permit(self.request.permit(self.policy, Forward::Anonymous)),
                Err(denial) => Verdict::Deny(denial),
            };
            return self.request.decide(Caller::default(), verdict);
        }
        let denial = Denial::new(Reason::UnknownToken).note(UNCERTIFIED);
        let (scheme, digest) = (Some(self.credential.scheme), Some(self.credential.digest));
        self.request.decide(Caller { scheme, digest, identity: None }, Verdict::Deny(denial))
    }

    /// What may be forwarded for `identity`, and what was only observed; or why nothing.
    fn judge(&self, identity: &Identity, given: Circumstances<'_>) -> Result<Judged, Unsettled> {
        let rule = self.policy.rules.rule(self.request.rule);
        if !self.credential.kinds.contains(identity.kind) || !self.is_of_its_project(identity) {
            return Err(Denial::new(Reason::UnknownToken).into());
        }
        match identity.state {
            State::Active => {}
            State::Disabled => return Err(Denial::new(Reason::DisabledToken).into()),
            State::NotYetValid => {
                return Err(Denial::new(Reason::ExpiredToken).note(TOO_EARLY).into());
            }
            State::Untrusted if !identity.is_expired(given.now) => {
                return Err(Denial::new(Reason::NoTrustPolicy).into());
            }
            State::Untrusted => {}
        }
        if identity.is_expired(given.now) {
            return Err(Denial::new(Reason::ExpiredToken).into());
        }
        let narrowing = identity.bounds.narrowing();
        narrow::network(narrowing, given.client)?;
        if !rule.credentials.contains(identity.kind) {
            return Err(wrong_kind(rule, [identity.kind].into_iter()).into());
        }
        let (rule_id, method) = (self.request.rule, self.request.frame.method);
        let profile = narrow::granted(&self.policy.profiles, narrowing, rule_id, method)?;
        let read_only = narrowing.read_only || profile.is_some_and(|profile| profile.read_only);
        if read_only && !method.is_safe() {
            return Err(Denial::new(Reason::ReadOnly).into());
        }
        let scopes = narrow::scopes(identity, profile);
        let (held, observed) = match self.entitled(rule, identity, scopes, given.answers) {
            Ok(held) => (held, None),
            Err(Unsettled::Denied(denial)) if self.is_observed(&denial, identity, given.now) => {
                (Held::default(), Some(Box::new(denial)))
            }
            Err(unsettled) => return Err(unsettled),
        };
        self.request.body(self.policy)?;
        let forward = match identity.issuer {
            Issuer::Sentry if rule.access == Access::ProjectKey => self.request.untouched(rule),
            Issuer::Sentry => Forward::AsIs,
            Issuer::Gateway => {
                self.origin(identity)?;
                let credential = profile.map_or(CredentialId::UPSTREAM, |own| own.credential);
                let lent = Lent { scopes, bound: held.bound, credential };
                self.exchange(rule, identity, lent)?
            }
        };
        let scopes = if read_only { narrow::reading(rule, scopes) } else { scopes };
        Ok(Judged { forward, scopes, observed, held })
    }

    /// Whether the identity may do this with what it holds, and what its bindings ask for.
    pub(super) fn entitled(
        &self,
        rule: &Rule,
        identity: &Identity,
        held: ScopeSet,
        answers: &Answers,
    ) -> Result<Held, Unsettled> {
        match rule.access {
            Access::Public | Access::Authenticated | Access::Pass | Access::ProjectKey => {}
            Access::AnyOf(scopes) => self.scopes(scopes, identity, held)?,
            Access::NotExposed => return Err(Denial::new(Reason::RouteNotExposed).into()),
        }
        self.bindings(rule, identity, answers)
    }

    /// Whether a refusal is only told of. Sentry sees the credential and judges it itself, so
    /// nobody gets further than without a gateway; an exchange would lend what the caller has not.
    fn is_observed(&self, denial: &Denial, identity: &Identity, now: Timestamp) -> bool {
        let own = match identity.issuer {
            Issuer::Sentry => true,
            Issuer::Gateway => false,
        };
        own && denial.reason.is_about_entitlement() && self.policy.observing(now).is_some()
    }

    /// Whether the identity holds one of `scopes`. Sentry lets a read scope through to some writes
    /// and then decides by the role of the token's user. With the upstream's credential that would
    /// be the upstream's role, so a token of the gateway needs a scope that writes.
    fn scopes(&self, scopes: ScopeSet, identity: &Identity, held: ScopeSet) -> Result<(), Denial> {
        let required = match identity.issuer {
            Issuer::Gateway if !self.request.frame.method.is_safe() => {
                scopes.without(ScopeSet::READ)
            }
            Issuer::Gateway | Issuer::Sentry => scopes,
        };
        if required.is_empty() {
            return Err(Denial::new(Reason::WrongCredentialKind).note(STANDS_FOR_NOBODY));
        }
        if !required.intersects(held) {
            return Err(Denial { required, held, ..Denial::new(Reason::MissingScope) });
        }
        Ok(())
    }

    /// A DSN names its project; a row of another project is not that DSN's row.
    fn is_of_its_project(&self, identity: &Identity) -> bool {
        match (self.credential.project, identity.bounds.projects()) {
            (None, _) => true,
            (Some(project), Binding::Only(_)) => {
                // A slug is a project's own only within its organisation.
                identity.bounds.organizations().is_bound()
                    && identity.bounds.projects().admits(&project.to_string())
            }
            (Some(_), Binding::Any | Binding::Unknown) => false,
        }
    }

    /// A browser origin is checked here only where Sentry will not see the token.
    fn origin(&self, identity: &Identity) -> Result<(), Denial> {
        let Some(origin) = self.request.headers.get(http::header::ORIGIN) else { return Ok(()) };
        let origin = origin.as_bytes();
        let listed = |own: &str| own == "*" || own.as_bytes().eq_ignore_ascii_case(origin);
        if identity.bounds.allowed_origins().iter().any(|own| listed(own)) {
            return Ok(());
        }
        Err(Denial::new(Reason::Origin))
    }

    /// The upstream's credential stands in for the token, unless the rule keeps it from that.
    /// Where a rule asks for no scope, the credential would lend the caller its own account: so
    /// only to read, only to a token that may do something, and not past a binding.
    pub(super) fn exchange(
        &self,
        rule: &Rule,
        identity: &Identity,
        lent: Lent,
    ) -> Result<Forward, Denial> {
        if [identity.bounds.organizations(), identity.bounds.projects()]
            .contains(&&Binding::Unknown)
        {
            return Err(Denial::new(Reason::Binding));
        }
        let reads = self.request.frame.method.is_safe() && !lent.scopes.is_empty() && !lent.bound;
        match rule.access {
            Access::AnyOf(_) if rule.exchange => Ok(Forward::Exchange(lent.credential)),
            Access::Public | Access::Authenticated if rule.exchange && reads => {
                Ok(Forward::Exchange(lent.credential))
            }
            Access::Public => Ok(Forward::Anonymous),
            Access::AnyOf(_)
            | Access::Authenticated
            | Access::NotExposed
            | Access::Pass
            | Access::ProjectKey => {
                Err(Denial::new(Reason::WrongCredentialKind).note(STANDS_FOR_NOBODY))
            }
        }
    }
}

/// To whom a credential of the upstream is lent, and which.
pub(super) struct Lent {
    /// What the caller holds.
    pub(super) scopes: ScopeSet,
    /// Whether it is bound to organisations or projects.
    pub(super) bound: bool,
    pub(super) credential: CredentialId,
}

/// A refusal that may be none in a second.
pub(super) fn later(reason: Reason) -> Verdict {
    Verdict::Deny(Denial::new(reason).again_in(1))
}

/// The refusal of a credential of another kind than the rule takes.
pub(super) fn wrong_kind(rule: &Rule, seen: impl Iterator<Item = IdentityKind>) -> Denial {
    let list = |kinds: &mut dyn Iterator<Item = IdentityKind>| {
        kinds.map(|kind| format!("`{kind}`")).collect::<Vec<_>>().join(", ")
    };
    let (seen, taken) = (list(&mut { seen }), list(&mut rule.credentials.iter()));
    let note = format!("this route does not take the credential kind {seen}; use one of {taken}");
    Denial::new(Reason::WrongCredentialKind).note(note)
}
