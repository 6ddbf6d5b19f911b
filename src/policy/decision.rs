//! What becomes of a request: a permit, a refusal, or a local answer to `OPTIONS`.

use std::borrow::Cow;
use std::sync::Arc;

use super::allowance::Allowance;
use super::bound::BodyCheck;
use super::credential::{Digest, Scheme};
use super::frame::Body;
use super::identity::Holder;
use super::method::{Method, MethodSet};
use super::profile::CredentialId;
use super::reason::Reason;
use super::rules::RuleId;
use super::scope::ScopeSet;
use super::site::NameId;

/// The decision on a request.
#[derive(Debug)]
pub struct Decision {
    /// What was decided.
    pub verdict: Verdict,
    /// The route that was met, as far as it got.
    pub rule: Option<RuleId>,
    /// The public name that the client called, as far as it was one.
    pub name: Option<NameId>,
    /// The credential that was presented, as far as it was one.
    pub caller: Caller,
    /// What a rule in shadow makes of it, where that is another verdict.
    pub shadow: Option<Box<Shadow>>,
}

impl Decision {
    /// The same request, refused after all for what its body turned out to be.
    #[must_use]
    pub fn refused(&self, denial: Denial) -> Self {
        let caller = self.caller.clone();
        let verdict = Verdict::Deny(denial);
        Self { verdict, rule: self.rule, name: self.name, caller, shadow: None }
    }

    /// The refusal that a rule in shadow would be for what is let through.
    pub fn shadowed(&self) -> Option<(RuleId, &Denial)> {
        match (&self.verdict, self.shadow.as_deref()) {
            (Verdict::Permit(_), Some(Shadow { rule, refuses: Some(denial) })) => {
                Some((*rule, denial))
            }
            (Verdict::Permit(_) | Verdict::Deny(_) | Verdict::Options(_), _) => None,
        }
    }
}

/// What a rule in shadow makes of a request. Nothing comes of it but that it is told.
#[derive(Debug)]
pub struct Shadow {
    /// The rule.
    pub rule: RuleId,
    /// The refusal; `None` where it lets through what the rules in force refuse.
    pub refuses: Option<Denial>,
}

/// What was decided.
#[derive(Debug)]
pub enum Verdict {
    /// Forward it.
    Permit(Permit),
    /// Refuse it.
    Deny(Denial),
    /// Answer `OPTIONS` with these methods.
    Options(MethodSet),
}

/// Who called, for logs and metrics.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// How the credential came.
    pub scheme: Option<Scheme>,
    /// What it is known by.
    pub digest: Option<Digest>,
    /// Who it is.
    pub identity: Option<Arc<dyn Holder>>,
}

/// Whether it is known who called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A store knows the credential.
    Known,
    /// There was none, or somebody else judges it.
    Stranger,
}

impl Caller {
    /// Whether it is known who called.
    pub const fn standing(&self) -> Standing {
        match self.identity {
            Some(_) => Standing::Known,
            None => Standing::Stranger,
        }
    }
}

/// What goes upstream in place of the credential that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// The caller's own credential, which is Sentry's own.
    AsIs,
    /// A credential of the gateway's config.
    Exchange(CredentialId),
    /// No credential.
    Anonymous,
    /// The caller's cookies, in which a browser session of Sentry's is.
    Session,
    /// Whatever speaks for the caller, to who judges it.
    Untouched {
        /// The cookies too.
        cookies: bool,
        /// The signature of a Relay too.
        relay: bool,
    },
}

/// Proof that a request may be forwarded. Only this module's parents can make one.
#[derive(Debug)]
pub struct Permit {
    pub(super) rule: RuleId,
    pub(super) method: Method,
    pub(super) body: Body,
    pub(super) forward: Forward,
    pub(super) scopes: ScopeSet,
    pub(super) prefix_len: usize,
    pub(super) websocket: bool,
    pub(super) observed: Option<Box<Denial>>,
    pub(super) added: Option<Box<str>>,
    pub(super) body_check: Option<Box<BodyCheck>>,
}

