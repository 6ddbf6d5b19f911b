//! A listener that nobody may call, and that notices whoever does.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use portcullis::clock::{Clock as _, SystemClock};

use crate::client::PATIENCE;

/// Every connection, in the order in which they came, and the first line of each request on one.
#[derive(Default)]
struct Calls {
    connections: Vec<SocketAddr>,
    requests: Vec<String>,
}

/// It answers 500 to whoever calls.
pub struct Silent {
    pub address: SocketAddr,
    calls: Arc<Mutex<Calls>>,
}

impl Silent {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let calls = Arc::new(Mutex::new(Calls::default()));
        let shared = Arc::clone(&calls);
        thread::spawn(move || {
            loop {
                let (stream, peer) = listener.accept().unwrap();
                shared.lock().unwrap().connections.push(peer);
                let shared = Arc::clone(&shared);
                thread::spawn(move || answer(stream, &shared));
            }
        });
        Self { address, calls }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections came, whatever was or was not sent on them. A client that has ended
    /// before this is called has been counted: connections are accepted in the order in which they
    /// came, and this waits for one of its own.
    pub fn connections(&self) -> usize {
        let own = TcpStream::connect(self.address).unwrap().local_addr().unwrap();
        let start = SystemClock.instant();
        loop {
            let mut calls = self.calls.lock().unwrap();
            if let Some(at) = calls.connections.iter().position(|peer| *peer == own) {
                calls.connections.remove(at);
                return calls.connections.len();
            }
            drop(calls);
            let waited = SystemClock.instant().saturating_duration_since(start);
            assert!(waited < PATIENCE, "a listener that does not accept");
            thread::yield_now();
        }
    }

    /// The first line of each request that was sent here.
    pub fn requests(&self) -> Vec<String> {
        self.calls.lock().unwrap().requests.clone()
    }
}

fn answer(stream: TcpStream, calls: &Mutex<Calls>) {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    if reader.read_line(&mut first).is_ok_and(|length| length > 0) {
        calls.lock().unwrap().requests.push(first.trim_end().to_owned());
        let answer =
            b"HTTP/1.1 500 Not the gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let _ = reader.get_mut().write_all(answer);
    }
}
