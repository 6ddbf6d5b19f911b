//! From a config to what requests are served by. What is as it was before is taken over: the stores
//! and what is remembered of them, what is known of Sentry's names, and each upstream with the
//! requests that are at it.
//!
//! **Invariant:** nothing of what is in force changes before everything that can fail has worked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::AccessSink;
use super::callers::Callers;
use super::limits::Shared;
use super::stores::Stores;
use crate::assertion::Assertion;
use crate::budget::Budget;
use crate::clock::{Clock, Timestamp};
use crate::config::{self, Cache, Config, Listen, Problem, SentryVersion, Store};
use crate::directory::SentryDirectory;
use crate::forward::Outbound;
use crate::gateway::Gateway;
use crate::limit::table::Limits;
use crate::policy::exposure::Service;
use crate::proxy::{Listeners, Pool, Serving, Upstreams};
use crate::spool::Spool;
use crate::store::cache::Identities;
use crate::stores::{asked, sentry_directory, told};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::audit::{AuditLog, SettingsChange};
use crate::telemetry::errors::{self, Errors};
use crate::telemetry::metrics::Families;

/// How long a new config waits for the names of its upstreams, and for its stores.
const WAIT: Duration = Duration::from_secs(10);

/// What answers that are held to be rewritten may take in memory, in bytes.
const HELD_ANSWERS: u64 = 64 << 20;

/// What lasts as long as the process.
pub(super) struct Ground {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) families: Arc<Families>,
    /// Where clients are listened to, in the order of the config.
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) sink: AccessSink,
    /// Once there is one it stays, since its lines are in order.
    pub(super) access_log: Option<Arc<AccessLog>>,
    /// The same, for as long as it goes to the same place.
    pub(super) audit_log: Option<Arc<AuditLog>>,
}

/// A config at work.
pub(super) struct Assembly {
    pub(super) serving: Arc<Serving>,
    fixed: Fixed,
    sentry_version: SentryVersion,
    callers: Arc<Callers>,
    stores: Vec<Store>,
    cache: Cache,
    upstreams: config::Upstreams,
    kept_up: Vec<Kept>,
    /// Who knows what names stand for.
    directory: Option<Arc<SentryDirectory>>,
    redis: Option<Shared>,
    errors: Option<Arc<Errors>>,
}

/// A pool, kept up for as long as this is there.
#[derive(Clone)]
struct Kept {
    pool: Arc<Pool>,
    _running: Arc<Running>,
}

struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What can't change while the process runs.
#[derive(Debug, PartialEq, Eq)]
struct Fixed {
    /// Addresses, and whether TLS is spoken there.
    listen: Vec<(SocketAddr, bool)>,
    admin: SocketAddr,
    threads: usize,
}

impl Fixed {
    fn of(config: &Config) -> Self {
        let listen = config.listen.iter().map(|own| (own.address, own.tls.is_some())).collect();
        Self { listen, admin: config.admin, threads: config.server.threads }
    }

    /// What `new` would change.
    fn problems(&self, new: &Self) -> Vec<Problem> {
        let addresses =
            |fixed: &Self| -> Vec<_> { fixed.listen.iter().map(|(address, _)| *address).collect() };
        let moved = addresses(self) != addresses(new);
        let changed = [
            ("listen".to_owned(), moved),
            ("admin.address".to_owned(), self.admin != new.admin),
            ("server.threads".to_owned(), self.threads != new.threads),
        ];
        let both = self.listen.iter().zip(&new.listen).enumerate();
        let spoken = both
            .map(|(index, (own, new))| (format!("listen[{index}].tls"), !moved && own.1 != new.1));
        let changed = changed.into_iter().chain(spoken).filter(|(_, changed)| *changed);
        let what = "is changed, which a gateway that runs can't take up";
        let help = "restart the gateway, or take the change back";
        changed.map(|(at, _)| Problem::new(at, what, help)).collect()
    }
}

/// What a config that was just assembled is still waited for.
pub(super) struct Awaited {
    /// The stores that can't be asked yet; `None` when they were taken over.
    pub(super) stores: Option<Stores>,
    /// Of each upstream that was not, what turns true when an address of it is known.
    pub(super) upstreams: Vec<(Service, watch::Receiver<bool>)>,
}

