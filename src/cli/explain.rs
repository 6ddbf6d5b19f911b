//! `portcullis explain`: what would become of a request, and why.
//!
//! The gateway that answers is the one that serves: the config's rules, and its token stores unless
//! the caller is made up.

use std::io::BufRead as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::runtime::Handle;

use super::{Outcome, load, print};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::explain::question::Question;
use crate::explain::{Explanation, Vouching};
use crate::gateway::Gateway;
use crate::limit::table::Limits;
use crate::store::cache::{CacheSettings, Identities};
use crate::store::portcullis::IfMissing;
use crate::stores::{Opened, directory};

/// The request, and who makes it.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ExplainArgs {
    /// The config file (TOML)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The method, such as GET
    method: String,
    /// The path that is called, with the prefix of `public_url`, or the whole URL
    target: String,
    /// Make up a token of the gateway that holds this scope; repeat it
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Bind that token to an organization; repeat it
    #[arg(long = "organization", value_name = "SLUG", requires = "scopes")]
    organizations: Vec<String>,
    /// Read a token, or a whole `Authorization` value, from the first line of standard input, and
    /// look it up in the token stores
    #[arg(long, conflicts_with = "scopes")]
    token_stdin: bool,
    /// Look up a name of a client's certificate, such as `URI:spiffe://prod/ci`, in the token stores
    #[arg(long, value_name = "NAME", conflicts_with_all = ["scopes", "token_stdin"])]
    certificate: Option<String>,
    /// Another header, such as `Origin: https://app.example.com`; repeat it
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// As a listener that exposes this, such as `ingest`; repeat it. By default what any listener
    /// of the config exposes
    #[arg(long = "expose", value_name = "GROUP")]
    expose: Vec<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<Outcome> {
    let config = load(&args.config)?;
    let question = Question {
        method: args.method.clone(),
        path: args.target.clone(),
        headers: args.headers.clone(),
        token: args.token_stdin.then(first_line).transpose()?,
        certificate: args.certificate.clone(),
        scopes: args.scopes.clone(),
        organizations: args.organizations.clone(),
        expose: args.expose.clone(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let clock = Arc::new(SystemClock);
        let directory = directory(&config)?;
        // Without one nobody is looked up, and a store need not exist.
        let looks_up = args.token_stdin || args.certificate.is_some();
        let stores = if looks_up { stores(&config).await? } else { Vec::new() };
        let settings = CacheSettings::default();
        let consulted =
            stores.iter().zip(&config.stores).map(|(opened, store)| opened.consulted(store));
        let (consulted, runtime) = (consulted.collect(), Handle::current());
        let identities = Identities::new(consulted, settings, clock.clone(), Arc::new(()), runtime);
        for (index, opened) in stores.iter().enumerate() {
            match opened {
                Opened::Portcullis(own) => identities.block(index, own.blocked().await?),
                Opened::File(file) => identities.block(index, file.blocked()),
                Opened::Sentry(_) | Opened::Introspection(_) | Opened::Jwt(_) => {}
            }
        }
        let assertion = config.assertion.as_ref();
        let vouching = Vouching {
            identity_headers: config.identity_headers,
            assertion: assertion.map(|own| (&own.header, &*own.upstreams)),
        };
        let limits = Limits::new(config.limits, &config.policy.rules, None, clock.instant());
        let gateway =
            Gateway::new(config.policy, identities, clock, directory).limited(limits, None);
        let decision = question.decide(&gateway).await?;
        let told = Explanation::of(&decision, &gateway, &vouching, &question);
        print(&if args.json { serde_json::to_string(&told)? + "\n" } else { told.to_string() })?;
        Ok(if told.allowed { Outcome::Fine } else { Outcome::Negative })
    })
}

/// What stands on the first line of standard input.
pub(super) fn first_line() -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("standard input can't be read")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Opens the stores, and lets nobody in who is on a block list.
async fn stores(config: &Config) -> anyhow::Result<Vec<Opened>> {
    let mut stores = Vec::new();
    for store in &config.stores {
        let opened = Opened::open(store, IfMissing::Fail).await?;
        match &opened {
            Opened::Portcullis(own) => own.examine().await?,
            Opened::Sentry(sentry) => sentry.inspect().await?,
            Opened::Introspection(_) | Opened::File(_) | Opened::Jwt(_) => {}
        }
        stores.push(opened);
    }
    Ok(stores)
}
