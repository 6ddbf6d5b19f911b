//! Tokens that are bound to a project: the decision on a request by slugs that the directory knows, and
//! reading and judging the body of one that names projects there. The first should cost little more than a
//! decision by ids, and the second no more than reading JSON once.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark that can't be set up may panic")]
#![allow(clippy::disallowed_methods, reason = "time is what is measured")]

#[path = "common/everyone.rs"]
mod everyone;
#[path = "common/shipped.rs"]
mod shipped;

use std::hint::black_box;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue};
use portcullis::clock::SystemClock;
use portcullis::directory::{SentryDirectory, Settings};
use portcullis::gateway::Gateway;
use portcullis::peek;
use portcullis::policy::bound::BodyCheck;
use portcullis::policy::credential::Digest;
use portcullis::policy::decision::{Decision, Permit, Verdict};
use portcullis::policy::frame::RequestHead;
use portcullis::policy::identity::{Binding, Bound, Expiry, Identity, IdentityKind, Issuer, State};
use portcullis::policy::scope::ScopeSet;
use portcullis::store::cache::{CacheSettings, Identities};
use portcullis::store::{Found, TokenStore, Usage};
use portcullis::tls::ClientTls;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use everyone::Everyone;
use shipped::shipped;

/// As the gateway itself has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const HOST: &str = "sentry.example.com";
const TOKEN: &str = "Bearer cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc";
const VERSION: &str = "web@1.0.0";
const HOUR: Duration = Duration::from_secs(3600);

/// One for the project 42 of the organization 1.
fn bound_to_one(_: &Digest) -> Found {
    let only = |id: &str| Binding::Only([id.into()].into());
    let (organizations, projects) = (only("1"), only("42"));
    let identity = Identity {
        id: "1".into(),
        kind: IdentityKind::UserToken,
        issuer: Issuer::Gateway,
        state: State::Active,
        scopes: ScopeSet::ALL,
        bounds: Bound { organizations, projects, ..Bound::default() }.into(),
        expires_at: Expiry::NEVER,
    };
    Found { identity, usage: Some(Usage::default()) }
}

/// A Sentry that is asked over a socket, once for each name. Its threads end with the process.
fn sentry() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap());
        }
    });
    address
}

fn answer(mut stream: TcpStream) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
    let line = lines.next().unwrap();
    assert!(lines.any(|line| line.is_empty()));
    let organization = json!({ "id": "1", "slug": "acme" });
    let body = if line.contains("/projects/acme/web/") {
        json!({ "id": "42", "slug": "web", "organization": organization })
    } else if line.contains("/organizations/acme/?") {
        organization
    } else {
        assert!(line.contains("/releases/web%401.0.0/"), "{line}");
        json!({ "version": VERSION, "projects": [{ "id": 42, "slug": "web" }] })
    };
    let body = body.to_string();
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all((head + &body).as_bytes()).unwrap();
}

fn gateway(runtime: &Runtime) -> Gateway {
    let clock = Arc::new(SystemClock);
    let settings = CacheSettings { ttl: HOUR, ..CacheSettings::default() };
    let store: Arc<dyn TokenStore> = Arc::new(Everyone(bound_to_one));
    let (stores, background) = (vec![store.into()], runtime.handle().clone());
    let identities = Identities::new(stores, settings, clock.clone(), Arc::new(()), background);
    let _entered = runtime.enter();
    let directory = SentryDirectory::new(Settings {
        urls: vec![format!("http://{}", sentry())],
        tls: Arc::new(ClientTls::default()),
        host: HeaderValue::from_static(HOST),
        proto: HeaderValue::from_static("https"),
        credential: HeaderValue::from_static("Bearer x"),
        ttl: HOUR,
    });
    Gateway::new(shipped(), identities, clock, Arc::new(directory.unwrap()))
}

fn headers(length: Option<usize>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in
        [("host", HOST), ("user-agent", "sentry-cli/3.8.2"), ("authorization", TOKEN)]
    {
        headers.insert(name, value.parse().unwrap());
    }
    if let Some(length) = length {
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers.insert("content-length", length.into());
    }
    headers
}

fn permit(decision: &Decision) -> &Permit {
    match &decision.verdict {
        Verdict::Permit(permit) => permit,
        other @ (Verdict::Deny(_) | Verdict::Options(_)) => panic!("{other:?}"),
    }
}

