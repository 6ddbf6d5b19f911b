//! The second half of a decision: what the identity that was looked up may do here.

use http::header::AUTHORIZATION;

use super::Pending;
use super::credential::{Presented, Scheme};
use super::decision::{Caller, Decision, Denial, Forward, Lookup, Permit, Verdict};
use super::identity::{Binding, Identity, IdentityKind, Issuer, State};
use super::reason::Reason;
use super::rules::{Access, Rule};
use super::scope::ScopeSet;
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

/// What is forwarded, and the refusal that it would have been.
type Judged = (Forward, Option<Box<Denial>>);

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
    pub fn resolve(self, lookup: Lookup, now: Timestamp) -> Decision {
        let (verdict, identity) = match lookup {
            Lookup::Found(identity) => {
                let decided = self.judge(identity.identity(), now);
                let permit = |(forward, observed)| {
                    Verdict::Permit(Permit {
                        observed,
                        ..self.request.permit(self.policy, forward)
                    })
                };
                (decided.map_or_else(Verdict::Deny, permit), Some(identity))
            }
            Lookup::Unknown if self.credential.scheme == Scheme::Certificate => {
                return self.uncertified();
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
        self.request.decide(Caller { scheme, digest, identity }, verdict)
    }

    /// Nobody knows the client's certificate: where it takes no credential, that is none.
    fn uncertified(self) -> Decision {
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
    fn judge(&self, identity: &Identity, now: Timestamp) -> Result<Judged, Denial> {
        let rule = self.policy.rules.rule(self.request.rule);
        if !self.credential.kinds.contains(identity.kind) || !self.is_of_its_project(identity) {
            return Err(Denial::new(Reason::UnknownToken));
        }
        match identity.state {
            State::Active => {}
            State::Disabled => return Err(Denial::new(Reason::DisabledToken)),
            State::NotYetValid => return Err(Denial::new(Reason::ExpiredToken).note(TOO_EARLY)),
            State::Untrusted if !identity.is_expired(now) => {
                return Err(Denial::new(Reason::NoTrustPolicy));
            }
            State::Untrusted => {}
        }
        if identity.is_expired(now) {
            return Err(Denial::new(Reason::ExpiredToken));
        }
        if !rule.credentials.contains(identity.kind) {
            return Err(wrong_kind(rule, [identity.kind].into_iter()));
        }
        let (bound, observed) = match self.entitled(rule, identity) {
            Ok(bound) => (bound, None),
            Err(denial) if self.is_observed(&denial, identity, now) => (false, Some(denial)),
            Err(denial) => return Err(denial),
        };
        self.request.body(self.policy)?;
        match identity.issuer {
            Issuer::Sentry if rule.access == Access::ProjectKey => {
                Ok((self.request.untouched(rule), observed.map(Box::new)))
            }
            Issuer::Sentry => Ok((Forward::AsIs, observed.map(Box::new))),
            Issuer::Gateway => {
                self.origin(identity)?;
                Ok((self.exchange(rule, identity, bound)?, None))
            }
        }
    }

    /// Whether the identity may do this, and whether it is bound.
    fn entitled(&self, rule: &Rule, identity: &Identity) -> Result<bool, Denial> {
        match rule.access {
            Access::Public | Access::Authenticated | Access::Pass | Access::ProjectKey => {}
            Access::AnyOf(scopes) => self.scopes(scopes, identity)?,
            Access::NotExposed => return Err(Denial::new(Reason::RouteNotExposed)),
        }
        self.bindings(rule, identity)
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
    fn scopes(&self, scopes: ScopeSet, identity: &Identity) -> Result<(), Denial> {
        let required = match identity.issuer {
            Issuer::Gateway if !self.request.frame.method.is_safe() => {
                scopes.without(ScopeSet::READ)
            }
            Issuer::Gateway | Issuer::Sentry => scopes,
        };
        if required.is_empty() {
            return Err(Denial::new(Reason::WrongCredentialKind).note(STANDS_FOR_NOBODY));
        }
        if !required.intersects(identity.scopes) {
            let held = identity.scopes;
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

    /// Whether the identity is bound and the route names something else, or nothing.
    fn bindings(&self, rule: &Rule, identity: &Identity) -> Result<bool, Denial> {
        let kinds = [
            ("organization_", identity.bounds.organizations(), Reason::WrongOrganization),
            ("project_", identity.bounds.projects(), Reason::Binding),
        ];
        let mut bound = false;
        for (parameter, binding, reason) in kinds {
            if !binding.is_bound() {
                continue;
            }
            bound = true;
            let what = parameter.trim_end_matches('_');
            let mut named = self.request.parameters(rule, parameter).peekable();
            // Of its own tokens Sentry knows what they are bound to.
            let checked_here = identity.issuer == Issuer::Gateway && rule.access != Access::Public;
            if named.peek().is_none() && checked_here {
                let note = format!(
                    "the token is bound to one {what} or more, and this route names none; use a \
                     token that is not bound"
                );
                return Err(Denial::new(Reason::Binding).note(note));
            }
            if let Some(name) = named.find(|name| !binding.admits(name)) {
                let note = format!(
                    "the token is bound to another {what} than `{}`; use a token for it",
                    name.escape_debug()
                );
                return Err(Denial::new(reason).note(note));
            }
        }
        Ok(bound)
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
    fn exchange(&self, rule: &Rule, identity: &Identity, bound: bool) -> Result<Forward, Denial> {
        if [identity.bounds.organizations(), identity.bounds.projects()]
            .contains(&&Binding::Unknown)
        {
            return Err(Denial::new(Reason::Binding));
        }
        let reads = self.request.frame.method.is_safe() && !identity.scopes.is_empty() && !bound;
        match rule.access {
            Access::AnyOf(_) if rule.exchange => Ok(Forward::Exchange),
            Access::Public | Access::Authenticated if rule.exchange && reads => {
                Ok(Forward::Exchange)
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
