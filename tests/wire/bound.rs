//! Tokens that are bound to a project: what the upstream receives of them, and what it does not.

mod adversary;
mod kept;

use serde_json::json;

use crate::client::Reply;
use crate::gate::{Gate, eventually, new, only};
use crate::upstream::{Seen, Upstream, ok, reply};
use portcullis::policy::identity::Narrowing;
use portcullis::store::portcullis::TokenKind;
use portcullis::store::portcullis::admin::NewToken;

/// A Sentry with the projects `web` (42) and `app` (43) of `acme` (1), and a release and an issue of each.
pub fn sentry() -> Upstream {
    Upstream::answering(|seen, stream| {
        let project = |id: u64, slug: &str| {
            json!({ "id": id.to_string(), "slug": slug,
                "organization": { "id": "1", "slug": "acme" } })
        };
        let release = |version: &str, projects: &[u64]| {
            let projects: Vec<_> =
                projects.iter().map(|id| json!({ "id": id, "slug": "s" })).collect();
            json!({ "version": version, "projects": projects })
        };
        let path = seen.target.split('?').next().unwrap();
        let body = match path {
            "/api/0/organizations/globex/" => return reply(stream, "404 Not Found", &[], b"{}"),
            "/api/0/organizations/acme/" => json!({ "id": "1", "slug": "acme" }),
            "/api/0/projects/acme/web/" | "/api/0/projects/1/web/" => project(42, "web"),
            "/api/0/projects/acme/app/" => project(43, "app"),
            "/api/0/organizations/acme/releases/web%401/" => release("web@1", &[42]),
            "/api/0/organizations/acme/releases/shared%401/" => release("shared@1", &[42, 43]),
            "/api/0/organizations/acme/issues/7/" => {
                json!({ "id": "7", "project": { "id": "42", "slug": "web" } })
            }
            "/api/0/organizations/acme/issues/8/" => {
                json!({ "id": "8", "project": { "id": "43", "slug": "app" } })
            }
            path if path.contains("/releases/") && path.ends_with("401/") => {
                return reply(stream, "404 Not Found", &[], b"{}");
            }
            "/api/0/projects/acme/broken/" => return reply(stream, "500 Oh", &[], b""),
            path if path.starts_with("/api/0/projects/acme/") && path.matches('/').count() == 6 => {
                return reply(stream, "404 Not Found", &[], b"{}");
            }
            _ => json!([]),
        };
        ok(stream, &[("Content-Type", "application/json")], body.to_string().as_bytes());
    })
}

pub fn bound(gate: &Gate, narrowing: Narrowing) -> String {
    let (organizations, projects) = (only(&["1"]), only(&["42"]));
    let name = format!("bound {narrowing:?}");
    let name = name.chars().take(60).collect::<String>();
    let all = new(&name, TokenKind::Bearer, "all");
    gate.create(NewToken { organizations, projects, narrowing, ..all })
}

/// What the upstream received besides questions of the gateway's own.
pub fn received(gate: &Gate) -> Vec<Seen> {
    let own = |seen: &Seen| {
        seen.value("user-agent").is_some_and(|agent| agent.starts_with("portcullis/"))
    };
    gate.upstream.take().into_iter().filter(|seen| !own(seen)).collect()
}

pub fn send(gate: &Gate, line: &str, token: &str, body: &str) -> Reply {
    let authorization = format!("Bearer {token}");
    let headers = [
        ("Authorization", &*authorization),
        ("Content-Type", "application/json"),
        ("User-Agent", "t"),
    ];
    let headers = if body.is_empty() { &headers[..1] } else { &headers[..] };
    gate.send_body(line, headers, body.as_bytes())
}

