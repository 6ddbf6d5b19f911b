//! Composition: from a config to listeners, stores and background work, and to a clean end.
//!
//! **Invariant:** everything that can fail at start fails before the first request, with an error
//! that names it; pingora alone would live on without a listener.

mod accept;
mod connection;
mod listener;
mod observer;
mod proxy_protocol;
mod seldom;
mod stop;
mod stores;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::HeaderValue;
use pingora::apps::{HttpServerOptions, ServerApp};
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server as Pingora};
use pingora::services::listening::Service;
use prometheus::Registry;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::admin::Admin;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Listen};
use crate::forward::Outbound;
use crate::gateway::Gateway;
use crate::proxy::{KEEP_ALIVE, Listeners, MAX_TRIES, Proxy, RequestIds, Upstreams};
use crate::readiness::Readiness;
use crate::spool::Spool;
use crate::store::Observer;
use crate::store::cache::{CacheSettings, Identities};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::unmatched::Unmatched;

use accept::{Entrances, Public};
use listener::Held;
pub use listener::Listener;

/// Idle connections to the upstream that are kept, for each worker.
const UPSTREAM_POOL: usize = 128;
/// How long background work may take to end.
const BACKGROUND_END: Duration = Duration::from_secs(5);

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
    tasks: Vec<tokio::task::JoinHandle<()>>,
    stop_tasks: watch::Sender<bool>,
    readiness: Arc<Readiness>,
    upstreams: Upstreams,
    entrances: Entrances,
    metrics: Arc<Metrics>,
    access_log: Option<Arc<AccessLog>>,
    addresses: Vec<SocketAddr>,
    admin: SocketAddr,
    config_hash: String,
    rules: usize,
    drain: Duration,
}

impl Server {
    /// Takes the addresses, opens the stores and puts everything together.
    ///
    /// # Errors
    /// What could not be taken, opened or started.
    pub fn build(config: Config, sink: AccessSink) -> anyhow::Result<Self> {
        let listeners = config.listen.iter().map(|listen| Listener::open(listen.address));
        let listeners = listeners.collect::<anyhow::Result<_>>()?;
        let operators = Listener::open(config.admin)?;
        Self::build_on(config, listeners, operators, sink)
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
        let background = background()?;
        let stores = background.block_on(stores::open(&config))?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let rules = config.policy.rules.len();
        let addresses = listeners.iter().map(Listener::address).collect();
        let admin_address = operators.address();

        let registry = Registry::new();
        let names: Vec<&str> = config.stores.iter().map(|store| store.name.as_str()).collect();
        let version = config.sentry_version.to_string();
        let info = [config.hash.as_str(), version.as_str()];
        let metrics = Metrics::register(&registry, &config.policy, &names, info, clock.now())?;
        let metrics = Arc::new(metrics);
        let observer: Arc<dyn Observer> =
            Arc::new(observer::MetricsObserver::new(Arc::clone(&metrics)));
        let identities = Identities::new(
            stores.consulted(&config),
            CacheSettings {
                ttl: config.cache.ttl,
                unknown_ttl: config.cache.unknown_ttl,
                stale_if_error: config.cache.stale_if_error,
                capacity: config.cache.capacity,
                ..CacheSettings::default()
            },
            Arc::clone(&clock),
            Arc::clone(&observer),
            background.handle().clone(),
        );
        let (stop_tasks, stopped) = watch::channel(false);
        let tasks = background.block_on(async {
            let tasks = stores.keep_up(&config, &identities, &clock, &observer, &stopped).await?;
            Ok::<_, anyhow::Error>(match config.cache.snapshot.clone() {
                Some(path) => {
                    stores::read_snapshot(&identities, &path).await;
                    let kept = Arc::clone(&identities).keep_snapshot(path, stopped);
                    tasks.into_iter().chain([background.spawn(kept)]).collect()
                }
                None => tasks,
            })
        })?;

        let access_log = config.log.access.then(|| start_access_log(sink, &config.hash, &metrics));
        let access_log = access_log.transpose()?;
        let readiness = Arc::new(Readiness::default());
        let rewriter = config.rewriter();
        let gateway =
            Arc::new(Gateway::new(config.policy, Arc::clone(&identities), Arc::clone(&clock)));
        let upstreams = Upstreams::new(&config.upstreams, &metrics);
        let unmatched = Arc::new(Unmatched::default());
        if config.upstreams.spool()
            && let Err(error) = config.spool.try_folder()
        {
            tracing::error!("{error}");
        }
        let proxy = Proxy {
            spool: Spool::new(config.spool),
            outbound: outbound(&gateway, config.credential)?,
            rewriter,
            gateway: Arc::clone(&gateway),
            listeners: exposed(&listeners, &config.listen)?,
            upstreams: upstreams.clone(),
            trusted_proxies: config.trusted_proxies,
            ids: RequestIds::new(random()?),
            metrics: Arc::clone(&metrics),
            access_log: access_log.clone(),
            unmatched: Arc::clone(&unmatched),
            readiness: Arc::clone(&readiness),
        };
        let admin = Admin {
            readiness: Arc::clone(&readiness),
            registry,
            metrics: Arc::clone(&metrics),
            gateway: Arc::clone(&gateway),
            unmatched,
            credential: config.admin_credential,
        };

        // These two end with their runtime.
        for upstream in upstreams.iter().map(Arc::clone) {
            let readiness = Arc::clone(&readiness);
            let web = Arc::ptr_eq(&upstream, &upstreams.web);
            let known = move || {
                if web {
                    readiness.upstream_known();
                }
            };
            background.spawn(upstream.keep_up(known));
        }
        background.spawn({
            let readiness = Arc::clone(&readiness);
            async move {
                stores.wait(&identities).await;
                readiness.stores_known();
            }
        });
        let mut pingora = pingora(config.server.threads);
        let entrances = Entrances::new(config.listen, Arc::clone(metrics.listen()));
        add_public(&mut pingora, proxy, listeners, entrances.clone(), clock);
        add_small(&mut pingora, "admin", admin, operators);
        Ok(Self {
            pingora,
            background,
            tasks,
            stop_tasks,
            readiness,
            upstreams,
            entrances,
            metrics,
            access_log,
            addresses,
            admin: admin_address,
            config_hash: config.hash,
            rules,
            drain: config.server.drain,
        })
    }

