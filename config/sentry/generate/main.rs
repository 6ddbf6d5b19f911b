//! Makes `config/sentry.toml` out of what is known of Sentry's routes.
//!
//! `routes.jsonl` says what Sentry's source and its OpenAPI document say; `corrections.jsonl` says
//! where that is not enough, and why; `bindings.jsonl` where requests name projects. What none of them opens
//! stays closed.

mod data;
mod render;
mod rules;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

const WRITE: &str = "cargo run --example sentry-rules -- --write";

const HEADER: &str = r#"# The rules for Sentry's Web API. Generated; don't edit it by hand:
#
#     cargo run --example sentry-rules -- --write
#
# makes it from config/sentry/routes.jsonl, corrections.jsonl and bindings.jsonl. A route that has no rule
# here is refused.
#
# methods      the methods that the rule governs; HEAD follows GET, OPTIONS is answered locally
# path         the route, with Sentry's own parameter names: `{name}` is one segment,
#              `{name:digits}` one of ASCII digits, `{name:path}` all that is left; a trailing slash
#              counts, and the most specific path wins
# aliases      more paths of the same route
# scopes       the scopes of which the caller needs one
# access       instead of scopes: "public" needs no credential, "authenticated" needs a valid one,
#              "not_exposed" lets nobody through
# credentials  the kinds that are taken; without it ["user_token", "org_token", "api_key"]
# exchange     false where no token of the gateway gets through: what makes credentials or members
# timeout      how long Sentry may be silent, where that is longer than usual
# session      whether a browser session gets through, judged by Sentry, where the listener exposes `ui`
# rewrite      the fields of the JSON answer whose URLs clients follow: rewritten to the address that
#              the client called
# projects     where requests name the projects that they are about, besides `{project_…}` in the path: the
#              query ("query": `project`; "search": `query=id:<id>`), the body ("body", "new_release"),
#              the release or the issue in the path ("release", "issue"); empty where nothing is about a
#              project. Tokens that are bound to projects are refused where nothing says it
# add_project  whether what is missing in the query is added for them
# bound        false where a request for one project reaches others, so that they are refused
# since, until the versions of Sentry that the rule is for: from `since` on, and before `until`.
#              `sentry_version` in the config says which version is in front of
"#;

fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Vec<T>> {
    let fix = || format!("cannot read {}; restore it from version control", path.display());
    let text = fs::read_to_string(path).with_context(fix)?;
    let line = |(index, line): (usize, &str)| {
        let fix = || format!("{}:{} is not as expected; correct it", path.display(), index + 1);
        serde_json::from_str(line).with_context(fix)
    };
    text.lines().enumerate().map(line).collect()
}

fn run() -> Result<ExitCode> {
    let config = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config");
    let routes = read(&config.join("sentry/routes.jsonl"))?;
    let mut corrections = read(&config.join("sentry/corrections.jsonl"))?;
    corrections.extend(read(&config.join("sentry/bindings.jsonl"))?);
    let mut made = HEADER.to_owned();
    for rule in rules::rules(&routes, &corrections)? {
        made.push_str(&rule.text);
    }
    let target = config.join("sentry.toml");
    match env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => print!("{made}"),
        [flag] if flag == "--write" => fs::write(&target, made).with_context(|| {
            format!("cannot write {}; make its folder writable", target.display())
        })?,
        [flag] if flag == "--check" => {
            if fs::read_to_string(&target).unwrap_or_default() != made {
                eprintln!("{} is not what its data makes; run `{WRITE}`", target.display());
                return Ok(ExitCode::from(1));
            }
        }
        other => bail!("unknown arguments {other:?}; give `--write`, `--check` or nothing"),
    }
    Ok(ExitCode::SUCCESS)
}

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::from(2)
    })
}
