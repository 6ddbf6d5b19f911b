//! Reaching an upstream: its addresses, their health, and how many requests it gets at once.
//!
//! A request takes a slot of the [`Pool`], waits for one in a queue if there is none, and keeps it
//! until it ends, whatever address it is sent to. Names are resolved and addresses are checked in
//! the background, never by a request.

mod address;
mod check;
mod failure;
mod queue;
mod resolve;
mod services;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora::prelude::{Error, ErrorType, HttpPeer, Result};
use pingora::proxy::Session;
use pingora::upstreams::peer::{ALPN, H1UpgradePolicy, PeerOptions};
use tokio::task::JoinSet;

use crate::config::{HealthCheck, Upstream};
use crate::policy::decision::Standing;
use crate::policy::exposure::Service;
use crate::policy::site::{BaseUrl, HttpScheme};
use crate::telemetry::metrics::{Metrics, UpstreamMetrics};

use address::{Address, InUse, choose, is_one_of};
pub(super) use failure::{
    busy, cause, failure, is_bad_frame, is_cut, is_downgrade, is_downstream, is_untouched, no_room,
};
use queue::{NoSlot, Queue, Room, Slot};
pub use services::Upstreams;
use tls::Tls;

/// How many addresses a request tries to connect to.
const MAX_ADDRESSES: usize = 3;
/// How often a request may be tried in all: at so many addresses, and once more where a kept
/// connection turned out to be dead.
pub const MAX_TRIES: usize = MAX_ADDRESSES + 1;

/// The addresses of an upstream, and room for requests to it.
#[derive(Debug)]
pub struct Pool {
    name: Box<str>,
    urls: Vec<BaseUrl>,
    options: PeerOptions,
    tls: Tls,
    timeout: Duration,
    takes_chunks: bool,
    health: Option<HealthCheck>,
    addresses: ArcSwap<Vec<Arc<Address>>>,
    turn: AtomicUsize,
    queue: Queue,
    metrics: UpstreamMetrics,
}

/// What a request has of a pool.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    slot: Option<Slot>,
    at: Option<InUse>,
    /// Addresses that could not be connected to.
    passed: Vec<Arc<Address>>,
    /// Whether it was sent a second time.
    resent: bool,
    /// Whether HTTP/2 won't do for it.
    http1: bool,
}

impl Pool {
    /// The upstream for a service.
    pub fn new(service: Service, upstream: &Upstream, metrics: &Metrics) -> Self {
        let name = service.as_str();
        let mut options = PeerOptions::new();
        options.connection_timeout = Some(upstream.connect_timeout);
        options.total_connection_timeout = Some(upstream.connect_timeout);
        options.idle_timeout = Some(upstream.idle_timeout);
        options.http_upstream_request_policy.h1_upgrade = H1UpgradePolicy::Deny;
        let tls = Tls::new(upstream, &mut options);
        let metrics = metrics.upstream(name, upstream.urls.iter().map(BaseUrl::authority));
        let room = Room {
            in_flight: upstream.max_in_flight,
            waiting: upstream.max_waiting,
            wait: upstream.max_wait,
            strangers: match service {
                // Sentry's own pages and API are for those who are known, ingestion is for anybody.
                Service::Web => 3,
                Service::Relay | Service::Assets => 4,
            },
        };
        let queue = Queue::new(room, metrics.in_flight.clone(), metrics.waiting.clone());
        let pool = Self {
            name: name.into(),
            urls: upstream.urls.clone(),
            options,
            tls,
            timeout: upstream.timeout,
            takes_chunks: upstream.takes_chunks,
            health: upstream.health.clone(),
            addresses: ArcSwap::default(),
            turn: AtomicUsize::new(0),
            queue,
            metrics,
        };
        for url in 0..pool.urls.len() {
            if let Some(at) = pool.literal(url) {
                pool.found(url, &[at]);
            }
        }
        pool
    }

    fn peer_at(&self, url: usize, at: SocketAddr) -> HttpPeer {
        let tls = self.urls[url].scheme() == HttpScheme::Https;
        let name = if tls { self.tls.server_name.as_deref().unwrap_or(self.host(url)) } else { "" };
        let mut peer = HttpPeer::new(at, tls, name.to_owned());
        peer.client_cert_key = self.tls.identity.clone();
        peer.group_key = self.tls.group;
        peer.options = self.options.clone();
        peer
    }

