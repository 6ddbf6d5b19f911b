//! The audit: what is recorded and what is not, in which words, and that no record is lost without being
//! counted, whatever becomes of the disk.

mod operators;
mod pressure;
mod rotation;

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::client::request;
use crate::gate::{Gate, Options, UPSTREAM_TOKEN, eventually};
use crate::upstream::Upstream;

const LINE: &str = "GET /api/0/organizations/acme/issues/";

/// A gateway that audits to `audit.log`, with more lines of `[audit]`.
fn gate(audit: &str) -> Gate {
    Gate::with(Upstream::start(), &options(audit))
}

fn options(audit: &str) -> Options {
    Options {
        tables: format!("[audit]\noutput = \"audit.log\"\n{audit}\n"),
        admin: "credential = { file = \"admin-credential\" }".to_owned(),
        ..Options::default()
    }
}

fn text(gate: &Gate) -> String {
    fs::read_to_string(gate.folder.path().join("audit.log")).unwrap_or_default()
}

/// The records of a text, each of which is a whole line.
fn records(text: &str) -> Vec<Value> {
    assert!(text.is_empty() || text.ends_with('\n'), "half a line: {text}");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn of_kind(text: &str, kind: &str) -> Vec<Value> {
    records(text).into_iter().filter(|record| record["kind"] == kind).collect()
}

/// Waits for so many records of a kind.
fn wait_for(gate: &Gate, kind: &str, count: usize) -> Vec<Value> {
    eventually("records", || {
        let text = text(gate);
        text.ends_with('\n') && of_kind(&text, kind).len() >= count
    });
    let found = of_kind(&text(gate), kind);
    assert_eq!(found.len(), count, "{found:?}");
    found
}

/// Without what differs from run to run, which has to be there.
fn stable(record: &Value) -> BTreeMap<String, Value> {
    let mut fields: BTreeMap<_, _> = record
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    for key in ["ts", "config_hash"] {
        assert!(fields.remove(key).is_some_and(|value| value.is_string()), "{key}: {record}");
    }
    fields
}

#[test]
fn refusals_and_writes_are_recorded_with_who_and_why_and_without_a_secret() {
    // With one worker they are in order.
    let mut gate = Gate::with(Upstream::start(), &Options { threads: Some(1), ..options("") });
    let (writer, reader) = (gate.token("event:write"), gate.token("org:read"));
    let unknown = "sntryu_f00df00df00df00df00df00df00df00df00df00df00df00df00df00df00df00d";
    let agent = format!("sentry-cli/3.8.2 (token {unknown})");
    let issue = "PUT /api/0/organizations/acme/issues/";
    let rows: &[(&str, &str, u16, Option<&str>)] = &[
        (LINE, &writer, 200, None),
        (issue, &writer, 200, Some("allow")),
        (issue, &reader, 403, Some("refuse")),
        (LINE, unknown, 401, Some("refuse")),
        ("OPTIONS /api/0/organizations/acme/issues/", &reader, 200, None),
        ("GET /api/0/nothing/", &reader, 404, Some("refuse")),
    ];
    let mut ids = Vec::new();
    for (line, token, status, decision) in rows {
        let line = format!("{line}?query={unknown}");
        let bearer = format!("Bearer {token}");
        let reply = gate.send(&line, &[("Authorization", &bearer), ("User-Agent", &agent)]);
        assert_eq!(reply.status, *status, "{line}");
        if decision.is_some() {
            ids.push(reply.header("x-request-id").unwrap().to_owned());
        }
    }
    gate.stop();
    let written = text(&gate);
    for secret in [&*writer, &*reader, unknown, UPSTREAM_TOKEN, "query"] {
        assert!(!written.contains(secret), "{secret} in {written}");
    }
    let found = of_kind(&written, "decision");
    let seen: Vec<_> = found.iter().map(|record| record["request_id"].as_str().unwrap()).collect();
    assert_eq!(seen, ids, "{written}");
    let fingerprint =
        |token: &str| portcullis::policy::credential::Digest::of(token).hex()[..8].to_owned();
    let refused = json!({
        "level": "info",
        "msg": "audit",
        "kind": "decision",
        "request_id": ids[1],
        "client_ip": "127.0.0.1",
        "user_agent": "sentry-cli/3.8.2",
        "method": "PUT",
        "host": "gw.example",
        "route": "/api/0/organizations/{organization_id_or_slug}/issues/",
        "rule": found[1]["rule"],
        "path": "/api/0/organizations/acme/issues/",
        "org": "acme",
        "scheme": "bearer",
        "credential_kind": found[1]["credential_kind"],
        "token_fp": fingerprint(&reader),
        "principal": found[1]["principal"],
        "decision": "refuse",
        "reason": "missing_scope",
        "status": 403,
        "required": ["event:admin", "event:write"],
        "issuer": "gateway",
        "held": ["org:read"],
    });
    assert_eq!(stable(&found[1]), stable(&with(&refused, &found[1])), "{written}");
    assert!(found[1]["rule"].as_str().unwrap().contains("sentry.toml:"));
    assert!(found[1]["principal"].as_str().unwrap().starts_with("tok_"));
    // What is allowed has no status yet, and lacks nothing.
    for key in ["status", "reason", "required", "organizations", "projects"] {
        assert_eq!(found[0][key], Value::Null, "{}", found[0]);
    }
    assert_eq!(
        (&found[0]["decision"], &found[0]["token_fp"]),
        (&json!("allow"), &json!(fingerprint(&writer)))
    );
    assert_eq!(
        (&found[2]["reason"], &found[2]["principal"]),
        (&json!("unknown_token"), &Value::Null)
    );
    assert_eq!((&found[3]["reason"], &found[3]["status"]), (&json!("no_such_route"), &json!(404)));
}

/// What is expected, with what differs from run to run as it is.
fn with(expected: &Value, found: &Value) -> Value {
    let mut expected = expected.clone();
    for key in ["ts", "config_hash"] {
        expected[key] = found[key].clone();
    }
    expected
}

#[test]
fn what_is_worth_a_record_is_the_operators_choice() {
    let rows: &[(&str, &[&str])] = &[
        ("decisions = [\"refuse\"]", &["refuse"]),
        ("decisions = [\"write\"]", &["allow PUT"]),
        ("decisions = [\"read\"]", &["allow GET", "answer"]),
        ("decisions = []", &[]),
        (
            "decisions = [\"refuse\", \"write\", \"read\", \"ingest\"]\nwhen_full = \"wait\"",
            &["allow GET", "allow PUT", "answer", "refuse"],
        ),
    ];
    for (audit, expected) in rows {
        let mut gate = gate(audit);
        let token = gate.token("event:write");
        for (line, status) in [
            (LINE, 200),
            ("PUT /api/0/organizations/acme/issues/", 200),
            ("OPTIONS /api/0/organizations/acme/issues/", 200),
            ("GET /api/0/organizations/acme/members/", 403),
        ] {
            assert_eq!(gate.bearer(line, &token).status, status, "{line}");
        }
        let counted = gate.metric("portcullis_audit_records_total", &["\"decision\""]);
        gate.stop();
        let found: Vec<String> = of_kind(&text(&gate), "decision")
            .iter()
            .map(|record| match record["decision"].as_str().unwrap() {
                "allow" => format!("allow {}", record["method"].as_str().unwrap()),
                other => other.to_owned(),
            })
            .collect();
        assert_eq!(found, *expected, "{audit}");
        assert_eq!(counted, expected.len() as f64);
    }
}

#[test]
fn events_of_sdks_are_no_writes() {
    let relay = Upstream::start();
    let key = "a94ae32be2584e0bbd7a4cbb95971fee";
    let send = |audit: &str| {
        let usual = options(audit);
        let tables = format!(
            "{}[upstream.relay]\nurls = [\"http://{}\"]\nhealth_interval = \"0s\"\n",
            usual.tables, relay.address
        );
        let listen = "expose = [\"api\", \"ingest\"]".to_owned();
        let mut gate = Gate::with(Upstream::start(), &Options { tables, listen, ..usual });
        let line = format!("POST /api/1/envelope/?sentry_key={key}");
        assert_eq!(gate.send_body(&line, &[], b"{}").status, 200);
        assert_eq!(
            gate.send(&format!("POST /api/1/envelope/nothing/?sentry_key={key}"), &[]).status,
            404
        );
        gate.stop();
        assert!(!text(&gate).contains(key));
        let found = of_kind(&text(&gate), "decision");
        found
            .iter()
            .map(|record| record["decision"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(send(""), ["refuse"]);
    assert_eq!(send("decisions = [\"ingest\"]"), ["allow"]);
}

#[test]
fn a_body_that_is_refused_after_all_has_two_records() {
    let usual = options("when_full = \"wait\"");
    let tables = format!("{}[spool]\nmax_body = \"1KB\"\n", usual.tables);
    let mut gate = Gate::with(Upstream::start(), &Options { tables, ..usual });
    let bearer = format!("Bearer {}", gate.token("all"));
    let fields = [("Authorization", &*bearer), ("Transfer-Encoding", "chunked")];
    let mut bytes = request("PUT /api/0/organizations/acme/issues/", &fields, b"");
    bytes.extend_from_slice(format!("800\r\n{}\r\n0\r\n\r\n", "x".repeat(0x800)).as_bytes());
    assert_eq!(crate::client::send(gate.address, &bytes).unwrap().status, 413);
    assert!(gate.upstream.take().is_empty());
    gate.stop();
    let found = of_kind(&text(&gate), "decision");
    let seen: Vec<_> =
        found.iter().map(|record| (&record["decision"], &record["reason"])).collect();
    let (allow, refuse, large) = (json!("allow"), json!("refuse"), json!("too_large"));
    assert_eq!(seen, [(&allow, &Value::Null), (&refuse, &large)]);
    assert_eq!(found[0]["request_id"], found[1]["request_id"]);
}

#[test]
fn clients_are_recorded_as_far_as_the_operator_wants_in_both_logs() {
    let agent = "Mozilla/5.0 (X11; Linux x86_64)";
    let rows = [
        ("", json!("203.0.113.7"), json!("Mozilla/5.0")),
        (
            "client_address = \"shortened\"\nuser_agent = \"full\"",
            json!("203.0.113.0/24"),
            json!(agent),
        ),
        ("client_address = \"off\"\nuser_agent = \"off\"", Value::Null, Value::Null),
    ];
    for (privacy, address, shown) in rows {
        let usual = options("");
        let tables = format!("{}[privacy]\n{privacy}\n", usual.tables);
        let top = "trusted_proxies = [\"127.0.0.1\"]".to_owned();
        let mut gate = Gate::with(Upstream::start(), &Options { tables, top, ..usual });
        let headers = [("X-Forwarded-For", "203.0.113.7"), ("User-Agent", agent)];
        assert_eq!(gate.send(LINE, &headers).status, 401);
        gate.stop();
        let audited = of_kind(&text(&gate), "decision");
        for line in [&audited[0], &gate.access_lines()[0]] {
            assert_eq!((&line["client_ip"], &line["user_agent"]), (&address, &shown), "{line}");
        }
        if address.is_null() {
            for text in [text(&gate), gate.output()] {
                assert!(!text.contains("203.0.113") && !text.contains("Mozilla"), "{text}");
            }
        }
    }
}
