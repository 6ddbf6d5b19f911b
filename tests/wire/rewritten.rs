//! Answers whose JSON is rewritten: byte for byte what a client gets, and what it never gets.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::channel;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use crate::client::{Connection, PATIENCE, Reply, request};
use crate::gate::{CANONICAL, Gate, HOST, Options, eventually};
use crate::upstream::{Seen, Upstream, ok};

const LINE: &str = "GET /api/0/organizations/acme/named/";
const PASS: &str = "GET /api/0/organizations/acme/passed/";
const MAX: usize = 1000;

/// Two routes with a field to rewrite; of the second an answer that can't be passes.
fn rules() -> Options {
    let rule = |path: &str, on_failure: &str| {
        format!(
            "[[rule]]\nmethods = [\"GET\", \"POST\"]\nscopes = [\"org:read\", \"org:write\"]\n\
             path = \"/api/0/organizations/{{organization_id_or_slug}}/{path}/\"\n\
             rewrite = {{ fields = [\"/url\"], max_size = \"{MAX}B\", on_failure = \"{on_failure}\" }}\n"
        )
    };
    let rules = rule("named", "refuse") + &rule("passed", "pass");
    Options {
        rules,
        top: "public_aliases = [\"http://other.example\"]".into(),
        ..Options::default()
    }
}

/// An upstream that answers `?n` with the answer of that number.
fn answers(answers: Vec<Vec<u8>>) -> Upstream {
    Upstream::answering(move |seen: &Seen, stream: &mut TcpStream| {
        match seen.target.split_once('?').and_then(|(_, query)| query.parse::<usize>().ok()) {
            Some(number) => {
                let _ = stream.write_all(&answers[number]);
                let _ = stream.shutdown(Shutdown::Both);
            }
            None => ok(stream, &[], upstream_json().as_bytes()),
        }
    })
}

fn upstream_json() -> String {
    format!("{{ \"n\": 1.50, \"url\": \"{CANONICAL}/x/\", \"url2\": \"{CANONICAL}/y/\" }}")
}

fn client_json() -> String {
    format!("{{ \"n\": 1.50, \"url\": \"http://{HOST}/x/\", \"url2\": \"{CANONICAL}/y/\" }}")
}

