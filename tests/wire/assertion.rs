//! Assertions: what stands behind the gateway can verify that this very request was authorised, and
//! nobody else can say so. And identity headers, which nobody else can send either.

mod headers;
mod keys;
mod verifier;

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value;

use crate::client::{Reply, send};
use crate::gate::{Gate, HOST, Options, eventually};
use crate::introspection::{LINE as ISSUES, sentry, sentry_store};
use crate::upstream::{Seen, Upstream, ok, reply};
use verifier::Verifier;

const HEADER: &str = "x-portcullis-assertion";
const LINE: &str = "GET /api/0/organizations/acme/issues/?query=is%3Aunresolved&limit=25";

/// A gateway before an upstream that answers with the claims of each request that it can verify, and with
/// 403 to all others.
fn gate(options: &Options) -> (Gate, Arc<Verifier>) {
    let verifier = Arc::new(Verifier::new(HEADER, "web"));
    let own = Arc::clone(&verifier);
    let upstream = Upstream::answering(move |seen, stream| match own.verify(seen) {
        Ok(claims) => ok(stream, &[], claims.to_string().as_bytes()),
        Err(why) => reply(stream, "403 Forbidden", &[], format!("{{\"why\":{why:?}}}").as_bytes()),
    });
    let gate = Gate::with(upstream, options);
    verifier.ask(gate.admin);
    (gate, verifier)
}

fn asserting(lines: &str) -> Options {
    Options { tables: format!("[assertion]\n{lines}\n"), ..Options::default() }
}

/// Sends a request as somebody does who has got behind the gateway.
fn behind(upstream: SocketAddr, method: &str, target: &str, assertion: &str) -> Reply {
    let head = format!("{method} {target} HTTP/1.1\r\nHost: web\r\n{HEADER}: {assertion}\r\n\r\n");
    send(upstream, head.as_bytes()).unwrap()
}

fn why(reply: &Reply) -> String {
    assert_eq!(reply.status, 403, "{reply:?}");
    reply.json()["why"].as_str().unwrap().to_owned()
}

fn assertion_of(seen: &Seen) -> String {
    seen.value(HEADER).unwrap().to_owned()
}

#[test]
fn what_stands_behind_verifies_that_this_very_request_was_authorised() {
    let (gate, _) = gate(&asserting(""));
    let token = gate.token("event:read event:write");
    let answer = gate.bearer(LINE, &token);
    assert_eq!(answer.status, 200, "{answer:?}");
    let (claims, seen) = (answer.json(), gate.upstream.take_one());
    let request_id = answer.header("x-request-id").unwrap();
    let route = "/api/0/organizations/{organization_id_or_slug}/issues/";
    for (name, wanted) in [
        ("iss", &*format!("http://{HOST}")),
        ("aud", "web"),
        ("sub", &gate.id_of(&token)),
        ("jti", request_id),
        ("scope", "event:read event:write"),
        ("method", "GET"),
        ("path", "/api/0/organizations/acme/issues/"),
        ("org", "acme"),
        ("route", route),
        ("scheme", "bearer"),
        ("credential_kind", "user_token"),
    ] {
        assert_eq!(claims[name], wanted, "{name}");
    }
    let number = |name: &str| claims[name].as_u64().unwrap();
    assert_eq!(number("exp") - number("iat"), 30);
    assert_eq!(claims.get("project"), None);
    eventually("an access line", || gate.output().contains(request_id));
    assert!(gate.output().contains(claims["token_fp"].as_str().unwrap()));

    // Whoever has seen it can do that request again for half a minute, and no other.
    let stolen = assertion_of(&seen);
    assert_eq!(behind(gate.upstream.address, "GET", &seen.target, &stolen).status, 200);
    let mut tampered = stolen.clone();
    tampered.replace_range(stolen.len() - 4.., "AAAA");
    let (head, _) = stolen.rsplit_once('.').unwrap();
    for (method, target, assertion, wanted) in [
        ("GET", "/api/0/organizations/acme/users/", &*stolen, "another path"),
        ("GET", "/api/0/organizations/%61cme/issues/", &stolen, "another path"),
        ("DELETE", &*seen.target, &stolen, "another method"),
        ("GET", "/api/0/organizations/acme/issues/", &stolen, "another query_sha256"),
        ("GET", "/api/0/organizations/acme/issues/?limit=25", &stolen, "another query_sha256"),
        ("GET", &seen.target, &tampered, "InvalidSignature"),
        ("GET", &seen.target, &format!("{head}."), "InvalidSignature"),
        ("GET", &seen.target, "eyJhbGciOiJub25lIn0.e30.", "unknown variant"),
    ] {
        let reply = behind(gate.upstream.address, method, target, assertion);
        assert!(why(&reply).contains(wanted), "{method} {target}: {reply:?}");
    }
}