impl Ground {
    /// Puts a config to work, on what of it is at work already. Must be called in the runtime of
    /// background work.
    ///
    /// # Errors
    /// What could not be opened or started.
    pub(super) async fn assemble(
        &mut self,
        mut config: Config,
        before: Option<&Assembly>,
    ) -> anyhow::Result<(Assembly, Awaited)> {
        let errors = before.and_then(|before| before.errors.as_ref());
        let errors = self.errors(config.errors.take(), errors)?;
        if before.is_none() {
            // What the start meets is reported already.
            errors::report_to(errors.clone());
        }
        let fixed = Fixed::of(&config);
        let names: Vec<&str> = config.stores.iter().map(|store| store.name.as_str()).collect();
        let limits: Vec<&str> = config.limits.iter().map(|limit| &*limit.name).collect();
        let metrics = Arc::new(self.families.of(&config.policy, &names, &limits));
        let same =
            before.filter(|before| before.stores == config.stores && before.cache == config.cache);
        let (callers, stores) = match same {
            Some(before) => (Arc::clone(&before.callers), None),
            None => {
                let (callers, stores) = Callers::open(&config, &self.clock, &metrics).await?;
                (Arc::new(callers), Some(stores))
            }
        };
        if config.log.access && self.access_log.is_none() {
            self.access_log = Some(self.start_access_log()?);
        }
        let audit = match &config.audit {
            Some(settings) => Some(self.audit(settings.clone(), config.privacy)?),
            None => None,
        };
        if let Err(error) = config.spool.try_folder() {
            tracing::error!("{error}");
        }
        let rewriter = config.rewriter();
        let directory = before.and_then(|before| before.directory.as_ref());
        let directory = sentry_directory(&config, directory)?;
        let spans = before.and_then(|before| before.serving.spans.as_ref());
        let spans = self.spans(config.traces, spans)?;
        let pools = before.map(|before| (&before.upstreams, &before.serving.upstreams));
        let upstreams = Upstreams::new(&config.upstreams, pools, &metrics);
        let (kept_up, awaited) = keep_up(&upstreams, before);
        let own = config.profile_credentials.into_iter().map(Some);
        let credentials = std::iter::once(config.credential).chain(own).collect();
        let (host, proto) = told(config.policy.site.public())?;
        let outbound = Outbound { host, proto, credentials };
        let assertion = before.and_then(|before| before.serving.assertion.as_ref());
        let assertion =
            config.assertion.map(|own| Assertion::new(own, assertion, self.clock.now()));
        let assertion = assertion.transpose().context("assertions can't be signed")?;
        let spool = before.map(|before| &before.serving.spool);
        let spool = spool.filter(|spool| *spool.settings() == config.spool).map(Arc::clone);
        let (identities, clock) = (Arc::clone(&callers.identities), Arc::clone(&self.clock));
        let limits = before.map(|before| before.serving.gateway.limits());
        let limits = Limits::new(config.limits, &config.policy.rules, limits, self.clock.instant());
        let redis = before.and_then(|before| before.redis.as_ref());
        let redis = config.redis.map(|own| Shared::new(own, redis, &self.families, &self.clock));
        let redis = redis.transpose()?;
        let shared = redis.as_ref().map(|redis| Arc::clone(&redis.counts) as _);
        let gateway = Gateway::new(config.policy, identities, clock, asked(directory.as_ref()))
            .limited(limits, shared);
        let serving = Serving {
            config_hash: config.hash.into(),
            gateway: Arc::new(gateway),
            listeners: exposed(&self.addresses, &config.listen)?,
            upstreams,
            outbound,
            identity_headers: config.identity_headers,
            assertion,
            rewriter,
            trusted_proxies: config.trusted_proxies,
            spool: spool.unwrap_or_else(|| Arc::new(Spool::new(config.spool))),
            held: before.map_or_else(
                || Arc::new(Budget::new(HELD_ANSWERS)),
                |before| Arc::clone(&before.serving.held),
            ),
            metrics,
            access_log: self.access_log.clone().filter(|_| config.log.access),
            audit: audit.map(Arc::new),
            privacy: config.privacy,
            spans,
            admin_credential: config.admin_credential,
            own_stores: callers.own.iter().map(Arc::clone).collect(),
            admin_names: config.admin_names,
            stop_delay: config.server.stop_delay,
            drain: config.server.drain,
        };
        let assembly = Assembly {
            serving: Arc::new(serving),
            fixed,
            sentry_version: config.sentry_version,
            callers,
            stores: config.stores,
            cache: config.cache,
            upstreams: config.upstreams,
            kept_up,
            directory,
            redis,
            errors,
        };
        Ok((assembly, Awaited { stores, upstreams: awaited }))
    }
}

