//! The cap on requests at the upstream: who waits, who is refused, and that room is given back.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use crate::client::{Connection, PATIENCE, Reply, request};
use crate::gate::{Gate, Options, eventually};
use crate::upstream::{Seen, Upstream, ok};

const LINE: &str = "GET /api/0/organizations/acme/issues/";

/// An upstream that answers when it is told to, and what it has seen of too many at once.
struct Held {
    gate: Gate,
    go: Sender<()>,
    most: Arc<Mutex<(usize, usize)>>,
    token: String,
}

impl Held {
    fn with(web: &str) -> Self {
        let (go, word) = channel();
        let word: Mutex<Receiver<()>> = Mutex::new(word);
        let most = Arc::new(Mutex::new((0, 0)));
        let counts = Arc::clone(&most);
        let upstream = Upstream::answering(move |_, stream: &mut TcpStream| {
            {
                let mut counts = counts.lock().unwrap();
                counts.0 += 1;
                counts.1 = counts.1.max(counts.0);
            }
            word.lock().unwrap().recv_timeout(PATIENCE).expect("a word");
            counts.lock().unwrap().0 -= 1;
            ok(stream, &[], b"{}");
        });
        let gate = Gate::with(upstream, &Options { web: web.to_owned(), ..Options::default() });
        let token = format!("Bearer {}", gate.token("all"));
        Self { gate, go, most, token }
    }

    fn send(&self, line: &str, headers: &[(&str, &str)]) -> Connection {
        let mut connection = Connection::open(self.gate.address);
        let headers = [headers, &[("Authorization", self.token.as_str())]].concat();
        connection.write(&request(line, &headers, b""));
        connection
    }

    /// Sends a request, and waits until it is at the upstream.
    fn at_upstream(&self, query: &str) -> Connection {
        let connection = self.send(&format!("{LINE}?{query}"), &[]);
        assert_eq!(self.arrived().target.split_once('?').unwrap().1, query);
        connection
    }

    /// Sends a request, and waits until it is the last of so many that wait.
    fn waiting(&self, query: &str, place: u32) -> Connection {
        let connection = self.send(&format!("{LINE}?{query}"), &[]);
        self.eventually_waiting(place);
        connection
    }

    fn eventually_waiting(&self, count: u32) {
        let waiting = || self.gate.metric("portcullis_upstream_requests_waiting", &["\"web\""]);
        eventually("requests that wait", || waiting() == f64::from(count));
    }

    fn arrived(&self) -> Seen {
        let mut seen = Vec::new();
        eventually("a request at the upstream", || {
            seen = self.gate.upstream.take();
            !seen.is_empty()
        });
        assert_eq!(seen.len(), 1, "{seen:#?}");
        seen.remove(0)
    }

    fn in_flight(&self) -> f64 {
        self.gate.metric("portcullis_upstream_requests_in_flight", &["\"web\""])
    }

    fn refused(&self) -> f64 {
        let labels = ["\"web\"", "\"upstream_busy\""];
        self.gate.metric("portcullis_upstream_failures_total", &labels)
    }
}

fn is_busy(reply: &Reply, why: &str) {
    assert_eq!((reply.status, reply.code().as_str()), (503, "upstream_busy"));
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.json()["request_id"].as_str(), reply.header("x-request-id"));
    let detail = reply.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(why), "{detail}");
}

#[test]
fn two_at_once_three_that_wait_and_no_more() {
    let mut held = Held::with("max_in_flight = 2\nmax_waiting = 3");
    let mut served = vec![held.at_upstream("1"), held.at_upstream("2")];
    for number in 3..=5 {
        served.push(held.waiting(&number.to_string(), number - 2));
    }
    assert_eq!(held.in_flight(), 2.0);
    let reply = held.send(&format!("{LINE}?6"), &[]).read_reply("GET").expect("an answer");
    is_busy(&reply, "queue for it is full");
    // An upload is refused before its body comes.
    let upload = [("Content-Length", "1000000")];
    let mut upload = held.send("PUT /api/0/organizations/acme/issues/?7", &upload);
    is_busy(&upload.read_reply("PUT").expect("an answer"), "queue for it is full");
    assert!(held.gate.upstream.take().is_empty());
    for number in 3..=5 {
        held.go.send(()).unwrap();
        // First come, first served.
        assert_eq!(held.arrived().target.split_once('?').unwrap().1, number.to_string());
    }
    held.go.send(()).unwrap();
    held.go.send(()).unwrap();
    for connection in &mut served {
        assert_eq!(connection.read_reply("GET").expect("an answer").status, 200);
    }
    assert_eq!(held.most.lock().unwrap().1, 2);
    eventually("all slots", || held.in_flight() == 0.0);
    held.eventually_waiting(0);
    eventually("two failures", || held.refused() == 2.0);
    held.gate.counts("portcullis_decisions_total", &["\"refuse\""], 0.0);
    drop(served);
    held.gate.stop();
    let lines = held.gate.access_lines();
    let refused: Vec<_> = lines.iter().filter(|line| line["status"] == 503).collect();
    assert_eq!(refused.len(), 2, "{lines:#?}");
    assert!(refused.iter().all(|line| line["reason"] == "upstream_busy"), "{refused:#?}");
    assert!(!held.gate.output().contains("gave no answer"), "{}", held.gate.output());
}

