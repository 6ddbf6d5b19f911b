//! The upstream's credential: another one takes its place while requests come, a bad one does not, and
//! nobody is ever told of it.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::client::{Connection, request, send};
use crate::gate::{ADMIN, Ending, Gate, HOST, Options, UPSTREAM_TOKEN, eventually};
use crate::upstream::{Seen, Upstream, ok, reply};

const LINE: &str = "GET /api/0/organizations/acme/issues/";
const NEXT: &str = "sntryu_the-next-one-of-the-upstream";

/// Puts a file in the place of the credential's at once.
fn rotate(gate: &Gate, text: &[u8]) {
    let path = |name: &str| gate.folder.path().join(name);
    fs::write(path("new"), text).unwrap();
    fs::rename(path("new"), path("sentry-token")).unwrap();
}

/// The credential that a request came with.
fn presented(seen: &Seen) -> String {
    seen.value("authorization").unwrap().strip_prefix("Bearer ").unwrap().to_owned()
}

#[test]
fn another_credential_takes_its_place_and_no_request_is_refused() {
    // It takes both, as Sentry does until the old one is deleted.
    let order = Mutex::new(Vec::new());
    let gate = Gate::start();
    let authorization = format!("Bearer {}", gate.token("read"));
    let wire = request(LINE, &[("Authorization", &authorization)], b"");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _ending = Ending(&stop);
        scope.spawn(|| {
            let mut connection = Connection::open(gate.address);
            while !stop.load(Ordering::SeqCst) {
                connection.write(&wire);
                let reply = connection.read_reply("GET").unwrap();
                assert_eq!(reply.status, 200, "{reply:?}");
                order.lock().unwrap().extend(gate.upstream.take().iter().map(presented));
            }
        });
        let seen = |token: &str| order.lock().unwrap().last().is_some_and(|last| last == token);
        eventually("requests", || seen(UPSTREAM_TOKEN));
        rotate(&gate, NEXT.as_bytes());
        eventually("the next one", || seen(NEXT));
        // With a line break at its end, as editors write it.
        rotate(&gate, format!("{UPSTREAM_TOKEN}\n").as_bytes());
        eventually("the old one again", || seen(UPSTREAM_TOKEN));
    });
    let mut order = order.into_inner().unwrap();
    order.dedup();
    assert_eq!(order, [UPSTREAM_TOKEN, NEXT, UPSTREAM_TOKEN], "not one after the other");
    gate.counts("portcullis_config_reloads_total", &["\"refused\""], 0.0);
}

#[test]
fn a_file_that_holds_no_credential_changes_nothing_and_is_told_of() {
    let gate = Gate::start();
    let token = gate.token("read");
    let refused = || gate.metric("portcullis_config_last_reload_refused", &[]) == 1.0;
    let uses = |wanted: &str| {
        assert_eq!(gate.bearer(LINE, &token).status, 200);
        assert_eq!(presented(&gate.upstream.take_one()), wanted);
    };
    let rows: [&[u8]; 7] = [
        b"",
        b" \n",
        b"sntryu_bad-a\nsntryu_bad-b\n",
        b"sntryu_bad a",
        b"Bearer sntryu_bad",
        "sntryu_b\u{e4}d".as_bytes(),
        b"sntryu_bad\xff",
    ];
    for text in rows {
        rotate(&gate, text);
        eventually("a refusal", refused);
        uses(UPSTREAM_TOKEN);
        rotate(&gate, UPSTREAM_TOKEN.as_bytes());
        eventually("the one before", || !refused());
        uses(UPSTREAM_TOKEN);
    }
    fs::remove_file(gate.folder.path().join("sentry-token")).unwrap();
    eventually("a refusal", refused);
    uses(UPSTREAM_TOKEN);
    rotate(&gate, NEXT.as_bytes());
    eventually("the next one", || !refused());
    uses(NEXT);
    eventually("its place in the log", || {
        gate.output().matches("upstream.web.credential").count() >= rows.len()
    });
    assert!(!gate.output().contains("sntryu_"), "{}", gate.output());
}

/// Repeats all that it was sent wherever a head has room for it.
fn talkative() -> Upstream {
    Upstream::answering(|seen, stream| {
        let authorization = seen.value("authorization").unwrap_or_default();
        let quoted = format!("<https://sentry.internal/?a={authorization}>; rel=\"next\"");
        let challenge = format!("Bearer realm=\"{authorization}\"");
        let fields = [
            ("Authorization", authorization),
            ("X-Token", authorization.trim_start_matches("Bearer ")),
            ("X-Harmless", "it stays"),
            ("X-Twice", "one"),
            ("X-Twice", authorization),
            ("Link", &quoted),
            ("Location", &quoted[1..quoted.len() - 13]),
            ("Set-Cookie", authorization),
            ("WWW-Authenticate", &challenge),
            ("Via", authorization),
        ];
        let status = seen.target.split("status=").nth(1).unwrap_or("200");
        let reason = format!("{status} {authorization}");
        match status {
            "broken" => drop(stream.shutdown(std::net::Shutdown::Both)),
            "garbled" => reply(stream, &format!("2{authorization}"), &fields, b""),
            _ => reply(stream, &reason, &fields, b"{\"detail\":\"x\"}"),
        }
    })
}

