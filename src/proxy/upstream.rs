//! Reaching the upstream, and telling its failures apart.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use pingora::prelude::{Error, ErrorSource, ErrorType, HttpPeer, Result};
use pingora::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora::upstreams::peer::{H1UpgradePolicy, Peer as _, PeerOptions};

use crate::policy::exposure::Service;
use crate::policy::reason::UpstreamFailure;
use crate::policy::site::{BaseUrl, HttpScheme};

/// How often a host name is resolved again.
const RESOLVE_EVERY: Duration = Duration::from_secs(5);

/// The parts of Sentry that requests go to.
#[derive(Clone, Debug)]
pub struct Upstreams {
    /// The web service.
    pub web: Arc<UpstreamPeer>,
    /// Relay.
    pub relay: Option<Arc<UpstreamPeer>>,
    /// What serves the files of the pages, where that is not the web service.
    pub assets: Option<Arc<UpstreamPeer>>,
}

impl Upstreams {
    /// The one for a service.
    ///
    /// # Errors
    /// When there is no Relay, which a config that loads does not let happen.
    pub(super) fn of(&self, service: Service) -> Result<&Arc<UpstreamPeer>> {
        let no_relay = || Error::explain(ErrorType::ConnectNoRoute, "no relay").into_up();
        match service {
            Service::Web => Ok(&self.web),
            Service::Relay => self.relay.as_ref().ok_or_else(no_relay),
            Service::Assets => Ok(self.assets.as_ref().unwrap_or(&self.web)),
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<UpstreamPeer>> {
        std::iter::once(&self.web).chain(&self.relay).chain(&self.assets)
    }
}

/// An upstream at one address. A host name is resolved in the background, never by a request.
#[derive(Debug)]
pub struct UpstreamPeer {
    host: String,
    port: u16,
    tls: bool,
    options: PeerOptions,
    timeout: Duration,
    /// The addresses of the host name; empty for an IP address.
    addresses: ArcSwap<Vec<SocketAddr>>,
    /// The one in use.
    peer: ArcSwapOption<HttpPeer>,
}

impl UpstreamPeer {
    /// An upstream at `address`, which is silent for at most `timeout` where a rule does not say.
    pub fn new(
        address: &BaseUrl,
        connect_timeout: Duration,
        timeout: Duration,
        idle_timeout: Duration,
    ) -> Self {
        let mut options = PeerOptions::new();
        options.connection_timeout = Some(connect_timeout);
        options.total_connection_timeout = Some(connect_timeout);
        options.idle_timeout = Some(idle_timeout);
        options.http_upstream_request_policy.h1_upgrade = H1UpgradePolicy::Deny;
        let tls = address.scheme() == HttpScheme::Https;
        let (host, port) = (address.host().to_owned(), address.port());
        let (addresses, peer) = (ArcSwap::default(), ArcSwapOption::empty());
        let upstream = Self { host, port, tls, options, timeout, addresses, peer };
        if let Ok(ip) = upstream.host.trim_matches(['[', ']']).parse::<IpAddr>() {
            upstream.take(SocketAddr::new(ip, port));
        }
        upstream
    }

    fn take(&self, address: SocketAddr) {
        let mut peer = HttpPeer::new(address, self.tls, self.host.clone());
        peer.options = self.options.clone();
        self.peer.store(Some(Arc::new(peer)));
    }

    /// The peer for one request.
    ///
    /// # Errors
    /// When the host name has never been resolved.
    pub(super) fn peer(&self, timeout: Option<Duration>) -> Result<Box<HttpPeer>> {
        let Some(peer) = self.peer.load_full() else {
            return Err(Error::explain(ErrorType::ConnectNoRoute, "not resolved").into_up());
        };
        let mut peer = Box::new((*peer).clone());
        let timeout = timeout.unwrap_or(self.timeout);
        peer.options.read_timeout = Some(timeout);
        peer.options.write_timeout = Some(timeout);
        Ok(peer)
    }

    /// Whether there is an address to go to.
    pub fn is_resolved(&self) -> bool {
        self.peer.load().is_some()
    }

    /// Goes on to the next address of the host name, and says whether there is one.
    pub(super) fn pass_over(&self) -> bool {
        let addresses = self.addresses.load();
        let Some(peer) = self.peer.load_full() else { return false };
        let at =
            addresses.iter().position(|address| *peer.address() == PeerAddress::Inet(*address));
        let next = addresses.get(at.map_or(0, |at| (at + 1) % addresses.len()));
        match next {
            Some(next) if addresses.len() > 1 => {
                self.take(*next);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Keeps the addresses of a host name up to date; returns at once for an IP address. Says when
    /// there is an address for the first time.
    pub async fn keep_resolved(&self, known: impl Fn()) {
        if self.is_resolved() {
            return known();
        }
        let mut failing = false;
        loop {
            match tokio::net::lookup_host((self.host.as_str(), self.port)).await {
                Ok(addresses) => {
                    failing = false;
                    let addresses: Vec<_> = addresses.collect();
                    // An address that is still listed is kept, so that connections are reused.
                    let listed = self.peer.load().as_ref().is_some_and(|peer| {
                        addresses.iter().any(|a| *peer.address() == PeerAddress::Inet(*a))
                    });
                    if !listed && let Some(first) = addresses.first() {
                        self.take(*first);
                    }
                    self.addresses.store(Arc::new(addresses));
                    if self.is_resolved() {
                        known();
                    }
                }
                Err(error) if !failing => {
                    failing = true;
                    let host = &self.host;
                    tracing::warn!(%error, host, "the upstream's name can't be resolved; the last address is kept");
                }
                Err(_) => {}
            }
            tokio::time::sleep(RESOLVE_EVERY).await;
        }
    }
}

/// What an error on the way to the upstream means.
pub(super) fn failure(error: &Error) -> UpstreamFailure {
    match error.etype() {
        ErrorType::ConnectTimedout
        | ErrorType::TLSHandshakeTimedout
        | ErrorType::ReadTimedout
        | ErrorType::WriteTimedout => UpstreamFailure::Timeout,
        // Not our own list: whatever pingora adds is a failure to reach it.
        _ => UpstreamFailure::Unreachable,
    }
}

/// Whether the client is to blame, or just went away.
pub(super) fn is_downstream(error: &Error) -> bool {
    *error.esource() == ErrorSource::Downstream
}
