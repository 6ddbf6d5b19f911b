//! How much is under way at once: what ends gives its room back, however it ends.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{LINE, UPLOAD, is_limited, number};
use crate::client::{Connection, PATIENCE, Reply, request};
use crate::gate::{Gate, Options, eventually};
use crate::upstream::{Upstream, ok};

const TWO: &str = "[limit.tokens]\nby = \"token\"\nin_flight = 2\n";

/// A gateway before an upstream that does with each request what it is told to.
struct Held {
    gate: Gate,
    words: Arc<Mutex<HashMap<String, Word>>>,
    token: String,
    number: Cell<usize>,
}

#[derive(Clone, Copy)]
enum Word {
    Answer,
    HangUp,
}

/// A request at the upstream, by its number.
struct Sent {
    connection: Connection,
    number: String,
}

impl Held {
    fn new() -> Self {
        let words: Arc<Mutex<HashMap<String, Word>>> = Arc::default();
        let told = Arc::clone(&words);
        let upstream = Upstream::answering(move |seen, stream: &mut TcpStream| {
            let number = seen.target.split_once('?').map(|(_, number)| number.to_owned());
            let mut word = None;
            // Of one that nobody tells anything, the client has gone.
            for _ in 0..PATIENCE.as_millis() / 5 {
                word = told.lock().unwrap().get(number.as_deref().unwrap_or_default()).copied();
                if word.is_some() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            match word {
                Some(Word::Answer) => ok(stream, &[], b"{}"),
                // It has hung up already, if that fails.
                Some(Word::HangUp) | None => drop(stream.shutdown(Shutdown::Both)),
            }
        });
        let gate = super::before(upstream, TWO);
        let token = format!("Bearer {}", gate.token("all"));
        Self { gate, words, token, number: Cell::new(0) }
    }

    fn send(&self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Connection {
        let mut connection = Connection::open(self.gate.address);
        let headers = [headers, &[("Authorization", self.token.as_str())]].concat();
        connection.write(&request(line, &headers, body));
        connection
    }

    fn numbered(&self) -> Sent {
        let number = self.number.get() + 1;
        self.number.set(number);
        let number = number.to_string();
        Sent { connection: self.send(&format!("{LINE}?{number}"), &[], b""), number }
    }

    /// Sends a request, and waits until it is at the upstream.
    fn at_upstream(&self) -> Sent {
        let sent = self.numbered();
        eventually("a request at the upstream", || self.gate.upstream.take().len() == 1);
        sent
    }

    /// Has the upstream do something with a request, and gives what comes of it.
    fn tell(&self, mut sent: Sent, word: Word) -> Reply {
        self.words.lock().unwrap().insert(sent.number, word);
        let reply = sent.connection.read_reply("GET").expect("an answer");
        // It may have been sent again, on another connection.
        self.gate.upstream.take();
        reply
    }

    /// Two are under way, and no more.
    fn is_full(&self) {
        let reply = self.send(LINE, &[], b"").read_reply("GET").unwrap();
        is_limited(&reply, "tokens");
        assert_eq!(number(&reply, "retry-after"), Some(1));
        assert_eq!(number(&reply, "x-sentry-rate-limit-concurrentlimit"), Some(2));
        assert_eq!(number(&reply, "x-sentry-rate-limit-concurrentremaining"), Some(0));
        assert!(number(&reply, "x-sentry-rate-limit-reset").is_some());
        assert_eq!(reply.header("x-sentry-rate-limit-limit"), None);
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("2 requests at once for each token"), "{detail}");
        assert!(self.gate.upstream.take().is_empty());
    }

    /// There is room for one more; it is used up then.
    fn has_room(&self) -> Sent {
        let mut room = None;
        eventually("room for one more", || {
            let mut sent = self.numbered();
            // One that is refused has its answer; one that is not is at the upstream.
            let mut arrived = false;
            eventually("an answer, or a request at the upstream", || {
                arrived = !self.gate.upstream.take().is_empty();
                arrived || sent.connection.has_come()
            });
            if arrived {
                room = Some(sent);
            } else {
                is_limited(&sent.connection.read_reply("GET").unwrap(), "tokens");
            }
            arrived
        });
        room.unwrap()
    }
}

#[test]
fn an_answer_a_client_that_goes_and_an_upstream_that_fails_give_room_back() {
    let held = Held::new();
    let (first, second) = (held.at_upstream(), held.at_upstream());
    held.is_full();
    // Somebody else is not touched.
    let other = format!("Bearer {}", held.gate.token("all"));
    let mut neighbour = Connection::open(held.gate.address);
    neighbour.write(&request(&format!("{LINE}?neighbour"), &[("Authorization", &*other)], b""));
    eventually("the neighbour at the upstream", || held.gate.upstream.take().len() == 1);
    held.words.lock().unwrap().insert("neighbour".to_owned(), Word::Answer);
    assert_eq!(neighbour.read_reply("GET").unwrap().status, 200);

    // An answer.
    let reply = held.tell(first, Word::Answer);
    assert_eq!(reply.status, 200);
    assert_eq!(number(&reply, "x-sentry-rate-limit-concurrentlimit"), Some(2));
    assert_eq!(number(&reply, "x-sentry-rate-limit-concurrentremaining"), Some(1));
    let third = held.has_room();
    held.is_full();

    // The client goes away.
    drop(second);
    let fourth = held.has_room();
    held.is_full();

    // The upstream does.
    assert_eq!(held.tell(third, Word::HangUp).status, 502);
    let _fifth = held.has_room();
    held.is_full();
    assert_eq!(held.tell(fourth, Word::Answer).status, 200);
    let _sixth = held.has_room();
    held.is_full();
}

#[test]
fn what_is_refused_for_its_body_and_what_is_kept_give_room_back() {
    let held = Held::new();
    // More than may be kept: refused before all of its body has come.
    for _ in 0..5 {
        let mut large = held.send(UPLOAD, &[("Transfer-Encoding", "chunked")], b"");
        large.write(b"2800000\r\n");
        for _ in 0..40 {
            if !large.try_write(&[b'x'; 1 << 20]) {
                break;
            }
        }
        let status = large.read_head().map(|(status, _)| status);
        assert!(matches!(status, Some(413) | None), "{status:?}");
    }
    assert!(held.gate.upstream.take().is_empty());
    let (_first, _second) = (held.has_room(), held.has_room());
    held.is_full();
}

/// An upstream that becomes a WebSocket and says no more until its client ends it.
fn websocket() -> Upstream {
    Upstream::answering(|seen, stream| {
        if seen.value("upgrade").is_none() {
            return ok(stream, &[], b"{}");
        }
        let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                      Upgrade: websocket\r\nSec-WebSocket-Accept: yes\r\n\r\n";
        stream.write_all(switch.as_bytes()).unwrap();
        let mut rest = Vec::new();
        // Until the gateway ends it.
        let _ = std::io::Read::read_to_end(stream, &mut rest);
        let _ = stream.shutdown(Shutdown::Both);
    })
}

#[test]
fn a_websocket_is_under_way_until_it_ends() {
    let rules = "[[rule]]\nmethods = [\"GET\"]\npath = \"/api/0/live/\"\n\
                 scopes = [\"event:read\"]\nwebsocket = true\n";
    let (rules, tables) = (rules.to_owned(), TWO.to_owned());
    let gate = Gate::with(websocket(), &Options { rules, tables, ..Options::default() });
    let token = gate.token("event:read");
    let bearer = format!("Bearer {token}");
    let open = || {
        let headers = [
            ("Authorization", &*bearer),
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Version", "13"),
        ];
        let mut connection = Connection::open(gate.address);
        connection.write(&request("GET /api/0/live/", &headers, b""));
        let (status, headers) = connection.read_head().unwrap();
        assert_eq!(status, 101);
        (connection, headers)
    };
    let ((first, headers), (second, _)) = (open(), open());
    let told = headers.iter().any(|(name, _)| name.starts_with("X-Sentry-Rate-Limit"));
    assert!(!told, "{headers:?}");
    for _ in 0..3 {
        is_limited(&gate.bearer(LINE, &token), "tokens");
    }
    drop(first);
    eventually("room", || gate.bearer(LINE, &token).status == 200);
    drop(second);
    gate.counts("portcullis_requests_in_flight", &[], 0.0);
    let (_third, _) = open();
}
