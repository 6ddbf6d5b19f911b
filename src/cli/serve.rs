//! `portcullis serve`: run the gateway.

use super::{ConfigArgs, Outcome, load};
use crate::config::Problem;
use crate::server::{AccessSink, Server};
use crate::telemetry::diagnostics;

/// Serves until a signal comes.
pub(super) fn run(args: &ConfigArgs) -> anyhow::Result<Outcome> {
    let config = load(&args.config)?;
    diagnostics::start(config.log.level);
    for Problem { at, what, help } in &config.notes {
        tracing::warn!(at, help, "{what}");
    }
    Server::build(config, AccessSink::Stdout)?.run();
    Ok(Outcome::Fine)
}
