//! What real clients do: other methods, older keys, older HTTP, addresses under a path, and
//! connections that are used again.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis::store::portcullis::TokenKind;
use portcullis::store::portcullis::admin::NewToken;

use crate::client::{Connection, request, send};
use crate::gate::{CANONICAL, Gate, HOST, Options, UPSTREAM_TOKEN, new, only};
use crate::upstream::{Upstream, ok, reply};

const LINE: &str = "GET /api/0/organizations/acme/issues/";
const OWN: &str = "/api/0/organizations/acme/issues/";
/// Takes every kind of credential.
const FEEDBACK: &str = "POST /api/0/projects/acme/web/user-feedback/";

fn basic(user_and_password: &str) -> String {
    format!("Basic {}", STANDARD.encode(user_and_password))
}

#[test]
fn head_is_get_without_a_body() {
    let gate = Gate::before(Upstream::answering(|_, stream| {
        // What an answer to HEAD has: the length of what GET would get.
        reply_head(stream, "Content-Length: 1234\r\nX-Hits: 7\r\n");
    }));
    let (reader, stranger) = (gate.token("event:read"), gate.token("org:read"));
    let line = "HEAD /api/0/organizations/acme/issues/";
    let mut connection = Connection::open(gate.address);
    for (token, status, length) in
        [(Some(&reader), 200, Some("1234")), (Some(&stranger), 403, None), (None, 401, None)]
    {
        let value = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = value.iter().map(|v| ("Authorization", v.as_str())).collect();
        connection.write(&request(line, &headers, b""));
        // The next answer on the connection shows that no body came after this head.
        let answer = connection.read_reply("HEAD").expect("an answer");
        assert_eq!(answer.status, status);
        if let Some(length) = length {
            assert_eq!(answer.header("content-length"), Some(length));
            assert_eq!(answer.header("x-hits"), Some("7"));
            assert_eq!(gate.upstream.take_one().method, "HEAD");
        } else {
            assert!(gate.upstream.take().is_empty());
        }
    }
}

fn reply_head(stream: &mut std::net::TcpStream, headers: &str) {
    stream.write_all(format!("HTTP/1.1 200 OK\r\n{headers}\r\n").as_bytes()).unwrap();
}

#[test]
fn options_is_answered_here_for_every_route_and_nobody() {
    let gate = Gate::start();
    let token = format!("Bearer {}", gate.token("all"));
    let rows: &[(&str, u16, Option<&str>)] = &[
        (OWN, 200, Some("GET, HEAD, PUT, DELETE, OPTIONS")),
        ("/api/0/", 200, Some("GET, HEAD, OPTIONS")),
        ("/api/0/nothing/", 404, None),
        ("/api/0//", 400, None),
    ];
    for (path, status, allow) in rows {
        for headers in [vec![("Origin", "https://app.example")], vec![("Authorization", &*token)]] {
            let answer = gate.send(&format!("OPTIONS {path}"), &headers);
            assert_eq!((answer.status, answer.header("allow")), (*status, *allow), "{path}");
            assert_eq!(answer.header("access-control-allow-credentials"), None, "{path}");
            if *status == 200 {
                assert_eq!(answer.header("access-control-allow-methods"), *allow, "{path}");
                assert!(answer.body.is_empty(), "{path}");
            }
        }
    }
    assert!(gate.upstream.take().is_empty());
}

#[test]
fn a_key_comes_as_the_user_name_with_nothing_behind_it() {
    let gate = Gate::start();
    let key = gate.create(new("key", TokenKind::ApiKey, "event:read"));
    let rows = [
        ("as it should be", basic(&format!("{key}:")), 200, ""),
        ("scheme in another case", basic(&format!("{key}:")).replacen('B', "b", 1), 200, ""),
        ("with a password", basic(&format!("{key}:x")), 401, "malformed_credential"),
        ("itself as the password", basic(&format!("{key}:{key}")), 401, "malformed_credential"),
        ("as the password", basic(&format!(":{key}")), 401, "malformed_credential"),
        ("with two colons", basic(&format!("{key}::")), 401, "malformed_credential"),
        ("without a colon", basic(&key), 401, "malformed_credential"),
        ("no key", basic(":"), 401, "malformed_credential"),
        ("as it is", format!("Basic {key}:"), 401, "malformed_credential"),
        ("cut", basic(&format!("{}:", &key[..key.len() - 1])), 401, "malformed_credential"),
        ("another", basic("0123456789abcdef0123456789abcdef:"), 401, "unknown_token"),
    ];
    for (what, value, status, code) in rows {
        let answer = gate.send(LINE, &[("Authorization", &value)]);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{what}");
        if status == 200 {
            let seen = gate.upstream.take_one();
            assert_eq!(seen.value("authorization"), Some(&*format!("Bearer {UPSTREAM_TOKEN}")));
            assert!(!seen.head.contains(&key) && !seen.head.contains(&value), "{}", seen.head);
        } else {
            // A browser would ask for a password.
            assert!(!answer.header("www-authenticate").unwrap().contains("Basic"), "{what}");
            assert!(gate.upstream.take().is_empty(), "{what}");
        }
    }
    let write =
        gate.send(&LINE.replace("GET", "DELETE"), &[("Authorization", &basic(&(key + ":")))]);
    assert_eq!((write.status, write.code().as_str()), (403, "missing_scope"));
    assert!(gate.upstream.take().is_empty());
}

