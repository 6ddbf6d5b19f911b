//! Composition: from a config to listeners, stores and background work, and to a clean end.
//!
//! **Invariant:** everything that can fail at start fails before the first request, with an error
//! that names it; pingora alone would live on without a listener.

mod accept;
mod alarm;
mod assembly;
mod callers;
mod connection;
mod crowd;
mod descriptors;
mod files;
mod handover;
mod limits;
mod listener;
mod manager;
mod observer;
mod place;
mod proxy_protocol;
mod reload;
mod seldom;
mod start;
mod stop;
mod stores;
mod tls;
mod told;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use pingora::apps::{HttpServerOptions, ServerApp};
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server as Pingora};
use prometheus::Registry;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::admin::Admin;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Listen};
use crate::policy::exposure::Exposures;
use crate::proxy::{InForce, KEEP_ALIVE, MAX_TRIES, Proxy, RequestIds};
use crate::readiness::Readiness;
use crate::reload::{Outcome, Reloads};
use crate::seats::{SeatLimits, Seats};
use crate::telemetry::errors;
use crate::telemetry::metrics::{Families, ListenMetrics, ReloadResult};
use crate::telemetry::unmatched::Unmatched;

use accept::{Entrances, Listening};
use alarm::Alarm;
use assembly::Ground;
use crowd::POLL;
use handover::{Inherited, Program, Sockets};
pub use listener::Listener;
pub use reload::Loaded;
use reload::{Origin, Reloader};
use start::{Start, announce, ready};
use stop::{Ending, Signals, Successor};

/// How long what goes on in the background may take to end.
const END: Duration = Duration::from_secs(6);

/// Connections to a service for operators.
const OPERATORS: SeatLimits = SeatLimits { total: 512, per_client: 256, exempt: Vec::new() };

/// Idle connections to the upstream that are kept, for each worker.
const UPSTREAM_POOL: usize = 128;

/// Where access lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessSink {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A gateway that is ready to run: its addresses are free, its stores are open.
pub struct Server {
    pingora: Pingora,
    background: Runtime,
    signals: Signals,
    alarm: Alarm,
    reloader: JoinHandle<()>,
    stop_reloader: watch::Sender<bool>,
    readiness: Arc<Readiness>,
    in_force: InForce,
    entrances: Entrances,
    addresses: Vec<SocketAddr>,
    admin: SocketAddr,
    successor: Option<Successor>,
    inherited: Option<Inherited>,
    listen_metrics: Arc<ListenMetrics>,
    /// The admin listener's.
    operators: Option<Entrances>,
}

impl Server {
    /// Takes the addresses, opens the stores and puts everything together. The config is read again
    /// when its files change, at SIGHUP and when an operator asks.
    ///
    /// # Errors
    /// What could not be taken, opened or started.
    pub fn build(loaded: Loaded, sink: AccessSink) -> anyhow::Result<Self> {
        // Before anything that takes its time: to the first process of a container, a signal that nobody
        // handles yet is nothing at all.
        let start = Start::now()?;
        let Loaded { config, files, path } = loaded;
        let program = Arc::new(Program::current().context("the gateway's own path is not told")?);
        let mut inherited = Inherited::receive()?;
        let mut open = |address| match inherited.as_mut().and_then(|own| own.take(address)) {
            Some(socket) => Listener::adopt(socket),
            None => Listener::open(address),
        };
        let listeners = config.listen.iter().map(|listen| open(listen.address));
        let listeners = listeners.collect::<anyhow::Result<Vec<_>>>()?;
        let operators = open(config.admin)?;
        let names = config.listen.iter().map(|listen| listen.address).chain([config.admin]);
        let sockets = names.zip(listeners.iter().chain([&operators]));
        let sockets = sockets.map(|(name, listener)| Ok((name, listener.again()?)));
        let sockets = sockets.collect::<io::Result<Sockets>>();
        let sockets = sockets.context("listening sockets can't be kept for a new process")?;
        let sockets = Mutex::new(Arc::new(sockets));
        let origin = Some(Origin { path, files });
        let mut server = Self::put_together(start, config, origin, listeners, operators, sink)?;
        server.successor = Some(Successor { program, sockets });
        server.inherited = inherited;
        Ok(server)
    }

