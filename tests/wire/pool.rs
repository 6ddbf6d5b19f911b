//! An upstream with several addresses: which one a request goes to, and what is sent twice.

use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, Mutex};

use crate::gate::{Gate, Options, UPSTREAM_TOKEN, eventually};
use crate::replica::Replica;
use crate::upstream::{Upstream, ok};

const LINE: &str = "GET /api/0/organizations/acme/issues/";
const POST: &str = "POST /api/0/projects/acme/web/user-feedback/";
const CHECKED: &str = "health_interval = \"50ms\"";

/// A gateway before these alone.
fn before(replicas: &[&Replica], web: &str) -> Gate {
    let urls: Vec<_> = replicas.iter().map(|replica| replica.address).collect();
    let options = Options {
        upstream_url: Some(format!("http://{}", urls[0])),
        more_upstreams: urls[1..].to_vec(),
        web: web.to_owned(),
        ..Options::default()
    };
    Gate::with(Upstream::start(), &options)
}

fn addresses(gate: &Gate, state: &str, replica: Option<&Replica>) -> f64 {
    let (state, url) = (format!("state=\"{state}\""), replica.map(|replica| replica.address));
    let url = url.map(|url| format!("url=\"{url}\"")).unwrap_or_default();
    gate.metric("portcullis_upstream_addresses", &["upstream=\"web\"", &state, &url])
}

/// Sends so many requests, each of which must be answered.
fn answered(gate: &Gate, token: &str, line: &str, count: usize) {
    let token = format!("Bearer {token}");
    for number in 0..count {
        let body: &[u8] = if line == POST { b"{\"a\":1}" } else { b"" };
        let reply = gate.send_body(line, &[("Authorization", &token)], body);
        assert_eq!(reply.status, 200, "{number}: {line}: {}", reply.code());
    }
}

#[test]
fn an_address_that_is_dead_at_the_start_costs_no_request() {
    for web in [CHECKED, "health_interval = \"0s\""] {
        let (first, second, live) = (Replica::dead(), Replica::dead(), Replica::alive());
        // With one slot, a second try that took a slot of its own would wait for itself.
        let web = format!("{web}\nmax_in_flight = 1");
        let gate = before(&[&first, &second, &live], &web);
        let token = gate.token("all");
        answered(&gate, &token, POST, 4);
        answered(&gate, &token, LINE, 8);
        let seen = live.take();
        assert_eq!(seen.len(), 12);
        assert!(seen[..4].iter().all(|seen| seen.method == "POST" && seen.body == b"{\"a\":1}"));
        eventually("a metric", || {
            gate.metric("portcullis_upstream_requests_in_flight", &[]) == 0.0
        });
        gate.counts("portcullis_upstream_failures_total", &[], 0.0);
    }
}

#[test]
fn an_address_that_dies_is_left_out_and_comes_back_by_itself() {
    let (mut first, second) = (Replica::alive(), Replica::alive());
    let gate = before(&[&first, &second], CHECKED);
    let token = gate.token("read");
    // One after the other they take turns, so both have a kept connection.
    answered(&gate, &token, LINE, 8);
    assert!(first.take().len() >= 2 && second.take().len() >= 2);
    first.die();
    answered(&gate, &token, LINE, 8);
    assert_eq!(second.take().len(), 8);
    eventually("an address that is down", || addresses(&gate, "down", Some(&first)) == 1.0);
    assert_eq!(addresses(&gate, "up", Some(&second)), 1.0);
    first.revive();
    eventually("an address that is up again", || addresses(&gate, "up", Some(&first)) == 1.0);
    assert_eq!(addresses(&gate, "down", None), 0.0);
    answered(&gate, &token, LINE, 4);
    assert!(!first.take().is_empty());
    gate.counts("portcullis_upstream_failures_total", &[], 0.0);
    let output = gate.output();
    assert!(output.contains("is left out") && output.contains("is used again"), "{output}");
}

#[test]
fn a_name_stands_for_all_of_its_addresses() {
    // On most machines it has an IPv6 address too, at which nothing listens.
    let replica = Replica::alive();
    let name = format!("localhost:{}", replica.address.port());
    let options = Options {
        upstream_url: Some(format!("http://{name}")),
        web: CHECKED.into(),
        ..Options::default()
    };
    let gate = Gate::with(Upstream::start(), &options);
    answered(&gate, &gate.token("all"), POST, 4);
    assert_eq!(replica.take().len(), 4);
    let url = format!("url=\"{name}\"");
    let up = || gate.metric("portcullis_upstream_addresses", &[&url, "state=\"up\""]);
    eventually("the address that is up", || up() == 1.0);
}

#[test]
fn without_checks_an_address_comes_back_too() {
    let (mut first, second) = (Replica::dead(), Replica::alive());
    let gate = before(&[&first, &second], "health_interval = \"0s\"");
    let token = gate.token("read");
    answered(&gate, &token, LINE, 4);
    assert_eq!(second.take().len(), 4);
    first.revive();
    eventually("a request at the first", || {
        answered(&gate, &token, LINE, 2);
        !first.take().is_empty()
    });
    assert!(first.take_checks().is_empty() && second.take_checks().is_empty());
}

