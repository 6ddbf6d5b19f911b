//! The samples of deploy/jwt, with an issuer of the test's own in place of the real one.

use std::path::Path;

use serde_json::{Value, json};

use super::issuer::{Issuer, now, with};
use super::key::Key;
use super::{ask, told};
use crate::gate::{Gate, OWN_STORE, Options};
use crate::upstream::{Upstream, ok, reply};

/// A file of deploy/jwt, with this in place of its issuer and of what else is not here.
fn sample(name: &str, changes: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/jwt").join(name);
    let mut text = std::fs::read_to_string(path).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{name} has no {from}");
        text = text.replace(from, to);
    }
    text
}

fn gate(tables: String, files: Vec<(String, String)>) -> Gate {
    let tables = format!("{OWN_STORE}{tables}");
    let options = Options { stores: Some(String::new()), tables, files, ..Options::default() };
    Gate::with(Upstream::start(), &options)
}

fn expect(gate: &Gate, token: &str, line: &str, code: &str, what: &str) {
    ask(gate, token);
    gate.upstream.take();
    let reply = gate.bearer(line, token);
    assert_eq!(told(&reply).1, code, "{what}: {line}");
    assert_eq!(gate.upstream.take().len(), usize::from(code.is_empty()), "{what}: {line}");
}

const READ: &str = "GET /api/0/organizations/acme/releases/";
const WRITE: &str = "POST /api/0/organizations/acme/releases/";
const OTHER: &str = "GET /api/0/organizations/other/releases/";

#[test]
fn the_sample_for_github_lets_a_branch_release_and_a_pull_request_read() {
    let key = Key::made("github");
    let issuer = Issuer::of(&[&key]);
    let tables = sample(
        "github.toml",
        &[("https://token.actions.githubusercontent.com", &issuer.url), ("RS256", "ES256")],
    );
    let gate = gate(tables, Vec::new());
    // As GitHub documents them.
    let job = json!({
        "iss": issuer.url, "aud": "https://sentry.example.com", "exp": now() + 300, "nbf": now(),
        "sub": "repo:acme/web:ref:refs/heads/main", "repository": "acme/web", "ref": "refs/heads/main",
        "repository_owner": "acme", "repository_owner_id": "65", "repository_id": "74",
        "event_name": "push", "ref_protected": "true", "runner_environment": "github-hosted",
    });
    let token = key.sign(&job);
    for (line, code) in [(READ, ""), (WRITE, ""), (OTHER, "wrong_organization")] {
        expect(&gate, &token, line, code, "the branch");
    }
    let pull = with(
        with(job.clone(), "ref", json!("refs/pull/7/merge")),
        "event_name",
        json!("pull_request"),
    );
    for (line, code) in [(READ, ""), (WRITE, "read_only")] {
        expect(&gate, &key.sign(&pull), line, code, "the pull request");
    }
    for (name, value) in [
        ("repository_id", json!("75")),
        ("repository_owner_id", json!("66")),
        ("repository_owner_id", json!(65)),
        ("repository_owner_id", Value::Null),
    ] {
        let token = key.sign(&with(job.clone(), name, value.clone()));
        expect(&gate, &token, READ, "no_trust_policy", &format!("{name} {value}"));
    }
}

#[test]
fn the_sample_for_kubernetes_lets_in_one_service_account() {
    let key = Key::made("cluster");
    let (keys, issuer) = (
        json!({ "keys": [key.jwk()] }).to_string(),
        "https://kubernetes.default.svc.cluster.local",
    );
    // As the API server does: keys are for whoever presents a token.
    let server = Upstream::answering(move |seen, stream| {
        let known = seen.value("authorization") == Some("Bearer of-the-gateway's-own-account");
        if seen.target == "/openid/v1/jwks" && known {
            ok(stream, &[], keys.as_bytes());
        } else {
            reply(stream, "401 Unauthorized", &[], b"{\"kind\":\"Status\"}");
        }
    });
    let folder = "/var/run/secrets/kubernetes.io/serviceaccount";
    let tables = sample(
        "kubernetes.toml",
        &[
            ("https://kubernetes.default.svc/", &format!("http://{}/", server.address)),
            (&format!("ca_file = \"{folder}/ca.crt\"\n"), ""),
            (&format!("{folder}/token"), "account"),
            ("RS256", "ES256"),
        ],
    );
    let gate =
        gate(tables, vec![("account".to_owned(), "of-the-gateway's-own-account\n".to_owned())]);
    // As the API server makes them.
    let pod = |namespace: &str, account: &str| {
        json!({
            "iss": issuer, "aud": ["portcullis"], "exp": now() + 600, "nbf": now(), "iat": now(),
            "sub": format!("system:serviceaccount:{namespace}:{account}"),
            "kubernetes.io": {
                "namespace": namespace, "serviceaccount": {"name": account, "uid": "1-2-3"},
                "pod": {"name": "uploader-0", "uid": "4-5-6"},
            },
        })
    };
    for (line, code) in [(READ, ""), (WRITE, ""), (OTHER, "wrong_organization")] {
        expect(&gate, &key.sign(&pod("ci", "sentry-uploader")), line, code, "the account");
    }
    for (namespace, account) in [("ci", "default"), ("dev", "sentry-uploader")] {
        let token = key.sign(&pod(namespace, account));
        expect(&gate, &token, READ, "no_trust_policy", account);
    }
    // A token that a pod has for the API server itself is for nobody else.
    let token = key.sign(&with(pod("ci", "sentry-uploader"), "aud", json!([issuer])));
    expect(&gate, &token, READ, "unknown_token", "another audience");
    // A token may be replaced; another is sent from then on.
    std::fs::write(gate.folder.path().join("account"), "another").unwrap();
    let seen = server.take();
    assert!(
        !seen.is_empty() && seen.iter().all(|seen| seen.target == "/openid/v1/jwks"),
        "{seen:?}"
    );
}
