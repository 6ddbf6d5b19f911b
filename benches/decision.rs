//! The whole decision on a request whose token is cached: read the head, find the rule, hash and
//! look up the credential, judge. It should not grow with the number of rules. And what the audit adds to
//! a decision that it records, and an assertion to a request that is forwarded.
#![allow(clippy::unwrap_used, reason = "a benchmark that can't be set up may panic")]
#![allow(clippy::disallowed_methods, reason = "time is what is measured")]

#[path = "common/everyone.rs"]
mod everyone;
#[path = "common/shipped.rs"]
mod shipped;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName};
use portcullis::assertion::{Algorithm, Asserted, Assertion, AssertionSettings, KeySource};
use portcullis::clock::{Clock as _, SystemClock};
use portcullis::directory::NoDirectory;
use portcullis::gateway::Gateway;
use portcullis::policy::Policy;
use portcullis::policy::credential::Digest;
use portcullis::policy::decision::Verdict;
use portcullis::policy::exposure::Service;
use portcullis::policy::frame::RequestHead;
use portcullis::policy::identity::{Binding, Bound, Expiry, Identity, IdentityKind, Issuer, State};
use portcullis::policy::method::Method;
use portcullis::policy::rules::{Access, Rule, RuleTable};
use portcullis::policy::scope::{Scope, ScopeSet};
use portcullis::policy::site::{BaseUrl, Site};
use portcullis::store::cache::{CacheSettings, Identities};
use portcullis::store::{Found, TokenStore, Usage};
use portcullis::telemetry::audit::{Decided, write_decision};
use portcullis::telemetry::privacy::{Detail, Privacy};
use tokio::runtime::{Builder, Runtime};

use everyone::Everyone;
use shipped::shipped;

const HOST: &str = "sentry.example.com";

/// One that may read issues of one organization.
fn reader(_: &Digest) -> Found {
    let identity = Identity {
        id: "1".into(),
        kind: IdentityKind::UserToken,
        issuer: Issuer::Gateway,
        state: State::Active,
        scopes: [Scope::EventRead].into_iter().collect(),
        bounds: Bound { organizations: Binding::Only(["acme".into()].into()), ..Bound::default() }
            .into(),
        expires_at: Expiry::NEVER,
    };
    Found { identity, usage: Some(Usage::default()) }
}

/// Where requests come from.
fn client() -> Option<IpAddr> {
    Some(Ipv4Addr::LOCALHOST.into())
}

fn gateway(policy: Policy, runtime: &Runtime) -> Gateway {
    let clock = Arc::new(SystemClock);
    let settings = CacheSettings { ttl: Duration::from_secs(3600), ..CacheSettings::default() };
    let store: Arc<dyn TokenStore> = Arc::new(Everyone(reader));
    let (stores, background) = (vec![store.into()], runtime.handle().clone());
    let identities = Identities::new(stores, settings, clock.clone(), Arc::new(()), background);
    Gateway::new(policy, identities, clock, Arc::new(NoDirectory))
}

/// As many rules as asked for, half of them under the organization that is asked for.
fn policy_of(count: usize) -> Policy {
    let organization = "/api/0/organizations/{organization_id_or_slug}";
    let project = "/api/0/projects/{organization_id_or_slug}/{project_id_or_slug}";
    let rule = |template: String| Rule {
        place: "bench".into(),
        ..Rule::new(
            [Method::Get].into_iter().collect(),
            template.parse().unwrap(),
            Access::AnyOf([Scope::EventRead].into_iter().collect::<ScopeSet>()),
        )
    };
    let mut rules = vec![rule(format!("{organization}/issues/"))];
    rules.extend((1..count).map(|index| {
        let base = if index % 2 == 0 { organization } else { project };
        rule(format!("{base}/resource-{index}/{{id}}/"))
    }));
    let site = Site::new(BaseUrl::parse(&format!("https://{HOST}")).unwrap(), Vec::new());
    Policy::new(RuleTable::build(rules).unwrap(), site)
}

