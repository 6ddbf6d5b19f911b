//! `portcullis generate`: what is made of the code, for files that are committed beside it.

use clap::Subcommand;

use super::{Outcome, print};
use crate::config::{reference, schema};
use crate::telemetry::metrics;

/// What to make.
#[derive(Debug, Subcommand)]
pub(super) enum GenerateArgs {
    /// The JSON Schema of a config, for editors
    Schema {
        /// That of a rule file instead
        #[arg(long)]
        rules: bool,
    },
    /// The reference of every key, in Markdown
    Reference,
    /// The table of the metrics, in Markdown
    Metrics,
}

pub(super) fn run(args: &GenerateArgs) -> anyhow::Result<Outcome> {
    let pretty = |schema| serde_json::to_string_pretty(&schema).map(|text| text + "\n");
    print(&match args {
        GenerateArgs::Schema { rules: false } => pretty(schema::config())?,
        GenerateArgs::Schema { rules: true } => pretty(schema::rules())?,
        GenerateArgs::Reference => reference::reference(),
        GenerateArgs::Metrics => metrics::table(),
    })?;
    Ok(Outcome::Fine)
}
