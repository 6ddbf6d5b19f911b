//! What a token may not do: the client prints which scope is missing, and Sentry hears nothing of it.

use serde_json::json;

use crate::client::{Client, Outcome};
use crate::mcp::session;
use crate::stage::Stage;
use crate::uploads::{library, script};

const READ: &str = "org:read project:read event:read";
const COMMIT: &str = "acme/web@deadbeefdeadbeefdeadbeefdeadbeefdeadbeef";

const ORGANIZATION: &str = "/api/0/organizations/{organization_id_or_slug}";
const PROJECT: &str = "/api/0/projects/{organization_id_or_slug}/{project_id_or_slug}";

/// Of these, one is needed for what makes releases and uploads files.
const RELEASE: &str = "`org:ci`, `project:admin`, `project:releases`, `project:write`";
const RESOLVE: &str = "`event:admin`, `event:write`";
const LIST: &str = "`org:admin`, `org:read`, `org:write`";

/// That the client failed and says why: the route, and the scopes of which it needs one.
fn is_told(outcome: Outcome, request: &str, needed: &str) {
    let printed = outcome.failed();
    let told = format!("the token lacks a scope for {request}: it needs one of {needed}; it has");
    assert!(printed.contains(&told), "{told}\nis not in\n{printed}");
    assert!(printed.contains("403"), "{printed}");
}

/// That Sentry was asked for nothing but what the token may see.
fn only_read(stage: &Stage, what: &str) {
    let lines = stage.lines();
    assert!(lines.iter().all(|line| line.starts_with("GET ")), "{what}: {lines:#?}");
    let state = stage.sentry.state.lock().unwrap();
    assert!(state.chunks.is_empty() && state.files.is_empty() && state.statuses.is_empty());
}

#[test]
fn sentry_cli_says_which_scope_it_lacks() {
    for client in [Client::SentryCli, Client::SentryCli2] {
        let stage = Stage::start();
        let home = stage.home_with(&stage.token(READ));
        script(&home.work().join("dist"));
        library(&home);
        let (releases, deploys): (_, &[&str]) = match client {
            Client::SentryCli2 => (PROJECT, &["releases", "deploys", "1.0.0", "new"]),
            _ => (ORGANIZATION, &["deploys", "new", "-r", "1.0.0"]),
        };
        let deploys = [deploys, &["-e", "prod"]].concat();
        let sources = ["sourcemaps", "upload", "--release", "1.0.0", "dist"];
        let create = format!("POST {releases}/releases/");
        let rows: &[(&[&str], String, &str)] = &[
            (&["releases", "new", "1.0.0"], create.clone(), RELEASE),
            (&["releases", "set-commits", "1.0.0", "--commit", COMMIT], create, RELEASE),
            (
                &["releases", "finalize", "1.0.0"],
                format!("PUT {releases}/releases/{{version}}/"),
                RELEASE,
            ),
            (&deploys, format!("POST {ORGANIZATION}/releases/{{version}}/deploys/"), RELEASE),
            (&sources, format!("POST {ORGANIZATION}/artifactbundle/assemble/"), RELEASE),
            (
                &["debug-files", "upload", "libboom.so"],
                format!("POST {PROJECT}/files/difs/assemble/"),
                RELEASE,
            ),
            (&["issues", "resolve", "--id", "100"], format!("PUT {PROJECT}/issues/"), RESOLVE),
        ];
        for (words, request, needed) in rows {
            is_told(home.run(client, words), request, needed);
            only_read(&stage, &words.join(" "));
        }
    }
}

#[test]
fn a_build_that_may_not_read_repositories_says_so() {
    for client in [Client::SentryCli, Client::SentryCli2] {
        let stage = Stage::start();
        let home = stage.home_with(&stage.token("project:releases"));
        let words = ["releases", "set-commits", "1.0.0", "--commit", COMMIT];
        let needed = "`org:admin`, `org:ci`, `org:integrations`, `org:read`, `org:write`";
        is_told(home.run(client, &words), &format!("GET {ORGANIZATION}/repos/"), needed);
        assert_eq!(stage.lines(), [""; 0]);
    }
}

#[test]
fn the_npm_package_says_which_scope_it_lacks() {
    let stage = Stage::start();
    let home = stage.home_with(&stage.token(READ));
    script(&home.work().join("dist"));
    let rows: &[(&[&str], String, &str)] = &[
        (
            &["release", "create", "acme/1.0.0", "--project", "web"],
            format!("POST {ORGANIZATION}/releases/"),
            RELEASE,
        ),
        (
            &["sourcemap", "upload", "dist", "--release", "1.0.0"],
            format!("POST {ORGANIZATION}/artifactbundle/assemble/"),
            RELEASE,
        ),
        (
            &["issue", "resolve", "WEB-1"],
            format!("PUT {ORGANIZATION}/issues/{{issue_id}}/"),
            RESOLVE,
        ),
    ];
    for (words, request, needed) in rows {
        is_told(home.run(Client::Sentry, words), request, needed);
        only_read(&stage, &words.join(" "));
    }
    let home = stage.home_with(&stage.token("event:read"));
    let request = "GET /api/0/organizations/";
    is_told(home.run(Client::Sentry, &["org", "list"]), request, LIST);
    assert_eq!(stage.lines(), [""; 0]);
}

#[test]
fn an_agent_that_may_only_read_is_told_so() {
    let stage = Stage::start();
    let resolve = json!({ "organizationSlug": "acme", "issueId": "WEB-1", "status": "resolved" });
    let calls = [
        ("update_issue", resolve),
        ("find_organizations", json!({})),
        // Asks for the account of a person, which a token of the gateway is not.
        ("whoami", json!({})),
    ];
    let answers = session(&stage, &stage.token("event:read"), &calls);
    assert!(answers.iter().all(|(error, _)| *error), "{answers:#?}");
    let resolve = format!("PUT {ORGANIZATION}/issues/{{issue_id}}/");
    for (at, request, needed) in [(0, &*resolve, RESOLVE), (1, "GET /api/0/organizations/", LIST)] {
        let text = &answers[at].1;
        let told =
            format!("the token lacks a scope for {request}: it needs one of {needed}; it has");
        assert!(text.contains("403") && text.contains(&told), "{text}");
    }
    assert_eq!(stage.lines(), ["GET /api/0/organizations/acme/issues/WEB-1/"]);
}

#[test]
fn qsentry_is_refused_a_list() {
    let stage = Stage::start();
    let home = stage
        .home()
        .set("QSENTRY_AUTH_TOKEN", &stage.token("event:read"))
        .set("QSENTRY_HOST_URL", &stage.url)
        .set("QSENTRY_ORG_SLUG", "acme");
    // It prints the status, and not the body.
    let printed = home.run(Client::Qsentry, &["get", "projects"]).failed();
    assert!(printed.contains("403"), "{printed}");
    assert_eq!(stage.lines(), [""; 0]);
}

#[test]
fn nobody_is_told_apart_from_somebody_who_may_not() {
    let stage = Stage::start();
    // The store knows nothing of it.
    let home = stage.home_with(&format!("sntryu_{}", "0".repeat(64)));
    for (client, words) in [
        (Client::SentryCli, ["organizations", "list"]),
        (Client::SentryCli2, ["projects", "list"]),
        (Client::Sentry, ["org", "list"]),
    ] {
        let printed = home.run(client, &words).failed();
        assert!(printed.contains("401") && !printed.contains("scope for"), "{printed}");
        assert_eq!(stage.lines(), [""; 0]);
    }
}
