//! What is signed and published: verified here by the published keys alone.

use std::process::Command;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde_json::{Value, json};

use super::*;
use crate::policy::credential::{Digest, Scheme};
use crate::policy::decision::Caller;
use crate::policy::identity::{Bounds, Expiry, Identity, IdentityKind, Issuer, State};
use crate::policy::method::{Method, MethodSet};
use crate::policy::rules::{Access, Rule};
use crate::policy::scope::Scope;

const START: Timestamp = Timestamp::from_millis(1_795_478_400_999);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What `openssl` makes of these words.
fn openssl(words: &str, input: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in");
    std::fs::write(&path, input).unwrap();
    let words = words.replace("IN", path.to_str().unwrap());
    let made = Command::new("openssl").args(words.split(' ')).output().unwrap();
    assert!(made.status.success(), "{words}: {}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap()
}

fn pem(algorithm: Algorithm) -> String {
    openssl(
        match algorithm {
            Algorithm::Es256 => "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256",
            Algorithm::EdDsa => "genpkey -algorithm ED25519",
            Algorithm::Rs256 => "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048",
        },
        "",
    )
}

fn given(pem: &str, others: &[&str]) -> KeySource {
    let others = others.iter().flat_map(|pem| PublicKey::from_pem(pem).unwrap());
    KeySource::Given(Arc::new(SigningKey::from_pem(pem).unwrap()), others.collect())
}

fn settings(keys: KeySource) -> AssertionSettings {
    AssertionSettings {
        header: HeaderName::from_static("x-portcullis-assertion"),
        issuer: "https://sentry.example.com".into(),
        audience: None,
        ttl: Duration::from_secs(30),
        upstreams: vec![Service::Web],
        keys,
    }
}

fn assertion(keys: KeySource) -> Assertion {
    Assertion::new(settings(keys), None, START).unwrap()
}

fn rule() -> Rule {
    let methods: MethodSet = [Method::Get].into_iter().collect();
    let template = "/api/0/projects/{organization_id_or_slug}/{project_id_or_slug}/issues/";
    Rule::new(methods, template.parse().unwrap(), Access::Authenticated)
}

fn caller() -> Caller {
    let identity = Identity {
        id: "ci".into(),
        kind: IdentityKind::OrgToken,
        issuer: Issuer::Gateway,
        state: State::Active,
        scopes: [Scope::EventRead, Scope::OrgCi].into_iter().collect(),
        bounds: Bounds::NONE,
        expires_at: Expiry::NEVER,
    };
    let digest = Some(Digest::from_bytes([0xab; 32]));
    Caller { scheme: Some(Scheme::Bearer), digest, identity: Some(Arc::new(identity)) }
}

/// The assertion of a request at `now`.
fn signed(assertion: &Assertion, caller: &Caller, target: &str, now: Timestamp) -> String {
    let rule = rule();
    let identity = caller.identity.as_deref().map(|holder| holder.identity());
    let scopes = identity.map(|own| own.scopes).unwrap_or_default();
    let (rule, method, request_id) = (&rule, "GET", "42");
    let asserted = Asserted { caller, scopes, rule, method, target, request_id };
    let value = assertion.sign(&asserted, now).unwrap();
    assert!(value.is_sensitive());
    value.to_str().unwrap().to_owned()
}

fn some(assertion: &Assertion, now: Timestamp) -> String {
    signed(assertion, &caller(), "/api/0/projects/acme/web/issues/", now)
}

fn decoded(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// The claims of a JWT that one of the published keys verifies.
fn verified(jwt: &str, keys: &[Jwk]) -> Option<Value> {
    let [header, claims, signature] = jwt.split('.').collect::<Vec<_>>().try_into().unwrap();
    let kid = decoded(header)["kid"].as_str().unwrap().to_owned();
    let key = keys.iter().find(|key| key.common.key_id.as_deref() == Some(&*kid))?;
    let (message, _) = jwt.rsplit_once('.').unwrap();
    let bytes = |text: &String| URL_SAFE_NO_PAD.decode(text).unwrap();
    let signature = bytes(&signature.to_owned());
    let good = match &key.algorithm {
        AlgorithmParameters::EllipticCurve(key) => {
            let point = [vec![4], bytes(&key.x), bytes(&key.y)].concat();
            let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
            key.verify(message.as_bytes(), &signature)
        }
        AlgorithmParameters::OctetKeyPair(key) => {
            let key = UnparsedPublicKey::new(&ED25519, bytes(&key.x));
            key.verify(message.as_bytes(), &signature)
        }
        AlgorithmParameters::RSA(key) => {
            let key = RsaPublicKeyComponents { n: bytes(&key.n), e: bytes(&key.e) };
            key.verify(&RSA_PKCS1_2048_8192_SHA256, message.as_bytes(), &signature)
        }
        other => panic!("{other:?}"),
    };
    good.ok().map(|()| decoded(claims))
}

fn kids(assertion: &Assertion, now: Timestamp) -> Vec<String> {
    let keys = assertion.published(now).keys.into_iter();
    keys.map(|key| key.common.key_id.unwrap()).collect()
}

fn kid(jwt: &str) -> String {
    decoded(jwt.split('.').next().unwrap())["kid"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_signed_is_verified_by_what_is_published() {
    let made = |algorithm| KeySource::Made(algorithm, DAY);
    let read = |algorithm| given(&pem(algorithm), &[]);
    let rows = [
        ("ES256", made(Algorithm::Es256), 2),
        ("ES256", read(Algorithm::Es256), 1),
        ("EdDSA", made(Algorithm::EdDsa), 2),
        ("EdDSA", read(Algorithm::EdDsa), 1),
        ("RS256", read(Algorithm::Rs256), 1),
    ];
    for (name, keys, published) in rows {
        let assertion = assertion(keys);
        let jwt = some(&assertion, START);
        let header = decoded(jwt.split('.').next().unwrap());
        assert_eq!((&header["alg"], &header["typ"]), (&json!(name), &json!("assertion+jwt")));
        let keys = assertion.published(START).keys;
        assert_eq!(keys.len(), published, "{name}");
        for key in &keys {
            let public = serde_json::to_value(key).unwrap();
            assert_eq!((&public["alg"], &public["use"]), (&json!(name), &json!("sig")));
            for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
                assert_eq!(public.get(private), None, "{name}");
            }
        }
        assert!(verified(&jwt, &keys).is_some(), "{name}");
        // Any other claims, and any other key, are not what was signed.
        let other = signed(&assertion, &caller(), "/api/0/projects/acme/other/issues/", START);
        let [mut mixed, other] = [&jwt, &other].map(|jwt| jwt.split('.').collect::<Vec<_>>());
        mixed[1] = other[1];
        assert_eq!(verified(&mixed.join("."), &keys), None, "{name}");
    }
}

#[test]
fn an_assertion_says_what_is_forwarded_for_whom() {
    let assertion = assertion(KeySource::Made(Algorithm::Es256, DAY));
    let claims = |caller: &Caller, target: &str| {
        let jwt = signed(&assertion, caller, target, START);
        verified(&jwt, &assertion.published(START).keys).unwrap()
    };
    let nothing = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
    let wanted = json!({
        "iss": "https://sentry.example.com", "aud": "web", "sub": "ci", "jti": "42",
        "iat": 1_795_478_400, "exp": 1_795_478_430, "scope": "event:read org:ci",
        "method": "GET", "path": "/api/0/projects/acme/w%20b/issues/", "query_sha256": nothing,
        "org": "acme", "project": "w b", "scheme": "bearer", "credential_kind": "org_token",
        "route": "/api/0/projects/{organization_id_or_slug}/{project_id_or_slug}/issues/",
        "token_fp": "abababab",
    });
    assert_eq!(claims(&caller(), "/api/0/projects/acme/w%20b/issues/"), wanted);
    // Of a query there is the digest alone: it may hold what is nobody's business.
    let queried = claims(&caller(), "/api/0/projects/acme/web/issues/?query=a?b");
    assert_eq!(queried["path"], "/api/0/projects/acme/web/issues/");
    let digest = URL_SAFE_NO_PAD.encode(ring::digest::digest(&ring::digest::SHA256, b"query=a?b"));
    assert_eq!(queried["query_sha256"], digest);
    let nobody = claims(&Caller::default(), "/api/0/projects/acme/web/issues/");
    for absent in ["sub", "scope", "scheme", "credential_kind", "token_fp"] {
        assert_eq!(nobody.get(absent), None, "{absent}");
    }
    assert_eq!(nobody["org"], "acme");
}

#[test]
fn a_key_is_numbered_by_its_thumbprint() {
    // The example of RFC 7638, 3.1.
    let modulus = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    let modulus = URL_SAFE_NO_PAD.decode(modulus).unwrap();
    let key = PublicKey::rsa(&modulus, &[1, 0, 1]).unwrap();
    assert_eq!(key.kid(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    // A zero in front is the encoding of DER.
    let padded = [&[0][..], &modulus].concat();
    assert_eq!(PublicKey::rsa(&padded, &[0, 1, 0, 1]).unwrap(), key);
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256] {
        let private = pem(algorithm);
        let public = openssl("pkey -in IN -pubout", &private);
        let own = SigningKey::from_pem(&private).unwrap();
        assert_eq!(PublicKey::from_pem(&public).unwrap(), [own.public().clone()], "{algorithm}");
        // Nothing of the key is printed.
        let printed = format!("{own:?} {:?}", assertion(given(&private, &[&public])));
        let base64: String = private.lines().filter(|line| !line.starts_with('-')).collect();
        assert!(printed.contains(own.public().kid()), "{printed}");
        assert!(!printed.contains(&base64[40..60]) && !printed.contains("seed"), "{printed}");
    }
}

#[test]
fn a_file_that_holds_no_such_key_is_refused() {
    let p256 = pem(Algorithm::Es256);
    let p384 = openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384", "");
    let short = openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024", "");
    let encrypted = openssl("pkcs8 -topk8 -in IN -passout pass:x", &p256);
    let sec1 = openssl("pkey -in IN -traditional", &p256);
    let public = |private: &str| openssl("pkey -in IN -pubout", private);
    let broken = p256.replace("MI", "AA");
    for (text, bad) in [
        ("", BadKey::NoPrivate),
        ("a-secret", BadKey::NoPrivate),
        (&public(&p256), BadKey::NoPrivate),
        (&encrypted, BadKey::NoPrivate),
        (&sec1, BadKey::NoPrivate),
        (&p384, BadKey::Kind),
        (&short, BadKey::Kind),
        (&broken, BadKey::Kind),
    ] {
        assert_eq!(SigningKey::from_pem(text).unwrap_err(), bad, "{text}");
    }
    for (text, bad) in [
        ("", BadKey::NoPublic),
        (&p256, BadKey::Private),
        (&encrypted, BadKey::Private),
        (&sec1, BadKey::Private),
        (&format!("{}{p256}", public(&p256)), BadKey::Private),
        (&public(&p384), BadKey::Kind),
        (&public(&short), BadKey::Kind),
    ] {
        assert_eq!(PublicKey::from_pem(text).unwrap_err(), bad, "{text}");
    }
}

#[test]
fn a_key_that_was_made_is_published_before_it_signs_and_until_its_last_assertion_has_expired() {
    let assertion = assertion(KeySource::Made(Algorithm::Es256, DAY));
    let first = kids(&assertion, START);
    let end = START.after(DAY);
    let before = Timestamp::from_millis(end.as_millis() - 1);
    let old = some(&assertion, before);
    assert_eq!((kid(&old), kids(&assertion, before)), (first[0].clone(), first.clone()));
    let new = some(&assertion, end);
    assert_eq!(kid(&new), first[1], "what was published next signs");
    let second = kids(&assertion, end);
    assert_eq!(second.len(), 3);
    assert_eq!((&second[0], &second[2]), (&first[1], &first[0]));
    for jwt in [&old, &new] {
        assert!(verified(jwt, &assertion.published(end).keys).is_some());
    }
    // The longest assertion, and a minute.
    let gone = end.after(Duration::from_secs(360));
    assert!(kids(&assertion, Timestamp::from_millis(gone.as_millis() - 1)).contains(&first[0]));
    assert_eq!(kids(&assertion, gone), second[..2]);
    // After a silence, too, the next one is the one that was published.
    let later = end.after(30 * DAY);
    assert_eq!(kid(&some(&assertion, later)), second[1]);
    // A clock that is set back changes nothing.
    assert_eq!(kid(&some(&assertion, START)), second[1]);
}

#[test]
fn whoever_signs_while_a_key_is_replaced_signs_with_one_that_is_published() {
    let assertion = assertion(KeySource::Made(Algorithm::EdDsa, DAY));
    for day in 1..20 {
        let now = START.after(day * DAY);
        let signed = thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| kid(&some(&assertion, now)))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        let published = kids(&assertion, now);
        assert_eq!(signed, vec![published[0].clone(); 4]);
        assert_eq!(published.len(), 3, "one was made and not used");
    }
}

#[test]
fn another_config_keeps_what_it_can_of_the_keys() {
    let made = || settings(KeySource::Made(Algorithm::Es256, DAY));
    let first = Assertion::new(made(), None, START).unwrap();
    let kids_before = kids(&first, START);
    // The same keys for another config that has them made.
    let second =
        Assertion::new(AssertionSettings { ttl: DAY, ..made() }, Some(&first), START).unwrap();
    second.activate(START);
    assert_eq!(kids(&second, START), kids_before);
    // A key of the operator's takes over at once, also for requests that were begun before.
    let [one, two] = [Algorithm::Es256, Algorithm::EdDsa].map(pem);
    let next = openssl("pkey -in IN -pubout", &two);
    let third = Assertion::new(settings(given(&one, &[&next])), Some(&second), START).unwrap();
    assert_eq!(kids(&third, START), kids_before, "it is not in force yet");
    third.activate(START);
    let published = kids(&third, START);
    assert_eq!(published.len(), 3, "{published:?}");
    assert_eq!(published[2], kids_before[0]);
    assert_eq!(kid(&some(&first, START)), published[0]);
    // And the same key again is nobody's successor.
    let again = Assertion::new(settings(given(&one, &[&next])), Some(&third), START).unwrap();
    again.activate(START);
    assert_eq!(kids(&again, START), published);
    let fourth = Assertion::new(settings(given(&two, &[])), Some(&again), START).unwrap();
    fourth.activate(START);
    assert_eq!(kid(&some(&fourth, START)), published[1]);
    assert!(kids(&fourth, START).contains(&published[0]), "the one before stays");
    let gone = START.after(Duration::from_secs(360));
    assert_eq!(kids(&fourth, gone), published[1..2]);
}
