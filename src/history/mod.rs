//! What an audit tells afterwards: what callers did, and what another config would have made of it.
//!
//! **Invariant:** no network, no token store and no clock: what is said comes from the records and from
//! the rules, and a decision is made by the very code that serves.

mod again;
pub mod lines;
pub mod replay;
pub mod suggest;

use serde::Deserialize;

use crate::policy::identity::{Binding, Bound, Bounds, Narrowing};
use crate::policy::scope::{Scope, ScopeSet};

/// A line of an audit, as far as it is looked at. Other fields don't matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// `audit`, unless it is a line of something else.
    pub msg: String,
    /// `decision`, unless it is of something else.
    pub kind: String,
    /// When, in UTC, so that the order of the texts is that of the times.
    pub ts: String,
    /// The method; `other` when it was none of Sentry's.
    pub method: String,
    /// The public name that was called.
    pub host: Option<String>,
    /// The template of the route.
    pub route: Option<String>,
    /// The path without what could be a secret.
    pub path: String,
    /// The organization that the path names.
    pub org: Option<String>,
    /// The project that the path names.
    pub project: Option<String>,
    /// How the credential came.
    pub scheme: Option<String>,
    /// What the identity is.
    pub credential_kind: Option<String>,
    /// The first digits of its digest.
    pub token_fp: Option<String>,
    /// The id of the identity.
    pub principal: Option<String>,
    /// Who issued the credential.
    pub issuer: Option<String>,
    /// What told apart by what an issuer of JWTs lets in, of whom one vouched for.
    pub trust_hash: Option<String>,
    /// The scopes that are held.
    pub held: Option<Vec<String>>,
    /// The organizations that it is bound to.
    pub organizations: Option<Names>,
    /// The projects that it is bound to.
    pub projects: Option<Names>,
    /// Whether it only reads.
    pub read_only: bool,
    /// The profile that it was issued for.
    pub profile: Option<String>,
    /// The rule groups that it gets through.
    pub groups: Option<Vec<String>>,
    /// `allow`, `observe`, `shadow`, `refuse` or `answer`.
    pub decision: String,
    /// Why it was refused, or would be.
    pub reason: Option<String>,
}

/// What a binding names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Names {
    /// These.
    List(Vec<String>),
    /// `unknown`.
    Word(String),
}

/// What stands in records for what could be a secret.
const REDACTED: &str = "***";

impl Entry {
    /// Whether it is the record of a decision.
    pub fn is_decision(&self) -> bool {
        self.msg == "audit" && self.kind == "decision"
    }

    /// The scopes that are held, those that are none left out.
    pub fn scopes(&self) -> ScopeSet {
        let held = self.held.iter().flatten();
        held.filter_map(|name| name.parse::<Scope>().ok()).collect()
    }

    /// Whether it was let through.
    pub fn is_through(&self) -> bool {
        matches!(self.decision.as_str(), "allow" | "observe" | "shadow")
    }

    /// What narrows the caller. Of its client the verdict tells whether it was where the token may be used:
    /// the address may be recorded in part, or not at all.
    fn bounds(&self, elsewhere: bool) -> Bounds {
        let names = |names: &[String]| names.iter().map(|name| name.as_str().into()).collect();
        let binding = |binding: &Option<Names>| match binding {
            None => Binding::Any,
            Some(Names::List(list)) => Binding::Only(names(list)),
            Some(Names::Word(_)) => Binding::Unknown,
        };
        let narrowing = Narrowing {
            read_only: self.read_only,
            profile: self.profile.as_deref().map(Into::into),
            groups: self.groups.as_deref().map(names),
            networks: elsewhere.then(|| [].into()),
        };
        let (organizations, projects) = (binding(&self.organizations), binding(&self.projects));
        Bound { organizations, projects, narrowing, ..Bound::default() }.into()
    }
}

#[cfg(test)]
mod tests;
