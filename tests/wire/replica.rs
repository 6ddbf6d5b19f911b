//! One of several addresses of an upstream, which can end and come back.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use tokio::net::TcpSocket;

use crate::upstream::{self, Seen};

/// A replica. It starts dead, on a port that is its own as long as this is kept.
pub struct Replica {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
    _port: TcpSocket,
}

struct Shared {
    /// What it answers to `/_health/`.
    health: AtomicU16,
    alive: AtomicBool,
    seen: Mutex<Vec<Seen>>,
    checks: Mutex<Vec<Seen>>,
    streams: Mutex<Vec<TcpStream>>,
}

impl Replica {
    /// Nothing listens there: connections are refused.
    pub fn dead() -> Self {
        let port = socket(([127, 0, 0, 1], 0).into());
        let shared = Shared {
            health: AtomicU16::new(200),
            alive: AtomicBool::new(false),
            seen: Mutex::default(),
            checks: Mutex::default(),
            streams: Mutex::default(),
        };
        let address = port.local_addr().unwrap();
        Self { address, shared: Arc::new(shared), accepting: None, _port: port }
    }

    pub fn alive() -> Self {
        let mut replica = Self::dead();
        replica.revive();
        replica
    }

    /// Answers 200 from now on.
    pub fn revive(&mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listen = async { socket(self.address).listen(128).unwrap().into_std().unwrap() };
        let listener = runtime.block_on(listen);
        listener.set_nonblocking(false).unwrap();
        self.shared.alive.store(true, Ordering::SeqCst);
        let shared = Arc::clone(&self.shared);
        self.accepting = Some(thread::spawn(move || accept(&listener, &shared)));
    }

    /// Ends every connection, and takes no more.
    pub fn die(&mut self) {
        self.shared.alive.store(false, Ordering::SeqCst);
        // What it waits for.
        let _ = TcpStream::connect(self.address);
        self.accepting.take().unwrap().join().unwrap();
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            // It may have ended already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub fn set_health(&self, status: u16) {
        self.shared.health.store(status, Ordering::SeqCst);
    }

    /// Requests since it was last asked, checks aside.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.shared.seen.lock().unwrap())
    }

    /// Checks since it was last asked.
    pub fn take_checks(&self) -> Vec<Seen> {
        std::mem::take(&mut self.shared.checks.lock().unwrap())
    }
}

/// A socket at this address that may be shared with others of this test, and is not listening.
fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().unwrap();
        if !shared.alive.load(Ordering::SeqCst) {
            return;
        }
        shared.streams.lock().unwrap().push(stream.try_clone().unwrap());
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            upstream::each(stream, |seen, stream| {
                if seen.target.starts_with("/_health/") {
                    shared.checks.lock().unwrap().push(seen.clone());
                    let status = shared.health.load(Ordering::SeqCst);
                    upstream::reply(stream, &format!("{status} Health"), &[], b"ok");
                } else {
                    shared.seen.lock().unwrap().push(seen.clone());
                    upstream::ok(stream, &[], b"{}");
                }
            });
        });
    }
}
