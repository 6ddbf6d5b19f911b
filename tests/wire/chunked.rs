//! Chunked request bodies: what the upstream receives of them, and what becomes of those that can't
//! be kept.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::channel;

use crate::client::{Connection, PATIENCE, Reply, request};
use crate::gate::{Gate, Options, eventually};
use crate::upstream::{Upstream, ok};

const LINE: &str = "PUT /api/0/organizations/acme/issues/";

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

/// A body in chunks of these sizes, the last for all that is left.
fn chunks(body: &[u8], sizes: &[usize]) -> Vec<u8> {
    let (mut rest, mut sizes, mut bytes) = (body, sizes.iter().cycle(), Vec::new());
    while !rest.is_empty() {
        let size = rest.len().min(*sizes.next().unwrap());
        write!(bytes, "{size:x}\r\n").unwrap();
        bytes.extend_from_slice(&rest[..size]);
        bytes.extend_from_slice(b"\r\n");
        rest = &rest[size..];
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

fn head(token: &str) -> Vec<u8> {
    let fields = [("Authorization", token), ("Transfer-Encoding", "chunked")];
    request(LINE, &fields, b"")
}

fn small(memory: &str, max_body: &str, budget: &str) -> Options {
    let keys = format!("memory = \"{memory}\"\nmax_body = \"{max_body}\"\nbudget = \"{budget}\"");
    Options { tables: format!("[spool]\n{keys}"), ..Options::default() }
}

fn bearer(gate: &Gate) -> String {
    format!("Bearer {}", gate.token("all"))
}

#[test]
fn a_chunked_body_arrives_with_its_length() {
    let gate = Gate::with(Upstream::start(), &small("1000B", "1MB", "4MB"));
    let token = bearer(&gate);
    let rows: &[(usize, &[usize])] = &[
        (0, &[1]),
        (1, &[1]),
        (500, &[1]),
        (1000, &[7, 1, 300]),
        (1001, &[1000]),
        (1_000_000, &[65_536]),
        (1_000_000, &[1, 99_999]),
        (1_000_000, &[1_000_000]),
    ];
    let mut connection = Connection::open(gate.address);
    for (length, sizes) in rows {
        let body = pattern(*length);
        connection.write(&head(&token));
        connection.write(&chunks(&body, sizes));
        let reply = connection.read_reply("PUT").expect("an answer");
        assert_eq!((reply.status, reply.body.as_slice()), (200, b"{\"ok\":true}".as_slice()));
        assert!(!reply.closed);
        let seen = gate.upstream.take_one();
        assert_eq!(seen.value("content-length"), Some(length.to_string().as_str()));
        assert_eq!(seen.values("transfer-encoding"), <[&str; 0]>::default());
        assert_eq!(seen.target, LINE.split_once(' ').unwrap().1);
        assert_eq!(seen.value("x-request-id"), reply.header("x-request-id"));
        assert!(seen.body == body, "{length}: another body");
    }
}

#[test]
fn what_cannot_be_kept_is_refused_and_never_seen_by_the_upstream() {
    let rules = "[[rule]]\nmethods = [\"PUT\"]\nmax_body = \"10B\"\nscopes = [\"org:write\"]\n\
                 path = \"/api/0/organizations/{organization_id_or_slug}/tiny/\"\n";
    let options = Options { rules: rules.into(), ..small("100B", "1000B", "1000B") };
    let gate = Gate::with(Upstream::start(), &options);
    let token = bearer(&gate);
    // The path, the length of the body, and what comes of it.
    let rows = [
        ("issues", 1000, None),
        ("issues", 1001, Some((413, "too_large"))),
        ("issues", 5_000_000, Some((413, "too_large"))),
        ("tiny", 10, None),
        ("tiny", 11, Some((413, "too_large"))),
    ];
    for (path, length, refused) in rows {
        let row = format!("{path} {length}");
        let line = LINE.replace("issues", path);
        let fields = [("Authorization", token.as_str()), ("Transfer-Encoding", "chunked")];
        let mut connection = Connection::open(gate.address);
        connection.write(&request(&line, &fields, b""));
        connection.write(&chunks(&pattern(length), &[400]));
        let reply = connection.read_reply("PUT").unwrap_or_else(|| panic!("{row}: no answer"));
        match refused {
            None => {
                assert_eq!(reply.status, 200, "{row}");
                assert!(gate.upstream.take_one().body == pattern(length), "{row}");
            }
            Some((status, code)) => {
                assert_eq!((reply.status, reply.code().as_str()), (status, code), "{row}");
                assert!(reply.closed && connection.is_closed(), "{row}");
                assert!(gate.upstream.take().is_empty(), "{row}");
            }
        }
    }
    let refused =
        || gate.metric("portcullis_decisions_total", &["\"refuse\"", "\"too_large\""]) == 3.0;
    eventually("refusals", refused);
    assert!(gate.output().contains("\"too_large\""), "{}", gate.output());
}

#[test]
fn a_refused_request_is_answered_before_its_body_and_keeps_nothing() {
    let gate = Gate::with(Upstream::start(), &small("10B", "1MB", "1MB"));
    for (token, status) in [("Bearer nobody".to_owned(), 401), (bearer_of(&gate, "org:read"), 403)]
    {
        let mut connection = Connection::open(gate.address);
        connection.write(&head(&token));
        // Not a byte of the body was sent.
        let reply = connection.read_reply("PUT").expect("an answer");
        assert_eq!(reply.status, status);
        assert!(reply.closed);
    }
    assert!(gate.upstream.take().is_empty());
    let reply = gate.send(
        "PUT /api/0/organizations/acme/not-there/",
        &[("Authorization", &bearer(&gate)), ("Transfer-Encoding", "chunked")],
    );
    assert_eq!(reply.status, 404);
}

fn bearer_of(gate: &Gate, scopes: &str) -> String {
    format!("Bearer {}", gate.token(scopes))
}

#[test]
fn chunks_that_cannot_be_read_end_the_connection() {
    let gate = Gate::start();
    let token = bearer(&gate);
    for bytes in [
        "zz\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "-1\r\n\r\n",
        "ffffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "3\nabc\n0\n\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
    ] {
        let mut connection = Connection::open(gate.address);
        connection.write(&head(&token));
        connection.write(bytes.as_bytes());
        connection.write(b"GET /api/0/ HTTP/1.1\r\nHost: gw.example\r\n\r\n");
        let reply = connection.read_reply("PUT").unwrap_or_else(|| panic!("{bytes:?}: no answer"));
        assert_eq!(reply.status, 400, "{bytes:?}");
        assert!(reply.closed && connection.is_closed(), "{bytes:?}");
    }
    assert!(gate.upstream.take().is_empty());
}

#[test]
fn trailers_and_extensions_of_chunks_go_no_further() {
    let gate = Gate::start();
    let token = bearer(&gate);
    let mut connection = Connection::open(gate.address);
    connection.write(&head(&token));
    connection
        .write(b"3;a=b\r\nabc\r\n0\r\nX-Sentry-Trusted-Relay: yes\r\nAuthorization: x\r\n\r\n");
    let reply = connection.read_reply("PUT").expect("an answer");
    assert_eq!(reply.status, 200);
    let seen = gate.upstream.take_one();
    assert_eq!(seen.body, b"abc");
    assert!(!seen.head.contains("elay") && !seen.head.contains("railer"), "{}", seen.head);
    assert_eq!(seen.values("authorization").len(), 1);
}

#[test]
fn a_client_that_waits_for_leave_gets_it_once() {
    let gate = Gate::start();
    let token = bearer(&gate);
    let fields = [
        ("Authorization", token.as_str()),
        ("Transfer-Encoding", "chunked"),
        ("Expect", "100-continue"),
    ];
    let mut connection = Connection::open(gate.address);
    connection.write(&request(LINE, &fields, b""));
    assert_eq!(connection.read_head().map(|(status, _)| status), Some(100));
    connection.write(&chunks(b"hello", &[2]));
    let reply = connection.read_reply("PUT").expect("an answer");
    assert_eq!(reply.status, 200);
    let seen = gate.upstream.take_one();
    assert_eq!((seen.body.as_slice(), seen.values("expect").len()), (b"hello".as_slice(), 0));
}

#[test]
fn a_client_that_stops_is_408_and_one_that_leaves_gets_nothing() {
    let rules = "[[rule]]\nmethods = [\"PUT\"]\ntimeout = \"300ms\"\nscopes = [\"org:write\"]\n\
                 path = \"/api/0/organizations/{organization_id_or_slug}/hasty/\"\n";
    let options = Options { rules: rules.into(), ..small("1B", "1000B", "1000B") };
    let gate = Gate::with(Upstream::start(), &options);
    let token = bearer(&gate);
    let fields = [("Authorization", token.as_str()), ("Transfer-Encoding", "chunked")];
    let mut connection = Connection::open(gate.address);
    connection.write(&request(&LINE.replace("issues", "hasty"), &fields, b""));
    connection.write(b"5\r\nabc");
    let reply = connection.read_reply("PUT").expect("an answer");
    assert_eq!(reply.status, 408);
    assert!(connection.is_closed());
    for number in 1..=3 {
        // Each takes all the room that there is, and gives it back by leaving.
        let mut connection = Connection::open(gate.address);
        connection.write(&head(&token));
        connection.write(b"3e8\r\n");
        connection.write(&pattern(999));
        drop(connection);
        let left = || gate.metric("portcullis_requests_total", &["\"499\""]) == f64::from(number);
        eventually("a client that left", left);
    }
    assert!(gate.upstream.take().is_empty());
    let mut connection = Connection::open(gate.address);
    connection.write(&head(&token));
    connection.write(&chunks(&pattern(1000), &[1000]));
    assert_eq!(connection.read_reply("PUT").expect("an answer").status, 200);
    let in_flight = || gate.metric("portcullis_requests_in_flight", &[]);
    eventually("the end of all requests", || in_flight() == 0.0);
}

#[test]
fn a_client_that_leaves_while_the_upstream_is_busy_takes_its_body_along() {
    let upstream = Upstream::answering(|seen, stream| match seen.target.contains('?') {
        true => std::thread::sleep(std::time::Duration::from_secs(3600)),
        false => ok(stream, &[], b"{}"),
    });
    let gate = Gate::with(upstream, &small("0B", "1000B", "1000B"));
    let token = bearer(&gate);
    let fields = [("Authorization", token.as_str()), ("Transfer-Encoding", "chunked")];
    let body = pattern(1000);
    for number in 1..=3 {
        let mut connection = Connection::open(gate.address);
        connection.write(&request(&format!("{LINE}?busy"), &fields, b""));
        connection.write(&chunks(&body, &[100]));
        eventually("the body", || gate.upstream.take().iter().any(|seen| seen.body == body));
        drop(connection);
        let left = || gate.metric("portcullis_requests_total", &["\"499\""]) == f64::from(number);
        eventually("a client that left", left);
    }
    let mut connection = Connection::open(gate.address);
    connection.write(&head(&token));
    connection.write(&chunks(&body, &[100]));
    assert_eq!(connection.read_reply("PUT").expect("an answer").status, 200);
}

#[test]
fn without_room_it_is_503_until_there_is_some() {
    // More than the sockets on the way hold, so that the first is kept until the upstream reads it.
    const LENGTH: usize = 20_000_000;
    let (head_came, came) = channel();
    let (go, word) = channel();
    let word = Mutex::new(word);
    let upstream = Upstream::by_hand(move |mut stream: TcpStream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut line, mut length) = (String::new(), 0);
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        if length == LENGTH {
            head_came.send(()).unwrap();
            word.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        ok(&mut stream, &[("Connection", "close")], length.to_string().as_bytes());
    });
    let gate = Gate::with(upstream, &small("0B", "20MB", "30MB"));
    let token = bearer(&gate);
    let body = chunks(&pattern(LENGTH), &[60_000]);
    let open = || {
        let mut connection = Connection::open(gate.address);
        connection.write(&head(&token));
        connection.write(&body);
        connection
    };
    let mut first = open();
    came.recv_timeout(PATIENCE).unwrap();
    let reply = open().read_reply("PUT").expect("an answer");
    assert_eq!((reply.status, reply.code().as_str()), (503, "spool_full"));
    assert!(reply.closed);
    assert!(reply.header("retry-after").is_some_and(|after| after.parse::<u32>().is_ok()));
    // Whoever sends a length, or less, is not concerned.
    let reply = gate.send_body(LINE, &[("Authorization", &token)], &pattern(2000));
    assert_eq!(reply.body, b"2000");
    let mut small = Connection::open(gate.address);
    small.write(&head(&token));
    small.write(&chunks(b"abc", &[3]));
    assert_eq!(small.read_reply("PUT").expect("an answer").body, b"3");
    for _ in 0..2 {
        go.send(()).unwrap();
    }
    assert_eq!(first.read_reply("PUT").expect("an answer").body, LENGTH.to_string().as_bytes());
    assert_eq!(open().read_reply("PUT").expect("an answer").body, LENGTH.to_string().as_bytes());
}

#[test]
fn a_folder_that_cannot_be_written_is_told_and_refuses_what_needs_it() {
    let tables = "[spool]\nfolder = \"nowhere\"\nmemory = \"10B\"".to_owned();
    let gate = Gate::with(Upstream::start(), &Options { tables, ..Options::default() });
    let token = bearer(&gate);
    let said = || gate.output().matches("nowhere").count();
    assert_eq!(said(), 1, "at the start: {}", gate.output());
    let send = |length: usize| -> Reply {
        let mut connection = Connection::open(gate.address);
        connection.write(&head(&token));
        connection.write(&chunks(&pattern(length), &[7]));
        connection.read_reply("PUT").expect("an answer")
    };
    for _ in 0..3 {
        let reply = send(11);
        assert_eq!((reply.status, reply.code().as_str()), (503, "spool_unavailable"));
        assert!(reply.header("retry-after").is_some());
    }
    assert!(gate.upstream.take().is_empty());
    assert_eq!(send(10).status, 200);
    std::fs::create_dir(gate.folder.path().join("nowhere")).unwrap();
    assert_eq!(send(11).status, 200);
    let left = std::fs::read_dir(gate.folder.path().join("nowhere")).unwrap().count();
    assert_eq!(left, 0, "a file has a name");
    std::fs::remove_dir(gate.folder.path().join("nowhere")).unwrap();
    assert_eq!(send(11).status, 503);
    // Once when it failed, once when it failed again, and not for each request.
    eventually("three messages", || said() == 3);
}

#[test]
fn an_upstream_that_fails_is_answered_as_without_chunks() {
    let gate = Gate::before(Upstream::by_hand(|mut stream: TcpStream| {
        let mut head = [0; 4096];
        let size = stream.read(&mut head).unwrap();
        if head[..size].windows(4).any(|bytes| bytes == b"half") {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[1, 2").unwrap();
        }
        stream.shutdown(Shutdown::Both).unwrap();
    }));
    let token = bearer(&gate);
    let failures = || {
        let labels = ["\"web\"", "\"upstream_unreachable\""];
        gate.metric("portcullis_upstream_failures_total", &labels)
    };
    for (number, length) in [(1.0, 3), (2.0, 3_000_000)] {
        let mut connection = Connection::open(gate.address);
        connection.write(&head(&token));
        connection.write(&chunks(&pattern(length), &[60_000]));
        let reply = connection.read_reply("PUT").expect("an answer");
        assert_eq!((reply.status, reply.code().as_str()), (502, "upstream_unreachable"));
        assert_eq!(reply.json()["request_id"].as_str(), reply.header("x-request-id"));
        eventually("a failure", || failures() == number);
    }
    let mut connection = Connection::open(gate.address);
    let fields = [("Authorization", token.as_str()), ("Transfer-Encoding", "chunked")];
    connection.write(&request(&format!("{LINE}?half"), &fields, b""));
    connection.write(&chunks(b"abc", &[3]));
    assert_eq!(connection.read_head().map(|(status, _)| status), Some(200));
    assert_eq!(connection.read_rest(), b"[1, 2");
    eventually("a failure", || failures() == 3.0);
    let in_flight = || gate.metric("portcullis_requests_in_flight", &[]);
    eventually("the end of all requests", || in_flight() == 0.0);
}

#[test]
fn a_silent_upstream_is_504() {
    let options = Options { web: "timeout = \"300ms\"".into(), ..Options::default() };
    let gate = Gate::with(
        Upstream::answering(|_, _| std::thread::sleep(std::time::Duration::from_secs(3600))),
        &options,
    );
    let token = bearer(&gate);
    let mut connection = Connection::open(gate.address);
    connection.write(&head(&token));
    connection.write(&chunks(b"abc", &[3]));
    let reply = connection.read_reply("PUT").expect("an answer");
    assert_eq!((reply.status, reply.code().as_str()), (504, "upstream_timeout"));
    assert_eq!(gate.upstream.take_one().body, b"abc");
}

#[test]
fn the_upstream_is_told_the_same_as_with_a_length() {
    let gate = Gate::start();
    let token = bearer(&gate);
    let fields = [
        ("Authorization", token.as_str()),
        ("Content-Type", "application/json"),
        ("Connection", "keep-alive, x-mine"),
        ("X-Mine", "1"),
        ("X-Two", "a"),
        ("x-TWO", "b"),
        ("X-Forwarded-For", "10.0.0.1"),
        ("X_Forwarded_For", "10.0.0.2"),
        ("X-Request-Id", "mine"),
        ("X-Sentry-Trusted-Relay", "1"),
        ("Cookie", "sentrysid=1"),
        ("Trailer", "X-Mine"),
    ];
    let plain = gate.send_body(LINE, &fields, b"abc");
    let chunked = [&fields[..], &[("Transfer-Encoding", "chunked")]].concat();
    let mut connection = Connection::open(gate.address);
    connection.write(&request(LINE, &chunked, b""));
    connection.write(&chunks(b"abc", &[3]));
    let held = connection.read_reply("PUT").expect("an answer");
    assert_eq!((plain.status, held.status), (200, 200));
    let seen = gate.upstream.take();
    let told = |at: usize| {
        let fields = seen[at].headers.iter();
        let mut fields: Vec<_> =
            fields.map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        fields.retain(|(name, _)| name != "x-request-id");
        fields.sort();
        fields
    };
    assert_eq!(told(0), told(1));
    assert!(told(1).iter().any(|(name, _)| name == "x-two"), "{:?}", told(1));
    assert!(seen[0].body == seen[1].body && seen[0].target == seen[1].target);
}

#[test]
fn a_held_request_is_counted_and_logged_once() {
    let mut gate = Gate::start();
    let token = bearer(&gate);
    let mut connection = Connection::open(gate.address);
    connection.write(&head(&token));
    connection.write(&chunks(&pattern(100_000), &[50_000]));
    assert_eq!(connection.read_reply("PUT").expect("an answer").status, 200);
    for (name, labels) in [
        ("portcullis_requests_total", &["\"PUT\""][..]),
        ("portcullis_decisions_total", &["\"allow\""]),
        ("portcullis_upstream_duration_seconds_count", &[]),
    ] {
        eventually(name, || gate.metric(name, labels) == 1.0);
    }
    gate.stop();
    let lines = gate.access_lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["upstream_status"].as_u64(), Some(200), "{}", lines[0]);
    assert_eq!(lines[0]["bytes_in"].as_u64(), Some(100_000), "{}", lines[0]);
}

#[test]
fn a_pipelined_request_is_not_taken_for_the_body() {
    let gate = Gate::start();
    let token = bearer(&gate);
    let mut connection = Connection::open(gate.address);
    let next = request("GET /api/0/organizations/acme/issues/", &[("Authorization", &token)], b"");
    connection.write(&[head(&token), chunks(b"abc", &[3]), next].concat());
    let reply = connection.read_reply("PUT").expect("an answer");
    assert_eq!(reply.status, 200);
    assert_eq!(gate.upstream.take_one().body, b"abc");
}

#[test]
fn where_the_upstream_takes_chunks_they_are_sent_on() {
    let options = Options {
        web: "chunked_bodies = \"stream\"\nmax_body = \"1000B\"".into(),
        ..Options::default()
    };
    let gate = Gate::with(Upstream::by_hand(answer_chunks), &options);
    let token = bearer(&gate);
    let send = |length: usize| {
        let mut connection = Connection::open(gate.address);
        connection.write(&head(&token));
        connection.write(&chunks(&pattern(length), &[300]));
        connection.read_reply("PUT").expect("an answer")
    };
    let reply = send(1000);
    assert_eq!(reply.status, 200);
    assert!(reply.body == pattern(1000));
    let reply = send(1001);
    assert_eq!((reply.status, reply.code().as_str()), (413, "too_large"));
    assert!(reply.closed);
}

/// Answers chunks with their content.
fn answer_chunks(mut stream: TcpStream) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while !bytes.ends_with(b"\r\n0\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(size) => bytes.extend_from_slice(&buffer[..size]),
        }
    }
    let at = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let (mut rest, mut body) = (&bytes[at..], Vec::new());
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return ok(&mut stream, &[], &body);
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 2 + size + 2..];
    }
}

