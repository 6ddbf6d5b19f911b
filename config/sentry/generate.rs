//! Makes `config/sentry.toml` out of what is known of Sentry's routes.
//!
//! `routes.jsonl` says what Sentry's source and its OpenAPI document say; `corrections.jsonl` says
//! where that is not enough, and why. What neither opens stays closed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

const WRITE: &str = "cargo run --example sentry-rules -- --write";

const HEADER: &str = r#"# The rules for Sentry's Web API. Generated; don't edit it by hand:
#
#     cargo run --example sentry-rules -- --write
#
# makes it from config/sentry/routes.jsonl and config/sentry/corrections.jsonl. A route that has no
# rule here is refused.
#
# methods      the methods that the rule governs; HEAD follows GET, OPTIONS is answered locally
# path         the route, with Sentry's own parameter names: `{name}` is one segment,
#              `{name:digits}` one of ASCII digits, `{name:path}` all that is left; a trailing slash
#              counts, and the most specific path wins
# aliases      more paths of the same route
# scopes       the scopes of which the caller needs one
# access       instead of scopes: "public" needs no credential, "authenticated" needs a valid one,
#              "not_exposed" lets nobody through
# credentials  the kinds that are taken; without it ["user_token", "org_token", "api_key"]
# exchange     false where no token of the gateway gets through: what makes credentials or members
# timeout      how long Sentry may be silent, where that is longer than usual
"#;

/// In the order in which they are listed; `HEAD` and `OPTIONS` are never in a rule.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
const CREDENTIALS: [&str; 4] = ["user_token", "org_token", "api_key", "dsn"];
const DEFAULT_CREDENTIALS: usize = 3;

/// A line of `routes.jsonl`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Route {
    path: String,
    #[serde(default)]
    aliases: Vec<String>,
    /// Parameters that are `\d+` in Sentry's pattern.
    #[serde(default)]
    digits: Vec<String>,
    /// Of each method, the scopes of which one is needed; `null` where the permission has no map.
    methods: BTreeMap<String, Option<Vec<String>>>,
    from: Origin,
    /// Sentry's authenticators; without it the usual four: user, organisation, key, session.
    authenticators: Option<Vec<String>>,
    /// Sentry's permission classes; without it nobody has read them.
    permissions: Option<Vec<String>>,
}

/// How a route is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Origin {
    /// From its class in Sentry's source.
    Source,
    /// From the OpenAPI document alone.
    Document,
    /// From a list of URLs: its methods and what it asks for are unknown.
    Name,
}

/// A line of `corrections.jsonl`: what to change on the routes and methods that it names.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Correction {
    /// For the reader of the file.
    #[serde(rename = "why")]
    _why: String,
    /// Paths as in `routes.jsonl`; a final `*` stands for any ending.
    paths: Vec<String>,
    /// Without it, every method that the route has.
    methods: Option<Vec<String>>,
    /// Another template for the path.
    template: Option<String>,
    /// What a parameter may hold: `digits` or `path`.
    #[serde(default)]
    constrain: BTreeMap<String, String>,
    access: Option<Access>,
    scopes: Option<Vec<String>>,
    credentials: Option<Vec<String>>,
    exchange: Option<bool>,
    timeout: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Access {
    Public,
    Authenticated,
    NotExposed,
    #[serde(skip)]
    Scopes(Vec<String>),
}

/// What one method of one route asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    access: Access,
    /// In the order of [`CREDENTIALS`].
    credentials: Vec<&'static str>,
    exchange: bool,
    timeout: Option<String>,
}

impl Requirement {
    fn of(route: &Route, scopes: Option<&Option<Vec<String>>>) -> Self {
        let access = access_of(route, scopes.and_then(Option::as_deref).unwrap_or_default());
        // Sentry's `IsAuthenticated` asks for a user, which only a user's token stands for.
        let taken = if access == Access::Authenticated { 1 } else { DEFAULT_CREDENTIALS };
        Self { access, credentials: CREDENTIALS[..taken].to_vec(), exchange: true, timeout: None }
    }

    fn apply(&mut self, correction: &Correction) -> Result<()> {
        if let Some(access) = &correction.access {
            *self = Self {
                access: access.clone(),
                credentials: CREDENTIALS[..DEFAULT_CREDENTIALS].to_vec(),
                exchange: true,
                timeout: None,
            };
        }
        if let Some(scopes) = &correction.scopes {
            ensure!(!scopes.is_empty(), "`scopes` is empty; name one or set `access` instead");
            self.access = Access::Scopes(sorted(scopes));
        }
        self.exchange = correction.exchange.unwrap_or(self.exchange);
        if correction.credentials.is_none() && correction.timeout.is_none() {
            return Ok(());
        }
        ensure!(
            self.access != Access::NotExposed,
            "nobody gets to it, so credentials and a timeout mean nothing; set `access` or `scopes`"
        );
        if let Some(wanted) = &correction.credentials {
            self.credentials = in_order(&CREDENTIALS, wanted)?;
        }
        if let Some(timeout) = &correction.timeout {
            self.timeout = Some(timeout.clone());
        }
        Ok(())
    }
}

