//! What telling costs: processor time a request of gateways that differ in one table of their config,
//! in turns over the same requests, that of a scrape, and the memory of connections.

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

use std::thread;

use gates::{client, gate, process, upstream};

use client::{Connection, request};
use gate::{Gate, Options, eventually};
use upstream::{Upstream, ok};

const ROUNDS: usize = 11;
const CONNECTIONS: usize = 2;
/// Of each connection in a round.
const REQUESTS: usize = 5_000;
const SCRAPES: usize = 50;
const IDLE: usize = 900;

fn main() {
    // Cargo runs it as a test too, to see that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let collector = Upstream::answering(|_, stream| ok(stream, &[], b""));
    let traces = |sample: f64| {
        let endpoint = format!("http://{}/v1/traces", collector.address);
        format!("[traces]\nendpoint = \"{endpoint}\"\nsample = {sample:?}\n")
    };
    let audit = "[audit]\noutput = \"audit.log\"\ndecisions = [\"refuse\", \"write\", \"ingest\", \"read\"]\n";
    let variants = [
        ("neither", String::new()),
        ("traces, a share of 0", traces(0.0)),
        ("traces, a share of 0.05", traces(0.05)),
        ("traces, all", traces(1.0)),
        ("audit of all requests", audit.to_owned()),
        ("audit of all, each waited for", format!("{audit}when_full = \"wait\"\n")),
        ("assertions of all requests", "[assertion]\n".to_owned()),
        ("no access log", "[log]\naccess = false\n".to_owned()),
    ];
    let gates = variants.map(|(name, tables)| {
        let gate = Gate::with(Upstream::start(), &Options { tables, ..Options::default() });
        let token = format!("Bearer {}", gate.token("read"));
        (name, gate, token)
    });
    let mut all = vec![Vec::new(); gates.len()];
    for round in 0..=ROUNDS {
        for ((_, gate, token), own) in gates.iter().zip(&mut all) {
            let before = gate.processor_time();
            load(gate, token);
            let spent = gate.processor_time() - before;
            // The first warms up.
            if round > 0 {
                own.push(spent * 1e6 / (CONNECTIONS * REQUESTS) as f64);
            }
            gate.upstream.take();
            collector.take();
        }
    }
    println!(
        "processor time a request, medians of {ROUNDS} rounds of {} requests in turns",
        CONNECTIONS * REQUESTS
    );
    let mut medians = all.iter_mut().map(|own| {
        own.sort_by(f64::total_cmp);
        own[own.len() / 2]
    });
    let first = medians.next().unwrap();
    println!("{}: {first:.1} µs", gates[0].0);
    for ((name, ..), median) in gates[1..].iter().zip(medians) {
        println!("{name}: {median:.1} µs, {:.2} times", median / first);
    }
    let (_, gate, _) = &gates[0];
    let before = gate.processor_time();
    let mut length = 0;
    for _ in 0..SCRAPES {
        length = gate.admin("/metrics").unwrap().body.len();
    }
    let spent = (gate.processor_time() - before) / SCRAPES as f64;
    println!("a scrape: {:.2} ms, {length} bytes", spent * 1e3);
    idle();
}

/// What connections take that are kept without a request, of a gateway that nobody has called before.
fn idle() {
    let gate = Gate::with(Upstream::start(), &Options::default());
    let token = format!("Bearer {}", gate.token("read"));
    load(&gate, &token);
    let request =
        request("GET /api/0/organizations/acme/issues/", &[("Authorization", &token)], b"");
    let ask = || {
        let mut connection = Connection::open(gate.address);
        connection.write(&request);
        assert_eq!(connection.read_reply("GET").expect("an answer").status, 200);
        connection
    };
    let before = gate.memory();
    let kept: Vec<_> = (0..IDLE).map(|_| ask()).collect();
    let taken = gate.memory().saturating_sub(before);
    println!("an idle connection: {:.1} KiB, of {IDLE}", taken as f64 / kept.len() as f64 / 1024.0);
}

/// Sends the requests of a round, and waits until each is counted.
fn load(gate: &Gate, token: &str) {
    let line = "GET /api/0/organizations/acme/issues/";
    let request = request(line, &[("Authorization", token)], b"");
    let before = gate.metric("portcullis_requests_total", &[]);
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut connection = Connection::open(gate.address);
                for _ in 0..REQUESTS {
                    connection.write(&request);
                    assert_eq!(connection.read_reply("GET").expect("an answer").status, 200);
                }
            });
        }
    });
    let wanted = before + (CONNECTIONS * REQUESTS) as f64;
    eventually("every request counted", || gate.metric("portcullis_requests_total", &[]) == wanted);
}
