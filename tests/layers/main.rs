//! The shape of the crate, kept by a test: which module may use which, and what must not appear in it.
//!
//! [`LAYERS`] is the table, from the bottom up; adding a module is adding a row. The checker reads
//! the source by tokens, so comments and strings don't count, and neither does what only tests see.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod source;

use std::io;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use source::{compared, paths, tokens, without_tests};

/// A file longer than this has a second idea hiding in it.
const MAX_LINES: usize = 400;

/// A module of the crate, or several that follow the same rules.
struct Layer {
    /// The module, as its path under `src/` without `.rs`.
    module: &'static str,
    /// What it may use of the crate besides itself: modules, or single items of them.
    may_use: &'static [&'static str],
    /// Paths and keywords that must not appear in it.
    forbidden: &'static [&'static [&'static str]],
}

/// From the bottom up: a row may use rows above it in this list, never below.
const LAYERS: &[Layer] = &[
    Layer { module: "clock", may_use: &[], forbidden: &[PINGORA, LIBRARIES, INPUT_OUTPUT, ASYNC] },
    Layer { module: "budget", may_use: &[], forbidden: PURE },
    Layer {
        module: "tls",
        may_use: &["clock"],
        forbidden: &[PINGORA, LIBRARIES, INPUT_OUTPUT, ASYNC, READS_A_CLOCK],
    },
    Layer {
        module: "client",
        may_use: &["tls"],
        forbidden: &[PINGORA, LIBRARIES, INPUT_OUTPUT, READS_A_CLOCK],
    },
    Layer {
        module: "server_tls",
        may_use: &["clock"],
        forbidden: &[PINGORA, LIBRARIES, INPUT_OUTPUT, ASYNC, READS_A_CLOCK],
    },
    Layer { module: "proxy_protocol", may_use: &[], forbidden: PURE },
    Layer { module: "readiness", may_use: &[], forbidden: PURE },
    // What is decided and rewritten: values in, values out.
    Layer { module: "policy", may_use: &["clock"], forbidden: PURE },
    // It reads JSON.
    Layer { module: "rewrite", may_use: &["policy"], forbidden: PURE_BUT_JSON },
    Layer { module: "forward", may_use: &["policy", "rewrite"], forbidden: PURE },
    // It reads JSON.
    Layer { module: "peek", may_use: &["policy"], forbidden: PURE_BUT_JSON },
    Layer { module: "limit", may_use: &["policy"], forbidden: PURE },
    // Who waits for a connection to end is told.
    Layer {
        module: "seats",
        may_use: &["limit"],
        forbidden: &[PINGORA, LIBRARIES, INPUT_OUTPUT, READS_A_CLOCK],
    },
    // It signs what was decided, in JSON.
    Layer {
        module: "assertion",
        may_use: &["clock", "policy"],
        forbidden: &[PINGORA, STORAGE, INPUT_OUTPUT, ASYNC, READS_A_CLOCK, &["toml", "prometheus"]],
    },
    // The outside: what is recorded, token stores, files. They don't know each other, but a config
    // names a log level and where a store is.
    Layer {
        module: "telemetry",
        may_use: &["policy", "clock", "tls", "client"],
        forbidden: &[PINGORA, STORAGE, READS_A_CLOCK],
    },
    Layer {
        module: "spool",
        may_use: &["budget"],
        forbidden: &[PINGORA, STORAGE, READS_A_CLOCK, &["serde", "toml", "prometheus"]],
    },
    Layer {
        module: "shared_counts",
        may_use: &["clock", "tls", "limit", "policy::credential::hex"],
        forbidden: &[PINGORA, STORAGE, READS_A_CLOCK, &["serde", "toml", "prometheus"]],
    },
    Layer {
        module: "store",
        may_use: &["policy", "clock", "tls", "client", "limit", "assertion::TYPE"],
        forbidden: &[PINGORA, READS_A_CLOCK, &["prometheus"]],
    },
    Layer {
        module: "directory",
        may_use: &["policy", "client", "tls", "forward"],
        forbidden: &[PINGORA, READS_A_CLOCK, &["prometheus", "sqlx"]],
    },
    Layer {
        module: "config",
        may_use: &[
            "clock",
            "tls",
            "server_tls",
            "policy",
            "rewrite",
            "limit",
            "assertion",
            "forward::may_assert",
            "telemetry::diagnostics::Level",
            "telemetry::errors::Dsn",
            "telemetry::errors::ErrorSettings",
            "telemetry::audit::AuditSettings",
            "telemetry::audit::Output",
            "telemetry::audit::Selection",
            "telemetry::audit::WhenFull",
            "telemetry::privacy",
            "telemetry::spans::Settings",
            "seats::SeatLimits",
            "spool::SpoolSettings",
            "shared_counts::redis::Settings",
            "store::introspection::Protocol",
            "store::jwt",
            "store::portcullis::StoreLocation",
            "store::portcullis::TokenKind",
            "store::postgres::Address",
        ],
        forbidden: &[PINGORA, STORAGE, ASYNC, READS_A_CLOCK, &["prometheus"]],
    },
    Layer {
        module: "routes",
        may_use: &["policy"],
        forbidden: &[PINGORA, STORAGE, INPUT_OUTPUT, ASYNC, READS_A_CLOCK],
    },
    // What an audit tells afterwards.
    Layer {
        module: "history",
        may_use: &["policy", "clock"],
        forbidden: &[PINGORA, STORAGE, INPUT_OUTPUT, ASYNC, READS_A_CLOCK],
    },
    // The story of a request.
    Layer {
        module: "gateway",
        may_use: &["policy", "store", "clock", "directory", "limit", "shared_counts"],
        forbidden: &[
            PINGORA,
            STORAGE,
            INPUT_OUTPUT,
            READS_A_CLOCK,
            &["serde", "toml", "prometheus"],
        ],
    },
    Layer {
        module: "explain",
        may_use: &["gateway", "policy", "clock", "limit"],
        forbidden: &[PINGORA, STORAGE, INPUT_OUTPUT, READS_A_CLOCK],
    },
    // The adapter to pingora. It asks the gateway, never a store.
    Layer {
        module: "proxy",
        may_use: &[
            "gateway",
            "peek",
            "assertion",
            "budget",
            "policy",
            "limit",
            "forward",
            "rewrite",
            "telemetry",
            "clock",
            "tls",
            "readiness",
            "seats",
            "config::HealthCheck",
            "config::Upstream",
            "config::Upstreams",
            "spool",
            "store::cache::CacheResult",
            "store::cache::Canary",
            "store::portcullis::PortcullisStore",
            "store::Sighting",
            "store::Usage",
        ],
        forbidden: &[STORAGE, READS_A_CLOCK, &["toml"]],
    },
    Layer {
        module: "reload",
        may_use: &["config::Problem", "telemetry::metrics::ReloadResult"],
        forbidden: &[PINGORA, STORAGE, INPUT_OUTPUT, READS_A_CLOCK],
    },
    // The composition: the only places that know everything.
    Layer {
        module: "stores",
        may_use: &["clock", "config", "store", "directory", "policy::site::BaseUrl"],
        forbidden: &[PINGORA, STORAGE, READS_A_CLOCK],
    },
    // It asks a gateway and its Sentry from outside, so it knows no part that serves.
    Layer {
        module: "doctor",
        may_use: &[
            "clock",
            "tls",
            "client",
            "forward::X_FORWARDED_FOR",
            "forward::X_FORWARDED_PROTO",
            "policy",
            "rewrite",
            "config",
            "shared_counts",
            "store",
            "stores",
        ],
        forbidden: &[PINGORA, STORAGE, READS_A_CLOCK, &["prometheus", "toml"]],
    },
    // It knows of a chain what anybody outside does.
    Layer {
        module: "attack",
        may_use: &["clock", "tls", "policy::site"],
        forbidden: &[PINGORA, STORAGE, READS_A_CLOCK, &["prometheus", "sqlx"]],
    },
    Layer {
        module: "admin",
        may_use: &[
            "gateway",
            "assertion",
            "explain",
            "telemetry",
            "readiness",
            "reload",
            "clock",
            "limit::key::network",
            "policy::credential::Digest",
            "policy::path::decoded",
            "policy::method::Method",
            "policy::profile::Profiles",
            "policy::site::Authority",
            "proxy::InForce",
            "policy::identity",
            "policy::scope",
            "store::cache::Used",
            "store::portcullis",
            "store::Chain",
            "store::StoreError",
            "proxy::Serving",
        ],
        forbidden: &[STORAGE, READS_A_CLOCK],
    },
    Layer {
        module: "server",
        may_use: &[
            "clock",
            "budget",
            "server_tls",
            "proxy_protocol",
            "readiness",
            "seats",
            "reload",
            "policy",
            "limit",
            "rewrite",
            "forward",
            "assertion",
            "telemetry",
            "config",
            "spool",
            "shared_counts",
            "store",
            "directory",
            "stores",
            "gateway",
            "proxy",
            "admin",
        ],
        forbidden: &[READS_A_CLOCK],
    },
    Layer {
        module: "demo",
        may_use: &["clock", "policy", "config", "store", "telemetry", "server"],
        forbidden: &[READS_A_CLOCK],
    },
    Layer {
        module: "cli",
        may_use: &[
            "client",
            "clock",
            "tls",
            "policy",
            "limit",
            "directory",
            "config",
            "spool",
            "shared_counts",
            "store",
            "stores",
            "gateway",
            "routes",
            "history",
            "explain",
            "telemetry",
            "doctor",
            "attack",
            "server",
            "demo",
        ],
        forbidden: &[PINGORA, READS_A_CLOCK],
    },
    Layer { module: "lib", may_use: &[], forbidden: PURE },
    Layer { module: "main", may_use: &["cli"], forbidden: PURE },
];

