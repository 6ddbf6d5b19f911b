//! How an upstream is spoken to: TLS and HTTP/2, as pingora has them.

use std::sync::Arc;
use std::time::Duration;

use pingora::protocols::tls::CaType;
use pingora::upstreams::peer::{ALPN, PeerOptions};
use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};

use crate::config::Upstream;
use crate::tls::Identity;

/// How many requests share a connection, where the upstream takes as many. nginx takes 128.
const STREAMS: usize = 100;
/// How much of one answer may be on its way, in bytes.
const STREAM_WINDOW: u32 = 256 << 10;
/// How much of all answers of a connection may be: each may be stuck at a client that does not read, and
/// holds up no other.
const CONNECTION_WINDOW: u32 = 100 * STREAM_WINDOW;
/// How often a connection is tried. One whose other end has vanished would take request after request.
const PING: Duration = Duration::from_secs(10);

/// What the connections of an upstream have in common besides time limits.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    /// In place of the URL's host.
    pub(super) server_name: Option<Box<str>>,
    /// Who the gateway is.
    pub(super) identity: Option<Arc<CertKey>>,
    /// Connections are kept for requests with the same one: pingora does not look at who is believed.
    pub(super) group: u64,
}

impl Tls {
    /// Reads the config, and adds to the options of its peers what belongs there.
    pub(super) fn new(upstream: &Upstream, options: &mut PeerOptions) -> Self {
        let tls = &upstream.tls;
        options.ca = tls.authorities.as_ref().map(|authorities| {
            let read = |der: &[u8]| WrappedX509::new(der.to_vec(), parse_x509);
            let all: Vec<WrappedX509> = authorities.iter().map(read).collect();
            Arc::<CaType>::from(all)
        });
        if upstream.http2 {
            options.alpn = ALPN::H2H1;
            options.max_h2_streams = STREAMS;
            options.h2_stream_window_size = Some(STREAM_WINDOW);
            options.h2_connection_window_size = Some(CONNECTION_WINDOW);
            options.h2_ping_interval = Some(PING);
        }
        Self {
            server_name: tls.server_name.clone(),
            identity: tls.identity.as_ref().map(|identity| Arc::new(cert_key(identity))),
            group: tls.fingerprint(),
        }
    }
}

/// Does not panic: an identity has certificates, and all of them were read with the same library.
fn cert_key(identity: &Identity) -> CertKey {
    let certificates = identity.certificates().iter().map(<[u8]>::to_vec).collect();
    CertKey::new(certificates, identity.expose_key().to_vec())
}
