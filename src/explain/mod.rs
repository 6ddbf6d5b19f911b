//! Why a request was decided as it was: a decision, spelled out for people and for scripts.
//!
//! **Invariant:** nothing is decided in here. What is told comes from the decision that the gateway
//! made, and from the rule and the identity that it was made on.

mod limits;
mod print;
pub mod question;
mod vouching;

use std::fmt;

use limits::Limited;
use print::list;
use question::Question;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::gateway::Gateway;
use crate::policy::Policy;
use crate::policy::decision::{Decision, Forward, Shadow, Verdict};
use crate::policy::identity::{Binding, Identity, Issuer, Narrowing, State};
use crate::policy::naming::Place;
use crate::policy::path::Target;
use crate::policy::rules::{Rewrite, Rule};

pub use vouching::Vouching;

/// Everything about one decision. A step that was not reached is left out.
#[derive(Debug, Serialize)]
pub struct Explanation<'a> {
    /// Whether the request would be forwarded, or answered because it is `OPTIONS`.
    pub allowed: bool,
    /// The method.
    pub method: &'a str,
    /// The path without its query, as it came.
    pub path: &'a str,
    /// The public name that was called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<&'a str>,
    /// The rule that was met.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Met<'a>>,
    /// Who called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<Presented>,
    /// Who that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Who<'a>>,
    /// The limits that it counts against.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limited<'a>>,
    /// What became of it.
    pub outcome: Outcome,
    /// What a rule in shadow makes of it, where that is another verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<InShadow<'a>>,
}

/// A rule, and what its parameters stand for here.
#[derive(Debug, Serialize)]
pub struct Met<'a> {
    path: &'a str,
    place: &'a str,
    parameters: Vec<(&'a str, String)>,
    access: &'static str,
    scopes: Vec<&'static str>,
    credentials: Vec<&'static str>,
    exchange: bool,
    /// Where requests name projects besides the path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    projects: Vec<&'static str>,
    /// What a listener must expose for it, and where it goes.
    expose: &'static str,
    upstream: &'static str,
    /// The fields of the JSON answer whose URLs are rewritten.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rewrite: Vec<String>,
}

/// A credential as it was presented.
#[derive(Debug, Serialize)]
pub struct Presented {
    scheme: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
}

/// An identity.
#[derive(Debug, Serialize)]
pub struct Who<'a> {
    id: String,
    kind: &'static str,
    issuer: &'static str,
    state: &'static str,
    scopes: Vec<&'static str>,
    organizations: Names<'a>,
    projects: Names<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    /// What narrows it besides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    narrowed: Vec<String>,
}

/// What a binding names.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Names<'a> {
    Word(&'static str),
    List(Vec<&'a str>),
}

/// What became of the request.
#[derive(Debug, Serialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Outcome {
    /// It is forwarded.
    Allow {
        /// The target that the upstream gets, without the query.
        target: String,
        /// What is added to its query.
        #[serde(skip_serializing_if = "Option::is_none")]
        added: Option<String>,
        /// Whether the body goes on only if it names nothing but what the token is bound to.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        checks_body: bool,
        /// What goes as the credential.
        authorization: &'static str,
        /// Whether identity headers say who called.
        identity_headers: bool,
        /// The header with the assertion.
        #[serde(skip_serializing_if = "Option::is_none")]
        assertion: Option<String>,
        /// The refusal that it would be, were the gateway not observing.
        #[serde(skip_serializing_if = "Option::is_none")]
        observed: Option<Observed>,
    },
    /// It is refused.
    Refuse {
        /// The status.
        status: u16,
        /// The code.
        code: &'static str,
        /// What the client is told.
        detail: String,
        /// The scopes of which one was needed.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        required: Vec<&'static str>,
    },
    /// `OPTIONS` is answered with these methods.
    Answer {
        /// The methods.
        allow: String,
    },
}