const PURE: &[&[&str]] = &[PINGORA, LIBRARIES, INPUT_OUTPUT, ASYNC, READS_A_CLOCK];
/// The same, but that it reads JSON.
const PURE_BUT_JSON: &[&[&str]] = &[
    PINGORA,
    STORAGE,
    INPUT_OUTPUT,
    ASYNC,
    READS_A_CLOCK,
    &["toml", "prometheus", "tracing", "log"],
];
const PINGORA: &[&str] = &["pingora"];
const LIBRARIES: &[&str] = &["serde", "toml", "prometheus", "tracing", "log", "sqlx", "moka"];
const STORAGE: &[&str] = &["sqlx", "moka"];
const INPUT_OUTPUT: &[&str] = &["std::fs", "std::net", "std::env", "std::thread"];
const ASYNC: &[&str] = &["tokio", "async"];
const READS_A_CLOCK: &[&str] = &["SystemTime::now", "Instant::now"];

/// What a forbidden path does not cover: addresses are values, no connections.
const ALLOWED: &[&str] =
    &["std::net::IpAddr", "std::net::Ipv4Addr", "std::net::Ipv6Addr", "std::net::SocketAddr"];

#[test]
fn modules_use_only_what_their_layer_may() {
    let problems = every_file(|path, text, problems| check_imports(LAYERS, path, text, problems));
    assert!(problems.is_empty(), "{}", report(&problems));
}

