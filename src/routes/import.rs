//! Rules out of an OpenAPI document: a file to be read, corrected and named in `rules.files`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::openapi::Document;
use super::{Key, Route, scope_names};
use crate::policy::identity::KindSet;
use crate::policy::method::{Method, MethodSet};
use crate::policy::rules::{Access, Conflict, Rule, RuleTable};

/// What of a document is made into rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Also what the rules have, and ask for something else: overridden.
    pub changed: bool,
    /// Whether tokens of the gateway get to the new routes at once.
    pub exchange: bool,
}

/// Rules that lie on top of those that are in force.
#[derive(Debug)]
pub struct Import {
    rules: Vec<(Rule, bool, Option<String>)>,
    /// Pairs of rules of which either could win.
    pub conflicts: Vec<Conflict>,
}

/// A rule as it is written.
#[derive(Serialize)]
struct Written<'a> {
    methods: Vec<&'static str>,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    access: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credentials: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "is_true")]
    exchange: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_body: Option<String>,
    #[serde(rename = "override", skip_serializing_if = "is_false")]
    overrides: bool,
}

const fn is_true(value: &bool) -> bool {
    *value
}

const fn is_false(value: &bool) -> bool {
    !*value
}

#[derive(Serialize)]
struct File<'a> {
    rule: [Written<'a>; 1],
}

impl Import {
    /// What `document` has that `rules` have not.
    pub fn new(document: &Document, rules: &RuleTable, wanted: Wanted) -> Self {
        let mut known: BTreeMap<Key, &Rule> = BTreeMap::new();
        for (_, rule) in rules.iter() {
            known.extend(rule.methods.iter().map(|m| (Key::of(m, &rule.template), rule)));
        }
        let mut made: Vec<(Rule, bool, Option<String>)> = Vec::new();
        for route in &document.routes {
            let old = known.get(&Key::of(route.method, &route.template));
            let (rule, overrides) = match old {
                Some(old) if wanted.changed && old.access != route.access => {
                    (over(old, route), true)
                }
                Some(_) => continue,
                None => (new(route, wanted.exchange), false),
            };
            let same = |(other, also, remark): &&mut (Rule, bool, Option<String>)| {
                other.template == rule.template
                    && other.access == rule.access
                    && other.credentials == rule.credentials
                    && other.exchange == rule.exchange
                    && *also == overrides
                    && *remark == route.remark
            };
            match made.iter_mut().find(same) {
                Some((other, ..)) => other.methods = other.methods.with(route.method),
                None => made.push((rule, overrides, route.remark.clone())),
            }
        }
        let conflicts = conflicts(rules, &made);
        Self { rules: made, conflicts }
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules as a file.
    ///
    /// # Errors
    /// When a value can't be written as TOML, which none of a rule is.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let mut text = String::new();
        for (rule, overrides, remark) in &self.rules {
            text.push('\n');
            for line in remark.iter().flat_map(|remark| remark.split("; ")) {
                text.push_str(&format!("# {}\n", line.escape_debug()));
            }
            text.push_str(&toml::to_string(&File { rule: [Written::of(rule, *overrides)] })?);
        }
        Ok(text)
    }
}

/// A rule for a route that has none. Where tokens of the gateway go is for a person to say: the
/// route may make credentials, and a document does not tell.
fn new(route: &Route, exchange: bool) -> Rule {
    Rule {
        methods: MethodSet::EMPTY.with(route.method),
        template: route.template.clone(),
        access: route.access,
        credentials: KindSet::DEFAULT,
        exchange: exchange || route.access == Access::NotExposed,
        timeout: None,
        max_body: None,
        place: "the document".into(),
    }
}

/// A rule in the place of `old`, which keeps what a document does not speak of.
fn over(old: &Rule, route: &Route) -> Rule {
    let methods = MethodSet::EMPTY.with(route.method);
    let credentials =
        if old.access == Access::NotExposed { KindSet::DEFAULT } else { old.credentials };
    let exchange = old.exchange && old.access != Access::NotExposed;
    let exchange = exchange || route.access == Access::NotExposed;
    Rule { methods, access: route.access, credentials, exchange, ..old.clone() }
}

/// Whether what was made can be laid over the rules.
fn conflicts(rules: &RuleTable, made: &[(Rule, bool, Option<String>)]) -> Vec<Conflict> {
    let left = |rule: &Rule, method: Method| {
        !made.iter().any(|(other, overrides, _)| {
            *overrides && other.template == rule.template && other.methods.contains(method)
        })
    };
    let kept = rules.iter().map(|(_, rule)| {
        let methods = rule.methods.iter().filter(|method| left(rule, *method)).collect();
        Rule { methods, ..rule.clone() }
    });
    let added = made.iter().map(|(rule, ..)| rule.clone());
    let all = kept.filter(|rule| !rule.methods.is_empty()).chain(added);
    RuleTable::build(all.collect()).map(|_| Vec::new()).unwrap_or_else(|conflicts| conflicts)
}

impl<'a> Written<'a> {
    fn of(rule: &'a Rule, overrides: bool) -> Self {
        let usual = rule.credentials == KindSet::DEFAULT || rule.access == Access::NotExposed;
        Self {
            methods: rule.methods.iter().map(Method::as_str).collect(),
            path: rule.template.as_str(),
            access: match rule.access {
                Access::AnyOf(_) => None,
                other @ (Access::Public | Access::Authenticated | Access::NotExposed) => {
                    Some(super::access_name(other))
                }
            },
            scopes: scope_names(rule.access),
            credentials: (!usual)
                .then(|| rule.credentials.iter().map(|kind| kind.as_str()).collect()),
            exchange: rule.exchange,
            timeout: rule.timeout.map(|time| humantime::format_duration(time).to_string()),
            max_body: rule.max_body.map(|size| format!("{size}B")),
            overrides,
        }
    }
}
