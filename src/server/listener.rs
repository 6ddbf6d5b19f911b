//! Listeners that are taken before anything else starts.
//!
//! Pingora binds when its services run: it would retry a taken port for half a minute and then
//! live on without it. So the sockets are opened here, where failing ends the process at once, and
//! handed over by the way that pingora has for sockets of a process before it.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use anyhow::Context as _;
use tokio::net::TcpSocket;

/// How many connections may wait to be accepted, as far as the machine lets them.
pub(super) const BACKLOG: u32 = 65_535;

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

    /// Begins to listen with all the room there is for who has connected and was not accepted yet. On
    /// a runtime.
    pub(super) fn listen(self) -> io::Result<tokio::net::TcpListener> {
        // To listen again only gives it more room, on Linux.
        let socket = TcpStream::from(OwnedFd::from(self.socket));
        TcpSocket::from_std_stream(socket).listen(BACKLOG)
    }
}
