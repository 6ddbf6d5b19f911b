//! Nobody is asked for twice: many uses at once are one question, and an answer lasts.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use super::{INDEX, LINE, ask_bearer, errors, gate, sentry, sentry_store, told};
use crate::client::{Connection, request};
use crate::gate::{Gate, eventually};
use crate::upstream::{Upstream, ok};

const CLIENTS: usize = 200;

/// Takes its time.
fn slow_sentry() -> Upstream {
    Upstream::answering(|_, stream| {
        thread::sleep(Duration::from_millis(400));
        ok(stream, &[], INDEX.as_bytes());
    })
}

fn wire(token: &str) -> Vec<u8> {
    request(LINE, &[("Authorization", &format!("Bearer {token}"))], b"")
}

/// What as many clients get that use a token for the first time, all at once.
fn all_at_once(gate: &Gate, token: &str) -> Vec<u16> {
    let start = Arc::new(Barrier::new(CLIENTS));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (wire, start, address) = (wire(token), Arc::clone(&start), gate.address);
            thread::spawn(move || {
                let mut connection = Connection::open(address);
                start.wait();
                connection.write(&wire);
                connection.read_reply("GET").unwrap().status
            })
        })
        .collect();
    clients.into_iter().map(|client| client.join().unwrap()).collect()
}

/// Repeats with another token what a machine with too much to do made too slow to answer.
fn undisturbed(gate: &Gate, mut run: impl FnMut(&str)) -> String {
    for number in 0..10 {
        let (token, before) = (format!("sntryu_good-{number}"), errors(gate));
        gate.upstream.take();
        run(&token);
        if errors(gate) == before {
            return token;
        }
    }
    panic!("the store was always too slow");
}

#[test]
fn many_first_uses_of_one_token_are_one_request() {
    let endpoint = slow_sentry();
    let gate = gate(sentry_store(endpoint.address, ""), "[cache]\nttl = \"1h\"\n");
    let mut statuses = Vec::new();
    let token = undisturbed(&gate, |token| {
        endpoint.take();
        statuses = all_at_once(&gate, token);
    });
    assert_eq!(statuses, [200; CLIENTS]);
    let own = format!("Bearer {token}");
    assert_eq!(endpoint.take_one().value("authorization"), Some(&*own));
    let seen = gate.upstream.take();
    assert_eq!(seen.len(), CLIENTS);
    assert!(seen.iter().all(|seen| seen.value("authorization") == Some(&own)), "{seen:#?}");
    // Nor is it asked for again, however its header is written.
    for headers in
        [format!("Bearer {token}"), format!("BEARER  {token}"), format!("bearer\t{token}")]
    {
        assert_eq!(gate.send(LINE, &[("Authorization", &headers)]).status, 200);
    }
    assert!(endpoint.take().is_empty());
}

#[test]
fn who_goes_away_takes_no_answer_along() {
    let endpoint = slow_sentry();
    let gate = gate(sentry_store(endpoint.address, ""), "");
    let mut statuses = Vec::new();
    undisturbed(&gate, |token| {
        endpoint.take();
        let mut first = Connection::open(gate.address);
        first.write(&wire(token));
        eventually("a question", || !endpoint.take().is_empty());
        let others: Vec<_> = (0..20)
            .map(|_| {
                let (wire, address) = (wire(token), gate.address);
                thread::spawn(move || {
                    let mut connection = Connection::open(address);
                    connection.write(&wire);
                    connection.read_reply("GET").unwrap().status
                })
            })
            .collect();
        drop(first);
        statuses = others.into_iter().map(|other| other.join().unwrap()).collect();
    });
    assert_eq!(statuses, [200; 20]);
    // The question was not put again.
    assert!(endpoint.take().is_empty());
}

#[test]
fn what_is_known_and_what_is_not_is_asked_for_once() {
    let endpoint = sentry();
    let cache = "[cache]\nttl = \"1h\"\nunknown_ttl = \"1h\"\n";
    let gate = gate(sentry_store(endpoint.address, "unknown_per_second = 400"), cache);
    let basic = |key: &str| format!("Basic {key}");
    let rows = [
        ("Bearer sntryu_good".to_owned(), 200),
        ("Bearer sntrys_good".to_owned(), 200),
        ("Bearer sntryu_bad".to_owned(), 401),
        ("Bearer sntrys_bad".to_owned(), 401),
        (basic("YmFkOg=="), 401),
    ];
    for (authorization, status) in &rows {
        let before = errors(&gate);
        let answer = super::ask(&gate, LINE, &[("Authorization", authorization)]);
        assert_eq!(answer.status, *status, "{authorization}");
        let seen = endpoint.take();
        assert_eq!(seen.len() as f64, 1.0 + errors(&gate) - before, "{authorization}: {seen:?}");
    }
    for _ in 0..20 {
        for (authorization, status) in &rows {
            let answer = gate.send(LINE, &[("Authorization", authorization)]);
            assert_eq!(answer.status, *status, "{authorization}");
        }
    }
    assert!(endpoint.take().is_empty());
    // The key of a Basic is no Bearer token, and the other way round.
    assert_eq!(told(&ask_bearer(&gate, "bad")).0, 401);
    assert!(!endpoint.take().is_empty());
}

#[test]
fn a_token_that_is_taken_away_is_refused_when_its_time_is_over() {
    let gone = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let told_gone = Arc::clone(&gone);
    let endpoint = Upstream::answering(move |_, stream| {
        if told_gone.load(std::sync::atomic::Ordering::SeqCst) {
            crate::upstream::reply(
                stream,
                "401 Unauthorized",
                &[],
                b"{\"detail\":\"Invalid token\"}",
            );
        } else {
            ok(stream, &[], INDEX.as_bytes());
        }
    });
    let gate = gate(sentry_store(endpoint.address, ""), "[cache]\nttl = \"500ms\"\n");
    assert_eq!(ask_bearer(&gate, "sntryu_good").status, 200);
    gone.store(true, std::sync::atomic::Ordering::SeqCst);
    eventually("a refusal", || told(&gate.bearer(LINE, "sntryu_good")).1 == "unknown_token");
    gate.upstream.take();
    for _ in 0..10 {
        assert_eq!(gate.bearer(LINE, "sntryu_good").status, 401);
    }
    assert!(gate.upstream.take().is_empty());
}
