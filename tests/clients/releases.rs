//! A release as a build makes it: created, given its commits, finished and deployed.

use serde_json::{Value, json};

use crate::client::Client;
use crate::http::Seen;
use crate::stage::Stage;

/// The smallest scope that does it all.
const SCOPE: &str = "org:ci";
const COMMIT: &str = "deadbeefdeadbeefdeadbeefdeadbeefdeadbeef";

/// The requests, each with its body.
fn calls(seen: &[Seen]) -> Vec<(String, Value)> {
    let body = |seen: &Seen| if seen.body.is_empty() { Value::Null } else { seen.json() };
    seen.iter().map(|seen| (seen.line(), body(seen))).collect()
}

/// Lists of five, two to a page.
fn three_pages(path: &str) -> Vec<(String, Value)> {
    vec![(format!("GET {path}"), Value::Null); 3]
}

/// That a date was sent, whatever it is.
fn dated(mut body: Value, name: &str) -> Value {
    assert!(body[name].as_str().is_some_and(|date| date.starts_with("20")), "{name}: {body}");
    body[name] = "a date".into();
    body
}

fn refs() -> Value {
    json!({ "refs": [{ "repository": "acme/web", "commit": COMMIT, "previousCommit": null }] })
}

fn table_of_commits(printed: &str) {
    for word in ["Repository", "acme/web", "deadbeefdead"] {
        assert!(printed.contains(word), "{printed}");
    }
}

#[test]
fn sentry_cli_makes_a_release() {
    release_by_sentry_cli(
        Client::SentryCli,
        "/api/0/organizations/acme/releases/",
        ["deploys", "new", "-r", "1.0.0"],
    );
}

#[test]
fn sentry_cli_2_makes_a_release() {
    release_by_sentry_cli(
        Client::SentryCli2,
        "/api/0/projects/acme/web/releases/",
        ["releases", "deploys", "1.0.0", "new"],
    );
}

/// `releases` is where this client creates and finishes one.
fn release_by_sentry_cli(client: Client, releases: &str, deploy: [&str; 4]) {
    let stage = Stage::start();
    let home = stage.home_with(&stage.token(SCOPE));
    let organization = "/api/0/organizations/acme";

    let printed = home.run(client, &["releases", "new", "1.0.0"]).fine();
    assert_eq!(printed, "Created release 1.0.0\n");
    let [(line, body)] = calls(&stage.seen()).try_into().unwrap();
    assert_eq!(line, format!("POST {releases}"));
    let wanted = json!({ "version": "1.0.0", "projects": ["web"], "dateStarted": "a date" });
    assert_eq!(dated(body, "dateStarted"), wanted);

    let commit = format!("acme/web@{COMMIT}");
    let printed = home.run(client, &["releases", "set-commits", "1.0.0", "--commit", &commit]);
    table_of_commits(&printed.fine());
    let mut wanted = three_pages(&format!("{organization}/repos/"));
    let created = json!({ "version": "1.0.0", "projects": ["web"] });
    wanted.push((format!("POST {releases}"), created));
    wanted.push((format!("PUT {organization}/releases/1.0.0/"), refs()));
    assert_eq!(calls(&stage.seen()), wanted);

    let printed = home.run(client, &["releases", "finalize", "1.0.0"]).fine();
    assert_eq!(printed, "Finalized release 1.0.0\n");
    let [(line, body)] = calls(&stage.seen()).try_into().unwrap();
    assert_eq!(line, format!("PUT {releases}1.0.0/"));
    let wanted = json!({ "projects": ["web"], "dateReleased": "a date" });
    assert_eq!(dated(body, "dateReleased"), wanted);
    assert!(stage.sentry.state.lock().unwrap().releases["1.0.0"].is_some());

    let words = [deploy.as_slice(), &["-e", "prod"]].concat();
    let printed = home.run(client, &words).fine();
    assert_eq!(printed, "Created new deploy unnamed for 'prod'\n");
    let [(line, body)] = calls(&stage.seen()).try_into().unwrap();
    assert_eq!(line, format!("POST {organization}/releases/1.0.0/deploys/"));
    assert_eq!(body["environment"], "prod");

    let printed = home.run(client, &["releases", "info", "1.0.0"]).fine();
    assert!(printed.contains("1.0.0"), "{printed}");
    let printed = home.run(client, &["releases", "list"]).fine();
    assert!(printed.contains("1.0.0"), "{printed}");
    let wanted =
        [format!("GET {releases}1.0.0/"), "GET /api/0/projects/acme/web/releases/".to_owned()];
    assert_eq!(stage.lines(), wanted);
}

#[test]
fn the_npm_package_makes_a_release() {
    let stage = Stage::start();
    // It asks for the organisation first, to learn its region.
    let home = stage.home_with(&stage.token("org:ci org:read"));
    let run = |words: &[&str]| home.run(Client::Sentry, words).fine();
    let organization = "/api/0/organizations/acme";

    let printed = run(&["release", "create", "acme/2.0.0", "--project", "web"]);
    assert!(printed.contains("Release Created: 2.0.0"), "{printed}");
    let created = json!({ "version": "2.0.0", "projects": ["web"] });
    let wanted = [
        (format!("GET {organization}/"), Value::Null),
        (format!("POST {organization}/releases/"), created),
    ];
    assert_eq!(calls(&stage.seen()), wanted);

    // It has learned it, and does not ask again.
    let printed = run(&["release", "finalize", "acme/2.0.0"]);
    assert!(printed.contains("Release Finalized: 2.0.0"), "{printed}");
    let [(line, body)] = calls(&stage.seen()).try_into().unwrap();
    assert_eq!(line, format!("PUT {organization}/releases/2.0.0/"));
    assert_eq!(dated(body, "dateReleased"), json!({ "dateReleased": "a date" }));

    let printed = run(&["release", "deploy", "acme/2.0.0", "prod"]);
    assert!(printed.contains("Deploy Created") && printed.contains("prod"), "{printed}");
    let deploy = json!({ "environment": "prod" });
    let wanted = [(format!("POST {organization}/releases/2.0.0/deploys/"), deploy)];
    assert_eq!(calls(&stage.seen()), wanted);
}

#[test]
fn an_api_key_of_the_gateway_makes_a_release() {
    let stage = Stage::start();
    let key = stage.create("api-key", SCOPE);
    let home = stage.home().set("SENTRY_ORG", "acme").set("SENTRY_PROJECT", "web");
    let words = ["--api-key", &key, "releases", "new", "3.0.0"];
    assert_eq!(home.run(Client::SentryCli2, &words).fine(), "Created release 3.0.0\n");
    assert_eq!(stage.lines(), ["POST /api/0/projects/acme/web/releases/"]);
}
