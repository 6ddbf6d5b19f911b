//! Which store of the gateway's own a command is about.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::config::{Config, Machine, Own};
use crate::store::TokenStore as _;
use crate::store::portcullis::{IfMissing, OpenError, PortcullisStore};
use crate::stores;

/// Where the store is.
#[derive(Debug, clap::Args)]
pub(super) struct StoreArgs {
    /// The config whose first token store is meant
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The store itself, `sqlite:///path/tokens.db`, instead of a config
    #[arg(long, global = true, value_name = "URL", conflicts_with = "config")]
    store: Option<String>,
}

impl StoreArgs {
    /// The store, and the public address of the gateway, if it is known.
    pub(super) fn locate(&self) -> anyhow::Result<(Own, Option<String>)> {
        if let Some(url) = &self.store {
            return Ok((Own::Sqlite(url.parse()?), None));
        }
        let path = self.config.as_ref().context("name the store with `--config` or `--store`")?;
        let (store, public_url) = Config::load_token_store(path, &Machine)?;
        let missing = "the config has no store for tokens of the gateway; add a `[[store]]` with `kind = \"portcullis\"`";
        Ok((store.context(missing)?, Some(public_url.to_string())))
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