    /// Keeps names resolved and addresses checked, for as long as it is polled. Says when an address
    /// is known, more than once.
    pub async fn keep_up(self: Arc<Self>, known: impl Fn() + Send + Sync + 'static) {
        let known = Arc::new(known);
        let mut work = JoinSet::new();
        for url in 0..self.urls.len() {
            match self.literal(url) {
                Some(_) => known(),
                None => {
                    work.spawn(Arc::clone(&self).keep_resolved(url, Arc::clone(&known)));
                }
            }
        }
        match self.health.clone() {
            Some(check) => work.spawn(Arc::clone(&self).keep_checked(check)),
            None => work.spawn(Arc::clone(&self).keep_forgetting()),
        };
        while work.join_next().await.is_some() {}
    }

    fn stop_waiting(&self) {
        self.queue.stop();
    }

    /// Where this try of a request goes. The first one takes a slot, and waits for it if it must.
    ///
    /// # Errors
    /// When there is no slot, when the client has gone, and when no address is known.
    pub(super) async fn peer(
        &self,
        session: &mut Session,
        attempt: &mut Attempt,
        caller: Standing,
        timeout: Option<Duration>,
    ) -> Result<Box<HttpPeer>> {
        if attempt.slot.is_none() {
            attempt.slot = Some(match self.queue.slot(caller, gone(session)).await {
                Ok(slot) => slot,
                Err(NoSlot::Gone(error)) => return Err(error.into_down()),
                Err(NoSlot::Busy(busy)) => return Error::e_explain(no_room(busy), "no slot"),
            });
        }
        // This try is at no address yet.
        attempt.at = None;
        let all = self.addresses.load();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let Some(address) = choose(&all, turn, &attempt.passed) else {
            return Err(Error::explain(ErrorType::ConnectNoRoute, "no address").into_up());
        };
        attempt.at = Some(InUse::of(address));
        let mut peer = Box::new(address.peer.clone());
        let timeout = self.timeout(timeout);
        peer.options.read_timeout = Some(timeout);
        peer.options.write_timeout = Some(timeout);
        if attempt.resent {
            // On a connection of its own: others that were kept may be as dead as the first.
            let turn = u64::try_from(turn).unwrap_or_default();
            peer.group_key = self.tls.group.wrapping_add(turn).wrapping_add(1);
            peer.options.idle_timeout = Some(Duration::ZERO);
        }
        if attempt.http1 {
            peer.options.alpn = ALPN::H1;
        }
        Ok(peer)
    }

    /// How long one side may be silent, where a rule says `timeout` or nothing.
    pub(super) fn timeout(&self, timeout: Option<Duration>) -> Duration {
        timeout.unwrap_or(self.timeout)
    }

    /// Whether it reads chunked request bodies.
    pub(super) const fn takes_chunks(&self) -> bool {
        self.takes_chunks
    }

    /// Leaves out the address that this try could not connect to, and says whether there is another
    /// one to try: nothing was sent yet.
    pub(super) fn pass_over(&self, attempt: &mut Attempt, error: &Error) -> bool {
        if let Some(at) = attempt.at.take() {
            let address = at.address();
            if address.failed() {
                self.say_down(address, error);
                self.tell();
            }
            attempt.passed.push(Arc::clone(address));
        }
        let more = || self.addresses.load().iter().any(|one| !is_one_of(one, &attempt.passed));
        attempt.passed.len() < MAX_ADDRESSES && more()
    }

    fn say_down(&self, address: &Address, error: &Error) {
        let (upstream, address, cause) = (&*self.name, address.at, cause(error));
        let status = match error.etype() {
            ErrorType::HTTPStatus(status) => Some(*status),
            // Not our own list: whatever else pingora has says enough by its name.
            _ => None,
        };
        tracing::warn!(upstream, %address, %cause, status, "an address of the upstream's is left out");
    }

    /// Tells the metrics how many addresses are up.
    fn tell(&self) {
        let all = self.addresses.load();
        for url in 0..self.urls.len() {
            let of_url = all.iter().filter(|address| address.url == url);
            let (up, down): (Vec<_>, Vec<_>) = of_url.partition(|address| address.is_up());
            self.metrics.addresses(url, up.len(), down.len());
        }
    }
}

impl Attempt {
    /// Whether the request may be sent once more, given that nothing speaks against it but this;
    /// that is true once.
    pub(super) const fn may_resend(&mut self) -> bool {
        !std::mem::replace(&mut self.resent, true)
    }

    /// It is not for HTTP/2.
    pub(super) const fn needs_http1(&mut self) {
        self.http1 = true;
    }

    /// The request has ended.
    pub(super) fn end(&mut self) {
        (self.slot, self.at) = (None, None);
    }
}

/// Waits until the client has gone. While there is a body to come that can't be seen without reading
/// it, so such a client keeps its place.
async fn gone(session: &mut Session) -> Box<Error> {
    let client = session.as_downstream_mut();
    if client.is_body_done() {
        loop {
            if let Err(error) = client.read_body_or_idle(true).await {
                return error;
            }
        }
    }
    std::future::pending().await
}
