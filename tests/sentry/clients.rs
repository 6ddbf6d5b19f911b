//! What real clients send: with one scope of those that a call needs it is let through, and with
//! all others it is refused, with all of those named.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use portcullis::clock::Timestamp;
use portcullis::config::SentryVersion;
use portcullis::policy::decision::{Lookup, Verdict};
use portcullis::policy::frame::RequestHead;
use portcullis::policy::identity::{Binding, Identity, IdentityKind, Issuer, State};
use portcullis::policy::reason::Reason;
use portcullis::policy::scope::{Scope, ScopeSet};
use portcullis::policy::{Policy, Screened};
use serde::Deserialize;

/// A request as it was on the wire, without its credential, and the scopes of which it needs one.
#[derive(Deserialize)]
struct Request {
    client: String,
    command: String,
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    scopes: Vec<String>,
}

/// What becomes of it for a token of Sentry's own with these scopes.
fn decide(policy: &Policy, request: &Request, scopes: ScopeSet) -> Verdict {
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        headers.append(HeaderName::try_from(name).unwrap(), value.parse().unwrap());
    }
    headers.insert("host", "sentry.example.com".parse().unwrap());
    headers.insert("authorization", "Bearer x".parse().unwrap());
    let (method, target) = (request.method.as_str(), request.path.as_bytes());
    let head = RequestHead { method, target, authority: None, headers: &headers, raw: b"" };
    let pending = match policy.screen(&head) {
        Screened::Decided(decision) => return decision.verdict,
        Screened::Pending(pending) => pending,
    };
    let identity = Identity {
        id: "1".into(),
        kind: IdentityKind::UserToken,
        issuer: Issuer::Sentry,
        state: State::Active,
        scopes,
        organizations: Binding::Any,
        projects: Binding::Any,
        expires_at: None,
        allowed_origins: Box::new([]),
    };
    pending.resolve(Lookup::Found(Arc::new(identity)), Timestamp::from_millis(1)).verdict
}

#[test]
fn every_recorded_request_needs_one_of_its_scopes_and_no_other() {
    let policy = super::shipped(SentryVersion::NEWEST);
    let mut requests = 0;
    for request in super::lines::<Request>("clients.jsonl") {
        let what = format!(
            "{} ({}): {} {}",
            request.client, request.command, request.method, request.path
        );
        let needed: ScopeSet =
            request.scopes.iter().map(|name| name.parse::<Scope>().unwrap()).collect();
        requests += 1;
        for scope in needed.iter() {
            let verdict = decide(&policy, &request, ScopeSet::EMPTY.with(scope));
            assert!(matches!(verdict, Verdict::Permit(_)), "{what} with {scope:?}: {verdict:?}");
        }
        let verdict = decide(&policy, &request, ScopeSet::ALL.without(needed));
        if needed.is_empty() {
            assert!(matches!(verdict, Verdict::Permit(_)), "{what}: {verdict:?}");
        } else {
            let Verdict::Deny(denial) = verdict else { panic!("{what}: allowed") };
            assert_eq!(denial.reason, Reason::MissingScope, "{what}");
            assert_eq!(denial.required, needed, "{what}");
        }
    }
    assert!(requests > 100, "{requests}");
}