fn raw(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn results(gate: &Gate) -> [f64; 4] {
    ["rewritten", "unchanged", "failed", "passed"]
        .map(|result| gate.metric("portcullis_json_rewrites_total", &[&format!("\"{result}\"")]))
}

fn get(gate: &Gate, token: &str, line: &str) -> Reply {
    gate.bearer(line, token)
}

#[test]
fn what_can_be_rewritten_is_whole_and_has_its_length() {
    let json = upstream_json();
    let json = json.as_bytes();
    let half = json.len() / 2;
    let in_chunks = [
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{half:x}\r\n")
            .as_bytes(),
        &json[..half],
        format!("\r\n{:x}\r\n", json.len() - half).as_bytes(),
        &json[half..],
        b"\r\n0\r\n\r\n",
    ]
    .concat();
    let to_the_end =
        [b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n".as_slice(), json].concat();
    let of_type = |content_type: &str| {
        let text = String::from_utf8(raw("200 OK", "", json)).unwrap();
        text.replacen("application/json", content_type, 1).into_bytes()
    };
    let padded = {
        let mut body = json.to_vec();
        body.resize(MAX, b' ');
        raw("200 OK", "", &body)
    };
    let validators = "ETag: \"a\"\r\nLast-Modified: Tue, 24 Nov 2026 00:00:00 GMT\r\n\
        Content-MD5: x\r\nDigest: x\r\nContent-Digest: x\r\nRepr-Digest: x\r\nSignature: x\r\n\
        Signature-Input: x\r\nAccept-Ranges: bytes\r\nX-Hits: 7\r\n";
    let rows = vec![
        ("plain", raw("200 OK", "", json)),
        ("created", raw("201 Created", "", json)),
        ("an error", raw("400 Bad Request", "", json)),
        ("in chunks", in_chunks),
        ("to the end of the connection", to_the_end),
        ("with a charset", of_type("Application/JSON; charset=utf-8")),
        ("a suffix", of_type("application/vnd.sentry.v1+json")),
        ("without a semicolon", of_type("application/json charset=utf-8")),
        ("a list", of_type("text/html, application/json")),
        ("another name", of_type("text/json")),
        ("as large as may be", padded),
        ("gzip", raw("200 OK", "Content-Encoding: gzip\r\n", &gzip(json))),
        ("deflate", raw("200 OK", "Content-Encoding: deflate\r\n", &zlib(json))),
        ("of one representation", raw("200 OK", validators, json)),
    ];
    let names: Vec<_> = rows.iter().map(|(name, _)| *name).collect();
    let gate = Gate::with(answers(rows.into_iter().map(|(_, answer)| answer).collect()), &rules());
    let token = gate.token("read");
    for (number, name) in names.iter().enumerate() {
        let reply = get(&gate, &token, &format!("{LINE}?{number}"));
        let body = String::from_utf8(reply.body.clone()).unwrap();
        assert_eq!(body.trim_end_matches(' '), client_json().trim_end_matches(' '), "{name}");
        assert_eq!(reply.header("content-length"), Some(reply.body.len().to_string().as_str()));
        for gone in [
            "transfer-encoding",
            "content-encoding",
            "etag",
            "last-modified",
            "content-md5",
            "digest",
            "content-digest",
            "repr-digest",
            "signature",
            "signature-input",
            "accept-ranges",
        ] {
            assert_eq!(reply.header(gone), None, "{name}: {gone}");
        }
        assert!(!reply.closed, "{name}");
        assert!(reply.header("x-request-id").is_some(), "{name}");
    }
    assert_eq!(get(&gate, &token, &format!("{LINE}?1")).status, 201);
    assert_eq!(get(&gate, &token, &format!("{LINE}?2")).status, 400);
    let last = names.len() - 1;
    assert_eq!(get(&gate, &token, &format!("{LINE}?{last}")).header("x-hits"), Some("7"));
    assert_eq!(results(&gate), [names.len() as f64 + 3.0, 0.0, 0.0, 0.0]);
    let fields = [("Authorization", format!("Bearer {token}"))];
    let other = format!(
        "{LINE} HTTP/1.1\r\nHost: other.example\r\n{}: {}\r\n\r\n",
        fields[0].0, fields[0].1
    );
    let reply = crate::client::send(gate.address, other.as_bytes()).expect("an answer");
    assert_eq!(reply.json()["url"].as_str(), Some("http://other.example/x/"));
}

#[test]
fn what_has_nothing_to_rewrite_goes_through_untouched() {
    let html = b"<a href=\"https://sentry.internal/x/\">";
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let page =
        text(&raw("200 OK", "ETag: \"a\"\r\n", html)).replacen("application/json", "text/html", 1);
    let rows: Vec<(&str, Vec<u8>, u16, Vec<u8>)> = vec![
        ("a page", page.into_bytes(), 200, html.to_vec()),
        (
            "304",
            b"HTTP/1.1 304 Not Modified\r\nContent-Type: application/json\r\nETag: \"a\"\r\n\r\n"
                .to_vec(),
            304,
            Vec::new(),
        ),
        (
            "204",
            b"HTTP/1.1 204 No Content\r\nContent-Type: application/json\r\n\r\n".to_vec(),
            204,
            Vec::new(),
        ),
        ("nothing", raw("200 OK", "", b""), 200, Vec::new()),
        (
            "another host",
            raw("200 OK", "", b"{\"url\":\"https://evil/\"}"),
            200,
            b"{\"url\":\"https://evil/\"}".to_vec(),
        ),
        ("no such field", raw("200 OK", "", b" [1, 2]\n"), 200, b" [1, 2]\n".to_vec()),
    ];
    let sent = rows.iter().map(|(_, answer, ..)| answer.clone()).collect();
    let gate = Gate::with(answers(sent), &rules());
    let token = gate.token("read");
    for (number, (name, _, status, body)) in rows.iter().enumerate() {
        let reply = get(&gate, &token, &format!("{LINE}?{number}"));
        assert_eq!((reply.status, &reply.body), (*status, body), "{name}");
    }
    let page = get(&gate, &token, &format!("{LINE}?0"));
    assert_eq!(page.header("etag"), Some("\"a\""));
    assert_eq!(results(&gate), [0.0, 3.0, 0.0, 0.0]);
}

#[test]
fn what_cannot_be_rewritten_is_502_or_passes_as_it_is() {
    let large = {
        let mut body = upstream_json().into_bytes();
        body.resize(MAX + 1, b' ');
        body
    };
    let bomb = gzip(&large);
    let chunked = [
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n", large.len()).as_bytes(),
        &large,
        b"\r\n3\r\nabc\r\n0\r\n\r\n",
    ]
    .concat();
    let plain = upstream_json().into_bytes();
    let mut damaged = gzip(&plain);
    damaged.truncate(damaged.len() - 3);
    let rows: Vec<(&str, Vec<u8>, Vec<u8>, Option<&str>)> = vec![
        ("too large", raw("200 OK", "", &large), large.clone(), None),
        ("too large, in chunks", chunked, [&large[..], b"abc"].concat(), None),
        ("a bomb", raw("200 OK", "Content-Encoding: gzip\r\n", &bomb), bomb, Some("gzip")),
        (
            "no gzip",
            raw("200 OK", "Content-Encoding: gzip\r\n", &plain),
            plain.clone(),
            Some("gzip"),
        ),
        (
            "half of gzip",
            raw("200 OK", "Content-Encoding: gzip\r\n", &damaged),
            damaged,
            Some("gzip"),
        ),
        ("br", raw("200 OK", "Content-Encoding: br\r\n", &plain), plain.clone(), Some("br")),
        (
            "twice",
            raw("200 OK", "Content-Encoding: gzip, gzip\r\n", &plain),
            plain.clone(),
            Some("gzip, gzip"),
        ),
        ("no JSON", raw("200 OK", "", b"{\"url\": "), b"{\"url\": ".to_vec(), None),
        (
            "a length that is too short",
            [
                &b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
                    [..],
                &plain,
            ]
            .concat(),
            plain[..9].to_vec(),
            None,
        ),
        ("two of it", raw("200 OK", "", b"{}{}"), b"{}{}".to_vec(), None),
        (
            "a part",
            raw("206 Partial Content", "Content-Range: bytes 0-1/9\r\n", b"{}"),
            b"{}".to_vec(),
            None,
        ),
    ];
    let sent = rows.iter().map(|(_, answer, ..)| answer.clone()).collect();
    let mut gate = Gate::with(answers(sent), &rules());
    let token = gate.token("read");
    for (number, (name, _, body, encoding)) in rows.iter().enumerate() {
        let reply = get(&gate, &token, &format!("{LINE}?{number}"));
        assert_eq!((reply.status, reply.code().as_str()), (502, "rewrite_failed"), "{name}");
        assert_eq!(reply.header("content-type"), Some("application/json"), "{name}");
        assert_eq!(reply.header("content-encoding"), None, "{name}");
        assert!(!String::from_utf8_lossy(&reply.body).contains(CANONICAL), "{name}");
        let reply = get(&gate, &token, &format!("{PASS}?{number}"));
        assert_eq!(reply.status / 100, 2, "{name}");
        assert!(reply.body == *body, "{name}: {:?}", String::from_utf8_lossy(&reply.body));
        assert_eq!(reply.header("content-encoding"), *encoding, "{name}");
    }
    let count = rows.len() as f64;
    assert_eq!(results(&gate), [0.0, 0.0, count, count]);
    let labels = ["\"web\"", "\"rewrite_failed\""];
    let failures = || gate.metric("portcullis_upstream_failures_total", &labels) == count;
    eventually("failures", failures);
    gate.stop();
    let lines = gate.access_lines();
    assert_eq!(lines[0]["status"].as_u64(), Some(502), "{}", lines[0]);
    assert!(lines[0].to_string().contains("rewrite_failed"), "{}", lines[0]);
    assert_eq!(lines.len(), 2 * rows.len());
}

#[test]
fn an_answer_that_breaks_off_is_not_sent_for_whole() {
    let json = upstream_json();
    let half = &json.as_bytes()[..json.len() / 2];
    let mut cut = raw("200 OK", "", json.as_bytes());
    cut.truncate(cut.len() - json.len() + half.len());
    let chunks = [
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n", half.len()).as_bytes(),
        half,
        b"\r\n",
    ]
    .concat();
    let gate = Gate::with(answers(vec![cut, chunks]), &rules());
    let token = gate.token("read");
    let authorization = format!("Bearer {token}");
    for number in 0..2 {
        let reply = get(&gate, &token, &format!("{LINE}?{number}"));
        assert_eq!((reply.status, reply.code().as_str()), (502, "upstream_unreachable"));
        let mut connection = Connection::open(gate.address);
        let line = format!("{PASS}?{number}");
        connection.write(&request(&line, &[("Authorization", &authorization)], b""));
        assert_eq!(connection.read_head().map(|(status, _)| status), Some(200));
        let rest = connection.read_rest();
        assert!(rest.windows(half.len()).any(|bytes| bytes == half));
        assert!(!rest.ends_with(b"0\r\n\r\n"));
    }
    assert_eq!(results(&gate), [0.0, 0.0, 2.0, 2.0]);
}

#[test]
fn a_whole_answer_is_asked_for() {
    let gate = Gate::with(answers(Vec::new()), &rules());
    let token = gate.token("read");
    let authorization = format!("Bearer {token}");
    let asked = [
        ("Authorization", authorization.as_str()),
        ("Accept-Encoding", "gzip, br"),
        ("Range", "bytes=0-1"),
        ("If-Range", "\"a\""),
        ("If-Match", "\"a\""),
        ("If-None-Match", "\"a\""),
        ("If-Modified-Since", "Tue, 24 Nov 2026 00:00:00 GMT"),
        ("If-Unmodified-Since", "Tue, 24 Nov 2026 00:00:00 GMT"),
    ];
    let get = LINE.to_owned();
    for line in [get.clone(), get.replace("GET", "HEAD")] {
        let reply = gate.send(&line, &asked);
        assert_eq!(reply.status, 200, "{line}");
        let seen = gate.upstream.take_one();
        assert_eq!(seen.value("accept-encoding"), Some("identity"), "{line}");
        for (name, _) in &asked[2..] {
            assert_eq!(seen.value(name), None, "{line}");
        }
    }
    // Elsewhere they are the client's.
    gate.send("GET /api/0/organizations/acme/issues/", &asked);
    let seen = gate.upstream.take_one();
    assert_eq!(seen.value("accept-encoding"), Some("gzip, br"));
    assert_eq!(seen.value("if-none-match"), Some("\"a\""));
}

#[test]
fn the_head_of_an_answer_without_a_body_promises_no_length() {
    let head =
        |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}ETag: \"a\"\r\n\r\n").into_bytes();
    let gate = Gate::with(
        answers(vec![
            head("Content-Type: application/json\r\nContent-Length: 100\r\n"),
            head("Content-Type: text/html\r\nContent-Length: 100\r\n"),
        ]),
        &rules(),
    );
    let token = format!("Bearer {}", gate.token("read"));
    let line = LINE.replace("GET", "HEAD");
    for (number, length, etag) in [(0, None, None), (1, Some("100"), Some("\"a\""))] {
        let reply = gate.send(&format!("{line}?{number}"), &[("Authorization", &token)]);
        assert_eq!(reply.status, 200);
        assert_eq!((reply.header("content-length"), reply.header("etag")), (length, etag));
    }
}