#[test]
fn nobody_is_told_of_the_credential() {
    let collector = Upstream::answering(|_, stream| ok(stream, &[], b"{\"id\":\"1\"}"));
    let key = "a94a8fe5ccb19ba61c4c0873d391e987";
    let address = collector.address;
    let options = Options {
        tables: format!(
            "[log]\nlevel = \"debug\"\n[audit]\noutput = \"audit.log\"\n\
             decisions = [\"refuse\", \"write\", \"ingest\", \"read\"]\n\
             [traces]\nendpoint = \"http://{address}/v1/traces\"\n[errors]\ndsn = {{ file = \"dsn\" }}\n"
        ),
        files: vec![("dsn".to_owned(), format!("http://{key}@{address}/7\n"))],
        admin: "credential = { file = \"admin-credential\" }".to_owned(),
        ..Options::default()
    };
    let mut gate = Gate::with(talkative(), &options);
    let token = gate.token("all");
    let mut told = String::new();
    for line in [
        "GET /api/0/organizations/acme/issues/",
        "GET /api/0/organizations/acme/issues/?status=404",
        "GET /api/0/organizations/acme/issues/?status=500",
        "GET /api/0/organizations/acme/issues/?status=302",
        "GET /api/0/organizations/acme/issues/?status=401",
        "GET /api/0/organizations/acme/issues/?status=broken",
        "GET /api/0/organizations/acme/issues/?status=garbled",
        // Held, to be rewritten.
        "GET /api/0/organizations/acme/chunk-upload/",
        "HEAD /api/0/organizations/acme/issues/",
        "PUT /api/0/organizations/acme/issues/",
    ] {
        let authorization = format!("Bearer {token}");
        let fields = [("Authorization", &*authorization), ("Connection", "close")];
        let mut connection = Connection::open(gate.address);
        connection.write(&request(line, &fields, b""));
        let head = String::from_utf8_lossy(&connection.read_rest()).into_owned();
        assert!(head.starts_with("HTTP/1.1 "), "{line}: {head}");
        if !["401", "broken", "garbled"].iter().any(|failed| line.ends_with(failed)) {
            assert!(head.contains("it stays"), "{line}: {head}");
        }
        told.push_str(&head);
    }
    let seen = gate.upstream.take();
    assert!(seen.iter().any(|seen| presented(seen) == UPSTREAM_TOKEN), "it was not sent");
    let operator = [("Authorization", &*format!("Bearer {ADMIN}"))];
    for line in
        ["GET /metrics", "GET /status", "GET /", "GET /unmatched", "POST /reload", "GET /readyz"]
    {
        let reply = gate.operator(line, &operator, "");
        told.push_str(&String::from_utf8_lossy(&reply.body));
    }
    let question =
        r#"{"method": "GET", "path": "/api/0/organizations/acme/issues/", "token": "TOKEN"}"#;
    let reply = gate.operator("POST /explain", &operator, &question.replace("TOKEN", &token));
    assert_eq!(reply.status, 200);
    told.push_str(&String::from_utf8_lossy(&reply.body));
    // What `check` and a refused reload say.
    told.push_str(&gate.portcullis(&["check"]));
    rotate(&gate, format!("{UPSTREAM_TOKEN} {UPSTREAM_TOKEN}").as_bytes());
    eventually("a report of what is refused", || {
        gate.metric("portcullis_error_reports_total", &["\"sent\""]) >= 1.0
    });
    gate.stop();
    told.push_str(&gate.output());
    told.push_str(&fs::read_to_string(gate.folder.path().join("audit.log")).unwrap());
    for Seen { head, body, .. } in collector.take() {
        told.push_str(&head);
        told.push_str(&String::from_utf8_lossy(&body));
    }
    assert!(told.contains("\"msg\":\"audit\"") && told.contains("/v1/traces"), "{told}");
    assert!(!told.contains(UPSTREAM_TOKEN), "{told}");
    assert!(!told.contains(&UPSTREAM_TOKEN[10..]), "{told}");
}

#[test]
fn a_caller_gets_what_it_sent_itself() {
    // Only the gateway's own credential is kept back: a field that a client put there is the client's.
    let gate = Gate::before(Upstream::answering(|seen, stream| {
        let echo = seen.value("x-custom").unwrap_or_default();
        ok(stream, &[("X-Echo", echo)], b"{}");
    }));
    let token = gate.token("read");
    let authorization = format!("Bearer {token}");
    let fields = [("Authorization", &*authorization), ("X-Custom", "Bearer of news")];
    let answer = gate.send(LINE, &fields);
    assert_eq!(answer.header("x-echo"), Some("Bearer of news"));
    let wire = format!("GET /_health/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    assert_eq!(send(gate.address, wire.as_bytes()).unwrap().status, 404);
}
