//! Rules out of an OpenAPI document: a file to be read, corrected and named in `rules.files`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::openapi::Document;
use super::{Key, Route, scope_names};
use crate::policy::exposure::{Exposure, Service};
use crate::policy::identity::KindSet;
use crate::policy::method::{Method, MethodSet};
use crate::policy::rules::{Access, Conflict, Rule, RuleTable};

/// What of a document is made into rules, besides what no rule knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What rules have, and ask something else for: overridden.
    pub changed: bool,
    /// What rules close.
    pub open: bool,
    /// Whether tokens of the gateway get to new routes at once.
    pub exchange: bool,
}

/// Rules that lie on top of those that are in force.
#[derive(Debug, Default)]
pub struct Import {
    rules: Vec<Made>,
    /// What a rule closes, and so was left out: method, path, and where the rule was written.
    pub closed: Vec<String>,
    /// Pairs of rules of which either could win.
    pub conflicts: Vec<Conflict>,
}

/// A rule that was made.
#[derive(Debug)]
struct Made {
    rule: Rule,
    overrides: bool,
    remark: Option<String>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    expose: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<&'static str>,
    #[serde(skip_serializing_if = "is_false")]
    session: bool,
    #[serde(skip_serializing_if = "is_false")]
    websocket: bool,
    #[serde(rename = "override", skip_serializing_if = "is_false")]
    overrides: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rewrite: Option<Rewritten>,
}

/// The fields whose URLs are rewritten, as they are written.
#[derive(Serialize)]
struct Rewritten {
    fields: Vec<String>,
    max_size: String,
    on_failure: &'static str,
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
            known.extend(rule.methods.iter().map(|m| (Key::of(m, &rule.template, false), rule)));
        }
        let known = |route: &Route| known.get(&Key::of(route.method, &route.template, false));
        let (mut import, mut overridden) = (Self::default(), Vec::new());
        for route in &document.set.routes {
            let old = known(route).copied();
            let closing = match old {
                Some(old) => Some(old).filter(|old| old.access == Access::NotExposed),
                None => closing(rules, route),
            };
            if let Some(closing) = closing.filter(|_| !wanted.open) {
                if route.access != Access::NotExposed {
                    let (method, path) = (route.method.as_str(), &route.template);
                    import.closed.push(format!("`{method} {path}` ({})", closing.place));
                }
                continue;
            }
            match old {
                None => import.push(new(route, wanted.exchange), false, route),
                Some(old) if old.access == route.access => {}
                Some(old) if wanted.changed || closing.is_some() => {
                    overridden.push((old.place.clone(), route.method));
                    import.push(over(old, route), true, route);
                }
                Some(_) => {}
            }
        }
        // An override holds under every path of the rule. Those that the document has otherwise
        // keep what they ask for.
        for route in &document.set.routes {
            if let Some(old) = known(route).filter(|old| old.access == route.access)
                && overridden.contains(&(old.place.clone(), route.method))
            {
                import.push(over(old, route), true, route);
            }
        }
        import.conflicts = conflicts(rules, &import.rules);
        import
    }

    /// Adds a rule, to one that says the same of other methods if there is one.
    fn push(&mut self, rule: Rule, overrides: bool, route: &Route) {
        let remark = &route.remark;
        let same = |made: &&mut Made| {
            let alike =
                Rule { methods: made.rule.methods, place: made.rule.place.clone(), ..rule.clone() };
            made.rule == alike && made.overrides == overrides && made.remark == *remark
        };
        match self.rules.iter_mut().find(same) {
            Some(made) => made.rule.methods = made.rule.methods.with(route.method),
            None => self.rules.push(Made { rule, overrides, remark: remark.clone() }),
        }
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
        for Made { rule, overrides, remark } in &self.rules {
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
        exchange: exchange || route.access == Access::NotExposed,
        // Sentry judges its own sessions.
        session: true,
        place: "the document".into(),
        ..Rule::new(MethodSet::EMPTY.with(route.method), route.template.clone(), route.access)
    }
}

/// A rule in the place of `old`, which keeps what a document does not speak of. Where the old one
/// asked for no scope, tokens of the gateway got through to read at most; where it was closed, not
/// at all.
fn over(old: &Rule, route: &Route) -> Rule {
    let methods = MethodSet::EMPTY.with(route.method);
    let (credentials, exchange) = match old.access {
        Access::AnyOf(_) => (old.credentials, old.exchange),
        Access::Public | Access::Authenticated | Access::Pass | Access::ProjectKey => {
            (old.credentials, false)
        }
        Access::NotExposed => (KindSet::DEFAULT, false),
    };
    let exchange = exchange || route.access == Access::NotExposed;
    Rule { methods, access: route.access, credentials, exchange, ..old.clone() }
}

/// The rule that closes the paths of a route which no rule names.
fn closing<'a>(rules: &'a RuleTable, route: &Route) -> Option<&'a Rule> {
    let mut wider = rules.iter().map(|(_, rule)| rule).filter(|rule| {
        rule.methods.contains(route.method)
            && rule.template.overlaps(&route.template)
            && route.template.compare(&rule.template).is_some_and(|order| order.is_ge())
    });
    wider.find(|rule| rule.access == Access::NotExposed)
}

