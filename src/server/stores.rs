//! Token stores, opened.

use std::sync::Arc;

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
}

/// Opens what the config names.
pub(super) async fn open(config: &Config) -> anyhow::Result<Stores> {
    let mut stores = Stores { all: Vec::new(), own: Vec::new() };
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
                match opened.inspect().await {
                    Err(error) if !sentry.required_at_start => {
                        tracing::error!(
                            store = name,
                            error = format!("{:#}", anyhow::Error::from(error)),
                            "the token store can't be asked yet"
                        );
                    }
                    looked_at => looked_at.with_context(what)?,
                }
                stores.all.push(Arc::new(opened));
            }
        }
    }
    Ok(stores)
}
