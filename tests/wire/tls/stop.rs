//! A stop: who is idle is let go, who is served is served to the end, and nobody new is let in.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use tokio::io::AsyncWriteExt as _;

use super::client::{BEGIN, Http2, Sent, Speaks, frame, push, read, run, soon};
use crate::client::{Connection, PATIENCE, request};
use crate::gate::{Gate, HOST, Options, eventually};
use crate::upstream::{Upstream, ok};

const PATH: &str = "/api/0/organizations/acme/issues/";

#[test]
fn at_a_stop_requests_in_flight_end_and_nothing_else_goes_on() {
    let (go, word) = channel();
    let word = Mutex::new(word);
    let upstream = Upstream::answering(move |seen, stream| {
        if seen.target.ends_with("?wait") {
            word.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        ok(stream, &[], b"{\"whole\":1}");
    });
    // Two listeners, the second of them plain.
    let tables = "[[listen]]\naddress = \"127.0.0.1:0\"".to_owned();
    let mut gate = super::before(upstream, Options { tables, ..Options::default() });
    let plain = gate.addresses()[1];
    let bearer = format!("Bearer {}", gate.token("read"));
    let fields = [("Authorization", &*bearer)];
    let line = format!("GET {PATH}");
    let mut idle = Connection::open(plain);
    idle.write(&request(&line, &fields, b""));
    assert!(!idle.read_reply("GET").unwrap().closed);
    let mut served = Connection::open(plain);
    served.write(&request(&format!("{line}?wait"), &fields, b""));
    run(async {
        let sent = Sent { method: "GET", authority: HOST, path: PATH, headers: &fields, body: b"" };
        let mut quiet = Speaks::new(&["h2"]).connect(gate.address, HOST).await.unwrap();
        quiet.write_all(BEGIN).await.unwrap();
        // Its settings come when it has taken up the connection.
        assert_eq!(frame(&mut quiet).await.map(|(kind, ..)| kind), Some(4));
        let mut busy = Http2::open(gate.address, HOST).await;
        let path = format!("{PATH}?wait");
        let waits = Sent { path: &path, ..sent.clone() };
        let (response, _) = busy.begin(&waits, true).await.unwrap();
        // It is driven by the test's own thread.
        soon("all at the upstream", async {
            let mut arrived = 0;
            while arrived < 3 {
                arrived += gate.upstream.take().len();
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        })
        .await;
        gate.terminate();
        // Who has nothing to do is told to go: GOAWAY (RFC 9113, 6.8), with the highest stream that may
        // still come, and without an error.
        let mut told = frame(&mut quiet).await.unwrap();
        while told.0 != 7 {
            told = frame(&mut quiet).await.unwrap();
        }
        assert_eq!(told.2, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        assert!(idle.is_closed());
        for address in [gate.address, plain] {
            eventually("a closed listener", || TcpStream::connect(address).is_err());
        }
        assert_eq!(gate.try_wait(), None, "{}", gate.output());
        go.send(()).unwrap();
        go.send(()).unwrap();
        let reply = read(response).await.unwrap();
        assert_eq!((reply.status, &*reply.body), (200, &b"{\"whole\":1}"[..]));
        busy.end().await;
    });
    let reply = served.read_reply("GET").expect("a whole answer");
    assert_eq!((reply.status, &*reply.body), (200, &b"{\"whole\":1}"[..]));
    // It had begun before, and is the last all the same.
    assert!(reply.closed && served.is_closed(), "{reply:?}");
    assert_eq!(gate.wait(), Some(0), "{}", gate.output());
    assert_eq!(gate.access_lines().len(), 3);
    assert!(!gate.output().contains("cut off"), "{}", gate.output());
}

/// An answer that is held until it is whole.
#[test]
fn a_rewritten_answer_is_the_last_on_its_connection_too() {
    let (go, word) = channel();
    let word = Mutex::new(word);
    let upstream = Upstream::answering(move |_, stream| {
        word.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n";
        stream.write_all(format!("{head}{{\"url\":\"x\"}}").as_bytes()).unwrap();
    });
    let rules = "[[rule]]\nmethods = [\"GET\"]\nscopes = [\"org:read\"]\n\
                 path = \"/api/0/organizations/{organization_id_or_slug}/named/\"\n\
                 rewrite = { fields = [\"/url\"], max_size = \"1000B\" }\n";
    let mut gate = Gate::with(upstream, &Options { rules: rules.into(), ..Options::default() });
    let bearer = format!("Bearer {}", gate.token("read"));
    let mut connection = Connection::open(gate.address);
    let line = "GET /api/0/organizations/acme/named/";
    connection.write(&request(line, &[("Authorization", &bearer)], b""));
    eventually("a request upstream", || !gate.upstream.take().is_empty());
    gate.terminate();
    eventually("a word of stopping", || gate.output().contains("\"stopping\""));
    go.send(()).unwrap();
    let reply = connection.read_reply("GET").unwrap();
    assert!(reply.status == 200 && reply.closed && connection.is_closed(), "{reply:?}");
    assert_eq!(gate.wait(), Some(0), "{}", gate.output());
}

#[test]
fn a_body_of_unknown_length_that_a_stop_cuts_off_is_told_to_come_again() {
    let mut gate = super::gate();
    let bearer = format!("Bearer {}", gate.token("all"));
    let fields = [("authorization", &*bearer)];
    run(async {
        let sent = Sent { method: "PUT", authority: HOST, path: PATH, headers: &fields, body: b"" };
        let mut client = Http2::open(gate.address, HOST).await;
        let (response, mut stream) = client.begin(&sent, false).await.unwrap();
        push(&mut stream, b"a start", false).await.unwrap();
        // It is driven by the test's own thread.
        soon("a request in flight", async {
            while gate.metric("portcullis_requests_in_flight", &[]) == 0.0 {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        })
        .await;
        gate.terminate();
        soon("a word about it", async {
            while !gate.output().contains("\"stopping\"") {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        })
        .await;
        gate.terminate();
        let reply = read(response).await.unwrap();
        assert_eq!((reply.status, &*reply.code()), (503, "stopping"));
        assert_eq!(reply.header("retry-after"), Some("1"));
        drop((stream, client));
    });
    assert_eq!(gate.wait(), Some(0), "{}", gate.output());
    assert!(gate.upstream.take().is_empty());
}