#[test]
fn a_secret_is_good_only_as_what_it_is() {
    let gate = Gate::start();
    let scopes = "project:write";
    let dsn = NewToken {
        organizations: only(&["acme"]),
        projects: only(&["2", "web"]),
        ..new("dsn", TokenKind::Dsn, scopes)
    };
    let secrets = [
        ("bearer", gate.create(new("bearer", TokenKind::Bearer, scopes))),
        ("basic", gate.create(new("key", TokenKind::ApiKey, scopes))),
        ("dsn", gate.create(dsn)),
    ];
    // Twice: what one of them came to must not answer for another.
    for _ in 0..2 {
        for (own, secret) in &secrets {
            for (way, value) in [
                ("bearer", format!("Bearer {secret}")),
                ("basic", basic(&format!("{secret}:"))),
                ("dsn", format!("DSN http://{secret}@{HOST}/2")),
            ] {
                let answer = gate.send_body(FEEDBACK, &[("Authorization", &value)], b"{}");
                let seen = gate.upstream.take();
                if way == *own {
                    assert_eq!((answer.status, seen.len()), (200, 1), "{own} as {way}");
                    assert!(!seen[0].head.contains(secret), "{}", seen[0].head);
                } else {
                    assert_eq!((answer.status, seen.len()), (401, 0), "{own} as {way}");
                }
            }
        }
    }
}

