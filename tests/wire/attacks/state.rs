//! What one request leaves behind for the next: no decision, no answer, no series. And what is
//! missing never opens anything.

use portcullis::clock::{Clock as _, SystemClock};
use portcullis::store::portcullis::TokenKind;
use portcullis::store::portcullis::admin::NewToken;

use crate::client::{Connection, Reply, request};
use crate::gate::{Gate, Options, eventually, new, only, with_store};
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

/// A client is known by where its connection comes from, and all that come at once are counted.
#[test]
fn nobody_gets_more_guesses_by_another_address_or_all_at_once() {
    const RATE: u32 = 5;
    const AT_ONCE: usize = 8;
    const EACH: usize = 25;
    let store = format!("unknown_per_second = 100000\nunknown_per_client = {RATE}");
    let gate = Gate::with(Upstream::start(), &Options { store, ..Options::default() });
    let begun = SystemClock.instant();
    let guess = |thread: usize| -> Vec<String> {
        let each = (0..EACH).map(|n| {
            let address = format!("203.0.{thread}.{n}");
            let token = format!("Bearer nobody-{thread}-{n}");
            let headers = [
                ("Authorization", &*token),
                ("X-Forwarded-For", &address),
                ("X-Real-IP", &address),
                ("Forwarded", "for=203.0.113.9"),
            ];
            gate.send("GET /api/0/organizations/acme/issues/", &headers).code()
        });
        each.collect()
    };
    let answers: Vec<_> = std::thread::scope(|scope| {
        let guess = &guess;
        let threads: Vec<_> = (0..AT_ONCE).map(|n| scope.spawn(move || guess(n))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let seconds = SystemClock.instant().saturating_duration_since(begun).as_secs_f64();
    let looked_up = answers.iter().filter(|code| *code == "unknown_token").count();
    let limited = answers.iter().filter(|code| *code == "guessing_limited").count();
    assert_eq!(looked_up + limited, AT_ONCE * EACH, "{answers:?}");
    let most = f64::from(RATE) * (1.0 + seconds) + 1.0;
    assert!(looked_up as f64 <= most, "{looked_up} in {seconds} s");
    assert!(gate.upstream.take().is_empty());
}

/// An answer that has begun goes on, which the README says; nothing new begins.
#[test]
fn a_revocation_ends_nothing_that_was_let_in_and_lets_nothing_else_in() {
    // More than any buffer on the way keeps.
    const HALF: usize = 256 << 10;
    let (sender, word) = std::sync::mpsc::channel::<()>();
    let word = std::sync::Mutex::new(word);
    let gate = Gate::before(Upstream::answering(move |_, stream| {
        use std::io::Write as _;
        stream
            .write_all(
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 2 * HALF).as_bytes(),
            )
            .unwrap();
        stream.write_all(&[b'x'; HALF]).unwrap();
        let _ = word.lock().unwrap().recv();
        stream.write_all(&[b'x'; HALF]).unwrap();
    }));
    let token = gate.token("event:read");
    let line = "GET /api/0/organizations/acme/issues/";
    let mut connection = Connection::open(gate.address);
    let bearer = format!("Bearer {token}");
    connection.write(&request(line, &[("Authorization", &bearer)], b""));
    assert_eq!(connection.read_head().unwrap().0, 200);
    let begun = connection.read_exactly(1);
    assert_eq!(begun, b"x");
    let id = gate.id_of(&token);
    gate.portcullis(&["token", "revoke", &id]);
    // On its own connection, and on others.
    let again = || gate.bearer("GET /api/0/organizations/acme/projects/", &token).code();
    eventually("a refusal", || again() == "disabled_token");
    gate.upstream.take();
    sender.send(()).unwrap();
    connection.read_exactly(2 * HALF - 1);
    connection.write(&request(line, &[("Authorization", &bearer)], b""));
    let reply = connection.read_reply("GET").unwrap();
    assert_eq!((reply.status, &*reply.code()), (401, "disabled_token"));
    assert!(gate.upstream.take().is_empty());
}

/// An SDK's key and secret stand in the query, and Relay is away.
#[test]
fn a_secret_of_a_request_that_fails_is_written_nowhere() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut gate = Gate::with(
        Upstream::start(),
        &Options {
            listen: "expose = [\"api\", \"ingest\"]".into(),
            tables: format!(
                "[upstream.relay]\nurls = [\"http://{nobody}\"]\nhealth_interval = \"0s\"\n"
            ),
            ..Options::default()
        },
    );
    let line =
        "POST /api/42/envelope/?sentry_key=9cd363c59c05141f32414694128a7c21&sentry_secret=SEKRET";
    let reply = gate.send_body(line, &[("Referer", "https://x.example/?token=SEKRET")], b"{}");
    assert_eq!((reply.status, &*reply.code()), (502, "upstream_unreachable"));
    gate.counts("portcullis_requests_total", &["\"502\""], 1.0);
    let metrics = String::from_utf8(gate.admin("/metrics").unwrap().body).unwrap();
    gate.stop();
    let written = gate.output() + &metrics + &String::from_utf8_lossy(&reply.body);
    for secret in ["SEKRET", "9cd363c59c05141f32414694128a7c21"] {
        assert!(!written.contains(secret), "{secret} in {written}");
    }
    assert!(written.contains("/api/42/envelope/"), "{written}");
}
