//! `portcullis demo`: the quickstart.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::Outcome;
use crate::demo::{Demo, Tokens};
use crate::telemetry::diagnostics::{self, Level};

/// Where the demo listens.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct DemoArgs {
    /// The address of the gateway; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The address of its admin listener; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    admin: SocketAddr,
    /// Print one JSON object, on one line, instead of curl lines
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Addresses<'a> {
    gateway: String,
    admin: String,
    upstream: String,
    tokens: &'a Tokens,
}

/// Serves a demo until a signal comes.
pub(super) fn run(args: &DemoArgs) -> anyhow::Result<Outcome> {
    diagnostics::start(if args.json { Level::Info } else { Level::Warn });
    let demo = Demo::build(args.listen, args.admin)?;
    let url = |address| format!("http://{address}");
    if args.json {
        let addresses = Addresses {
            gateway: url(demo.gateway),
            admin: url(demo.admin),
            upstream: url(demo.upstream),
            tokens: &demo.tokens,
        };
        println!("{}", serde_json::to_string(&addresses)?);
    } else {
        print!("{}", guide(&url(demo.gateway), &url(demo.admin), &demo.tokens));
    }
    demo.run()?;
    Ok(Outcome::Fine)
}

/// The curl lines, each under the answer that it gets.
fn guide(gateway: &str, admin: &str, tokens: &Tokens) -> String {
    let issues = format!("{gateway}/api/0/organizations/acme/issues/");
    let bearer = |token: &str| format!("-H 'Authorization: Bearer {token}'");
    let basic = STANDARD.encode(format!("{}:", tokens.api_key));
    let dsn = &tokens.dsn;
    let feedback = format!("{gateway}/api/0/projects/acme/web/user-feedback/");
    let lines = [
        ("401: no credential", issues.clone()),
        (
            "200: two Link targets, both on the gateway",
            format!("{} {issues}", bearer(&tokens.read)),
        ),
        ("200: the next page", format!("{} '{issues}?&cursor=0:3:0'", bearer(&tokens.read))),
        (
            "403: `detail` names the scope that is missing",
            format!("{} {issues}", bearer(&tokens.none)),
        ),
        (
            "403: reading is not deleting",
            format!("-X DELETE {} '{issues}?id=1'", bearer(&tokens.read)),
        ),
        ("200: every scope", format!("-X DELETE {} '{issues}?id=1'", bearer(&tokens.all))),
        ("401: expired", format!("{} {issues}", bearer(&tokens.expired))),
        ("200: an API key", format!("-H 'Authorization: Basic {basic}' {issues}")),
        (
            "200: a DSN, where Sentry takes one",
            format!("-X POST -H 'Authorization: DSN {dsn}' -d name=x {feedback}"),
        ),
        ("401: a DSN, where it does not", format!("-H 'Authorization: DSN {dsn}' {issues}")),
        (
            "400: a path that could be read in two ways",
            format!("--path-as-is {gateway}/api/0/organizations/acme%2Fmembers/issues/"),
        ),
        ("404: no such route", format!("{} {gateway}/api/0/nothing/", bearer(&tokens.all))),
        ("200: metrics, on the admin listener", format!("{admin}/metrics")),
    ];
    let mut text = format!(
        "Portcullis is serving a sample upstream on {gateway} (admin: {admin}).\n\
         Everything ends with Ctrl-C. Paste a line; the answer's status stands above it.\n"
    );
    for (answer, arguments) in lines {
        text.push_str(&format!("\n# {answer}\ncurl -sS -i {arguments}\n"));
    }
    text.push('\n');
    text
}
