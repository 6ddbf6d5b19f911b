//! Routes as they are listed, compared and imported: what the rules have, what an OpenAPI document
//! says, and how the two differ.
//!
//! **Invariant:** nothing in here opens a route. What a document does not say clearly becomes a rule
//! that lets nobody through, with a comment that says why.

pub mod diff;
pub mod import;
pub mod openapi;

use serde::Serialize;

use crate::policy::method::Method;
use crate::policy::rules::{Access, Rule, RuleTable};
use crate::policy::scope::ScopeSet;
use crate::policy::template::{PathTemplate, Segment};

/// One method of one route, and what it asks for.
#[derive(Clone, Debug)]
pub struct Route {
    /// The method; `HEAD` goes with `GET`.
    pub method: Method,
    /// The path.
    pub template: PathTemplate,
    /// What it asks for.
    pub access: Access,
    /// What a reader should know of it.
    pub remark: Option<String>,
}

/// What a path and a method have in common with others that mean the same, whatever their
/// parameters are called and may hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key(String, usize);

impl Key {
    fn of(method: Method, template: &PathTemplate) -> Self {
        let segments = template.segments().iter().map(|segment| match segment {
            Segment::Literal(text) => text,
            Segment::Digits(_) | Segment::Param(_) => "{}",
            Segment::Rest(_) => "{*}",
        });
        Self(segments.collect::<Vec<_>>().join("/"), method as usize)
    }
}

/// Every route of the rules, those that are not exposed too.
pub fn of_rules(rules: &RuleTable) -> Vec<Route> {
    let of_rule = |rule: &Rule| {
        let route = |method| Route {
            method,
            template: rule.template.clone(),
            access: rule.access,
            remark: None,
        };
        rule.methods.iter().map(route).collect::<Vec<_>>()
    };
    rules.iter().flat_map(|(_, rule)| of_rule(rule)).collect()
}

/// A rule as `portcullis routes list` shows it.
#[derive(Debug, Serialize)]
pub struct Listed<'a> {
    /// The methods.
    pub methods: Vec<&'static str>,
    /// The template.
    pub path: &'a str,
    /// `public`, `authenticated`, `scopes` or `not_exposed`.
    pub access: &'static str,
    /// The scopes of which one is needed.
    pub scopes: Vec<&'static str>,
    /// The kinds of credential that are taken.
    pub credentials: Vec<&'static str>,
    /// Whether a token of the gateway gets through.
    pub exchange: bool,
    /// Where it was written.
    pub place: &'a str,
}

impl<'a> Listed<'a> {
    /// The rule as it is listed.
    pub fn of(rule: &'a Rule) -> Self {
        let open = rule.access != Access::NotExposed;
        Self {
            methods: rule.methods.iter().map(Method::as_str).collect(),
            path: rule.template.as_str(),
            access: access_name(rule.access),
            scopes: scope_names(rule.access),
            credentials: rule.credentials.iter().filter(|_| open).map(|k| k.as_str()).collect(),
            exchange: rule.exchange && open,
            place: &rule.place,
        }
    }
}

/// The access as rule files call it; `scopes` for a list of them.
pub const fn access_name(access: Access) -> &'static str {
    match access {
        Access::Public => "public",
        Access::Authenticated => "authenticated",
        Access::AnyOf(_) => "scopes",
        Access::NotExposed => "not_exposed",
    }
}

fn scope_names(access: Access) -> Vec<&'static str> {
    let scopes = match access {
        Access::AnyOf(scopes) => scopes,
        Access::Public | Access::Authenticated | Access::NotExposed => ScopeSet::EMPTY,
    };
    let mut names: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
    names.sort_unstable();
    names
}

/// What is asked for, in a line.
fn asks(access: Access) -> String {
    match access {
        Access::AnyOf(_) => scope_names(access).join(" "),
        Access::Public | Access::Authenticated | Access::NotExposed => {
            access_name(access).to_owned()
        }
    }
}