#[test]
fn every_file_says_what_it_is_for() {
    let problems = every_file(check_first_line);
    assert!(problems.is_empty(), "{}", report(&problems));
}

#[test]
fn no_file_is_too_long() {
    let problems = every_file(check_length);
    assert!(problems.is_empty(), "{}", report(&problems));
}

/// AC-087. How long a comparison takes tells nothing: secrets are looked up and compared by their digests, and
/// what gives one out is not compared. That types of secrets have no `==` is checked where they are.
#[test]
fn no_secret_is_compared() {
    let problems = every_file(check_comparisons);
    assert!(problems.is_empty(), "{}", report(&problems));
}

#[test]
fn the_table_points_down_and_every_row_is_in_use() {
    let files = sources().unwrap();
    for (index, layer) in LAYERS.iter().enumerate() {
        for used in layer.may_use {
            let module = used.split("::").next().unwrap_or_default();
            let below = LAYERS[..index].iter().any(|other| other.module == module);
            assert!(below, "`{}` may use `{used}`, which is not below it", layer.module);
        }
        let files = files
            .iter()
            .filter(|(path, _)| layer_of(LAYERS, path).is_some_and(|l| l.module == layer.module));
        assert_ne!(files.count(), 0, "the row `{}` has no file; delete it", layer.module);
    }
}

