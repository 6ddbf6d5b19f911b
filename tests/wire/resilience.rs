//! An upstream that is silent or breaks off, a gateway that is told to stop, and bodies that are
//! too large to wait for.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::client::{Connection, PATIENCE, request};
use crate::gate::{Gate, Options, UPSTREAM_TOKEN, eventually};
use crate::upstream::{Upstream, ok};

const LINE: &str = "GET /api/0/organizations/acme/issues/";
const LARGE: usize = 20 << 20;
/// Less than any buffer on the way that would be tolerable, more than one packet.
const FIRST: usize = 64 << 10;

fn never() {
    thread::sleep(Duration::from_secs(3600));
}

/// Bytes of which no two blocks are the same.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

/// Waits for a word of the test; the error says that it did not come.
fn wait(word: &Mutex<Receiver<()>>) {
    word.lock().unwrap().recv_timeout(PATIENCE).expect("a word");
}

fn failures(gate: &Gate, reason: &str) -> f64 {
    gate.metric("portcullis_upstream_failures_total", &["\"web\"", &format!("\"{reason}\"")])
}

#[test]
fn an_upstream_that_is_silent_is_504_in_json_and_is_asked_once() {
    let options = Options { web: "timeout = \"300ms\"".into(), ..Options::default() };
    let gate = Gate::with(Upstream::answering(|_, _| never()), &options);
    let token = format!("Bearer {}", gate.token("all"));
    for (count, line) in [LINE, "PUT /api/0/organizations/acme/issues/"].into_iter().enumerate() {
        let body: &[u8] = if line == LINE { b"" } else { b"{}" };
        let reply = gate.send_body(line, &[("Authorization", &token)], body);
        assert_eq!((reply.status, reply.code().as_str()), (504, "upstream_timeout"), "{line}");
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert_eq!(reply.json()["request_id"].as_str(), reply.header("x-request-id"));
        assert!(reply.json()["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
        let seen = gate.upstream.take_one();
        assert_eq!(seen.value("x-request-id"), reply.header("x-request-id"));
        assert_eq!(seen.body, body);
        let counted = count as f64 + 1.0;
        eventually("a failure", || failures(&gate, "upstream_timeout") == counted);
    }
    assert_eq!(failures(&gate, "upstream_unreachable"), 0.0);
    gate.counts("portcullis_decisions_total", &["\"refuse\""], 0.0);
    gate.counts("portcullis_decisions_total", &["\"allow\""], 2.0);
}

#[test]
fn a_rule_has_a_timeout_of_its_own() {
    let rules = "[[rule]]\nmethods = [\"GET\"]\ntimeout = \"300ms\"\nscopes = [\"org:read\"]\n\
                 path = \"/api/0/organizations/{organization_id_or_slug}/hasty/\"\n";
    let options = Options { rules: rules.into(), ..Options::default() };
    let upstream = Upstream::answering(|_, stream| {
        thread::sleep(Duration::from_millis(1500));
        ok(stream, &[], b"{}");
    });
    let gate = Gate::with(upstream, &options);
    let token = gate.token("read");
    let reply = gate.bearer("GET /api/0/organizations/acme/hasty/", &token);
    assert_eq!((reply.status, reply.code().as_str()), (504, "upstream_timeout"));
    assert_eq!(gate.upstream.take_one().target, "/api/0/organizations/acme/hasty/");
    // The same upstream, on a rule that leaves it the time of the config.
    assert_eq!(gate.bearer(LINE, &token).status, 200);
    eventually("a failure", || failures(&gate, "upstream_timeout") == 1.0);
}

#[test]
fn a_client_that_stops_sending_is_no_failure_of_the_upstreams() {
    let rules = "[[rule]]\nmethods = [\"PUT\"]\ntimeout = \"300ms\"\nscopes = [\"org:write\"]\n\
                 path = \"/api/0/organizations/{organization_id_or_slug}/hasty/\"\n";
    let gate =
        Gate::with(Upstream::start(), &Options { rules: rules.into(), ..Options::default() });
    let token = format!("Bearer {}", gate.token("org:write"));
    let mut connection = Connection::open(gate.address);
    let fields = [("Authorization", token.as_str()), ("Content-Length", "100")];
    connection.write(&request("PUT /api/0/organizations/acme/hasty/", &fields, b""));
    connection.write(b"abc");
    let reply = connection.read_reply("PUT").expect("an answer");
    assert_eq!(reply.status, 408);
    assert!(connection.is_closed());
    eventually("a line", || gate.output().contains("\"status\":408"));
    assert_eq!(failures(&gate, "upstream_timeout"), 0.0);
}

#[test]
fn an_answer_that_breaks_off_is_never_a_whole_one() {
    // What it is, what is sent before the end, and whether that is the beginning of an answer.
    const ANSWERS: &[(&str, &[u8], bool)] = &[
        ("nothing", b"", false),
        ("half a head", b"HTTP/1.1 200 OK\r\nContent-Le", false),
        ("no HTTP", b"SSH-2.0-OpenSSH_9.6\r\n\r\n", false),
        ("half a body", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[1, 2", true),
        (
            "half the chunks",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[1, 2\r\n5\r\n",
            true,
        ),
    ];
    let gate = Gate::before(Upstream::answering(|seen, stream| {
        match seen.target.split_once("?answer=") {
            Some((_, number)) => {
                let (_, answer, _) = ANSWERS[number.parse::<usize>().unwrap()];
                stream.write_all(answer).unwrap();
                stream.shutdown(Shutdown::Both).unwrap();
            }
            None => ok(stream, &[], b"{}"),
        }
    }));
    let token = format!("Bearer {}", gate.token("read"));
    for (number, (what, _, began)) in ANSWERS.iter().enumerate() {
        let line = format!("{LINE}?answer={number}");
        let mut connection = Connection::open(gate.address);
        connection.write(&request(&line, &[("Authorization", &token)], b""));
        let (status, headers) = connection.read_head().expect(what);
        let rest = connection.read_rest();
        let rest = String::from_utf8_lossy(&rest);
        if !began {
            assert_eq!(status, 502, "{what}");
            assert!(rest.contains("\"upstream_unreachable\""), "{what}: {rest}");
        } else {
            // All that is left is to end it so that nobody takes it for whole.
            assert_eq!(status, 200, "{what}: {headers:?}");
            assert!(rest.contains("[1, 2") && rest.len() < 100, "{what}: {rest}");
            assert!(!rest.ends_with("0\r\n\r\n"), "{what}: {rest}");
        }
        assert_eq!(gate.upstream.take_one().target, line.split_once(' ').unwrap().1, "{what}");
    }
    let reply = gate.send(LINE, &[("Authorization", &token)]);
    assert_eq!((reply.status, reply.body.as_slice()), (200, b"{}".as_slice()));
    eventually("failures", || failures(&gate, "upstream_unreachable") >= 3.0);
}

#[test]
fn what_may_have_been_done_is_not_done_again() {
    // The second request comes on the connection of the first, which then ends without an answer:
    // whether Sentry acted on it is not known.
    let peers = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&peers);
    let gate = Gate::before(Upstream::answering(move |seen, stream| {
        record.lock().unwrap().push(stream.peer_addr().unwrap());
        match seen.target.contains("end") {
            true => stream.shutdown(Shutdown::Both).unwrap(),
            false => ok(stream, &[], b"{}"),
        }
    }));
    let token = format!("Bearer {}", gate.token("all"));
    let line = "POST /api/0/projects/acme/web/user-feedback/?end";
    let mut reused = false;
    for _ in 0..5 {
        assert_eq!(gate.send(LINE, &[("Authorization", &token)]).status, 200);
        gate.upstream.take();
        let reply = gate.send_body(line, &[("Authorization", &token)], b"{}");
        assert_eq!((reply.status, reply.code().as_str()), (502, "upstream_unreachable"));
        assert_eq!(gate.upstream.take_one().method, "POST");
        let peers = std::mem::take(&mut *peers.lock().unwrap());
        reused |= peers[0] == peers[1];
    }
    assert!(reused, "no connection to the upstream was used twice");
}

#[test]
fn what_is_in_flight_at_a_stop_is_finished() {
    let (go, word) = channel();
    let word = Mutex::new(word);
    let mut gate = Gate::before(Upstream::answering(move |seen, stream| {
        if seen.target.ends_with("?body") {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            write!(stream, "{head}4\r\nhalf\r\n").unwrap();
            wait(&word);
            stream.write_all(b"4\r\nhalf\r\n0\r\n\r\n").unwrap();
        } else {
            wait(&word);
            ok(stream, &[], b"{\"whole\":1}");
        }
    }));
    let token = format!("Bearer {}", gate.token("read"));
    let open = |query: &str| {
        let mut connection = Connection::open(gate.address);
        let line = format!("{LINE}{query}");
        connection.write(&request(&line, &[("Authorization", &token)], b""));
        connection
    };
    let (mut body, mut head) = (open("?body"), open("?head"));
    let mut idle = Connection::open(gate.address);
    let (status, headers) = body.read_head().unwrap();
    assert_eq!(status, 200, "{headers:?}");
    assert_eq!(body.read_exactly(9), b"4\r\nhalf\r\n");
    let mut arrived = 0;
    eventually("both requests", || {
        arrived += gate.upstream.take().len();
        arrived == 2
    });
    gate.terminate();
    eventually("a word of stopping", || gate.output().contains("\"stopping\""));
    go.send(()).unwrap();
    go.send(()).unwrap();
    assert_eq!(body.read_exactly(14), b"4\r\nhalf\r\n0\r\n\r\n");
    let reply = head.read_reply("GET").expect("a whole answer");
    assert_eq!((reply.status, reply.body.as_slice()), (200, b"{\"whole\":1}".as_slice()));
    assert_eq!(gate.wait(), Some(0), "{}", gate.output());
    assert!(idle.is_closed());
    let statuses: Vec<_> = gate.access_lines().iter().map(|line| line["status"].as_u64()).collect();
    assert_eq!(statuses, [Some(200), Some(200)]);
    assert!(!gate.output().contains("cut off"), "{}", gate.output());
}

#[test]
fn an_upload_that_a_stop_cuts_off_is_told_to_come_again() {
    let (arrived, began) = channel();
    let (arrived, began) = (Mutex::new(arrived), Mutex::new(began));
    let upstream = Upstream::by_hand(move |mut stream| {
        let mut buffer = [0; 1024];
        while let Ok(size @ 1..) = stream.read(&mut buffer) {
            let _ = arrived.lock().unwrap().send(size);
        }
    });
    let mut gate = Gate::before(upstream);
    let bearer = format!("Bearer {}", gate.token("all"));
    let fields = [("Authorization", &*bearer), ("Content-Length", "1000000")];
    let mut stream = TcpStream::connect(gate.address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(&request("PUT /api/0/organizations/acme/issues/", &fields, b"")).unwrap();
    stream.write_all(b"a start").unwrap();
    began.lock().unwrap().recv_timeout(PATIENCE).expect("a request upstream");
    gate.terminate();
    eventually("a word of stopping", || gate.output().contains("\"stopping\""));
    // The second one ends the drain.
    gate.terminate();
    let mut sending = stream.try_clone().unwrap();
    let sender = thread::spawn(move || {
        // Until nobody takes it any more; never all of it.
        for _ in 0..1_000 {
            if sending.write_all(b"more").is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    });
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut said = Vec::new();
    while !said.windows(2).any(|pair| pair == b"}\n") && !said.ends_with(b"}") {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "{:?}", said.escape_ascii().to_string());
        said.push(byte[0]);
    }
    let said = String::from_utf8(said).unwrap();
    assert!(said.starts_with("HTTP/1.1 503 ") && said.contains("\"code\":\"stopping\""), "{said}");
    assert!(said.to_ascii_lowercase().contains("retry-after: 1\r\n"), "{said}");
    assert_eq!(gate.wait(), Some(0), "{}", gate.output());
    sender.join().unwrap();
    let [line] = &*gate.access_lines() else { panic!("{}", gate.output()) };
    assert_eq!((&line["status"], &line["reason"]), (&503.into(), &"stopping".into()), "{line}");
}

/// What has not come whole at the cut: kept or not, and whether more of it comes.
#[test]
fn whatever_a_stop_cuts_off_is_told_to_come_again() {
    let rules = "[[rule]]\nmethods = [\"PUT\"]\nscopes = [\"org:write\"]\n\
                 path = \"/api/0/organizations/{organization_id_or_slug}/named/\"\n\
                 rewrite = { fields = [\"/url\"], max_size = \"1000B\" }\n";
    // The route, how its length is told, how each piece of it is written, and whether that goes on.
    let rows = [
        ("issues", ("Transfer-Encoding", "chunked"), "4\r\nmore\r\n", false),
        ("issues", ("Transfer-Encoding", "chunked"), "4\r\nmore\r\n", true),
        ("named", ("Transfer-Encoding", "chunked"), "4\r\nmore\r\n", false),
        ("named", ("Content-Length", "1000000"), "more", true),
    ];
    for (path, length, piece, goes_on) in rows {
        let row = format!("{path} {length:?} {goes_on}");
        let upstream = Upstream::by_hand(|mut stream| {
            let mut buffer = [0; 1024];
            while let Ok(1..) = stream.read(&mut buffer) {}
        });
        let mut gate = Gate::with(upstream, &Options { rules: rules.into(), ..Options::default() });
        let bearer = format!("Bearer {}", gate.token("all"));
        let mut stream = TcpStream::connect(gate.address).unwrap();
        stream.set_nodelay(true).unwrap();
        let line = format!("PUT /api/0/organizations/acme/{path}/");
        stream.write_all(&request(&line, &[("Authorization", &bearer), length], b"")).unwrap();
        stream.write_all(piece.as_bytes()).unwrap();
        let in_flight = || gate.metric("portcullis_requests_in_flight", &[]);
        eventually("a request", || in_flight() == 1.0);
        gate.terminate();
        eventually("a word of stopping", || gate.output().contains("\"stopping\""));
        // The second one ends the drain.
        gate.terminate();
        let mut sending = stream.try_clone().unwrap();
        let sender = thread::spawn(move || {
            // Until nobody takes it any more; never all of it.
            for _ in 0..if goes_on { 1_000 } else { 0 } {
                if sending.write_all(piece.as_bytes()).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(10));
            }
        });
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut said = Vec::new();
        while !said.ends_with(b"}") {
            let mut byte = [0];
            let read = stream.read(&mut byte).unwrap_or_default();
            assert_eq!(read, 1, "{row}: {:?}", said.escape_ascii().to_string());
            said.push(byte[0]);
        }
        let said = String::from_utf8(said).unwrap();
        assert!(said.starts_with("HTTP/1.1 503 "), "{row}: {said}");
        assert!(said.contains("\"code\":\"stopping\""), "{row}: {said}");
        assert!(said.to_ascii_lowercase().contains("retry-after: 1\r\n"), "{row}: {said}");
        assert_eq!(gate.wait(), Some(0), "{row}: {}", gate.output());
        drop(stream);
        sender.join().unwrap();
        let [line] = &*gate.access_lines() else { panic!("{row}: {}", gate.output()) };
        assert_eq!((&line["status"], &line["reason"]), (&503.into(), &"stopping".into()), "{line}");
    }
}

#[test]
fn a_large_answer_arrives_while_it_is_being_sent() {
    let (go, word) = channel();
    let (word, sent) = (Mutex::new(word), Arc::new(Mutex::new(0)));
    let progress = Arc::clone(&sent);
    let gate = Gate::before(Upstream::answering(move |_, stream| {
        let body = pattern(LARGE);
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").unwrap();
        stream.write_all(&body[..FIRST]).unwrap();
        *progress.lock().unwrap() = FIRST;
        wait(&word);
        stream.write_all(&body[FIRST..]).unwrap();
        *progress.lock().unwrap() = LARGE;
    }));
    let token = format!("Bearer {}", gate.token("read"));
    let mut connection = Connection::open(gate.address);
    connection.write(&request(LINE, &[("Authorization", &token)], b""));
    let (status, headers) = connection.read_head().expect("a head before the body is there");
    assert_eq!(status, 200, "{headers:?}");
    let first = connection.read_exactly(FIRST);
    assert_ne!(*sent.lock().unwrap(), LARGE, "the rest had been sent already");
    go.send(()).unwrap();
    let body = [first, connection.read_exactly(LARGE - FIRST)].concat();
    assert!(body == pattern(LARGE), "the body is not the one that was sent");
}

#[test]
fn a_large_upload_reaches_the_upstream_while_it_is_being_sent() {
    let (first_came, first) = channel();
    let (report, received) = channel();
    let gate = Gate::before(Upstream::by_hand(move |stream| {
        let (head, body) = receive_upload(stream, || first_came.send(()).unwrap());
        report.send((head, body)).unwrap();
    }));
    let token = format!("Bearer {}", gate.token("all"));
    let length = LARGE.to_string();
    let headers = [("Authorization", token.as_str()), ("Content-Length", length.as_str())];
    let body = pattern(LARGE);
    let mut connection = Connection::open(gate.address);
    connection.write(&request("PUT /api/0/organizations/acme/issues/", &headers, b""));
    connection.write(&body[..FIRST]);
    first.recv_timeout(PATIENCE).expect("the first bytes, before the last is sent");
    connection.write(&body[FIRST..]);
    let reply = connection.read_reply("PUT").expect("an answer");
    assert_eq!((reply.status, reply.body.as_slice()), (200, b"{}".as_slice()));
    let (head, seen) = received.recv_timeout(PATIENCE).expect("a whole upload");
    assert!(seen == body, "the upload is not the one that was sent");
    assert!(head.starts_with("PUT /api/0/organizations/acme/issues/ HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(UPSTREAM_TOKEN) && !head.contains(&token), "{head}");
}

/// Reads an upload and answers it; says when its first bytes are there.
fn receive_upload(mut stream: TcpStream, first_came: impl FnOnce()) -> (String, Vec<u8>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "half a head: {head}");
    }
    let mut body = vec![0; LARGE];
    reader.read_exact(&mut body[..FIRST]).unwrap();
    first_came();
    reader.read_exact(&mut body[FIRST..]).unwrap();
    ok(&mut stream, &[], b"{}");
    (head, body)
}
