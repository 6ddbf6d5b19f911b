//! An endpoint over TLS: it gets no credential before it has proved who it is.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{INDEX, LINE, ask_bearer, is_outage, sentry_store};
use crate::gate::{Gate, Options};
use crate::tls::authority::{Authority, Made};
use crate::upstream::Upstream;

const HERE: &str = "IP:127.0.0.1";

/// Somebody with a certificate for these names, and who vouches for it.
fn somebody(name: &str, names: &str) -> (Authority, Made) {
    let authority = Authority::new(name);
    let made = authority.certificate(names);
    (authority, made)
}

/// A Sentry behind TLS that knows everybody.
struct Endpoint {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// The requests that got through.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Endpoint {
    fn start(made: &Made) -> Self {
        let config = made.served();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let connections = Arc::new(AtomicUsize::new(0));
        let (records, counted) = (Arc::clone(&seen), Arc::clone(&connections));
        thread::spawn(move || {
            for stream in listener.incoming() {
                counted.fetch_add(1, Ordering::SeqCst);
                let (config, records) = (Arc::clone(&config), Arc::clone(&records));
                thread::spawn(move || serve(stream.unwrap(), config, &records));
            }
        });
        Self { address, connections, seen }
    }

    fn store(&self) -> String {
        sentry_store(self.address, "").replace("http://", "https://")
    }
}

/// One request, if it comes so far.
fn serve(stream: TcpStream, config: Arc<ServerConfig>, seen: &Mutex<Vec<String>>) {
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
            _ => return,
        }
    }
    seen.lock().unwrap().push(String::from_utf8(request).unwrap());
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        INDEX.len()
    );
    let _ = stream.write_all((head + INDEX).as_bytes());
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

/// A gateway that believes this authority alone.
fn gate(store: String, believed: &Authority) -> Gate {
    let root = believed.root_path();
    let nowhere = format!("{root}.nowhere");
    let environment =
        vec![("SSL_CERT_FILE".to_owned(), root), ("SSL_CERT_DIR".to_owned(), nowhere)];
    let options = Options { stores: Some(store), environment, ..Options::default() };
    Gate::with(Upstream::start(), &options)
}

#[test]
fn an_endpoint_that_proves_who_it_is_is_asked() {
    let (ours, made) = somebody("ours", HERE);
    let endpoint = Endpoint::start(&made);
    let gate = gate(endpoint.store(), &ours);
    assert_eq!(ask_bearer(&gate, "sntryu_good").status, 200);
    let seen = gate.upstream.take_one();
    assert_eq!(seen.value("authorization"), Some("Bearer sntryu_good"));
    let asked = endpoint.seen.lock().unwrap();
    assert!(asked[0].starts_with("GET /api/0/ HTTP/1.1\r\n"), "{asked:?}");
    assert!(asked[0].contains("Bearer sntryu_good\r\n"), "{asked:?}");
}

#[test]
fn an_endpoint_that_does_not_is_sent_nothing() {
    let (_, ours) = somebody("ours", HERE);
    let (other, _) = somebody("other", HERE);
    let (elsewhere, made) = somebody("elsewhere", "DNS:elsewhere.example");
    let rows = [
        ("another root", Endpoint::start(&ours), &other, "UnknownIssuer"),
        ("another name", Endpoint::start(&made), &elsewhere, "not valid for name"),
    ];
    for (what, endpoint, believed, cause) in rows {
        let gate = gate(endpoint.store(), believed);
        for number in 0..3 {
            is_outage(&gate.bearer(LINE, &format!("sntryu_good-{number}")), what);
        }
        assert!(endpoint.connections.load(Ordering::SeqCst) > 0, "{what}");
        assert!(endpoint.seen.lock().unwrap().is_empty(), "{what}");
        assert!(gate.upstream.take().is_empty(), "{what}");
        let log = gate.output();
        assert!(log.contains(cause) && !log.contains("sntryu_"), "{what}: {log}");
    }
}

#[test]
fn tls_and_plain_text_do_not_meet() {
    let (ours, made) = somebody("ours", HERE);
    // What answers in plain text where TLS is asked for, and the other way round.
    let plain = super::sentry();
    let https = sentry_store(plain.address, "").replace("http://", "https://");
    let over_tls = Endpoint::start(&made);
    for store in [https, sentry_store(over_tls.address, "")] {
        let gate = gate(store.clone(), &ours);
        is_outage(&gate.bearer(LINE, "sntryu_good"), &store);
        assert!(gate.upstream.take().is_empty(), "{store}");
    }
    assert!(plain.take().is_empty());
    assert!(over_tls.seen.lock().unwrap().is_empty());
}