fn headers(authorization: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let always = [
        ("host", HOST),
        ("user-agent", "sentry-cli/3.8.2"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, deflate, br"),
    ];
    for (name, value) in always.into_iter().chain(authorization.map(|a| ("authorization", a))) {
        headers.insert(name, value.parse().unwrap());
    }
    headers
}

fn decide(
    bench: &mut criterion::Bencher<'_>,
    runtime: &Runtime,
    gateway: &Gateway,
    authorization: Option<&str>,
    permitted: bool,
) {
    let headers = headers(authorization);
    let target = b"/api/0/organizations/acme/issues/?query=is%3Aunresolved&limit=25";
    let raw = [b"GET ", target.as_slice(), b" HTTP/1.1\r\n\r\n"].concat();
    let head = RequestHead { raw: &raw, ..RequestHead::new("GET", target, &headers) };
    let verdict = runtime.block_on(gateway.admit(&head, client())).decision.verdict;
    assert_eq!(matches!(verdict, Verdict::Permit(_)), permitted, "{verdict:?}");
    bench.iter_custom(|times| {
        runtime.block_on(async {
            let start = Instant::now();
            for _ in 0..times {
                black_box(gateway.admit(black_box(&head), client()).await);
            }
            start.elapsed()
        })
    });
}

fn decisions(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut group = criterion.benchmark_group("decision");
    let bearer = format!("Bearer {}", "c".repeat(64));
    for count in [10, 1_000, 10_000] {
        let gateway = gateway(policy_of(count), &runtime);
        let id = BenchmarkId::new("rules", count);
        group.bench_function(id, |bench| decide(bench, &runtime, &gateway, Some(&bearer), true));
    }
    let gateway = gateway(shipped(), &runtime);
    for (name, authorization, permitted) in [
        ("shipped rules", Some(bearer.as_str()), true),
        ("shipped rules, Basic", Some("Basic YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE6"), false),
        ("shipped rules, no credential", None, false),
    ] {
        group.bench_function(name, |bench| {
            decide(bench, &runtime, &gateway, authorization, permitted);
        });
    }
    group.finish();
}

/// Writing the record of a decision into a buffer that is there, which is all that the audit does on the
/// way of a request; a thread of its own writes the buffer.
fn records(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let gateway = gateway(shipped(), &runtime);
    let privacy = Privacy { client_address: Detail::Full, user_agent: Detail::Shortened };
    let bearer = format!("Bearer {}", "c".repeat(64));
    let mut group = criterion.benchmark_group("audit");
    for (name, authorization) in [("allowed", Some(&*bearer)), ("refused", None)] {
        let headers = headers(authorization);
        let target = b"/api/0/organizations/acme/issues/";
        let raw = [b"GET ", target.as_slice(), b" HTTP/1.1\r\n\r\n"].concat();
        let head = RequestHead { raw: &raw, ..RequestHead::new("GET", target, &headers) };
        let decision = runtime.block_on(gateway.admit(&head, client())).decision;
        let decided = Decided {
            at: SystemClock.now(),
            request_id: "0123456789abcdef0000000000000001",
            client: client(),
            user_agent: headers.get("user-agent").map(|agent| agent.as_bytes()),
            method: "GET",
            path: "/api/0/organizations/acme/issues/",
            decision: &decision,
            canary: None,
        };
        let mut line = Vec::with_capacity(4096);
        group.bench_function(name, |bench| {
            bench.iter(|| {
                line.clear();
                let policy = gateway.policy();
                let decided = black_box(&decided);
                write_decision(&mut line, decided, policy, privacy, "c0ffee00").unwrap();
                black_box(&line);
            });
        });
    }
    group.finish();
}

/// Signing an assertion, with the key that is there.
fn assertions(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let gateway = gateway(shipped(), &runtime);
    let bearer = format!("Bearer {}", "c".repeat(64));
    let headers = headers(Some(&bearer));
    let target = "/api/0/organizations/acme/issues/?query=is%3Aunresolved&limit=25";
    let raw = format!("GET {target} HTTP/1.1\r\n\r\n");
    let head =
        RequestHead { raw: raw.as_bytes(), ..RequestHead::new("GET", target.as_bytes(), &headers) };
    let decision = runtime.block_on(gateway.admit(&head, client())).decision;
    let scopes = match &decision.verdict {
        Verdict::Permit(permit) => permit.scopes(),
        Verdict::Deny(_) | Verdict::Options(_) => ScopeSet::EMPTY,
    };
    let asserted = Asserted {
        caller: &decision.caller,
        scopes,
        rule: gateway.policy().rules.rule(decision.rule.unwrap()),
        method: "GET",
        target,
        request_id: "0123456789abcdef0000000000000001",
    };
    let mut group = criterion.benchmark_group("assertion");
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
        let settings = AssertionSettings {
            header: HeaderName::from_static("x-portcullis-assertion"),
            issuer: "https://sentry.example.com".into(),
            audience: None,
            ttl: Duration::from_secs(30),
            upstreams: vec![Service::Web],
            keys: KeySource::Made(algorithm, Duration::from_secs(24 * 60 * 60)),
        };
        let assertion = Assertion::new(settings, None, SystemClock.now()).unwrap();
        group.bench_function(algorithm.as_str(), |bench| {
            bench.iter(|| assertion.sign(black_box(&asserted), SystemClock.now()).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, decisions, records, assertions);
criterion_main!(benches);