    /// Puts everything together on these listeners, whatever addresses the config has.
    ///
    /// # Errors
    /// What could not be opened or started.
    pub fn build_on(
        config: Config,
        listeners: Vec<Listener>,
        operators: Listener,
        sink: AccessSink,
    ) -> anyhow::Result<Self> {
        Self::put_together(Start::now()?, config, None, listeners, operators, sink)
    }

    fn put_together(
        start: Start,
        config: Config,
        origin: Option<Origin>,
        listeners: Vec<Listener>,
        operators: Listener,
        sink: AccessSink,
    ) -> anyhow::Result<Self> {
        let Start { background, mut signals } = start;
        let alarm = Alarm::new();
        let registry = Registry::new();
        let families = Arc::new(Families::register(&registry)?);
        let addresses: Vec<_> = listeners.iter().map(Listener::address).collect();
        let admin_address = operators.address();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let threads = config.server.threads;
        descriptors::raise(config.server.seats.total);
        let seats = Seats::new(config.server.seats.clone());
        let (config_hash, notes) = (config.hash.clone(), config.notes.clone());
        let listen_clock = Arc::clone(&clock);
        let mut ground = Ground {
            clock,
            families,
            addresses: addresses.clone(),
            sink,
            access_log: None,
            audit_log: None,
        };
        let listen_metrics = Arc::clone(ground.families.listen());
        let metrics = Arc::clone(&listen_metrics);
        let entrances =
            Entrances::new(config.listen.clone(), Arc::clone(&seats), metrics, alarm.clone());
        entrances.tell(&config.upstreams.shown());
        let (current, awaited) = background.block_on(async {
            tokio::select! {
                assembled = ground.assemble(config, None) => assembled,
                () = signals.stopped() => anyhow::bail!("a signal ended it before it served"),
            }
        })?;
        current.tell(&ground);
        ground.audit_log = current.audit_log();
        if let Some(audit) = &current.serving.audit {
            audit.changed(&current.change("start", ground.clock.now()));
        }

        let readiness = Arc::new(Readiness::default());
        background.spawn(ready(awaited, Arc::clone(current.identities()), Arc::clone(&readiness)));
        let in_force: InForce = Arc::new(ArcSwap::new(Arc::clone(&current.serving)));
        let unmatched = Arc::new(Unmatched::default());
        let (reloads, asked) = Reloads::new();
        let reloads = Arc::new(reloads);
        let (result, problems) = (ReloadResult::Loaded, Vec::new());
        reloads.ended(Outcome { result, config_hash, problems, notes });
        let proxy = Proxy {
            in_force: Arc::clone(&in_force),
            ids: RequestIds::new(random()?),
            unmatched: Arc::clone(&unmatched),
            readiness: Arc::clone(&readiness),
            seats: Arc::clone(&seats),
        };
        let admin = Admin {
            readiness: Arc::clone(&readiness),
            registry,
            in_force: Arc::clone(&in_force),
            unmatched,
            reloads: origin.is_some().then(|| Arc::clone(&reloads)),
            strangers: Default::default(),
        };
        let (stop_reloader, stopped) = watch::channel(false);
        let reloader = Reloader {
            ground,
            current,
            in_force: Arc::clone(&in_force),
            entrances: entrances.clone(),
            seats,
            reloads,
            asked,
            alarm: alarm.clone(),
        };
        let reloader = reloader.start(origin, stopped, background.handle().clone())?;
        let mut pingora = pingora(threads);
        add_public(&mut pingora, proxy, listeners, entrances.clone(), listen_clock);
        let mut server = Self {
            pingora,
            background,
            signals,
            alarm,
            reloader,
            stop_reloader,
            readiness,
            in_force,
            entrances,
            addresses,
            admin: admin_address,
            successor: None,
            inherited: None,
            listen_metrics,
            operators: None,
        };
        server.operators = Some(server.add_small("admin", admin, operators));
        Ok(server)
    }

    /// Adds a service that runs on `listener` for as long as the gateway.
    pub fn add_service<A>(&mut self, name: &str, app: A, listener: Listener)
    where
        A: ServerApp + Send + Sync + 'static,
    {
        self.add_small(name, app, listener);
    }