#[test]
fn a_connection_is_used_again_and_bodies_go_on_as_they_come() {
    let gate = Gate::with(answers(Vec::new()), &rules());
    let token = format!("Bearer {}", gate.token("all"));
    let mut connection = Connection::open(gate.address);
    let large = vec![b'x'; 3_000_000];
    for (line, body) in [
        (LINE.to_owned(), &b""[..]),
        (LINE.replace("GET", "POST"), b"abc"),
        (LINE.replace("GET", "POST"), &large),
        (LINE.replace("GET", "POST"), b""),
        (LINE.to_owned(), b""),
    ] {
        connection.write(&request(&line, &[("Authorization", &token)], body));
        let reply = connection.read_reply("GET").expect("an answer");
        assert_eq!(reply.status, 200, "{line}");
        assert_eq!(reply.body, client_json().as_bytes(), "{line}");
        let seen = gate.upstream.take_one();
        assert!(seen.body == body, "{line}: another body");
        assert!(seen.values("transfer-encoding").is_empty());
    }
    // The next request may come before the gateway is done with the last.
    for _ in 0..300 {
        connection.write(&request(LINE, &[("Authorization", &token)], b""));
        let reply = connection.read_reply("GET").expect("an answer");
        assert_eq!((reply.status, reply.closed), (200, false));
    }
    assert_eq!(gate.upstream.take().len(), 300);
    // In chunks, too.
    let fields = [("Authorization", token.as_str()), ("Transfer-Encoding", "chunked")];
    connection.write(&request(&LINE.replace("GET", "POST"), &fields, b""));
    connection.write(b"3\r\nabc\r\n0\r\n\r\n");
    let reply = connection.read_reply("POST").expect("an answer");
    assert_eq!(reply.body, client_json().as_bytes());
    assert_eq!(gate.upstream.take_one().body, b"abc");
}

