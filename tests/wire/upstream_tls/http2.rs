//! HTTP/2 with an upstream: that it receives what it would over HTTP/1.1, many requests on one
//! connection, and what becomes of them when it ends.

use std::collections::HashSet;
use std::sync::Mutex;
use std::thread;

use bytes::Bytes;
use h2::Reason;
use tokio::sync::watch;

use super::authority::{Authority, HERE};
use super::server::{Act, Secure, Seen, Setup};
use super::{LINE, believes};
use crate::client::{Connection, Reply, request};
use crate::gate::{Gate, HOST, Options, UPSTREAM_TOKEN, eventually};
use crate::upstream::Upstream;

const LARGE: usize = 20 << 20;
const UPLOAD: &str = "PUT /api/0/organizations/acme/issues/";
/// A write that is not the same when it is done twice.
const POST: &str = "POST /api/0/projects/acme/web/user-feedback/";

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

fn ok() -> Act {
    Act::Answer("{}".into())
}

/// With one worker, so that no two of them look for a connection at the same time.
fn alone() -> Options {
    Options { threads: Some(1), ..Options::default() }
}

struct Stage {
    gate: Gate,
    upstream: Secure,
    bearer: String,
}

impl Stage {
    fn new(act: impl Fn(&Seen) -> Act + Send + Sync + 'static) -> Self {
        Self::with("", alone(), act)
    }

    /// With more lines of `[upstream.web]`.
    fn with(
        web: &str,
        options: Options,
        act: impl Fn(&Seen) -> Act + Send + Sync + 'static,
    ) -> Self {
        let ours = Authority::new("ours");
        let setup = Setup::new(ours.leaf("server", HERE));
        Self::over(&ours, &setup, &format!("http2 = true\n{web}"), options, act)
    }

    fn over(
        ours: &Authority,
        setup: &Setup,
        web: &str,
        options: Options,
        act: impl Fn(&Seen) -> Act + Send + Sync + 'static,
    ) -> Self {
        let upstream = Secure::acting(setup, act);
        let web = format!("tls = {{ {} }}\n{web}", believes(ours));
        let upstream_url = Some(format!("https://{}", upstream.address));
        let gate = Gate::with(Upstream::start(), &Options { web, upstream_url, ..options });
        let bearer = format!("Bearer {}", gate.token("all"));
        Self { gate, upstream, bearer }
    }

    fn send(&self, line: &str, body: &[u8]) -> Reply {
        self.gate.send_body(line, &[("Authorization", &self.bearer)], body)
    }

    /// A connection on which a request was sent.
    fn sent(&self, line: &str, body: &[u8]) -> Connection {
        let mut connection = Connection::open(self.gate.address);
        connection.write(&request(line, &[("Authorization", &self.bearer)], body));
        connection
    }
}

/// What a request is, whatever carries it.
fn carried(seen: &Seen) -> (String, String, Option<String>, Vec<(String, String)>, Vec<u8>) {
    let of_http1 = ["host", "connection", "content-length"];
    let mut headers: Vec<_> = seen
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
        .filter(|(name, _)| !of_http1.contains(&&**name) && name != "x-request-id")
        .collect();
    headers.sort();
    (seen.method.clone(), seen.target.clone(), seen.authority.clone(), headers, seen.body.clone())
}

