//! The shipped rules against what a real Sentry dispatches each path to: never a weaker rule.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "a test fails by panicking, and its helpers are for every test"
)]

#[path = "../wire/client.rs"]
mod client;
mod clients;
mod database;
mod doctor;
mod document;
mod fleet;
mod gate;
mod gone;
mod load;
mod notify;
mod observe;
mod open;
mod outage;
mod pooler;
mod probes;
#[path = "../wire/process.rs"]
mod process;
mod refusals;
mod revocation;
mod starts;
mod store;
mod tls;
mod tokens;
#[path = "../wire/upstream.rs"]
mod upstream;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use portcullis::config::{Config, Machine, SentryVersion};
use portcullis::policy::Policy;
use portcullis::policy::exposure::Exposure;
use portcullis::policy::method::Method;
use portcullis::policy::path::CanonicalPath;
use portcullis::policy::rules::{Access, Found};
use serde::Deserialize;

/// A path, and the view that Sentry 24.5 dispatches it to.
#[derive(Deserialize)]
struct Dispatched {
    path: String,
    view: Option<String>,
}

/// A view, and of each method the scopes of which one is needed; none where it has no map.
#[derive(Deserialize)]
struct View {
    view: String,
    methods: BTreeMap<String, Option<BTreeSet<String>>>,
    /// In 24.7, where they were others.
    before: Option<BTreeMap<String, Option<BTreeSet<String>>>>,
}

fn lines<T: for<'a> Deserialize<'a>>(name: &str) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sentry").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn shipped(sentry: SentryVersion) -> Policy {
    let config = format!(
        r#"
        public_url = "https://sentry.example.com"
        listen = [{{ address = "127.0.0.1:8080" }}]
        upstream.web = {{ urls = ["http://web:9000"], credential = {{ env = "PATH" }} }}
        store = [{{ kind = "portcullis", url = "sqlite:///tokens.db" }}]
        rules.sentry_version = "{sentry}"
    "#
    );
    Config::parse(Path::new("portcullis.toml"), &config, &Machine).unwrap().policy
}

/// Where Sentry 24.5 has nothing: 404. The rules are of a newer one.
const NOTHING: &str = "CatchallEndpoint";
/// Views that the lists of Sentry's classes don't have: a function that hands on to one of two, and
/// two that 24.7 no longer has.
const UNLISTED: &[&str] = &[
    "dispatcher",
    "OrganizationMetricsDataEndpoint",
    "OrganizationMetricsEstimationStatsEndpoint",
];
/// Where current Sentry's own document takes more than 24.5 did.
const WIDER_SINCE: &[&str] =
    &["GET /api/0/organizations/{organization_id_or_slug}/sentry-app-installations/"];

/// What is weaker than the view asks for, if anything.
fn weaker(access: Access, asked: Option<&Option<BTreeSet<String>>>) -> Option<String> {
    match (access, asked) {
        // Whoever is behind judges.
        (Access::NotExposed | Access::Pass | Access::ProjectKey, _) => None,
        (Access::AnyOf(scopes), Some(Some(asked))) => {
            let more = scopes.iter().map(|scope| scope.as_str()).filter(|s| !asked.contains(*s));
            let more: Vec<_> = more.collect();
            (!more.is_empty()).then(|| format!("takes {} too", more.join(" ")))
        }
        (Access::Public | Access::Authenticated, Some(Some(_))) => Some("asks for none".to_owned()),
        // Its permission has no map; what is public is listed by name with the rules' own tests.
        (Access::AnyOf(_) | Access::Authenticated | Access::Public, Some(None)) => None,
        // Sentry answers 405.
        (Access::AnyOf(_) | Access::Public | Access::Authenticated, None) => None,
    }
}

/// Rules that ask for less than the view behind them, each with a path.
fn weaker_rules(sentry: SentryVersion) -> BTreeSet<String> {
    let rules = shipped(sentry).rules;
    let old = sentry == SentryVersion::OLDEST;
    let views: BTreeMap<String, View> =
        lines::<View>("views.jsonl").into_iter().map(|view| (view.view.clone(), view)).collect();
    let (mut problems, mut met) = (BTreeSet::new(), 0);
    for Dispatched { path, view } in lines::<Dispatched>("dispatch.jsonl") {
        let Ok(parsed) = CanonicalPath::parse(path.as_bytes()) else { continue };
        let methods = [Method::Get, Method::Post, Method::Put, Method::Patch, Method::Delete];
        for method in methods {
            let Found::Rule(id) = rules.find(&parsed, 0, method) else { continue };
            let rule = rules.rule(id);
            if rule.access == Access::NotExposed || rule.exposure != Exposure::Api {
                continue;
            }
            met += 1;
            let view = view.as_deref().unwrap_or("no view");
            let why = match views.get(view) {
                Some(View { before: Some(methods), .. }) if old => {
                    weaker(rule.access, methods.get(method.as_str()))
                }
                Some(known) => weaker(rule.access, known.methods.get(method.as_str())),
                None if view == NOTHING || UNLISTED.contains(&view) => None,
                None => Some("is known to no list".to_owned()),
            };
            let line = format!("{method} {}", rule.template);
            if let Some(why) = why.filter(|_| !WIDER_SINCE.contains(&&*line)) {
                problems.insert(format!("{line} ({view}) {why}: {path}"));
            }
        }
    }
    assert!(met > 1_800, "{met}");
    problems
}

#[test]
fn no_rule_is_weaker_than_the_view_behind_it() {
    for sentry in [SentryVersion::OLDEST, SentryVersion::NEWEST] {
        let list: Vec<_> = weaker_rules(sentry).into_iter().collect();
        assert!(list.is_empty(), "{} for {sentry}:\n{}", list.len(), list.join("\n"));
    }
}