#[test]
fn a_client_cannot_ask_for_what_is_not_rewritten() {
    let gate = Gate::with(answers(Vec::new()), &rules());
    let authorization = format!("Bearer {}", gate.token("read"));
    for (name, value) in [
        ("Upgrade", "websocket"),
        ("Accept", "text/html"),
        ("TE", "gzip"),
        ("Accept_Encoding", "gzip"),
        ("Expect", "100-continue"),
    ] {
        let fields = [
            ("Authorization", authorization.as_str()),
            ("Connection", "Upgrade, TE"),
            (name, value),
        ];
        let reply = gate.send(LINE, &fields);
        assert_eq!(reply.body, client_json().as_bytes(), "{name}");
        assert_eq!(gate.upstream.take_one().values("accept-encoding"), ["identity"], "{name}");
    }
}

#[test]
fn what_is_held_at_a_stop_is_finished() {
    let (go, word) = channel();
    let word = Mutex::new(word);
    let upstream = Upstream::answering(move |_, stream| {
        word.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        ok(stream, &[], upstream_json().as_bytes());
    });
    let mut gate = Gate::with(upstream, &rules());
    let token = format!("Bearer {}", gate.token("read"));
    let mut connection = Connection::open(gate.address);
    connection.write(&request(LINE, &[("Authorization", &token)], b""));
    eventually("a request", || !gate.upstream.take().is_empty());
    gate.terminate();
    eventually("a word of stopping", || gate.output().contains("\"stopping\""));
    go.send(()).unwrap();
    let reply = connection.read_reply("GET").expect("an answer");
    assert_eq!((reply.status, reply.body.as_slice()), (200, client_json().as_bytes()));
    assert_eq!(gate.wait(), Some(0), "{}", gate.output());
}