#[test]
fn a_wait_has_an_end() {
    let held = Held::with("max_in_flight = 1\nmax_wait = \"200ms\"");
    let mut first = held.at_upstream("1");
    let reply = held.send(&format!("{LINE}?2"), &[]).read_reply("GET").expect("an answer");
    is_busy(&reply, "while this one waited");
    held.go.send(()).unwrap();
    assert_eq!(first.read_reply("GET").expect("an answer").status, 200);
    assert!(held.gate.upstream.take().is_empty());
}

#[test]
fn who_goes_away_while_it_waits_gives_its_place_to_the_next() {
    let held = Held::with("max_in_flight = 1\nmax_waiting = 1");
    let mut first = held.at_upstream("1");
    drop(held.waiting("2", 1));
    held.eventually_waiting(0);
    let mut third = held.waiting("3", 1);
    held.go.send(()).unwrap();
    assert_eq!(first.read_reply("GET").expect("an answer").status, 200);
    assert_eq!(held.arrived().target.split_once('?').unwrap().1, "3");
    held.go.send(()).unwrap();
    assert_eq!(third.read_reply("GET").expect("an answer").status, 200);
    assert_eq!(held.refused(), 0.0);
    let gone = || held.gate.metric("portcullis_requests_total", &["status=\"499\""]);
    eventually("a client that went away", || gone() == 1.0);
}

#[test]
fn an_upload_whose_client_went_away_while_it_waited_gives_its_slot_back() {
    let held = Held::with("max_in_flight = 1\nmax_waiting = 2");
    let mut first = held.at_upstream("1");
    let mut upload =
        held.send("PUT /api/0/organizations/acme/issues/", &[("Content-Length", "100")]);
    upload.write(b"abc");
    held.eventually_waiting(1);
    drop(upload);
    let mut third = held.waiting("3", 2);
    held.go.send(()).unwrap();
    assert_eq!(first.read_reply("GET").expect("an answer").status, 200);
    assert_eq!(held.arrived().target.split_once('?').unwrap().1, "3");
    held.go.send(()).unwrap();
    assert_eq!(third.read_reply("GET").expect("an answer").status, 200);
}

#[test]
fn slots_are_given_back_however_a_request_ends() {
    let upstream = Upstream::by_hand(|stream| {
        crate::upstream::each(stream, |seen, stream| match seen.target.split_once('?') {
            Some((_, "endless")) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n").unwrap();
                while stream.write_all(&[b'x'; 64 << 10]).is_ok() {}
            }
            Some((_, "half")) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").unwrap();
                stream.shutdown(Shutdown::Both).unwrap();
            }
            Some((_, "nothing")) => stream.shutdown(Shutdown::Both).unwrap(),
            _ => ok(stream, &[], b"{}"),
        });
    });
    let web = "max_in_flight = 1\nmax_waiting = 0".to_owned();
    let gate = Gate::with(upstream, &Options { web, ..Options::default() });
    let token = format!("Bearer {}", gate.token("all"));
    let in_flight = || gate.metric("portcullis_upstream_requests_in_flight", &["\"web\""]);
    let given_back = |what: &str| {
        eventually(what, || in_flight() == 0.0);
        assert_eq!(gate.send(LINE, &[("Authorization", &token)]).status, 200, "{what}");
        eventually(what, || in_flight() == 0.0);
    };
    let open = |line: &str, headers: &[(&str, &str)]| {
        let mut connection = Connection::open(gate.address);
        let headers = [headers, &[("Authorization", token.as_str())]].concat();
        connection.write(&request(line, &headers, b""));
        connection
    };
    let mut upload =
        open("PUT /api/0/organizations/acme/issues/", &[("Content-Length", "1000000")]);
    upload.write(&[b'x'; 1000]);
    eventually("an upload", || in_flight() == 1.0);
    drop(upload);
    given_back("a client that went away during its upload");
    let mut download = open(&format!("{LINE}?endless"), &[]);
    assert_eq!(download.read_head().expect("a head").0, 200);
    download.read_exactly(1 << 20);
    assert_eq!(in_flight(), 1.0);
    drop(download);
    given_back("a client that went away during its download");
    for query in ["half", "nothing"] {
        open(&format!("{LINE}?{query}"), &[]).read_rest();
        given_back(query);
    }
}

