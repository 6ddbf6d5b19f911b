//! How assertions are made.

use super::*;
use crate::assertion::{Algorithm, KeySource};

/// A key of P-256 that is good for this test and nothing else.
const KEY: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg180B3V2aIywPzeIg
KXPD12KVFC11oc6rVxHh8B356omhRANCAAT1HPsTmIQLBg8xt8Dh/Xftef42Pjmi
PoBoa+d3Q0ODmw9zbikoV1wGtYxzP4x2Iwe444ypWhQUaVChGUx4RKU2
-----END PRIVATE KEY-----
";
/// Its public half.
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE9Rz7E5iECwYPMbfA4f137Xn+Nj45
oj6AaGvnd0NDg5sPc24pKFdcBrWMcz+MdiMHuOOMqVoUFGlQoRlMeESlNg==
-----END PUBLIC KEY-----
";

fn with(assertion: &str) -> String {
    format!("{MINIMAL}\n[assertion]\n{assertion}\n")
}

fn keys() -> Fake {
    let mut fake = fake();
    for (name, text) in [("own.key", KEY), ("next.pub", PUBLIC), ("bad.key", "sntryu_0123")] {
        fake.files.insert(name.into(), text.into());
    }
    fake
}

#[test]
fn an_assertion_needs_nothing_but_its_table() {
    let config = parse(MINIMAL, &fake()).unwrap();
    assert!(config.assertion.is_none() && !config.identity_headers);
    let own = parse(&with(""), &fake()).unwrap().assertion.unwrap();
    assert_eq!(own.header, "x-portcullis-assertion");
    assert_eq!((&*own.issuer, own.audience), ("https://sentry.example.com", None));
    assert_eq!((own.ttl, own.upstreams), (Duration::from_secs(30), vec![Service::Web]));
    let day = Duration::from_secs(24 * 60 * 60);
    assert!(matches!(own.keys, KeySource::Made(Algorithm::Es256, every) if every == day));
    let lines = "key = \"own.key\"\npublic_keys = [\"next.pub\"]\nalgorithm = \"ES256\"\n\
                 issuer = \"gw\"\naudience = \"sentry\"\nheader = \"X-Gateway-JWT\"\nttl = \"5m\"";
    let own = parse(&with(lines), &keys()).unwrap().assertion.unwrap();
    assert_eq!((&*own.issuer, own.audience.as_deref()), ("gw", Some("sentry")));
    assert_eq!(own.header, "x-gateway-jwt");
    let KeySource::Given(key, others) = own.keys else { panic!("it has a key") };
    assert_eq!(others, [key.public().clone()]);
    assert!(
        parse(&format!("identity_headers = true\n{MINIMAL}"), &fake()).unwrap().identity_headers
    );
}

#[test]
fn what_is_wrong_with_assertions_is_told_with_its_place() {
    let key = |lines: &str| format!("key = \"own.key\"\n{lines}");
    let made = |lines: &str| lines.to_owned();
    let header = |name: &str| format!("header = \"{name}\"");
    let long = format!("issuer = \"{}\"", "x".repeat(257));
    let rows = [
        (made("ttl = \"4s\""), "assertion.ttl", "`4s` is too short or too long"),
        (made("ttl = \"6m\""), "assertion.ttl", "`6m` is too short or too long"),
        (made("audience = \"\""), "assertion.audience", "is empty or too long"),
        (long, "assertion.issuer", "is empty or too long"),
        (made("upstreams = []"), "assertion.upstreams", "is empty"),
        (made("upstreams = [\"relay\"]"), "assertion.upstreams[0]", "`relay` is no upstream"),
        (made("upstreams = [\"web\", \"x\"]"), "assertion.upstreams[1]", "`x` is no upstream"),
        (made("algorithm = \"RS256\""), "assertion.algorithm", "`RS256` has no key"),
        (made("rotate_every = \"9m\""), "assertion.rotate_every", "`9m` is too short"),
        (made("public_keys = [\"next.pub\"]"), "assertion.public_keys", "there is no `key`"),
        (key("rotate_every = \"1h\""), "assertion.rotate_every", "that the gateway makes"),
        (
            key("algorithm = \"EdDSA\""),
            "assertion.algorithm",
            "is `EdDSA`, and the key is for `ES256`",
        ),
        (key("public_keys = [\"own.key\"]"), "assertion.public_keys[0]", "holds a private key"),
        (key("public_keys = [\"bad.key\"]"), "assertion.public_keys[0]", "holds no public key"),
        (made("key = \"bad.key\""), "assertion.key", "`bad.key` holds no private key"),
        (made("key = \"next.pub\""), "assertion.key", "`next.pub` holds no private key"),
        (made("key = \"gone.key\""), "assertion.key", "`gone.key` can't be read"),
    ];
    // Names that clients may send, that are set anyway, or that are something else.
    let names = [
        "X-Assertion",
        "Authorization",
        "Cookie",
        "Host",
        "X-Forwarded-For",
        "X-Request-Id",
        "X-Sentry-Auth",
        "Via",
        "X.Portcullis.Assertion",
        "X-Portcullis.Assertion",
        "X.Portcullis.Assertion",
        "X-Portcullis.Assertion",
        "X-Portcullis-Subject",
        "X-Portcullis-Sub-Ject",
        "x-portcullis-token",
        "",
        "X-Portcullis-\\u00e4",
        "X-Portcullis-A\\r\\nX: y",
    ];
    let names =
        names.map(|name| (header(name), "assertion.header", "that only the gateway may send"));
    for (text, at, what) in rows.into_iter().chain(names) {
        let problem = problem(&with(&text), &keys());
        assert_eq!(problem.at, at, "{text}");
        assert!(problem.what.contains(what), "{text}: {problem:?}");
        assert!(!format!("{problem:?}").contains("sntryu_"), "{problem:?}");
    }
}