#[test]
fn an_old_client_gets_the_same() {
    let gate = Gate::with(answers(Vec::new()), &rules());
    let token = gate.token("read");
    let old = format!("{LINE} HTTP/1.0\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n\r\n");
    let mut connection = Connection::open(gate.address);
    connection.write(old.as_bytes());
    let reply = connection.read_reply("GET").expect("an answer");
    assert_eq!((reply.status, reply.body.as_slice()), (200, client_json().as_bytes()));
    assert!(connection.is_closed());
}

#[test]
fn an_answer_that_does_not_say_what_it_is_is_read_too() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: ";
    let (json, other) = (upstream_json(), format!("see {CANONICAL}/x/"));
    let untold = |body: &str| format!("{head}{}\r\n\r\n{body}", body.len()).into_bytes();
    let gate = Gate::with(answers(vec![untold(&json), untold(&other), untold("")]), &rules());
    let token = gate.token("all");
    let reply = get(&gate, &token, &format!("{LINE}?0"));
    assert_eq!((reply.status, &*reply.body), (200, client_json().as_bytes()));
    let reply = get(&gate, &token, &format!("{LINE}?1"));
    assert_eq!((reply.status, &*reply.code()), (502, "rewrite_failed"));
    let reply = get(&gate, &token, &format!("{PASS}?1"));
    assert_eq!((reply.status, &*reply.body), (200, other.as_bytes()));
    let reply = get(&gate, &token, &format!("{LINE}?2"));
    assert_eq!((reply.status, &*reply.body), (200, &b""[..]));
}