/// The verdict of a rule in shadow.
#[derive(Debug, Serialize)]
pub struct InShadow<'a> {
    path: &'a str,
    place: &'a str,
    until: String,
    /// The refusal; nothing where it lets through what the rules in force refuse.
    #[serde(skip_serializing_if = "Option::is_none")]
    refuses: Option<Refusal>,
}

/// A refusal of a rule in shadow.
#[derive(Debug, Serialize)]
pub struct Refusal {
    status: u16,
    code: &'static str,
    detail: String,
}

impl<'a> InShadow<'a> {
    fn of(shadow: &Shadow, policy: &'a Policy, method: &str) -> Self {
        let rule = policy.rules.rule(shadow.rule);
        let refuses = shadow.refuses.as_ref().map(|denial| Refusal {
            status: denial.reason.status(),
            code: denial.reason.code(),
            detail: denial.detail(Some(shadow.rule), &policy.rules, method).into_owned(),
        });
        let until = rule.shadow_until.map(|time| time.to_string()).unwrap_or_default();
        Self { path: rule.template.as_str(), place: &rule.place, until, refuses }
    }
}

impl fmt::Display for InShadow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "in shadow   {} ({}), until {}", self.path, self.place, self.until)?;
        match &self.refuses {
            Some(Refusal { status, code, detail }) => {
                writeln!(f, "            would refuse it: {status} {code}\n            {detail}")
            }
            None => writeln!(f, "            would let it through"),
        }
    }
}

/// A refusal that is told of, and not made.
#[derive(Debug, Serialize)]
pub struct Observed {
    status: u16,
    code: &'static str,
    detail: String,
    until: String,
}

impl<'a> Explanation<'a> {
    /// Spells out the decision that `gateway` made on a question, where upstreams are told of decisions as
    /// `vouching` has it.
    pub fn of(
        decision: &'a Decision,
        gateway: &'a Gateway,
        vouching: &Vouching<'_>,
        question: &'a Question,
    ) -> Self {
        let (method, target) = (question.method.as_str(), question.target());
        let (policy, now) = (gateway.policy(), gateway.clock().now());
        let path = target.split('?').next().unwrap_or_default();
        let rule = decision.rule.map(|id| policy.rules.rule(id));
        let identity = decision.caller.identity.as_deref();
        let scheme = decision.caller.scheme.map(|scheme| scheme.as_str());
        let fingerprint = decision.caller.digest.map(|digest| digest.fingerprint().to_string());
        Self {
            allowed: !matches!(decision.verdict, Verdict::Deny(_)),
            method,
            path,
            host: decision.name.map(|name| policy.site.names()[name.index()].authority()),
            rule: rule.map(|rule| Met::of(rule, policy, target)),
            credential: scheme.map(|scheme| Presented { scheme, fingerprint }),
            identity: identity.map(|identity| Who::of(identity.identity(), now)),
            limits: Limited::all(decision, gateway, target),
            outcome: Outcome::of(decision, policy, vouching, method, path),
            shadow: decision.shadow.as_deref().map(|shadow| InShadow::of(shadow, policy, method)),
        }
    }
}

impl<'a> Met<'a> {
    fn of(rule: &'a Rule, policy: &'a Policy, target: &str) -> Self {
        let access = rule.access.as_str();
        let scopes = rule.access.scopes().iter().map(|scope| scope.as_str()).collect();
        let (path, place) = (rule.template.as_str(), &*rule.place);
        let credentials = rule.credentials.iter().map(|kind| kind.as_str()).collect();
        let parameters = parameters(rule, policy, target).unwrap_or_default();
        Self {
            path,
            place,
            parameters,
            access,
            scopes,
            credentials,
            exchange: rule.exchange,
            projects: rule.projects.iter().map(Place::as_str).collect(),
            expose: rule.exposure.as_str(),
            upstream: rule.service.as_str(),
            rewrite: rule.rewrite.iter().flat_map(Rewrite::names).collect(),
        }
    }
}

