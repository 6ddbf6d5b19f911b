//! A million identities in the cache: what one of them takes of memory, and how long it takes to find
//! one of them at random.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark measures time, and fails by panicking"
)]

#[path = "common/everyone.rs"]
mod everyone;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::clock::{Clock as _, SystemClock};
use portcullis::policy::credential::{Credential, Digest, Scheme};
use portcullis::policy::decision::Lookup;
use portcullis::policy::identity::{
    Binding, Bound, Bounds, Id, Identity, IdentityKind, Issuer, KindSet, State,
};
use portcullis::policy::scope::{Scope, ScopeSet};
use portcullis::store::cache::{CacheSettings, Identities};
use portcullis::store::{Found, TokenStore};
use tokio::runtime::Builder;

use everyone::Everyone;

/// As the gateway itself has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const COUNT: u64 = 1_000_000;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Far more than any cache of the processor holds, and prime, so that all are visited.
const STRIDE: u64 = 611_953;

/// Every other one is bound to an organization, by id and by slug, as tokens of integrations and
/// organizations are; each expires at a time of its own, if any does.
fn integration(digest: &Digest, expires: bool) -> Found {
    let bytes = digest.as_bytes();
    let number = u32::from_le_bytes(bytes[..4].try_into().unwrap());
    let identity = Identity {
        id: Id::row(IdentityKind::UserToken, i64::from(number % 10_000_000)),
        kind: IdentityKind::UserToken,
        issuer: Issuer::Sentry,
        state: State::Active,
        scopes: ScopeSet::EMPTY.with(Scope::EventRead),
        bounds: if number % 2 == 0 { bound(number) } else { Bounds::NONE },
        expires_at: match expires {
            true => Some(SystemClock.now().after(DAY + Duration::from_millis(number.into()))),
            false => None,
        }
        .into(),
    };
    Found { identity, usage: None }
}

/// To one of a thousand organizations.
fn bound(number: u32) -> Bounds {
    let id = number / 2 % 1000;
    let names = [id.to_string().into(), format!("organization-{id}").into()];
    Bound { organizations: Binding::Only(names.into()), ..Bound::default() }.into()
}

fn credential(number: u64) -> Credential {
    let digest = Digest::of(&number.to_string());
    let kinds = KindSet::EMPTY.with(IdentityKind::UserToken);
    Credential { scheme: Scheme::Bearer, digest, project: None, kinds }
}

/// What the process has in memory, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn identities(criterion: &mut Criterion) {
    population(criterion, "a million", false);
    population(criterion, "a million that expire", true);
}

fn population(criterion: &mut Criterion, name: &str, expires: bool) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let credentials: Vec<Credential> = (0..COUNT).map(credential).collect();
    let settings = CacheSettings { ttl: DAY, capacity: 2 * COUNT, ..CacheSettings::default() };
    let store: Arc<dyn TokenStore> =
        Arc::new(Everyone(move |digest: &Digest| integration(digest, expires)));
    let (clock, background) = (Arc::new(SystemClock), runtime.handle().clone());
    let identities = Identities::new(vec![store.into()], settings, clock, Arc::new(()), background);
    let before = resident();
    runtime.block_on(async {
        for credential in &credentials {
            identities.lookup(credential, SystemClock.now()).await;
        }
        assert_eq!(identities.entries().await, COUNT);
    });
    let each = (resident() - before) / COUNT;
    println!("identities/{name:<40} memory: {each} bytes each");

    let mut group = criterion.benchmark_group("identities");
    group.bench_function(format!("a hit among {name}, at random"), |bench| {
        bench.iter_custom(|times| {
            runtime.block_on(async {
                let now = SystemClock.now();
                let start = Instant::now();
                for number in 0..times {
                    let credential = &credentials[(number * STRIDE % COUNT) as usize];
                    let answer = identities.lookup(black_box(credential), now).await;
                    assert!(matches!(answer.lookup, Lookup::Found(_)));
                }
                start.elapsed()
            })
        });
    });
    group.finish();
    // What it has is not given back for the next one to be measured in.
    std::mem::forget(identities);
}

criterion_group!(benches, identities);
criterion_main!(benches);
