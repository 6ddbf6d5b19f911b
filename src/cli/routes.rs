//! `portcullis routes`: the rules, what a new version of Sentry adds to them, and rules out of it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Subcommand;

use super::{Outcome, print};
use crate::config::{Config, Machine, SentryVersion};
use crate::policy::rules::RuleTable;
use crate::routes::diff::Diff;
use crate::routes::import::{Import, Wanted};
use crate::routes::openapi::Document;
use crate::routes::{Listed, RouteSet};

/// What to do with routes.
#[derive(Debug, clap::Args)]
pub(super) struct RoutesArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the rules that are in force, a line each
    List {
        #[command(flatten)]
        rules: Rules,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Print rules for what an OpenAPI document of Sentry's has and the rules have not
    ///
    /// Read them, put them into a file of your own and name it in `rules.files`. Tokens of the
    /// gateway are kept out of new routes until you say otherwise; what the document does not say
    /// clearly is not exposed. Exit 1 when they conflict with the rules.
    Import {
        /// The document (JSON), Sentry's `openapi-derefed.json`
        document: PathBuf,
        #[command(flatten)]
        rules: Rules,
        /// Also override what the rules have and the document has otherwise
        #[arg(long)]
        changed: bool,
        /// Also open what the rules close, to Sentry's own tokens: you have read why it is closed
        #[arg(long)]
        open: bool,
        /// Let tokens of the gateway through to new routes: you know that they make no credentials
        #[arg(long)]
        exchange: bool,
    },
    /// Show how two sets of routes differ: exit 0 not at all, 1 they do
    ///
    /// Each is a version of Sentry (`24.7`) or a config (`….toml`), the second also an OpenAPI document
    /// (`….json`). A document does not list every route, so what it lacks is not shown as gone. `now
    /// under` names a wider rule that takes the path of a new route until it has one of its own.
    Diff {
        /// The first
        from: String,
        /// The second
        to: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Which rules are meant: those of a config, or the shipped ones.
#[derive(Debug, clap::Args)]
struct Rules {
    /// The config file (TOML); without it the shipped rules for Sentry
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The shipped rules for this version of Sentry; by default the newest that they know
    #[arg(long, value_name = "VERSION", conflicts_with = "config")]
    sentry_version: Option<SentryVersion>,
}

pub(super) fn run(args: RoutesArgs) -> anyhow::Result<Outcome> {
    match args.action {
        Action::List { rules, json } => list(&rules.load()?, json),
        Action::Import { document, rules, changed, open, exchange } => {
            import(&document, &rules.load()?, Wanted { changed, open, exchange })
        }
        Action::Diff { from, to, json } => diff(&from, &to, json),
    }
}

impl Rules {
    fn load(&self) -> anyhow::Result<RuleTable> {
        let version = self.sentry_version.unwrap_or(SentryVersion::NEWEST);
        Ok(match &self.config {
            Some(path) => Config::load_rules(path, &Machine)?,
            None => Config::sentry_rules(version)?,
        })
    }
}

fn list(rules: &RuleTable, json: bool) -> anyhow::Result<Outcome> {
    let in_force = rules.iter().map(|(_, rule)| Listed::of(rule));
    let in_shadow = rules.in_shadow().map(|(_, rule)| Listed::in_shadow(rule));
    let mut listed: Vec<Listed<'_>> = in_force.chain(in_shadow).collect();
    listed.sort_by_key(|rule| (rule.path, rule.methods.clone()));
    let mut text = String::new();
    for rule in &listed {
        if json {
            text.push_str(&serde_json::to_string(rule)?);
            text.push('\n');
            continue;
        }
        let scopes = rule.scopes.join(" ");
        let asks = if scopes.is_empty() { rule.access } else { &scopes };
        let kept = if rule.exchange || rule.credentials.is_empty() { "" } else { ", no exchange" };
        let takes = rule.credentials.join(" ");
        let takes = if takes.is_empty() { takes } else { format!("; {takes}{kept}") };
        let (methods, path, place) = (rule.methods.join(","), rule.path, rule.place);
        let goes = match (rule.expose, rule.upstream) {
            ("api", "web") => String::new(),
            (expose, upstream) => format!("; by `{expose}` to `{upstream}`"),
        };
        let until = rule.shadow_until.as_ref();
        let until = until.map(|time| format!("; in shadow until {time}")).unwrap_or_default();
        text.push_str(&format!("{methods} {path}\n    {asks}{takes}{goes}{until} ({place})\n"));
    }
    print(&text)?;
    Ok(Outcome::Fine)
}

fn read(path: &Path) -> anyhow::Result<Document> {
    let what = || format!("`{}`", path.display());
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("`{}` can't be read; name a file", path.display()))?;
    let document = Document::parse(&text).with_context(what)?;
    for line in &document.unread {
        eprintln!("note: not read: {line}");
    }
    Ok(document)
}

/// The head of the file that `import` prints.
const READ: &str = "# Read each rule before you name this file in `rules.files`.\n";
const KEPT: &str = "# `exchange = false` keeps tokens of the gateway out; delete it where a route makes and\n\
    # shows no credentials and changes no members.\n";

fn import(path: &Path, rules: &RuleTable, wanted: Wanted) -> anyhow::Result<Outcome> {
    let document = read(path)?;
    let import = Import::new(&document, rules, wanted);
    let version = document.version.escape_debug();
    let (rules, kept) = (import.to_toml()?, if wanted.exchange { "" } else { KEPT });
    print(&format!("# Out of an OpenAPI document of Sentry ({version}).\n{READ}{kept}{rules}"))?;
    for closed in &import.closed {
        eprintln!("note: closed by a rule, and left so: {closed}");
    }
    eprintln!("{} rules out of {} operations", import.len(), document.set.routes.len());
    for conflict in &import.conflicts {
        eprintln!("error: {conflict}");
    }
    Ok(if import.conflicts.is_empty() { Outcome::Fine } else { Outcome::Negative })
}

fn diff(from: &str, to: &str, json: bool) -> anyhow::Result<Outcome> {
    let first = routes(from)?;
    if !first.is_complete {
        bail!("`{from}` is a document, which does not list every route; name it second");
    }
    let diff = Diff::between(&first, &routes(to)?);
    print(&if json { serde_json::to_string(&diff)? + "\n" } else { diff.to_string() })?;
    Ok(if diff.is_empty() { Outcome::Fine } else { Outcome::Negative })
}

/// The routes of a version, a document or a config.
fn routes(text: &str) -> anyhow::Result<RouteSet> {
    let path = Path::new(text);
    if let Ok(version) = text.parse::<SentryVersion>() {
        return Ok(RouteSet::of_rules(&Config::sentry_rules(version)?));
    }
    if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json")) {
        return Ok(read(path)?.set);
    }
    Ok(RouteSet::of_rules(&Config::load_rules(path, &Machine)?))
}
