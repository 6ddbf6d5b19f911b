//! What a neighbour feels of an attacker: its answers' 99th percentile with and without each attack, in turns, and
//! the gateway's memory after it.
//!
//! Everything runs on one machine, the attacker and the upstream too, so that the processor time of all
//! of them is in it. Attacks are bounded and end by themselves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "a bench fails by panicking, and its helpers are those of the tests"
)]

#[path = "common/gates.rs"]
mod gates;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use portcullis::clock::{Clock as _, SystemClock};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use gates::{client, gate, process, upstream};

use client::{Connection, request};
use gate::{Gate, Options};
use upstream::{Upstream, ok};

const ROUNDS: usize = 5;
/// Of the neighbour, in each half of a round, and how often it asks.
const ASKS: usize = 400;
const EVERY: Duration = Duration::from_millis(5);
/// How long an attack goes on before its neighbour is looked at, and how long after it the memory is.
const SETTLE: Duration = Duration::from_millis(500);
/// Where attackers are.
const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));
const LINE: &str = "GET /api/0/organizations/acme/issues/";
const LARGE: usize = 16 << 20;

/// What goes on until it is told to end.
type Attack = fn(&Target<'_>);

const ATTACKS: [(&str, Attack); 7] = [
    ("unknown tokens, 1,000 a second", unknown_tokens),
    ("slow heads, 200 connections", slow_heads),
    ("slow bodies, 100 connections", slow_bodies),
    ("slow readers of 16 MiB, 50 connections", slow_readers),
    ("heads of 60 KiB, 200 a second", large_heads),
    ("connections of one request, 500 a second", churn),
    ("a valid token in a loop, 4 connections", looping),
];

struct Target<'a> {
    address: SocketAddr,
    /// The `Authorization` of somebody who may read and write.
    bearer: &'a str,
    ends: &'a AtomicBool,
}

impl Target<'_> {
    fn goes_on(&self) -> bool {
        !self.ends.load(Ordering::Relaxed)
    }

    fn open(&self) -> TcpStream {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddr::new(ELSEWHERE, 0)).unwrap();
        connect(&socket, &self.address).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    }

    /// One after the other, so often in a second.
    fn paced(&self, per_second: u32, mut act: impl FnMut(u32)) {
        let (start, every) = (SystemClock.instant(), Duration::from_secs(1) / per_second);
        let mut count = 0;
        while self.goes_on() {
            thread::sleep((every * count).saturating_sub(since(start)));
            act(count);
            count += 1;
        }
    }

    /// Sends on a connection that is kept, and opened anew where it ended.
    fn send(&self, kept: &mut Option<TcpStream>, bytes: &[u8]) {
        let stream = kept.get_or_insert_with(|| self.open());
        let mut answer = [0; 16 << 10];
        let answered =
            stream.write_all(bytes).is_ok() && matches!(stream.read(&mut answer), Ok(1..));
        if !answered || answer.windows(17).any(|part| part == b"Connection: close") {
            *kept = None;
        }
    }

    /// Many connections on which a byte is sent now and then.
    fn trickle(&self, count: usize, head: &[u8], byte: u8) {
        let mut streams: Vec<_> = (0..count).map(|_| self.open()).collect();
        streams.iter_mut().for_each(|stream| drop(stream.write_all(head)));
        while self.goes_on() {
            streams.iter_mut().for_each(|stream| drop(stream.write_all(&[byte])));
            thread::sleep(Duration::from_millis(250));
        }
    }
}

fn unknown_tokens(target: &Target<'_>) {
    let mut kept = None;
    target.paced(1000, |count| {
        let bearer = format!("Bearer portcullis_{count:064x}");
        target.send(&mut kept, &request(LINE, &[("Authorization", &bearer)], b""));
    });
}

fn slow_heads(target: &Target<'_>) {
    target.trickle(200, b"GET / HTTP/1.1\r\nX-Slow: ", b'x');
}

fn slow_bodies(target: &Target<'_>) {
    let fields = [("Authorization", target.bearer), ("Content-Length", "100000")];
    let head = request("PUT /api/0/organizations/acme/issues/", &fields, b"");
    target.trickle(100, &head, b'x');
}