#[test]
fn an_address_that_fails_its_check_gets_nothing_unless_all_do() {
    let (first, second) = (Replica::alive(), Replica::alive());
    let gate = before(&[&first, &second], CHECKED);
    let token = gate.token("read");
    first.set_health(500);
    eventually("an address that is down", || addresses(&gate, "down", Some(&first)) == 1.0);
    answered(&gate, &token, LINE, 8);
    assert_eq!((first.take().len(), second.take().len()), (0, 8));
    // A check that fails everywhere says more of the check.
    second.set_health(404);
    eventually("two addresses that are down", || addresses(&gate, "down", None) == 2.0);
    answered(&gate, &token, LINE, 8);
    assert_eq!((first.take().len(), second.take().len()), (4, 4));
    first.set_health(204);
    eventually("an address that is up again", || addresses(&gate, "up", Some(&first)) == 1.0);
    answered(&gate, &token, LINE, 8);
    assert_eq!((first.take().len(), second.take().len()), (8, 0));
}

#[test]
fn a_check_is_a_plain_request_without_a_credential() {
    let replica = Replica::alive();
    let web = format!("{CHECKED}\nhealth_path = \"/_health/?full\"");
    let _gate = before(&[&replica], &web);
    let mut checks = Vec::new();
    eventually("checks", || {
        checks.extend(replica.take_checks());
        checks.len() > 2
    });
    for check in checks {
        assert_eq!((check.method.as_str(), check.target.as_str()), ("GET", "/_health/?full"));
        assert_eq!(check.value("host"), Some(replica.address.to_string().as_str()));
        assert_eq!(check.value("authorization"), None);
        assert!(!check.head.contains(UPSTREAM_TOKEN));
    }
}

/// Answers, but for a request whose query is `end`: then it ends the connection, having read all.
fn breaking_off() -> (Upstream, Arc<Mutex<Vec<SocketAddr>>>) {
    let peers = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&peers);
    let upstream = Upstream::answering(move |seen, stream| {
        record.lock().unwrap().push(stream.peer_addr().unwrap());
        match seen.target.ends_with("?end") {
            true => stream.shutdown(Shutdown::Both).unwrap(),
            false => ok(stream, &[], b"{}"),
        }
    });
    (upstream, peers)
}

#[test]
fn only_what_does_the_same_twice_is_sent_again_and_once() {
    // Line, length of its body, how often it is sent where the connection was a kept one.
    const ROWS: &[(&str, usize, usize)] = &[
        ("GET /api/0/organizations/acme/issues/?end", 0, 2),
        ("PUT /api/0/organizations/acme/issues/?end", 1000, 2),
        // More than is kept to be sent again.
        ("PUT /api/0/organizations/acme/issues/?end", 200_000, 1),
        ("POST /api/0/projects/acme/web/user-feedback/?end", 0, 1),
        ("POST /api/0/projects/acme/web/user-feedback/?end", 1000, 1),
    ];
    let (upstream, peers) = breaking_off();
    let gate = Gate::before(upstream);
    let token = format!("Bearer {}", gate.token("all"));
    for (line, length, sent) in ROWS {
        let mut reused = false;
        for _ in 0..20 {
            peers.lock().unwrap().clear();
            assert_eq!(gate.send(LINE, &[("Authorization", &token)]).status, 200);
            gate.upstream.take();
            let body = vec![b'x'; *length];
            let reply = gate.send_body(line, &[("Authorization", &token)], &body);
            assert_eq!((reply.status, reply.code().as_str()), (502, "upstream_unreachable"));
            let (seen, peers) = (gate.upstream.take(), peers.lock().unwrap().clone());
            let on_kept = peers[0] == peers[1];
            // On a new connection it is not the connection that was too old.
            assert_eq!(seen.len(), if on_kept { *sent } else { 1 }, "{line} {length}: {peers:?}");
            for seen in &seen {
                assert_eq!(seen.value("x-request-id"), reply.header("x-request-id"));
                assert_eq!(seen.body, body);
            }
            reused |= on_kept;
            if reused {
                break;
            }
        }
        assert!(reused, "{line}: no connection to the upstream was used twice");
    }
}

#[test]
fn a_kept_connection_that_is_dead_costs_a_read_nothing() {
    // Each connection serves one request, and ends when the next one is there.
    let upstream = Upstream::by_hand(|stream| {
        let mut served = false;
        crate::upstream::each(stream, |_, stream| match std::mem::replace(&mut served, true) {
            true => stream.shutdown(Shutdown::Both).unwrap(),
            false => ok(stream, &[], b"{}"),
        });
    });
    let gate = Gate::before(upstream);
    let token = gate.token("read");
    // Several at once, so that several are kept: all of them are dead.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| answered(&gate, &token, LINE, 10));
        }
    });
    gate.counts("portcullis_upstream_failures_total", &[], 0.0);
}
