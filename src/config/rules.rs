//! Rule files: the shipped one, and an operator's own that add, override and remove.

use serde::Deserialize;
use toml::Spanned;

use super::problem::{Problem, syntax};
use super::value::{ByteSize, HumanDuration};
use crate::policy::identity::{IdentityKind, KindSet};
use crate::policy::method::{Method, MethodSet};
use crate::policy::rules::{Access, Rule};
use crate::policy::scope::{Scope, ScopeSet};
use crate::policy::template::PathTemplate;

/// A rule file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    rule: Vec<RawRule>,
    #[serde(default)]
    remove: Vec<RawRemoval>,
}

/// What some methods of a route ask for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    /// `GET` (and with it `HEAD`), `POST`, `PUT`, `PATCH`, `DELETE`.
    methods: Vec<String>,
    /// A path template.
    path: Spanned<String>,
    /// More templates of the same route.
    #[serde(default)]
    aliases: Vec<String>,
    /// `public`, `authenticated` or `not_exposed`; instead of `scopes`.
    access: Option<String>,
    /// Scopes of which one is needed; instead of `access`.
    scopes: Option<Vec<String>>,
    /// Kinds of credential; by default `user_token`, `org_token`, `api_key`.
    credentials: Option<Vec<String>>,
    timeout: Option<HumanDuration>,
    max_body: Option<ByteSize>,
    /// Replaces the rules of earlier files for these methods of this route.
    #[serde(default, rename = "override")]
    overrides: bool,
}

/// Takes rules of earlier files away.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRemoval {
    path: Spanned<String>,
    /// By default all.
    methods: Option<Vec<String>>,
}

/// The rules of several files, the later on top of the earlier.
#[derive(Debug, Default)]
pub(super) struct RuleSet {
    rules: Vec<Rule>,
}

impl RuleSet {
    /// Every rule.
    pub(super) fn into_rules(self) -> Vec<Rule> {
        self.rules
    }

    /// Lays the file called `name` on top.
    pub(super) fn add_file(&mut self, name: &str, text: &str, problems: &mut Vec<Problem>) {
        let file: RawFile = match toml::from_str(text) {
            Ok(file) => file,
            Err(error) => return problems.push(syntax(name, &error)),
        };
        let place = |path: &Spanned<String>| {
            let line = 1 + text[..path.span().start].matches('\n').count();
            format!("{name}:{line}")
        };
        for removal in &file.remove {
            self.remove(removal, &place(&removal.path), problems);
        }
        // A file overrides earlier files, never itself: two equal rules in it stay a conflict.
        let mut added = Vec::new();
        for raw in file.rule {
            let place = place(&raw.path);
            let rules = raw.compile(&place, problems);
            if raw.overrides {
                override_earlier(&mut self.rules, &rules, &place, problems);
            }
            added.extend(rules);
        }
        self.rules.retain(|rule| !rule.methods.is_empty());
        self.rules.extend(added);
    }

    fn remove(&mut self, removal: &RawRemoval, place: &str, problems: &mut Vec<Problem>) {
        let methods = match &removal.methods {
            Some(names) => parse_methods(names, place, problems),
            None => Method::ALL.iter().copied().collect(),
        };
        let mut removed = false;
        for rule in &mut self.rules {
            if rule.template.as_str() == removal.path.get_ref() {
                removed |= take(rule, methods);
            }
        }
        self.rules.retain(|rule| !rule.methods.is_empty());
        if !removed {
            let what = format!("removes `{}`, and no earlier file has it", removal.path.get_ref());
            let help = "write the path as the rule has it, or delete the `[[remove]]`";
            problems.push(Problem::new(place, what, help));
        }
    }
}

/// Takes `methods` from a rule and says whether it had any of them.
fn take(rule: &mut Rule, methods: MethodSet) -> bool {
    let left: MethodSet = rule.methods.iter().filter(|m| !methods.contains(*m)).collect();
    let had = left != rule.methods;
    rule.methods = left;
    had
}

fn override_earlier(kept: &mut [Rule], rules: &[Rule], place: &str, problems: &mut Vec<Problem>) {
    for rule in rules {
        let mut found = false;
        for earlier in kept.iter_mut() {
            if earlier.template.same_shape(&rule.template) {
                found |= take(earlier, rule.methods);
            }
        }
        if !found {
            let what = format!("overrides `{}`, and no earlier file has it", rule.template);
            let help = "delete `override = true`, or write the path as the rule has it";
            problems.push(Problem::new(place, what, help));
        }
    }
}

