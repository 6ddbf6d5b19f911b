//! The names of other projects, in every place.

use crate::policy::bound::{BodyNames, Mentions};

/// Organisation, project, release, issue: its own, and with each of them another's.
pub(super) const NAMES: &[(&str, &str, &str, &str)] = &[
    ("acme", "web", "web@1", "7"),
    ("1", "42", "web@1", "WEB-7"),
    ("acme", "app", "web@1", "7"),
    ("acme", "43", "web@1", "7"),
    ("1", "app", "web@1", "7"),
    ("globex", "web", "web@1", "7"),
    ("globex", "42", "web@1", "7"),
    ("2", "web", "web@1", "7"),
    ("2", "44", "web@1", "7"),
    ("acme", "44", "web@1", "7"),
    ("acme", "former", "web@1", "7"),
    ("acme", "web", "app@1", "8"),
    ("acme", "web", "shared@1", "APP-8"),
];

/// What comes behind the path.
pub(super) const QUERIES: &[&str] = &[
    "",
    "?cursor=",
    "?project=42",
    "?project=43",
    "?project=42&project=43",
    "?project=-1",
    "?pro%6Aect=43",
    "?projectSlug=app",
    "?projectSlug=$all",
    "?project_id=43",
    "?query=project:app",
    "?query=id:42",
    "?query=id:43",
    "?query=id:42+id:43",
    "?query=id:42&query=",
    "?query=web",
];

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

