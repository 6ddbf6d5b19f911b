//! Listeners: connections are accepted here and handed to pingora's app.
//!
//! **Invariants:** nothing ends the loop but the end of the gateway, and nothing makes it spin. What a
//! client sends is not logged.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::{ServiceReadyNotifier, ServiceWithDependents};
use pingora_runtime::current_handle;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::alarm::Alarm;
use super::connection::{Connection, Ends, buffered};
use super::crowd::{Crowd, Left, One};
use super::listener::{BACKLOG, Listener};
use super::seldom::Seldom;
use super::{proxy_protocol, tls};
use crate::clock::Clock;
use crate::config::Listen;
use crate::readiness::Readiness;
use crate::seats::{Seat, Seats};
use crate::server_tls::Shown;
use crate::telemetry::metrics::{ConnectionLimit, ListenMetrics, ProxyFailure};

/// How long a loop waits that can't accept, since trying at once would fail again.
const PAUSE: Duration = Duration::from_millis(100);

/// Reaches listeners while they run.
#[derive(Clone, Debug)]
pub(super) struct Entrances {
    own: Arc<[ArcSwap<Settings>]>,
    metrics: Arc<ListenMetrics>,
    crowd: Arc<Crowd>,
    seats: Arc<Seats>,
    alarm: Alarm,
    /// Nobody new is accepted.
    ending: watch::Sender<bool>,
    /// Who is there is told to go.
    leaving: watch::Sender<bool>,
    closed: watch::Sender<bool>,
}

/// What a new connection of a listener is served by.
#[derive(Debug)]
struct Settings {
    listen: Listen,
    /// Whether the certificates of its clients still count, also on connections that there are.
    believed: Arc<AtomicBool>,
}

impl Settings {
    fn new(listen: Listen) -> Self {
        Self { listen, believed: Arc::new(AtomicBool::new(true)) }
    }

    /// What takes their place.
    fn followed_by(&self, listen: Listen) -> Self {
        let own = |listen: &Listen| listen.tls.as_ref().map(|tls| tls.authorities().cloned());
        if own(&self.listen) == own(&listen) {
            return Self { listen, believed: Arc::clone(&self.believed) };
        }
        self.believed.store(false, Ordering::Release);
        Self::new(listen)
    }
}

impl Entrances {
    pub(super) fn new(
        listen: Vec<Listen>,
        seats: Arc<Seats>,
        metrics: Arc<ListenMetrics>,
        alarm: Alarm,
    ) -> Self {
        let own = listen.into_iter().map(Settings::new).map(ArcSwap::from_pointee).collect();
        let told = || watch::Sender::new(false);
        let (ending, leaving, closed) = (told(), told(), told());
        Self { own, metrics, crowd: Arc::default(), seats, alarm, ending, leaving, closed }
    }

    /// From now on each listener serves new connections by these settings, in the order of the config;
    /// their addresses stay. Connections that there are go on as they began, but for who is believed:
    /// where that changes, a certificate of a client counts no longer. To upstreams `others` are shown.
    pub(super) fn replace(&self, listen: Vec<Listen>, others: &[Shown]) {
        for (own, new) in self.own.iter().zip(listen) {
            let next = own.load().followed_by(new);
            own.store(Arc::new(next));
        }
        self.tell(others);
    }

    /// The metrics say which certificates are shown, `others` among them.
    pub(super) fn tell(&self, others: &[Shown]) {
        let own: Vec<_> = self.own.iter().map(ArcSwap::load_full).collect();
        let tls = own.iter().filter_map(|own| own.listen.tls.as_ref());
        let shown = tls.flat_map(|tls| tls.shown()).chain(others);
        let shown = shown.map(|shown| (shown.path.as_str(), shown.not_after));
        self.metrics.certificates(shown);
    }

