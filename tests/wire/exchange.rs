//! What stands between a token of the gateway and the upstream's own credential.

use std::io::Write as _;

use crate::client::{Connection, request};
use crate::gate::{Gate, HOST, UPSTREAM_TOKEN, eventually, new};
use crate::upstream::{Upstream, ok, reply};
use portcullis::store::portcullis::TokenKind;

const ISSUES: &str = "/api/0/organizations/acme/issues/";

/// A gate whose upstream refuses every credential, with a cookie of its own.
fn refused() -> Gate {
    Gate::before(Upstream::answering(|_, stream| {
        let fields = [("WWW-Authenticate", "Basic realm=\"api\""), ("Set-Cookie", "sentrysid=1")];
        reply(stream, "401 Unauthorized", &fields, b"{\"detail\":\"Invalid token\"}");
    }))
}

#[test]
fn the_upstream_gets_its_own_credential_and_never_the_token() {
    let gate = Gate::start();
    let token = gate.token("event:read");
    assert_eq!(gate.bearer(&format!("GET {ISSUES}"), &token).status, 200);
    let seen = gate.upstream.take_one();
    assert_eq!(seen.value("authorization"), Some(format!("Bearer {UPSTREAM_TOKEN}").as_str()));
    assert!(!seen.head.contains(&token));
}

#[test]
fn a_refusal_of_the_upstreams_credential_is_the_operators_and_not_the_clients() {
    let gate = refused();
    let answer = gate.bearer(&format!("GET {ISSUES}"), &gate.token("event:read"));
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_credential_refused"));
    assert_eq!(answer.header("www-authenticate"), None);
    assert_eq!(answer.header("set-cookie"), None);
    let failures = "portcullis_upstream_failures_total";
    let counted = || gate.metric(failures, &["upstream_credential_refused"]);
    eventually("a count", || counted() == 1.0);
}

#[test]
fn a_cookie_of_the_upstreams_own_session_stays_behind() {
    let gate = Gate::before(Upstream::answering(|_, stream| {
        ok(stream, &[("Set-Cookie", "sentrysid=1"), ("X-Hits", "3")], b"[]");
    }));
    let answer = gate.bearer(&format!("GET {ISSUES}"), &gate.token("event:read"));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("set-cookie"), None);
    assert_eq!(answer.header("x-hits"), Some("3"));
}

#[test]
fn a_read_scope_does_not_write_with_the_upstreams_role() {
    let gate = Gate::start();
    let read = gate.token("org:read project:read member:read team:read event:read alerts:read");
    for line in [
        "PUT /api/0/projects/acme/web/",
        "DELETE /api/0/organizations/acme/members/5/",
        "POST /api/0/organizations/acme/org-auth-tokens/",
        "DELETE /api/0/organizations/acme/dashboards/1/",
        "POST /api/0/organizations/acme/agent/token/",
        "GET /api/0/organizations/acme/api-keys/",
        "GET /api/0/authenticators/",
        "GET /api/0/auth/",
    ] {
        let authorization = format!("Bearer {read}");
        let answer = gate.send_body(line, &[("Authorization", &authorization)], b"");
        assert!(matches!(answer.status, 401 | 403), "{line}: {}", answer.status);
    }
    assert!(gate.upstream.take().is_empty());
}

#[test]
fn a_browser_of_a_listed_origin_may_read_the_answer_and_the_refusal() {
    let gate = Gate::start();
    let origins = vec!["https://app.example".to_owned()];
    let token = gate.create(portcullis::store::portcullis::admin::NewToken {
        allowed_origins: origins,
        ..new("app", TokenKind::Bearer, "event:read")
    });
    let authorization = format!("Bearer {token}");
    let ask = |line: &str, origin: &str| {
        gate.send(line, &[("Authorization", &authorization), ("Origin", origin)])
    };
    let own = "https://app.example";
    let answer = ask(&format!("GET {ISSUES}"), own);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some(own));
    assert_eq!(answer.header("vary"), Some("Origin"));
    assert_eq!(gate.upstream.take_one().value("origin"), None);
    let answer = ask(&format!("DELETE {ISSUES}"), own);
    assert_eq!((answer.status, answer.code().as_str()), (403, "missing_scope"));
    assert_eq!(answer.header("access-control-allow-origin"), Some(own));
    for origin in ["https://evil.example", "null", "https://app.example.evil"] {
        let answer = ask(&format!("GET {ISSUES}"), origin);
        assert_eq!((answer.status, answer.code().as_str()), (403, "origin"), "{origin}");
    }
    let line = format!("OPTIONS {ISSUES}");
    for (headers, wanted) in [(&[][..], "*"), (&[("Origin", own)][..], own)] {
        let answer = gate.send(&line, headers);
        assert_eq!(answer.header("access-control-allow-origin"), Some(wanted));
    }
    let two = [("Authorization", &*authorization), ("Origin", own), ("Origin", "https://evil")];
    assert_eq!(gate.send(&format!("GET {ISSUES}"), &two).status, 400);
    assert!(gate.upstream.take().is_empty());
}

#[test]
fn a_client_that_waits_is_told_to_go_on_only_when_it_is_let_in() {
    let gate = Gate::start();
    let token = gate.token("event:admin");
    let ask = |authorization: &str| {
        let fields =
            [("Authorization", authorization), ("Expect", "100-continue"), ("Content-Length", "2")];
        let mut connection = Connection::open(gate.address);
        connection.write(&request(&format!("PUT {ISSUES}"), &fields, b""));
        connection
    };
    let mut connection = ask(&format!("Bearer {token}"));
    assert_eq!(connection.read_head().unwrap().0, 100);
    connection.write(b"{}");
    assert_eq!(connection.read_reply("PUT").unwrap().status, 200);
    let seen = gate.upstream.take_one();
    assert_eq!((seen.body.as_slice(), seen.value("expect")), (&b"{}"[..], None));
    let mut connection = ask("Bearer nobody");
    assert_eq!(connection.read_reply("PUT").unwrap().status, 401);
    assert!(connection.is_closed());
    assert!(gate.upstream.take().is_empty());
}

#[test]
fn a_client_of_http_1_0_gets_no_chunks_and_no_open_connection() {
    let gate = Gate::before(Upstream::answering(|_, stream| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
        let body = b"Transfer-Encoding: chunked\r\n\r\n4\r\n[1, \r\n2\r\n2]\r\n0\r\n\r\n";
        let _ = stream.write_all(&[head.as_slice(), body].concat());
    }));
    let token = gate.token("event:read");
    for (keep, body) in [("", "[1, 2]"), ("Connection: keep-alive\r\n", "[1, 2]")] {
        let wire = format!(
            "GET {ISSUES} HTTP/1.0\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n{keep}\r\n"
        );
        let mut connection = Connection::open(gate.address);
        connection.write(wire.as_bytes());
        let answer = connection.read_reply("GET").unwrap();
        assert_eq!((answer.status, answer.header("transfer-encoding")), (200, None));
        assert_eq!(String::from_utf8(answer.body).unwrap(), body);
        assert!(connection.is_closed());
    }
    // A refusal does not keep it open either, unless it was asked to.
    let mut connection = Connection::open(gate.address);
    connection.write(format!("GET {ISSUES} HTTP/1.0\r\nHost: {HOST}\r\n\r\n").as_bytes());
    assert_eq!(connection.read_reply("GET").unwrap().status, 401);
    assert!(connection.is_closed());
}