impl Awaited {
    /// Waits for everything, within some seconds.
    ///
    /// # Errors
    /// What was waited for in vain.
    pub(super) async fn all(self, assembly: &Assembly) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        for (service, mut known) in self.upstreams {
            // The sender lives as long as the pool is kept up.
            if !matches!(timeout(WAIT, known.wait_for(|known| *known)).await, Ok(Ok(_))) {
                let at = format!("upstream.{service}.urls");
                let what = "names no host that can be resolved";
                problems.push(Problem::new(at, what, "correct it, or mend the name service"));
            }
        }
        if let Some(stores) = self.stores
            && timeout(WAIT, stores.wait(&assembly.callers.identities)).await.is_err()
        {
            let help = "the log says why; mend the store, and load the config again";
            problems.push(Problem::new("store", "has one that can't be asked", help));
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

impl Assembly {
    /// Who is known.
    pub(super) fn identities(&self) -> &Arc<Identities> {
        &self.callers.identities
    }

    /// What it would change that can't be changed.
    pub(super) fn unchangeable(&self, config: &Config) -> Vec<Problem> {
        self.fixed.problems(&Fixed::of(config))
    }

    /// Where its audit goes.
    pub(super) fn audit_log(&self) -> Option<Arc<AuditLog>> {
        self.serving.audit.as_ref().map(|audit| Arc::clone(&audit.log))
    }

    /// Its settings, as they are recorded.
    pub(super) fn change(&self, action: &'static str, at: Timestamp) -> SettingsChange<'_> {
        let observe_until = self.serving.gateway.policy().observing(at);
        let config_hash = &*self.serving.config_hash;
        SettingsChange {
            at,
            action,
            because: None,
            result: None,
            problems: 0,
            config_hash,
            observe_until,
        }
    }

    /// The metrics say that it is in force, and errors are reported as it wants.
    pub(super) fn tell(&self, ground: &Ground) {
        let (families, serving) = (&ground.families, &self.serving);
        let version = self.sentry_version.to_string();
        families.config_loaded(&serving.config_hash, &version, ground.clock.now());
        families.rules(serving.gateway.policy().rules.len());
        for (service, upstream) in self.upstreams.iter() {
            let (in_flight, waiting) = (upstream.max_in_flight, upstream.max_waiting);
            families.upstream_limited(service.as_str(), in_flight, waiting);
        }
        if let Some(assertion) = &serving.assertion {
            assertion.activate(ground.clock.now());
        }
        errors::report_to(self.errors.clone());
    }

    /// Ends what `next`, which took its place or was to, did not take over.
    pub(super) async fn retire(self, next: &Self, ground: &Ground) {
        let names: Vec<_> = self.stores.iter().map(|store| store.name.clone()).collect();
        next.close_other_stores(&names, ground);
        let kept = next.serving.gateway.limits();
        for limit in self.serving.gateway.limits().iter() {
            if !kept.iter().any(|kept| kept.name == limit.name) {
                ground.families.limit_closed(&limit.name);
            }
        }
        let server =
            |assembly: &Self| assembly.redis.as_ref().map(|redis| redis.counts.settings().server());
        if let Some(own) = server(&self).filter(|own| server(next).as_ref() != Some(own)) {
            ground.families.redis_closed(&own);
        }
        for (service, upstream) in self.upstreams.iter() {
            let next = next.upstreams.iter().find(|(other, _)| *other == service);
            for url in &upstream.urls {
                if !next.is_some_and(|(_, next)| next.urls.contains(url)) {
                    ground.families.url_left(service.as_str(), url.authority());
                }
            }
        }
        // Of those that were taken over there is another holder.
        if let Some(callers) = Arc::into_inner(self.callers) {
            callers.close().await;
        }
    }

    /// The metrics forget those of `stores` that it has not.
    pub(super) fn close_other_stores(&self, stores: &[String], ground: &Ground) {
        let is_own = |name: &String| self.stores.iter().any(|store| store.name == *name);
        for name in stores.iter().filter(|name| !is_own(name)) {
            ground.families.store_closed(name);
        }
    }

    /// Ends all of it.
    pub(super) async fn close(self) {
        if let Some(callers) = Arc::into_inner(self.callers) {
            callers.close().await;
        }
    }
}

/// Keeps each pool up, unless it is already.
fn keep_up(
    upstreams: &Upstreams,
    before: Option<&Assembly>,
) -> (Vec<Kept>, Vec<(Service, watch::Receiver<bool>)>) {
    let (mut kept_up, mut awaited) = (Vec::new(), Vec::new());
    for (service, pool) in upstreams.iter() {
        let mut before = before.into_iter().flat_map(|before| &before.kept_up);
        let kept = before.find(|kept| Arc::ptr_eq(&kept.pool, pool)).cloned();
        kept_up.push(kept.unwrap_or_else(|| {
            let (known, is_known) = watch::channel(false);
            awaited.push((service, is_known));
            let keep_up = Arc::clone(pool).keep_up(move || {
                known.send_replace(true);
            });
            let _running = Arc::new(Running(Handle::current().spawn(keep_up)));
            Kept { pool: Arc::clone(pool), _running }
        }));
    }
    (kept_up, awaited)
}

/// What each listener lets in, by the address that it was given.
fn exposed(addresses: &[SocketAddr], config: &[Listen]) -> anyhow::Result<Listeners> {
    anyhow::ensure!(addresses.len() == config.len(), "not every listener is configured");
    let own = addresses.iter().copied().zip(config.iter().map(|own| own.exposed));
    Ok(Listeners::new(own.collect()))
}
