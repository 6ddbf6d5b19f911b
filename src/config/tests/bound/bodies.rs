//! Bodies that name projects.

use crate::policy::bound::{BodyNames, Mentions};

/// What names another project, or one that is not its own alone.
pub(super) fn foreign_bodies() -> Vec<BodyNames> {
    let names = |projects: &[&str], version: Option<&str>, mentioned: &[&str]| {
        let mut mentions = Mentions::default();
        for mention in mentioned {
            match mention.split_once('/') {
                Some((host, number)) => mentions.issue(host, number),
                None => mentions.project(mention),
            }
        }
        let projects = projects.iter().map(ToString::to_string).collect();
        BodyNames { projects, version: version.map(str::to_owned), mentions }
    };
    vec![
        names(&["app"], None, &[]),
        names(&["43"], None, &[]),
        names(&["web", "app"], None, &[]),
        names(&["former"], None, &[]),
        names(&["nothing"], None, &[]),
        names(&["web"], None, &["app"]),
        names(&["web"], None, &["sentry.example.com/8"]),
        names(&["web"], None, &["a.sentry.example.com/8"]),
        names(&["web"], None, &["sentry.example.com/\u{668}"]),
    ]
}

/// A request, its body, and whether it goes through.
pub(super) const BODIES: &[(&str, &str, bool)] = &[
    ("POST /api/0/organizations/acme/releases/", r#"{"version":"new@1","projects":["web"]}"#, true),
    (
        "POST /api/0/organizations/acme/releases/",
        r#"{"version":"new@1","projects":["42",42]}"#,
        true,
    ),
    (
        "POST /api/0/organizations/acme/releases/",
        r#"{"version":"new@1","projects":["app"]}"#,
        false,
    ),
    (
        "POST /api/0/organizations/acme/releases/",
        r#"{"version":"new@1","projects":["web","app"]}"#,
        false,
    ),
    ("POST /api/0/organizations/acme/releases/", r#"{"version":"new@1","projects":[]}"#, false),
    ("POST /api/0/organizations/acme/releases/", r#"{"version":"new@1"}"#, false),
    ("POST /api/0/organizations/acme/releases/", r#"{"version":"web@1","projects":["web"]}"#, true),
    (
        "POST /api/0/organizations/acme/releases/",
        r#"{"version":"app@1","projects":["web"]}"#,
        false,
    ),
    (
        "POST /api/0/organizations/acme/releases/",
        r#"{"version":"shared@1","projects":["web"]}"#,
        false,
    ),
    (
        "POST /api/0/organizations/acme/releases/",
        r#"{"version":"new@1","projects":["web"],"commits":[{"id":"1","message":"Fixes WEB-7"}]}"#,
        true,
    ),
    (
        "POST /api/0/organizations/acme/releases/",
        r#"{"version":"new@1","projects":["web"],"commits":[{"id":"1","message":"Fixes APP-8"}]}"#,
        false,
    ),
    (
        "POST /api/0/organizations/acme/releases/",
        r#"{"version":"new@1","projects":["web"],"commits":[{"id":"1","message":"Fix a re-render"}]}"#,
        true,
    ),
    (
        "PUT /api/0/organizations/acme/releases/web%401/",
        r#"{"dateReleased":"2026-11-24T03:03:07Z"}"#,
        true,
    ),
    ("PUT /api/0/organizations/acme/releases/web%401/", r#"{"projects":["app"]}"#, false),
    (
        "PUT /api/0/organizations/acme/releases/web%401/",
        r#"{"commits":[{"message":"closes APP-8"}]}"#,
        false,
    ),
    ("POST /api/0/organizations/acme/releases/web%401/deploys/", r#"{"environment":"prod"}"#, true),
    (
        "POST /api/0/organizations/acme/releases/web%401/deploys/",
        r#"{"environment":"prod","projects":["app"]}"#,
        false,
    ),
    ("POST /api/0/projects/acme/web/releases/", r#"{"version":"new@1","projects":["web"]}"#, true),
    ("POST /api/0/projects/acme/web/releases/", r#"{"version":"app@1"}"#, false),
    (
        "POST /api/0/organizations/acme/artifactbundle/assemble/",
        r#"{"checksum":"c","chunks":["c"],"projects":["web"],"version":"1"}"#,
        true,
    ),
    (
        "POST /api/0/organizations/acme/artifactbundle/assemble/",
        r#"{"checksum":"c","chunks":["c"],"projects":["app"]}"#,
        false,
    ),
    (
        "POST /api/0/organizations/acme/artifactbundle/assemble/",
        r#"{"checksum":"c","chunks":["c"]}"#,
        false,
    ),
    ("POST /api/0/organizations/acme/monitors/", r#"{"project":"web","name":"n"}"#, true),
    ("POST /api/0/organizations/acme/monitors/", r#"{"project":"app","name":"n"}"#, false),
    ("POST /api/0/organizations/acme/monitors/", r#"{"name":"n"}"#, false),
    (
        "POST /api/0/organizations/acme/releases/",
        r#"{"projects":["web"],"version":"new","commits":[{"message":"Fixes -APP-1"}]}"#,
        false,
    ),
    (
        "POST /api/0/organizations/acme/releases/",
        r#"{"projects":["web"],"version":"new","commits":[{"message":"Fixes https://sentry.example.com/issues/8"}]}"#,
        false,
    ),
    (
        "POST /api/0/organizations/acme/releases/",
        r#"{"projects":["web"],"version":"new","commits":[{"message":"Fixes https://sentry.example.com/issues/7, https://git.example/issues/8"}]}"#,
        true,
    ),
];
