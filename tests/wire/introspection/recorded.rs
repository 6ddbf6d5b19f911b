//! What a real Sentry said of each kind and state of credential, and what the gateway makes of it.
//!
//! `recorded.jsonl` has requests of `GET /api/0/` that were sent to Sentry 24.5 and its answers, of a
//! user no more than its names; `030-…` is of another route, which refuses alike. What starts with
//! `facts-` was not recorded: it has the answer that Sentry's source gives.

use serde_json::{Value, json};

use super::{LINE, ask, gate, sentry_store, told};
use crate::gate::{ADMIN, Gate, Options};
use crate::upstream::{Upstream, reply};

const RECORDED: &str = include_str!("recorded.jsonl");

/// Of these the gateway knows without a question that nobody lets them in.
const NOT_ASKED_FOR: &[(&str, &str)] = &[
    ("002-04-root-two_words", "malformed_credential"),
    ("002-07-root-token_scheme", "missing_credential"),
    ("002-08-root-no_scheme", "missing_credential"),
    ("002-11-root-unknown_scheme", "missing_credential"),
    ("002-12-root-digest", "missing_credential"),
    ("004-root-basic-ak_all-nocolon", "malformed_credential"),
    ("004-root-basic-ak_all-pw", "malformed_credential"),
    ("004-root-basic-ak_disabled-nocolon", "malformed_credential"),
    ("004-root-basic-ak_disabled-pw", "malformed_credential"),
    ("004-root-basic-ak_project_read-nocolon", "malformed_credential"),
    ("004-root-basic-ak_project_read-pw", "malformed_credential"),
    ("005-root-basic-empty", "malformed_credential"),
    ("005-root-basic-two", "malformed_credential"),
    ("005-root-basic-userpass", "malformed_credential"),
    ("006-root-dsn-p0_active", "wrong_credential_kind"),
    ("006-root-dsn-p0_disabled", "wrong_credential_kind"),
];

/// Of these Sentry says no.
const UNKNOWN: &[&str] = &[
    "002-00-root-unknown_token",
    "002-14-root-unknown_sntrys",
    "003-16-root-carol_inactive_all",
    "005-root-basic-unknownkey",
    "030-apikeys--expired",
    "facts-oauth_inactive_app",
    "facts-oat_deactivated",
    "facts-ak_disabled",
];

/// All others it lets in.
const LET_IN: usize = 28;

fn rows() -> Vec<Value> {
    RECORDED.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Answers each `Authorization` as it was answered then, byte for byte.
fn recorded_sentry() -> Upstream {
    let rows = rows();
    Upstream::answering(move |seen, stream| {
        let row =
            rows.iter().find(|row| seen.value("authorization") == row["authorization"].as_str());
        match row.filter(|_| seen.method == "GET" && seen.target == "/api/0/") {
            Some(row) => {
                let body = row["body"].as_str().unwrap().as_bytes();
                let status = if row["status"] == 200 { "200 OK" } else { "401 Unauthorized" };
                reply(stream, status, &[("WWW-Authenticate", "xBasic realm=\"api\"")], body);
            }
            None => reply(stream, "500 Not Recorded", &[], b""),
        }
    })
}

fn recorded_gate(endpoint: &Upstream) -> Gate {
    let rates = "unknown_per_second = 1000\nunknown_per_client = 1000";
    let options = Options {
        stores: Some(sentry_store(endpoint.address, rates)),
        admin: "credential = { file = \"admin-credential\" }".to_owned(),
        ..Options::default()
    };
    Gate::with(Upstream::start(), &options)
}

fn operator(gate: &Gate, line: &str, body: &Value) -> Value {
    let authorization = format!("Bearer {ADMIN}");
    let reply = gate.operator(line, &[("Authorization", &authorization)], &body.to_string());
    assert_eq!(reply.status, 200, "{line} {body}");
    reply.json()
}

/// The kind that a credential of this form is.
fn kind(authorization: &str) -> &'static str {
    match authorization.split_whitespace().collect::<Vec<_>>()[..] {
        [scheme, _] if scheme.eq_ignore_ascii_case("basic") => "api_key",
        [_, token] if token.starts_with("sntrys_") => "org_token",
        _ => "user_token",
    }
}

