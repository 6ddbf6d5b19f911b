//! Listeners that are taken before anything else starts.
//!
//! Pingora binds when its services run: it would retry a taken port for half a minute and then
//! live on without it. So the sockets are opened here, where failing ends the process at once, and
//! handed over by the way that pingora has for sockets of a process before it.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{IntoRawFd as _, OwnedFd};

use anyhow::Context as _;
use async_trait::async_trait;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::{ServiceReadyNotifier, ServiceWithDependents};
use tokio::net::TcpSocket;

/// How many connections may wait to be accepted, as far as the machine lets them.
const BACKLOG: u32 = 65_535;

/// A socket that listens, and nobody answers yet.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Takes an address; port 0 becomes a free one.
    ///
    /// # Errors
    /// When the address can't be listened to.
    pub fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let socket = TcpListener::bind(address).map_err(|error| {
            let fix = match error.kind() {
                io::ErrorKind::PermissionDenied => "choose a port from 1024 on, or grant the right",
                io::ErrorKind::AddrNotAvailable => "choose an address that this machine has",
                // Not our own list: whatever else there is, another address helps.
                _ => "end what uses it, or choose another address",
            };
            anyhow::anyhow!("`{address}` can't be listened to ({error}); {fix}")
        })?;
        let what = || format!("`{address}` can't be listened to");
        socket.set_nonblocking(true).with_context(what)?;
        let address = socket.local_addr().with_context(what)?;
        Ok(Self { socket, address })
    }

    /// The address, with its port.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to listen with all the room there is for who has connected and was not accepted yet. On
    /// a runtime.
    pub(super) fn listen(self) -> io::Result<tokio::net::TcpListener> {
        // To listen again only gives it more room, on Linux.
        let socket = TcpStream::from(OwnedFd::from(self.socket));
        TcpSocket::from_std_stream(socket).listen(BACKLOG)
    }
}

/// A service of pingora's that finds its sockets open.
pub(super) struct Held<S> {
    pub(super) service: S,
    pub(super) listener: Option<Listener>,
}

#[async_trait]
impl<S: ServiceWithDependents> ServiceWithDependents for Held<S> {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
        ready_notifier: ServiceReadyNotifier,
    ) {
        if let Some(fds) = &fds {
            let mut fds = fds.lock();
            if let Some(listener) = self.listener.take() {
                fds.add(listener.address.to_string(), listener.socket.into_raw_fd());
            }
        }
        self.service.start_service(fds, shutdown, listeners_per_fd, ready_notifier).await;
    }

    fn name(&self) -> &str {
        self.service.name()
    }

    fn threads(&self) -> Option<usize> {
        self.service.threads()
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        self.service.listen_addresses()
    }
}