#[test]
fn a_large_body_is_not_held_in_memory() {
    const LARGE: usize = 200 << 20;
    let options = Options {
        web: "max_body = \"300MiB\"".into(),
        tables: "[spool]\nmax_body = \"300MiB\"".into(),
        ..Options::default()
    };
    let gate = Gate::with(
        Upstream::by_hand(|mut stream| {
            let mut buffer = vec![0; 1 << 20];
            let mut received = 0;
            while received < LARGE {
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => return,
                    Ok(size) => received += size,
                }
            }
            ok(&mut stream, &[], b"{}");
        }),
        &options,
    );
    let token = bearer(&gate);
    let before = gate.peak_memory();
    let mut connection = Connection::open(gate.address);
    connection.write(&head(&token));
    let chunk = chunks(&pattern(1 << 20), &[1 << 20]);
    for _ in 0..LARGE >> 20 {
        connection.write(&chunk[..chunk.len() - 5]);
    }
    connection.write(b"0\r\n\r\n");
    let reply = connection.read_reply("PUT").expect("an answer");
    assert_eq!((reply.status, reply.body.as_slice()), (200, b"{}".as_slice()));
    let grown = gate.peak_memory() - before;
    assert!(grown < 40 << 20, "{} KiB more", grown >> 10);
}
