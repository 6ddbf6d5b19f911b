//! Floods of HTTP/2: whoever makes one serves nobody, and everybody else is served.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::client::{BEGIN, Http2, Sent, Speaks, run, soon};
use crate::gate::{Gate, HOST};

const PATH: &str = "/api/0/organizations/acme/issues/";
/// How much memory a flood may take for good.
const ROOM: u64 = 64 << 20;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of a request, in HPACK without a table (RFC 7541, 6.2.2): indexed where it is static.
fn head(more: &[(&str, &str)]) -> Vec<u8> {
    // `GET`, `https`, and `/`.
    let mut block = vec![0x82, 0x87, 0x84];
    for (name, value) in [&[(":authority", HOST)], more].concat() {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// Sends these pieces, until the other side has had enough, with nobody reading; and asks meanwhile
/// for somebody else.
fn flood(pieces: impl Iterator<Item = Vec<u8>>) {
    let gate: Gate = super::gate();
    let bearer = format!("Bearer {}", gate.token("read"));
    let fields = [("Authorization", &*bearer)];
    let sent = Sent { method: "GET", authority: HOST, path: PATH, headers: &fields, body: b"" };
    run(async {
        let mut other = Http2::open(gate.address, HOST).await;
        assert_eq!(other.send(&sent).await.unwrap().status, 200);
        let before = gate.memory();
        let mut stream = Speaks::new(&["h2"]).connect(gate.address, HOST).await.unwrap();
        let (mut answers, mut asks) = (vec![0; 64 << 10], 0);
        let mut written = stream.write_all(BEGIN).await;
        for (count, piece) in pieces.enumerate() {
            if written.is_err() {
                break;
            }
            written = soon("room", stream.write_all(&piece)).await;
            if count % 200 == 0 {
                let _ = stream.flush().await;
                // What is answered is taken, so that it is the flood that ends it.
                let now = std::time::Duration::from_millis(1);
                let read = tokio::time::timeout(now, stream.read(&mut answers)).await;
                if matches!(read, Ok(Ok(0) | Err(_))) {
                    break;
                }
                assert_eq!(other.send(&sent).await.unwrap().status, 200);
                asks += 1;
            }
        }
        assert_eq!(other.send(&sent).await.unwrap().status, 200);
        let grown = gate.peak_memory().saturating_sub(before);
        assert!(grown < ROOM, "it took {grown} bytes, {asks} others meanwhile");
    });
    let log = gate.output();
    assert!(log.matches("\"ERROR\"").count() < 10, "{log}");
}

#[test]
fn a_head_that_goes_on_for_ever_harms_nobody() {
    let begin = frame(1, 0, 1, &head(&[]));
    let goes_on = frame(9, 0, 1, &[0, 1, b'a', 1, b'b'].repeat(1000));
    flood(std::iter::once(begin).chain(std::iter::repeat_n(goes_on, 10_000)));
}

/// Whoever takes back what it has asked for has the upstream work for nothing.
#[test]
fn ten_thousand_requests_that_are_taken_back_harm_nobody() {
    let streams = (0..10_000_u32).map(|number| 2 * number + 1);
    flood(
        streams.map(|id| {
            [frame(1, 5, id, &head(&[])), frame(3, 0, id, &8_u32.to_be_bytes())].concat()
        }),
    );
}

#[test]
fn more_requests_at_once_than_are_taken_harm_nobody() {
    // None of them ends.
    let streams = (0..1000_u32).map(|number| 2 * number + 1);
    flood(streams.map(|id| frame(1, 4, id, &head(&[("x-a", "b")]))));
}

/// The same where it is the gateway that takes the requests back, because a client makes it do so (CVE-2025-8671).
#[test]
fn ten_thousand_streams_that_the_gateway_ends_harm_nobody() {
    let streams = (0..10_000_u32).map(|number| 2 * number + 1);
    // No window grows by nothing: it is an error of its stream (RFC 9113, 6.9).
    flood(
        streams.map(|id| {
            [frame(1, 5, id, &head(&[])), frame(8, 0, id, &0_u32.to_be_bytes())].concat()
        }),
    );
}
