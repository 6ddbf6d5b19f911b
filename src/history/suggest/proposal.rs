//! What is proposed for one caller.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::scopes::{Least, least};
use super::{Named, Seen};
use crate::policy::identity::IdentityKind;
use crate::policy::rules::{Access, Rule, RuleTable};
use crate::policy::scope::{Scope, ScopeSet};
use crate::policy::template::is_digits;

/// The narrowest token of the gateway that would have been let through with what a caller did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Proposal {
    /// The id of the caller.
    pub principal: String,
    /// What it is, such as `user_token`.
    pub kind: String,
    /// Who issued it, where that was recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Its fingerprint, when it was seen last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// When it was seen first and last.
    pub first: String,
    /// When it was seen last.
    pub last: String,
    /// How many of its requests were let through.
    pub requests: u64,
    /// The scopes that are needed; what they imply is not among them.
    pub scopes: Vec<&'static str>,
    /// Whether less is sure not to do.
    pub is_least: bool,
    /// The organizations to be bound to; none where it can't be.
    pub organizations: Vec<String>,
    /// The projects to be bound to; none where some request named none, or where it can't be.
    pub projects: Vec<String>,
    /// Why it can't be bound, or not to projects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unbound: Option<String>,
    /// Whether it only read.
    pub read_only: bool,
    /// The rules that it was let through by: a method and a template each, with how often.
    pub rules: BTreeMap<String, u64>,
    /// What no token of the gateway gets through with, and why.
    pub impossible: BTreeMap<String, &'static str>,
    /// Routes that the config has no rule for.
    pub elsewhere: BTreeSet<String>,
    /// What it holds, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<Vec<&'static str>>,
    /// What it holds and did not need.
    pub unneeded: Vec<&'static str>,
    /// What it was refused, by reason; that is not in what is proposed.
    pub refused: BTreeMap<String, u64>,
    /// For how many days to issue it.
    pub days: u64,
}

