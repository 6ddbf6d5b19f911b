//! Bodies that are larger than what 31 bits count, both ways, in little memory.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::client::{Connection, request};
use crate::gate::{Gate, Options};
use crate::upstream::{Upstream, ok};

/// Sentry's `maxFileSize` is 2 GiB; and one byte, so that no length is a round one.
const VOLUME: usize = (2 << 30) + 1;
const PIECE: usize = 1 << 20;
/// What it may take more than an idle gateway, in bytes.
const ROOM: u64 = 64 << 20;

const RULES: &str = r#"
[[rule]]
methods = ["GET", "PUT"]
path = "/api/0/large/"
scopes = ["project:releases"]
max_body = "3GiB"
"#;

fn gate(upstream: impl Fn(TcpStream) + Send + Sync + 'static) -> Gate {
    let options = Options { rules: RULES.to_owned(), ..Options::default() };
    Gate::with(Upstream::by_hand(upstream), &options)
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    Some(String::from_utf8(head).unwrap())
}

fn in_room(gate: &Gate, before: u64) {
    let grown = gate.peak_memory() - before;
    assert!(grown < ROOM, "{} KiB more", grown >> 10);
}

#[test]
fn a_large_upload_goes_through() {
    let gate = gate(|mut stream| {
        while let Some(head) = read_head(&mut stream) {
            let mut buffer = vec![0; PIECE];
            let (mut received, mut sum) = (0, 0_u64);
            let whole =
                head.to_ascii_lowercase().contains(&format!("content-length: {VOLUME}\r\n"));
            while whole && received < VOLUME {
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => return,
                    Ok(size) => {
                        sum += buffer[..size].iter().map(|byte| u64::from(*byte)).sum::<u64>();
                        received += size;
                    }
                }
            }
            ok(&mut stream, &[], format!("[{received},{sum}]").as_bytes());
        }
    });
    let bearer = format!("Bearer {}", gate.token("project:releases"));
    let length = VOLUME.to_string();
    let fields = [("Authorization", &*bearer), ("Content-Length", &*length)];
    let before = gate.peak_memory();
    let mut connection = Connection::open(gate.address);
    connection.write(&request("PUT /api/0/large/", &fields, b""));
    let piece = vec![1; PIECE];
    for _ in 0..VOLUME / PIECE {
        connection.write(&piece);
    }
    connection.write(&piece[..VOLUME % PIECE]);
    let reply = connection.read_reply("PUT").expect("an answer");
    assert_eq!((reply.status, reply.json()), (200, serde_json::json!([VOLUME, VOLUME])));
    in_room(&gate, before);
    // The connection is good for another one.
    connection.write(&request("GET /api/0/large/", &fields[..1], b""));
    assert_eq!(connection.read_reply("GET").expect("another answer").status, 200);
}

#[test]
fn a_large_download_goes_through() {
    let gate = gate(|mut stream| {
        while read_head(&mut stream).is_some() {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {VOLUME}\r\n\r\n");
            let piece = vec![1; PIECE];
            let mut sent = stream.write_all(head.as_bytes());
            for _ in 0..VOLUME / PIECE {
                sent = sent.and_then(|()| stream.write_all(&piece));
            }
            if sent.and_then(|()| stream.write_all(&piece[..VOLUME % PIECE])).is_err() {
                return;
            }
        }
    });
    let bearer = format!("Bearer {}", gate.token("project:releases"));
    let before = gate.peak_memory();
    let mut connection = Connection::open(gate.address);
    connection.write(&request("GET /api/0/large/", &[("Authorization", &bearer)], b""));
    let (status, headers) = connection.read_head().expect("an answer");
    let length = format!("{VOLUME}");
    assert!(status == 200 && headers.contains(&("Content-Length".into(), length)), "{headers:?}");
    let mut left = VOLUME;
    while left > 0 {
        let piece = connection.read_exactly(left.min(PIECE));
        assert!(piece.iter().all(|byte| *byte == 1));
        left -= piece.len();
    }
    in_room(&gate, before);
}