impl Permit {
    /// One for which nobody was looked up.
    pub(super) const fn of(
        rule: RuleId,
        method: Method,
        body: Body,
        forward: Forward,
        prefix_len: usize,
        websocket: bool,
    ) -> Self {
        let (observed, added, body_check) = (None, None, None);
        let scopes = ScopeSet::EMPTY;
        Self {
            rule,
            method,
            body,
            forward,
            scopes,
            prefix_len,
            websocket,
            observed,
            added,
            body_check,
        }
    }

    /// The rule that let it through.
    pub const fn rule(&self) -> RuleId {
        self.rule
    }

    /// The method.
    pub const fn method(&self) -> Method {
        self.method
    }

    /// How the request body is delimited. A chunked one may be larger than its rule takes: who reads
    /// it counts, and refuses it with [`Denial::too_large`].
    pub const fn body(&self) -> Body {
        self.body
    }

    /// What goes upstream as the credential.
    pub const fn forward(&self) -> Forward {
        self.forward
    }

    /// The scopes that it was decided with: what the caller holds, as far as its profile has it; of one that
    /// only reads, what reads. Empty where nobody is known.
    pub const fn scopes(&self) -> ScopeSet {
        self.scopes
    }

    /// The refusal that it would have been, had the gateway not been observing.
    pub fn observed(&self) -> Option<&Denial> {
        self.observed.as_deref()
    }

    /// What is added to the query, so that the answer is about nothing else than what the token is bound
    /// to. Who forwards it has decided on the whole again.
    pub fn added(&self) -> Option<&str> {
        self.added.as_deref()
    }

    /// What the body must not name. Who forwards it has read the body before, and refused it otherwise.
    pub fn body_check(&self) -> Option<&BodyCheck> {
        self.body_check.as_deref()
    }

    /// Whether the connection may become a WebSocket.
    pub const fn websocket(&self) -> bool {
        self.websocket
    }

    /// How many bytes of the request target are the gateway's own path prefix. What follows is
    /// forwarded byte for byte.
    pub const fn prefix_len(&self) -> usize {
        self.prefix_len
    }
}

/// A refusal.
#[derive(Clone, Debug)]
pub struct Denial {
    /// Why.
    pub reason: Reason,
    /// The one sentence on it, where the reason alone does not say everything.
    pub note: Option<Cow<'static, str>>,
    /// The scopes of which one was needed; empty when scopes were not the matter.
    pub required: ScopeSet,
    /// The scopes that the caller holds; empty when scopes were not the matter.
    pub held: ScopeSet,
    /// The methods that the route takes, for `Allow`.
    pub allow: MethodSet,
    /// How long to wait before trying again, in seconds.
    pub retry_after: Option<u32>,
    /// What is left of the limit that refuses, where one does.
    pub allowance: Option<Box<Allowance>>,
}

impl Denial {
    /// A refusal that its reason explains.
    pub const fn new(reason: Reason) -> Self {
        Self {
            reason,
            note: None,
            required: ScopeSet::EMPTY,
            held: ScopeSet::EMPTY,
            allow: MethodSet::EMPTY,
            retry_after: None,
            allowance: None,
        }
    }

    /// A body that is larger than `limit` bytes, or has turned out to be.
    pub fn too_large(limit: u64) -> Self {
        let note = format!("the request body is larger than {limit} bytes; send at most that");
        Self::new(Reason::TooLarge).note(note)
    }

    /// The gateway stops, and not all of the request has come.
    pub const fn stopping() -> Self {
        Self::new(Reason::Stopping).again_in(1)
    }

    /// With when to try again, in seconds.
    #[must_use]
    pub const fn again_in(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// With a sentence of its own.
    #[must_use]
    pub fn note(self, note: impl Into<Cow<'static, str>>) -> Self {
        Self { note: Some(note.into()), ..self }
    }

    /// Whether what follows on the connection can't be trusted.
    pub const fn closes(&self) -> bool {
        self.reason.status() == 400
    }
}

/// Whether a credential is on a block list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// A list was not read yet, so nobody is known not to be on it.
    Unread,
}

/// What a look-up of a credential came to.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// A store knows it.
    Found(Arc<dyn Holder>),
    /// Every store that takes its kind answered, and none knows it.
    Unknown,
    /// One of them could not answer, and the others don't know it.
    Unavailable,
    /// One of them was not asked, because too many were asked for already, and the others don't know
    /// it.
    Limited,
    /// It is on the block list.
    Blocked,
}
