//! A connection becomes a WebSocket where a rule says so, and nowhere else.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use crate::client::{Connection, request};
use crate::gate::{Gate, Options};
use crate::upstream::Upstream;

const RULES: &str = r#"
[[rule]]
methods = ["GET"]
path = "/api/0/live/{id}/"
scopes = ["event:read"]
websocket = true

[[rule]]
methods = ["GET"]
path = "/api/0/plain/"
scopes = ["event:read"]

[[rule]]
methods = ["GET"]
path = "/api/0/named/"
scopes = ["event:read"]
rewrite = { fields = ["/url"], max_size = "1000B" }
"#;

/// Switches protocols wherever it is asked to, and then sends back in capitals what comes. Gives the
/// heads that it read, too.
fn upstream() -> (Upstream, Arc<Mutex<Vec<String>>>) {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&heads);
    let upstream = Upstream::by_hand(move |stream: TcpStream| {
        let (mut reader, mut stream) = (BufReader::new(stream.try_clone().unwrap()), stream);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head).unwrap_or(0) == 0 {
                    return;
                }
            }
            let head = head.to_ascii_lowercase();
            kept.lock().unwrap().push(head.clone());
            if !head.contains("upgrade:") {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap();
                continue;
            }
            let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                          Upgrade: websocket\r\nSec-WebSocket-Accept: yes\r\n\r\nhello";
            stream.write_all(switch.as_bytes()).unwrap();
            let mut byte = [0];
            while reader.read(&mut byte).unwrap_or(0) == 1 {
                stream.write_all(&[byte[0].to_ascii_uppercase()]).unwrap();
            }
            return;
        }
    });
    (upstream, heads)
}

fn ask(gate: &Gate, path: &str, token: &str, protocol: &str) -> Connection {
    let bearer = format!("Bearer {token}");
    let headers = [
        ("Authorization", &*bearer),
        ("Connection", "keep-alive, Upgrade"),
        ("Upgrade", protocol),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ];
    let mut connection = Connection::open(gate.address);
    connection.write(&request(&format!("GET {path}"), &headers, b""));
    connection
}

#[test]
fn where_a_rule_says_so() {
    let (upstream, heads) = upstream();
    let gate = Gate::with(upstream, &Options { rules: RULES.to_owned(), ..Options::default() });
    let token = gate.token("event:read");
    let took = || std::mem::take(&mut *heads.lock().unwrap());

    let mut connection = ask(&gate, "/api/0/live/1/", &token, "websocket");
    let (status, headers) = connection.read_head().unwrap();
    assert_eq!(status, 101, "{headers:?}");
    assert_eq!(connection.read_exactly(5), b"hello");
    for word in ["a frame", "another"] {
        connection.write(word.as_bytes());
        assert_eq!(connection.read_exactly(word.len()), word.to_uppercase().as_bytes());
    }
    let [head] = &*took() else { panic!("more than one request") };
    assert!(head.contains("upgrade: websocket") && head.contains("sec-websocket-key: "), "{head}");
    // The token is the upstream's, as ever.
    assert!(head.contains("authorization: bearer sntryu_upstream-credential"), "{head}");

    // Another protocol, another rule, nobody.
    for (path, protocol) in [("/api/0/live/1/", "h2c"), ("/api/0/plain/", "websocket")] {
        let mut connection = ask(&gate, path, &token, protocol);
        assert_eq!(connection.read_reply("GET").unwrap().status, 200, "{path} {protocol}");
        let [head] = &*took() else { panic!("{path} {protocol}") };
        assert!(!head.contains("upgrade"), "{head}");
    }
    let mut connection = ask(&gate, "/api/0/live/1/", "unknown", "websocket");
    assert_eq!(connection.read_reply("GET").unwrap().status, 401);
    assert!(took().is_empty());
}

#[test]
fn nobody_is_switched_who_did_not_ask() {
    let upstream = Upstream::by_hand(|stream: TcpStream| {
        crate::upstream::each(stream, |_, stream| {
            let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                          Upgrade: websocket\r\n\r\nhello";
            let _ = stream.write_all(switch.as_bytes());
        });
    });
    let gate = Gate::with(upstream, &Options { rules: RULES.to_owned(), ..Options::default() });
    let token = gate.token("event:read");
    for path in ["/api/0/plain/", "/api/0/named/", "/api/0/live/1/"] {
        let mut asking = ask(&gate, path, &token, "websocket");
        if path.contains("live") {
            assert_eq!(asking.read_head().unwrap().0, 101);
        } else {
            let reply = asking.read_reply("GET").unwrap();
            assert_eq!((reply.status, &*reply.code()), (502, "upstream_unreachable"), "{path}");
        }
        let reply = gate.bearer(&format!("GET {path}"), &token);
        assert_eq!((reply.status, &*reply.code()), (502, "upstream_unreachable"), "{path}");
        assert!(reply.closed, "{path}");
    }
}
