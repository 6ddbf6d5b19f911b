//! JWTs and JWK sets: no panic, and nobody is let in without a signature.
#![no_main]

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use portcullis::clock::SystemClock;
use portcullis::policy::credential::{Authorization, Presented};
use portcullis::store::TokenStore;
use portcullis::store::jwt::{Algorithms, IssuerSettings, Jwks, JwtStore, KeySource, Refresh};
use portcullis::tls::ClientTls;
use tokio::runtime::Runtime;

fn store() -> &'static (Runtime, JwtStore) {
    static STORE: OnceLock<(Runtime, JwtStore)> = OnceLock::new();
    STORE.get_or_init(|| {
        let runtime = Runtime::new().expect("a runtime");
        let second = Duration::from_secs(1);
        let settings = IssuerSettings {
            issuer: "i".into(),
            audiences: vec!["a".into()],
            algorithms: Algorithms::named(&["RS256".to_owned()]).expect("an algorithm"),
            clock_skew: second,
            max_token_size: 8 << 10,
            keys: KeySource::File("/dev/null".into()),
            tls: Arc::new(ClientTls::default()),
            refresh: Refresh { every: second, cooldown: second, stale_if_error: second },
            trust: Vec::new(),
        };
        let store = runtime.block_on(async { JwtStore::new("i", settings, Arc::new(SystemClock)) });
        (runtime, store.expect("a store"))
    })
}

fuzz_target!(|bytes: &[u8]| {
    drop(Jwks::read(bytes));
    let header = [b"Bearer ", bytes].concat();
    let Authorization::Credential(credential) = Authorization::parse(&header) else { return };
    let Ok(header) = HeaderValue::from_bytes(&header) else { return };
    let presented =
        Presented { credential: &credential, authorization: Some(&header), client: None };
    let (runtime, store) = store();
    let found = runtime.block_on(store.find(presented));
    assert!(!matches!(found, Ok(Some(_))), "{credential:?}");
});