impl RawRule {
    /// A rule for each template. With problems, what comes of it is not used.
    fn compile(&self, place: &str, problems: &mut Vec<Problem>) -> Vec<Rule> {
        let methods = parse_methods(&self.methods, place, problems);
        let Some(access) = self.access(place, problems) else { return Vec::new() };
        let credentials = self.credentials(access, place, problems);
        let paths = std::iter::once(self.path.get_ref()).chain(&self.aliases);
        let mut rules = Vec::new();
        for path in paths {
            match path.parse::<PathTemplate>() {
                Ok(template) => rules.push(Rule {
                    methods,
                    template,
                    access,
                    credentials,
                    timeout: self.timeout.map(|timeout| timeout.0),
                    max_body: self.max_body.map(|size| size.0),
                    place: place.into(),
                }),
                Err(error) => {
                    let help = "write a path as Sentry has it, parameters in braces";
                    problems.push(Problem::new(place, format!("`{path}`: {error}"), help));
                }
            }
        }
        rules
    }

    fn access(&self, place: &str, problems: &mut Vec<Problem>) -> Option<Access> {
        let path = self.path.get_ref();
        let mut problem = |what: String, help: &str| {
            problems.push(Problem::new(place, format!("rule `{path}` {what}"), help));
        };
        match (self.access.as_deref(), &self.scopes) {
            (Some("public"), None) => Some(Access::Public),
            (Some("authenticated"), None) => Some(Access::Authenticated),
            (Some("not_exposed"), None) => Some(Access::NotExposed),
            (Some(other), None) => {
                problem(
                    format!("has the unknown access `{other}`"),
                    "write `public`, `authenticated` or `not_exposed`, or `scopes = [...]`",
                );
                None
            }
            (Some(access), Some(_)) => {
                problem(
                    format!("has the access `{access}` and scopes, and only one can hold"),
                    "delete `access` to ask for one of the scopes, or delete `scopes`",
                );
                None
            }
            (None, None) => {
                problem(
                    "asks for nothing".to_owned(),
                    "write `scopes = [...]`, or `access = \"public\"`, `\"authenticated\"` or `\"not_exposed\"`",
                );
                None
            }
            (None, Some(names)) => {
                let mut scopes = ScopeSet::EMPTY;
                for name in names {
                    match name.parse::<Scope>() {
                        Ok(scope) => scopes = scopes.with(scope),
                        Err(error) => problem(format!("has an {error}"), "write one of these"),
                    }
                }
                if names.is_empty() {
                    problem(
                        "has an empty list of scopes, which nobody can satisfy".to_owned(),
                        "name a scope, or write `access = \"not_exposed\"`",
                    );
                }
                Some(Access::AnyOf(scopes))
            }
        }
    }

    fn credentials(&self, access: Access, place: &str, problems: &mut Vec<Problem>) -> KindSet {
        let Some(names) = &self.credentials else { return KindSet::DEFAULT };
        let path = self.path.get_ref();
        let known = || {
            let names: Vec<_> = IdentityKind::ALL.iter().map(|kind| format!("`{kind}`")).collect();
            format!("write some of {}", names.join(", "))
        };
        let mut kinds = KindSet::EMPTY;
        for name in names {
            match IdentityKind::from_name(name) {
                Some(kind) => kinds = kinds.with(kind),
                None => {
                    let what = format!("rule `{path}` takes the unknown credential `{name}`");
                    problems.push(Problem::new(place, what, known()));
                }
            }
        }
        if names.is_empty() || access == Access::NotExposed {
            let what = format!("rule `{path}` has `credentials` that nothing can satisfy");
            problems.push(Problem::new(
                place,
                what,
                "delete `credentials`, or name some and an access",
            ));
        }
        kinds
    }
}

fn parse_methods(names: &[String], place: &str, problems: &mut Vec<Problem>) -> MethodSet {
    let mut methods = MethodSet::EMPTY;
    let help = "write some of `GET`, `POST`, `PUT`, `PATCH`, `DELETE`; HEAD follows GET and the \
                gateway answers OPTIONS itself";
    for name in names {
        match Method::from_name(name) {
            Some(Method::Head | Method::Options) | None => {
                let what = format!("`{name}` is not a method that a rule can have");
                problems.push(Problem::new(place, what, help));
            }
            Some(method) => methods = methods.with(method),
        }
    }
    if names.is_empty() {
        problems.push(Problem::new(place, "a rule has no methods", help));
    }
    methods
}
