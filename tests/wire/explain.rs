//! What `explain` says of a request is what the gateway does with it.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use crate::gate::Gate;

/// Runs `explain` under the gate's own config.
fn explain(gate: &Gate, words: &[&str], input: &str) -> Output {
    let mut process = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["explain", "--config"])
        .arg(gate.folder.path().join("portcullis.toml"))
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A process that does not read its input may have closed it.
    let _ = process.stdin.take().unwrap().write_all(input.as_bytes());
    process.wait_with_output().unwrap()
}

#[test]
fn what_is_explained_is_what_is_served() {
    let gate = Gate::start();
    let token = gate.token("event:read");
    let rows = [
        "GET /api/0/organizations/acme/issues/?query=x",
        "HEAD /api/0/organizations/acme/issues/",
        "DELETE /api/0/organizations/acme/issues/",
        "POST /api/0/organizations/acme/org-auth-tokens/",
        "PATCH /api/0/organizations/acme/issues/",
        "GET /api/0/organizations/acme%2Fx/issues/",
        "GET /api/0/nothing/",
        "GET /api/0/api-tokens/",
        "GET /elsewhere/",
        "OPTIONS /api/0/organizations/acme/issues/",
        "GET /api/0/",
    ];
    for line in rows {
        let (method, target) = line.split_once(' ').unwrap();
        for presented in [Some(token.as_str()), Some("nobody"), None] {
            let served = match presented {
                Some(token) => gate.bearer(line, token),
                None => gate.send(line, &[]),
            };
            let mut words = vec!["--json", method, target];
            words.extend(presented.map(|_| "--token-stdin"));
            let told = explain(&gate, &words, &format!("{}\n", presented.unwrap_or_default()));
            let code = told.status.code();
            assert_eq!(
                code,
                Some(i32::from(served.status != 200)),
                "{line} {presented:?} {told:?}"
            );
            let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
            let outcome = &told["outcome"];
            if served.status == 200 {
                assert_eq!(told["allowed"], true, "{line}: {told}");
            } else {
                assert_eq!(outcome["status"], served.status, "{line}: {told}");
                if method != "HEAD" {
                    assert_eq!(outcome["code"], served.code(), "{line}: {told}");
                    assert_eq!(outcome["detail"], served.json()["detail"], "{line}: {told}");
                }
            }
            assert!(!told.to_string().contains(&token), "{told}");
        }
    }
}

#[test]
fn the_scopes_of_a_call_can_be_asked_for_without_a_token() {
    let gate = Gate::start();
    let line = ["DELETE", "http://gw.example/api/0/organizations/acme/issues/"];
    let told = explain(&gate, &[&line[..], &["--scope", "event:read"]].concat(), "");
    assert_eq!(told.status.code(), Some(1), "{told:?}");
    let text = String::from_utf8(told.stdout).unwrap();
    for words in
        ["needs       one of event:admin\n", "holds       event:read\n", "403 missing_scope"]
    {
        assert!(text.contains(words), "{words} in\n{text}");
    }
    let told = explain(&gate, &[&line[..], &["--scope", "event:admin"]].concat(), "");
    assert_eq!(told.status.code(), Some(0), "{told:?}");
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(text.contains("organization_id_or_slug = acme\n"), "{text}");
    assert!(text.contains("credential upstream: the upstream's"), "{text}");
    let bound = ["--scope", "event:admin", "--organization", "globex"];
    let told = explain(&gate, &[&line[..], &bound].concat(), "");
    assert!(String::from_utf8(told.stdout).unwrap().contains("403 wrong_organization"));
    // Another host is told apart, as it is served.
    let told = explain(&gate, &["GET", "https://evil.example/api/0/"], "");
    assert!(String::from_utf8(told.stdout).unwrap().contains("421 misdirected"));
    let told = explain(&gate, &["GET", "ftp://gw.example/"], "");
    assert_eq!(told.status.code(), Some(2), "{told:?}");
}
