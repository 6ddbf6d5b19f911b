//! `portcullis token`: the tokens that the gateway itself issues.
//!
//! The secret is printed once, alone on standard output; all else goes to standard error.

mod bindings;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use ipnet::IpNet;

use super::own::{Located, StoreArgs, block_on, open};
use super::trail::Recorder;
use super::{Outcome, load, print};
use crate::clock::{Clock as _, SystemClock};
use crate::policy::identity::Narrowing;
use crate::policy::scope::{Scope, ScopeSet};
use crate::policy::template::is_digits;
use crate::store::portcullis::admin::{Candidate, Issued, NewToken, Resolved, Revoked};
use crate::store::portcullis::{IfMissing, Lifetime, PortcullisStore, Rotation, Token, TokenKind};
use crate::stores::directory;
use bindings::{Named, binding};

/// What to do, and where the store is.
#[derive(Debug, clap::Args)]
pub(super) struct TokenArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a token and print its secret, once
    Create(Box<CreateArgs>),
    /// List the tokens, as one JSON object a line
    List(ListArgs),
    /// Show one token, by id, name or fingerprint
    Show {
        /// The id, the name or the fingerprint
        token: String,
    },
    /// Issue a new secret for a token, which is as good as the old one until that ends, and print it, once
    Rotate(RotateArgs),
    /// Revoke tokens, by id, name or fingerprint; gateways refuse them within a second. By its name a
    /// token that was rotated is revoked with what was issued in its place
    Revoke {
        /// The id, the name or the fingerprint
        #[arg(required = true)]
        tokens: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Only those that nobody has used for so long, such as `90d`, or that are so old and were never used;
    /// those that were revoked, and canaries, left out
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    unused_for: Option<Duration>,
    /// Only those in force that end within so long, such as `14d`
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    expires_within: Option<Duration>,
}

#[derive(Debug, clap::Args)]
struct RotateArgs {
    /// The id, the name or the fingerprint
    token: String,
    /// How long the old secret is good for besides, such as `1h`; with `0s` it is revoked at once
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = humantime::parse_duration)]
    overlap: Duration,
    /// How long the new one lives, such as `30d`; by default as long as the old one was to
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    expires: Option<Duration>,
    /// It lives until it is revoked
    #[arg(long, conflicts_with = "expires")]
    no_expiry: bool,
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// `bearer`, `api-key` or `dsn`
    #[arg(long, default_value = "bearer", value_parser = kind)]
    kind: TokenKind,
    /// By what people know it
    #[arg(long)]
    name: String,
    /// What it is for: a profile of the config, such as `ci-release`, `agent`, `exporter`, `read-only` or
    /// `terraform`. It gets through the rules of the profile alone, and holds its scopes where none is given
    #[arg(long, value_name = "NAME")]
    profile: Option<Box<str>>,
    /// A scope, such as `event:read`; repeat it. What it implies is added, as Sentry does
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<Scope>,
    /// An organization that it is bound to, by slug or by id; repeat it. With `--config` Sentry is asked for
    /// the id of a slug; a DSN needs one
    #[arg(long = "organization", value_name = "SLUG", required_if_eq("kind", "dsn"))]
    organizations: Vec<String>,
    /// A project that it is bound to, as `organization/project` (Sentry is then asked for its id) or by id;
    /// repeat it. A DSN has one, by id
    #[arg(long = "project", value_name = "PROJECT", required_if_eq("kind", "dsn"))]
    projects: Vec<String>,
    /// The slug of the project of a DSN, which paths may name too
    #[arg(long, value_name = "SLUG", requires = "projects")]
    project_slug: Option<String>,
    /// It is refused for methods that change things
    #[arg(long)]
    read_only: bool,
    /// A rule group of the config that it gets through, and no other rule; repeat it
    #[arg(long = "group", value_name = "NAME")]
    groups: Vec<Box<str>>,
    /// A network that its clients may be in, such as `10.0.0.0/8`; repeat it
    #[arg(long = "network", value_name = "CIDR")]
    networks: Vec<IpNet>,
    /// A browser origin that may use it; repeat it
    #[arg(long = "origin", value_name = "ORIGIN")]
    origins: Vec<String>,
    /// How long it lives, such as `30d`
    #[arg(long, value_parser = humantime::parse_duration, required_unless_present_any = ["no_expiry", "canary"])]
    expires: Option<Duration>,
    /// It lives until it is revoked
    #[arg(long, conflicts_with = "expires")]
    no_expiry: bool,
    /// A token that nobody is to use, to lay out where only a thief looks: whoever presents it is answered
    /// as with an unknown one, and it is an alarm
    #[arg(long, conflicts_with_all = ["scopes", "project_slug", "origins", "expires"])]
    canary: bool,
}

