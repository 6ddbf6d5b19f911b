//! Chunked request bodies: what the upstream receives of them, and what becomes of those that can't
//! be kept.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use crate::client::{Connection, Reply, request};
use crate::gate::{Gate, Options, eventually};
use crate::upstream::{Upstream, ok};

const LINE: &str = "PUT /api/0/organizations/acme/issues/";

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

/// A body in chunks of these sizes, the last for all that is left.
fn chunks(body: &[u8], sizes: &[usize]) -> Vec<u8> {
    let (mut rest, mut sizes, mut bytes) = (body, sizes.iter().cycle(), Vec::new());
    while !rest.is_empty() {
        let size = rest.len().min(*sizes.next().unwrap());
        write!(bytes, "{size:x}\r\n").unwrap();
        bytes.extend_from_slice(&rest[..size]);
        bytes.extend_from_slice(b"\r\n");
        rest = &rest[size..];
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

fn head(token: &str) -> Vec<u8> {
    let fields = [("Authorization", token), ("Transfer-Encoding", "chunked")];
    request(LINE, &fields, b"")
}

fn small(memory: &str, max_body: &str, budget: &str) -> Options {
    let keys = format!("memory = \"{memory}\"\nmax_body = \"{max_body}\"\nbudget = \"{budget}\"");
    Options { tables: format!("[spool]\n{keys}"), ..Options::default() }
}

fn bearer(gate: &Gate) -> String {
    format!("Bearer {}", gate.token("all"))
}

#[test]
fn a_chunked_body_arrives_with_its_length() {
    let gate = Gate::with(Upstream::start(), &small("1000B", "1MB", "4MB"));
    let token = bearer(&gate);
    let rows: &[(usize, &[usize])] = &[
        (0, &[1]),
        (1, &[1]),
        (500, &[1]),
        (1000, &[7, 1, 300]),
        (1001, &[1000]),
        (1_000_000, &[65_536]),
        (1_000_000, &[1, 99_999]),
        (1_000_000, &[1_000_000]),
    ];
    let mut connection = Connection::open(gate.address);
    for (length, sizes) in rows {
        let body = pattern(*length);
        connection.write(&head(&token));
        connection.write(&chunks(&body, sizes));
        let reply = connection.read_reply("PUT").expect("an answer");
        assert_eq!((reply.status, reply.body.as_slice()), (200, b"{\"ok\":true}".as_slice()));
        assert!(!reply.closed);
        let seen = gate.upstream.take_one();
        assert_eq!(seen.value("content-length"), Some(length.to_string().as_str()));
        assert_eq!(seen.values("transfer-encoding"), <[&str; 0]>::default());
        assert_eq!(seen.target, LINE.split_once(' ').unwrap().1);
        assert_eq!(seen.value("x-request-id"), reply.header("x-request-id"));
        assert!(seen.body == body, "{length}: another body");
    }
}
