//! The PROXY protocol: who counts as the client, and who is not let in.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use tokio::io::AsyncWriteExt as _;

use super::client::{Http2, Sent, Speaks, exchange, run};
use crate::client::{Connection, request};
use crate::gate::{Gate, HOST, Options, eventually};
use crate::upstream::Upstream;

const PATH: &str = "/api/0/organizations/acme/issues/";
const HERE: &str = "proxy_protocol = [\"10.9.0.0/16\", \"127.0.0.1\"]";
const V1: &[u8] = b"PROXY TCP4 203.0.113.7 10.0.0.1 4321 443\r\n";
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11\xcb\0\x71\x07\x0a\0\0\x01\x10\xe1\x01\xbb\x01\0\x02h2";
const V2_SIX: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\
    \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x10\xe1\x01\xbb";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

fn plain(options: Options) -> Gate {
    let listen = HERE.to_owned();
    Gate::with(Upstream::start(), &Options { listen, ..options })
}

fn failures(gate: &Gate, reason: &str) -> f64 {
    let reason = format!("reason=\"{reason}\"");
    gate.metric("portcullis_proxy_protocol_failures_total", &[&reason])
}

#[test]
fn the_address_in_the_header_is_the_clients() {
    let mut gate = plain(Options::default());
    let bearer = format!("Bearer {}", gate.token("read"));
    // A header of a request is believed of a trusted proxy alone, and the load balancer is none.
    let fields = [("Authorization", &*bearer), ("X-Forwarded-For", "198.51.100.1")];
    let ask = request(&format!("GET {PATH}"), &fields, b"");
    let rows: &[(&[u8], &str)] = &[
        (V1, "203.0.113.7"),
        (V2, "203.0.113.7"),
        (V2_SIX, "2001:db8::1"),
        (b"PROXY TCP6 ::ffff:203.0.113.7 ::1 1 2\r\n", "203.0.113.7"),
        (LOCAL, "127.0.0.1"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    ];
    for (header, client) in rows {
        // In one piece, byte by byte, and with two requests on the connection.
        for size in [usize::MAX, 1] {
            let mut connection = Connection::open(gate.address);
            let all = [header, &ask[..]].concat();
            for piece in all.chunks(size.min(all.len())) {
                connection.write(piece);
            }
            for again in [false, true] {
                if again {
                    connection.write(&ask);
                }
                let reply = connection.read_reply("GET").expect("an answer");
                assert_eq!(reply.status, 200, "{client}: {reply:?}");
                let seen = gate.upstream.take_one();
                assert_eq!(seen.value("x-forwarded-for"), Some(*client));
                assert_eq!(seen.target, PATH);
            }
        }
    }
    gate.stop();
    let lines = gate.access_lines();
    // Lines come from several threads.
    let mut clients: Vec<_> =
        lines.iter().map(|line| line["client_ip"].as_str().unwrap()).collect();
    let mut wanted: Vec<_> = rows.iter().flat_map(|(_, client)| [*client; 4]).collect();
    clients.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(clients, wanted);
}

#[test]
fn a_source_that_is_a_trusted_proxy_is_asked_for_whom() {
    let gate = plain(Options {
        top: "trusted_proxies = [\"203.0.113.0/24\"]".into(),
        ..Options::default()
    });
    let bearer = format!("Bearer {}", gate.token("read"));
    let fields = [("Authorization", &*bearer), ("X-Forwarded-For", "198.51.100.1")];
    let ask = request(&format!("GET {PATH}"), &fields, b"");
    for (header, client) in [(V1, "198.51.100.1"), (LOCAL, "127.0.0.1")] {
        let mut connection = Connection::open(gate.address);
        connection.write(&[header, &ask].concat());
        assert_eq!(connection.read_reply("GET").unwrap().status, 200);
        assert_eq!(gate.upstream.take_one().value("x-forwarded-for"), Some(client));
    }
}

#[test]
fn without_a_header_that_counts_nobody_is_let_in() {
    let gate = plain(Options::default());
    let bearer = format!("Bearer {}", gate.token("read"));
    let ask = request(&format!("GET {PATH}"), &[("Authorization", &bearer)], b"");
    let long = [b"PROXY UNKNOWN ", &[b'x'; 100][..], b"\r\n"].concat();
    for (header, reason) in [
        (&b""[..], "missing"),
        (b"PROXY TCP4 203.0.113.7 10.0.0.1 4321\r\n", "malformed"),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\xcb\0\x71\x07\x0a\0\0\x01\x10\xe1\x01\xbb",
            "malformed",
        ),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", "too_long"),
        (&long, "too_long"),
    ] {
        let mut connection = Connection::open(gate.address);
        connection.write(&[header, &ask].concat());
        assert_eq!(connection.read_rest(), b"", "{reason}");
    }
    // One that ends in the middle, and one that goes no further.
    drop({
        let mut connection = Connection::open(gate.address);
        connection.write(b"PROXY TCP4");
        connection
    });
    let mut late = Connection::open(gate.address);
    late.write(b"PROXY TCP4");
    assert!(late.is_closed());
    eventually("the end of each", || {
        ["missing", "malformed", "too_long", "closed", "timeout"].map(|why| failures(&gate, why))
            == [1.0, 2.0, 2.0, 1.0, 1.0]
    });
    assert!(gate.upstream.take().is_empty());
    let said = gate.output();
    assert_eq!(said.matches("a PROXY header").count(), 1, "{said}");
    assert!(!said.contains("203.0.113.7") && !said.contains("\"ERROR\""), "{said}");
}