/// Answers with these fields, each `name: value`.
fn with_fields(fields: Vec<(&'static str, String)>) -> Upstream {
    Upstream::answering(move |_, stream| {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        ok(stream, &fields, b"[]");
    })
}

#[test]
fn behind_a_path_a_client_can_follow_what_it_is_given() {
    let next = format!("{OWN}?&cursor=0:100:0");
    let fields = vec![
        (
            "Link",
            format!("<{CANONICAL}{next}>; rel=\"next\"; results=\"true\"; cursor=\"0:100:0\""),
        ),
        ("Location", format!("{CANONICAL}/api/0/moved/")),
    ];
    let options = Options {
        public_url: Some(format!("http://{HOST}:8443/gate")),
        top: "public_aliases = [\"http://other.example/gate\"]".into(),
        ..Options::default()
    };
    let gate = Gate::with(with_fields(fields), &options);
    let token = gate.token("read");
    for (host, base) in [
        ("gw.example:8443", "http://gw.example:8443/gate"),
        ("other.example", "http://other.example/gate"),
    ] {
        let mut target = format!("/gate{OWN}");
        for forwarded in [OWN, &next, &next] {
            let wire = format!(
                "GET {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n"
            );
            let answer = send(gate.address, wire.as_bytes()).unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
            let seen = gate.upstream.take_one();
            assert_eq!(seen.target, forwarded);
            assert_eq!(seen.value("host"), Some("gw.example:8443"));
            assert_eq!(answer.header("location"), Some(&*format!("{base}/api/0/moved/")));
            let link = answer.header("link").unwrap();
            let (url, rest) = link.strip_prefix('<').unwrap().split_once('>').unwrap();
            assert_eq!(url, format!("{base}{next}"));
            assert_eq!(rest, "; rel=\"next\"; results=\"true\"; cursor=\"0:100:0\"");
            target = url.strip_prefix(base).map(|path| format!("/gate{path}")).unwrap();
        }
    }
}

#[test]
fn links_are_judged_one_by_one() {
    let cursor = "rel=\"next\"; results=\"true\"; cursor=\"1:1:0\"";
    let rows: &[(String, Option<String>)] = &[
        (
            format!(
                "<{CANONICAL}/api/0/projects/?&cursor=1:0:1>; rel=\"previous\"; results=\"false\"; \
                 cursor=\"1:0:1\", <{CANONICAL}/api/0/projects/?&cursor=1:1:0>; {cursor}"
            ),
            Some(format!(
                "<http://{HOST}/api/0/projects/?&cursor=1:0:1>; rel=\"previous\"; \
                 results=\"false\"; cursor=\"1:0:1\", \
                 <http://{HOST}/api/0/projects/?&cursor=1:1:0>; {cursor}"
            )),
        ),
        (
            format!("<http://sentry.internal/x>; {cursor}"),
            Some(format!("<http://{HOST}/x>; {cursor}")),
        ),
        (format!("<//sentry.internal/x>; {cursor}"), Some(format!("<http://{HOST}/x>; {cursor}"))),
        ("<https://foreign.example/x>; rel=\"help\"".into(), None),
        (format!("<{CANONICAL}@evil.example/>; rel=\"next\""), None),
        (format!("<{CANONICAL}.evil.example/>; rel=\"next\""), None),
        ("<https://user@sentry.internal/>; rel=\"next\"".into(), None),
        (format!("<{CANONICAL}:8443/>; rel=\"next\""), None),
        (format!("<https://evil.example/?{CANONICAL}/>; rel=\"next\""), None),
        ("</api/0/x,y;z/?q=\"a,b\">; title=\"a, b; c\"; rel=next".into(), None),
        (
            format!("<{CANONICAL}/api/0/x,y;z/?q=\"a,b\">; title=\"a, b; c > d\"; rel=next"),
            Some(format!(
                "<http://{HOST}/api/0/x,y;z/?q=\"a,b\">; title=\"a, b; c > d\"; rel=next"
            )),
        ),
    ];
    let broken = [format!("{CANONICAL}/x; rel=\"next\""), format!("<{CANONICAL}/x; rel=\"next\"")];
    let fields = rows.iter().map(|(link, _)| link.clone()).chain(broken.clone());
    let gate = Gate::before(with_fields(fields.map(|link| ("Link", link)).collect()));
    let answer = gate.bearer(LINE, &gate.token("read"));
    let links: Vec<_> = answer.headers("link").collect();
    let wanted: Vec<_> =
        rows.iter().map(|(link, new)| new.as_ref().unwrap_or(link).as_str()).collect();
    assert_eq!(links, wanted);
    let counted = |result: &str| gate.metric("portcullis_link_rewrites_total", &[result]);
    let rewritten = rows.iter().filter(|(_, new)| new.is_some()).count();
    assert_eq!(counted("\"rewritten\""), rewritten as f64);
    assert_eq!(counted("\"unchanged\""), (rows.len() - rewritten) as f64);
    assert_eq!(counted("\"dropped\""), broken.len() as f64);
}

#[test]
fn what_the_upstream_says_of_its_limits_is_passed_on() {
    let gate = Gate::before(Upstream::answering(|_, stream| {
        let fields = [
            ("Retry-After", "17"),
            ("X-Sentry-Rate-Limit-Remaining", "0"),
            ("X-Sentry-Proxy-Url", "http://10.0.0.7:9000/"),
            ("Location", "https://foreign.example/login/"),
        ];
        reply(stream, "429 Too Many Requests", &fields, b"{\"detail\":\"slower\"}");
    }));
    let answer = gate.bearer(LINE, &gate.token("read"));
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("17")));
    assert_eq!(answer.header("x-sentry-rate-limit-remaining"), Some("0"));
    assert_eq!(answer.header("location"), Some("https://foreign.example/login/"));
    assert_eq!(answer.header("x-sentry-proxy-url"), None);
    assert_eq!(answer.body, b"{\"detail\":\"slower\"}");
    assert_eq!(gate.upstream.take_one().value("x-request-id"), answer.header("x-request-id"));
}

#[test]
fn a_client_of_http_1_0_is_judged_like_any_other() {
    let gate = Gate::start();
    let token = gate.token("read");
    let credential = format!("Authorization: Bearer {token}\r\n");
    let host = format!("Host: {HOST}\r\n");
    let rows: &[(&str, &[&str], u16)] = &[
        ("as it should be", &[&host, &credential], 200),
        ("that stays", &[&host, &credential, "Connection: keep-alive\r\n"], 200),
        ("that is nobody", &[&host], 401),
        ("that does not say whom it calls", &[&credential], 400),
        ("that calls another", &["Host: other.example\r\n", &credential], 421),
    ];
    for (what, headers, status) in rows {
        let wire = format!("{LINE} HTTP/1.0\r\n{}\r\n", headers.concat());
        let answer = send(gate.address, wire.as_bytes()).expect(what);
        assert_eq!(answer.status, *status, "{what}");
        let seen = gate.upstream.take();
        assert_eq!(seen.len(), usize::from(*status == 200), "{what}");
        if let [seen] = seen.as_slice() {
            assert_eq!(answer.body, b"{\"ok\":true}", "{what}");
            assert_eq!(seen.value("authorization"), Some(&*format!("Bearer {UPSTREAM_TOKEN}")));
            assert_eq!(seen.value("connection"), None, "{what}");
        }
    }
}

