//! Token stores, opened, and the work that keeps up with them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::clock::Clock;
use crate::config::{Config, Own, ServerOrigin, Store, StoreKind, StoreServer};
use crate::store::cache::{Consulted, Identities};
use crate::store::portcullis::watch::Watch;
use crate::store::portcullis::{IfMissing, PortcullisStore};
use crate::store::sentry::watch::SentryWatch;
use crate::store::{Chain, Observer, TokenStore};
use crate::stores::{Opened, locate};

/// How often a store that can't be asked yet is tried.
const RETRY: Duration = Duration::from_secs(1);

/// How often a start tries to read a block list: a machine that starts is busy.
const LOADS: usize = 3;

/// Token stores in the order in which they are asked.
pub(super) struct Stores {
    all: Vec<Opened>,
    /// Those that could not be asked yet, and their places.
    awaited: Vec<(usize, Arc<dyn TokenStore>)>,
    observer: Arc<dyn Observer>,
}

/// Opens what the config names.
pub(super) async fn open(config: &Config, observer: &Arc<dyn Observer>) -> anyhow::Result<Stores> {
    let observer = Arc::clone(observer);
    let mut stores = Stores { all: Vec::new(), awaited: Vec::new(), observer };
    for (index, store) in config.stores.iter().enumerate() {
        let name = store.name.as_str();
        let what = || format!("the store `{name}` can't be opened");
        let new = file(&store.kind).filter(|path| !path.exists());
        let opened = Opened::open(store, IfMissing::Create).await.with_context(what)?;
        if let Some(path) = new.map(|path| path.display()) {
            tracing::warn!(store = name, %path, "a new token store, without a token, was created");
        }
        let required = server(&store.kind).is_none_or(|server| server.required_at_start);
        let asked = opened.store();
        match asked.prepare().await {
            Err(_) if !required => stores.awaited.push((index, asked)),
            prepared => prepared.map_err(|error| anyhow::anyhow!(error)).with_context(what)?,
        }
        stores.all.push(opened);
    }
    for (index, (opened, store)) in stores.all.iter().zip(&config.stores).enumerate() {
        // Until it fails, what can be asked answers; and what has somebody listen tells when that does.
        let is_heard = match opened {
            Opened::Sentry(_) => listen(store).is_some(),
            // Nor is an issuer of use before its keys were read.
            Opened::Jwt(_) => true,
            Opened::Portcullis(_) | Opened::Introspection(_) | Opened::File(_) => false,
        };
        stores.observer.answers(index, !stores.awaits(index));
        stores.observer.watched(index, !is_heard);
    }
    Ok(stores)
}

/// Takes up a snapshot; without one the gateway starts all the same.
pub(super) async fn read_snapshot(identities: &Identities, path: &Path) {
    match identities.read_snapshot(path).await {
        Ok(0) => {}
        Ok(identities) => {
            tracing::info!(identities, "a snapshot stands in for stores that can't be asked");
        }
        Err(error) => {
            let error = Chain(&error).to_string();
            tracing::error!(error, "the snapshot of identities is not used");
        }
    }
}

/// The file of a store of the gateway's own.
fn file(kind: &StoreKind) -> Option<&Path> {
    match kind {
        StoreKind::Portcullis(Own::Sqlite(location)) => Some(location.path()),
        StoreKind::Portcullis(Own::Postgres(_))
        | StoreKind::Sentry(_)
        | StoreKind::Introspection(_)
        | StoreKind::File(_)
        | StoreKind::Jwt(_) => None,
    }
}

/// The database that a store is in.
fn server(kind: &StoreKind) -> Option<&StoreServer> {
    match kind {
        StoreKind::Portcullis(Own::Postgres(server)) | StoreKind::Sentry(server) => Some(server),
        StoreKind::Portcullis(Own::Sqlite(_))
        | StoreKind::Introspection(_)
        | StoreKind::File(_)
        | StoreKind::Jwt(_) => None,
    }
}

