//! What is made of records: tables of them, and what is said of each.

mod replay;
mod suggest;

use serde_json::json;

use super::replay::Replay;
use super::*;
use crate::clock::Timestamp;
use crate::policy::Policy;
use crate::policy::identity::{IdentityKind, KindSet};
use crate::policy::method::Method;
use crate::policy::naming::{Naming, Place};
use crate::policy::rules::{Access, Rule, RuleTable};
use crate::policy::site::{BaseUrl, Site};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const ORG: &str = "/api/0/organizations/{organization_id_or_slug}";
const EVENTS: &str = "/api/0/organizations/{organization_id_or_slug}/events/";
const ISSUES: &str = "/api/0/organizations/{organization_id_or_slug}/issues/";

fn scopes(names: &str) -> ScopeSet {
    names.split_whitespace().map(|name| name.parse::<Scope>().unwrap()).collect()
}

fn rule(methods: &[Method], template: &str, access: Access) -> Rule {
    Rule::new(methods.iter().copied().collect(), template.parse().unwrap(), access)
}

fn any(names: &str) -> Access {
    Access::AnyOf(scopes(names))
}

fn rules() -> Vec<Rule> {
    use Method::{Delete, Get, Post, Put};
    let project = "/api/0/projects/{organization_id_or_slug}/{project_id_or_slug}/";
    let kinds = KindSet::DEFAULT.with(IdentityKind::ProjectKey);
    let queried = Naming::places([Place::Query]);
    vec![
        rule(&[Get], "/api/0/", Access::Public),
        rule(&[Get], "/api/0/organizations/", any("org:read org:write org:admin")),
        rule(&[Get], ISSUES, any("event:read event:write event:admin")),
        rule(&[Put, Delete], ISSUES, any("event:write event:admin")),
        rule(&[Get], project, any("project:read project:write project:admin")),
        rule(&[Post], &format!("{ORG}/saved/"), any("event:read")),
        Rule { projects: queried.adding(), ..rule(&[Get], EVENTS, any("event:read")) },
        Rule { projects: queried, ..rule(&[Put], EVENTS, any("event:write")) },
        rule(&[Get], "/api/0/whoami/", Access::Authenticated),
        Rule { exchange: false, ..rule(&[Get], &format!("{ORG}/keys/"), any("org:read")) },
        rule(&[Get], &format!("{ORG}/share/{{share_id}}/"), any("org:read")),
        rule(&[Get], &format!("{ORG}/closed/"), Access::NotExposed),
        Rule {
            credentials: kinds,
            ..rule(&[Post], &format!("{project}feedback/"), any("project:write"))
        },
    ]
}

fn policy(rules: Vec<Rule>) -> Policy {
    let site = Site::new(BaseUrl::parse("https://gw.example/prefix").unwrap(), Vec::new());
    Policy::new(RuleTable::build(rules).unwrap(), site)
}

/// A record of a token of the gateway's that holds `held`, with more fields.
fn entry(line: &str, route: &str, held: &str, more: serde_json::Value) -> Entry {
    let (method, path) = line.split_once(' ').unwrap();
    let held: Vec<_> = held.split_whitespace().collect();
    let mut record = json!({
        "msg": "audit", "kind": "decision", "ts": "2026-11-01T00:00:00.000Z", "host": "gw.example",
        "method": method, "path": format!("/prefix{path}"), "route": route, "scheme": "bearer",
        "credential_kind": "user_token", "principal": "tok_1", "token_fp": "0badcafe",
        "issuer": "gateway", "held": held, "decision": "allow",
    });
    for (key, value) in more.as_object().unwrap() {
        let fields = record.as_object_mut().unwrap();
        if value.is_null() {
            fields.remove(key);
        } else {
            fields.insert(key.clone(), value.clone());
        }
    }
    serde_json::from_value(record).unwrap()
}

fn nobody() -> serde_json::Value {
    json!({"scheme": null, "credential_kind": null, "principal": null, "token_fp": null, "issuer": null, "held": null})
}

fn with(mut some: serde_json::Value, more: serde_json::Value) -> serde_json::Value {
    for (key, value) in more.as_object().unwrap() {
        some.as_object_mut().unwrap().insert(key.clone(), value.clone());
    }
    some
}

/// What is said of one record: `same`, the flip, or the gap.
fn replayed(policy: &Policy, entry: &Entry) -> String {
    let mut replay = Replay::new(policy, NOW);
    replay.add(entry);
    let text = replay.table(9).to_string();
    if replay.decided() == 0 {
        return text.lines().nth(1).unwrap().split(": ").nth(1).unwrap().to_owned();
    }
    if replay.flipped() == 0 {
        return if text.contains("another reason") { "otherwise" } else { "same" }.to_owned();
    }
    let line = text.lines().next().unwrap().trim().strip_prefix("1  ").unwrap();
    line.split("  ").next().unwrap().to_owned()
}
