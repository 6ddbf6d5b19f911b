//! `portcullis suggest`: the narrowest tokens for what callers did.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::audits::{AuditArgs, whole};
use super::own::{block_on, open};
use super::{Outcome, load, print};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::config::{Config, StoreKind};
use crate::history::suggest::{Proposal, Suggest, profiles};
use crate::policy::scope::Scope;
use crate::store::portcullis::{IfMissing, Token};

/// The rules, and the requests.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct SuggestArgs {
    /// The config whose rules say what is needed (TOML)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    audits: AuditArgs,
    /// Only for this caller, by `principal` or `token_fp` of its records; repeat it
    #[arg(long = "token", value_name = "ID")]
    tokens: Vec<String>,
    /// Only from this time on (`2026-12-01T00:00:00Z`), or for so long back (`30d`)
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Since>,
    /// Leave the token store alone; else the tokens in it that did nothing are listed
    #[arg(long)]
    no_store: bool,
    /// Print one JSON object a caller
    #[arg(long)]
    json: bool,
}

/// From when on.
#[derive(Clone, Copy, Debug)]
enum Since {
    Time(Timestamp),
    Back(Duration),
}

fn since(text: &str) -> Result<Since, String> {
    let back = humantime::parse_duration(text).map(Since::Back);
    let time = || humantime::parse_rfc3339_weak(text).map(|time| Since::Time(time.into()));
    let date = || humantime::parse_rfc3339(&format!("{text}T00:00:00Z"));
    let date = || date().map(|time| Since::Time(time.into()));
    back.or_else(|_| time()).or_else(|_| date()).map_err(|_| {
        "write a time such as `2026-12-01T00:00:00Z`, a date, or for how long, such as `30d`".into()
    })
}

pub(super) fn run(args: &SuggestArgs) -> anyhow::Result<Outcome> {
    let config = load(&args.config)?;
    let now = SystemClock.now();
    let since = args.since.map(|since| match since {
        Since::Time(time) => time,
        Since::Back(duration) => {
            let back = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            Timestamp::from_millis(now.as_millis().saturating_sub(back))
        }
    });
    let mut suggest = Suggest::new(&config.policy, now, args.tokens.iter().cloned(), since);
    let bad = args.audits.read(|entry| suggest.add(entry))?;
    let proposals = suggest.proposals();
    for warning in suggest.warnings() {
        eprintln!("warning: {warning}");
    }
    if suggest.strangers() > 0 {
        eprintln!(
            "note: of {} requests nobody was known, so they are left out",
            suggest.strangers()
        );
    }
    print(&text(&proposals, &args.config.to_string_lossy(), args.json)?)?;
    if !args.no_store && args.tokens.is_empty() {
        idle(&config, &proposals, now)?;
    }
    whole(bad)?;
    if proposals.is_empty() {
        eprintln!("nothing was let through of what was asked about; there is nothing to propose");
        return Ok(Outcome::Negative);
    }
    Ok(Outcome::Fine)
}

fn text(proposals: &[Proposal], config: &str, json: bool) -> anyhow::Result<String> {
    let mut text = String::new();
    for proposal in proposals {
        if json {
            let mut value = serde_json::to_value(proposal)?;
            value["command"] = proposal.needs_a_token().then(|| proposal.command(config)).into();
            text.push_str(&format!("{value}\n"));
        } else {
            text.push_str(&format!("{}\n", proposal.told(config)));
        }
    }
    if !json {
        text.push_str(&profiles(proposals));
    }
    Ok(text)
}

/// Says which tokens of the gateway hold something, and were not seen.
fn idle(config: &Config, proposals: &[Proposal], now: Timestamp) -> anyhow::Result<()> {
    let own = config.stores.iter().find_map(|store| match &store.kind {
        StoreKind::Portcullis(own) => Some(own),
        StoreKind::Sentry(_)
        | StoreKind::Introspection(_)
        | StoreKind::Jwt(_)
        | StoreKind::File(_) => None,
    });
    let Some(own) = own else { return Ok(()) };
    let listed = block_on(async {
        let store = open(own, IfMissing::Fail).await?;
        let listed = store.list().await;
        store.close().await;
        Ok(listed?.0)
    });
    let tokens = match listed {
        Ok(tokens) => tokens,
        Err(error) => {
            eprintln!(
                "note: the token store can't be read, so tokens that did nothing are not listed: {error:#}"
            );
            return Ok(());
        }
    };
    let seen: BTreeSet<&str> = proposals.iter().map(|one| one.principal.as_str()).collect();
    let is_idle = |token: &&Token| {
        let over = token.expires_at.is_some_and(|end| end <= now) || token.revoked_at.is_some();
        !over && !seen.contains(token.id.as_str())
    };
    for token in tokens.iter().filter(is_idle) {
        let (id, name) = (&token.id, token.name.escape_debug());
        let scopes: Vec<_> = token.scopes.iter().map(Scope::as_str).collect();
        eprintln!("note: `{id}` ({name}) holds {} and did nothing here", scopes.join(" "));
    }
    Ok(())
}
