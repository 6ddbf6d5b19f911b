//! What comes on a connection answers the question that was put on it, and no other.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::{INDEX, ask_bearer, gate, sentry_store, told};
use crate::upstream::Upstream;

/// How many questions are put.
const QUESTIONS: usize = 60;

fn answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// Reads the next question.
fn question(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    Some(String::from_utf8(head).unwrap())
}

/// An endpoint, and how many connections it was asked over.
fn endpoint(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> (Upstream, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let upstream = Upstream::by_hand(move |stream| {
        counted.fetch_add(1, Ordering::SeqCst);
        serve(stream);
    });
    (upstream, connections)
}

/// The good are let in, and only they.
fn each_gets_its_own(endpoint: &Upstream) {
    let rates = "unknown_per_second = 10000\nunknown_per_client = 10000";
    let gate = gate(sentry_store(endpoint.address, rates), "");
    for number in 0..QUESTIONS {
        let (name, wanted) = if number % 3 == 0 {
            ("good", (200, String::new()))
        } else {
            ("bad", (401, "unknown_token".to_owned()))
        };
        let token = format!("sntryu_{name}-{number}");
        assert_eq!(told(&ask_bearer(&gate, &token)), wanted, "{token}");
    }
    assert_eq!(gate.upstream.take().len(), QUESTIONS / 3);
}

fn of(question: &str) -> String {
    if question.contains("good") {
        answer("200 OK", INDEX)
    } else {
        answer("401 Unauthorized", "{\"detail\":\"Invalid token\"}")
    }
}

#[test]
fn a_connection_that_ends_after_its_answer_takes_no_question_along() {
    let (endpoint, connections) = endpoint(|mut stream| {
        if let Some(question) = question(&mut stream) {
            let _ = stream.write_all(of(&question).as_bytes());
            let _ = stream.shutdown(Shutdown::Both);
        }
    });
    each_gets_its_own(&endpoint);
    assert!(connections.load(Ordering::SeqCst) >= QUESTIONS);
}

#[test]
fn an_answer_to_no_question_is_for_nobody() {
    // An endpoint that keeps connections, whatever it is asked for. What nobody asked for comes together
    // with the answer before it, or some time after it.
    for pause in [Duration::ZERO, Duration::from_millis(3)] {
        let (endpoint, connections) = endpoint(move |mut stream| {
            while let Some(question) = question(&mut stream) {
                let (own, more) = (of(&question), answer("200 OK", INDEX));
                if pause.is_zero() {
                    let _ = stream.write_all((own + &more).as_bytes());
                } else {
                    let _ = stream.write_all(own.as_bytes());
                    thread::sleep(pause);
                    let _ = stream.write_all(more.as_bytes());
                }
            }
        });
        each_gets_its_own(&endpoint);
        assert!(connections.load(Ordering::SeqCst) >= QUESTIONS);
    }
}
