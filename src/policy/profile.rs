//! Profiles and rule groups: named sets of rules, which tokens are narrowed to.

use super::identity::Narrowing;
use super::method::{Method, MethodSet};
use super::rules::RuleId;
use super::scope::ScopeSet;

/// Rules, and which of their methods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleMethods(Vec<MethodSet>);

impl RuleMethods {
    /// Adds methods of a rule.
    pub fn add(&mut self, rule: RuleId, methods: MethodSet) {
        if self.0.len() <= rule.index() {
            self.0.resize(rule.index() + 1, MethodSet::EMPTY);
        }
        self.0[rule.index()] = self.0[rule.index()].union(methods);
    }

    /// Both.
    #[must_use]
    pub fn union(mut self, other: &RuleMethods) -> Self {
        self.0.resize(self.0.len().max(other.0.len()), MethodSet::EMPTY);
        for (own, methods) in self.0.iter_mut().zip(&other.0) {
            *own = own.union(*methods);
        }
        self
    }

    /// What of this is not in `other`.
    #[must_use]
    pub fn without(mut self, other: &RuleMethods) -> Self {
        for (own, methods) in self.0.iter_mut().zip(&other.0) {
            *own = own.iter().filter(|method| !methods.contains(*method)).collect();
        }
        self
    }

    /// Whether there is no rule in it.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|methods| methods.is_empty())
    }

    /// Whether `method` of `rule` is in it; `HEAD` follows `GET`.
    pub fn contains(&self, rule: RuleId, method: Method) -> bool {
        self.0.get(rule.index()).is_some_and(|own| own.contains(method.governed_by()))
    }
}

/// Which of the gateway's credentials stands in for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CredentialId(u16);

impl CredentialId {
    /// That of the upstream.
    pub const UPSTREAM: CredentialId = CredentialId(0);

    /// The one at this place behind that of the upstream.
    pub const fn extra(index: u16) -> Self {
        CredentialId(index + 1)
    }

    /// As an index, that of the upstream being 0.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a kind of user needs, and no more.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its name.
    pub name: Box<str>,
    /// What its tokens may do at most.
    pub scopes: ScopeSet,
    /// The rules that its tokens get through.
    pub rules: Rules,
    /// Whether they are refused for methods that are not safe.
    pub read_only: bool,
    /// What stands in for them.
    pub credential: CredentialId,
}

/// Which rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rules {
    /// All.
    All,
    /// These.
    Only(RuleMethods),
}

/// The profiles and rule groups of a config.
#[derive(Debug, Default)]
pub struct Profiles {
    /// The profiles.
    pub profiles: Vec<Profile>,
    /// The groups, by name.
    pub groups: Vec<(Box<str>, RuleMethods)>,
}

/// What a narrowed token has left, or which name means nothing here.
#[derive(Clone, Copy, Debug)]
pub enum Grant<'a> {
    /// This profile, if it has one, and the rule is among what it gets through.
    Granted(Option<&'a Profile>),
    /// The rule is not.
    NotGranted,
    /// The config has no profile or group of this name.
    Unknown(&'a str),
}

impl Profiles {
    /// The profile of this name.
    pub fn profile(&self, name: &str) -> Option<&Profile> {
        self.profiles.iter().find(|profile| *profile.name == *name)
    }

    /// Whether there is a group of this name.
    pub fn has_group(&self, name: &str) -> bool {
        self.groups.iter().any(|(own, _)| **own == *name)
    }

    /// Whether a token that is narrowed like this gets through `rule` with `method`.
    pub fn grant<'a>(
        &'a self,
        narrowing: &'a Narrowing,
        rule: RuleId,
        method: Method,
    ) -> Grant<'a> {
        let profile = match &narrowing.profile {
            None => None,
            Some(name) => match self.profile(name) {
                Some(profile) => Some(profile),
                None => return Grant::Unknown(name),
            },
        };
        let by_profile = match profile.map(|profile| &profile.rules) {
            None | Some(Rules::All) => true,
            Some(Rules::Only(rules)) => rules.contains(rule, method),
        };
        let Some(names) = &narrowing.groups else {
            return if by_profile { Grant::Granted(profile) } else { Grant::NotGranted };
        };
        let mut by_group = false;
        for name in names {
            let Some((_, rules)) = self.groups.iter().find(|(own, _)| own == name) else {
                return Grant::Unknown(name);
            };
            by_group |= rules.contains(rule, method);
        }
        if by_profile && by_group { Grant::Granted(profile) } else { Grant::NotGranted }
    }
}
