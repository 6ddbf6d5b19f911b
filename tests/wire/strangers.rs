//! Callers whom nobody knows: what they send slowly or at once, and the room that is left to others.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use crate::client::{Connection, PATIENCE, request};
use crate::gate::{Gate, Options, eventually};
use crate::upstream::{Upstream, ok};

const LINE: &str = "GET /api/0/organizations/acme/issues/";
/// It needs no credential.
const OPEN: &str = "POST /api/0/organizations/acme/join-request/";

fn in_flight(gate: &Gate) -> f64 {
    gate.metric("portcullis_requests_in_flight", &[])
}

#[test]
fn who_sends_a_body_slowly_takes_no_room_at_the_upstream() {
    // How the length is told, the first byte, the rest, and what the upstream may be sent.
    let rows = [
        (("Content-Length", "100"), "a", "a".repeat(99), "spool"),
        (("Transfer-Encoding", "chunked"), "64\r\na", "a".repeat(99) + "\r\n0\r\n\r\n", "spool"),
        (("Transfer-Encoding", "chunked"), "64\r\na", "a".repeat(99) + "\r\n0\r\n\r\n", "stream"),
    ];
    for (length, first, rest, chunked) in rows {
        let row = format!("{length:?} {chunked}");
        let web = format!("max_in_flight = 2\nmax_waiting = 0\nchunked_bodies = \"{chunked}\"");
        let gate = Gate::with(Upstream::start(), &Options { web, ..Options::default() });
        let slow = || {
            let mut connection = Connection::open(gate.address);
            connection.write(&request(OPEN, &[length], b""));
            connection.write(first.as_bytes());
            connection
        };
        let mut slow: Vec<_> = (0..20).map(|_| slow()).collect();
        eventually("twenty that send", || in_flight(&gate) == 20.0);
        let reply = gate.bearer(LINE, &gate.token("read"));
        assert_eq!(reply.status, 200, "{row}: {reply:?}");
        assert_eq!(gate.upstream.take_one().method, "GET", "{row}");
        // Whoever sends the rest is served as ever.
        let mut last = slow.pop().unwrap();
        last.write(rest.as_bytes());
        assert_eq!(last.read_reply("POST").expect(&row).status, 200, "{row}");
        let seen = gate.upstream.take_one();
        assert_eq!(seen.value("content-length"), Some("100"), "{row}");
        assert_eq!(seen.body, "a".repeat(100).as_bytes(), "{row}");
    }
}

#[test]
fn strangers_do_not_fill_the_upstream() {
    let (go, word) = channel();
    let word = Mutex::new(word);
    let upstream = Upstream::answering(move |seen, stream| {
        if seen.method == "POST" {
            word.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        ok(stream, &[], b"{}");
    });
    let web = "max_in_flight = 2\nmax_waiting = 0".to_owned();
    let gate = Gate::with(upstream, &Options { web, ..Options::default() });
    let mut first = Connection::open(gate.address);
    first.write(&request(OPEN, &[], b"{}"));
    eventually("a stranger at the upstream", || gate.upstream.take().len() == 1);
    let reply = gate.send_body(OPEN, &[], b"{}");
    assert_eq!((reply.status, &*reply.code()), (503, "upstream_busy"));
    assert_eq!(gate.bearer(LINE, &gate.token("read")).status, 200);
    assert_eq!(gate.upstream.take_one().method, "GET");
    go.send(()).unwrap();
    assert_eq!(first.read_reply("POST").expect("an answer").status, 200);
}

#[test]
fn what_of_a_stranger_is_too_large_to_keep_is_refused_unread() {
    let tables = "[spool]\nmax_body = \"1000B\"".to_owned();
    let gate = Gate::with(Upstream::start(), &Options { tables, ..Options::default() });
    let body = [b'x'; 1001];
    assert_eq!(gate.send_body(OPEN, &[], &body[..1000]).status, 200);
    assert_eq!(gate.upstream.take_one().body.len(), 1000);
    let mut connection = Connection::open(gate.address);
    let waits = [("Content-Length", "1001"), ("Expect", "100-continue")];
    connection.write(&request(OPEN, &waits, b""));
    // Not even leave to send it.
    let reply = connection.read_reply("POST").expect("an answer");
    assert_eq!((reply.status, &*reply.code()), (413, "too_large"));
    assert!(reply.closed);
    assert!(gate.upstream.take().is_empty());
    // Whoever is known sends it on as it comes.
    let line = "PUT /api/0/organizations/acme/issues/";
    let token = format!("Bearer {}", gate.token("all"));
    assert_eq!(gate.send_body(line, &[("Authorization", &token)], &body).status, 200);
    assert_eq!(gate.upstream.take_one().body.len(), 1001);
}

#[test]
fn a_body_that_comes_byte_by_byte_has_an_end() {
    let rules = "[[rule]]\nmethods = [\"POST\"]\ntimeout = \"2s\"\naccess = \"public\"\n\
                 path = \"/api/0/organizations/{organization_id_or_slug}/hasty/\"\n\
                 [[rule]]\nmethods = [\"PUT\"]\ntimeout = \"2s\"\nscopes = [\"org:write\"]\n\
                 path = \"/api/0/organizations/{organization_id_or_slug}/hasty/\"\n";
    let gate =
        Gate::with(Upstream::start(), &Options { rules: rules.into(), ..Options::default() });
    let token = format!("Bearer {}", gate.token("org:write"));
    let rows: [(&str, &[(&str, &str)], &str); 3] = [
        ("POST", &[("Content-Length", "1000")], "x"),
        ("PUT", &[("Authorization", &token), ("Transfer-Encoding", "chunked")], "1\r\nx\r\n"),
        // This one is sent on as it comes.
        ("PUT", &[("Authorization", &token), ("Content-Length", "1000")], "x"),
    ];
    for (method, fields, piece) in rows {
        let line = format!("{method} /api/0/organizations/acme/hasty/");
        let mut connection = Connection::open(gate.address);
        connection.write(&request(&line, fields, b""));
        // Each byte comes well before silence would end it, and all of them take a minute.
        for _ in 0..600 {
            if !connection.try_write(piece.as_bytes()) || gate.output().contains("\"status\":408") {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
        let reply = connection.read_reply(method).expect(method);
        assert_eq!(reply.status, 408, "{method}");
        std::fs::write(gate.folder.path().join("access.log"), "").unwrap();
    }
    assert!(gate.upstream.take().is_empty());
}

#[test]
fn a_body_that_comes_slowly_but_steadily_is_sent_on() {
    let rules = "[[rule]]\nmethods = [\"PUT\"]\ntimeout = \"1s\"\nscopes = [\"org:write\"]\n\
                 path = \"/api/0/organizations/{organization_id_or_slug}/hasty/\"\n";
    let gate =
        Gate::with(Upstream::start(), &Options { rules: rules.into(), ..Options::default() });
    let token = format!("Bearer {}", gate.token("org:write"));
    let (piece, pieces) = ([b'x'; 64 << 10], 15);
    let length = (piece.len() * pieces).to_string();
    let fields = [("Authorization", &*token), ("Content-Length", &*length)];
    let mut connection = Connection::open(gate.address);
    connection.write(&request("PUT /api/0/organizations/acme/hasty/", &fields, b""));
    for _ in 0..pieces {
        thread::sleep(Duration::from_millis(200));
        connection.write(&piece);
    }
    // Three times as long as anybody may be silent.
    assert_eq!(connection.read_reply("PUT").expect("an answer").status, 200);
    assert_eq!(gate.upstream.take_one().body.len(), piece.len() * pieces);
}
