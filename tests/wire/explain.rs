//! What `explain` says of a request is what the gateway does with it.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::json;

use portcullis::policy::credential::Digest;

use crate::gate::{ADMIN, Gate, Options, eventually, hours};
use crate::upstream::Upstream;

/// The header that an operator sends.
const OPERATOR: (&str, &str) = ("Authorization", "Bearer an-admin-credential-of-a-test");

/// Runs `explain` under the gate's own config.
pub fn explain(gate: &Gate, words: &[&str], input: &str) -> Output {
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
    let gate = Gate::with_admin();
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
            let question = json!({ "method": method, "path": target, "token": presented });
            let asked = gate.operator("POST /explain", &[OPERATOR], &question.to_string());
            assert_eq!((asked.status, asked.json()), (200, told), "{line}");
        }
    }
}

/// Identity headers and assertions: what is explained of them is what the upstream got.
#[test]
fn what_the_upstream_is_told_is_explained_as_it_is_done() {
    const ISSUES: &str = "GET /api/0/organizations/acme/issues/";
    const OPEN: &str = "GET /api/0/organizations/acme/open/";
    const MEMBERS: &str = "GET /api/0/organizations/acme/members/";
    let rule = "[[rule]]\nmethods = [\"GET\"]\naccess = \"public\"\n\
                path = \"/api/0/organizations/{organization_id_or_slug}/open/\"\n";
    let observe = format!("mode = \"observe\"\nobserve_until = \"{}\"", hours(24));
    let both = format!("identity_headers = true\n{observe}");
    let (named, relay) = ("[assertion]\nheader = \"X-Gateway-Assertion\"\n", Upstream::start());
    let elsewhere = format!(
        "[upstream.relay]\nurls = [\"http://{}\"]\nhealth_interval = \"0s\"\n\
         [assertion]\nupstreams = [\"relay\"]\n",
        relay.address
    );
    let (own, gateway) = (Some("x-portcullis-assertion"), Some("x-gateway-assertion"));
    // A token of Sentry's that holds `event:read`, where somebody is known.
    let rows: [(&str, &str, &str, Option<&str>, bool, Option<&str>); 8] = [
        ("", "", ISSUES, Some("sntryu_good"), false, None),
        ("identity_headers = true", "", ISSUES, Some("sntryu_good"), true, None),
        ("identity_headers = true", "", OPEN, None, false, None),
        ("", "[assertion]\n", ISSUES, Some("sntryu_good"), false, own),
        ("", "[assertion]\n", OPEN, None, false, own),
        ("", named, ISSUES, Some("sntryu_good"), false, gateway),
        ("identity_headers = true", &elsewhere, ISSUES, Some("sntryu_good"), true, None),
        // What is only observed is not asserted.
        (&both, "[assertion]\n", MEMBERS, Some("sntryu_good"), true, None),
    ];
    for (top, tables, line, token, identity, assertion) in rows {
        let sentry = crate::introspection::sentry();
        let options = Options {
            top: top.to_owned(),
            admin: "credential = { file = \"admin-credential\" }".to_owned(),
            stores: Some(crate::introspection::sentry_store(sentry.address, "")),
            rules: rule.to_owned(),
            tables: tables.to_owned(),
            ..Options::default()
        };
        let gate = Gate::with(Upstream::start(), &options);
        let what = format!("{top} {tables} {line}");
        let mut served = 503;
        eventually("an answer of the store", || {
            gate.upstream.take();
            served = match token {
                Some(token) => gate.bearer(line, token).status,
                None => gate.send(line, &[]).status,
            };
            served != 503
        });
        assert_eq!(served, 200, "{what}");
        let seen = gate.upstream.take_one();
        assert_eq!(seen.value("x-portcullis-subject").is_some(), identity, "{what}");
        for name in ["x-portcullis-assertion", "x-gateway-assertion"] {
            assert_eq!(seen.value(name).is_some(), assertion == Some(name), "{what} {name}");
        }

        let (method, target) = line.split_once(' ').unwrap();
        let question = json!({ "method": method, "path": target, "token": token });
        let told = gate.operator("POST /explain", &[OPERATOR], &question.to_string()).json();
        let outcome = &told["outcome"];
        let wanted = (json!(identity), assertion.map_or(json!(null), |name| json!(name)));
        let found = (outcome["identity_headers"].clone(), outcome["assertion"].clone());
        assert_eq!(found, wanted, "{what}: {told}");
        let words: Vec<_> =
            [method, target].into_iter().chain(token.map(|_| "--token-stdin")).collect();
        let text = explain(&gate, &words, &format!("{}\n", token.unwrap_or_default()));
        let text = String::from_utf8(text.stdout).unwrap();
        let identity = if identity { "who called" } else { "none" };
        let assertion = assertion.unwrap_or("none");
        for line in [
            format!("\n            identity headers upstream: {identity}\n"),
            format!("\n            assertion upstream: {assertion}\n"),
        ] {
            assert!(text.contains(&line), "{what}: {line} in\n{text}");
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

#[test]
fn the_admin_listener_answers_operators_alone() {
    let question = r#"{"method": "GET", "path": "/api/0/", "scopes": ["org:read"]}"#;
    let lines =
        ["POST /explain", "POST /cache/purge", "GET /unmatched", "GET /nothing", "GET /explain"];
    let without = Gate::start();
    for line in lines {
        assert_eq!(without.operator(line, &[OPERATOR], question).status, 404, "{line}");
    }
    let gate = Gate::with_admin();
    let cookie = format!("credential={ADMIN}");
    let wrong: [&[(&str, &str)]; 4] = [
        &[],
        &[("Authorization", "Bearer another-credential-of-a-test")],
        &[("Cookie", &cookie)],
        &[OPERATOR, ("Authorization", "Bearer x")],
    ];
    for line in lines {
        for headers in wrong {
            let refused = gate.operator(line, headers, question);
            assert_eq!(refused.status, 401, "{line} {headers:?}");
            assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
        }
    }
    let status = |line: &str, body: &str| gate.operator(line, &[OPERATOR], body).status;
    assert_eq!(status("POST /explain", question), 200);
    assert_eq!(status("GET /explain", ""), 405);
    assert_eq!(status("POST /unmatched", "x"), 405);
    assert_eq!(status("GET /nothing", ""), 404);
    for (wrong, words) in [
        ("{}", "JSON object"),
        ("SEKRET", "JSON object"),
        (r#"{"method": "GET", "path": "/", "tokn": "SEKRET"}"#, "JSON object"),
        (r#"{"method": "GET", "path": "/", "token": "SEKRET\n"}"#, "copy it again"),
        (r#"{"method": "GET", "path": "ftp://x/"}"#, "scheme of a request"),
        (r#"{"method": "GET", "path": "/", "scopes": ["org:reed"]}"#, "org:read"),
    ] {
        let refused = gate.operator("POST /explain", &[OPERATOR], wrong);
        assert_eq!(refused.status, 400, "{wrong}");
        let told = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(told.contains(words) && !told.contains("SEKRET"), "{told}");
    }
    assert_eq!(status("POST /explain", &" ".repeat(70 << 10)), 413);
    // Not by the public listener, whatever it is called.
    for line in
        ["POST /explain", "POST /cache/purge", "GET /unmatched", "GET /metrics", "GET /readyz"]
    {
        let body = if line.starts_with("POST") { question } else { "" };
        assert_eq!(gate.send_body(line, &[OPERATOR], body.as_bytes()).status, 404, "{line}");
    }
    assert!(gate.upstream.take().is_empty());
    assert!(!gate.output().contains(ADMIN));
}

#[test]
fn what_no_rule_knows_is_shown_to_operators() {
    let mut gate = Gate::with_admin();
    let token = gate.token("all");
    for id in 0..5 {
        let line = format!("GET /api/0/organizations/acme/new-thing/{id}/sntryu_SEKRET{id}/");
        assert_eq!(gate.bearer(&line, &token).status, 404);
    }
    for line in ["GET /wp-login.php", "GET /.env", "POST /api/0/sekrets/"] {
        assert_eq!(gate.bearer(line, &token).status, 404, "{line}");
    }
    // A route that is known is none of them.
    assert_eq!(gate.bearer("GET /api/0/api-tokens/", &token).status, 403);
    assert_eq!(gate.bearer("PUT /api/0/organizations/", &token).status, 405);
    let seen = gate.operator("GET /unmatched", &[OPERATOR], "").json();
    let rows: Vec<_> = seen["unmatched"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                row["method"].as_str().unwrap(),
                row["path"].as_str().unwrap(),
                row["count"].as_u64().unwrap(),
            )
        })
        .collect();
    let new = "/api/0/organizations/{organization_id_or_slug}/new-thing/{}/{}/";
    assert_eq!(rows, [("GET", new, 5), ("GET", "elsewhere", 2), ("POST", "/api/0/sekrets/", 1)]);
    gate.stop();
    let told = gate.output();
    assert_eq!(told.matches("no rule knows this").count(), 3, "{told}");
    assert!(!told.contains("SEKRET"), "{told}");
}

#[test]
fn operators_have_identities_forgotten() {
    let gate = Gate::with_admin();
    let (one, other) = (gate.token("org:read"), gate.token("org:read"));
    gate.settle();
    let line = "GET /api/0/organizations/";
    let known = |expected: f64| {
        eventually("the cache", || gate.metric("portcullis_cache_entries", &[]) == expected);
    };
    let purge = |body: &str| {
        let reply = gate.operator("POST /cache/purge", &[OPERATOR], body);
        (reply.status, reply.json()["purged"].as_u64())
    };
    let misses = || gate.metric("portcullis_cache_requests_total", &["result=\"miss\""]);
    let fill = || {
        for token in [&one, &other] {
            assert_eq!(gate.bearer(line, token).status, 200);
        }
        known(2.0);
    };
    fill();
    let fingerprint = Digest::of(&one).fingerprint();
    assert_eq!(
        purge(&json!({ "fingerprint": fingerprint.to_string() }).to_string()),
        (200, Some(1))
    );
    known(1.0);
    let before = misses();
    fill();
    eventually("one question", || misses() == before + 1.0);
    assert_eq!(purge(r#"{"store": "portcullis"}"#), (200, Some(2)));
    known(0.0);
    fill();
    assert_eq!(purge(r#"{"all": true}"#), (200, Some(2)));
    known(0.0);
    assert_eq!(purge(r#"{"fingerprint": "00000000"}"#), (200, Some(0)));
    for (wrong, status) in [
        (r#"{"fingerprint": "sntryu_x"}"#, 400),
        (r#"{"fingerprint": "+1234567"}"#, 400),
        (r#"{"store": "elsewhere"}"#, 404),
        (r#"{"all": false}"#, 400),
        (r#"{"all": true, "store": "portcullis"}"#, 400),
        ("{}", 400),
        ("", 400),
    ] {
        assert_eq!(purge(wrong).0, status, "{wrong}");
    }
}
