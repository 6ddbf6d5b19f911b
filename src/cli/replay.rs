//! `portcullis replay`: would another config have decided otherwise?

use std::path::PathBuf;

use super::audits::{AuditArgs, whole};
use super::{Outcome, load, print};
use crate::clock::{Clock as _, SystemClock};
use crate::history::replay::Replay;

/// The config, and the requests.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ReplayArgs {
    /// The config to decide by (TOML)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    audits: AuditArgs,
    /// How many different flips to print, the most frequent first
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: usize,
}

/// Asks no store and no network. What can't be decided again is counted, and no flip.
pub(super) fn run(args: &ReplayArgs) -> anyhow::Result<Outcome> {
    let config = load(&args.config)?;
    let mut replay = Replay::new(&config.policy, SystemClock.now());
    let bad = args.audits.read(|entry| replay.add(entry))?;
    if replay.decided() == 0 {
        eprintln!("{}", replay.table(0));
        anyhow::bail!("none of the requests can be decided again; record more with `[audit]`");
    }
    print(&replay.table(args.limit).to_string())?;
    whole(bad)?;
    Ok(if replay.flipped() == 0 { Outcome::Fine } else { Outcome::Negative })
}