/// What the parameters of the rule's template stand for in the target.
fn parameters<'a>(rule: &'a Rule, policy: &Policy, target: &str) -> Option<Vec<(&'a str, String)>> {
    let target = Target::parse(target.as_bytes()).ok()?;
    let (_, skip) = policy.site.strip(target.path().raw())?;
    let named = rule.template.segments().iter().enumerate();
    let value = |index: usize| target.path().segment(skip + index).to_owned();
    Some(named.filter_map(|(index, s)| Some((s.name()?, value(index)))).collect())
}

impl<'a> Who<'a> {
    fn of(identity: &'a Identity, now: Timestamp) -> Self {
        let state = match identity.state {
            State::Disabled => "disabled",
            State::NotYetValid => "not_yet_valid",
            State::Untrusted => "untrusted",
            State::Active if identity.is_expired(now) => "expired",
            State::Active => "active",
        };
        Self {
            id: identity.id.to_string(),
            kind: identity.kind.as_str(),
            issuer: match identity.issuer {
                Issuer::Sentry => "sentry",
                Issuer::Gateway => "gateway",
            },
            state,
            scopes: identity.scopes.iter().map(|scope| scope.as_str()).collect(),
            organizations: Names::of(identity.bounds.organizations()),
            projects: Names::of(identity.bounds.projects()),
            expires_at: identity.expires_at.time().map(|time| time.to_string()),
            narrowed: narrowed(identity.bounds.narrowing()),
        }
    }
}

impl<'a> Names<'a> {
    fn of(binding: &'a Binding) -> Self {
        match binding {
            Binding::Any => Names::Word("any"),
            Binding::Unknown => Names::Word("unknown"),
            Binding::Only(names) => Names::List(names.iter().map(|name| &**name).collect()),
        }
    }
}

impl Outcome {
    fn of(
        decision: &Decision,
        policy: &Policy,
        vouching: &Vouching<'_>,
        method: &str,
        path: &str,
    ) -> Self {
        match &decision.verdict {
            Verdict::Permit(permit) => Outcome::Allow {
                target: path.get(permit.prefix_len()..).unwrap_or_default().to_owned(),
                authorization: match permit.forward() {
                    Forward::AsIs => "the caller's own",
                    Forward::Exchange(_) => "the upstream's, in place of the caller's",
                    Forward::Anonymous => "none",
                    Forward::Session => "none but the caller's cookies",
                    Forward::Untouched { .. } => "whatever the caller sent",
                },
                added: permit.added().map(str::to_owned),
                checks_body: permit.body_check().is_some(),
                identity_headers: vouching.names(&decision.caller),
                assertion: vouching.asserts(permit, policy).map(ToString::to_string),
                observed: permit.observed().map(|denial| Observed {
                    status: denial.reason.status(),
                    code: denial.reason.code(),
                    detail: denial.detail(decision.rule, &policy.rules, method).into_owned(),
                    until: policy.observe_until.map(|time| time.to_string()).unwrap_or_default(),
                }),
            },
            Verdict::Deny(denial) => Outcome::Refuse {
                status: denial.reason.status(),
                code: denial.reason.code(),
                detail: denial.detail(decision.rule, &policy.rules, method).into_owned(),
                required: denial.required.iter().map(|scope| scope.as_str()).collect(),
            },
            Verdict::Options(methods) => Outcome::Answer { allow: methods.to_string() },
        }
    }
}

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Names::Word(word) => f.write_str(word),
            Names::List(names) => f.write_str(&list(names)),
        }
    }
}

/// What narrows a token, in words.
fn narrowed(narrowing: &Narrowing) -> Vec<String> {
    let Narrowing { read_only, profile, groups, networks } = narrowing;
    let mut words = Vec::new();
    words.extend(read_only.then(|| "read-only".to_owned()));
    words.extend(profile.as_ref().map(|name| format!("profile: {name}")));
    words.extend(groups.as_ref().map(|names| format!("groups: {}", names.join(", "))));
    words.extend(networks.as_ref().map(|networks| {
        let networks: Vec<_> = networks.iter().map(ToString::to_string).collect();
        format!("networks: {}", networks.join(", "))
    }));
    words
}
