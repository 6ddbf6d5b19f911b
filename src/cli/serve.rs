//! `portcullis serve`: run the gateway.

use super::{ConfigArgs, Outcome};
use crate::config::Problem;
use crate::server::{AccessSink, Loaded, Server};
use crate::telemetry::diagnostics;

/// Serves until a signal comes.
pub(super) fn run(args: &ConfigArgs) -> anyhow::Result<Outcome> {
    let loaded = Loaded::read(&args.config)?;
    let config = loaded.config();
    diagnostics::start(config.log.level);
    for Problem { at, what, help } in &config.notes {
        tracing::warn!(at, help, "{what}");
    }
    Server::build(loaded, AccessSink::Stdout)?.run()?;
    Ok(Outcome::Fine)
}
