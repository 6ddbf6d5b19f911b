//! `portcullis attack`, against the gateway and against chains that have a hole.

use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use super::chain::{Goes, front};
use super::corpus::{ALLOWED, REFUSED};
use crate::gate::{Gate, HOST, UPSTREAM_TOKEN};
use crate::upstream::{Upstream, ok};

const TOKEN: &str = "a-token-of-the-attacker";

pub fn run(to: SocketAddr, token: &str, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(["attack", "--target", &format!("http://{HOST}"), "--connect", &to.to_string()]);
    command.args(["--allowed", ALLOWED, "--refused", REFUSED, "--credential-env", "ATTACKER"]);
    command.args(words).env("ATTACKER", token).stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = format!("{output:?}");
    assert!(!text.contains(token), "the credential is printed: {text}");
    output
}

pub fn rows(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The cases with a verdict.
pub fn with(rows: &[Value], verdict: &str) -> Vec<String> {
    let found = rows.iter().filter(|row| row["verdict"] == verdict);
    found.map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

/// Answers with the path that it understands.
pub fn sentry() -> Upstream {
    Upstream::answering(|seen, stream| {
        ok(stream, &[], format!("{{\"path\": {:?}}}", seen.path()).as_bytes());
    })
}

#[test]
fn nothing_gets_through_the_gateway() {
    let gate = Gate::before(sentry());
    let token = gate.token("event:read");
    for words in [&[][..], &["--changes"]] {
        let output = run(gate.address, &token, &[&["--format", "json"], words].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let rows = rows(&output);
        assert_eq!(with(&rows, "through"), [""; 0]);
        assert_eq!(with(&rows, "noted"), [""; 0]);
        let held = with(&rows, "held").len();
        assert!(held > 90, "{held}");
        // What could not be judged says why.
        let why =
            |row: &Value| row["verdict"] != "unjudged" || row["seen"].as_str().unwrap().len() > 5;
        assert!(rows.iter().all(why));
        // What was not asked for was not sent.
        let changes = rows.iter().any(|row| row["sent"].as_str().unwrap().starts_with("DELETE"));
        assert_eq!(changes, !words.is_empty());
        let seen = gate.upstream.take();
        assert!(
            seen.iter().all(|seen| seen.method == "GET" && seen.path() == ALLOWED),
            "{seen:#?}"
        );
        let progress = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(progress.contains("20 of "), "{progress}");
    }
    let table = run(gate.address, &token, &[]);
    let text = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(text.contains("held      AC-003   HTTP/1.1  dots and an encoded slash"), "{text}");
    assert!(text.contains(" 0 got through, 0 noted, "), "{text}");
}

/// Whatever begins like what is public is not shown to the gateway: the text of the path decides, and who
/// stands behind reads it otherwise.
#[test]
fn a_way_around_the_gateway_is_found() {
    let gate = Gate::before(sentry());
    let token = gate.token("event:read");
    let (upstream, own) = (gate.upstream.address, gate.address);
    let chain = front(move |head| match head.target.starts_with("/_health/") {
        true => Goes::To(upstream, head.text.clone()),
        false => Goes::To(own, head.text.clone()),
    });
    let words = ["--format", "json", "--marker", "acme/members"];
    let output = run(chain, &token, &words);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let rows = rows(&output);
    let through = with(&rows, "through");
    for id in ["AC-002", "AC-003", "AC-004", "AC-006", "PC-005", "PC-007", "PC-013"] {
        assert!(through.contains(&id.to_owned()), "{id}: {through:?}");
    }
    // What is not behind the public path is the gateway's.
    for id in ["PC-001", "AC-001", "AC-005", "AC-010", "AC-042", "AC-059"] {
        assert!(with(&rows, "held").contains(&id.to_owned()), "{id}: {through:?}");
    }
    let row = rows.iter().find(|row| row["id"] == "AC-003").unwrap();
    assert!(row["fix"].as_str().unwrap().contains("same bytes"), "{row}");
    assert!(row["sent"].as_str().unwrap().contains("GET /_health/..%2fapi/0/"), "{row}");
    assert!(row["sent"].as_str().unwrap().contains("Authorization: ***"), "{row}");
}

/// A gate of few lines: it looks at the last credential, compares the path that was sent with those that are
/// refused, and lends its own.
#[test]
fn a_gate_that_compares_texts_is_seen_through() {
    let upstream = sentry();
    let address = upstream.address;
    let chain = front(move |head| {
        let authorized =
            head.values("authorization").next_back() == Some(&format!("Bearer {TOKEN}"));
        let path = head.target.split('?').next().unwrap();
        match (authorized, path == REFUSED) {
            (false, _) => Goes::Nowhere("401 Unauthorized"),
            (true, true) => Goes::Nowhere("403 Forbidden"),
            (true, false) => {
                let text = head.without(&["authorization", "content-length", "transfer-encoding"]);
                let end = text.len() - 2;
                let lent = format!("Authorization: Bearer {UPSTREAM_TOKEN}\r\n\r\n");
                Goes::To(address, [&text[..end], lent.as_bytes()].concat())
            }
        }
    });
    let words = ["--format", "json", "--marker", "/members/"];
    let rows = rows(&run(chain, TOKEN, &words));
    let through = with(&rows, "through");
    for id in ["AC-001b", "AC-005", "AC-010", "AC-020", "AC-024", "PC-003", "PC-004", "PC-009"] {
        assert!(through.contains(&id.to_owned()), "{id}: {through:?}");
    }
    for id in ["PC-001", "AC-059", "AC-030"] {
        assert!(with(&rows, "held").contains(&id.to_owned()), "{id}: {through:?}");
    }
    // Without words to look for, any answer to an ambiguous credential is enough.
    let output = run(chain, TOKEN, &["--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(with(&self::rows(&output), "through").contains(&"AC-042b".to_owned()));
}

#[test]
fn what_can_not_be_told_is_no_success() {
    let gate = Gate::start();
    let token = gate.token("event:read");
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let rows: &[(SocketAddr, &str, &[&str], &str)] = &[
        (nobody, &token, &[], "does not answer"),
        (gate.address, "nobody-knows-me", &[], "(401)"),
        (gate.address, &token, &["--public", "/a b/"], "must be a path"),
        (gate.address, &token, &["--ca", "/nonexistent"], "`--ca`"),
        (gate.address, "\u{e9}", &[], "can't be sent in a header"),
        (gate.address, &token, &["--credential-stdin"], "cannot be used with"),
    ];
    for (to, token, words, says) in rows {
        let output = run(*to, token, words);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {text}");
        assert!(text.contains(says), "{words:?}: {text}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
}

/// A guard that shuts out whoever was refused a few times.
#[test]
fn to_be_shut_out_is_no_success() {
    let gate = Gate::start();
    let own = gate.address;
    let refused = AtomicUsize::new(0);
    let chain = front(move |head| {
        let harmless = head.text.starts_with(format!("GET {ALLOWED} HTTP/1.1\r\n").as_bytes());
        if !harmless && refused.fetch_add(1, Ordering::SeqCst) < 20
            || refused.load(Ordering::SeqCst) < 20
        {
            Goes::To(own, head.text.clone())
        } else {
            Goes::Nowhere("403 Forbidden")
        }
    });
    let output = run(chain, &gate.token("event:read"), &[]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("not let through any more (403)"), "{text}");
    // What was seen until then is told all the same.
    assert!(String::from_utf8_lossy(&output.stdout).contains(" 0 got through"), "{output:?}");
}
