//! Routes as they are listed, compared and imported: what the rules have, what an OpenAPI document
//! says, and how the two differ.
//!
//! **Invariant:** nothing in here opens a route. What a document does not say clearly becomes a rule
//! that lets nobody through, with a comment that says why.

pub mod diff;
pub mod import;
pub mod openapi;

use serde::Serialize;

use crate::policy::identity::KindSet;
use crate::policy::method::Method;
use crate::policy::rules::{Access, Rewrite, Rule, RuleTable};
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
    /// What only a rule says: the kinds of credential, and whether tokens of the gateway get through.
    pub terms: Option<(KindSet, bool)>,
    /// What a reader should know of it.
    pub remark: Option<String>,
}

/// Routes, and whether what is not among them is no route.
#[derive(Clone, Debug)]
pub struct RouteSet {
    /// The routes.
    pub routes: Vec<Route>,
    /// Whether they are all: so are rules, and a public document lists some.
    pub is_complete: bool,
}

/// What a path and a method have in common with others that mean the same, whatever their
/// parameters are called; and whatever they may hold, where one side does not say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key(String, usize);

impl Key {
    fn of(method: Method, template: &PathTemplate, digits_apart: bool) -> Self {
        let segments = template.segments().iter().map(|segment| match segment {
            Segment::Literal(text) => text,
            Segment::Digits(_) | Segment::Id(_) if digits_apart => "{digits}",
            Segment::Digits(_) | Segment::Id(_) | Segment::Param(_) => "{}",
            Segment::Rest(_) => "{*}",
        });
        Self(segments.collect::<Vec<_>>().join("/"), method as usize)
    }
}

impl RouteSet {
    /// Every route of the rules, those that are not exposed too.
    pub fn of_rules(rules: &RuleTable) -> Self {
        let of_rule = |rule: &Rule| {
            let route = |method| Route {
                method,
                template: rule.template.clone(),
                access: rule.access,
                terms: Some((rule.credentials, rule.exchange)),
                remark: None,
            };
            rule.methods.iter().map(route).collect::<Vec<_>>()
        };
        let routes = rules.iter().flat_map(|(_, rule)| of_rule(rule)).collect();
        Self { routes, is_complete: true }
    }
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
    /// What a listener must expose for it.
    pub expose: &'static str,
    /// Where it goes.
    pub upstream: &'static str,
    /// Whether a browser session gets through.
    pub session: bool,
    /// The fields of the JSON answer whose URLs are rewritten.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rewrite: Vec<String>,
    /// Until when it is in shadow, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow_until: Option<String>,
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
            access: rule.access.as_str(),
            scopes: scope_names(rule.access),
            credentials: rule.credentials.iter().filter(|_| open).map(|k| k.as_str()).collect(),
            exchange: rule.exchange && open,
            expose: rule.exposure.as_str(),
            upstream: rule.service.as_str(),
            session: rule.session,
            rewrite: rule.rewrite.iter().flat_map(Rewrite::names).collect(),
            shadow_until: None,
            place: &rule.place,
        }
    }
}

impl<'a> Listed<'a> {
    /// A rule that is in shadow, as it is listed.
    pub fn in_shadow(rule: &'a Rule) -> Self {
        let shadow_until = rule.shadow_until.map(|time| time.to_string());
        Self { shadow_until, ..Self::of(rule) }
    }
}

fn scope_names(access: Access) -> Vec<&'static str> {
    let mut names: Vec<_> = access.scopes().iter().map(|scope| scope.as_str()).collect();
    names.sort_unstable();
    names
}

impl Route {
    /// What is asked for, in a line; `whole` with what only a rule says, where it is not the usual.
    fn asks(&self, whole: bool) -> String {
        let mut text = match self.access {
            Access::AnyOf(_) => scope_names(self.access).join(" "),
            Access::Public | Access::Authenticated | Access::Pass | Access::ProjectKey => {
                self.access.as_str().to_owned()
            }
            Access::NotExposed => return self.access.as_str().to_owned(),
        };
        if let Some((credentials, exchange)) = self.terms.filter(|_| whole) {
            if credentials != KindSet::DEFAULT {
                let kinds: Vec<_> = credentials.iter().map(|kind| kind.as_str()).collect();
                text.push_str(&format!(", by {}", kinds.join(" ")));
            }
            if !exchange {
                text.push_str(", no exchange");
            }
        }
        text
    }
}