#[test]
fn a_request_is_the_same_over_both() {
    let ours = Authority::new("ours");
    let setup = Setup::new(ours.leaf("server", HERE));
    let stage = |web| Stage::over(&ours, &setup, web, Options::default(), |_| ok());
    let (one, two) = (stage(""), stage("http2 = true"));
    let long = format!("{LINE}?q={}", "x".repeat(6000));
    let body = pattern(100_000);
    let rows: &[(&str, &[(&str, &str)], &[u8])] = &[
        (LINE, &[], b""),
        ("HEAD /api/0/organizations/acme/issues/", &[], b""),
        (
            "GET /api/0/organizations/acme/issues/?query=is%3Aunresolved+a|b&x={}&y=%zz;%C3%A9",
            &[],
            b"",
        ),
        (&long, &[], b""),
        (
            LINE,
            &[
                ("Connection", "keep-alive, x-private"),
                ("X-Private", "1"),
                ("Keep-Alive", "timeout=5"),
                ("TE", "trailers"),
                ("X-Forwarded-For", "1.2.3.4"),
                ("X-Mixed-Case", "a, b"),
                ("X-Twice", "1"),
                ("X-Twice", "2"),
                ("Accept-Encoding", "gzip"),
                ("X-Latin", "caf\u{e9}"),
            ],
            b"",
        ),
        (UPLOAD, &[("Content-Type", "application/json")], b"{}"),
        (UPLOAD, &[("Expect", "100-continue")], b""),
        (POST, &[("Content-Type", "application/octet-stream")], &body),
        ("DELETE /api/0/organizations/acme/issues/", &[], b""),
    ];
    for (line, headers, body) in rows {
        let both = [&one, &two].map(|stage| {
            let headers = [*headers, &[("Authorization", &*stage.bearer)]].concat();
            let reply = stage.gate.send_body(line, &headers, body);
            assert_eq!(reply.status, 200, "{line}: {}", stage.gate.output());
            (reply, stage.upstream.take_one())
        });
        let [(reply_one, seen_one), (reply_two, seen_two)] = both;
        assert_eq!((seen_one.protocol, seen_two.protocol), ("http/1.1", "h2"), "{line}");
        assert_eq!(carried(&seen_one), carried(&seen_two), "{line}");
        assert_eq!(reply_one.body, reply_two.body, "{line}");
        assert_eq!(seen_two.target, line.split_once(' ').unwrap().1);
        assert_eq!(seen_two.authority.as_deref(), Some(HOST));
        assert_eq!(seen_two.value("authorization"), Some(&*format!("Bearer {UPSTREAM_TOKEN}")));
        assert_eq!(seen_two.value("x-request-id"), reply_two.header("x-request-id"), "{line}");
        let length = body.len().to_string();
        let length = Some(&*length).filter(|_| !body.is_empty());
        assert_eq!(seen_two.value("content-length"), length, "{line}");
        // What has no place in HTTP/2 (RFC 9113, 8.2.2).
        for name in ["host", "connection", "keep-alive", "transfer-encoding", "expect"] {
            assert_eq!(seen_two.values(name), [""; 0], "{line}: {name}");
        }
        assert!(seen_two.body == *body, "{line}");
    }
}

#[test]
fn where_it_is_not_offered_it_is_http1() {
    let ours = Authority::new("ours");
    let leaf = ours.leaf("server", HERE);
    for alpn in [&["http/1.1"][..], &[]] {
        let setup = Setup { alpn, ..Setup::new(leaf.clone()) };
        let stage = Stage::over(&ours, &setup, "http2 = true", Options::default(), |_| ok());
        for body in [b"".as_slice(), b"{}"] {
            assert_eq!(stage.send(UPLOAD, body).status, 200, "{alpn:?}");
            let seen = stage.upstream.take_one();
            assert_eq!(seen.protocol, "http/1.1", "{alpn:?}");
            assert_eq!(seen.body, body);
        }
    }
}

#[test]
fn bodies_of_any_size_and_form_arrive() {
    for (web, known) in [("", true), ("chunked_bodies = \"stream\"", false)] {
        let body = pattern(LARGE);
        let answer = Bytes::from(body.clone());
        let stage = Stage::with(web, Options::default(), move |_| Act::Answer(answer.clone()));
        let reply = stage.send(UPLOAD, &body);
        assert_eq!(reply.status, 200, "{}", stage.gate.output());
        assert!(reply.body == body, "another answer");
        let seen = stage.upstream.take_one();
        assert_eq!(seen.value("content-length"), Some(&*LARGE.to_string()));
        assert!(seen.body == body, "another body");

        // In chunks, which HTTP/2 does not have.
        let body = &body[..1_000_000];
        let headers = [("Authorization", &*stage.bearer), ("Transfer-Encoding", "chunked")];
        let mut connection = Connection::open(stage.gate.address);
        connection.write(&request(UPLOAD, &headers, b""));
        for piece in body.chunks(70_000) {
            connection.write(format!("{:x}\r\n", piece.len()).as_bytes());
            connection.write(piece);
            connection.write(b"\r\n");
        }
        connection.write(b"0\r\n\r\n");
        assert_eq!(connection.read_reply("PUT").expect("an answer").status, 200);
        let seen = stage.upstream.take_one();
        assert_eq!(seen.protocol, "h2");
        assert_eq!(seen.value("content-length").is_some(), known);
        assert_eq!(seen.values("transfer-encoding"), [""; 0]);
        assert!(seen.body == body, "another body");
    }
}