/// Fail closed: a method is open only where Sentry checks nothing at all.
fn access_of(route: &Route, scopes: &[String]) -> Access {
    let usual = route.authenticators.is_none();
    let tokens =
        usual || route.authenticators.iter().flatten().any(|class| class == "UserAuthToken");
    if !scopes.is_empty() && tokens {
        return Access::Scopes(sorted(scopes));
    }
    match route.permissions.as_deref() {
        Some([]) if usual && route.from == Origin::Source => Access::Public,
        Some([only]) if usual && only == "IsAuthenticated" => Access::Authenticated,
        _ => Access::NotExposed,
    }
}

/// A `[[rule]]`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rule {
    path: String,
    /// Where the first of its methods is in [`METHODS`].
    first: usize,
    text: String,
}

fn rules(routes: &[Route], corrections: &[Correction]) -> Result<Vec<Rule>> {
    for correction in corrections {
        for wanted in &correction.paths {
            ensure!(
                routes.iter().any(|route| names(wanted, &route.path)),
                "corrections.jsonl corrects `{wanted}`, which routes.jsonl has not; remove it"
            );
        }
    }
    let mut rules = Vec::new();
    for route in routes {
        let about = || format!("cannot make the rules of `{}`", route.path);
        rules.extend(rules_of(route, corrections).with_context(about)?);
    }
    rules.sort();
    Ok(rules)
}

/// Whether `wanted` is `path`, or a prefix of it where it ends with `*`.
fn names(wanted: &str, path: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => path == wanted,
    }
}

/// One rule for each set of methods that ask for the same.
fn rules_of(route: &Route, corrections: &[Correction]) -> Result<Vec<Rule>> {
    let named =
        |correction: &&Correction| correction.paths.iter().any(|wanted| names(wanted, &route.path));
    let corrections: Vec<&Correction> = corrections.iter().filter(named).collect();
    let known: Vec<&str> = if route.methods.is_empty() {
        METHODS.to_vec()
    } else {
        in_order(&METHODS, &route.methods.keys().collect::<Vec<_>>())?
    };
    let mut wanted: Vec<(&str, Requirement)> = known
        .iter()
        .map(|method| (*method, Requirement::of(route, route.methods.get(*method))))
        .collect();
    for correction in &corrections {
        let listed = correction.methods.as_deref().map(|list| in_order(&known, list));
        for method in listed.unwrap_or_else(|| Ok(known.clone()))? {
            for (_, requirement) in wanted.iter_mut().filter(|(other, _)| *other == method) {
                requirement.apply(correction)?;
            }
        }
    }
    let paths = templates(route, &corrections);
    let mut groups: Vec<(Vec<&str>, Requirement)> = Vec::new();
    for (method, requirement) in wanted {
        match groups.iter_mut().find(|(_, other)| *other == requirement) {
            Some((methods, _)) => methods.push(method),
            None => groups.push((vec![method], requirement)),
        }
    }
    let rule = |(methods, requirement): (Vec<&str>, Requirement)| Rule {
        path: paths[0].clone(),
        first: METHODS.iter().position(|method| methods[0] == *method).unwrap_or_default(),
        text: render(&paths, &methods, &requirement),
    };
    Ok(groups.into_iter().map(rule).collect())
}

/// The route's own template first, then its aliases, with what their parameters may hold.
fn templates(route: &Route, corrections: &[&Correction]) -> Vec<String> {
    let digits = route.digits.iter().map(|name| (name.as_str(), "digits"));
    let constraints = corrections.iter().flat_map(|correction| &correction.constrain);
    let constraints: Vec<(&str, &str)> =
        digits.chain(constraints.map(|(name, kind)| (name.as_str(), kind.as_str()))).collect();
    let corrected = corrections.iter().find_map(|correction| correction.template.as_ref());
    let mut paths = vec![corrected.unwrap_or(&route.path).clone()];
    paths.extend(sorted(&route.aliases));
    for path in &mut paths {
        for (name, kind) in &constraints {
            *path = path.replace(&format!("{{{name}}}"), &format!("{{{name}:{kind}}}"));
        }
    }
    paths
}

