//! Which store of the gateway's own a command is about.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::config::{Administration, Config, Machine, Own};
use crate::store::TokenStore as _;
use crate::store::portcullis::{IfMissing, OpenError, PortcullisStore};
use crate::stores;

/// Where the store is.
#[derive(Debug, clap::Args)]
pub(super) struct StoreArgs {
    /// The config whose first token store is meant; a change is recorded where its `audit.output` is a
    /// file
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The store itself, `sqlite:///path/tokens.db`, instead of a config; no change is recorded then
    #[arg(long, global = true, value_name = "URL", conflicts_with = "config")]
    store: Option<String>,
}

/// The store that a command is about, and what goes with it.
pub(super) struct Located {
    pub(super) own: Own,
    /// The public address of the gateway, if it is known.
    pub(super) public_url: Option<String>,
    /// The file of the gateway's audit, if it has one.
    pub(super) audit: Option<PathBuf>,
}

impl StoreArgs {
    /// The config that was named, if one was.
    pub(super) fn config(&self) -> Option<PathBuf> {
        self.config.clone()
    }

    /// The store that is meant.
    pub(super) fn locate(&self) -> anyhow::Result<Located> {
        if let Some(url) = &self.store {
            return Ok(Located { own: Own::Sqlite(url.parse()?), public_url: None, audit: None });
        }
        let path = self.config.as_ref().context("name the store with `--config` or `--store`")?;
        let Administration { own, public_url, audit } =
            Config::load_administration(path, &Machine)?;
        let missing = "the config has no store for tokens of the gateway; add a `[[store]]` with `kind = \"portcullis\"`";
        let own = own.context(missing)?;
        let audit = audit.and_then(|output| output.file().map(Path::to_owned));
        Ok(Located { own, public_url: Some(public_url.to_string()), audit })
    }
}

/// Opens it.
pub(super) async fn open(own: &Own, missing: IfMissing) -> anyhow::Result<PortcullisStore> {
    let store = stores::open_own(own, missing).await?;
    match missing {
        IfMissing::Fail => match store.examine().await {
            Ok(()) | Err(OpenError::Outdated(_)) => {}
            Err(error) => return Err(error.into()),
        },
        IfMissing::Create => {}
    }
    store.prepare().await.map_err(|error| anyhow::anyhow!(error))?;
    Ok(store)
}

/// Runs a command over it.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
