//! Rule files: the shipped one, and an operator's own that add, override and remove.

mod naming;

use toml::Spanned;

use super::problem::{Problem, syntax};
use super::raw::{RawFile, RawOnFailure, RawRemoval, RawRewrite, RawRule};
use super::version::SentryVersion;
use crate::clock::Timestamp;
use crate::policy::exposure::{Exposure, Service};
use crate::policy::identity::{IdentityKind, KindSet};
use crate::policy::method::{Method, MethodSet};
use crate::policy::rules::{Access, OnFailure, Rewrite, Rule};
use crate::policy::scope::{Scope, ScopeSet};
use crate::policy::template::PathTemplate;

/// The rules of several files, the later on top of the earlier.
#[derive(Debug)]
pub(super) struct RuleSet {
    sentry: SentryVersion,
    /// Rules that are in shadow until later are left out.
    until: Timestamp,
    rules: Vec<Entry>,
    /// How many were written so far, in all files.
    written: usize,
}

/// One path of a rule that was written. Paths of one rule share its number; a place in a file may be
/// that of several.
#[derive(Debug)]
struct Entry {
    written: usize,
    rule: Rule,
}

impl RuleSet {
    /// No rule yet; those for other versions of Sentry than `sentry`, and those that are in shadow until
    /// later than `until`, will be left out.
    pub(super) const fn new(sentry: SentryVersion, until: Timestamp) -> Self {
        Self { sentry, until, rules: Vec::new(), written: 0 }
    }

    /// Every rule.
    pub(super) fn into_rules(self) -> Vec<Rule> {
        self.rules.into_iter().map(|entry| entry.rule).collect()
    }

    /// Lays the file called `name` on top.
    pub(super) fn add_file(&mut self, name: &str, text: &str, problems: &mut Vec<Problem>) {
        let file: RawFile = match toml::from_str(text) {
            Ok(file) => file,
            Err(error) => return problems.push(syntax(Some(name), text, &error)),
        };
        let place = |path: &Spanned<String>| {
            let line = 1 + text[..path.span().start].matches('\n').count();
            format!("{name}:{line}")
        };
        // A file overrides earlier files, never itself: two equal rules in it stay a conflict.
        let (mut added, mut overriding) = (Vec::new(), Vec::new());
        let mut written = self.written;
        for removal in file.remove {
            let rule = removal.compile(&place(&removal.path), &self.rules, problems);
            written += 1;
            overriding.extend(rule.map(|rule| Entry { written, rule }));
        }
        for raw in file.rule {
            let place = place(&raw.path);
            let rules = raw.compile(&place, problems);
            if !raw.is_for(self.sentry, &place, problems) {
                continue;
            }
            written += 1;
            if raw.shadow_until.is_some_and(|end| end.0 > self.until) {
                continue;
            }
            let entries = rules.into_iter().map(|rule| Entry { written, rule });
            if raw.overrides { &mut overriding } else { &mut added }.extend(entries);
        }
        self.written = written;
        added.extend(self.lay_over(overriding, problems));
        self.rules.retain(|entry| !entry.rule.methods.is_empty());
        self.rules.extend(added);
    }

    /// Puts rules in the place of earlier ones, under every path that those have: a route that is
    /// closed under one of its paths is closed.
    fn lay_over(&mut self, mut over: Vec<Entry>, problems: &mut Vec<Problem>) -> Vec<Entry> {
        let mut replaced = Vec::new();
        for (index, Entry { rule, .. }) in over.iter().enumerate() {
            let before = replaced.len();
            for Entry { written, rule: earlier } in &mut self.rules {
                if earlier.template.same_shape(&rule.template) {
                    let taken = take(earlier, rule.methods);
                    if !taken.is_empty() {
                        replaced.push((index, *written, taken));
                    }
                }
            }
            if replaced.len() == before {
                let what =
                    format!("overrides or removes `{}`, and no earlier file has it", rule.template);
                let help = "write path and methods as the rule of the earlier file has them";
                problems.push(Problem::new(&*rule.place, what, help));
            }
        }
        // The paths that were named are taken by now; what is left of a rule are its other ones.
        for (index, written, methods) in replaced {
            for earlier in self.rules.iter_mut().filter(|earlier| earlier.written == written) {
                let methods = take(&mut earlier.rule, methods);
                if !methods.is_empty() {
                    let template = earlier.rule.template.clone();
                    let rule = Rule { methods, template, ..over[index].rule.clone() };
                    over.push(Entry { written: over[index].written, rule });
                }
            }
        }
        over
    }
}