fn render(paths: &[String], methods: &[&str], wanted: &Requirement) -> String {
    let mut text = String::from("\n[[rule]]\n");
    let mut line = |key: &str, value: String| text.push_str(&format!("{key} = {value}\n"));
    line("methods", array(methods));
    line("path", quote(&paths[0]));
    if paths.len() > 1 {
        line("aliases", array(&paths[1..]));
    }
    match &wanted.access {
        Access::Public => line("access", quote("public")),
        Access::Authenticated => line("access", quote("authenticated")),
        Access::NotExposed => line("access", quote("not_exposed")),
        Access::Scopes(scopes) => line("scopes", array(scopes)),
    }
    if wanted.access != Access::NotExposed
        && wanted.credentials != CREDENTIALS[..DEFAULT_CREDENTIALS]
    {
        line("credentials", array(&wanted.credentials));
    }
    if wanted.access != Access::NotExposed && !wanted.exchange {
        line("exchange", "false".to_owned());
    }
    if let Some(timeout) = &wanted.timeout {
        line("timeout", quote(timeout));
    }
    text
}

/// On one line if it fits, or an element a line, so that a diff shows what came and went.
fn array(items: &[impl AsRef<str>]) -> String {
    let items: Vec<String> = items.iter().map(|item| quote(item.as_ref())).collect();
    let short = format!("[{}]", items.join(", "));
    if short.len() <= 88 { short } else { format!("[\n    {},\n]", items.join(",\n    ")) }
}

/// A JSON string of what paths, methods and scopes are made of is a TOML string too.
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn sorted(items: &[String]) -> Vec<String> {
    let mut items = items.to_vec();
    items.sort();
    items
}

/// The known words among `wanted`, in their own order; an unknown one is an error.
fn in_order<'a>(known: &[&'a str], wanted: &[impl AsRef<str>]) -> Result<Vec<&'a str>> {
    if let Some(word) = wanted.iter().find(|word| !known.contains(&word.as_ref())) {
        bail!("`{}` is not one of {known:?}; write one of them", word.as_ref());
    }
    let is_wanted = |word: &&&str| wanted.iter().any(|other| other.as_ref() == **word);
    Ok(known.iter().filter(is_wanted).copied().collect())
}

fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Vec<T>> {
    let fix = || format!("cannot read {}; restore it from version control", path.display());
    let text = fs::read_to_string(path).with_context(fix)?;
    let line = |(index, line): (usize, &str)| {
        let fix = || format!("{}:{} is not as expected; correct it", path.display(), index + 1);
        serde_json::from_str(line).with_context(fix)
    };
    text.lines().enumerate().map(line).collect()
}

fn run() -> Result<ExitCode> {
    let config = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config");
    let routes = read(&config.join("sentry/routes.jsonl"))?;
    let corrections = read(&config.join("sentry/corrections.jsonl"))?;
    let mut made = HEADER.to_owned();
    for rule in rules(&routes, &corrections)? {
        made.push_str(&rule.text);
    }
    let target = config.join("sentry.toml");
    match env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => print!("{made}"),
        [flag] if flag == "--write" => fs::write(&target, made).with_context(|| {
            format!("cannot write {}; make its folder writable", target.display())
        })?,
        [flag] if flag == "--check" => {
            if fs::read_to_string(&target).unwrap_or_default() != made {
                eprintln!("{} is not what its data makes; run `{WRITE}`", target.display());
                return Ok(ExitCode::from(1));
            }
        }
        other => bail!("unknown arguments {other:?}; give `--write`, `--check` or nothing"),
    }
    Ok(ExitCode::SUCCESS)
}

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::from(2)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_to_be_open_is_closed() {
        let scopes = || Access::Scopes(vec!["org:read".into()]);
        let rows = [
            (r#""from": "source", "permissions": []"#, "null", Access::Public),
            (r#""from": "document", "permissions": []"#, "null", Access::NotExposed),
            (r#""from": "document""#, "[]", Access::NotExposed),
            (r#""from": "document""#, r#"["org:read"]"#, scopes()),
            (
                r#""from": "source", "permissions": ["IsAuthenticated"]"#,
                "null",
                Access::Authenticated,
            ),
            (r#""from": "source", "permissions": ["UserPermission"]"#, "[]", Access::NotExposed),
            (r#""from": "source", "permissions": ["A", "B"]"#, "null", Access::NotExposed),
            (
                r#""from": "source", "authenticators": ["Session"]"#,
                r#"["org:read"]"#,
                Access::NotExposed,
            ),
            (
                r#""from": "source", "authenticators": [], "permissions": []"#,
                "null",
                Access::NotExposed,
            ),
            (
                r#""from": "source", "authenticators": ["UserAuthToken"]"#,
                r#"["org:read"]"#,
                scopes(),
            ),
        ];
        for (about, asks, wanted) in rows {
            let line = format!(r#"{{"path": "/a/", "methods": {{"GET": {asks}}}, {about}}}"#);
            let route: Route = serde_json::from_str(&line).unwrap();
            assert_eq!(Requirement::of(&route, route.methods.get("GET")).access, wanted, "{line}");
        }
    }
}
