//! The first days: what a gateway that observes lets through, says and counts.

use std::time::Duration;

use portcullis::clock::{Clock as _, SystemClock};
use portcullis::policy::scope::{Scope, ScopeSet};

use crate::database::Database;
use crate::gate::Gate;

/// `bound:` in base64.
const BOUND: &str = "Ym91bmQ6";
const ISSUES: &str = "GET /api/0/organizations/acme/issues/";

/// Tokens of Sentry's that read projects and nothing else.
fn callers() -> Database {
    let database = Database::recorded();
    let reads = ScopeSet::EMPTY.with(Scope::ProjectRead);
    for secret in ["theirs", "expired", "disabled"] {
        database.token(secret, reads);
    }
    database.api_key("bound", ScopeSet::EMPTY.with(Scope::EventRead));
    database.run("UPDATE sentry_apitoken SET expires_at = now() WHERE token = 'expired'");
    database.run("UPDATE sentry_apitoken SET user_id = 3 WHERE token = 'disabled'");
    database
}

/// Another store, with tokens that the gateway issues.
const OURS: &str = "[[store]]\nkind = \"portcullis\"\nurl = \"sqlite://tokens.db\"\n";

/// An API key comes as base64 of itself and a colon.
fn authorization(secret: &str) -> String {
    let scheme = if secret == BOUND { "Basic" } else { "Bearer" };
    format!("{scheme} {secret}")
}

fn ask(gate: &Gate, line: &str, secret: &str) -> (u16, Vec<String>) {
    let header = format!("Authorization: {}", authorization(secret));
    let reply = gate.send(line, "HTTP/1.1", &[header], b"").unwrap();
    let seen = gate.upstream.take();
    (
        reply.status,
        seen.iter().map(|seen| seen.value("authorization").unwrap().to_owned()).collect(),
    )
}

fn until(hours: u64) -> String {
    let end = SystemClock.now().after(Duration::from_secs(hours * 3600));
    format!("mode = \"observe\"\nobserve_until = \"{end}\"")
}

#[test]
fn what_would_be_refused_is_let_through_said_and_counted() {
    let gate = Gate::start(&callers(), &until(24), OURS);
    let words = ["token", "create", "--name", "ours", "--scope", "project:read", "--expires", "1h"];
    let made = gate.portcullis(&words);
    assert!(made.status.success(), "{made:?}");
    let ours = String::from_utf8(made.stdout).unwrap();
    // (line, caller, status)
    let rows = [
        (ISSUES, "theirs", 200),
        ("DELETE /api/0/organizations/acme/issues/", "theirs", 200),
        ("GET /api/0/organizations/globex/issues/", BOUND, 200),
        ("GET /api/0/projects/acme/web/", "theirs", 200),
        (ISSUES, "expired", 401),
        (ISSUES, "disabled", 401),
        (ISSUES, "nobody", 401),
        (ISSUES, ours.trim(), 403),
        ("GET /api/0/nothing/", "theirs", 404),
        ("GET /api/0/api-tokens/", "theirs", 403),
        ("GET /api/0/organizations/acme%2Fx/issues/", "theirs", 400),
    ];
    for (line, caller, status) in rows {
        let through = if status == 200 { vec![authorization(caller)] } else { Vec::new() };
        assert_eq!(ask(&gate, line, caller), (status, through), "{line} {caller}");
    }
    gate.wait_until(|| gate.access_lines().len() == rows.len());
    let lines = gate.access_lines();
    let told = |decision: &str, reason: &str| {
        let of = |line: &&serde_json::Value| {
            line["decision"] == decision && line["reason"].as_str().unwrap_or_default() == reason
        };
        lines.iter().filter(of).count()
    };
    assert_eq!((told("observe", "missing_scope"), told("observe", "wrong_organization")), (2, 1));
    assert_eq!((told("allow", ""), told("refuse", "missing_scope")), (1, 1));

    let metrics = String::from_utf8(gate.admin("/metrics").unwrap().body).unwrap();
    for (labels, count) in [
        ("credential=\"bearer\",decision=\"observe\",reason=\"missing_scope\"", 2),
        ("credential=\"basic\",decision=\"observe\",reason=\"wrong_organization\"", 1),
        ("credential=\"bearer\",decision=\"refuse\",reason=\"missing_scope\"", 1),
    ] {
        let series = format!("portcullis_decisions_total{{{labels}}} {count}");
        assert!(metrics.contains(&series), "{series} in\n{metrics}");
    }
    assert!(!metrics.contains("portcullis_observe_until_timestamp_seconds 0\n"), "{metrics}");
    let ready = String::from_utf8(gate.admin("/readyz").unwrap().body).unwrap();
    assert!(ready.starts_with("ok, observing until 20"), "{ready}");
    assert!(gate.messages().contains("is let through with a credential of Sentry's own"));
}

#[test]
fn what_has_ended_is_enforced() {
    for (top, said) in
        [("", "serving"), ("mode = \"observe\"\nobserve_until = \"2020-01-01\"", "ended at")]
    {
        let gate = Gate::start(&callers(), top, "");
        assert_eq!(ask(&gate, ISSUES, "theirs"), (403, Vec::new()));
        let metrics = String::from_utf8(gate.admin("/metrics").unwrap().body).unwrap();
        assert!(metrics.contains("portcullis_observe_until_timestamp_seconds 0\n"));
        assert_eq!(gate.admin("/readyz").unwrap().body, b"ok\n");
        assert!(gate.messages().contains(said));
    }
}

/// Observing ends by the clock, without a restart.
#[test]
fn it_ends_while_it_serves() {
    let end = SystemClock.now().after(Duration::from_secs(4));
    let gate =
        Gate::start(&callers(), &format!("mode = \"observe\"\nobserve_until = \"{end}\""), "");
    gate.wait_until(|| ask(&gate, ISSUES, "theirs").0 == 403);
    assert!(SystemClock.now() >= end);
    assert_eq!(gate.admin("/readyz").unwrap().body, b"ok\n");
}