/// Each line breaks a rule, or does not: what the checker says of it.
#[test]
fn the_checker_finds_what_is_wrong_and_nothing_else() {
    let rows: &[(&str, &str, &[&str])] = &[
        ("policy/path.rs", "use std::fmt;", &[]),
        ("policy/path.rs", "use super::rules::{Rule, RuleId};", &[]),
        ("policy/path.rs", "use crate::policy::scope::Scope;", &[]),
        ("policy/path.rs", "use crate::clock::Timestamp;", &[]),
        ("policy/path.rs", "use crate::store::Identities;", &["crate::store::Identities"]),
        (
            "policy/path.rs",
            "use crate::{clock::Timestamp, gateway::{Admission, Gateway}};",
            &["crate::gateway::Admission", "crate::gateway::Gateway"],
        ),
        (
            "policy/path.rs",
            "use super::super::store::Identities;",
            &["super::super::store::Identities"],
        ),
        ("policy/path.rs", "fn f() { crate::telemetry::start() }", &["crate::telemetry::start"]),
        ("policy/path.rs", "use serde::Deserialize;", &["serde::Deserialize"]),
        ("policy/path.rs", "#[derive(Debug, serde::Serialize)] struct S;", &["serde::Serialize"]),
        ("policy/path.rs", "fn f() { serde_json::to_string(&1) }", &["serde_json::to_string"]),
        ("policy/path.rs", "fn f() { log::warn!(\"x\") }", &["log::warn"]),
        ("policy/path.rs", "fn f(log: &Log) { log.write() }", &[]),
        ("policy/path.rs", "async fn f() {}", &["async"]),
        ("policy/path.rs", "use std::{fmt, fs};", &["std::fs"]),
        ("policy/path.rs", "use std::net::{IpAddr, TcpStream};", &["std::net::TcpStream"]),
        (
            "policy/path.rs",
            "use std::time; fn f() { time::Instant::now(); }",
            &["time::Instant::now"],
        ),
        ("policy/path.rs", "fn f() { ::std::env::var(\"A\"); }", &["std::env::var"]),
        (
            "policy/path.rs",
            "// use tokio::net;\n/* use std::fs; /* */ use std::fs; */ const A: &str = \"use std::fs; \\\" serde::x\";",
            &[],
        ),
        (
            "policy/path.rs",
            "const A: &str = r#\"\" serde::x\"#; const B: char = '\"'; use std::fs::File;",
            &["std::fs::File"],
        ),
        (
            "policy/path.rs",
            "fn f<'a>(a: &'a str) -> Tokio<'a> { tokio::spawn(a) }",
            &["tokio::spawn"],
        ),
        (
            "policy/path.rs",
            "#[cfg(test)] mod tests { use std::fs::File; fn f() {} } use std::fs::Dir;",
            &["std::fs::Dir"],
        ),
        ("policy/path.rs", "#[cfg(test)] mod tests; use std::fs::Dir;", &["std::fs::Dir"]),
        ("policy/path/tests.rs", "use std::fs::File;", &[]),
        ("forward.rs", "use super::store::Identities;", &["super::store::Identities"]),
        ("forward.rs", "use pingora_core::Error;", &["pingora_core::Error"]),
        ("config/mod.rs", "use crate::telemetry::diagnostics::Level;", &[]),
        (
            "config/mod.rs",
            "use crate::telemetry::{diagnostics::{self, Level}, Record};",
            &["crate::telemetry::diagnostics::self", "crate::telemetry::Record"],
        ),
        ("gateway.rs", "use pingora::prelude::*;", &["pingora::prelude"]),
        (
            "proxy/mod.rs",
            "use pingora::proxy::Session; use crate::server::Server;",
            &["crate::server::Server"],
        ),
        ("main.rs", "fn main() { portcullis::cli::main() }", &[]),
        ("main.rs", "fn main() { portcullis::server::run() }", &["portcullis::server::run"]),
        ("server.rs", "use crate::store::portcullis::admin::NewToken;", &[]),
        ("surprise.rs", "use std::fmt;", &["surprise.rs"]),
    ];
    for (path, text, expected) in rows {
        let mut problems = Vec::new();
        check_imports(LAYERS, path, text, &mut problems);
        let found: Vec<_> = problems.iter().map(|problem| problem.what.as_str()).collect();
        assert_eq!(&found, expected, "{path}: {text}");
    }
}

