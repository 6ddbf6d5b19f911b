//! Listeners that are taken before anything else starts.
//!
//! Pingora binds when its services run: it would retry a taken port for half a minute and then
//! live on without it. So the sockets are opened here, where failing ends the process at once, and
//! handed over by the way that pingora has for sockets of a process before it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd as _;
use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::{ServiceReadyNotifier, ServiceWithDependents};

use crate::readiness::Readiness;

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
        Self::adopt(socket).with_context(|| format!("`{address}` can't be listened to"))
    }

    /// Takes over a socket that listens.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn adopt(socket: TcpListener) -> anyhow::Result<Self> {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// The same socket once more, for a process after this one.
    pub(super) fn again(&self) -> io::Result<TcpListener> {
        self.socket.try_clone()
    }

    /// The address, with its port.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A service of pingora's that finds its sockets open.
pub(super) struct Held<S> {
    pub(super) service: S,
    pub(super) listeners: Vec<Listener>,
    /// Is told when the service starts to answer.
    pub(super) readiness: Option<Arc<Readiness>>,
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
            for listener in self.listeners.drain(..) {
                fds.add(listener.address.to_string(), listener.socket.into_raw_fd());
            }
        }
        if let Some(readiness) = &self.readiness {
            readiness.serving();
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