#[test]
fn what_is_of_the_project_arrives_and_what_is_of_another_does_not() {
    let gate = Gate::before(sentry());
    let token = bound(&gate, Narrowing::NONE);
    let acme = "/api/0/organizations/acme";
    let rows = [
        // As it came.
        ("GET /api/0/projects/acme/web/issues/?cursor=", "="),
        (&*format!("GET {acme}/issues/7/"), "="),
        (&*format!("GET {acme}/releases/web%401/"), "="),
        (&*format!("GET {acme}/chunk-upload/"), "="),
        // With what was missing.
        (&*format!("GET {acme}/issues/"), &*format!("{acme}/issues/?project=42")),
        (
            &*format!("GET {acme}/issues/?query=a%20b"),
            &*format!("{acme}/issues/?query=a%20b&project=42"),
        ),
        (
            &*format!("GET {acme}/projects/?cursor="),
            &*format!("{acme}/projects/?cursor=&query=id:42"),
        ),
        (&*format!("GET {acme}/projects/?query=id%3A42&cursor=0:100:0"), "="),
        // Not at all.
        ("GET /api/0/projects/acme/app/issues/", ""),
        ("GET /api/0/projects/acme/nothing/issues/", ""),
        (&*format!("GET {acme}/issues/?project=43"), ""),
        (&*format!("GET {acme}/issues/?project=42&project=43"), ""),
        (&*format!("GET {acme}/issues/8/"), ""),
        (&*format!("GET {acme}/releases/shared%401/"), ""),
        (&*format!("GET {acme}/projects/?query=web"), ""),
        (&*format!("GET {acme}/projects/?query=id:42&query=id:43"), ""),
        (&*format!("GET {acme}/teams/"), ""),
        ("GET /api/0/projects/", ""),
        ("GET /api/0/organizations/globex/issues/", ""),
    ];
    for (line, wanted) in rows {
        let answer = send(&gate, line, &token, "");
        let seen = received(&gate);
        let targets: Vec<_> = seen.iter().map(|seen| seen.target.clone()).collect();
        match wanted {
            "" => {
                assert_eq!((answer.status, targets.len()), (403, 0), "{line} {targets:?}");
                assert!(["binding", "wrong_organization"].contains(&&*answer.code()), "{line}");
            }
            "=" => assert_eq!(targets, [line.split_once(' ').unwrap().1], "{line}"),
            other => assert_eq!(targets, [other], "{line} {answer:?}"),
        }
    }
    let answer = send(&gate, "GET /api/0/projects/acme/broken/issues/", &token, "");
    assert_eq!((answer.status, &*answer.code()), (503, "directory_unavailable"));
    assert!(answer.header("retry-after").is_some());
    // What can't be answered is not remembered, what can is.
    gate.upstream.take();
    let again = |target: &str| {
        send(&gate, &format!("GET {target}"), &token, "");
        gate.upstream.take().len()
    };
    assert_eq!(again("/api/0/projects/acme/broken/issues/"), 1);
    assert_eq!(again("/api/0/projects/acme/web/issues/"), 1, "the request alone");
}