#[test]
fn every_recorded_credential_is_decided_on_as_sentry_would() {
    let endpoint = recorded_sentry();
    let gate = recorded_gate(&endpoint);
    let mut let_in = 0;
    for row in rows() {
        let id = row["id"].as_str().unwrap();
        let authorization = row["authorization"].as_str().unwrap();
        // The same token comes written in several ways, each of which is asked for anew.
        operator(&gate, "POST /cache/purge", &json!({"all": true}));
        let errors = super::errors(&gate);
        let answer = ask(&gate, LINE, &[("Authorization", authorization)]);
        let (asked, forwarded) = (endpoint.take(), gate.upstream.take());
        if let Some((_, code)) = NOT_ASKED_FOR.iter().find(|(own, _)| *own == id) {
            assert_eq!(told(&answer), (401, (*code).to_owned()), "{id}");
            assert!(asked.is_empty() && forwarded.is_empty(), "{id}: {asked:?} {forwarded:?}");
            continue;
        }
        let errors = super::errors(&gate) - errors;
        assert_eq!(asked.len() as f64, 1.0 + errors, "{id}: {asked:?}");
        for asked in &asked {
            // No more than it takes, and the credential as the caller wrote it.
            let mut names: Vec<_> =
                asked.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
            names.sort();
            assert_eq!(
                names,
                ["accept", "authorization", "connection", "host", "user-agent"],
                "{id}"
            );
            assert_eq!(asked.value("authorization"), Some(authorization), "{id}");
            assert_eq!((asked.method.as_str(), asked.target.as_str()), ("GET", "/api/0/"), "{id}");
            assert!(asked.body.is_empty(), "{id}");
        }
        if UNKNOWN.contains(&id) {
            assert_eq!(told(&answer), (401, "unknown_token".to_owned()), "{id}");
            assert!(forwarded.is_empty(), "{id}: {forwarded:?}");
            continue;
        }
        let_in += 1;
        let body: Value = serde_json::from_str(row["body"].as_str().unwrap()).unwrap();
        let scopes = &body["auth"]["scopes"];
        let about_events = |scope: &Value| scope.as_str().unwrap().starts_with("event:");
        if scopes.as_array().unwrap().iter().any(about_events) {
            assert_eq!(answer.status, 200, "{id}");
            assert_eq!(forwarded.len(), 1, "{id}");
            assert_eq!(forwarded[0].value("authorization"), Some(authorization), "{id}");
        } else {
            assert_eq!(told(&answer), (403, "missing_scope".to_owned()), "{id}");
            assert_eq!(answer.json()["held"], *scopes, "{id}");
            assert!(forwarded.is_empty(), "{id}: {forwarded:?}");
        }
        // The running gateway says who it is, without another question.
        let header = format!("Authorization: {authorization}");
        let question = json!({"method": "GET", "path": "/api/0/organizations/acme/issues/", "headers": [header]});
        let identity = operator(&gate, "POST /explain", &question)["identity"].clone();
        assert!(endpoint.take().is_empty(), "{id}");
        assert_eq!(identity["scopes"], *scopes, "{id}: {identity}");
        assert_eq!(identity["kind"], kind(authorization), "{id}: {identity}");
        assert_eq!(identity["issuer"], "sentry", "{id}: {identity}");
        for what in ["organizations", "projects"] {
            assert_eq!(identity[what], "unknown", "{id}: {identity}");
        }
        let name = match &body["user"]["id"] {
            Value::Null => kind(authorization).to_owned(),
            id => format!("user:{}", id.as_str().unwrap()),
        };
        assert_eq!(identity["id"], *name, "{id}: {identity}");
    }
    assert_eq!((rows().len(), let_in), (LET_IN + UNKNOWN.len() + NOT_ASKED_FOR.len(), LET_IN));
}

#[test]
fn who_presents_nothing_or_a_project_key_is_not_asked_for() {
    let endpoint = recorded_sentry();
    let gate = recorded_gate(&endpoint);
    let feedback = "POST /api/0/projects/acme/proj-000/user-feedback/";
    let dsn = ("Authorization", "DSN http://9cd363c59c05141f32414694128a7c21@127.0.0.1:9000/2");
    let rows: [(&str, &[(&str, &str)], &str); 5] = [
        (LINE, &[], "missing_credential"),
        (LINE, &[("Cookie", "sentrysid=good")], "missing_credential"),
        (LINE, &[("X-Sentry-Token", "good")], "missing_credential"),
        // The route takes it; the endpoint can't know it.
        (feedback, &[dsn], "unknown_token"),
        (LINE, &[dsn], "wrong_credential_kind"),
    ];
    for (line, headers, code) in rows {
        let body: &[u8] = if line == feedback { b"{}" } else { b"" };
        let answer = gate.send_body(line, headers, body);
        assert_eq!(told(&answer), (401, code.to_owned()), "{line} {headers:?}");
    }
    let two = [("Authorization", "Bearer good"), ("Authorization", "Bearer better")];
    assert_eq!(told(&gate.send(LINE, &two)), (400, "multiple_credentials".to_owned()));
    assert!(endpoint.take().is_empty());
    assert!(gate.upstream.take().is_empty());
}

/// An answer that is not one of Sentry's; `auth` is there, or nobody was asked.
#[test]
fn a_sentry_that_did_not_see_the_credential_knows_nobody() {
    let nobody = "{\"version\":\"0\",\"auth\":null,\"user\":null}";
    let endpoint =
        Upstream::answering(move |_, stream| crate::upstream::ok(stream, &[], nobody.as_bytes()));
    let gate = gate(sentry_store(endpoint.address, ""), "");
    let answer = super::ask_bearer(&gate, "sntryu_good");
    assert_eq!(told(&answer), (401, "unknown_token".to_owned()));
    assert!(gate.upstream.take().is_empty());
}