#[test]
fn an_answer_reaches_a_client_that_knows_no_chunks() {
    let stage = Stage::new(|_| Act::Answer("{\"a\":1}".into()));
    let mut connection = Connection::open(stage.gate.address);
    let head = format!("Host: {HOST}\r\nAuthorization: {}\r\n\r\n", stage.bearer);
    connection.write(format!("{LINE} HTTP/1.0\r\n{head}").as_bytes());
    let (status, headers) = connection.read_head().expect("an answer");
    assert_eq!(status, 200);
    assert!(!headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("transfer-encoding")));
    assert_eq!(connection.read_rest(), b"{\"a\":1}");
}

#[test]
fn a_hundred_requests_share_a_connection_and_one_more_makes_another() {
    let (go, word) = watch::channel(false);
    let stage = Stage::with("", alone(), move |seen| match seen.target.ends_with("?first") {
        true => ok(),
        false => Act::When(word.clone(), seen.target.clone().into()),
    });
    assert_eq!(stage.send(&format!("{LINE}?first"), b"").status, 200);
    let all: Vec<_> = (0..100).map(|number| stage.sent(&format!("{LINE}?{number}"), b"")).collect();
    eventually("a hundred requests", || stage.upstream.open() == 100);
    assert_eq!(stage.upstream.connections(), 1);
    let last = stage.sent(&format!("{LINE}?100"), b"");
    eventually("one more", || stage.upstream.open() == 101);
    assert_eq!(stage.upstream.connections(), 2);
    let in_flight = stage.gate.metric("portcullis_upstream_requests_in_flight", &["\"web\""]);
    assert_eq!(in_flight, 101.0);
    go.send(true).unwrap();
    for (number, mut connection) in all.into_iter().chain([last]).enumerate() {
        let reply = connection.read_reply("GET").expect("an answer");
        assert_eq!(reply.status, 200);
        assert!(reply.body.ends_with(format!("/issues/?{number}").as_bytes()), "{number}");
    }
}

