//! Attacks on what is Sentry's own: organizations, projects, the making of credentials, its Relays.

use std::fs;

use portcullis::policy::credential::Digest;
use portcullis::policy::identity::Narrowing;
use portcullis::store::portcullis::TokenKind;
use portcullis::store::portcullis::admin::NewToken;
use serde_json::Value;

use crate::bound::{bound, received, send, sentry};
use crate::gate::{Gate, Options, eventually, new, only};

const ACME: &str = "/api/0/organizations/acme";

/// A gateway before a Sentry with some projects, with an audit of all that is decided.
fn gate() -> Gate {
    let tables = "[audit]\noutput = \"audit.log\"\n\
                  decisions = [\"refuse\", \"write\", \"read\", \"ingest\"]\n";
    Gate::with(sentry(), &Options { tables: tables.to_owned(), ..Options::default() })
}

/// The target that arrives of each request, with its own token; none where it is refused for `code`.
fn rows(gate: &Gate, token: &str, rows: &[(&str, String, &str)]) {
    for (id, line, wanted) in rows {
        let body = if line.starts_with("GET") { "" } else { "{}" };
        let reply = send(gate, line, token, body);
        let targets: Vec<_> = received(gate).into_iter().map(|seen| seen.target).collect();
        match wanted.strip_prefix('/') {
            Some(_) => assert_eq!(
                (reply.status, &*targets),
                (200, &[(*wanted).to_owned()][..]),
                "{id} {line}"
            ),
            None => {
                assert!(targets.is_empty(), "{id} {line}: {targets:?}");
                assert_eq!(
                    (reply.status, &*reply.code()),
                    (403, *wanted),
                    "{id} {line}: {reply:?}"
                );
            }
        }
    }
}

#[test]
fn ac_122_a_token_of_one_organization_is_nobody_at_another() {
    let gate = gate();
    let by_id = bound(&gate, Narrowing::NONE);
    let organizations = only(&["acme"]);
    let by_slug = gate.create(NewToken { organizations, ..new("slug", TokenKind::Bearer, "all") });
    let organizations = only(&["1"]);
    let whole = gate.create(NewToken { organizations, ..new("whole", TokenKind::Bearer, "all") });
    for token in [&by_id, &by_slug, &whole] {
        for line in [
            "GET /api/0/organizations/globex/issues/",
            "GET /api/0/organizations/globex/issues/?project=42",
            "PUT /api/0/organizations/globex/issues/?project=42&id=7",
            "GET /api/0/organizations/2/issues/?project=42",
            "GET /api/0/projects/globex/web/issues/",
            "GET /api/0/projects/globex/42/issues/",
            "GET /api/0/organizations/globex/",
            "GET /api/0/organizations/globex/projects/",
            "GET /api/0/organizations/globex/chunk-upload/",
        ] {
            rows(&gate, token, &[("AC-122", line.to_owned(), "wrong_organization")]);
        }
        // By the number of an issue alone the organization is not to be seen, and by nothing at all neither.
        for line in ["GET /api/0/issues/7/", "GET /api/0/organizations/", "GET /api/0/projects/"] {
            rows(&gate, token, &[("AC-122", line.to_owned(), "binding")]);
        }
    }
    // The record says whose token, which organization and which route.
    let told = || fs::read_to_string(gate.folder.path().join("audit.log")).unwrap();
    eventually("the records", || told().lines().count() >= 36 && told().ends_with('\n'));
    let records: Vec<Value> =
        told().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for token in [&by_id, &by_slug, &whole] {
        let fingerprint = &Digest::of(token).hex()[..8];
        let is = |record: &&Value| {
            record["token_fp"] == fingerprint
                && record["org"] == "globex"
                && record["reason"] == "wrong_organization"
                && record["route"] == "/api/0/organizations/{organization_id_or_slug}/issues/"
        };
        assert_eq!(records.iter().filter(is).count(), 3, "{records:#?}");
        assert!(!told().contains(token.as_str()));
    }
}

#[test]
fn ac_123_ac_124_what_is_named_in_a_query_is_within_the_bindings() {
    let gate = gate();
    let token = bound(&gate, Narrowing::NONE);
    let at = |query: &str| format!("GET {ACME}/{query}");
    let added = |path: &str, query: &str| format!("{ACME}/{path}/?{query}");
    let (events, issues) = (added("events", "project=42"), added("issues", "project=42"));
    rows(
        &gate,
        &token,
        &[
            ("AC-123", at("events/?project=999"), "binding"),
            ("AC-123", at("events/?project=43"), "binding"),
            ("AC-123", at("events/"), &events),
            ("AC-123", at("events/?project=42"), &events),
            ("AC-123", at("issues/"), &issues),
            // Where nothing is added, and nothing can be.
            ("AC-123", at("dashboards/7/?project=42"), "binding"),
            ("AC-123", at("dashboards/7/"), "binding"),
            ("AC-123", format!("PUT {ACME}/issues/?id=7"), "binding"),
            ("AC-124", at("issues/?project=-1"), "binding"),
            ("AC-124", at("events/?project=-1"), "binding"),
            ("AC-124", at("issues/?project=42&project=-1"), "binding"),
            ("AC-124", at("issues/?project=42&project=43"), "binding"),
            ("AC-124", at("issues/?project=43&project=42"), "binding"),
            (
                "AC-124",
                at("issues/?project=42&project=42"),
                &added("issues", "project=42&project=42"),
            ),
            ("AC-124", at("issues/?project[]=43"), "binding"),
            ("AC-124", at("issues/?project[]=42"), "binding"),
            ("AC-124", at("issues/?project=42&project[0]=43"), "binding"),
            ("AC-124", at("issues/?project=42,43"), "binding"),
            ("AC-124", at("issues/?projectSlug=$all"), "binding"),
        ],
    );
}

