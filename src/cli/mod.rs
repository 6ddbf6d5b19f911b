//! The commands, one file each.
//!
//! Exit codes are the same everywhere: 0 fine, 1 a negative answer, 2 could not run.

mod attack;
mod audits;
mod block;
mod check;
mod demo;
mod doctor;
mod explain;
mod generate;
mod own;
mod ready;
mod replay;
mod routes;
mod serve;
mod suggest;
mod token;
mod trail;

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::config::{Config, Machine};
use crate::store::Chain;
use crate::telemetry::diagnostics;

/// What a command came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done; for a question, yes.
    Fine,
    /// The answer is no.
    Negative,
}

/// The exit code of what could not be run.
const COULD_NOT_RUN: u8 = 2;

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Fine => ExitCode::SUCCESS,
            Outcome::Negative => ExitCode::from(1),
        }
    }
}

/// An authenticating gateway in front of the Web API of a self-hosted Sentry.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 fine, 1 a negative answer (problems found, token not found), \
                        2 could not run.\nTry it without a Sentry: portcullis demo"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Serve(ConfigArgs),
    /// Run a gateway in front of a sample upstream, with tokens, and print curl lines to try
    Demo(demo::DemoArgs),
    /// Read the config, its rules and its token stores as a start would, and change nothing
    Check(ConfigArgs),
    /// Ask the gateway and the Sentry that run what operators get wrong, and say what to do
    Doctor(doctor::DoctorArgs),
    /// Attack a chain of proxies from outside, and say what got through: exit 0 nothing, 1 something
    Attack(Box<attack::AttackArgs>),
    /// Say whether the gateway that runs here is ready: exit 0 ready, 1 not
    Ready(ready::ReadyArgs),
    /// Say what would become of a request, and why: exit 0 allowed, 1 refused
    Explain(explain::ExplainArgs),
    /// List the rules, compare them with a version of Sentry, and make rules of its document
    Routes(routes::RoutesArgs),
    /// Propose the narrowest tokens that would have been let through with what callers did
    Suggest(suggest::SuggestArgs),
    /// Decide on the requests of an audit again, by another config: exit 1 when a verdict flips
    Replay(replay::ReplayArgs),
    /// Print the schema and the reference of the config, or the table of the metrics
    #[command(subcommand)]
    Generate(generate::GenerateArgs),
    /// Create, list, show and revoke the tokens that the gateway itself issues
    Token(token::TokenArgs),
    /// Refuse credentials by fingerprint, whoever issued them
    Block(block::BlockArgs),
}

/// Where the config is.
#[derive(Clone, Debug, clap::Args)]
pub struct ConfigArgs {
    /// The config file (TOML)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Runs the command of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Serve(args) => serve::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Attack(args) => attack::run(*args),
        Command::Ready(args) => ready::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Routes(args) => routes::run(args),
        Command::Suggest(args) => suggest::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Token(args) => token::run(args),
        Command::Block(args) => block::run(&args),
    };
    diagnostics::finish();
    match outcome {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            eprintln!("error: {}", Chain(error.as_ref()));
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

/// Prints the answer of a command. Whoever reads it may have had enough, as `head` has.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("standard output can't be written to")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Reads the config of a command.
fn load(path: &Path) -> anyhow::Result<Config> {
    Ok(Config::load(path, &Machine)?)
}