fn kind(name: &str) -> Result<TokenKind, String> {
    TokenKind::from_name(name).ok_or_else(|| "write `bearer`, `api-key` or `dsn`".to_owned())
}

pub(super) fn run(args: TokenArgs) -> anyhow::Result<Outcome> {
    let Located { own, public_url, audit } = args.store.locate()?;
    let config = args.store.config();
    block_on(async {
        let (missing, changes) = match args.action {
            Action::Create(_) => (IfMissing::Create, true),
            Action::Rotate(_) | Action::Revoke { .. } => (IfMissing::Fail, true),
            Action::List(_) | Action::Show { .. } => (IfMissing::Fail, false),
        };
        let mut recorder = Recorder::open(audit.as_deref().filter(|_| changes))?;
        let store = open(&own, missing).await?;
        let outcome = match args.action {
            Action::Create(new) => {
                let config = config.as_deref();
                create(&store, *new, public_url.as_deref(), config, &mut recorder).await
            }
            Action::List(filter) => list(&store, &filter).await,
            Action::Show { token } => show(&store, &token).await,
            Action::Rotate(args) => {
                rotate(&store, &args, public_url.as_deref(), &mut recorder).await
            }
            Action::Revoke { tokens } => revoke(&store, &tokens, &mut recorder).await,
        };
        store.close().await;
        outcome
    })
}

async fn create(
    store: &PortcullisStore,
    args: CreateArgs,
    public_url: Option<&str>,
    config: Option<&Path>,
    recorder: &mut Recorder,
) -> anyhow::Result<Outcome> {
    let now = SystemClock.now();
    if args.canary {
        let of = canary_of(&args)?;
        let issued = store.create_canary(args.kind, args.name, of, now).await?;
        return told(&issued, "token.create", public_url, recorder);
    }
    let is_dsn = args.kind == TokenKind::Dsn;
    // The whole of it, where more than the store is needed.
    let asks = args.organizations.iter().chain(&args.projects).any(|name| !is_digits(name));
    let named = args.profile.is_some() || !args.groups.is_empty();
    let config = match config {
        Some(path) if named || (asks && !is_dsn) => Some(load(path)?),
        None if named => {
            bail!("`--profile` and `--group` are of a config; name it with `--config`")
        }
        Some(_) | None => None,
    };
    let of_profile = match (&args.profile, &config) {
        (Some(name), Some(config)) => bindings::check_profile(&config.policy.profiles, name)?,
        (Some(_) | None, _) => ScopeSet::EMPTY,
    };
    if let Some(config) = &config {
        bindings::check_groups(&config.policy.profiles, &args.groups)?;
    }
    let scopes: ScopeSet = match args.scopes.as_slice() {
        [] if is_dsn => ScopeSet::PROJECT_KEY,
        [] => of_profile,
        scopes => scopes.iter().copied().collect(),
    };
    if is_dsn && args.projects.len() > 1 {
        bail!("a DSN belongs to one project; write one `--project`");
    }
    if scopes.is_empty() {
        bail!(
            "a token without a scope gets nowhere; name one with `--scope`, such as `event:read`"
        );
    }
    if args.expires.is_some_and(|duration| duration.is_zero()) {
        bail!(
            "`--expires` is zero, so the token would be refused at once; write a time such as `30d`"
        );
    }
    let directory = match &config {
        Some(config) if asks => Some(directory(config)?),
        Some(_) | None => None,
    };
    let (organizations, projects) = if is_dsn {
        let projects = args.projects.into_iter().chain(args.project_slug);
        (binding(args.organizations), binding(projects.collect()))
    } else {
        let named = Named { organizations: args.organizations, projects: args.projects };
        let bound = named.bound(directory.as_deref()).await?;
        (bound.organizations, bound.projects)
    };
    let new = NewToken {
        kind: args.kind,
        name: args.name,
        scopes,
        organizations,
        projects,
        allowed_origins: args.origins,
        narrowing: Narrowing {
            read_only: args.read_only,
            profile: args.profile,
            groups: (!args.groups.is_empty()).then(|| args.groups.into()),
            networks: (!args.networks.is_empty()).then(|| args.networks.into()),
        },
        expires_at: args.expires.map(|duration| now.after(duration)),
    };
    let issued = store.create(new, now).await?;
    told(&issued, "token.create", public_url, recorder)
}

