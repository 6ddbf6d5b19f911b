//! `portcullis routes`: from the document of a new Sentry to a route that is served.

use std::process::{Command, Output};

use crate::gate::{Gate, Options};
use crate::upstream::Upstream;

/// A document with a route that is new, one that changed, and one that nobody can say much about.
const DOCUMENT: &str = r#"{
    "openapi": "3.0.3",
    "info": {"title": "API Reference", "version": "26.11"},
    "paths": {
        "/api/0/organizations/{organization_id_or_slug}/new-thing/{thing_id}/": {
            "get": {"security": [{"auth_token": ["org:read", "org:write"]}]},
            "delete": {"security": [{"auth_token": ["org:admin"]}]}
        },
        "/api/0/organizations/{organization_slug}/repos/": {
            "get": {"security": [{"auth_token": ["org:integrations"]}]}
        },
        "/api/0/open-thing/": {"get": {"security": []}}
    }
}"#;

fn routes(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis")).arg("routes").args(words).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_new_route_is_refused_until_it_is_taken_up() {
    let folder = tempfile::tempdir().unwrap();
    let document = folder.path().join("openapi.json");
    std::fs::write(&document, DOCUMENT).unwrap();
    let document = document.to_str().unwrap();

    let told = routes(&["diff", "26.8", document]);
    assert_eq!(told.status.code(), Some(1), "{told:?}");
    let told = text(&told);
    for words in [
        "+ GET /api/0/organizations/{organization_id_or_slug}/new-thing/{thing_id}/\n    asks for  org:read org:write\n",
        "+ DELETE /api/0/organizations/{organization_id_or_slug}/new-thing/{thing_id}/\n",
        "~ GET /api/0/organizations/{organization_id_or_slug}/repos/\n",
        "fewer     ",
        "3 added, 1 changed, 0 gone",
    ] {
        assert!(told.contains(words), "{words} in\n{told}");
    }

    let line = "GET /api/0/organizations/acme/new-thing/1/";
    let mut gate = Gate::start();
    let token = gate.token("all");
    assert_eq!(gate.bearer(line, &token).status, 404);
    assert_eq!(gate.upstream.take().len(), 0);
    gate.stop();

    // As printed, tokens of the gateway are kept out.
    let imported = routes(&["import", document]);
    assert_eq!(imported.status.code(), Some(0), "{imported:?}");
    for (flags, status) in [(&[][..], 401), (&["--changed", "--exchange"], 200)] {
        let imported = routes(&[&["import", document], flags].concat());
        assert_eq!(imported.status.code(), Some(0), "{imported:?}");
        let options = Options { rules: text(&imported), ..Options::default() };
        let mut gate = Gate::with(Upstream::start(), &options);
        let token = gate.token("all");
        assert_eq!(gate.bearer(line, &token).status, status, "{}", options.rules);
        assert_eq!(gate.bearer("GET /api/0/open-thing/", &token).status, 403);
        assert_eq!(gate.upstream.take().len(), usize::from(status == 200));
        let repos = gate.bearer("GET /api/0/organizations/acme/repos/", &gate.token("org:read"));
        assert_eq!(repos.status, if flags.is_empty() { 200 } else { 403 });
        gate.stop();
    }
}

#[test]
fn rules_are_listed_and_compared() {
    let listed = routes(&["list", "--sentry-version", "24.7", "--json"]);
    assert_eq!(listed.status.code(), Some(0), "{listed:?}");
    let listed = text(&listed);
    let rules: Vec<serde_json::Value> =
        listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(rules.len() > 700, "{}", rules.len());
    for (group, file) in [("api", "sentry.toml:"), ("ingest", "edge.toml:"), ("ui", "edge.toml:")] {
        let mut of_it = rules.iter().filter(|rule| rule["expose"] == group).peekable();
        assert!(of_it.peek().is_some(), "{group}");
        assert!(of_it.all(|rule| rule["place"].as_str().unwrap().starts_with(file)), "{group}");
    }
    assert!(text(&routes(&["list"])).contains("GET /api/0/\n    public; "));

    assert_eq!(routes(&["diff", "24.7", "24.7"]).status.code(), Some(0));
    let told = routes(&["diff", "24.7", "26.8", "--json"]);
    assert_eq!(told.status.code(), Some(1), "{told:?}");
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told["gone"].as_array().unwrap().len(), 0);
    assert!(told["added"].as_array().unwrap().len() > 20 && told["changed"][0]["more"].is_array());

    // The rules of a config, which must not be complete for that.
    let gate = Gate::start();
    let config = gate.folder.path().join("portcullis.toml");
    let config = config.to_str().unwrap();
    assert_eq!(routes(&["diff", "26.8", config]).status.code(), Some(0));
    for wrong in [
        &["diff", "23.1", "26.8"][..],
        &["diff", "26.8", "gone.json"],
        &["diff", "x.json", "26.8"],
        &["import", config],
    ] {
        let told = routes(wrong);
        assert_eq!(told.status.code(), Some(2), "{wrong:?} {told:?}");
        assert!(String::from_utf8(told.stderr).unwrap().starts_with("error: "));
    }
}