#[test]
fn whoever_is_no_load_balancer_is_not_let_in() {
    let listen = "proxy_protocol = [\"10.9.0.0/16\"]".to_owned();
    let gate = Gate::with(Upstream::start(), &Options { listen, ..Options::default() });
    let bearer = format!("Bearer {}", gate.token("read"));
    let ask = request(&format!("GET {PATH}"), &[("Authorization", &bearer)], b"");
    for header in [V1, b""] {
        let mut connection = Connection::open(gate.address);
        connection.write(&[header, &ask].concat());
        assert_eq!(connection.read_rest(), b"");
    }
    eventually("both", || failures(&gate, "peer") == 2.0);
    assert!(gate.upstream.take().is_empty());
}

#[test]
fn where_it_is_not_spoken_a_header_is_no_request() {
    let gate = Gate::start();
    for header in [V1, V2] {
        let mut connection = Connection::open(gate.address);
        connection.write(&[header, &request("GET /", &[], b"")].concat());
        let answer = connection.read_rest();
        assert!(answer.starts_with(b"HTTP/1.1 400 "), "{:?}", answer.escape_ascii().to_string());
    }
    assert!(gate.upstream.take().is_empty());
}

#[test]
fn the_header_comes_before_tls() {
    let options = Options { listen: HERE.to_owned(), ..Options::default() };
    let gate = super::before(Upstream::start(), options);
    let bearer = format!("Bearer {}", gate.token("read"));
    let fields = [("Authorization", &*bearer), ("Connection", "close")];
    run(async {
        for header in [V1, V2] {
            let mut stream = tokio::net::TcpStream::connect(gate.address).await.unwrap();
            stream.write_all(header).await.unwrap();
            let mut stream = Speaks::new(&["http/1.1"]).over(stream, HOST).await.unwrap();
            let ask = request(&format!("GET {PATH}"), &fields, b"");
            let answer = exchange(&mut stream, &ask).await;
            assert!(answer.starts_with(b"HTTP/1.1 200 "), "{answer:?}");
            assert_eq!(gate.upstream.take_one().value("x-forwarded-for"), Some("203.0.113.7"));

            let mut stream = tokio::net::TcpStream::connect(gate.address).await.unwrap();
            stream.write_all(header).await.unwrap();
            let mut client =
                Http2::on(Speaks::new(&["h2"]).over(stream, HOST).await.unwrap()).await;
            let headers = &fields[..1];
            let sent = Sent { method: "GET", authority: HOST, path: PATH, headers, body: b"" };
            assert_eq!(client.send(&sent).await.unwrap().status, 200);
            assert_eq!(gate.upstream.take_one().value("x-forwarded-for"), Some("203.0.113.7"));
        }
        // Inside TLS it would be the client's own word.
        let speaks = Speaks::new(&["http/1.1"]);
        assert!(speaks.connect(gate.address, HOST).await.is_err());
    });
}

/// HAProxy before a gateway; it ends with this value.
struct Balancer {
    process: Child,
    /// Where it sends version 1, and where version 2.
    addresses: [SocketAddr; 2],
    _folder: tempfile::TempDir,
}

impl Balancer {
    /// Somebody else may take a port that was free a moment ago: then it ends, and others are tried.
    fn before(gateway: SocketAddr) -> Self {
        (0..10).find_map(|_| Self::started(gateway)).expect("HAProxy, on ports that are free")
    }

    fn started(gateway: SocketAddr) -> Option<Self> {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let addresses = [free(), free()];
        let mut config =
            "defaults\nmode tcp\ntimeout connect 20s\ntimeout client 20s\ntimeout server 20s\n"
                .to_owned();
        for (index, (address, send)) in
            addresses.iter().zip(["send-proxy", "send-proxy-v2"]).enumerate()
        {
            config += &format!("listen l{index}\nbind {address}\nserver s {gateway} {send}\n");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("haproxy.cfg");
        std::fs::write(&path, config).unwrap();
        // Debian keeps it where not every user's `PATH` leads.
        let program = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"];
        let program = program.into_iter().find(|path| std::path::Path::new(path).exists());
        let process = Command::new(program.unwrap_or("haproxy"))
            .args(["-db", "-f"])
            .arg(path)
            .stdin(Stdio::null())
            .spawn()
            .expect("HAProxy, which `make setup` installs");
        let mut balancer = Self { process, addresses, _folder: folder };
        let mut ended = false;
        eventually("HAProxy", || {
            ended = balancer.process.try_wait().unwrap().is_some();
            ended || addresses.iter().all(|address| TcpStream::connect(address).is_ok())
        });
        (!ended).then_some(balancer)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn haproxy_tells_it_so_that_it_is_understood() {
    let gate = plain(Options::default());
    let balancer = Balancer::before(gate.address);
    let bearer = format!("Bearer {}", gate.token("read"));
    for address in balancer.addresses {
        // A client that is neither HAProxy nor the gateway.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.42:0".parse().unwrap()).unwrap();
        let answer = run(async {
            use tokio::io::AsyncReadExt as _;
            let mut stream = socket.connect(address).await.unwrap();
            let fields = [("Authorization", &*bearer), ("Connection", "close")];
            stream.write_all(&request(&format!("GET {PATH}"), &fields, b"")).await.unwrap();
            let mut answer = Vec::new();
            super::client::soon("an answer", stream.read_to_end(&mut answer)).await.unwrap();
            answer
        });
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{answer:?}");
        assert_eq!(gate.upstream.take_one().value("x-forwarded-for"), Some("127.0.0.42"));
    }
}
