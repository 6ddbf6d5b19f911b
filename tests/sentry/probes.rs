//! Requests to a real Sentry and its answers, sent again through a running gateway: what Sentry
//! refused for want of a credential is refused, and what it let through is let through, but for
//! what `differ.txt` lists by name.

use portcullis::config::SentryVersion;
use serde::Deserialize;

use crate::database::Database;
use crate::gate::Gate;

/// A request, with a made-up secret for each credential, and Sentry's status.
#[derive(Deserialize)]
struct Probe {
    id: String,
    method: String,
    target: String,
    headers: Vec<String>,
    #[serde(default = "one_one")]
    version: String,
    #[serde(default)]
    body: String,
    status: u16,
}

fn one_one() -> String {
    "HTTP/1.1".to_owned()
}

/// What the gateway refuses, though Sentry lets it through or has another word for it: what could be
/// read in two ways, what is not the API or not let out, what is not called by our name, and where a
/// kind of credential does not fit.
const ON_PURPOSE: &[&str] = &[
    "bad_path",
    "malformed_request",
    "multiple_credentials",
    "misdirected",
    "no_such_route",
    "route_not_exposed",
    "method_not_allowed",
    "wrong_credential_kind",
    "wrong_organization",
    "binding",
    "unknown_token",
    // Of the parser, which knows no more of it.
    "unparsed",
];

/// Let through because only Sentry knows the role of a user, its memberships, the state of its
/// objects, and its own view of `HEAD`.
const ONLY_SENTRY_KNOWS: &[&str] = &["--bob_all", "--org_ci", "-HEAD-"];

/// What became of a probe: the code of the refusal with its status, or nothing.
fn refused(gate: &Gate, probe: &Probe) -> Option<(u16, String)> {
    let line = format!("{} {}", probe.method, probe.target);
    let reply = gate.send(&line, &probe.version, &probe.headers, probe.body.as_bytes());
    let received = gate.upstream.take().len();
    let Some(reply) = reply else { return Some((400, "unparsed".to_owned())) };
    let about = format!("{} {}", probe.id, reply.status);
    assert!(received <= 1, "{about}");
    // `OPTIONS` is answered by the gateway, and is no refusal.
    let refused = reply.status >= 400;
    assert_eq!(received == 1, !refused && probe.method != "OPTIONS", "{about}");
    let code = if reply.body.is_empty() { String::new() } else { reply.code() };
    let code = match (code.is_empty(), reply.status) {
        (false, _) => code,
        // An answer to `HEAD` has no body.
        (true, 401 | 403) => "refused".to_owned(),
        (true, _) => "unparsed".to_owned(),
    };
    refused.then_some((reply.status, code))
}

/// A line for each probe with which the gateway and Sentry differ.
fn differing(sentry: SentryVersion) -> Vec<String> {
    let top = format!("rules.sentry_version = \"{sentry}\"");
    let gate = Gate::start(&Database::recorded(), &top, "");
    let (mut lines, mut probes) = (Vec::new(), 0);
    for probe in super::lines::<Probe>("probes.jsonl") {
        probes += 1;
        let Probe { id, method, target, status, .. } = &probe;
        let seen = refused(&gate, &probe);
        let why = match (status, &seen) {
            (_, Some((own, _))) if own == status => continue,
            (401 | 403, None) => "left to Sentry",
            (_, None) => continue,
            (_, Some((_, code))) => code,
        };
        lines.push(format!("{why}: {id} ({status} {method} {target})\n"));
        let named = |list: &[&str]| list.iter().any(|part| id.contains(part));
        match seen {
            None => assert!(*status == 403 && named(ONLY_SENTRY_KNOWS), "{}", lines.concat()),
            Some((_, code)) => assert!(ON_PURPOSE.contains(&&*code), "{}", lines.concat()),
        }
    }
    assert!(probes > 780, "{probes}");
    lines.sort();
    lines
}

#[test]
fn the_gateway_and_a_real_sentry_agree() {
    let newest = differing(SentryVersion::NEWEST);
    super::open::assert_same("differ.txt", &newest.concat());
    // The rules for the version that was asked agree as well.
    assert_eq!(differing(SentryVersion::OLDEST), newest);
}