#[test]
fn a_secret_that_is_compared_is_found() {
    for (text, lines) in [
        ("fn f() { store(secret.expose()); let a = secret.expose(); }", &[][..]),
        ("fn f() { Digest::of(secret.expose()) == digest }", &[]),
        ("fn f() { self.secret.expose() == text }", &[1]),
        ("fn f() {\n    text != *self.secret.expose()\n}", &[2]),
        ("fn f() { secret.expose().starts_with(text) }", &[1]),
        ("fn f() { secret.expose().as_bytes() }", &[]),
        ("// secret.expose() == text", &[]),
    ] {
        let mut problems = Vec::new();
        check_comparisons("a.rs", text, &mut problems);
        let found: Vec<_> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(found, lines, "{text}");
    }
}

#[test]
fn a_file_without_a_word_about_itself_and_a_long_file_are_found() {
    let mut problems = Vec::new();
    check_first_line("a.rs", "//! What it is for.\n", &mut problems);
    check_length("a.rs", &"\n".repeat(MAX_LINES), &mut problems);
    assert!(problems.is_empty(), "{}", report(&problems));

    check_first_line("a.rs", "use std::fmt;\n//! Too late.\n", &mut problems);
    check_first_line("a.rs", "//!\n", &mut problems);
    check_length("a.rs", &"\n".repeat(MAX_LINES + 1), &mut problems);
    assert_eq!(problems.len(), 3, "{}", report(&problems));
}

/// Something that breaks a rule.
#[derive(Debug)]
struct Problem {
    path: String,
    line: usize,
    what: String,
    why: &'static str,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src/{}:{}: `{}` {}", self.path, self.line, self.what, self.why)
    }
}

fn report(problems: &[Problem]) -> String {
    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    format!("the table is in tests/layers/main.rs\n{}", lines.join("\n"))
}

fn every_file(check: impl Fn(&str, &str, &mut Vec<Problem>)) -> Vec<Problem> {
    let mut problems = Vec::new();
    match sources() {
        Ok(files) => files.iter().for_each(|(path, text)| check(path, text, &mut problems)),
        Err(error) => panic!("src/ can't be read: {error}"),
    }
    problems
}

/// Every file under `src/`: its path there, and its text.
fn sources() -> io::Result<Vec<(String, String)>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders: Vec<PathBuf> = vec![root.clone()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).unwrap_or(&path).to_string_lossy();
                files.push((name.replace('\\', "/"), fs::read_to_string(&path)?));
            }
        }
    }
    files.sort();
    Ok(files)
}

