//! How a gateway starts: what it begins with, and who is told that it serves.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::runtime::Runtime;

use super::assembly::Awaited;
use super::crowd::POLL;
use super::handover::Inherited;
use super::manager;
use super::stop::Signals;
use crate::policy::exposure::Service as Part;
use crate::readiness::Readiness;
use crate::store::cache::Identities;

/// What a gateway begins with.
pub(super) struct Start {
    pub(super) background: Runtime,
    pub(super) signals: Signals,
}

impl Start {
    /// # Errors
    /// When it can't be had.
    pub(super) fn now() -> anyhow::Result<Self> {
        let background = background()?;
        let signals = {
            let _entered = background.enter();
            Signals::new().context("signals can't be handled")?
        };
        Ok(Self { background, signals })
    }
}

/// Tells systemd, and the process before this one, when this one serves.
pub(super) async fn announce(readiness: Arc<Readiness>, inherited: Option<Inherited>) {
    let is_up = || match inherited {
        // It serves well until this one does.
        Some(_) => readiness.reason().is_none(),
        None => readiness.is_serving(),
    };
    while !is_up() {
        if readiness.is_stopping() {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
    manager::serving();
    if let Some(inherited) = inherited
        && let Err(error) = inherited.serving()
    {
        tracing::warn!(%error, "the process before this one has ended by itself");
    }
}

/// Tells when what a start waits for is there.
pub(super) async fn ready(
    awaited: Awaited,
    identities: Arc<Identities>,
    readiness: Arc<Readiness>,
) {
    let web = awaited.upstreams.into_iter().find(|(part, _)| *part == Part::Web);
    let known = async {
        if let Some((_, mut known)) = web
            && known.wait_for(|known| *known).await.is_ok()
        {
            readiness.upstream_known();
        }
    };
    let stores = async {
        if let Some(stores) = awaited.stores {
            stores.wait(&identities).await;
        }
        readiness.stores_known();
    };
    tokio::join!(known, stores);
}

fn background() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("background")
        .enable_all()
        .build()
        .context("the background runtime can't be started")
}
