//! `portcullis block`: credentials that every gateway with this store refuses, whoever issued them.

use clap::Subcommand;
use serde_json::json;

use super::own::{Located, StoreArgs, block_on, open};
use super::trail::Recorder;
use super::{Outcome, print};
use crate::clock::{Clock as _, SystemClock};
use crate::policy::credential::Fingerprint;
use crate::store::portcullis::block::Block;
use crate::store::portcullis::{IfMissing, PortcullisStore};

/// What to do, and where the list is.
#[derive(Debug, clap::Args)]
pub(super) struct BlockArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Refuse credentials, Sentry's own too; gateways do within a second
    Add {
        /// The fingerprint, as the access log has it in `token_fp`: the first 8 hex digits of the
        /// token's SHA-256
        #[arg(required = true)]
        fingerprints: Vec<Fingerprint>,
        /// Why, for whoever reads the list
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Let them in again
    Remove {
        /// The fingerprint
        #[arg(required = true)]
        fingerprints: Vec<Fingerprint>,
    },
    /// List them, as one JSON object a line
    List,
}

pub(super) fn run(args: &BlockArgs) -> anyhow::Result<Outcome> {
    let Located { own, audit, .. } = args.store.locate()?;
    block_on(async {
        let changes = match args.action {
            Action::Add { .. } | Action::Remove { .. } => true,
            Action::List => false,
        };
        let mut recorder = Recorder::open(audit.as_deref().filter(|_| changes))?;
        // A new store would be one that no gateway reads.
        let store = open(&own, IfMissing::Fail).await?;
        let outcome = match &args.action {
            Action::Add { fingerprints, reason } => {
                add(&store, fingerprints, reason, &mut recorder).await
            }
            Action::Remove { fingerprints } => remove(&store, fingerprints, &mut recorder).await,
            Action::List => list(&store).await,
        };
        store.close().await;
        outcome
    })
}

async fn add(
    store: &PortcullisStore,
    fingerprints: &[Fingerprint],
    reason: &str,
    recorder: &mut Recorder,
) -> anyhow::Result<Outcome> {
    for fingerprint in fingerprints {
        let (reason, created_at) = (reason.to_owned(), SystemClock.now());
        let new = store.block(&Block { fingerprint: *fingerprint, reason, created_at }).await?;
        eprintln!("`{fingerprint}` {}", if new { "is blocked" } else { "was blocked already" });
        if new {
            recorder.did("block.add", &fingerprint.to_string())?;
        }
    }
    Ok(Outcome::Fine)
}

async fn remove(
    store: &PortcullisStore,
    fingerprints: &[Fingerprint],
    recorder: &mut Recorder,
) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::Fine;
    for fingerprint in fingerprints {
        if store.unblock(*fingerprint).await? {
            eprintln!("`{fingerprint}` is not blocked any more");
            recorder.did("block.remove", &fingerprint.to_string())?;
        } else {
            eprintln!("error: `{fingerprint}` is not blocked; see `block list`");
            outcome = Outcome::Negative;
        }
    }
    Ok(outcome)
}

async fn list(store: &PortcullisStore) -> anyhow::Result<Outcome> {
    let line = |block: Block| {
        let line = json!({
            "fingerprint": block.fingerprint.to_string(),
            "reason": block.reason,
            "created_at": block.created_at.to_string(),
        });
        format!("{line}\n")
    };
    let lines: String = store.blocks().await?.into_iter().map(line).collect();
    print(&lines)?;
    Ok(Outcome::Fine)
}