/// Takes `methods` from a rule, and says which of them it had.
fn take(rule: &mut Rule, methods: MethodSet) -> MethodSet {
    let part = |of: bool| rule.methods.iter().filter(|m| methods.contains(*m) == of).collect();
    let (taken, left) = (part(true), part(false));
    rule.methods = left;
    taken
}

impl RawRemoval {
    /// A rule that lets nobody through, in the place of the earlier ones.
    fn compile(&self, place: &str, rules: &[Entry], problems: &mut Vec<Problem>) -> Option<Rule> {
        let path = self.path.get_ref();
        let rules = rules.iter().map(|entry| &entry.rule);
        let of_path = rules.filter(|rule| rule.template.as_str() == path);
        let known: MethodSet = of_path.clone().flat_map(|rule| rule.methods.iter()).collect();
        let methods = match &self.methods {
            Some(names) => parse_methods(names, true, place, problems),
            None => known,
        };
        let Some(first) = of_path.into_iter().next() else {
            let what = format!("removes `{path}`, and no earlier file has it");
            let help = "write the path as the rule has it, or delete the `[[remove]]`";
            problems.push(Problem::new(place, what, help));
            return None;
        };
        let access = Access::NotExposed;
        Some(Rule { methods, access, place: place.into(), ..first.clone() })
    }
}

impl RawRule {
    /// A rule for each template. With problems, what comes of it is not used.
    fn compile(&self, place: &str, problems: &mut Vec<Problem>) -> Vec<Rule> {
        let Some(access) = self.access(place, problems) else { return Vec::new() };
        let passes = access == Access::Pass;
        let methods = parse_methods(&self.methods, passes, place, problems);
        let credentials = self.credentials(access, place, problems);
        let (exposure, service) = (self.exposure(place, problems), self.service(place, problems));
        self.lends(access, service, place, problems);
        let projects = self.naming(place, problems);
        self.shadows(access, place, problems);
        let rewrite = self.rewrite.as_ref().map(|rewrite| rewrite.compile(place, problems));
        let paths = std::iter::once(self.path.get_ref()).chain(&self.aliases);
        let mut rules = Vec::new();
        for path in paths {
            match path.parse::<PathTemplate>() {
                Ok(template) => rules.push(Rule {
                    credentials,
                    exchange: self.exchange,
                    timeout: self.timeout.map(|timeout| timeout.0),
                    max_body: self.max_body.map(|size| size.0),
                    exposure,
                    service,
                    session: self.session,
                    websocket: self.websocket,
                    projects,
                    rewrite: rewrite.clone(),
                    shadow_until: self.shadow_until.map(|end| end.0),
                    place: place.into(),
                    ..Rule::new(methods, template, access)
                }),
                Err(error) => {
                    let help = "write a path as Sentry has it, parameters in braces";
                    problems.push(Problem::new(place, format!("`{path}`: {error}"), help));
                }
            }
        }
        rules
    }