/// The project of a canary that is a DSN, and its organization.
fn canary_of(args: &CreateArgs) -> anyhow::Result<Option<(String, u64)>> {
    match (args.kind, args.organizations.as_slice(), args.projects.as_slice()) {
        (TokenKind::Dsn, [organization], [project]) => {
            let project = project.parse();
            let project =
                project.context("the DSN of a canary has its project by id, such as `42`")?;
            Ok(Some((organization.clone(), project)))
        }
        (TokenKind::Bearer | TokenKind::ApiKey, [], []) => Ok(None),
        (TokenKind::Dsn, _, _) => {
            bail!("the DSN of a canary is of one project; name one organization")
        }
        (TokenKind::Bearer | TokenKind::ApiKey, _, _) => {
            bail!(
                "a canary is for nobody; leave `--organization` and `--project` out, but for a DSN"
            )
        }
    }
}

/// Records that a token was issued, and shows its secret.
fn told(
    issued: &Issued,
    action: &'static str,
    public_url: Option<&str>,
    recorder: &mut Recorder,
) -> anyhow::Result<Outcome> {
    // Whatever comes of that, the secret is shown: the token is there.
    let recorded = recorder.did(action, &issued.token.id);
    eprintln!("{}", issued.token.shown(issued.token.created_at));
    eprintln!("the secret is shown once, on the last line:");
    let dsn = public_url.and_then(|url| issued.dsn(url));
    println!("{}", dsn.as_deref().unwrap_or_else(|| issued.secret.expose()));
    recorded.map(|()| Outcome::Fine)
}

async fn rotate(
    store: &PortcullisStore,
    args: &RotateArgs,
    public_url: Option<&str>,
    recorder: &mut Recorder,
) -> anyhow::Result<Outcome> {
    let Some(id) = find(store, &args.token).await? else { return Ok(Outcome::Negative) };
    let lifetime = match args.expires {
        Some(duration) => Lifetime::For(duration),
        None if args.no_expiry => Lifetime::Unlimited,
        None => Lifetime::Same,
    };
    let rotation = Rotation { overlap: args.overlap, lifetime };
    let issued = store.rotate(&id, rotation, SystemClock.now()).await?;
    match store.token(&id).await?.and_then(|old| old.expires_at) {
        Some(until) if !args.overlap.is_zero() => eprintln!("`{id}` is in force until {until}"),
        Some(_) | None => eprintln!("`{id}` is revoked"),
    }
    told(&issued, "token.rotate", public_url, recorder)
}

async fn list(store: &PortcullisStore, filter: &ListArgs) -> anyhow::Result<Outcome> {
    let now = SystemClock.now();
    let (tokens, unreadable) = store.list().await?;
    let wanted = |token: &&Token| {
        filter.unused_for.is_none_or(|duration| token.is_unused_for(duration, now))
            && filter.expires_within.is_none_or(|duration| token.expires_within(duration, now))
    };
    let lines: Vec<String> =
        tokens.iter().filter(wanted).map(|token| format!("{}\n", token.shown(now))).collect();
    print(&lines.concat())?;
    for error in &unreadable {
        eprintln!("error: {error}");
    }
    Ok(if unreadable.is_empty() { Outcome::Fine } else { Outcome::Negative })
}

async fn show(store: &PortcullisStore, text: &str) -> anyhow::Result<Outcome> {
    let Some(id) = find(store, text).await? else { return Ok(Outcome::Negative) };
    match store.token(&id).await? {
        Some(token) => println!("{}", token.shown(SystemClock.now())),
        None => return Ok(Outcome::Negative),
    }
    Ok(Outcome::Fine)
}

async fn revoke(
    store: &PortcullisStore,
    texts: &[String],
    recorder: &mut Recorder,
) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::Fine;
    for text in texts {
        let Some(meant) = one(text, store.resolve(text).await?) else {
            outcome = Outcome::Negative;
            continue;
        };
        let before = store.before(&meant, text).await?;
        for id in before.into_iter().chain([meant.id]) {
            match store.revoke(&id, SystemClock.now()).await? {
                Revoked::Now => {
                    eprintln!("`{id}` is revoked");
                    recorder.did("token.revoke", &id)?;
                }
                Revoked::Before(at) => eprintln!("`{id}` was revoked already, at {at}"),
                Revoked::NotFound => outcome = Outcome::Negative,
            }
        }
    }
    Ok(outcome)
}

/// The id of the token that a text means; says why there is none.
async fn find(store: &PortcullisStore, text: &str) -> anyhow::Result<Option<String>> {
    Ok(one(text, store.resolve(text).await?).map(|candidate| candidate.id))
}

fn one(text: &str, resolved: Resolved) -> Option<Candidate> {
    match resolved {
        Resolved::One(candidate) => return Some(candidate),
        Resolved::None => eprintln!("error: there is no token `{text}`; see `token list`"),
        Resolved::Several(candidates) => {
            let ids: Vec<_> = candidates.iter().map(|candidate| candidate.id.as_str()).collect();
            eprintln!("error: `{text}` is more than one token; take one of {}", ids.join(", "));
        }
    }
    None
}