/// A request, its `Content-Type`, and the code or the target that goes on: `=` is the same, `body` that the
/// body is looked at first.
pub(super) const ROWS: &[(&str, Option<&str>, &str)] = &[
    // By the path.
    ("GET /api/0/projects/acme/web/issues/", None, "="),
    ("GET /api/0/projects/1/42/issues/", None, "="),
    ("GET /api/0/projects/acme/42/issues/", None, "="),
    ("GET /api/0/projects/acme/app/issues/", None, "binding"),
    ("GET /api/0/projects/acme/43/issues/", None, "binding"),
    ("GET /api/0/projects/acme/042/issues/", None, "binding"),
    ("GET /api/0/projects/acme/%EF%BC%94%EF%BC%92/issues/", None, "binding"),
    ("GET /api/0/projects/acme/WEB/issues/", None, "binding"),
    ("GET /api/0/projects/acme/former/issues/", None, "binding"),
    ("GET /api/0/projects/globex/web/issues/", None, "wrong_organization"),
    ("GET /api/0/projects/globex/42/issues/", None, "wrong_organization"),
    ("GET /api/0/projects/nowhere/web/issues/", None, "wrong_organization"),
    ("POST /api/0/projects/acme/web/transfer/", Some("application/json"), "binding"),
    // By the query.
    (
        "GET /api/0/organizations/acme/issues/",
        None,
        "/api/0/organizations/acme/issues/?projectEQUALS42",
    ),
    (
        "GET /api/0/organizations/acme/issues/?",
        None,
        "/api/0/organizations/acme/issues/?projectEQUALS42",
    ),
    (
        "GET /api/0/organizations/acme/issues/?query=is:unresolved",
        None,
        "/api/0/organizations/acme/issues/?queryEQUALSis:unresolved&projectEQUALS42",
    ),
    (
        "GET /api/0/organizations/acme/issues/?project=42",
        None,
        "/api/0/organizations/acme/issues/?projectEQUALS42",
    ),
    (
        "GET /api/0/organizations/acme/issues/?project=%34%32",
        None,
        "/api/0/organizations/acme/issues/?projectEQUALS%34%32",
    ),
    ("GET /api/0/organizations/acme/issues/?project=43", None, "binding"),
    ("GET /api/0/organizations/acme/issues/?project=42&project=43", None, "binding"),
    ("GET /api/0/organizations/acme/issues/?project=42&project=", None, "binding"),
    ("GET /api/0/organizations/acme/issues/?project=-1", None, "binding"),
    ("GET /api/0/organizations/acme/issues/?project=042", None, "binding"),
    ("GET /api/0/organizations/acme/issues/?project=+42", None, "binding"),
    ("GET /api/0/organizations/acme/issues/?project=4_2", None, "binding"),
    ("GET /api/0/organizations/acme/issues/?project=%EF%BC%94%EF%BC%92", None, "binding"),
    ("GET /api/0/organizations/acme/issues/?project=web", None, "binding"),
    ("GET /api/0/organizations/acme/issues/?project=42,43", None, "binding"),
    ("GET /api/0/organizations/acme/issues/?project=$all", None, "binding"),
    ("GET /api/0/organizations/acme/issues/?project[]=42", None, "binding"),
    ("GET /api/0/organizations/acme/issues/?project%5B%5D=42", None, "binding"),
    ("GET /api/0/organizations/acme/issues/?pro%6Aect=43", None, "binding"),
    ("GET /api/0/organizations/acme/issues/?project=42;project=43", None, "binding"),
    ("GET /api/0/organizations/acme/issues/?x=1;project=43", None, "binding"),
    ("GET /api/0/organizations/acme/issues/?project=42&projectSlug=app", None, "binding"),
    ("GET /api/0/organizations/acme/issues/?project=42&projectSlug=$all", None, "binding"),
    ("GET /api/0/organizations/acme/issues/?project=42&project_id=43", None, "binding"),
    ("GET /api/0/organizations/acme/issues/?project=42&query=project:app", None, "binding"),
    (
        "GET /api/0/organizations/acme/issues/?project=42&query=project:web",
        None,
        "/api/0/organizations/acme/issues/?projectEQUALS42&queryEQUALSproject:web",
    ),
    ("GET /api/0/organizations/acme/issues/?project=42&query=project:[web,app]", None, "binding"),
    ("GET /api/0/organizations/acme/issues/?project=42&query=project:[web", None, "binding"),
    ("GET /api/0/organizations/acme/issues/?project=42&query=project.id:43", None, "binding"),
    (
        "GET /api/0/organizations/acme/issues/?project=42&query=project.name:%22app%22",
        None,
        "binding",
    ),
    ("GET /api/0/organizations/acme/issues/?project=42&query=x+OR+PROJECT:app", None, "binding"),
    ("GET /api/0/organizations/acme/issues/?project=42&query=project:w*", None, "binding"),
    (
        "GET /api/0/organizations/acme/issues/?project=42&shortIdLookup=1&query=APP-8",
        None,
        "binding",
    ),
    (
        "GET /api/0/organizations/acme/issues/?project=42&shortIdLookup=0&query=x",
        None,
        "/api/0/organizations/acme/issues/?projectEQUALS42&shortIdLookupEQUALS0&queryEQUALSx",
    ),
    (
        "GET /api/0/organizations/acme/issues/?project=42&query=0123456789abcdef0123456789abcdef",
        None,
        "binding",
    ),
    (
        "GET /api/0/organizations/acme/issues/?project=42&query=%7B01234567-89AB-cdef-0123-456789abcdef%7D",
        None,
        "binding",
    ),
    // Python takes more for a blank than Rust does.
    (
        "GET /api/0/organizations/acme/issues/?project=42&query=%1c0123456789abcdef0123456789abcdef",
        None,
        "binding",
    ),
    (
        "GET /api/0/organizations/acme/issues/?project=42&query=%7B%0A123456789abcdef0123456789abcdef%7D",
        None,
        "binding",
    ),
    ("GET /api/0/organizations/acme/events/?project=42&dashboardWidgetId=9", None, "binding"),
    ("GET /api/0/organizations/globex/issues/?project=42", None, "wrong_organization"),
    ("PUT /api/0/organizations/acme/issues/?id=7", Some("application/json"), "binding"),
    (
        "PUT /api/0/organizations/acme/issues/?project=42&id=7",
        Some("application/json"),
        "/api/0/organizations/acme/issues/?projectEQUALS42&idEQUALS7",
    ),
    (
        "PUT /api/0/organizations/acme/issues/?project=42&id=APP-8",
        Some("application/json"),
        "binding",
    ),
    ("PUT /api/0/projects/acme/web/issues/?id=APP-8", Some("application/json"), "binding"),
    (
        "PUT /api/0/projects/acme/web/issues/?id=7",
        Some("application/json"),
        "/api/0/projects/acme/web/issues/?idEQUALS7",
    ),
    ("GET /api/0/projects/acme/web/artifact-lookup/?download=release_file/7", None, "binding"),
    // The charset of a body is that of the query.
    (
        "GET /api/0/organizations/acme/issues/?project=42",
        Some("text/plain; charset=utf-7"),
        "binding",
    ),
    ("GET /api/0/organizations/acme/issues/", Some("application/json;charset=cp037"), "binding"),
    (
        "GET /api/0/organizations/acme/issues/",
        Some("application/json; Charset=\"UTF-8\""),
        "/api/0/organizations/acme/issues/?projectEQUALS42",
    ),
    (
        "GET /api/0/organizations/acme/issues/?project=42",
        Some("text/plain; a=\"; charset=utf-8\"; Xcharset=utf-7"),
        "binding",
    ),
    (
        "GET /api/0/organizations/acme/issues/?project=42",
        Some("text/plain; charset*=utf-8''utf-7"),
        "binding",
    ),
    // By the search of a list.
    (
        "GET /api/0/organizations/acme/projects/",
        None,
        "/api/0/organizations/acme/projects/?queryEQUALSid:42",
    ),
    (
        "GET /api/0/organizations/1/projects/?per_page=25",
        None,
        "/api/0/organizations/1/projects/?per_pageEQUALS25&queryEQUALSid:42",
    ),
    (
        "GET /api/0/organizations/acme/projects/?all_projects=1&collapse=organization",
        None,
        "/api/0/organizations/acme/projects/?all_projectsEQUALS1&collapseEQUALSorganization&queryEQUALSid:42",
    ),
    // As the `Link` of the answer has it.
    (
        "GET /api/0/organizations/acme/projects/?query=id%3A42&cursor=0:100:0",
        None,
        "/api/0/organizations/acme/projects/?queryEQUALSid%3A42&cursorEQUALS0:100:0",
    ),
    (
        "GET /api/0/organizations/acme/projects/?q%75ery=id:42",
        None,
        "/api/0/organizations/acme/projects/?q%75eryEQUALSid:42",
    ),
    ("GET /api/0/organizations/acme/projects/?query=", None, "binding"),
    ("GET /api/0/organizations/acme/projects/?query", None, "binding"),
    ("GET /api/0/organizations/acme/projects/?query=web", None, "binding"),
    ("GET /api/0/organizations/acme/projects/?query=id:43", None, "binding"),
    ("GET /api/0/organizations/acme/projects/?query=id:042", None, "binding"),
    ("GET /api/0/organizations/acme/projects/?query=id:web", None, "binding"),
    ("GET /api/0/organizations/acme/projects/?query=id:%EF%BC%94%EF%BC%92", None, "binding"),
    ("GET /api/0/organizations/acme/projects/?query=id:42+id:43", None, "binding"),
    ("GET /api/0/organizations/acme/projects/?query=id:42%09id:43", None, "binding"),
    ("GET /api/0/organizations/acme/projects/?query=id:42,43", None, "binding"),
    ("GET /api/0/organizations/acme/projects/?query=id:42+OR+slug:app", None, "binding"),
    ("GET /api/0/organizations/acme/projects/?query=%22id:42%22", None, "binding"),
    ("GET /api/0/organizations/acme/projects/?query=x%22id:42", None, "binding"),
    ("GET /api/0/organizations/acme/projects/?query=slug:web", None, "binding"),
    ("GET /api/0/organizations/acme/projects/?query=!team:x", None, "binding"),
    ("GET /api/0/organizations/acme/projects/?query=id:42&query=", None, "binding"),
    ("GET /api/0/organizations/acme/projects/?query=id:42&query=id:43", None, "binding"),
    ("GET /api/0/organizations/acme/projects/?query=id:42&query=id:42", None, "binding"),
    ("GET /api/0/organizations/acme/projects/?query=id:42&q%75ery=web", None, "binding"),
    ("GET /api/0/organizations/acme/projects/?query=id:42;query=web", None, "binding"),
    ("GET /api/0/organizations/acme/projects/?Query=id:42", None, "binding"),
    ("GET /api/0/organizations/acme/projects/?query[]=id:42", None, "binding"),
    ("GET /api/0/organizations/acme/projects/?project=42&query=web", None, "binding"),
    ("GET /api/0/organizations/acme/projects/?project=43", None, "binding"),
    ("GET /api/0/organizations/globex/projects/", None, "wrong_organization"),
    ("POST /api/0/organizations/acme/projects/?query=id:42", Some("application/json"), "binding"),
    // By what is asked for.
    ("GET /api/0/organizations/acme/releases/web%401/", None, "="),
    ("GET /api/0/organizations/acme/releases/app%401/", None, "binding"),
    ("GET /api/0/organizations/acme/releases/shared%401/", None, "binding"),
    ("GET /api/0/organizations/acme/releases/unknown/", None, "binding"),
    ("GET /api/0/organizations/acme/issues/7/", None, "="),
    ("GET /api/0/organizations/acme/issues/WEB-7/", None, "="),
    ("GET /api/0/organizations/acme/issues/8/", None, "binding"),
    ("GET /api/0/organizations/acme/issues/APP-8/", None, "binding"),
    ("GET /api/0/organizations/acme/shortids/WEB-7/", None, "="),
    ("GET /api/0/organizations/acme/shortids/APP-8/", None, "binding"),
    ("GET /api/0/issues/7/", None, "binding"),
    ("GET /api/0/groups/7/", None, "binding"),
    // What deletes the files of a release that others may have too, and what sets off alerts of others.
    ("DELETE /api/0/projects/acme/web/files/source-maps/?name=shared%401", None, "binding"),
    ("POST /api/0/organizations/acme/projects/web/detectors/", Some("application/json"), "binding"),
    // By nothing.
    ("GET /api/0/organizations/acme/chunk-upload/", None, "="),
    ("GET /api/0/organizations/globex/chunk-upload/", None, "wrong_organization"),
    ("GET /api/0/organizations/acme/repos/", None, "="),
    ("GET /api/0/organizations/acme/teams/", None, "binding"),
    ("GET /api/0/organizations/acme/teams/?detailed=0", None, "binding"),
    ("GET /api/0/organizations/acme/members/", None, "binding"),
    ("GET /api/0/organizations/", None, "binding"),
    ("GET /api/0/projects/", None, "binding"),
    ("GET /api/0/", None, "="),
    // By the body.
    (
        "POST /api/0/organizations/acme/releases/",
        Some("application/json"),
        "body /api/0/organizations/acme/releases/",
    ),
    (
        "POST /api/0/organizations/acme/releases/",
        Some("application/json; charset=utf-8"),
        "body /api/0/organizations/acme/releases/",
    ),
    (
        "POST /api/0/organizations/acme/releases/",
        Some("application/x-www-form-urlencoded"),
        "binding",
    ),
    (
        "POST /api/0/organizations/acme/releases/",
        Some("multipart/form-data; boundary=x"),
        "binding",
    ),
    (
        "POST /api/0/organizations/acme/releases/",
        Some("application/json; charset=utf-16"),
        "binding",
    ),
    ("POST /api/0/organizations/acme/releases/", None, "binding"),
];

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
