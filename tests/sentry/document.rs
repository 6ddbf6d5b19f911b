//! The rules against Sentry's own OpenAPI document: all of its routes, with its scopes, but for those
//! where the source is known to say otherwise.

use std::collections::BTreeMap;

use portcullis::config::{Config, SentryVersion};
use portcullis::routes::RouteSet;
use portcullis::routes::diff::Diff;
use portcullis::routes::import::{Import, Wanted};
use portcullis::routes::openapi::Document;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Operation {
    method: String,
    path: String,
    security: Value,
}

/// Pages that were written by hand and name one scope, where the permission's map takes more; and
/// one that needs no credential.
const BY_HAND: &[&str] = &[
    "GET /api/0/organizations/{organization_id_or_slug}/releases/{version}/commitfiles/",
    "GET /api/0/organizations/{organization_id_or_slug}/sentry-app-installations/",
    "GET /api/0/projects/{organization_id_or_slug}/{project_id_or_slug}/hooks/",
    "POST /api/0/projects/{organization_id_or_slug}/{project_id_or_slug}/hooks/",
    "GET /api/0/projects/{organization_id_or_slug}/{project_id_or_slug}/hooks/{hook_id}/",
    "PUT /api/0/projects/{organization_id_or_slug}/{project_id_or_slug}/hooks/{hook_id}/",
    "GET /api/0/projects/{organization_id_or_slug}/{project_id_or_slug}/issues/",
    "PUT /api/0/projects/{organization_id_or_slug}/{project_id_or_slug}/issues/",
    "GET /api/0/projects/{organization_id_or_slug}/{project_id_or_slug}/tags/{key}/values/",
    "GET /api/0/projects/{organization_id_or_slug}/{project_id_or_slug}/user-feedback/",
    "POST /api/0/projects/{organization_id_or_slug}/{project_id_or_slug}/user-feedback/",
    "GET /api/0/seer/models/",
    "POST /api/0/sentry-app-installations/{uuid}/external-issues/",
];

fn document() -> Document {
    let mut paths: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
    for Operation { method, path, security } in super::lines("document.jsonl") {
        let operation = json!({ "security": security });
        paths.entry(path).or_default().insert(method.to_lowercase(), operation);
    }
    Document::parse(&json!({ "openapi": "3.0.3", "paths": paths }).to_string()).unwrap()
}

#[test]
fn the_newest_rules_are_the_document() {
    let document = document();
    assert!(document.unread.is_empty(), "{:?}", document.unread);
    assert!(document.set.routes.len() > 200, "{}", document.set.routes.len());
    let rules = Config::sentry_rules(SentryVersion::NEWEST).unwrap();
    let diff = Diff::between(&RouteSet::of_rules(&rules), &document.set);
    assert!(diff.added.is_empty(), "{diff}");
    let lines = |change: &portcullis::routes::diff::Change| {
        let path = change.path.clone();
        change.methods.iter().map(move |method| format!("{method} {path}")).collect::<Vec<_>>()
    };
    let changed: Vec<_> = diff.changed.iter().flat_map(lines).collect();
    assert_eq!(changed, BY_HAND, "{diff}");
    // Where they differ, the document is the narrower one.
    assert!(diff.changed.iter().all(|change| change.more.is_empty()), "{diff}");
}

#[test]
fn what_came_since_is_made_into_rules() {
    let (document, old) = (document(), Config::sentry_rules(SentryVersion::OLDEST).unwrap());
    let added = Diff::between(&RouteSet::of_rules(&old), &document.set).added;
    let wanted = Wanted { changed: false, open: false, exchange: false };
    let import = Import::new(&document, &old, wanted);
    let text = import.to_toml().unwrap();
    assert!(added.len() > 20, "{}", added.len());
    for change in &added {
        assert!(text.contains(&format!("path = \"{}\"", change.path)), "{}", change.path);
    }
    // Sentry reads the id of an artifact as digits, which a document does not say.
    assert_eq!(import.conflicts.len(), 2, "{:?}", import.conflicts);
    assert!(import.conflicts.iter().all(|pair| pair.second.contains("{artifact_id}")));
    let newest = Config::sentry_rules(SentryVersion::NEWEST).unwrap();
    assert!(Import::new(&document, &newest, wanted).is_empty());
}
