//! What one request leaves behind for the next: no decision, no answer, no series. And what is
//! missing never opens anything.

use portcullis::clock::{Clock as _, SystemClock};
use portcullis::store::portcullis::TokenKind;
use portcullis::store::portcullis::admin::NewToken;

use crate::client::Reply;
use crate::gate::{Gate, eventually, new, only, with_store};
use crate::upstream::Upstream;

#[test]
fn a_decision_is_never_remembered() {
    // Another route, another caller: each is judged for itself.
    let gate = Gate::before(Upstream::answering(|seen, stream| {
        let cache = [("Cache-Control", "public, max-age=60"), ("ETag", "\"x\"")];
        crate::upstream::ok(stream, &cache, seen.target.as_bytes());
    }));
    let token = gate.token("event:read");
    let other = gate.token("event:read");
    let rows: &[(&str, &str, u16)] = &[
        (&token, "GET /api/0/organizations/acme/issues/", 200),
        (&token, "GET /api/0/organizations/acme/members/", 403),
        (&token, "GET /api/0/organizations/acme/issues/", 200),
        (&other, "GET /api/0/organizations/acme/issues/", 200),
        (&other, "GET /api/0/organizations/globex/issues/", 200),
    ];
    for (token, line, status) in rows {
        let reply: Reply = gate.bearer(line, token);
        assert_eq!(reply.status, *status, "{line}");
        let seen = gate.upstream.take();
        // Each allowed request reaches the upstream: no answer is kept.
        assert_eq!(seen.len(), usize::from(*status == 200), "{line}");
    }
    assert_eq!(gate.send("GET /api/0/organizations/acme/issues/", &[]).status, 401);
}

#[test]
fn a_binding_that_a_route_does_not_name_is_not_met() {
    let gate = Gate::start();
    let organization = gate.create(NewToken {
        organizations: only(&["acme"]),
        ..new("organization", TokenKind::Bearer, "all")
    });
    let project = gate
        .create(NewToken { projects: only(&["web"]), ..new("project", TokenKind::Bearer, "all") });
    // An empty list is nothing, and not anything.
    let nothing = gate
        .create(NewToken { organizations: only(&[]), ..new("nothing", TokenKind::Bearer, "all") });
    let rows = [
        (&organization, "/api/0/organizations/acme/issues/", 200),
        (&organization, "/api/0/organizations/globex/issues/", 403),
        (&organization, "/api/0/organizations/ACME/issues/", 403),
        (&organization, "/api/0/organizations/acme%2525/issues/", 403),
        // Whose issue it is would be known to Sentry only.
        (&organization, "/api/0/issues/1/", 403),
        (&organization, "/api/0/organizations/", 403),
        (&project, "/api/0/projects/acme/web/issues/", 200),
        (&project, "/api/0/projects/acme/api/issues/", 403),
        (&project, "/api/0/organizations/acme/issues/", 403),
        (&project, "/api/0/organizations/acme/issues/?project=web", 403),
        (&nothing, "/api/0/organizations/acme/issues/", 403),
        (&nothing, "/api/0/issues/1/", 403),
    ];
    for (token, path, status) in rows {
        let reply = gate.bearer(&format!("GET {path}"), token);
        assert_eq!(reply.status, status, "{path}: {reply:?}");
        assert_eq!(gate.upstream.take().len(), usize::from(status == 200), "{path}");
    }
}

#[test]
fn nobody_comes_in_where_no_token_was_ever_issued() {
    let gate = Gate::start();
    let line = "GET /api/0/organizations/acme/issues/";
    for value in [
        "Bearer undefined",
        "Bearer null",
        "Bearer 0",
        "Bearer sntrys_e30=_",
        "Basic Og==",
        "Bearer",
        "Bearer ",
        "",
    ] {
        let reply = gate.send(line, &[("Authorization", value)]);
        assert_eq!(reply.status, 401, "{value}: {reply:?}");
    }
    let token = gate.create(new("without scopes", TokenKind::Bearer, ""));
    let reply = gate.bearer(line, &token);
    assert_eq!((reply.status, reply.code().as_str()), (403, "missing_scope"));
    assert!(gate.upstream.take().is_empty());
}

#[test]
fn series_do_not_grow_with_who_calls_nor_name_them() {
    const CALLERS: usize = 200;
    let gate = Gate::start();
    let secrets: Vec<String> = with_store(&gate.store(), async |store| {
        let mut secrets = Vec::new();
        for _ in 0..CALLERS {
            let new = new("somebody", TokenKind::Bearer, "read");
            let issued = store.create(new, SystemClock.now()).await.unwrap();
            secrets.push(issued.secret.expose().to_owned());
        }
        secrets
    });
    let served = || gate.metric("portcullis_requests_total", &[]);
    let call = |n: usize| {
        let headers = [
            ("Authorization", &*format!("Bearer {}", secrets[n])),
            ("User-Agent", &*format!("agent-{n}")),
        ];
        let line = format!("GET /api/0/organizations/slug-{n}/issues/?query=q{n}");
        assert_eq!(gate.send(&line, &headers).status, 200);
    };
    call(0);
    eventually("a count", || served() == 1.0);
    let metrics = || String::from_utf8(gate.admin("/metrics").unwrap().body).unwrap();
    let before = metrics().lines().count();
    (1..CALLERS).for_each(call);
    eventually("all counts", || served() == CALLERS as f64);
    let after = metrics();
    assert_eq!(after.lines().count(), before);
    // These name the upstream, by the config.
    let by_url = |line: &&str| !line.starts_with("portcullis_upstream_addresses{");
    let after = after.lines().filter(by_url).collect::<Vec<_>>().join("\n");
    for word in ["slug-", "agent-", "somebody", "tok_", "gw.example", "127.0.0.1"] {
        assert!(!after.contains(word), "{word} in {after}");
    }
    assert_eq!(gate.upstream.take().len(), CALLERS);
}