    /// Accepts nothing more, waits for the first request of those who were accepted, has connections end
    /// with the request that is on them, and ends those that are idle. Returns when that is done;
    /// requests in flight go on.
    pub(super) async fn close(&self) {
        self.ending.send_replace(true);
        // It fails when its sender is gone, which is here.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// Accepts nothing more, and waits for nobody.
    pub(super) fn end(&self) {
        self.ending.send_replace(true);
    }

    /// Who is left after that.
    pub(super) fn left(&self) -> Left {
        self.crowd.left()
    }
}

/// The service of pingora's that runs them.
pub(super) struct Listening<A> {
    pub(super) name: String,
    pub(super) app: Arc<A>,
    /// As many as the entrances are made for.
    pub(super) listeners: Vec<Listener>,
    pub(super) entrances: Entrances,
    /// How many threads are enough, where it is not as many as the config says.
    pub(super) threads: Option<usize>,
    /// Is told when clients are listened to.
    pub(super) readiness: Option<Arc<Readiness>>,
    pub(super) clock: Arc<dyn Clock>,
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> ServiceWithDependents for Listening<A> {
    async fn start_service(
        &mut self,
        _: Option<ListenFds>,
        mut shutdown: ShutdownWatch,
        _: usize,
        ready: ServiceReadyNotifier,
    ) {
        let mut loops = JoinSet::new();
        for (index, listener) in self.listeners.drain(..).enumerate() {
            let entrance = Entrance {
                app: Arc::clone(&self.app),
                entrances: self.entrances.clone(),
                index,
                address: listener.address(),
                failures: Seldom::new(Arc::clone(&self.clock)),
                full: Seldom::new(Arc::clone(&self.clock)),
                greedy: Seldom::new(Arc::clone(&self.clock)),
                proxied: Seldom::new(Arc::clone(&self.clock)),
            };
            loops.spawn_on(Arc::new(entrance).run(listener), &current_handle());
        }
        if let Some(readiness) = &self.readiness {
            readiness.serving();
        }
        ready.notify_ready();
        let mut ended = pin!(async { while loops.join_next().await.is_some() {} });
        // Pingora may be told to end, and nobody has closed before.
        let told = async { drop(shutdown.wait_for(|stop| *stop).await) };
        let open = tokio::select! {
            () = &mut ended => false,
            () = told => true,
        };
        if open {
            self.entrances.ending.send_replace(true);
            ended.await;
        }
        let Entrances { crowd, leaving, closed, .. } = &self.entrances;
        // Pingora ends every connection of HTTP/1.1 on which it waits for a request.
        crowd.heard().await;
        crowd.leave();
        leaving.send_replace(true);
        self.app.cleanup().await;
        closed.send_replace(true);
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn threads(&self) -> Option<usize> {
        self.threads
    }
}

/// One of them, and its loop.
struct Entrance<A> {
    app: Arc<A>,
    entrances: Entrances,
    index: usize,
    address: SocketAddr,
    failures: Seldom,
    full: Seldom,
    greedy: Seldom,
    proxied: Seldom,
}

impl<A: ServerApp + Send + Sync + 'static> Entrance<A> {
    async fn run(self: Arc<Self>, listener: Listener) {
        let mut ending = self.entrances.ending.subscribe();
        // Never waited on itself, so that each copy is told of the end, however late it is made.
        let told = self.entrances.leaving.subscribe();
        let socket = match listener.listen() {
            Ok(socket) => socket,
            Err(error) => {
                let address = self.address;
                tracing::error!(%address, %error, "nobody is listened to, so the gateway ends");
                return self.entrances.alarm.ring();
            }
        };
        loop {
            if !self.entrances.seats.has_room() {
                self.is_full();
            }
            let accepted = async {
                self.entrances.seats.room().await;
                socket.accept().await
            };
            let accepted = tokio::select! {
                biased;
                _ = ending.wait_for(|ending| *ending) => break,
                accepted = accepted => accepted,
            };
            match accepted {
                Ok((client, peer)) => self.take(client, peer, &told),
                Err(error) if self.is_of_one_connection(&error) => {}
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
        // Who has connected is served: a socket that is closed over them would reset them.
        let Ok(socket) = socket.into_std() else { return };
        for _ in 0..BACKLOG {
            let Ok((client, peer)) = socket.accept() else { break };
            if client.set_nonblocking(true).is_ok()
                && let Ok(client) = TcpStream::from_std(client)
            {
                self.take(client, peer, &told);
            }
            tokio::task::consume_budget().await;
        }
    }

    /// Counts an error and says whether it was of a connection that had ended before it was accepted.
    /// Any other would come again at once.
    fn is_of_one_connection(&self, error: &io::Error) -> bool {
        self.entrances.metrics.accept_failed();
        if matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::Interrupted
        ) {
            return true;
        }
        if self.failures.is_due() {
            let address = self.address;
            let help = "raise the limit of open files (`LimitNOFILE`, `ulimit -n`)";
            let help =
                if matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) { help } else { "" };
            tracing::error!(%address, %error, help, "connections can't be accepted; it is tried again");
        }
        false
    }

    /// Serves a connection in a task of its own, on one of pingora's threads.
    fn take(self: &Arc<Self>, client: TcpStream, peer: SocketAddr, told: &ShutdownWatch) {
        let (entrance, told) = (Arc::clone(self), told.clone());
        let shaking = self.entrances.crowd.shaking();
        let (seat, open) = (self.entrances.seats.take(), self.entrances.metrics.open());
        current_handle().spawn(async move {
            entrance.serve(client, peer, told, shaking, seat).await;
            drop(open);
        });
    }

    async fn serve(
        &self,
        client: TcpStream,
        peer: SocketAddr,
        told: ShutdownWatch,
        shaking: One,
        mut seat: Seat,
    ) {
        // One that has ended already is met by the first read.
        client.set_nodelay(true).unwrap_or_default();
        let local = match self.address.ip().is_unspecified() {
            true => client.local_addr().ok(),
            false => Some(self.address),
        };
        let mut socket = buffered(client);
        let Some(settings) = self.settings() else { return };
        let mut ends = Ends { peer, local };
        if let Some(networks) = &settings.listen.proxy_protocol {
            match proxy_protocol::source(&mut socket, peer.ip(), networks).await {
                Ok(source) => ends.peer = source.unwrap_or(peer),
                Err(failure) => return self.proxy_failed(peer, failure),
            }
        }
        if !seat.is_granted_to(ends.peer.ip()) {
            return self.is_greedy(ends.peer.ip());
        }
        let tls = settings.listen.tls.as_ref().map(|tls| Arc::clone(tls.config()));
        let believed = Arc::clone(&settings.believed);
        drop(settings);
        let stream: Stream = match tls {
            None => Box::new(Connection::plain(socket, ends, &self.entrances.crowd)),
            Some(config) => match Box::pin(tls::handshake(socket, config)).await {
                Ok((stream, read)) => {
                    let client = tls::client(&stream, believed);
                    Box::new(Connection::tls(stream, ends, read, client, &self.entrances.crowd))
                }
                Err(failure) => {
                    self.entrances.metrics.handshake_failed(failure);
                    let reason = failure.as_str();
                    return tracing::debug!(%peer, reason, "a TLS handshake failed");
                }
            },
        };
        // From here on it counts as one of those that wait for a request.
        drop(shaking);
        let mut next = self.app.process_new(stream, &told).await;
        while let Some(stream) = next {
            next = self.app.process_new(stream, &told).await;
        }
    }

    fn is_full(&self) {
        self.entrances.metrics.limited(ConnectionLimit::Total);
        if self.full.is_due() {
            let address = self.address;
            let help = "find who holds them (`ss -tn`), or raise `server.max_connections`";
            tracing::warn!(%address, help, "there are as many connections as there may be, so new ones wait");
        }
    }

    fn is_greedy(&self, client: IpAddr) {
        self.entrances.metrics.limited(ConnectionLimit::Client);
        if self.greedy.is_due() {
            let address = self.address;
            let help = "a proxy that calls for many belongs into `trusted_proxies`; or raise `server.max_connections_per_client`";
            tracing::warn!(%address, %client, help, "a client has as many connections as it may, so one more was closed; others like it are only counted for a while");
        }
    }

    fn proxy_failed(&self, peer: SocketAddr, failure: ProxyFailure) {
        self.entrances.metrics.proxy_failed(failure);
        if self.proxied.is_due() {
            let (address, reason) = (self.address, failure.as_str());
            let help = "compare `proxy_protocol` of the listener with what the load balancer sends";
            tracing::warn!(%address, %peer, reason, help, "a connection without a PROXY header that counts was closed; others like it are only counted for a while");
        }
    }

    fn settings(&self) -> Option<Arc<Settings>> {
        self.entrances.own.get(self.index).map(ArcSwap::load_full)
    }
}

/// No file descriptor is left to the process, or to the machine (`errno` of Linux, and of the others).
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;

#[cfg(test)]
mod tests;
