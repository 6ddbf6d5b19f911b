//! `portcullis doctor`: what an operator gets wrong, asked of the gateway and the Sentry that run.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use super::explain::first_line;
use super::{Outcome, load, print};
use crate::clock::SystemClock;
use crate::doctor::{CallerToken, Options, examine};
use crate::policy::site::BaseUrl;

/// How long the end waits for names that are being resolved.
const PATIENCE: Duration = Duration::from_millis(100);

/// The pair that is asked.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Run it where the gateway runs, while it does. It reads, and changes nothing: \
    GET requests, one POST of an empty envelope without a key, and the catalogs of PostgreSQL. A token \
    is shown to the gateway alone, the upstream's credential to the web service alone.\n\n\
    Exit codes: 0 no problem, 1 problems found, 2 could not run. What is `skipped` could not be told; \
    `fix` says how to see it."
)]
pub(super) struct DoctorArgs {
    /// The config file (TOML) that the gateway runs with
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Read a token, or a whole `Authorization` value, from the first line of standard input: one of the
    /// gateway or of Sentry that may read organizations or projects
    #[arg(long)]
    token_stdin: bool,
    /// Connect there instead of where the public names lead, such as `http://127.0.0.1:8080`; `Host`
    /// stays the public one
    #[arg(long, value_name = "URL", value_parser = BaseUrl::parse)]
    gateway: Option<BaseUrl>,
    /// Where the admin listener is reached, if not at `admin.address`
    #[arg(long, value_name = "URL", value_parser = BaseUrl::parse)]
    admin: Option<BaseUrl>,
    /// Leave a check out, such as `bypass`; repeat it
    #[arg(long = "skip", value_name = "CHECK")]
    skip: Vec<String>,
    /// Print one JSON object a line: check, verdict, tried, seen, fix
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &DoctorArgs) -> anyhow::Result<Outcome> {
    let config = load(&args.config)?;
    let token = args.token_stdin.then(first_line).transpose()?;
    let token = token.map(|text| CallerToken::parse(&text)).transpose();
    let token = token.context("the token can't be sent in a header; copy it again")?;
    let options = Options { token, gateway: args.gateway.clone(), admin: args.admin.clone() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let progress = |what: &str| eprintln!("{what} …");
    let report = runtime.block_on(examine(&config, &options, Arc::new(SystemClock), progress));
    runtime.shutdown_timeout(PATIENCE);
    let mut report = report?;
    for name in &args.skip {
        if !report.checks.iter().any(|check| check.check == *name) {
            anyhow::bail!("there is no check `{name}` to skip; run it once without `--skip`");
        }
    }
    report.checks.retain(|check| !args.skip.contains(&check.check));
    print(&if args.json { report.to_json()? } else { report.to_string() })?;
    Ok(if report.is_fine() { Outcome::Fine } else { Outcome::Negative })
}