    /// A service that one thread is enough for.
    fn add_small<A>(&mut self, name: &str, app: A, listener: Listener) -> Entrances
    where
        A: ServerApp + Send + Sync + 'static,
    {
        let (address, exposed) = (listener.address(), Exposures::NONE);
        let plain = Listen { address, exposed, tls: None, proxy_protocol: None };
        let metrics = Arc::clone(&self.listen_metrics);
        let seats = Seats::new(OPERATORS);
        let entrances = Entrances::new(vec![plain], seats, metrics, self.alarm.clone());
        self.pingora.add_service(Listening {
            name: name.to_owned(),
            app: Arc::new(app),
            listeners: vec![listener],
            entrances: entrances.clone(),
            threads: Some(1),
            readiness: None,
            clock: Arc::new(SystemClock),
        });
        entrances
    }

    /// Where clients are listened to.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where operators are listened to.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Serves until SIGTERM or SIGINT, then lets requests in flight end, for as long as the config
    /// says; a second signal cuts them off.
    ///
    /// # Errors
    /// When a part of it failed that it can't do without.
    pub fn run(self) -> anyhow::Result<()> {
        let (addresses, admin, version) = (self.addresses, self.admin, env!("CARGO_PKG_VERSION"));
        {
            let serving = self.in_force.load();
            let (config_hash, rules) =
                (&*serving.config_hash, serving.gateway.policy().rules.len());
            tracing::info!(version, ?addresses, %admin, config_hash, rules, "serving");
        }
        let announced = announce(Arc::clone(&self.readiness), self.inherited);
        self.background.spawn(announced);
        let ending = Ending {
            readiness: self.readiness,
            in_force: Arc::clone(&self.in_force),
            entrances: self.entrances,
            operators: self.operators,
            successor: self.successor,
            signals: tokio::sync::Mutex::new(self.signals),
            alarm: self.alarm.clone(),
        };
        self.pingora.run(RunArgs { shutdown_signal: Box::new(ending) });
        // What ran on pingora's runtimes has ended; what is left is ours.
        self.stop_reloader.send_replace(true);
        self.background.block_on(ended(&self.reloader));
        // Each may take its time, so they take it together.
        thread::scope(|scope| {
            scope.spawn(errors::finish);
            if let Some(spans) = &self.in_force.load().spans {
                spans.close();
            }
        });
        self.background.shutdown_background();
        tracing::info!("stopped");
        anyhow::ensure!(
            !self.alarm.has_rung(),
            "a part of the gateway has failed; the log says which"
        );
        Ok(())
    }
}

/// Waits until a thread has ended. One that waits for a file that can't be read is left behind, and one
/// that panicked has nothing more to end.
async fn ended(thread: &JoinHandle<()>) {
    let ended = async {
        while !thread.is_finished() {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(END, ended).await.unwrap_or_default();
}

fn random() -> anyhow::Result<u64> {
    getrandom::u64().context("the machine has no randomness")
}

fn pingora(threads: usize) -> Pingora {
    let conf = ServerConf {
        threads,
        work_stealing: false,
        upstream_keepalive_pool_size: UPSTREAM_POOL * threads,
        max_retries: MAX_TRIES,
        // Draining is done before pingora is told to end.
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let mut pingora = Pingora::new_with_opt_and_conf(None, conf);
    pingora.bootstrap();
    pingora
}

fn add_public(
    pingora: &mut Pingora,
    proxy: Proxy,
    listeners: Vec<Listener>,
    entrances: Entrances,
    clock: Arc<dyn Clock>,
) {
    let readiness = Some(Arc::clone(&proxy.readiness));
    let mut app = pingora::proxy::http_proxy(&pingora.configuration, proxy);
    let mut options = HttpServerOptions::default();
    options.h2_idle_timeout = Some(Duration::from_secs(KEEP_ALIVE));
    app.server_options = Some(options);
    let (name, app, threads) = ("public".to_owned(), Arc::new(app), None);
    pingora.add_service(Listening { name, app, listeners, entrances, threads, readiness, clock });
}
