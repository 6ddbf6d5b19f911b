//! Token stores, opened.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::config::{Config, Machine, StoreKind};
use crate::store::TokenStore;
use crate::store::portcullis::{IfMissing, PortcullisStore};
use crate::store::sentry::SentryStore;

/// Token stores in the order in which they are asked, and which of them are the gateway's own: those
/// are watched for changes.
pub(super) struct Stores {
    pub(super) all: Vec<Arc<dyn TokenStore>>,
    pub(super) own: Vec<(usize, Arc<PortcullisStore>)>,
    /// Those that could not be asked yet.
    pub(super) awaited: Vec<Arc<SentryStore>>,
}

/// How often a store that can't be asked yet is tried.
const RETRY: Duration = Duration::from_secs(1);

/// Waits until every one of these can be asked, says of each when it can, and why it can't whenever
/// that changes.
pub(super) async fn wait_for(awaited: Vec<Arc<SentryStore>>) {
    let mut waiting = tokio::task::JoinSet::new();
    for store in awaited {
        waiting.spawn(async move {
            let mut told = String::new();
            while let Err(error) = store.inspect().await {
                let error = format!("{:#}", anyhow::Error::from(error));
                if error != told {
                    tracing::error!(
                        store = store.name(),
                        error,
                        "the token store can't be asked yet"
                    );
                    told = error;
                }
                tokio::time::sleep(RETRY).await;
            }
            tracing::info!(store = store.name(), "the token store can be asked");
        });
    }
    waiting.join_all().await;
}

/// Opens what the config names.
pub(super) async fn open(config: &Config) -> anyhow::Result<Stores> {
    let mut stores = Stores { all: Vec::new(), own: Vec::new(), awaited: Vec::new() };
    for (index, store) in config.stores.iter().enumerate() {
        let name = store.name.as_str();
        let what = || format!("the store `{name}` can't be opened");
        match &store.kind {
            StoreKind::Portcullis(location) => {
                let new = !location.path().exists();
                let opened = PortcullisStore::open(location, IfMissing::Create).await;
                let opened = Arc::new(opened.with_context(what)?.named(name));
                stores.all.push(Arc::clone(&opened) as Arc<dyn TokenStore>);
                stores.own.push((index, opened));
                if new {
                    let path = location.path().display();
                    tracing::warn!(store = name, %path, "a new token store, without a token, was created");
                }
            }
            StoreKind::Sentry(sentry) => {
                let (origin, database) = (sentry.origin.clone(), sentry.database.clone());
                let locate = Box::new(move || origin.read(&Machine));
                let opened = SentryStore::new(name, database, sentry.connections, locate);
                let opened = Arc::new(opened);
                match opened.inspect().await {
                    Err(_) if !sentry.required_at_start => stores.awaited.push(Arc::clone(&opened)),
                    looked_at => looked_at.with_context(what)?,
                }
                stores.all.push(opened);
            }
        }
    }
    Ok(stores)
}
