//! Tokens that nobody is to use.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::{LINE, run, shown};
use crate::client::Reply;
use crate::gate::{Gate, Options, eventually};
use crate::upstream::Upstream;

const CREATE: [&str; 5] = ["token", "create", "--canary", "--name", "laid-out"];
const USES: &str = "portcullis_canary_uses_total";

/// A gateway with an audit, and a canary that it knows.
fn with_canary(kind: &str) -> (Gate, String) {
    let tables = "[audit]\noutput = \"audit.log\"\ndecisions = []".to_owned();
    let gate = Gate::with(Upstream::start(), &Options { tables, ..Options::default() });
    let of: &[&str] = match kind {
        "dsn" => &["--organization", "acme", "--project", "1"],
        _ => &[],
    };
    let words = [&CREATE[..], &["--kind", kind], of].concat();
    let secret = gate.portcullis(&words).trim().to_owned();
    gate.settle();
    (gate, secret)
}

/// What a client sees, but for what differs from request to request.
fn seen(reply: &Reply) -> (u16, Vec<(String, String)>, serde_json::Value) {
    let varies = |name: &str| matches!(name, "x-request-id" | "date");
    let headers = reply.headers.iter().filter(|(name, _)| !varies(name)).cloned().collect();
    let mut body = reply.json();
    body["request_id"] = json!(null);
    (reply.status, headers, body)
}

#[test]
fn whoever_presents_one_sees_an_unknown_token_and_is_seen() {
    let (mut gate, secret) = with_canary("bearer");
    let unknown = {
        let random: Vec<u8> = (0..96).collect();
        portcullis::policy::token::mint('t', &random).unwrap()
    };
    let lines = [
        LINE,
        "DELETE /api/0/organizations/acme/issues/",
        "GET /api/0/organizations/acme/nothing/",
        "GET /nowhere/",
        "GET /api/0/",
        "PATCH /api/0/organizations/acme/issues/",
        "GET /api/0/organizations/../issues/",
        "GET /api/0/organizations/acme/api-keys/",
    ];
    for (number, line) in lines.iter().enumerate() {
        let [own, other] = [&secret, &unknown].map(|token| seen(&gate.bearer(line, token)));
        assert_eq!(own, other, "{line}");
        gate.counts(USES, &[], (number + 1) as f64);
    }
    // In whatever field, and beside another one.
    let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("{secret}:")));
    let bearer = format!("bearer {secret}");
    for headers in [
        &[("Authorization", basic.as_str())][..],
        &[("Authorization", "Bearer x"), ("Authorization", bearer.as_str())],
        &[("Host", "elsewhere.example"), ("Authorization", bearer.as_str())],
    ] {
        let before = gate.metric(USES, &[]);
        assert!(gate.send(LINE, headers).status >= 400);
        gate.counts(USES, &[], before + 1.0);
    }
    assert!(gate.upstream.take().is_empty());
    let id = shown(&gate, "laid-out")["id"].as_str().unwrap().to_owned();
    let all = lines.len() + 3;
    eventually("it written down", || shown(&gate, &id)["use"]["requests"] == all);
    let told = shown(&gate, &id);
    assert_eq!(told["use"]["last_network"], "127.0.0.0/24");
    assert!(told["canary"] == true && told["last_used_at"].is_string());
    gate.stop();
    let output = gate.output();
    let line = output.lines().find(|line| line.contains("a canary was presented")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["level"], &line["token"]), (&json!("WARN"), &json!(id)), "{line}");
    assert_eq!(line["client_ip"], "127.0.0.1");
    // It is audited, whatever else is.
    let audit = std::fs::read_to_string(gate.folder.path().join("audit.log")).unwrap();
    let found = audit.lines().filter(|line| line.contains(&format!("\"canary\":\"{id}\"")));
    assert_eq!(found.count(), all);
    assert!(!output.contains(&secret) && !audit.contains(&secret));
}

#[test]
fn keys_are_seen_too_and_nobody_is_seen_in_vain() {
    let (gate, key) = with_canary("api-key");
    let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("{key}:")));
    assert_eq!(gate.send(LINE, &[("Authorization", &basic)]).code(), "unknown_token");
    gate.counts(USES, &[], 1.0);
    let token = gate.token("event:read");
    gate.settle();
    assert_eq!(gate.bearer(LINE, &token).status, 200);
    assert_eq!(gate.send(LINE, &[]).status, 401);
    assert_eq!(gate.bearer(LINE, "sntryu_of-somebody").status, 401);
    gate.counts(USES, &[], 1.0);
    // Revoked, it is a token that is not known.
    gate.portcullis(&["token", "revoke", "laid-out"]);
    gate.settle();
    assert_eq!(gate.send(LINE, &[("Authorization", &basic)]).code(), "unknown_token");
    gate.counts(USES, &[], 1.0);

    let (gate, dsn) = with_canary("dsn");
    assert!(dsn.ends_with("@gw.example/1"), "{dsn}");
    let public = dsn.split_once("://").unwrap().1.split('@').next().unwrap();
    let auth = format!("Sentry sentry_version=7, sentry_key={public}");
    for headers in [("Authorization", &*format!("DSN {dsn}")), ("X-Sentry-Auth", &auth)] {
        assert_eq!(gate.send(LINE, &[headers]).status, 401, "{headers:?}");
    }
    gate.send(&format!("GET /api/1/envelope/?sentry_key={public}"), &[]);
    gate.counts(USES, &[], 3.0);
}

#[test]
fn what_is_no_canary_is_refused() {
    let gate = Gate::start();
    for words in [["--scope", "org:read"], ["--organization", "acme"], ["--expires", "1d"]] {
        let output = run(&gate, &[&CREATE[..], &words].concat());
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(output.stdout.is_empty());
    }
    gate.portcullis(&CREATE);
    let output = run(&gate, &["token", "rotate", "laid-out"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && said.contains("is a canary"), "{said}");
}
