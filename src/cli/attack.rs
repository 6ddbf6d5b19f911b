//! `portcullis attack`: what a chain of proxies refuses, seen from outside.

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::ValueEnum;

use super::{Outcome, print};
use crate::attack::{Attack, Credential, Plan};
use crate::clock::SystemClock;
use crate::config::{Machine, Source as _};
use crate::policy::site::BaseUrl;
use crate::tls::Certificates;

/// How long the end waits for names that are being resolved.
const PATIENCE: Duration = Duration::from_millis(100);
/// The longest credential that is read, in bytes.
const MAX_CREDENTIAL: u64 = 16 << 10;

/// How the report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for each case, and below it what was sent, and what to do.
    Table,
    /// One JSON object a line: id, name, version, verdict, sent, seen, statuses, fix, source.
    Json,
}

/// The chain that is attacked.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "It needs a credential that may read one thing and not another, such as a token with the scope \
    `event:read` alone:\n\n  \
    portcullis attack --target https://sentry.example.com --credential-file token \\\n      \
    --allowed /api/0/organizations/acme/issues/ --refused /api/0/organizations/acme/members/\n\n\
    Each case is one request over a connection of its own. It got `through` when it was given what the credential \
    may not read; it was `held` when it was refused or did no harm. It is `noted` when something took what the \
    gateway refuses: what stands in front may have written it anew, or what stands behind may read it otherwise. What \
    is `unjudged` was not sent, or nothing can be told of it from outside, and it says why.\n\n\
    Nothing is sent that could change anything without `--changes`: there are GET, HEAD, OPTIONS and methods that do nothing. \
    Run it against what is yours: it looks like an attack in every log.\n\n\
    Exit codes: 0 nothing got through, 1 something did, 2 could not run, or was shut out before the end.",
    group = clap::ArgGroup::new("credential").required(true)
)]
pub(super) struct AttackArgs {
    /// The public address of the chain, as clients call it
    #[arg(long, value_name = "URL", value_parser = BaseUrl::parse)]
    target: BaseUrl,
    /// Connect there instead of where the target's name leads, such as `127.0.0.1:8080`; `Host` stays
    #[arg(long, value_name = "HOST:PORT")]
    connect: Option<String>,
    /// Believe these certificates (PEM) instead of the machine's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Read the credential from a file: a token, or a whole `Authorization` value
    #[arg(long, value_name = "FILE", group = "credential")]
    credential_file: Option<PathBuf>,
    /// Read the credential from this variable of the environment
    #[arg(long, value_name = "NAME", group = "credential")]
    credential_env: Option<String>,
    /// Read the credential from standard input
    #[arg(long, group = "credential")]
    credential_stdin: bool,
    /// A path that the credential may read, behind the prefix of the target
    #[arg(long, value_name = "PATH")]
    allowed: String,
    /// A path that it may not read
    #[arg(long, value_name = "PATH")]
    refused: String,
    /// A path that anybody may read
    #[arg(long, value_name = "PATH", default_value = "/_health/")]
    public: String,
    /// Words that stand in the answer of the refused path alone: only with them did a case get through
    #[arg(long, value_name = "TEXT")]
    marker: Option<String>,
    /// Send too what would change something if it got through
    #[arg(long)]
    changes: bool,
    /// How to print the report
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    format: Format,
}

pub(super) fn run(args: AttackArgs) -> anyhow::Result<Outcome> {
    let text = credential(&args)?;
    let authorities = match &args.ca {
        None => None,
        Some(path) => {
            let shown = path.display();
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("`{shown}` can't be read; correct `--ca`"))?;
            Some(Certificates::from_pem(&text).with_context(|| format!("`{shown}` of `--ca`"))?)
        }
    };
    let plan = Plan {
        target: args.target,
        connect: args.connect,
        authorities,
        credential: Credential::parse(&text)?,
        allowed: args.allowed,
        refused: args.refused,
        public: args.public,
        marker: args.marker,
        changes: args.changes,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        let attack = Attack::begin(plan, Arc::new(SystemClock)).await?;
        let progress = |done: usize, all: usize, id: &str| {
            if done.is_multiple_of(20) {
                eprintln!("{done} of {all} cases, now {id} …");
            }
        };
        anyhow::Ok(attack.run(progress).await)
    });
    runtime.shutdown_timeout(PATIENCE);
    let report = report?;
    if report.is_empty() {
        bail!("no case could be judged; see that the target still answers");
    }
    print(&match args.format {
        Format::Table => report.to_string(),
        Format::Json => report.to_json()?,
    })?;
    if !report.held() {
        return Ok(Outcome::Negative);
    }
    if let Some(seen) = &report.shut_out {
        bail!(
            "what is allowed is not let through any more ({seen}), so it is not known what the others were \
             refused for; lift what shuts out whoever is refused often, and run it again"
        );
    }
    Ok(Outcome::Fine)
}

/// Reads the credential from where it is; never from the words of the command, which every process sees.
fn credential(args: &AttackArgs) -> anyhow::Result<String> {
    if let Some(path) = &args.credential_file {
        let shown = path.display();
        let read = std::fs::read_to_string(path);
        return read
            .with_context(|| format!("`{shown}` can't be read; correct `--credential-file`"));
    }
    if let Some(name) = &args.credential_env {
        let read = Machine.env(name);
        return read
            .with_context(|| format!("the environment has no `{name}`; set it, or name another"));
    }
    let mut text = String::new();
    let mut stdin = std::io::stdin().lock().take(MAX_CREDENTIAL);
    stdin.read_to_string(&mut text).context("standard input can't be read")?;
    Ok(text)
}
