//! JWTs: what one costs that is in the cache, and what it costs to verify one.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a benchmark measures time, and fails by panicking"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::{Criterion, criterion_group, criterion_main};
use http::HeaderValue;
use portcullis::clock::{Clock as _, SystemClock};
use portcullis::policy::credential::{Authorization, Presented};
use portcullis::policy::decision::Lookup;
use portcullis::policy::identity::{Binding, Narrowing};
use portcullis::policy::scope::{Scope, ScopeSet};
use portcullis::store::TokenStore;
use portcullis::store::cache::{CacheSettings, Consulted, Identities};
use portcullis::store::jwt::{
    Algorithms, Condition, IssuerSettings, JwtStore, KeySource, Pattern, Refresh, Trust, Wanted,
};
use portcullis::tls::ClientTls;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::json;
use tokio::runtime::Builder;

/// As the gateway itself has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ISSUER: &str = "https://issuer.example";

/// A token with the claims of a job, signed with ES256, and the set that its key is in.
fn token() -> (String, String) {
    let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let point = pair.public_key().as_ref();
    let key = json!({"kty": "EC", "crv": "P-256", "kid": "k", "x": encode(&point[1..33]), "y": encode(&point[33..])});
    let claims = json!({
        "iss": ISSUER, "aud": "gateway", "exp": 4_102_444_800_u64, "repository": "acme/web",
        "sub": "repo:acme/web:ref:refs/heads/main", "ref": "refs/heads/main", "pad": "x".repeat(600),
    });
    let header = json!({"alg": "ES256", "kid": "k"});
    let parts = [header, claims].map(|part| encode(part.to_string().as_bytes()));
    let message = parts.join(".");
    let signature = pair.sign(&random, message.as_bytes()).unwrap();
    (format!("{message}.{}", encode(signature.as_ref())), json!({ "keys": [key] }).to_string())
}

fn trust() -> Trust {
    let wants = |name: &str, pattern: &str| Condition {
        path: vec![name.into()],
        any_of: vec![Wanted::Text(Pattern::parse(pattern).unwrap())],
    };
    Trust {
        conditions: vec![wants("repository", "acme/web"), wants("ref", "refs/heads/*")],
        scopes: ScopeSet::EMPTY.with(Scope::OrgRead),
        scopes_claim: None,
        organizations: Binding::Any,
        projects: Binding::Any,
        narrowing: Narrowing::NONE,
    }
}

fn jwt(criterion: &mut Criterion) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (token, keys) = token();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, keys.as_bytes()).unwrap();
    let hour = Duration::from_secs(3600);
    let settings = IssuerSettings {
        issuer: ISSUER.into(),
        audiences: vec!["gateway".into()],
        algorithms: Algorithms::named(&["ES256".to_owned()]).unwrap(),
        clock_skew: Duration::ZERO,
        max_token_size: 8 << 10,
        keys: KeySource::File(file.path().to_owned()),
        tls: Arc::new(ClientTls::default()),
        refresh: Refresh { every: hour, cooldown: hour, stale_if_error: hour },
        trust: vec![trust()],
    };
    let store = runtime.block_on(async { JwtStore::new("ci", settings, Arc::new(SystemClock)) });
    let store: Arc<dyn TokenStore> = Arc::new(store.unwrap());
    let cache = CacheSettings { ttl: 24 * hour, ..CacheSettings::default() };
    let identities = Identities::new(
        vec![Consulted::from(Arc::clone(&store))],
        cache,
        Arc::new(SystemClock),
        Arc::new(()),
        runtime.handle().clone(),
    );
    let header = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
    let read = || match Authorization::parse(black_box(header.as_bytes())) {
        Authorization::Credential(credential) => credential,
        other => panic!("{other:?}"),
    };
    // A request reads its header and takes its digest each time.
    criterion.bench_function("a JWT that is cached", |bencher| {
        bencher.iter(|| {
            let credential = read();
            let presented =
                Presented { credential: &credential, authorization: Some(&header), client: None };
            let answer = runtime.block_on(identities.lookup(presented, SystemClock.now()));
            assert!(matches!(answer.lookup, Lookup::Found(_)));
        });
    });
    criterion.bench_function("a JWT that is verified (ES256)", |bencher| {
        bencher.iter(|| {
            let credential = read();
            let presented =
                Presented { credential: &credential, authorization: Some(&header), client: None };
            assert!(runtime.block_on(store.find(presented)).unwrap().is_some());
        });
    });
}

criterion_group!(benches, jwt);
criterion_main!(benches);
