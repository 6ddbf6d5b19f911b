//! What reading the config again costs those who are served meanwhile: latencies of a gateway that is
//! left alone and of the same one that is reloaded all the time, in turns.

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

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use portcullis::clock::{Clock as _, SystemClock};

use gates::{client, gate, process, upstream};

use client::{Connection, request};
use gate::{ADMIN, Gate, Options};
use upstream::Upstream;

const ROUNDS: usize = 10;
const RELOADS: usize = 10;
const CONNECTIONS: usize = 4;
const PAUSE: Duration = Duration::from_millis(200);
const RULE: &str = "[[rule]]\nmethods = [\"GET\"]\nscopes = [\"org:read\"]\n\
                    path = \"/api/0/organizations/{organization_id_or_slug}/new/\"\n";

fn main() {
    // Cargo runs it as a test too, to see that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let admin = "credential = { file = \"admin-credential\" }".to_owned();
    let gate = Gate::with(Upstream::start(), &Options { admin, ..Options::default() });
    let token = gate.token("read");
    let mut rounds = [Vec::new(), Vec::new()];
    let before = gate.memory();
    latencies(&gate, &token, || thread::sleep(2 * PAUSE * RELOADS as u32));
    let loaded = gate.memory();
    for round in 0..2 * ROUNDS {
        let reloads = round % 2 == 1;
        let mut latencies = latencies(&gate, &token, || {
            for count in 0..RELOADS {
                if reloads {
                    let text = if count % 2 == 0 { RULE } else { "" };
                    std::fs::write(gate.folder.path().join("own.toml"), text).unwrap();
                    let bearer = format!("Bearer {ADMIN}");
                    let reply = gate.operator("POST /reload", &[("Authorization", &bearer)], "");
                    assert_eq!(reply.json()["result"], "loaded");
                }
                thread::sleep(PAUSE);
            }
        });
        latencies.sort_unstable();
        let at = |part: usize| latencies[latencies.len() * part / 1000];
        rounds[round % 2].push([at(500), at(990), at(999)]);
    }
    let median = |which: usize, quantile: usize| {
        let mut all: Vec<_> = rounds[which].iter().map(|round| round[quantile]).collect();
        all.sort_unstable();
        all[ROUNDS / 2]
    };
    println!("medians of {ROUNDS} rounds, {CONNECTIONS} connections, {RELOADS} reloads in a round");
    for (quantile, name) in ["p50", "p99", "p99.9"].iter().enumerate() {
        let [alone, reloaded] = [0, 1].map(|which| median(which, quantile));
        let ratio = reloaded.as_secs_f64() / alone.as_secs_f64();
        println!("{name}: {alone:?} alone, {reloaded:?} with reloads, {ratio:.2} times");
    }
    let reloads = ROUNDS * RELOADS;
    println!(
        "resident memory: {before} bytes before, {loaded} after a load, {} after {reloads} reloads",
        gate.memory()
    );
}

/// How long requests take while `work` is done.
fn latencies(gate: &Gate, token: &str, work: impl FnOnce()) -> Vec<Duration> {
    let all = Mutex::new(Vec::new());
    let stop = AtomicBool::new(false);
    let bearer = format!("Bearer {token}");
    let line = "GET /api/0/organizations/acme/issues/";
    let request = request(line, &[("Authorization", &bearer)], b"");
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut connection = Connection::open(gate.address);
                let mut own = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let began = SystemClock.instant();
                    connection.write(&request);
                    let status = connection.read_reply("GET").expect("an answer").status;
                    assert_eq!(status, 200);
                    own.push(SystemClock.instant().saturating_duration_since(began));
                    // A rate, not a race: two cores serve all of it.
                    thread::sleep(Duration::from_millis(2));
                }
                all.lock().unwrap().extend(own);
            });
        }
        work();
        stop.store(true, Ordering::Relaxed);
    });
    gate.upstream.take();
    all.into_inner().unwrap()
}