#[test]
fn a_client_that_wants_the_end_of_the_connection_gets_it() {
    let gate = Gate::start();
    let token = format!("Bearer {}", gate.token("read"));
    for (credential, status) in [(Some(&token), 200), (None, 401)] {
        let mut headers = vec![("Connection", "close")];
        headers.extend(credential.map(|value| ("Authorization", value.as_str())));
        let mut connection = Connection::open(gate.address);
        connection.write(&request(LINE, &headers, b""));
        assert_eq!(connection.read_reply("GET").map(|answer| answer.status), Some(status));
        assert!(connection.is_closed(), "after {status}");
        assert_eq!(gate.upstream.take().len(), usize::from(status == 200));
    }
}

#[test]
fn a_refusal_says_nothing_about_the_next_request_on_the_connection() {
    let gate = Gate::start();
    let (reader, writer) = (gate.token("event:read"), gate.token("event:write"));
    let (reader, writer) = (format!("Bearer {reader}"), format!("Bearer {writer}"));
    // A body that would be a request, if it were read as one.
    let smuggled =
        request("PUT /api/0/organizations/acme/issues/", &[("Authorization", &writer)], b"");
    let put = "PUT /api/0/organizations/acme/issues/";
    let rows: &[(&str, &str, Option<&str>, &[u8], u16)] = &[
        ("no credential", LINE, None, b"", 401),
        ("no scope", put, Some(&reader), b"", 403),
        ("no scope, with a body", put, Some(&reader), b"{\"status\":\"resolved\"}", 403),
        ("no credential, with a body", put, None, b"{}", 401),
        ("a body like a request", put, Some(&reader), &smuggled, 403),
        ("no route", "POST /api/0/nothing/", Some(&writer), &smuggled, 404),
        ("no method", "POST /api/0/", Some(&writer), &smuggled, 405),
    ];
    for (what, line, credential, body, status) in rows {
        let mut connection = Connection::open(gate.address);
        let headers: Vec<_> = credential.iter().map(|value| ("Authorization", *value)).collect();
        connection.write(&request(line, &headers, body));
        let answer = connection.read_reply("PUT").expect(what);
        assert_eq!(answer.status, *status, "{what}");
        assert!(!answer.closed, "{what}: {answer:?}");
        assert!(gate.upstream.take().is_empty(), "{what}");
        connection.write(&request(put, &[("Authorization", &writer)], b"{\"n\":1}"));
        assert_eq!(connection.read_reply("PUT").expect(what).status, 200, "{what}");
        assert_eq!(gate.upstream.take_one().body, b"{\"n\":1}", "{what}");
        // And the other way round: being let in once is nothing to the next.
        connection.write(&request(LINE, &[], b""));
        assert_eq!(connection.read_reply("GET").expect(what).status, 401, "{what}");
        assert!(gate.upstream.take().is_empty(), "{what}");
    }
}

#[test]
fn requests_that_come_together_are_never_mixed_up() {
    let gate = Gate::before(Upstream::answering(|seen, stream| {
        ok(stream, &[], seen.target.as_bytes());
    }));
    let (reader, writer) = (gate.token("event:read"), gate.token("event:write"));
    let (reader, writer) = (format!("Bearer {reader}"), format!("Bearer {writer}"));
    let put = "PUT /api/0/organizations/acme/issues/";
    let rows: &[(String, Option<&str>, &[u8], u16)] = &[
        (format!("{LINE}?n=0"), Some(&reader), b"", 200),
        (format!("{LINE}?n=1"), None, b"", 401),
        (format!("{put}?n=2"), Some(&writer), b"{\"n\":2}", 200),
        (format!("{put}?n=3"), Some(&reader), b"{\"n\":3}", 403),
        (format!("{LINE}?n=4"), Some(&reader), b"", 200),
    ];
    for first in 0..rows.len() {
        let wire = rows[first..].iter().flat_map(|(line, credential, body, _)| {
            let headers: Vec<_> =
                credential.iter().map(|value| ("Authorization", *value)).collect();
            request(line, &headers, body)
        });
        let mut connection = Connection::open(gate.address);
        connection.write(&wire.collect::<Vec<_>>());
        // The gateway may end the connection after any answer; a client sends the rest again. But
        // it answers in order, each request on its own, and forwards nothing that it did not answer.
        let mut forwarded = Vec::new();
        let mut answered = 0;
        for (line, _, body, status) in &rows[first..] {
            let Some(answer) = connection.read_reply("GET") else { break };
            answered += 1;
            assert_eq!(answer.status, *status, "{line}: {answer:?}");
            if *status == 200 {
                let target = line.split_once(' ').unwrap().1;
                assert_eq!(String::from_utf8_lossy(&answer.body), target);
                forwarded.push((target, *body));
            }
        }
        assert!(answered > 0, "no answer to {}", rows[first].0);
        let seen = gate.upstream.take();
        let seen: Vec<_> = seen.iter().map(|s| (s.target.as_str(), s.body.as_slice())).collect();
        assert_eq!(seen, forwarded);
    }
}