#[test]
fn the_path_is_the_one_that_is_forwarded_byte_for_byte() {
    let options = Options {
        public_url: Some(format!("http://{HOST}/sentry")),
        ..asserting("issuer = \"http://gw.example\"")
    };
    let (gate, _) = gate(&options);
    let token = gate.token("read");
    let target = "/api/0/organizations/%61cme/issues/?q=%2e%2e/&q";
    assert_eq!(gate.bearer(&format!("GET /sentry{target}"), &token).status, 200);
    let seen = gate.upstream.take_one();
    assert_eq!(seen.target, target);
    let claims = claims(&seen);
    assert_eq!(claims["path"], "/api/0/organizations/%61cme/issues/");
    assert_eq!(claims["org"], "acme");
}

/// The claims of an assertion, unverified.
fn claims(seen: &Seen) -> Value {
    jsonwebtoken::dangerous::insecure_decode_claims(assertion_of(seen)).unwrap()
}

#[test]
fn an_assertion_expires() {
    let (gate, _) = gate(&asserting("ttl = \"5s\""));
    let token = gate.token("read");
    // On a machine with too much to do it may have expired already.
    assert!(matches!(gate.bearer(LINE, &token).status, 200 | 403));
    let seen = gate.upstream.take_one();
    let mut last = String::new();
    eventually("a refusal", || {
        let reply = behind(gate.upstream.address, "GET", &seen.target, &assertion_of(&seen));
        last = String::from_utf8_lossy(&reply.body).into_owned();
        reply.status == 403
    });
    assert!(last.contains("ExpiredSignature"), "{last}");
}

#[test]
fn whatever_is_forwarded_in_parts_is_asserted_too() {
    let rule = "[[rule]]\nmethods = [\"POST\", \"GET\"]\nscopes = [\"org:write\"]\noverride = true\n\
                path = \"/api/0/organizations/{organization_id_or_slug}/own/\"\n\
                rewrite = { fields = [\"/url\"] }\n";
    let options = Options { rules: rule.replace("override = true\n", ""), ..asserting("") };
    let (gate, _) = gate(&options);
    let token = gate.token("org:write");
    // A body that is kept, and an answer that is.
    let wire = format!(
        "POST /api/0/organizations/acme/own/?a=b HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer \
         {token}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
    );
    let reply = send(gate.address, wire.as_bytes()).unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(gate.upstream.take_one().body, b"{}");
    assert_eq!(reply.json()["jti"], reply.header("x-request-id").unwrap());
}

