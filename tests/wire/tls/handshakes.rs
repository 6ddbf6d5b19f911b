//! Connections that never become a request: they end, are counted, and harm nobody.

use std::process::Command;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::client::{Speaks, run, soon};
use crate::client::{Connection, request};
use crate::gate::{Gate, HOST, Options, eventually};
use crate::upstream::Upstream;

fn failures(gate: &Gate, reason: &str) -> f64 {
    let reason = format!("reason=\"{reason}\"");
    gate.metric("portcullis_tls_handshake_failures_total", &[&reason])
}

fn debugging() -> Gate {
    let tables = "[log]\nlevel = \"debug\"".to_owned();
    super::before(Upstream::start(), Options { tables, ..Options::default() })
}

#[test]
fn what_is_no_handshake_is_counted_and_not_printed() {
    let gate = debugging();
    for (bytes, reason) in [
        (&b"GET /MARKED HTTP/1.1\r\nHost: x\r\n\r\n"[..], "not_tls"),
        (&[0xff; 64], "not_tls"),
        (&[0x16, 3, 1, 0, 4, 1, 0, 0, 0], "not_tls"),
        (&[0x16, 3, 1, 0x40, 0], "closed"),
        (b"", "closed"),
    ] {
        let before = failures(&gate, reason);
        let mut connection = Connection::open(gate.address);
        connection.write(bytes);
        if reason == "closed" {
            drop(connection);
        } else {
            // An alert, or nothing.
            let answer = connection.read_rest();
            assert!(answer.is_empty() || answer[0] == 0x15, "{answer:?}");
        }
        eventually(reason, || failures(&gate, reason) == before + 1.0);
    }
    run(async {
        let mut stream = Speaks::new(&["h2"]).connect(gate.address, HOST).await.unwrap();
        stream.write_all(b"GET /MARKED HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let _ = soon("the end", stream.read_to_end(&mut answer)).await;
        assert_eq!(answer, b"");
        // A preface and nothing that follows it.
        let mut stream = Speaks::new(&["h2"]).connect(gate.address, HOST).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nMARKED MARKED MARKED").await.unwrap();
        let _ = soon("the end", stream.read_to_end(&mut answer)).await;
    });
    eventually("not_http2", || failures(&gate, "not_http2") == 1.0);
    let said = gate.output();
    assert_eq!(said.matches("a TLS handshake failed").count(), 6, "{said}");
    assert!(!said.contains("MARKED") && !said.contains("\"ERROR\""), "{said}");
    assert!(gate.upstream.take().is_empty());
}

/// A handshake, and on HTTP/2 its preface, has 10 s.
#[test]
fn silent_connections_keep_nobody_else_and_end() {
    let gate = super::gate();
    let token = gate.token("read");
    run(async {
        let mut silent = Vec::new();
        for _ in 0..40 {
            silent.push(tokio::net::TcpStream::connect(gate.address).await.unwrap());
        }
        let mut agreed = Speaks::new(&["h2"]).connect(gate.address, HOST).await.unwrap();
        let bearer = format!("Bearer {token}");
        let fields = [("Authorization", &*bearer), ("Connection", "close")];
        let line = "GET /api/0/organizations/acme/issues/";
        let mut other = Speaks::new(&[]).connect(gate.address, HOST).await.unwrap();
        let answer = super::client::exchange(&mut other, &request(line, &fields, b"")).await;
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{answer:?}");
        let mut nothing = Vec::new();
        for mut stream in silent {
            let _ = soon("the end", stream.read_to_end(&mut nothing)).await;
        }
        let _ = soon("the end", agreed.read_to_end(&mut nothing)).await;
        assert_eq!(nothing, b"");
    });
    eventually("the end of each", || failures(&gate, "timeout") == 41.0);
    assert!(!gate.output().contains("\"ERROR\""), "{}", gate.output());
}

fn descriptors(gate: &Gate) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", gate.process())).unwrap().count()
}

/// May open so many files.
fn limit(gate: &Gate, files: usize) {
    let (id, files) = (format!("--pid={}", gate.process()), format!("--nofile={files}:"));
    assert!(Command::new("prlimit").args([id, files]).status().unwrap().success());
}

#[test]
fn without_file_descriptors_nothing_ends_or_spins_and_it_recovers() {
    // One connection with the upstream, which is kept: there is no file for another.
    let web = "idle_timeout = \"60s\"".to_owned();
    let options = Options { web, threads: Some(1), ..Options::default() };
    let gate = Gate::with(Upstream::start(), &options);
    let token = gate.token("read");
    let bearer = format!("Bearer {token}");
    let line = "GET /api/0/organizations/acme/issues/";
    let ask = request(line, &[("Authorization", &*bearer)], b"");
    let mut kept = Connection::open(gate.address);
    let answer = |connection: &mut Connection| {
        connection.write(&ask);
        connection.read_reply("GET").expect("an answer").status
    };
    assert_eq!(answer(&mut kept), 200);
    let mut operator = Connection::open(gate.admin);
    let mut errors = || {
        operator.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        let text = String::from_utf8(operator.read_reply("GET").unwrap().body).unwrap();
        let line = text.lines().find(|line| line.starts_with("portcullis_accept_errors_total "));
        line.unwrap().rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert_eq!(errors(), 0.0);
    // Room for some, and for what is done with each.
    limit(&gate, descriptors(&gate) + 8);
    let waiting: Vec<_> = (0..40).map(|_| Connection::open(gate.address)).collect();
    eventually("several tries", || errors() >= 3.0);
    // Whoever is served is served on.
    assert_eq!(answer(&mut kept), 200);
    let tried = errors();
    assert!(tried < 1000.0, "it spins: {tried}");
    drop(waiting);
    eventually("an answer to somebody new", || {
        let mut new = Connection::open(gate.address);
        new.write(&ask);
        new.read_head().is_some_and(|(status, _)| status == 200)
    });
    let said = gate.output();
    assert_eq!(said.matches("connections can't be accepted").count(), 1, "{said}");
    assert!(said.contains("LimitNOFILE"), "{said}");
}
