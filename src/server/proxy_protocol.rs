//! Reading the PROXY protocol header of a connection.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use tokio::io::AsyncBufReadExt as _;

use super::connection::Socket;
use crate::proxy_protocol::{BadHeader, Header, parse};
use crate::telemetry::metrics::ProxyFailure;

/// How long a header may take.
const TIME: Duration = Duration::from_secs(5);

/// Takes the header off a connection of `peer`, which must be in one of the networks, and tells who has
/// connected to it; `None` when that is `peer` itself.
pub(super) async fn source(
    socket: &mut Socket,
    peer: IpAddr,
    networks: &[IpNet],
) -> Result<Option<SocketAddr>, ProxyFailure> {
    let peer = peer.to_canonical();
    if !networks.iter().any(|network| network.contains(&peer)) {
        return Err(ProxyFailure::Peer);
    }
    let header = tokio::time::timeout(TIME, take(socket)).await;
    header.unwrap_or(Err(ProxyFailure::Timeout)).map(|header| header.source)
}

/// Takes the header, and not a byte more.
async fn take(socket: &mut Socket) -> Result<Header, ProxyFailure> {
    let mut taken = Vec::new();
    loop {
        // What is in the buffer stays there until it is known whose it is.
        let piece = socket.fill_buf().await.map_err(|_| ProxyFailure::Closed)?;
        if piece.is_empty() {
            return Err(ProxyFailure::Closed);
        }
        let (before, length) = (taken.len(), piece.len());
        taken.extend_from_slice(piece);
        match parse(&taken).map_err(failure)? {
            Some(header) => {
                socket.consume(header.len.saturating_sub(before));
                return Ok(header);
            }
            None => socket.consume(length),
        }
    }
}

const fn failure(bad: BadHeader) -> ProxyFailure {
    match bad {
        BadHeader::Missing => ProxyFailure::Missing,
        BadHeader::Malformed => ProxyFailure::Malformed,
        BadHeader::TooLong => ProxyFailure::TooLong,
    }
}