#[test]
fn a_websocket_and_a_browser_session_are_asserted_for_nobody_who_is_not_known() {
    let rule = "[[rule]]\nmethods = [\"GET\"]\nscopes = [\"org:read\"]\nwebsocket = true\nsession = true\n\
                path = \"/api/0/organizations/{organization_id_or_slug}/own/\"\n";
    let listen = "expose = [\"api\", \"ui\"]".to_owned();
    let (gate, _) = gate(&Options { rules: rule.to_owned(), listen, ..asserting("") });
    let line = "GET /api/0/organizations/acme/own/";
    let claims = gate.send(line, &[("Cookie", "sentrysid=1")]).json();
    assert_eq!((&claims["scheme"], claims.get("sub")), (&"session".into(), None), "{claims}");
    assert_eq!(gate.upstream.take_one().value("cookie"), Some("sentrysid=1"));
    let authorization = format!("Bearer {}", gate.token("org:read"));
    let fields = [
        ("Authorization", &*authorization),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let answer = gate.send(line, &fields);
    assert_eq!((answer.status, &answer.json()["scope"]), (200, &"org:read".into()));
    assert_eq!(gate.upstream.take_one().value("upgrade"), Some("websocket"));
}

#[test]
fn where_nobody_is_known_nobody_is_asserted() {
    let rule = "[[rule]]\nmethods = [\"GET\"]\naccess = \"public\"\n\
                path = \"/api/0/organizations/{organization_id_or_slug}/open/\"\n";
    let (gate, _) = gate(&Options { rules: rule.to_owned(), ..asserting("") });
    let answer = gate.send("GET /api/0/organizations/acme/open/", &[]);
    assert_eq!(answer.status, 200, "{answer:?}");
    let claims = answer.json();
    for absent in ["sub", "scope", "scheme", "credential_kind", "token_fp"] {
        assert_eq!(claims.get(absent), None, "{absent}: {claims}");
    }
    assert_eq!(claims["path"], "/api/0/organizations/acme/open/");
}

#[test]
fn what_was_only_observed_is_not_asserted() {
    let sentry = sentry();
    let options = Options {
        top: "mode = \"observe\"\nobserve_until = \"UNTIL\"".replace("UNTIL", &tomorrow()),
        stores: Some(sentry_store(sentry.address, "")),
        ..asserting("")
    };
    let (gate, _) = gate(&options);
    let ask = |line: &str| gate.bearer(line, "sntryu_good");
    // It holds `event:read` alone.
    let answer = ask(ISSUES);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["scheme"], "bearer");
    gate.upstream.take();
    assert_eq!(ask("GET /api/0/organizations/acme/members/").status, 403, "by the upstream");
    let seen = gate.upstream.take_one();
    assert_eq!(seen.values(HEADER), [""; 0]);
    gate.counts("portcullis_decisions_total", &["observe"], 1.0);
}

fn tomorrow() -> String {
    crate::gate::hours(24).to_string()
}

#[test]
fn only_the_upstreams_that_are_named_get_one_for_whoever_they_are() {
    let relay = Upstream::start();
    let tables = |lines: &str| {
        let health = "health_interval = \"0s\"";
        let relay = format!("[upstream.relay]\nurls = [\"http://{}\"]\n{health}\n", relay.address);
        Options {
            listen: "expose = [\"api\", \"ingest\"]".to_owned(),
            tables: format!("{relay}[assertion]\n{lines}\n"),
            ..Options::default()
        }
    };
    let key = "9cd363c59c05141f32414694128a7c21";
    let auth = format!("Sentry sentry_key={key}, sentry_version=7");
    for (lines, audiences) in [
        ("", [Some("web"), None]),
        ("upstreams = [\"web\", \"relay\"]", [Some("web"), Some("relay")]),
        ("upstreams = [\"relay\"]\naudience = \"https://x\"", [None, Some("https://x")]),
    ] {
        let gate = Gate::with(Upstream::start(), &tables(lines));
        assert_eq!(gate.bearer(LINE, &gate.token("read")).status, 200);
        let fields = [("X-Sentry-Auth", &*auth), ("X-Portcullis-Assertion", "evil")];
        let answer = gate.send_body("POST /api/7/store/", &fields, b"{}");
        assert_eq!(answer.status, 200, "{answer:?}");
        let seen = [gate.upstream.take_one(), relay.take_one()];
        for (seen, audience) in seen.iter().zip(audiences) {
            let own = seen.value(HEADER).map(|_| claims(seen)["aud"].as_str().unwrap().to_owned());
            assert_eq!(own.as_deref(), audience, "{lines}");
        }
        assert!(!seen[1].head.contains("evil"), "{}", seen[1].head);
        // Who an SDK is, is for Relay to tell.
        assert_eq!(seen[1].value("x-sentry-auth"), Some(&*auth));
    }
}