#[test]
fn the_cap_on_requests_in_flight_holds_within_a_connection() {
    let (go, word) = watch::channel(false);
    let web = "max_in_flight = 2\nmax_waiting = 1";
    let stage = Stage::with(web, Options::default(), move |_| Act::When(word.clone(), "{}".into()));
    let mut first: Vec<_> = (0..2).map(|_| stage.sent(LINE, b"")).collect();
    eventually("two requests", || stage.upstream.open() == 2);
    first.push(stage.sent(LINE, b""));
    let waiting = || stage.gate.metric("portcullis_upstream_requests_waiting", &["\"web\""]);
    eventually("one that waits", || waiting() == 1.0);
    let refused = stage.send(LINE, b"");
    assert_eq!((refused.status, refused.code().as_str()), (503, "upstream_busy"));
    go.send(true).unwrap();
    for mut connection in first {
        assert_eq!(connection.read_reply("GET").expect("an answer").status, 200);
    }
    assert_eq!((stage.upstream.most(), stage.upstream.take().len()), (2, 3));
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody() {
    let large = Bytes::from(pattern(4 * LARGE));
    let stage = Stage::with("", alone(), move |seen| match seen.target.ends_with("?large") {
        true => Act::Answer(large.clone()),
        false => Act::Answer(large.slice(..LARGE)),
    });
    assert_eq!(stage.send(LINE, b"").status, 200);
    // More than all buffers between them: none of these is whole before the client reads.
    let mut stuck: Vec<_> = (0..10).map(|_| stage.sent(&format!("{LINE}?large"), b"")).collect();
    eventually("ten answers", || stage.upstream.open() == 10);
    for connection in &mut stuck {
        assert_eq!(connection.read_head().expect("the head of an answer").0, 200);
    }
    for _ in 0..3 {
        assert!(stage.send(LINE, b"").body == pattern(LARGE), "another answer");
    }
    assert_eq!((stage.upstream.open(), stage.upstream.connections()), (10, 1));
}

#[test]
fn who_goes_away_gives_back_room() {
    let stage = Stage::with("max_in_flight = 1", alone(), |seen| {
        if seen.target.ends_with("?silent") { Act::Silence } else { ok() }
    });
    for _ in 0..3 {
        let connection = stage.sent(&format!("{LINE}?silent"), b"");
        eventually("a request", || stage.upstream.take().len() == 1);
        drop(connection);
        assert_eq!(stage.send(LINE, b"").status, 200);
        let seen = stage.upstream.take_one();
        // The connection serves others.
        assert_eq!((seen.connection, stage.upstream.connections()), (0, 1));
    }
}

#[test]
fn silence_is_504_and_the_connection_is_not_used_again() {
    let rules = "[[rule]]\nmethods = [\"GET\"]\nscopes = [\"event:read\"]\ntimeout = \"300ms\"\n\
                 path = \"/api/0/organizations/{organization_id_or_slug}/hasty/\"\n";
    let options = Options { rules: rules.into(), ..alone() };
    let stage = Stage::with("", options, |seen| {
        if seen.target.ends_with("?silent") { Act::Silence } else { ok() }
    });
    let reply = stage.send("GET /api/0/organizations/acme/hasty/?silent", b"");
    assert_eq!((reply.status, reply.code().as_str()), (504, "upstream_timeout"));
    assert_eq!(stage.upstream.take_one().connection, 0);
    assert_eq!(stage.send(LINE, b"").status, 200);
    assert_eq!(stage.upstream.take_one().connection, 1);
}

#[test]
fn a_connection_that_the_upstream_ends_costs_nothing_and_nothing_comes_twice() {
    // Each connection takes a few requests and then no new ones, as nginx has it.
    let served = Mutex::new(vec![0; 1000]);
    let stage = Stage::with("", Options::default(), move |seen| {
        let mut served = served.lock().unwrap();
        served[seen.connection] += 1;
        match served[seen.connection] % 5 {
            0 => Act::AnswerAndGoAway(seen.target.clone().into()),
            _ => Act::Answer(seen.target.clone().into()),
        }
    });
    thread::scope(|scope| {
        for client in 0..8 {
            let stage = &stage;
            scope.spawn(move || {
                for number in 0..25 {
                    let line = format!("{POST}?{client}-{number}");
                    let reply = stage.send(&line, line.as_bytes());
                    assert_eq!(reply.status, 200, "{line}: {}", stage.gate.output());
                    assert!(line.as_bytes().ends_with(&reply.body), "{line}");
                }
            });
        }
    });
    let seen = stage.upstream.take();
    let different: HashSet<_> = seen.iter().map(|seen| &seen.target).collect();
    assert_eq!((seen.len(), different.len()), (200, 200));
    assert!(seen.iter().all(|seen| seen.body.ends_with(seen.target.as_bytes())));
    assert!(stage.upstream.connections() > 5, "{}", stage.upstream.connections());
    stage.gate.counts("portcullis_upstream_failures_total", &[], 0.0);
}

#[test]
fn what_is_under_way_when_a_connection_ends_is_finished() {
    let (go, word) = watch::channel(false);
    let large = Bytes::from(pattern(LARGE));
    let stage = Stage::with("", alone(), move |seen| match seen.target.split_once('?') {
        Some((_, "slow")) => Act::When(word.clone(), large.clone()),
        Some((_, "last")) => Act::AnswerAndGoAway("{}".into()),
        _ => ok(),
    });
    let mut slow = stage.sent(&format!("{LINE}?slow"), b"");
    eventually("a request", || stage.upstream.open() == 1);
    assert_eq!(stage.send(&format!("{LINE}?last"), b"").status, 200);
    assert_eq!(stage.upstream.take().len(), 2);
    // The next is on another, at the latest when the word of the end has come.
    eventually("another connection", || {
        assert_eq!(stage.send(LINE, b"").status, 200);
        stage.upstream.take_one().connection == 1
    });
    go.send(true).unwrap();
    let reply = slow.read_reply("GET").expect("an answer");
    assert!(reply.status == 200 && reply.body == pattern(LARGE), "another answer");
}

#[test]
fn what_the_upstream_has_not_touched_is_sent_again_once() {
    // Line, what is done with it at first, its status, and over what it was seen.
    let rows: &[(&str, Reason, bool, u16, &[&str])] = &[
        (POST, Reason::REFUSED_STREAM, false, 200, &["h2", "h2"]),
        (LINE, Reason::REFUSED_STREAM, false, 200, &["h2", "h2"]),
        (POST, Reason::REFUSED_STREAM, true, 502, &["h2", "h2"]),
        (POST, Reason::HTTP_1_1_REQUIRED, false, 200, &["h2", "http/1.1"]),
        (LINE, Reason::HTTP_1_1_REQUIRED, false, 200, &["h2", "http/1.1"]),
        // It may have been.
        (POST, Reason::INTERNAL_ERROR, false, 502, &["h2"]),
        (LINE, Reason::INTERNAL_ERROR, false, 502, &["h2"]),
    ];
    for (line, reason, always, status, protocols) in rows {
        let (reason, always) = (*reason, *always);
        let first = Mutex::new(true);
        let stage = Stage::new(move |seen| {
            let first = std::mem::replace(&mut *first.lock().unwrap(), false);
            if seen.protocol == "h2" && (first || always) { Act::Reset(reason) } else { ok() }
        });
        let body: &[u8] = if *line == POST { b"{\"a\":1}" } else { b"" };
        let reply = stage.send(line, body);
        assert_eq!(reply.status, *status, "{line} {reason:?}: {}", stage.gate.output());
        if *status == 502 {
            assert_eq!(reply.code(), "upstream_unreachable");
        }
        let seen = stage.upstream.take();
        let over: Vec<_> = seen.iter().map(|seen| seen.protocol).collect();
        assert_eq!(over, *protocols, "{line} {reason:?}");
        if *status == 200 {
            assert_eq!(seen[1].body, body, "{line} {reason:?}");
        }
    }
}

#[test]
fn what_may_have_been_done_is_not_done_again() {
    let ours = Authority::new("ours");
    let setup = Setup::new(ours.leaf("server", HERE));
    let act = |seen: &Seen| if seen.target.ends_with("?end") { Act::End } else { ok() };
    for web in ["", "http2 = true"] {
        let stage = Stage::over(&ours, &setup, web, Options::default(), act);
        // On a kept connection a read is sent once more, a write is not.
        for (line, times) in [(LINE, 2), (POST, 1)] {
            let mut reused = false;
            for _ in 0..20 {
                assert_eq!(stage.send(LINE, b"").status, 200);
                let kept = stage.upstream.take_one().connection;
                let reply = stage.send(&format!("{line}?end"), b"");
                assert_eq!((reply.status, reply.code().as_str()), (502, "upstream_unreachable"));
                let seen = stage.upstream.take();
                reused = seen[0].connection == kept;
                assert_eq!(seen.len(), if reused { times } else { 1 }, "{web} {line}");
                if reused {
                    break;
                }
            }
            assert!(reused, "{web} {line}: no connection to the upstream was used twice");
        }
    }
}

#[test]
fn an_answer_that_breaks_off_is_never_a_whole_one() {
    let stage = Stage::new(|_| Act::BreakOff);
    let mut connection = stage.sent(LINE, b"");
    let (status, _) = connection.read_head().expect("the beginning of an answer");
    let rest = connection.read_rest();
    let rest = String::from_utf8_lossy(&rest);
    assert_eq!(status, 200);
    assert!(rest.contains("[1, 2") && !rest.ends_with("0\r\n\r\n"), "{rest}");
    let failures = || stage.gate.metric("portcullis_upstream_failures_total", &[]);
    eventually("a failure that is counted", || failures() == 1.0);
}

#[test]
fn a_websocket_is_over_http1() {
    let rules = "[[rule]]\nmethods = [\"GET\"]\npath = \"/api/0/live/\"\n\
                 scopes = [\"event:read\"]\nwebsocket = true\n";
    let options = Options { rules: rules.to_owned(), ..Options::default() };
    let stage = Stage::with("", options, |_| ok());
    let headers = [
        ("Authorization", &*stage.bearer),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ];
    // Without asking for it the same route is over HTTP/2.
    assert_eq!(stage.send("GET /api/0/live/", b"").status, 200);
    assert_eq!(stage.upstream.take_one().protocol, "h2");
    let mut connection = Connection::open(stage.gate.address);
    connection.write(&request("GET /api/0/live/", &headers, b""));
    assert_eq!(connection.read_head().expect("an answer").0, 101, "{}", stage.gate.output());
    connection.write(b"a frame");
    assert_eq!(connection.read_exactly(7), b"a frame");
    let seen = stage.upstream.take_one();
    assert_eq!((seen.protocol, seen.value("upgrade")), ("http/1.1", Some("websocket")));
}
