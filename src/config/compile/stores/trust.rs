//! Trust policies of an issuer.

use serde_json::Value;

use super::super::super::raw::RawTrust;
use super::super::Compiler;
use crate::policy::identity::{Binding, Narrowing};
use crate::policy::scope::{Scope, ScopeSet};
use crate::store::jwt::{Condition, Pattern, Trust, Wanted};

const CLAIMS: &str = "write what must be claimed, such as `claims = { repository = \"acme/web\" }`";

impl Compiler<'_> {
    pub(super) fn trust(&mut self, at: &str, raw: &RawTrust) -> Option<Trust> {
        let before = self.problems.len();
        let on = |key: &str| format!("{at}.{key}");
        if raw.claims.is_empty() {
            let what = "is empty, so everybody whom the issuer knows would be given this";
            self.problem(on("claims"), what, CLAIMS);
        }
        let mut conditions = Vec::new();
        for (name, value) in &raw.claims {
            self.condition(&on("claims"), vec![name.as_str().into()], value, &mut conditions);
        }
        let mut scopes = ScopeSet::EMPTY;
        for name in &raw.scopes {
            match name.parse::<Scope>() {
                Ok(scope) => scopes = scopes.with(scope),
                Err(error) => {
                    self.problem(on("scopes"), error.to_string(), "write a scope of Sentry's");
                }
            }
        }
        if raw.scopes.is_empty() {
            self.problem(on("scopes"), "is empty, so nothing is given", "write some of Sentry's");
        }
        if raw.scopes_claim.as_ref().is_some_and(String::is_empty) {
            let what = "is empty, so nothing would be given";
            self.problem(on("scopes_claim"), what, "name a claim such as `scope`, or delete it");
        }
        let networks = raw.networks.as_ref().map(|names| self.networks(&on("networks"), names));
        let names = |list: &Option<Vec<String>>| -> Option<Box<[Box<str>]>> {
            Some(list.as_ref()?.iter().map(|name| name.as_str().into()).collect())
        };
        let binding = |list| names(list).map_or(Binding::Any, Binding::Only);
        let is_empty = |list: &Option<Vec<String>>| {
            list.as_ref().is_some_and(|list| list.is_empty() || list.contains(&String::new()))
        };
        for (key, list) in [("organizations", &raw.organizations), ("projects", &raw.projects)] {
            if is_empty(list) {
                let what = "is empty, or has an empty name";
                self.problem(on(key), what, "name some, or delete it");
            }
        }
        if !is_empty(&raw.projects) && !binding(&raw.projects).has_ids_alone() {
            let what = "has a slug, which may get another owner";
            self.problem(on("projects"), what, "write the numeric ids of the projects");
        }
        (self.problems.len() == before).then(|| Trust {
            conditions,
            scopes: scopes.with_implied(),
            scopes_claim: raw.scopes_claim.as_deref().map(Into::into),
            organizations: binding(&raw.organizations),
            projects: binding(&raw.projects),
            narrowing: Narrowing {
                read_only: raw.read_only,
                profile: raw.profile.as_deref().map(Into::into),
                groups: names(&raw.groups),
                networks: networks.map(Into::into),
            },
        })
    }

    fn condition(
        &mut self,
        at: &str,
        path: Vec<Box<str>>,
        value: &toml::Value,
        conditions: &mut Vec<Condition>,
    ) {
        let at = format!("{at}.{}", path.last().map(|name| &**name).unwrap_or_default());
        let values: &[toml::Value] = match value {
            toml::Value::Table(inner) => {
                if inner.is_empty() {
                    self.problem(at, "is an empty table", CLAIMS);
                    return;
                }
                for (name, value) in inner {
                    let path = path.iter().cloned().chain([name.as_str().into()]).collect();
                    self.condition(&at, path, value, conditions);
                }
                return;
            }
            toml::Value::Array(values) => values,
            toml::Value::String(_)
            | toml::Value::Integer(_)
            | toml::Value::Float(_)
            | toml::Value::Boolean(_)
            | toml::Value::Datetime(_) => std::slice::from_ref(value),
        };
        if values.is_empty() {
            self.problem(&at, "is an empty list, which no token has one of", CLAIMS);
        }
        let mut any_of = Vec::new();
        for value in values {
            let wanted = match value {
                toml::Value::String(text) => {
                    let help = "write the whole claim";
                    self.parsed(&at, Pattern::parse(text), help).map(Wanted::Text)
                }
                toml::Value::Integer(number) => Some(Wanted::Exactly(Value::from(*number))),
                toml::Value::Boolean(truth) => Some(Wanted::Exactly(Value::from(*truth))),
                toml::Value::Float(_)
                | toml::Value::Datetime(_)
                | toml::Value::Array(_)
                | toml::Value::Table(_) => {
                    let what = "is neither a text nor a whole number nor a truth value";
                    self.problem(&at, what, "write one of these, or a list of them");
                    None
                }
            };
            any_of.extend(wanted);
        }
        conditions.push(Condition { path, any_of });
    }
}