#[test]
fn who_waits_at_a_stop_is_sent_to_another_gateway() {
    let mut held = Held::with("max_in_flight = 1");
    let mut first = held.at_upstream("1");
    let mut second = held.waiting("2", 1);
    held.gate.terminate();
    is_busy(&second.read_reply("GET").expect("an answer"), "is stopping");
    held.go.send(()).unwrap();
    assert_eq!(first.read_reply("GET").expect("an answer").status, 200);
    assert_eq!(held.gate.wait(), Some(0), "{}", held.gate.output());
    assert!(held.gate.upstream.take().is_empty());
    assert!(!held.gate.output().contains("cut off"), "{}", held.gate.output());
}

/// Rules with a short timeout, on the second of which the answer is held and rewritten.
fn hasty(timeout: &str) -> String {
    let rule = |path: &str, more: &str| {
        format!(
            "[[rule]]\nmethods = [\"GET\"]\ntimeout = \"{timeout}\"\nscopes = [\"org:read\"]\n\
             path = \"/api/0/organizations/{{organization_id_or_slug}}/{path}/\"\n{more}"
        )
    };
    let rewrite = "rewrite = { fields = [\"/url\"], max_size = \"30MiB\" }\n";
    rule("hasty", "") + &rule("held", rewrite)
}

const LARGE: usize = 20 << 20;

/// An answer of that length: JSON.
fn large() -> Vec<u8> {
    let (start, end) = (&b"{\"a\":\""[..], b"\"}");
    [start, &vec![b'x'; LARGE - start.len() - end.len()], end].concat()
}

#[test]
fn who_does_not_read_its_answer_gives_its_slot_back() {
    let upstream = Upstream::answering(|seen, stream| {
        if seen.target.contains("issues") {
            return ok(stream, &[], b"{}");
        }
        if seen.target.contains("held") {
            return ok(stream, &[], &large());
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n").unwrap();
        while stream.write_all(&[b'x'; 64 << 10]).is_ok() {}
    });
    let web = "max_in_flight = 1\nmax_waiting = 0".to_owned();
    let gate = Gate::with(upstream, &Options { web, rules: hasty("300ms"), ..Options::default() });
    let token = format!("Bearer {}", gate.token("all"));
    for (count, path) in [(1.0, "hasty"), (2.0, "held")] {
        let mut connection = Connection::open(gate.address);
        let line = format!("GET /api/0/organizations/acme/{path}/");
        connection.write(&request(&line, &[("Authorization", &token)], b""));
        eventually("a request upstream", || !gate.upstream.take().is_empty());
        // It keeps the connection, and reads nothing.
        let unread = || gate.metric("portcullis_requests_total", &["status=\"499\""]);
        eventually(path, || unread() == count);
        assert_eq!(gate.send(LINE, &[("Authorization", &token)]).status, 200, "{path}");
        gate.upstream.take();
        drop(connection);
    }
    gate.counts("portcullis_upstream_failures_total", &[], 0.0);
}

#[test]
fn who_reads_slowly_gets_its_answer_and_one_that_was_held_keeps_no_slot() {
    let upstream = Upstream::answering(|seen, stream| match seen.target.contains("issues") {
        true => ok(stream, &[], b"{}"),
        false => ok(stream, &[], &large()),
    });
    let web = "max_in_flight = 1\nmax_waiting = 0".to_owned();
    let gate = Gate::with(upstream, &Options { web, rules: hasty("3s"), ..Options::default() });
    let token = format!("Bearer {}", gate.token("all"));
    for path in ["hasty", "held"] {
        let mut connection = Connection::open(gate.address);
        let line = format!("GET /api/0/organizations/acme/{path}/");
        connection.write(&request(&line, &[("Authorization", &token)], b""));
        let (status, _) = connection.read_head().expect(path);
        assert_eq!(status, 200, "{path}");
        if path == "held" {
            // Of the answer most is still to be read.
            assert_eq!(gate.send(LINE, &[("Authorization", &token)]).status, 200);
        }
        let mut body = Vec::new();
        // Longer in all than one piece may take.
        while body.len() < LARGE {
            std::thread::sleep(std::time::Duration::from_millis(50));
            body.extend(connection.read_exactly((LARGE - body.len()).min(256 << 10)));
        }
        assert!(body == large(), "{path}: another body");
    }
    gate.counts("portcullis_requests_total", &["status=\"499\""], 0.0);
}