    /// Whether the rule is for this version of Sentry.
    fn is_for(&self, sentry: SentryVersion, place: &str, problems: &mut Vec<Problem>) -> bool {
        let path = self.path.get_ref();
        let mut read = |key: &str, text: &Option<String>| {
            let parsed = text.as_deref().map(str::parse::<SentryVersion>).transpose();
            parsed.unwrap_or_else(|error| {
                let what = format!("rule `{path}`, `{key}`: {error}");
                problems.push(Problem::new(place, what, "or delete it: the rule is for them all"));
                None
            })
        };
        let (since, until) = (read("since", &self.since), read("until", &self.until));
        if let (Some(since), Some(until)) = (since, until)
            && since >= until
        {
            let what = format!("rule `{path}` is for no version: since {since}, until {until}");
            problems.push(Problem::new(place, what, "write the lower version in `since`"));
        }
        since.is_none_or(|since| since <= sentry) && until.is_none_or(|until| sentry < until)
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
            (Some("pass"), None) => Some(Access::Pass),
            (Some("project_key"), None) => Some(Access::ProjectKey),
            (Some(other), None) => {
                problem(
                    format!("has the unknown access `{other}`"),
                    "write `public`, `authenticated`, `project_key`, `pass` or `not_exposed`, or \
                     `scopes = [...]`",
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

    fn exposure(&self, place: &str, problems: &mut Vec<Problem>) -> Exposure {
        let Some(name) = &self.expose else { return Exposure::Api };
        Exposure::from_name(name).unwrap_or_else(|| {
            let what = format!("`{name}` is not what a listener can expose");
            let help = format!("write one of {}", Exposure::list());
            problems.push(Problem::new(place, what, help));
            Exposure::Api
        })
    }

    fn service(&self, place: &str, problems: &mut Vec<Problem>) -> Service {
        let Some(name) = &self.upstream else { return Service::Web };
        Service::from_name(name).unwrap_or_else(|| {
            let what = format!("`{name}` is not an upstream");
            problems.push(Problem::new(place, what, format!("write one of {}", Service::list())));
            Service::Web
        })
    }

    /// What asks for nothing would let in from its date on whom nobody has seen it let in.
    fn shadows(&self, access: Access, place: &str, problems: &mut Vec<Problem>) {
        match access {
            Access::Authenticated | Access::AnyOf(_) | Access::NotExposed => {}
            Access::Public | Access::Pass | Access::ProjectKey if self.shadow_until.is_some() => {
                let (path, access) = (self.path.get_ref(), access.as_str());
                let what = format!("rule `{path}` with the access `{access}` can't be in shadow");
                let help = "delete `shadow_until`, or ask for `scopes`";
                problems.push(Problem::new(place, what, help));
            }
            Access::Public | Access::Pass | Access::ProjectKey => {}
        }
    }

    /// The credential that stands in for tokens of the gateway is for the web service.
    fn lends(&self, access: Access, service: Service, place: &str, problems: &mut Vec<Problem>) {
        let exchanges = match access {
            Access::Public | Access::Authenticated | Access::AnyOf(_) => self.exchange,
            Access::NotExposed | Access::Pass | Access::ProjectKey => false,
        };
        let is_web = match service {
            Service::Web => true,
            Service::Relay | Service::Assets => false,
        };
        if exchanges && !is_web {
            let path = self.path.get_ref();
            let what = format!(
                "rule `{path}` would send the credential of the web service to `{service}`"
            );
            problems.push(Problem::new(
                place,
                what,
                "write `exchange = false`, or `access = \"pass\"`",
            ));
        }
    }

    fn credentials(&self, access: Access, place: &str, problems: &mut Vec<Problem>) -> KindSet {
        let Some(names) = &self.credentials else { return access.usual_credentials() };
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
        let nobody = matches!(access, Access::NotExposed | Access::Pass | Access::ProjectKey);
        if names.is_empty() || nobody {
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

impl RawRewrite {
    fn compile(&self, place: &str, problems: &mut Vec<Problem>) -> Rewrite {
        let mut fields = Vec::new();
        for text in &self.fields {
            match text.parse() {
                Ok(pointer) => fields.push(pointer),
                Err(error) => {
                    let what = format!("`rewrite` has the field `{text}`: {error}");
                    problems.push(Problem::new(place, what, "or delete it"));
                }
            }
        }
        if self.fields.is_empty() {
            let what = "`rewrite` names no field";
            problems.push(Problem::new(place, what, "name one, or delete `rewrite`"));
        }
        let on_failure = match self.on_failure {
            RawOnFailure::Refuse => OnFailure::Refuse,
            RawOnFailure::Pass => OnFailure::Pass,
        };
        Rewrite { fields: fields.into(), max_size: self.max_size.0, on_failure }
    }
}

/// The methods of a rule; `OPTIONS` only where it is not answered by the gateway.
fn parse_methods(
    names: &[String],
    options: bool,
    place: &str,
    problems: &mut Vec<Problem>,
) -> MethodSet {
    let mut methods = MethodSet::EMPTY;
    let help = "write some of `GET`, `POST`, `PUT`, `PATCH`, `DELETE`; HEAD follows GET and the \
                gateway answers OPTIONS itself";
    for name in names {
        match Method::from_name(name) {
            Some(Method::Options) if options => methods = methods.with(Method::Options),
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