/// Decisions on requests by ids, by slugs, and on one whose query lacks the project.
fn decisions(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let gateway = gateway(&runtime);
    let client = Some(Ipv4Addr::LOCALHOST.into());
    let mut group = criterion.benchmark_group("bound decision");
    for (name, target) in [
        ("by ids", "/api/0/projects/1/42/issues/?query=is%3Aunresolved&limit=25"),
        ("by slugs", "/api/0/projects/acme/web/issues/?query=is%3Aunresolved&limit=25"),
        ("project added", "/api/0/organizations/acme/issues/?query=is%3Aunresolved&limit=25"),
    ] {
        let headers = headers(None);
        let raw = format!("GET {target} HTTP/1.1\r\n\r\n");
        let (raw, target) = (raw.as_bytes(), target.as_bytes());
        let head = RequestHead { raw, ..RequestHead::new("GET", target, &headers) };
        let decision = runtime.block_on(gateway.admit(&head, client)).decision;
        assert_eq!(permit(&decision).added().is_some(), name == "project added");
        group.bench_function(name, |bench| {
            bench.iter_custom(|times| {
                runtime.block_on(async {
                    let start = Instant::now();
                    for _ in 0..times {
                        black_box(gateway.admit(black_box(&head), client).await);
                    }
                    start.elapsed()
                })
            });
        });
    }
    group.finish();
}

/// A release of so many bytes at least, most of them commits, as `sentry-cli` sends it.
fn release(size: usize) -> String {
    let mut commits = Vec::new();
    let body = |commits: &[serde_json::Value]| {
        json!({ "version": VERSION, "projects": ["web"], "commits": commits }).to_string()
    };
    while body(&commits).len() < size {
        let message = format!("Parse a version once, which fixes WEB-{}", commits.len());
        commits.push(json!({
            "id": format!("{:040x}", commits.len()), "repository": "acme/web", "message": message,
            "author_name": "ci", "timestamp": "2026-11-24T03:03:07Z",
        }));
    }
    body(&commits)
}

/// A bundle of so many bytes at most, all but the last few of them chunks.
fn bundle(size: usize) -> String {
    // A digest, its quotes and a comma.
    let chunks: Vec<_> = (0..(size - 256) / 43).map(|chunk| format!("{chunk:040x}")).collect();
    json!({ "checksum": "c".repeat(40), "chunks": chunks, "projects": ["web"], "version": VERSION })
        .to_string()
}

/// What comes to a request besides its decision: its body is read, and judged by what the directory knows.
fn bodies(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let gateway = gateway(&runtime);
    let client = Some(Ipv4Addr::LOCALHOST.into());
    let (releases, assemble) = (
        "PUT /api/0/organizations/acme/releases/web@1.0.0/",
        "POST /api/0/organizations/acme/artifactbundle/assemble/",
    );
    let most = usize::try_from(BodyCheck::MAX_SIZE).unwrap();
    let mut group = criterion.benchmark_group("bound body");
    for (name, line, body) in [
        ("release, 1 KiB", releases, release(1 << 10)),
        ("release, 64 KiB", releases, release(64 << 10)),
        ("assemble, 1 MiB", assemble, bundle(most)),
    ] {
        assert!(body.len() <= most);
        let headers = headers(Some(body.len()));
        let (method, target) = line.split_once(' ').unwrap();
        let head = RequestHead::new(method, target.as_bytes(), &headers);
        let decision = runtime.block_on(gateway.admit(&head, client)).decision;
        let check = permit(&decision).body_check().unwrap();
        let who = decision.caller.identity.as_deref().unwrap().identity();
        let judge = async || {
            let names = peek::names(black_box(body.as_bytes())).unwrap();
            gateway.admit_body(check, who, &names).await
        };
        runtime.block_on(judge()).unwrap();
        group.throughput(Throughput::Bytes(u64::try_from(body.len()).unwrap()));
        group.bench_function(name, |bench| {
            bench.iter_custom(|times| {
                runtime.block_on(async {
                    let start = Instant::now();
                    for _ in 0..times {
                        black_box(judge().await).unwrap();
                    }
                    start.elapsed()
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decisions, bodies);
criterion_main!(benches);
