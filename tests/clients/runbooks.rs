//! What the runbooks say that `sentry-cli` prints for a `code` is what it prints.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use portcullis::clock::{Clock as _, SystemClock};
use portcullis::policy::reason::{Reason, UpstreamFailure};
use serde_json::{Value, json};

use crate::client::{Client, Home, PATIENCE};
use crate::http::{Answer, Seen, Server};
use crate::key::Key;
use crate::process::Serving;
use crate::sentry::CREDENTIAL;
use crate::silent::Silent;
use crate::stage::free_url;
use crate::uploads::library;

const LIST: &[&str] = &["projects", "list"];
const NEW: &[&str] = &["releases", "new", "1.0.0"];
/// A rule in place of the one that Sentry has.
const PROJECTS: &str = "[[rule]]\noverride = true\nmethods = [\"GET\"]\nscopes = [\"org:read\"]\n\
    path = \"/api/0/organizations/{organization_id_or_slug}/projects/\"\n\
    credentials = [\"org_token\"]\n";
/// The only rule.
const RELEASES: &str = "[[rule]]\nmethods = [\"GET\"]\nscopes = [\"org:read\"]\n\
    path = \"/api/0/organizations/{organization_id_or_slug}/releases/\"\n";
const REMOVED: &str =
    "[[remove]]\npath = \"/api/0/organizations/{organization_id_or_slug}/projects/\"\n";

/// How `sentry-cli` comes to meet a code.
#[derive(Clone, Copy)]
struct Row {
    code: &'static str,
    words: &'static [&'static str],
    token: Token,
    /// Lines of `[upstream.web]`.
    web: &'static str,
    /// Lines of `[[store]]`.
    store: &'static str,
    /// Lines of `[rules]`, and the file of own rules.
    rules: (&'static str, &'static str),
    /// Lines of `[spool]`.
    spool: &'static str,
    /// It is called by this name instead of its address.
    host: &'static str,
    /// Somebody else's request that is on its way, and how many of it.
    other: &'static str,
    others: usize,
    /// Whether the disk is full.
    full: bool,
}