/// What a rule asks of a token of the gateway.
enum Demand {
    Nothing,
    /// Some scope, and no binding.
    SomeScope,
    OneOf(ScopeSet),
    Impossible(&'static str),
}

const STANDS_FOR_NOBODY: &str =
    "it acts as a person, or makes credentials; a token of the gateway stands for nobody";

impl Demand {
    /// As [`policy`](crate::policy) judges an exchange.
    fn of(rule: &Rule, method: &str, kind: IdentityKind) -> Self {
        let reads = matches!(method, "GET" | "HEAD");
        match rule.access {
            Access::Public => return Demand::Nothing,
            Access::NotExposed => return Demand::Impossible("no rule lets it out"),
            Access::Pass => return Demand::Impossible("it is for who is behind to judge"),
            Access::ProjectKey => return Demand::Impossible("it takes the key of its project"),
            Access::Authenticated | Access::AnyOf(_) if !rule.exchange => {
                return Demand::Impossible(STANDS_FOR_NOBODY);
            }
            Access::Authenticated | Access::AnyOf(_) if !rule.credentials.contains(kind) => {
                return Demand::Impossible("it takes no such kind of credential");
            }
            Access::Authenticated | Access::AnyOf(_) => {}
        }
        let scopes = rule.access.scopes();
        let scopes = if reads { scopes } else { scopes.without(ScopeSet::READ) };
        match rule.access {
            Access::Authenticated if reads => Demand::SomeScope,
            Access::AnyOf(_) if !scopes.is_empty() => Demand::OneOf(scopes),
            Access::Authenticated
            | Access::AnyOf(_)
            | Access::Public
            | Access::NotExposed
            | Access::Pass
            | Access::ProjectKey => Demand::Impossible(STANDS_FOR_NOBODY),
        }
    }
}

impl Proposal {
    pub(super) fn of(id: &str, seen: &Seen, rules: &RuleTable) -> Self {
        let kind = match IdentityKind::from_name(&seen.kind) {
            Some(kind @ IdentityKind::ApiKey) => kind,
            // What stands in for a token of an organization is a Bearer token.
            Some(IdentityKind::UserToken | IdentityKind::OrgToken | IdentityKind::ProjectKey)
            | None => IdentityKind::UserToken,
        };
        let (mut needs, mut some, mut impossible) = (Vec::new(), None, BTreeMap::new());
        let (mut no_organization, mut no_project) = (None, None);
        let mut used = BTreeMap::new();
        let later = seen.later.iter().map(|(method, id)| (*method, *id, None));
        let uses = seen.uses.iter().map(|((method, id), count)| (*method, *id, Some(*count)));
        for (method, id, count) in uses.chain(later) {
            let rule = rules.rule(id);
            let line = format!("{method} {}", rule.template);
            if let Some(count) = count {
                *used.entry(line.clone()).or_insert(0) += count;
            }
            let named = |start: &str| {
                rule.template
                    .segments()
                    .iter()
                    .filter_map(|s| s.name())
                    .any(|n| n.starts_with(start))
            };
            match Demand::of(rule, method, kind) {
                Demand::Nothing => continue,
                Demand::Impossible(why) => {
                    impossible.insert(line, why);
                    continue;
                }
                Demand::SomeScope => {
                    some = Some(line.clone());
                    no_organization = no_organization.or(Some(line.clone()));
                    no_project = no_project.or(Some(line));
                }
                Demand::OneOf(scopes) => {
                    needs.push(scopes);
                    if !named("organization_") {
                        no_organization = no_organization.or(Some(line.clone()));
                    }
                    if !named("project_") {
                        no_project = no_project.or(Some(line));
                    }
                }
            }
        }
        let held = seen.held.unwrap_or_default();
        if needs.is_empty() && some.is_some() {
            needs.push(ScopeSet::READ);
        }
        let Least { scopes, is_least } = least(&needs, held);
        let bound = |named: &Named, without: &Option<String>| match without {
            None if !named.more => named.names.iter().cloned().collect(),
            None | Some(_) => Vec::new(),
        };
        let organizations: Vec<String> = bound(&seen.organizations, &no_organization);
        let mut projects: Vec<String> = bound(&seen.projects, &no_project);
        // A slug is a project's own only within an organization; a number is everywhere.
        let is_certain = match organizations.len() {
            0 => false,
            1 => true,
            _ => projects.iter().all(|project| is_digits(project)),
        };
        let named = projects.len();
        projects.retain(|_| is_certain);
        let unbound = match &no_organization {
            _ if needs.is_empty() => None,
            _ if organizations.len() > 1 && named > projects.len() => Some(format!(
                "to projects: it named {named} of {} organizations, and a slug is a project's own within one; \
                 issue a token for each organization",
                organizations.len()
            )),
            _ if !organizations.is_empty() => None,
            Some(line) => Some(format!("`{line}` takes no token that is bound")),
            None => Some("it named too many organizations, or what is no slug".to_owned()),
        };
        let read_only = seen.uses.keys().all(|(method, _)| matches!(*method, "GET" | "HEAD"));
        let names = |set: ScopeSet| set.iter().map(Scope::as_str).collect::<Vec<_>>();
        let needed = scopes.with_implied();
        Self {
            principal: id.to_owned(),
            kind: seen.kind.clone(),
            issuer: seen.issuer.clone(),
            fingerprint: seen.fingerprint.clone(),
            first: seen.first.clone(),
            last: seen.last.clone(),
            requests: seen.requests,
            scopes: names(scopes),
            is_least,
            organizations,
            projects,
            unbound,
            read_only,
            rules: used,
            impossible,
            elsewhere: seen.elsewhere.clone(),
            held: seen.held.map(names),
            unneeded: names(held.without(needed)),
            refused: seen.refused.clone(),
            days: days(&seen.first, &seen.last),
        }
    }

    /// Whether there is a token to propose.
    pub fn needs_a_token(&self) -> bool {
        !self.scopes.is_empty()
    }
}

/// Twice as long as it was seen: at least a week, so that a pipeline of every day has one, and at most
/// 90 days, after which what it does has changed.
fn days(first: &str, last: &str) -> u64 {
    let parse = |text: &str| humantime::parse_rfc3339(text).ok();
    let seen = parse(first).zip(parse(last)).and_then(|(a, b)| b.duration_since(a).ok());
    let days = seen.map_or(0, |seen| seen.as_secs() / (24 * 60 * 60));
    (2 * days).clamp(7, 90)
}