fn slow_readers(target: &Target<'_>) {
    let ask = request(
        "GET /api/0/organizations/acme/issues/?large",
        &[("Authorization", target.bearer)],
        b"",
    );
    let mut streams: Vec<_> = (0..50).map(|_| target.open()).collect();
    streams.iter_mut().for_each(|stream| stream.write_all(&ask).unwrap());
    while target.goes_on() {
        streams.iter_mut().for_each(|stream| drop(stream.read(&mut [0; 64])));
        thread::sleep(Duration::from_millis(250));
    }
}

fn large_heads(target: &Target<'_>) {
    let (mut kept, value) = (None, "x".repeat(60 << 10));
    let head = request(LINE, &[("Authorization", target.bearer), ("X-Large", &value)], b"");
    target.paced(200, |_| target.send(&mut kept, &head));
}

fn churn(target: &Target<'_>) {
    let ask = request(LINE, &[("Authorization", target.bearer)], b"");
    target.paced(500, |_| target.send(&mut None, &ask));
}

fn looping(target: &Target<'_>) {
    let ask = request(LINE, &[("Authorization", target.bearer)], b"");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut kept = None;
                while target.goes_on() {
                    target.send(&mut kept, &ask);
                }
            });
        }
    });
}

fn main() {
    // Cargo runs it as a test too, to see that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    println!("{ROUNDS} rounds in turns, {ASKS} requests of the neighbour in each half of one");
    for (name, attack) in ATTACKS {
        measure(name, attack);
    }
}

fn measure(name: &str, attack: Attack) {
    let upstream = Upstream::answering(|seen, stream| {
        let size = if seen.target.ends_with("?large") { LARGE } else { 2000 };
        ok(stream, &[("Content-Type", "application/json")], &vec![b'x'; size]);
    });
    let gate = Gate::with(upstream, &Options::default());
    let bearer = format!("Bearer {}", gate.token("all"));
    let ask = request(LINE, &[("Authorization", &format!("Bearer {}", gate.token("read")))], b"");
    // It warms up.
    neighbour(&gate, &ask);
    let before = gate.memory();
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.push(neighbour(&gate, &ask));
        let ends = AtomicBool::new(false);
        thread::scope(|scope| {
            let target = Target { address: gate.address, bearer: &bearer, ends: &ends };
            scope.spawn(move || attack(&target));
            thread::sleep(SETTLE);
            beside.push(neighbour(&gate, &ask));
            ends.store(true, Ordering::Relaxed);
        });
        gate.upstream.take();
    }
    thread::sleep(SETTLE * 4);
    let (alone, beside) = (median(alone), median(beside));
    let [before, peak, after] =
        [before, gate.peak_memory(), gate.memory()].map(|bytes| bytes as f64 / f64::from(1 << 20));
    println!(
        "{name}: p99 {alone:.2} ms alone, {beside:.2} ms beside it, {:.2} times; memory {before:.0} \
         MiB before, {peak:.0} at most, {after:.0} after",
        beside / alone
    );
}

/// The 99th percentile of one who asks steadily, in milliseconds.
fn neighbour(gate: &Gate, ask: &[u8]) -> f64 {
    let mut connection = Connection::open(gate.address);
    let mut took = Vec::with_capacity(ASKS);
    let start = SystemClock.instant();
    for count in 0..ASKS {
        let due = EVERY * u32::try_from(count).unwrap();
        thread::sleep(due.saturating_sub(since(start)));
        let begun = SystemClock.instant();
        connection.write(ask);
        let reply = connection.read_reply("GET").expect("an answer");
        assert_eq!(reply.status, 200);
        took.push(since(begun).as_secs_f64() * 1e3);
        if reply.closed {
            connection = Connection::open(gate.address);
        }
    }
    took.sort_by(f64::total_cmp);
    took[ASKS * 99 / 100]
}

fn since(start: Instant) -> Duration {
    SystemClock.instant().saturating_duration_since(start)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