#[derive(Clone, Copy)]
enum Token {
    /// One that this text is.
    Text(&'static str),
    /// Another one each time, of nobody.
    Unknown,
    /// Made with these words.
    Made(&'static str),
    Revoked,
    /// Of the issuer whom the config trusts, for a job that no policy is for.
    Jwt,
}

const READER: Token = Token::Made("--expires 1h --scope org:read --scope project:releases");
const BOUND: Token = Token::Made("--expires 1h --scope org:read --organization acme");

const fn row(code: &'static str, words: &'static [&'static str]) -> Row {
    let (web, store, rules, spool) = ("", OWN, ("", ""), "");
    let (host, other, others, full) = ("127.0.0.1", "", 0, false);
    Row { code, words, token: READER, web, store, rules, spool, host, other, others, full }
}

/// Of an upstream at whose address nobody listens.
const GONE: &str = "connect_timeout = \"1s\"";
/// Of somebody who tries tokens.
const GUESSES: &str = "GET /api/0/organizations/ HTTP/1.1\r\nHost: HOST\r\n\
    Authorization: Bearer sntryu_guess-NUMBER\r\n\r\n";
const OWN: &str = "kind = \"portcullis\"\nurl = \"sqlite://tokens.db\"";
/// Of somebody whose request takes its time.
const SILENT: &str = "GET /api/0/organizations/silent/projects/ HTTP/1.1\r\nHost: HOST\r\n\
    Authorization: Bearer TOKEN\r\n\r\n";
/// Nobody listens there.
const AWAY: &str = "kind = \"introspection\"\nurl = \"http://127.0.0.1:9/api/0/\"";
const FEW: &str = "kind = \"portcullis\"\nurl = \"sqlite://tokens.db\"\n\
    unknown_per_second = 1\nunknown_per_client = 1";
const AUDIT: &str = "[audit]\noutput = \"audit.log\"\nwhen_full = \"wait\"\nmax_wait = \"100ms\"";
const ISSUER: &str = "[[issuer]]\nname = \"ci\"\nissuer = \"https://issuer.example\"\n\
    audiences = [\"sentry\"]\nalgorithms = [\"ES256\"]\njwks_file = \"keys.json\"\n\
    [[issuer.trust]]\nclaims = { repository = \"acme/web\" }\nscopes = [\"org:read\"]";
const CHUNKED: &[&str] = &["--header", "Transfer-Encoding: chunked", "releases", "new", "1.0.0"];

const ROWS: &[Row] = &[
    row("malformed_request", &["--header", "Content-Length: 3", "projects", "list"]),
    row("bad_path", &["projects", "list", "--org", "a\\b"]),
    row("multiple_credentials", &["--header", "X-Sentry-Auth: sentry_key=a", "projects", "list"]),
    Row { token: Token::Text(""), ..row("missing_credential", LIST) },
    Row { token: Token::Text("portcullis_damaged"), ..row("malformed_credential", LIST) },
    Row { rules: ("", PROJECTS), ..row("wrong_credential_kind", LIST) },
    Row { token: Token::Unknown, ..row("unknown_token", LIST) },
    Row { token: Token::Made("--expires 1s --scope org:read"), ..row("expired_token", LIST) },
    Row { token: Token::Revoked, ..row("disabled_token", LIST) },
    Row { token: Token::Jwt, spool: ISSUER, ..row("no_trust_policy", LIST) },
    Row { token: Token::Made("--expires 1h --scope event:read"), ..row("missing_scope", LIST) },
    Row { token: BOUND, ..row("wrong_organization", &["projects", "list", "--org", "other"]) },
    Row { token: BOUND, ..row("binding", &["organizations", "list"]) },
    Row {
        token: Token::Made("--expires 1h --scope project:releases --read-only"),
        ..row("read_only", NEW)
    },
    Row {
        token: Token::Made("--expires 1h --scope org:read --network 192.0.2.0/24"),
        ..row("network", LIST)
    },
    Row {
        token: Token::Made("--expires 1h --profile ci-release"),
        ..row("rule_not_granted", LIST)
    },
    Row {
        token: Token::Made("--expires 1h --scope org:read --organization 1"),
        ..row("directory_unavailable", LIST)
    },
    row("origin", &["--header", "Origin: https://app.example", "projects", "list"]),
    Row { rules: ("", REMOVED), ..row("route_not_exposed", LIST) },
    Row { rules: ("sentry = false", RELEASES), ..row("no_such_route", LIST) },
    Row { rules: ("sentry = false", RELEASES), ..row("method_not_allowed", NEW) },
    Row { web: "max_body = \"10B\"", ..row("too_large", NEW) },
    Row { host: "localhost", ..row("misdirected", LIST) },
    Row {
        spool: "[limit.tokens]\nby = \"token\"\nin_flight = 1",
        other: SILENT,
        others: 1,
        ..row("rate_limited", LIST)
    },
    Row {
        token: Token::Unknown,
        store: FEW,
        other: GUESSES,
        others: 5,
        ..row("guessing_limited", LIST)
    },
    Row {
        spool: "memory = \"0B\"\nmax_body = \"100B\"\nbudget = \"100B\"",
        other: "PUT /api/0/organizations/acme/issues/ HTTP/1.1\r\nHost: HOST\r\n\
                Authorization: Bearer TOKEN\r\nTransfer-Encoding: chunked\r\n\r\n\
                32\r\n12345678901234567890123456789012345678901234567890\r\n",
        others: 1,
        token: Token::Made("--expires 1h --scope event:write --scope project:releases"),
        ..row("spool_full", CHUNKED)
    },
    Row { spool: "memory = \"0B\"\nfolder = \"nowhere\"", ..row("spool_unavailable", CHUNKED) },
    Row { token: Token::Unknown, store: AWAY, ..row("store_unavailable", LIST) },
    Row { web: GONE, ..row("upstream_unreachable", LIST) },
    Row {
        web: "timeout = \"300ms\"",
        ..row("upstream_timeout", &["projects", "list", "--org", "silent"])
    },
    Row { full: true, spool: AUDIT, ..row("audit_unavailable", NEW) },
    row("upstream_credential_refused", &["projects", "list", "--org", "refused"]),
    row("rewrite_failed", &["debug-files", "upload", "libboom.so"]),
    Row {
        web: "max_in_flight = 1\nmax_waiting = 0",
        other: SILENT,
        others: 1,
        ..row("upstream_busy", LIST)
    },
];

/// What Sentry says.
fn answer(seen: &Seen) -> Answer {
    match seen.path() {
        path if path.contains("/silent/") => loop {
            std::thread::park();
        },
        path if path.contains("/refused/") => {
            Answer::json(401, &json!({ "detail": "Invalid token" }))
        }
        // No JSON, where there is something to rewrite.
        path if path.ends_with("/chunk-upload/") => {
            Answer { body: b"{".to_vec(), ..Answer::json(200, &json!({})) }
        }
        _ => Answer::json(200, &json!([])),
    }
}

fn portcullis(folder: &Path, words: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(words.split(' ')).arg("--config").arg(folder.join("portcullis.toml"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn config(row: &Row, url: &str, upstream: SocketAddr) -> String {
    let address = url.strip_prefix("http://").unwrap();
    format!(
        r#"public_url = "{url}"
[[listen]]
address = "{address}"
[admin]
address = "127.0.0.1:0"
[upstream.web]
urls = ["http://{upstream}"]
health_interval = "0s"
canonical_url = "https://sentry.internal"
credential = {{ file = "sentry-token" }}
{}
[[store]]
{}
[rules]
files = ["own.toml"]
{}
[spool]
{}
[server]
threads = 2
stop_delay = "0s"
"#,
        row.web, row.store, row.rules.0, row.spool
    )
}

/// Runs `sentry-cli` until it meets the code, and gives what it prints.
fn printed(row: &Row) -> String {
    let (folder, web, outside) =
        (tempfile::tempdir().unwrap(), Server::start(answer), Silent::start());
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = free_url();
    write(
        "portcullis.toml",
        &config(row, &url, if row.web == GONE { nobody } else { web.address }),
    );
    write("sentry-token", CREDENTIAL);
    let key = Key::made("one");
    write("keys.json", &json!({ "keys": [key.jwk()] }).to_string());
    write("own.toml", row.rules.1);
    let gateway = Serving::start(folder.path());
    let make = |words: &str| portcullis(folder.path(), &format!("token create --name t {words}"));
    let token = match row.token {
        Token::Text(text) => text.to_owned(),
        Token::Unknown => String::new(),
        Token::Jwt => key.sign(&json!({
            "iss": "https://issuer.example", "aud": "sentry", "sub": "job",
            "exp": SystemClock.now().as_millis() / 1000 + 3600,
        })),
        Token::Made(words) => make(words),
        Token::Revoked => {
            let token = make("--expires 1h --scope org:read");
            let listed = portcullis(folder.path(), "token list");
            let listed: Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
            let id = listed["id"].as_str().unwrap();
            portcullis(folder.path(), &format!("token revoke {id}"));
            token
        }
    };
    let host = url.strip_prefix("http://").unwrap();
    let other = row.other.replace("HOST", host).replace("TOKEN", &token);
    if row.full {
        let written = std::fs::metadata(folder.path().join("audit.log")).unwrap().len();
        let (pid, size) = (gateway.process.id().to_string(), format!("--fsize={written}:"));
        assert!(Command::new("prlimit").args(["--pid", &pid, &size]).status().unwrap().success());
    }
    let start = SystemClock.instant();
    let mut others = Vec::new();
    for number in 0.. {
        for part in 0..row.others {
            let mut stream = TcpStream::connect(gateway.address).unwrap();
            let text = other.replace("NUMBER", &format!("{number}-{part}"));
            stream.write_all(text.as_bytes()).unwrap();
            others.push(stream);
        }
        let token = match row.token {
            Token::Unknown => format!("sntryu_{number:064}"),
            Token::Text(_) | Token::Made(_) | Token::Revoked | Token::Jwt => token.clone(),
        };
        let home = Home::new(&outside.url())
            .set("SENTRY_URL", &url.replace("127.0.0.1", row.host))
            .set("SENTRY_ORG", "acme")
            .set("SENTRY_PROJECT", "web")
            .set("SENTRY_HTTP_MAX_RETRIES", "0");
        let home = if token.is_empty() { home } else { home.set("SENTRY_AUTH_TOKEN", &token) };
        library(&home);
        let outcome = home.run(Client::SentryCli, row.words);
        if outcome.code != Some(0) && is_it(&outcome.err, row.code) {
            return cleaned(&outcome.err);
        }
        let waited = SystemClock.instant().saturating_duration_since(start);
        assert!(waited < PATIENCE, "{}: {outcome:?}", row.code);
    }
    unreachable!()
}

/// Whether it is of this code. Two of them are printed without their answer.
fn is_it(text: &str, code: &str) -> bool {
    match code {
        "missing_credential" => text.contains("Auth token is required"),
        "no_such_route" => text.contains("not found"),
        _ => text.contains(&format!("String(\"{code}\")")),
    }
}

/// Without the number of the request, and without what is said below every error.
fn cleaned(text: &str) -> String {
    let own = text.split("\n\nAdd --log-level").next().unwrap();
    let id = own.split_once("\"request_id\": String(\"").map(|(_, rest)| &rest[..32]);
    own.replace(id.unwrap_or("\0"), "…").trim().to_owned()
}

#[test]
fn the_runbooks_show_what_sentry_cli_prints_for_each_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/runbooks.md");
    let runbooks = std::fs::read_to_string(path).unwrap();
    let reasons = Reason::ALL.iter().map(|reason| reason.code());
    let codes = reasons.chain(UpstreamFailure::ALL.iter().map(|failure| failure.code()));
    // A request of `sentry-cli` is there as a whole before a gateway that stops could cut it off.
    let codes: Vec<_> = codes.filter(|code| *code != Reason::Stopping.code()).collect();
    let mut missing = Vec::new();
    for code in codes {
        let row = ROWS.iter().find(|row| row.code == code);
        let row = row.unwrap_or_else(|| panic!("`{code}` has no row"));
        let shown = format!("```\n{}\n```", printed(row));
        let section =
            runbooks.split("\n### ").find(|text| text.starts_with(&format!("`{code}`\n")));
        if !section.is_some_and(|section| section.contains(&shown)) {
            missing.push(format!("`{code}`:\n{shown}"));
        }
    }
    assert!(missing.is_empty(), "runbooks.md does not show, under\n{}", missing.join("\n\n"));
}