/// Whether what was made can be laid over the rules.
fn conflicts(rules: &RuleTable, made: &[Made]) -> Vec<Conflict> {
    let left = |rule: &Rule, method: Method| {
        !made.iter().any(|made| {
            made.overrides
                && made.rule.template == rule.template
                && made.rule.methods.contains(method)
        })
    };
    let kept = rules.iter().map(|(_, rule)| {
        let methods = rule.methods.iter().filter(|method| left(rule, *method)).collect();
        Rule { methods, ..rule.clone() }
    });
    let added = made.iter().map(|made| made.rule.clone());
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
                other @ (Access::Public
                | Access::Authenticated
                | Access::NotExposed
                | Access::Pass
                | Access::ProjectKey) => Some(other.as_str()),
            },
            scopes: scope_names(rule.access),
            credentials: (!usual)
                .then(|| rule.credentials.iter().map(|kind| kind.as_str()).collect()),
            exchange: rule.exchange,
            timeout: rule.timeout.map(|time| humantime::format_duration(time).to_string()),
            max_body: rule.max_body.map(|size| format!("{size}B")),
            expose: Some(rule.exposure).filter(|e| *e != Exposure::Api).map(Exposure::as_str),
            upstream: Some(rule.service).filter(|s| *s != Service::Web).map(Service::as_str),
            session: rule.session,
            websocket: rule.websocket,
            overrides,
            rewrite: rule.rewrite.as_ref().map(|rewrite| Rewritten {
                fields: rewrite.names().collect(),
                max_size: format!("{}B", rewrite.max_size),
                on_failure: rewrite.on_failure.as_str(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rules, a line each: method, path, what it asks for, and more.
    fn rules() -> RuleTable {
        let scopes = |names: &str| {
            Access::AnyOf(names.split_whitespace().map(|name| name.parse().unwrap()).collect())
        };
        let rule = |method: Method, path: &str, access: Access, place: &str| Rule {
            place: place.into(),
            ..Rule::new(MethodSet::EMPTY.with(method), path.parse().unwrap(), access)
        };
        RuleTable::build(vec![
            rule(Method::Get, "/same/", scopes("org:read"), "1"),
            rule(Method::Put, "/me/", Access::Authenticated, "2"),
            rule(Method::Get, "/closed/", Access::NotExposed, "3"),
            rule(Method::Get, "/under/{rest:path}", Access::NotExposed, "4"),
            rule(Method::Get, "/limits/", scopes("org:read"), "5"),
            Rule {
                max_body: Some(1024),
                exchange: false,
                ..rule(Method::Put, "/limits/", scopes("org:read"), "6")
            },
            rule(Method::Get, "/p1/", scopes("org:admin"), "7"),
            rule(Method::Get, "/p2/", scopes("org:admin"), "7"),
        ])
        .unwrap()
    }

    /// The document says of each that `org:write` suffices, but of `/p2/` what the rule has.
    fn imported(wanted: Wanted) -> (Vec<String>, Vec<String>) {
        let operation = |scope: &str| serde_json::json!({"security": [{"auth_token": [scope]}]});
        let write = operation("org:write");
        let paths = serde_json::json!({
            "/same/": {"get": operation("org:read")},
            "/me/": {"put": write},
            "/closed/": {"get": write},
            "/under/one/": {"get": write},
            "/limits/": {"get": write, "put": write},
            "/p1/": {"get": write},
            "/p2/": {"get": operation("org:admin")},
            "/new/": {"get": write, "put": write},
        });
        let document = serde_json::json!({"openapi": "3.0.3", "paths": paths}).to_string();
        let import = Import::new(&Document::parse(&document).unwrap(), &rules(), wanted);
        assert!(import.conflicts.is_empty(), "{:?}", import.conflicts);
        let line = |made: &Made| {
            let Made { rule, overrides, .. } = made;
            let Rule { methods, template, exchange, max_body, .. } = rule;
            let scopes = scope_names(rule.access).join(" ");
            let max_body = max_body.map(|size| format!(" {size}")).unwrap_or_default();
            let more = [(*overrides, " over"), (*exchange, " exchange")];
            let more: String =
                more.into_iter().filter(|(on, _)| *on).map(|(_, word)| word).collect();
            format!("{methods} {template} {scopes}{more}{max_body}")
        };
        (import.rules.iter().map(line).collect(), import.closed)
    }

    #[test]
    fn nothing_is_opened_that_was_not_asked_for() {
        let plain = Wanted { changed: false, open: false, exchange: false };
        let (made, closed) = imported(plain);
        assert_eq!(made, ["GET, PUT /new/ org:write"]);
        assert_eq!(closed, ["`GET /closed/` (3)", "`GET /under/one/` (4)"]);

        let (made, closed) = imported(Wanted { changed: true, ..plain });
        assert_eq!(
            made,
            [
                // What bounds a rule stays with it.
                "GET /limits/ org:write over exchange",
                "PUT /limits/ org:write over 1024",
                // A token of the gateway read there at most.
                "PUT /me/ org:write over",
                "GET, PUT /new/ org:write",
                // Another path of the rule keeps what it asks for.
                "GET /p1/ org:write over exchange",
                "GET /p2/ org:admin over exchange",
            ]
        );
        assert_eq!(closed.len(), 2);

        let (made, closed) = imported(Wanted { open: true, exchange: true, ..plain });
        assert_eq!(
            made,
            [
                "GET /closed/ org:write over",
                "GET, PUT /new/ org:write exchange",
                "GET /under/one/ org:write exchange",
            ]
        );
        assert!(closed.is_empty());
    }
}