    /// Adds a service that runs on `listener` for as long as the gateway.
    pub fn add_service<A>(&mut self, name: &str, app: A, listener: Listener)
    where
        A: ServerApp + Send + Sync + 'static,
    {
        add_small(&mut self.pingora, name, app, listener);
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
    pub fn run(self) {
        let (addresses, admin, version) = (self.addresses, self.admin, env!("CARGO_PKG_VERSION"));
        let (config_hash, rules) = (self.config_hash, self.rules);
        tracing::info!(version, ?addresses, %admin, config_hash, rules, "serving");
        let signal = stop::Signal {
            readiness: self.readiness,
            upstreams: self.upstreams,
            entrances: self.entrances,
            metrics: Arc::clone(&self.metrics),
            drain: self.drain,
        };
        self.pingora.run(RunArgs { shutdown_signal: Box::new(signal) });
        // What ran on pingora's runtimes has ended; what is left is ours.
        self.stop_tasks.send_replace(true);
        self.background.block_on(async {
            let ended = async {
                for task in self.tasks {
                    task.await.unwrap_or_default();
                }
            };
            tokio::time::timeout(BACKGROUND_END, ended).await.unwrap_or_default();
        });
        self.background.shutdown_background();
        if let Some(log) = self.access_log {
            log.close();
        }
        tracing::info!("stopped");
    }
}

/// What each listener lets in, by the address that it was given.
fn exposed(listeners: &[Listener], config: &[Listen]) -> anyhow::Result<Listeners> {
    anyhow::ensure!(listeners.len() == config.len(), "not every listener is configured");
    let own = listeners.iter().map(Listener::address).zip(config.iter().map(|own| own.exposed));
    Ok(Listeners::new(own.collect()))
}

fn background() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("background")
        .enable_all()
        .build()
        .context("the background runtime can't be started")
}

fn start_access_log(sink: AccessSink, hash: &str, metrics: &Metrics) -> io::Result<Arc<AccessLog>> {
    let dropped = metrics.access_log_dropped().clone();
    let log = match sink {
        AccessSink::Stdout => AccessLog::start(io::stdout(), hash, dropped),
        AccessSink::Stderr => AccessLog::start(io::stderr(), hash, dropped),
    };
    log.map(Arc::new)
}

fn outbound(gateway: &Gateway, credential: Option<HeaderValue>) -> anyhow::Result<Outbound> {
    let public = gateway.policy().site.public();
    let host = HeaderValue::try_from(public.authority()).context("`public_url` is not a host")?;
    let proto = HeaderValue::from_static(public.scheme().as_str());
    Ok(Outbound { host, proto, credential })
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
    let readiness = Arc::clone(&proxy.readiness);
    let mut app = pingora::proxy::http_proxy(&pingora.configuration, proxy);
    let mut options = HttpServerOptions::default();
    options.h2_idle_timeout = Some(Duration::from_secs(KEEP_ALIVE));
    app.server_options = Some(options);
    pingora.add_service(Public::new(app, listeners, entrances, readiness, clock));
}

/// A service that one thread is enough for.
fn add_small<A>(pingora: &mut Pingora, name: &str, app: A, listener: Listener)
where
    A: ServerApp + Send + Sync + 'static,
{
    let mut service = Service::new(name.to_owned(), app);
    service.threads = Some(1);
    service.add_tcp(&listener.address().to_string());
    pingora.add_service(Held { service, listener: Some(listener) });
}