fn check_first_line(path: &str, text: &str, problems: &mut Vec<Problem>) {
    let first = text.lines().next().unwrap_or_default();
    if first.strip_prefix("//! ").is_none_or(|words| words.trim().is_empty()) {
        let why = "is the first line; start with `//! ` and what the module is for";
        problems.push(Problem { path: path.to_owned(), line: 1, what: first.to_owned(), why });
    }
}

fn check_length(path: &str, text: &str, problems: &mut Vec<Problem>) {
    let lines = text.lines().count();
    if lines > MAX_LINES {
        let why = "are more than 400; find the second idea and give it a file of its own";
        problems.push(Problem {
            path: path.to_owned(),
            line: lines,
            what: format!("{lines} lines"),
            why,
        });
    }
}

fn check_comparisons(path: &str, text: &str, problems: &mut Vec<Problem>) {
    let why = "is compared, and how long that takes tells of it; compare digests";
    for line in compared(&without_tests(&tokens(text)), "expose") {
        problems.push(Problem { path: path.to_owned(), line, what: "expose".to_owned(), why });
    }
}

fn check_imports(layers: &[Layer], path: &str, text: &str, problems: &mut Vec<Problem>) {
    let mut problem = |line, what: &str, why| {
        problems.push(Problem { path: path.to_owned(), line, what: what.to_owned(), why });
    };
    let Some(layer) = layer_of(layers, path) else {
        problem(1, path, "belongs to no layer; add a row to the table");
        return;
    };
    if path.ends_with("/tests.rs") || path.contains("/tests/") {
        return;
    }
    for (line, used) in paths(&without_tests(&tokens(text))) {
        let name = used.join("::");
        if let Some(own) = of_the_crate(layers, path, &used) {
            let may = |allowed: &&str| starts_with(own, &allowed.split("::").collect::<Vec<_>>());
            if own[0] != layer.module && !layer.may_use.iter().any(may) {
                problem(line, &name, "is not for this layer");
            }
        } else if layer.forbidden.iter().copied().flatten().any(|word| is_forbidden(word, &used)) {
            problem(line, &name, "must not be used in this layer");
        }
    }
}

/// The row that a file falls under.
fn layer_of<'a>(layers: &'a [Layer], path: &str) -> Option<&'a Layer> {
    let module = path.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    layers.iter().find(|layer| layer.module == module)
}

/// What `path` names inside the crate, if it does: `crate::a::b` is `a::b`.
fn of_the_crate<'a>(layers: &[Layer], file: &str, path: &'a [&'a str]) -> Option<&'a [&'a str]> {
    let depth = file.trim_end_matches(".rs").trim_end_matches("/mod").split('/').count();
    let supers = path.iter().take_while(|segment| **segment == "super").count();
    match path {
        ["crate", own @ ..] if !own.is_empty() => Some(own),
        ["portcullis", own @ ..] if file == "main.rs" && !own.is_empty() => Some(own),
        _ if supers < depth => None,
        _ => path.get(depth..).filter(|own| {
            own.first().is_some_and(|first| layers.iter().any(|layer| layer.module == *first))
        }),
    }
}

/// A keyword forbids itself; a path forbids itself wherever it appears, and a crate its family too
/// (`serde` and `serde_json`), but not a variable of the same name.
fn is_forbidden(word: &str, path: &[&str]) -> bool {
    if word == "async" {
        return path.iter().any(|segment| *segment == word || segment.starts_with("async_"));
    }
    let word: Vec<_> = word.split("::").collect();
    let allowed =
        ALLOWED.iter().any(|name| starts_with(path, &name.split("::").collect::<Vec<_>>()));
    let found = match word[..] {
        [krate] => {
            let family = path[0]
                .strip_prefix(krate)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
            path.len() > 1 && family
        }
        _ => path.windows(word.len()).any(|part| part == word),
    };
    found && !allowed
}

fn starts_with(path: &[&str], start: &[&str]) -> bool {
    path.len() >= start.len() && path.iter().zip(start).all(|(a, b)| a == b)
}
