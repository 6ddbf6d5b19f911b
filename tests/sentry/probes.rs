//! Requests to a real Sentry and its answers: what it refused for want of a credential is refused
//! here too, and what it let through is let through, but for what is listed by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderMap;
use portcullis::clock::Timestamp;
use portcullis::config::SentryVersion;
use portcullis::policy::decision::{Lookup, Verdict};
use portcullis::policy::frame::RequestHead;
use portcullis::policy::identity::{Binding, Identity, IdentityKind, Issuer, State};
use portcullis::policy::reason::Reason;
use portcullis::policy::scope::{Scope, ScopeSet};
use portcullis::policy::{Policy, Screened};
use serde::Deserialize;

/// A request, with the name of its credential instead of a secret, and Sentry's status.
#[derive(Deserialize)]
struct Probe {
    id: String,
    method: String,
    target: String,
    authorization: Option<String>,
    credential: Option<String>,
    status: u16,
}

/// Who a credential is.
#[derive(Deserialize)]
struct Known {
    name: String,
    kind: String,
    scopes: Vec<String>,
    expired: bool,
    disabled: bool,
    orgs: Vec<String>,
    projects: Vec<String>,
}

/// Let through, because only Sentry knows the role of a user, its membership, and its own view of
/// `HEAD`.
const ONLY_SENTRY_KNOWS: &[&str] = &["--bob_all", "--org_ci", "-HEAD-"];
/// Refused, though Sentry lets it through, or says 404: a DSN of one project on the route of another,
/// and an organization that there is not.
const REFUSED_ON_PURPOSE: &[&str] = &["dsn_otherproj", "noorg--"];
/// Refused with another status: a kind of credential that the route does not take is 401 here.
const REFUSED_OTHERWISE: &[&str] = &["internal_health--", "region--"];

fn binding(names: &[String]) -> Binding {
    match names {
        [] => Binding::Any,
        names => Binding::Only(names.iter().map(|name| name.as_str().into()).collect()),
    }
}

impl Known {
    fn identity(&self) -> Identity {
        Identity {
            id: self.name.as_str().into(),
            kind: IdentityKind::from_name(&self.kind).unwrap(),
            issuer: Issuer::Sentry,
            state: if self.disabled { State::Disabled } else { State::Active },
            // As Sentry saves them; a few that it has are asked for by no route.
            scopes: self
                .scopes
                .iter()
                .filter_map(|name| name.parse::<Scope>().ok())
                .collect::<ScopeSet>()
                .with_implied(),
            organizations: binding(&self.orgs),
            projects: binding(&self.projects),
            expires_at: self.expired.then(|| Timestamp::from_millis(1)),
            allowed_origins: Box::new([]),
        }
    }
}

/// The reason of the refusal; `None` when it is let through or answered.
fn refused(policy: &Policy, probe: &Probe, known: &BTreeMap<String, Known>) -> Option<Reason> {
    let mut headers = HeaderMap::new();
    headers.insert("host", "sentry.example.com".parse().unwrap());
    if let Some(value) = &probe.authorization {
        headers.insert("authorization", http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let (method, target) = (probe.method.as_str(), probe.target.as_bytes());
    let head = RequestHead { method, target, authority: None, headers: &headers, raw: b"" };
    let verdict = match policy.screen(&head) {
        Screened::Decided(decision) => decision.verdict,
        Screened::Pending(pending) => {
            let identity = probe.credential.as_ref().map(|name| known[name].identity());
            let lookup =
                identity.map_or(Lookup::Unknown, |identity| Lookup::Found(Arc::new(identity)));
            pending.resolve(lookup, Timestamp::from_millis(2)).verdict
        }
    };
    match verdict {
        Verdict::Deny(denial) => Some(denial.reason),
        Verdict::Permit(_) | Verdict::Options(_) => None,
    }
}

#[test]
fn the_gateway_and_a_real_sentry_agree() {
    for sentry in [SentryVersion::OLDEST, SentryVersion::NEWEST] {
        agree(&super::shipped(sentry));
    }
}

fn agree(policy: &Policy) {
    let known: BTreeMap<_, _> = super::lines::<Known>("identities.jsonl")
        .into_iter()
        .map(|known| (known.name.clone(), known))
        .collect();
    let (mut problems, mut agreed) = (Vec::new(), 0);
    for probe in super::lines::<Probe>("probes.jsonl") {
        let seen = refused(policy, &probe, &known);
        let named = |list: &[&str]| list.iter().any(|part| probe.id.contains(part));
        let same = match (probe.status, seen) {
            // Path tricks, methods, and what is outside of the API or not let out.
            (
                _,
                Some(
                    Reason::BadPath
                    | Reason::MalformedRequest
                    | Reason::NoSuchRoute
                    | Reason::RouteNotExposed
                    | Reason::MethodNotAllowed,
                ),
            ) => true,
            (401 | 403, Some(reason)) => {
                reason.status() == probe.status || named(REFUSED_OTHERWISE)
            }
            (401, None) => false,
            (403, None) => named(ONLY_SENTRY_KNOWS),
            (_, Some(_)) => named(REFUSED_ON_PURPOSE),
            (_, None) => true,
        };
        agreed += usize::from(same);
        if !same {
            let seen = seen.map_or("let through", Reason::code);
            let Probe { id, method, target, status, .. } = &probe;
            problems.push(format!("{status} {seen} {id} {method} {target}"));
        }
    }
    assert!(agreed > 700, "{agreed}");
    problems.sort();
    assert!(problems.is_empty(), "{}:\n{}", problems.len(), problems.join("\n"));
}
