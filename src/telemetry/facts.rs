//! What every record of a request says of it and of its decision, in the same words.

use std::fmt;

use serde::{Serialize, Serializer};

use super::redact::RedactedPath;
use crate::policy::Policy;
use crate::policy::credential::{Fingerprint, Scheme};
use crate::policy::decision::{Decision, Denial, Verdict};
use crate::policy::identity::Id;

/// The fields. One that does not apply is left out.
#[derive(Serialize)]
pub(super) struct Facts<'a> {
    pub(super) method: &'a str,
    /// The public name that was called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) route: Option<&'a str>,
    /// The organization and the project as the path names them: a slug or an id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) org: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) project: Option<&'a str>,
    pub(super) path: Text<RedactedPath<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scheme: Option<&'static str>,
    /// What the identity is; left out while nobody is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) credential_kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token_fp: Option<Text<Fingerprint>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) principal: Option<Text<&'a Id>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rule: Option<&'a str>,
    /// The rule in shadow that makes another verdict of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) shadow_rule: Option<&'a str>,
    /// And which: `refuse` of what is let through, `allow` of what is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) shadow: Option<&'static str>,
}

impl<'a> Facts<'a> {
    /// Those of a request with this method and this path, its query left out, as they came.
    pub(super) fn of(
        method: &'a str,
        path: &'a str,
        decision: Option<&'a Decision>,
        policy: &'a Policy,
    ) -> Self {
        let rule = decision.and_then(|decision| decision.rule);
        let rule = rule.map(|id| policy.rules.rule(id));
        let name = decision.and_then(|decision| decision.name);
        let caller = decision.map(|decision| &decision.caller);
        let identity = caller.and_then(|caller| caller.identity.as_deref());
        let shadow = decision.and_then(|decision| decision.shadow.as_deref());
        let path = RedactedPath { path, template: rule.map(|rule| &rule.template) };
        Facts {
            method: super::routes::method_label(method),
            host: name.map(|name| policy.site.names()[name.index()].authority()),
            route: rule.map(|rule| rule.template.as_str()),
            org: path.named("organization_"),
            project: path.named("project_"),
            path: Text(path),
            scheme: caller.and_then(|caller| caller.scheme).map(Scheme::as_str),
            credential_kind: identity.map(|identity| identity.identity().kind.as_str()),
            token_fp: caller.and_then(|c| c.digest).map(|digest| Text(digest.fingerprint())),
            principal: identity.map(|identity| Text(&identity.identity().id)),
            rule: rule.map(|rule| &*rule.place),
            shadow_rule: shadow.map(|shadow| &*policy.rules.rule(shadow.rule).place),
            shadow: shadow.map(|shadow| if shadow.refuses.is_some() { "refuse" } else { "allow" }),
        }
    }
}

/// `allow`, `observe` (let through, though it would be refused), `shadow` (let through, though a rule in
/// shadow would refuse it), `refuse` or `answer` (to `OPTIONS`).
pub(super) fn outcome(decision: &Decision) -> &'static str {
    match &decision.verdict {
        Verdict::Permit(permit) if permit.observed().is_some() => "observe",
        Verdict::Permit(_) if decision.shadowed().is_some() => "shadow",
        Verdict::Permit(_) => "allow",
        Verdict::Deny(_) => "refuse",
        Verdict::Options(_) => "answer",
    }
}

/// The refusal, made or only told.
pub(super) fn denial(decision: &Decision) -> Option<&Denial> {
    match &decision.verdict {
        Verdict::Deny(denial) => Some(denial),
        Verdict::Permit(permit) => {
            permit.observed().or_else(|| decision.shadowed().map(|(_, denial)| denial))
        }
        Verdict::Options(_) => None,
    }
}

/// Writes a value by its `Display`.
pub(super) struct Text<T>(pub(super) T);

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}