/// Whether the sockets of a port have nothing that waits to be read or sent.
fn nothing_is_on_its_way(port: u16) -> bool {
    let (sockets, port) =
        (std::fs::read_to_string("/proc/net/tcp").unwrap(), format!(":{port:04X}"));
    let mut of_port = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    // The ends, the state, and both queues.
    of_port.all(|line| {
        !line[1..3].iter().any(|end| end.ends_with(&port)) || line[4] == "00000000:00000000"
    })
}

#[test]
fn answers_that_are_held_have_a_limit_together() {
    const HALF: usize = 40 << 20;
    let (go, word) = channel();
    let (sent, was_sent) = channel();
    let (word, sent) = (Mutex::new(word), Mutex::new(sent));
    let upstream = Upstream::answering(move |seen: &Seen, stream: &mut TcpStream| {
        let body = [b"{\"a\":\"", &vec![b'x'; HALF - 8][..], b"\"}"].concat();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length";
        write!(stream, "{head}: {HALF}\r\n\r\n").unwrap();
        let rest = if seen.target.ends_with("?waits") { 1 } else { 0 };
        // Who is refused does not take it.
        let _ = stream.write_all(&body[..HALF - rest]);
        if rest > 0 {
            sent.lock().unwrap().send(()).unwrap();
            word.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            stream.write_all(&body[HALF - rest..]).unwrap();
        }
    });
    let mut options = rules();
    options.rules = options.rules.replace(&format!("{MAX}B"), "50MiB");
    let gate = Gate::with(upstream, &options);
    let token = gate.token("all");
    let bearer = format!("Bearer {token}");
    let mut first = Connection::open(gate.address);
    first.write(&request(&format!("{LINE}?waits"), &[("Authorization", &bearer)], b""));
    // All that there is of it yet has come.
    was_sent.recv_timeout(PATIENCE).unwrap();
    eventually("most of an answer", || nothing_is_on_its_way(gate.upstream.address.port()));
    let reply = get(&gate, &token, LINE);
    assert_eq!((reply.status, &*reply.code()), (503, "upstream_busy"));
    assert_eq!(reply.header("retry-after"), Some("1"));
    let detail = reply.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("no room for its answer"), "{detail}");
    // What may pass as it is does.
    let reply = get(&gate, &token, PASS);
    assert_eq!((reply.status, reply.body.len()), (200, HALF));
    go.send(()).unwrap();
    let reply = first.read_reply("GET").expect("an answer");
    assert_eq!((reply.status, reply.body.len()), (200, HALF));
    // It has given its room back.
    assert_eq!(get(&gate, &token, LINE).status, 200);
}
