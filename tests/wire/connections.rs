//! How many connections there may be, and what becomes of one more.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use crate::client::{Connection, PATIENCE, request};
use crate::gate::{Gate, Options, eventually};
use crate::upstream::Upstream;

const LINE: &str = "GET /api/0/organizations/acme/issues/";

fn gate(server: &str, top: &str) -> (Gate, Vec<u8>) {
    let options = Options { server: server.to_owned(), top: top.to_owned(), ..Options::default() };
    let gate = Gate::with(Upstream::start(), &options);
    let token = format!("Bearer {}", gate.token("read"));
    let ask = request(LINE, &[("Authorization", &token)], b"");
    (gate, ask)
}

/// A connection from this address of the machine.
fn from(client: &str, gate: SocketAddr) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let client: IpAddr = client.parse().unwrap();
    bind(&socket, &SocketAddr::new(client, 0)).unwrap();
    connect(&socket, &gate).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Whether it is answered, and not closed before.
fn is_served(stream: &mut TcpStream, ask: &[u8]) -> bool {
    let mut begin = [0; 12];
    stream.write_all(ask).is_ok()
        && stream.read_exact(&mut begin).is_ok()
        && &begin == b"HTTP/1.1 200"
}

#[test]
fn a_client_may_have_so_many_and_no_neighbour_has_fewer_for_it() {
    let server = "max_connections_per_client = 3";
    let (gate, ask) = gate(server, "trusted_proxies = [\"127.0.0.9\"]");
    let mut own: Vec<_> = (0..3).map(|_| from("127.0.0.2", gate.address)).collect();
    for stream in &mut own {
        assert!(is_served(stream, &ask));
    }
    assert!(!is_served(&mut from("127.0.0.2", gate.address), &ask));
    assert!(is_served(&mut from("127.0.0.3", gate.address), &ask));
    let mut proxied: Vec<_> = (0..5).map(|_| from("127.0.0.9", gate.address)).collect();
    assert!(proxied.iter_mut().all(|stream| is_served(stream, &ask)));
    assert_eq!(gate.upstream.take().len(), 3 + 1 + 5, "what was closed was asked nothing");
    assert_eq!(gate.metric("portcullis_connections_limited_total", &["\"client\""]), 1.0);
    let said = gate.output();
    assert!(said.contains("max_connections_per_client") && said.contains("127.0.0.2"), "{said}");
    drop(own.pop());
    eventually("room for another", || is_served(&mut from("127.0.0.2", gate.address), &ask));
}

#[test]
fn beyond_all_of_them_new_ones_wait_and_none_is_lost() {
    const MOST: usize = 16;
    let (gate, ask) = gate("max_connections = 16", "");
    let mut kept: Vec<_> = (0..MOST).map(|_| Connection::open(gate.address)).collect();
    gate.counts("portcullis_connections_limited_total", &["\"total\""], 1.0);
    let mut more = Connection::open(gate.address);
    more.write(&ask);
    thread::sleep(Duration::from_millis(200));
    assert!(gate.upstream.take().is_empty());
    // Who has one is served, and keeps it for no longer than the request.
    kept[0].write(&ask);
    let reply = kept[0].read_reply("GET").expect("an answer");
    assert_eq!((reply.status, reply.closed), (200, true));
    assert_eq!(more.read_reply("GET").expect("an answer, once there is room").status, 200);
    assert_eq!(gate.upstream.take().len(), 2);
    drop((kept, more));
    // With room for it, a connection is kept again.
    eventually("a connection that is kept", || {
        let mut one = Connection::open(gate.address);
        one.write(&ask);
        !one.read_reply("GET").expect("an answer").closed
    });
    let said = gate.output();
    assert_eq!(said.matches("as many connections as there may be").count(), 1, "{said}");
}

#[test]
fn a_reload_changes_how_many_there_may_be() {
    let (gate, ask) = gate("max_connections_per_client = 1", "");
    let mut first = from("127.0.0.2", gate.address);
    assert!(is_served(&mut first, &ask));
    assert!(!is_served(&mut from("127.0.0.2", gate.address), &ask));
    let path = gate.folder.path().join("portcullis.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, text.replace("per_client = 1", "per_client = 2")).unwrap();
    gate.signal("-HUP");
    eventually("room for a second", || is_served(&mut from("127.0.0.2", gate.address), &ask));
}
