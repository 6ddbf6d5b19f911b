//! `portcullis explain`: what would become of a request, and why.
//!
//! The gateway that answers is the one that serves: the config's rules, and its token stores unless
//! the caller is made up.

use std::io::BufRead as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Outcome, load, print};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::explain::Explanation;
use crate::gateway::Gateway;
use crate::policy::credential::Credential;
use crate::policy::frame::RequestHead;
use crate::policy::identity::{Binding, Identity, IdentityKind, Issuer, KindSet, State};
use crate::policy::scope::Scope;
use crate::store::cache::{CacheSettings, Identities};
use crate::store::portcullis::{IfMissing, PortcullisStore};
use crate::store::{Found, StoreError, TokenStore};

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
    scopes: Vec<Scope>,
    /// Bind that token to an organization; repeat it
    #[arg(long = "organization", value_name = "SLUG", requires = "scopes")]
    organizations: Vec<String>,
    /// Read a token, or a whole `Authorization` value, from the first line of standard input, and
    /// look it up in the token stores
    #[arg(long, conflicts_with = "scopes")]
    token_stdin: bool,
    /// Another header, such as `Origin: https://app.example.com`; repeat it
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<Outcome> {
    let config = load(&args.config)?;
    let public = config.policy.site.public().authority().to_owned();
    let (host, target) = called(&args.target, &public)?;
    let mut headers = HeaderMap::new();
    headers.insert(http::header::HOST, HeaderValue::try_from(host).context("not a host")?);
    if let Some(value) = authorization(args)? {
        headers.insert(http::header::AUTHORIZATION, value);
    }
    for header in &args.headers {
        let parsed = header.split_once(':').and_then(|(name, value)| {
            let name = HeaderName::try_from(name.trim()).ok()?;
            Some((name, HeaderValue::try_from(value.trim()).ok()?))
        });
        let (name, value) = parsed.context("a header is not `Name: value`; write it so")?;
        headers.append(name, value);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let clock = Arc::new(SystemClock);
        let stores = stores(args, &config).await?;
        let settings = CacheSettings::default();
        let identities = Identities::new(stores, settings, clock.clone(), Arc::new(()));
        let gateway = Gateway::new(config.policy, Arc::new(identities), clock);
        let (method, raw) = (args.method.as_str(), b"".as_slice());
        let target_bytes = target.as_bytes();
        let head =
            RequestHead { method, target: target_bytes, authority: None, headers: &headers, raw };
        let decision = gateway.admit(&head).await.decision;
        let now = gateway.clock().now();
        let told = Explanation::of(&decision, gateway.policy(), method, target, now);
        if args.json {
            print(&(serde_json::to_string(&told)? + "\n"))?;
        } else {
            print(&told.to_string())?;
        }
        Ok(if told.allowed { Outcome::Fine } else { Outcome::Negative })
    })
}

/// The host and the target of a URL; a path is called at the public address.
fn called<'a>(text: &'a str, public: &'a str) -> anyhow::Result<(&'a str, &'a str)> {
    let Some((scheme, rest)) = text.split_once("://").filter(|_| !text.starts_with('/')) else {
        return Ok((public, text));
    };
    if !matches!(scheme, "http" | "https") {
        bail!("`{scheme}` is not the scheme of a request; write `https://host/path`, or the path");
    }
    let path = rest.find('/').context("the URL has no path; write `https://host/api/0/…`")?;
    Ok(rest.split_at(path))
}

/// What `explain` presents for a token that is made up.
const MADE_UP: &str = "Bearer made-up";

fn authorization(args: &ExplainArgs) -> anyhow::Result<Option<HeaderValue>> {
    let value = if args.token_stdin {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).context("standard input can't be read")?;
        let line = line.trim_end_matches(['\r', '\n']);
        if line.contains(' ') { line.to_owned() } else { format!("Bearer {line}") }
    } else if args.scopes.is_empty() {
        return Ok(None);
    } else {
        MADE_UP.to_owned()
    };
    // The text is not repeated: it is a secret.
    let mut value = HeaderValue::try_from(value).ok().context("the token is no header value")?;
    value.set_sensitive(true);
    Ok(Some(value))
}

async fn stores(args: &ExplainArgs, config: &Config) -> anyhow::Result<Vec<Arc<dyn TokenStore>>> {
    if !args.scopes.is_empty() {
        let organizations = match args.organizations.as_slice() {
            [] => Binding::Any,
            names => Binding::Only(names.iter().map(|name| name.as_str().into()).collect()),
        };
        let scopes = args.scopes.iter().copied().collect();
        return Ok(vec![Arc::new(MadeUp(Arc::new(Identity {
            id: "made-up".into(),
            kind: IdentityKind::UserToken,
            issuer: Issuer::Gateway,
            state: State::Active,
            scopes,
            organizations,
            projects: Binding::Any,
            expires_at: None,
            allowed_origins: Box::new([]),
        })))]);
    }
    let mut stores: Vec<Arc<dyn TokenStore>> = Vec::new();
    // Without a token nobody is looked up, and a store need not exist.
    for store in config.stores.iter().filter(|_| args.token_stdin) {
        let opened = PortcullisStore::open(&store.location, IfMissing::Fail).await?;
        stores.push(Arc::new(opened.named(&store.name)));
    }
    Ok(stores)
}

/// Knows one caller, whatever is presented.
#[derive(Debug)]
struct MadeUp(Arc<Identity>);

#[async_trait]
impl TokenStore for MadeUp {
    fn name(&self) -> &str {
        "made-up"
    }

    fn takes(&self) -> KindSet {
        KindSet::DEFAULT
    }

    async fn find(&self, _: &Credential) -> Result<Option<Found>, StoreError> {
        Ok(Some(Found { identity: Arc::clone(&self.0), usage: None }))
    }
}
