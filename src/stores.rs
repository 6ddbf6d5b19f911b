//! The token stores that a config names, and its Sentry as a directory, opened.

mod directory;

use std::sync::Arc;

use anyhow::Context as _;

use crate::clock::SystemClock;
use crate::config::{Machine, Own, ServerOrigin, Store, StoreKind};
use crate::store::TokenStore;
use crate::store::cache::Consulted;
use crate::store::file::FileStore;
use crate::store::introspection::IntrospectionStore;
use crate::store::jwt::JwtStore;
use crate::store::portcullis::{IfMissing, PortcullisStore};
use crate::store::postgres::Locate;
use crate::store::sentry::SentryStore;
pub use directory::{asked, directory, sentry_directory, told};

/// A store, as what it is.
pub enum Opened {
    /// Tokens that the gateway issues.
    Portcullis(Arc<PortcullisStore>),
    /// Sentry's own credentials.
    Sentry(Arc<SentryStore>),
    /// An endpoint.
    Introspection(Arc<IntrospectionStore>),
    /// A file of digests.
    File(Arc<FileStore>),
    /// An issuer of JWTs.
    Jwt(Arc<JwtStore>),
}

impl Opened {
    /// Opens what is on this machine; what is not is connected to when it is
    /// [prepared](TokenStore::prepare). Must be called in the runtime that questions run in.
    ///
    /// # Errors
    /// What can't be opened.
    pub async fn open(store: &Store, missing: IfMissing) -> anyhow::Result<Self> {
        let name = store.name.as_str();
        let opened = match &store.kind {
            StoreKind::Portcullis(own) => {
                Opened::Portcullis(Arc::new(open_own(own, missing).await?.named(name)))
            }
            StoreKind::Sentry(server) => {
                let locate = locate(&server.origin);
                let (address, connections) = (server.address.clone(), server.connections);
                Opened::Sentry(Arc::new(SentryStore::new(name, address, connections, locate)))
            }
            StoreKind::Introspection(endpoint) => {
                let (url, protocol) = (endpoint.url.clone(), endpoint.protocol.clone());
                let opened = IntrospectionStore::new(name, url, protocol);
                let what = "the certificates of the system can't be read; install ca-certificates";
                Opened::Introspection(Arc::new(opened.context(what)?))
            }
            StoreKind::Jwt(issuer) => {
                let opened = JwtStore::new(name, (**issuer).clone(), Arc::new(SystemClock));
                let what = "the certificates of the system can't be read; install ca-certificates";
                Opened::Jwt(Arc::new(opened.context(what)?))
            }
            StoreKind::File(path) => Opened::File(Arc::new(FileStore::open(name, path).await?)),
        };
        Ok(opened)
    }

    /// The store, to be asked.
    pub fn store(&self) -> Arc<dyn TokenStore> {
        match self {
            Opened::Portcullis(store) => Arc::<PortcullisStore>::clone(store),
            Opened::Sentry(store) => Arc::<SentryStore>::clone(store),
            Opened::Introspection(store) => Arc::<IntrospectionStore>::clone(store),
            Opened::File(store) => Arc::<FileStore>::clone(store),
            Opened::Jwt(store) => Arc::<JwtStore>::clone(store),
        }
    }

    /// The store, and what the config has it asked for.
    pub fn consulted(&self, store: &Store) -> Consulted {
        Consulted { store: self.store(), kinds: store.credentials, rates: Some(store.unknown) }
    }
}

/// Opens a store of the gateway's own.
///
/// # Errors
/// When its file can't be opened.
pub async fn open_own(own: &Own, missing: IfMissing) -> anyhow::Result<PortcullisStore> {
    Ok(match own {
        Own::Sqlite(location) => PortcullisStore::open(location, missing).await?,
        Own::Postgres(server) => {
            let locate = locate(&server.origin);
            PortcullisStore::at(server.address.clone(), server.connections, locate)
        }
    })
}

/// Reads anew where a database is.
pub fn locate(origin: &ServerOrigin) -> Locate {
    let origin = origin.clone();
    Box::new(move || origin.read(&Machine))
}