/// Where the notifications of a store are listened to.
fn listen(store: &Store) -> Option<&ServerOrigin> {
    server(&store.kind).and_then(|server| server.listen.as_ref())
}

impl Stores {
    /// Those of the gateway's own, in their order.
    pub(super) fn own(&self) -> Vec<Arc<PortcullisStore>> {
        let own = |opened: &Opened| match opened {
            Opened::Portcullis(store) => Some(Arc::clone(store)),
            Opened::Sentry(_) | Opened::Introspection(_) | Opened::Jwt(_) | Opened::File(_) => None,
        };
        self.all.iter().filter_map(own).collect()
    }

    /// How the cache consults them.
    pub(super) fn consulted(&self, config: &Config) -> Vec<Consulted> {
        let stores = self.all.iter().zip(&config.stores);
        stores.map(|(opened, store)| opened.consulted(store)).collect()
    }

    /// Starts what keeps `identities` up with changes in them, until `stop`; ends when all of it runs,
    /// and every list of blocked credentials was read that can be.
    pub(super) async fn keep_up(
        &self,
        config: &Config,
        identities: &Arc<Identities>,
        clock: &Arc<dyn Clock>,
        stop: &watch::Receiver<bool>,
    ) -> anyhow::Result<Vec<JoinHandle<()>>> {
        let (mut tasks, runtime) = (Vec::new(), Handle::current());
        for (index, (opened, store)) in self.all.iter().zip(&config.stores).enumerate() {
            let listen = listen(store);
            let (identities, clock) = (Arc::clone(identities), Arc::clone(clock));
            let (observer, stop) = (Arc::clone(&self.observer), stop.clone());
            match opened {
                Opened::Portcullis(own) => {
                    let mut watch = Watch::new(index, Arc::clone(own), identities, clock, observer);
                    if let Some(origin) = listen {
                        watch = watch.listening(locate(origin));
                    }
                    if !self.awaits(index) {
                        let what = || format!("the block list of `{store}` can't be read");
                        let mut loaded = watch.load().await;
                        for _ in 1..LOADS {
                            if loaded.is_err() {
                                loaded = watch.load().await;
                            }
                        }
                        loaded.with_context(what)?;
                    }
                    tasks.push(runtime.spawn(watch.run(stop)));
                }
                Opened::Sentry(sentry) => {
                    let Some(origin) = listen else { continue };
                    let watch = SentryWatch::new(index, sentry.name(), identities, clock, observer);
                    tasks.push(runtime.spawn(watch.run(locate(origin), stop)));
                }
                Opened::Introspection(_) => {}
                Opened::Jwt(issuer) => {
                    let issuer = Arc::clone(issuer);
                    tasks.push(runtime.spawn(issuer.watch(index, identities, observer, stop)));
                }
                Opened::File(file) => {
                    identities.block(index, file.blocked());
                    let file = Arc::clone(file);
                    tasks.push(runtime.spawn(file.watch(index, identities, observer, stop)));
                }
            }
        }
        Ok(tasks)
    }

    fn awaits(&self, index: usize) -> bool {
        self.awaited.iter().any(|(place, _)| *place == index)
    }

    /// Waits until every store can be asked, says of each when it can, and why it can't whenever that
    /// changes.
    pub(super) async fn wait(self, identities: &Identities) {
        let mut waiting = JoinSet::new();
        for (index, store) in self.awaited {
            let observer = Arc::clone(&self.observer);
            waiting.spawn(async move {
                let mut told = String::new();
                while let Err(error) = store.prepare().await {
                    let error = Chain(&*error).to_string();
                    if error != told {
                        let store = store.name();
                        tracing::error!(store, error, "the token store can't be asked yet");
                        told = error;
                    }
                    tokio::time::sleep(RETRY).await;
                }
                observer.answers(index, true);
                tracing::info!(store = store.name(), "the token store can be asked");
            });
        }
        waiting.join_all().await;
        while !identities.has_block_lists() {
            tokio::time::sleep(RETRY / 10).await;
        }
    }
}
