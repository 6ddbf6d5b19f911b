//! `portcullis check`: what would a start say?

use std::path::Path;
use std::sync::Arc;

use super::{ConfigArgs, Outcome};
use crate::config::{Config, Machine, Own, Redis, Store, StoreKind, StoreServer};
use crate::shared_counts::redis::RedisCounts;
use crate::store::Chain;
use crate::store::portcullis::{IfMissing, OpenError, PortcullisStore, StoreLocation};
use crate::store::postgres::audit;
use crate::stores::Opened;
use crate::telemetry::audit::try_file;

/// Compiles the config and looks at its stores, and changes nothing.
pub(super) fn run(args: &ConfigArgs) -> anyhow::Result<Outcome> {
    let config = match Config::load(&args.config, &Machine) {
        Ok(config) => config,
        Err(error) if error.is_unreadable() => return Err(error.into()),
        Err(error) => {
            eprint!("error: {error}");
            return Ok(Outcome::Negative);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut outcome = Outcome::Fine;
    for note in &config.notes {
        eprintln!("note: {note}");
    }
    for (index, store) in config.stores.iter().enumerate() {
        if let Err(error) = runtime.block_on(look_at(store)) {
            let error = Chain(error.as_ref());
            eprintln!("error: store[{index}] `{store}`: {error}");
            outcome = Outcome::Negative;
        }
    }
    let audit = config.audit.as_ref().and_then(|audit| audit.output.file());
    if let Some(Err(error)) = audit.map(try_file) {
        eprintln!("error: {error}");
        outcome = Outcome::Negative;
    }
    // A start would say so too, and serve everything else.
    if let Err(error) = config.spool.try_folder() {
        eprintln!("note: {error}");
    }
    if let Some(settings) = &config.redis
        && let Err(error) = runtime.block_on(ask(settings))
    {
        eprintln!("note: redis: {error}");
    }
    if outcome == Outcome::Fine {
        let (rules, stores) = (config.policy.rules.len(), config.stores.len());
        let (file, sentry) = (args.config.display(), config.sentry_version);
        println!("{file}: fine ({rules} rules for Sentry {sentry}, {stores} store(s))");
    }
    Ok(outcome)
}

/// Asks Redis. A start does not, and each gateway counts for itself until it answers.
async fn ask(settings: &Redis) -> anyhow::Result<()> {
    Ok(RedisCounts::new(settings.clone(), Arc::new(()))?.examine().await?)
}

/// Looks at a store, and changes nothing.
async fn look_at(store: &Store) -> anyhow::Result<()> {
    if let StoreKind::Portcullis(Own::Sqlite(location)) = &store.kind {
        return own(location).await;
    }
    match Opened::open(store, IfMissing::Fail).await? {
        Opened::Portcullis(own) => match own.examine().await {
            Err(error @ OpenError::Empty(_)) => eprintln!("note: {error}, without a token"),
            Err(error @ OpenError::Outdated(_)) => eprintln!("note: {error}"),
            examined => examined?,
        },
        Opened::Sentry(sentry) => {
            sentry.inspect().await?;
            if let StoreKind::Sentry(server) = &store.kind
                && server.listen.is_some()
            {
                are_told(store, server).await;
            }
        }
        // It is asked when a credential comes, and was read.
        Opened::Introspection(_) | Opened::File(_) | Opened::Jwt(_) => {}
    }
    Ok(())
}

/// Whether Sentry's database tells of what is to be listened to. Without, a start is fine and revocations
/// wait for `cache.ttl`.
async fn are_told(store: &Store, server: &StoreServer) {
    let fix = "run deploy/postgres/sentry-notify.sql there, as the owner of Sentry's tables";
    match audit::untold(&server.address).await {
        Ok(tables) if tables.is_empty() => {}
        Ok(tables) => {
            let tables = tables.join("`, `");
            eprintln!(
                "note: `{store}`: `listen_url` is set, and changes of `{tables}` are not told; {fix}"
            );
        }
        Err(error) => {
            let error = Chain(&error);
            eprintln!("note: `{store}`: whether its triggers are there can't be seen: {error}");
        }
    }
}

/// Looks at the file of a store of the gateway's own.
async fn own(location: &StoreLocation) -> anyhow::Result<()> {
    match PortcullisStore::inspect(location).await {
        Err(OpenError::NoFile(path)) => {
            let path = path.display();
            eprintln!("note: `{path}` does not exist; a start creates it, without a token");
        }
        Ok(()) => {}
        Err(error) => return Err(error.into()),
    }
    is_writable(location.path())
}

/// Whether SQLite could put its journal beside the file.
fn is_writable(file: &Path) -> anyhow::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    tempfile::tempfile_in(folder).map(|_| ()).map_err(|error| {
        let folder = folder.display();
        anyhow::anyhow!("`{folder}` can't be written to, which SQLite needs: {error}; change its owner or permissions")
    })
}