#[test]
fn ac_125_a_token_makes_no_other() {
    let gate = gate();
    // All scopes, and bound to nothing.
    let token = gate.token("all");
    let mut refused = 0;
    for (methods, path) in [
        ("GET POST DELETE", "/api/0/api-tokens/"),
        ("GET PUT DELETE", "/api/0/api-tokens/1/"),
        ("GET DELETE", "/api/0/api-authorizations/"),
        ("GET POST", "/api/0/api-applications/"),
        ("GET PUT DELETE", "/api/0/api-applications/1/"),
        ("POST", "/api/0/api-applications/1/rotate-secret/"),
        ("GET POST", "/api/0/organizations/acme/org-auth-tokens/"),
        ("GET PUT DELETE", "/api/0/organizations/acme/org-auth-tokens/1/"),
        ("GET POST", "/api/0/organizations/acme/api-keys/"),
        ("GET PUT DELETE", "/api/0/organizations/acme/api-keys/1/"),
        ("POST", "/api/0/sentry-apps/"),
        ("PUT DELETE", "/api/0/sentry-apps/an-app/"),
        ("GET POST", "/api/0/sentry-apps/an-app/api-tokens/"),
        ("DELETE", "/api/0/sentry-apps/an-app/api-tokens/1/"),
        ("POST", "/api/0/sentry-apps/an-app/rotate-secret/"),
        ("GET POST", "/api/0/organizations/acme/sentry-app-installations/"),
        ("GET DELETE", "/api/0/sentry-app-installations/0123/"),
        ("POST", "/api/0/sentry-app-installations/0123/authorizations/"),
        ("POST", "/api/0/organizations/acme/members/"),
        ("PUT", "/api/0/organizations/acme/members/1/"),
        ("POST", "/api/0/users/me/emails/"),
        ("PUT", "/api/0/users/me/password/"),
        ("POST", "/api/0/auth/"),
        ("POST", "/api/0/auth/login/"),
        ("POST", "/api/0/internal/integration-proxy/"),
    ] {
        for method in methods.split(' ') {
            let body = if method == "GET" { "" } else { r#"{"scopes":["org:admin"],"name":"x"}"# };
            let reply = send(&gate, &format!("{method} {path}"), &token, body);
            let seen = received(&gate);
            assert!(seen.is_empty(), "AC-125 {method} {path}: {seen:#?}");
            assert!([401, 403, 404, 405].contains(&reply.status), "{method} {path}: {reply:?}");
            refused += usize::from(reply.status == 403);
        }
    }
    // Most of these are routes that are known, and refused for what they are.
    assert!(refused > 20, "{refused}");
}

#[test]
fn ac_127_projects_in_a_body_are_within_the_bindings() {
    let gate = gate();
    let token = bound(&gate, Narrowing::NONE);
    let line = format!("POST {ACME}/artifactbundle/assemble/");
    let bundle =
        |projects: &str| format!(r#"{{"checksum":"c","chunks":["c"],"projects":{projects}}}"#);
    for projects in
        [r#"["other"]"#, r#"["app"]"#, r#"["web","app"]"#, r#"["43"]"#, "[43]", "[]", "null"]
    {
        let reply = send(&gate, &line, &token, &bundle(projects));
        assert_eq!((reply.status, &*reply.code()), (403, "binding"), "AC-127 {projects}");
        assert!(received(&gate).is_empty(), "AC-127 {projects}");
    }
    let own = bundle(r#"["web"]"#);
    assert_eq!(send(&gate, &line, &token, &own).status, 200);
    let seen = received(&gate);
    assert_eq!((seen.len(), &*seen[0].body), (1, own.as_bytes()));
}

#[test]
fn ac_130_what_relays_say_to_sentry_is_not_for_tokens() {
    let gate = gate();
    let (all, bound) = (gate.token("all"), bound(&gate, Narrowing::NONE));
    let relay = [("X-Sentry-Relay-Id", "0"), ("X-Sentry-Relay-Signature", "x")];
    for (method, path) in [
        ("GET", "/api/0/relays/"),
        ("GET", "/api/0/relays/live/"),
        ("POST", "/api/0/relays/projectconfigs/"),
        ("POST", "/api/0/relays/projectconfigs/?version=3"),
        ("POST", "/api/0/relays/projectids/"),
        ("POST", "/api/0/relays/publickeys/"),
        ("POST", "/api/0/relays/register/challenge/"),
        ("POST", "/api/0/relays/register/response/"),
        ("DELETE", "/api/0/relays/1/"),
        ("POST", "/api/0/relays/anything-new/"),
        ("POST", "/api/0/relays/projectconfigs"),
    ] {
        let line = format!("{method} {path}");
        for token in [&all, &bound] {
            let body = if method == "POST" { "{}" } else { "" };
            let reply = send(&gate, &line, token, body);
            assert!([403, 404, 405].contains(&reply.status), "AC-130 {line}: {reply:?}");
        }
        // And with a signature instead, as whoever has read how.
        let reply = gate.send(&line, &relay);
        assert!([401, 403, 404, 405].contains(&reply.status), "AC-130 {line}: {reply:?}");
        assert!(received(&gate).is_empty(), "AC-130 {line}");
    }
}