#[test]
fn a_body_arrives_byte_for_byte_or_not_at_all() {
    let gate = Gate::before(sentry());
    let token = bound(&gate, Narrowing::NONE);
    let releases = "POST /api/0/organizations/acme/releases/";
    let rows = [
        (releases, r#"{"version" : "new@1","projects":["web"] }"#, true),
        (releases, r#"{"version":"new@1","pro\u006aects":["42"]}"#, true),
        (releases, r#"{"version":"new@1","projects":["app"]}"#, false),
        (releases, r#"{"version":"new@1","projects":["web"],"projects":["app"]}"#, false),
        (releases, r#"{"version":"shared@1","projects":["web"]}"#, false),
        (releases, r#"{"version":"web@1","projects":["web"]}"#, true),
        (releases, r#"{"version":"new@1"}"#, false),
        (releases, "projects=web", false),
        ("PUT /api/0/organizations/acme/releases/web%401/", r#"{"refs":[]}"#, true),
        ("PUT /api/0/organizations/acme/releases/shared%401/", r#"{"refs":[]}"#, false),
    ];
    for (line, body, goes) in rows {
        let answer = send(&gate, line, &token, body);
        let seen = received(&gate);
        let bodies: Vec<_> = seen.iter().map(|seen| seen.body.clone()).collect();
        if goes {
            assert_eq!(bodies, [body.as_bytes()], "{line} {body}");
        } else {
            assert_eq!((answer.status, &*answer.code()), (403, "binding"), "{line} {body}");
            assert!(bodies.is_empty(), "{line} {body}");
        }
    }
    // In chunks, too: it is the length that Sentry reads.
    let authorization = format!("Bearer {token}");
    let chunked = |body: &str| {
        let headers = [
            ("Authorization", &*authorization),
            ("Content-Type", "application/json"),
            ("Transfer-Encoding", "chunked"),
        ];
        let chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        let mut connection = crate::client::Connection::open(gate.address);
        connection.write(&crate::client::request(releases, &headers, b""));
        connection.write(chunk.as_bytes());
        connection.read_reply("POST").unwrap()
    };
    assert_eq!(chunked(r#"{"version":"new@1","projects":["app"]}"#).code(), "binding");
    assert!(received(&gate).is_empty());
    let own = r#"{"version":"new@1","projects":["web"]}"#;
    assert_eq!(chunked(own).status, 200);
    assert_eq!(received(&gate).pop().unwrap().body, own.as_bytes());
    // What is longer than is looked at is refused before it is read; who is bound to nothing may send it.
    let long = format!(r#"{{"version":"new@1","projects":["web"],"x":"{}"}}"#, "x".repeat(1 << 20));
    let answer = send(&gate, releases, &token, &long);
    assert_eq!((answer.status, &*answer.code()), (413, "too_large"));
    let free = gate.token("all");
    assert_eq!(send(&gate, releases, &free, &long).status, 200);
    assert_eq!(received(&gate).pop().unwrap().body.len(), long.len());
}

#[test]
fn what_narrows_a_token_holds_and_says_so() {
    let gate = Gate::before(sentry());
    let group = |name: &str| Some([Box::from(name)].into());
    let reader = bound(&gate, Narrowing { read_only: true, ..Narrowing::NONE });
    let networks = Some(["192.0.2.0/24".parse().unwrap()].into());
    let elsewhere = bound(&gate, Narrowing { networks, ..Narrowing::NONE });
    let networks = Some(["127.0.0.0/8".parse().unwrap()].into());
    let here = bound(&gate, Narrowing { networks, ..Narrowing::NONE });
    let uploads = bound(&gate, Narrowing { groups: group("uploads"), ..Narrowing::NONE });
    let gone = bound(&gate, Narrowing { groups: group("gone"), ..Narrowing::NONE });
    let profile = Some("ci-release".into());
    let ci = bound(&gate, Narrowing { profile, ..Narrowing::NONE });
    let profile = Some("nobody".into());
    let nobody = bound(&gate, Narrowing { profile, ..Narrowing::NONE });
    let (issues, upload) =
        ("GET /api/0/projects/acme/web/issues/", "GET /api/0/organizations/acme/chunk-upload/");
    let resolve = "PUT /api/0/organizations/acme/issues/7/";
    let rows = [
        (&reader, issues, ""),
        (&reader, resolve, "read_only"),
        (&elsewhere, issues, "network"),
        (&here, issues, ""),
        (&uploads, upload, ""),
        (&uploads, issues, "rule_not_granted"),
        (&gone, upload, "rule_not_granted"),
        (&ci, upload, ""),
        (&ci, issues, "rule_not_granted"),
        (&ci, resolve, "rule_not_granted"),
        (&nobody, upload, "rule_not_granted"),
    ];
    for (token, line, code) in rows {
        let body = if line.starts_with("PUT") { "{}" } else { "" };
        let answer = send(&gate, line, token, body);
        let arrived = received(&gate).len();
        if code.is_empty() {
            assert_eq!((answer.status, arrived), (200, 1), "{line}");
        } else {
            assert_eq!((answer.status, &*answer.code(), arrived), (403, code, 0), "{line}");
        }
    }
    eventually("a count", || gate.metric("portcullis_decisions_total", &["\"read_only\""]) == 1.0);
}

#[test]
fn a_slug_that_moved_is_refused() {
    // The project that was `web` has another slug now, and another one is `web`.
    let gate = Gate::before(Upstream::answering(|seen, stream| {
        let body = match &*seen.target {
            "/api/0/projects/acme/web/" => json!({ "id": "50", "slug": "web",
                "organization": { "id": "1", "slug": "acme" } }),
            "/api/0/projects/acme/former/" => {
                let location = [("Location", "/api/0/projects/acme/web/")];
                return reply(stream, "302 Found", &location, b"{\"slug\":\"web\"}");
            }
            path if path.starts_with("/api/0/organizations/acme/?") => {
                json!({ "id": "1", "slug": "acme" })
            }
            _ => json!([]),
        };
        ok(stream, &[], body.to_string().as_bytes());
    }));
    let token = bound(&gate, Narrowing::NONE);
    for slug in ["web", "former"] {
        let answer = send(&gate, &format!("GET /api/0/projects/acme/{slug}/issues/"), &token, "");
        assert_eq!((answer.status, &*answer.code()), (403, "binding"), "{slug}");
    }
    assert!(received(&gate).is_empty());
    assert_eq!(send(&gate, "GET /api/0/projects/acme/42/issues/", &token, "").status, 200);
}
