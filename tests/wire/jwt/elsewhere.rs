//! A token of an issuer, wherever somebody else than the gateway could read it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portcullis::policy::credential::Digest;
use serde_json::json;

use super::issuer::{Issuer, with};
use super::key::Key;
use super::{LINE, ask, told};
use crate::gate::{Gate, OWN_STORE, Options, eventually};
use crate::upstream::{Upstream, ok};

/// Where a credential goes on as it came.
const PASSING: [&str; 7] = [
    "GET /oauth/userinfo/",
    "POST /oauth/token/",
    "POST /extensions/github/webhook/",
    "POST /api/0/relays/projectconfigs/",
    "POST /api/42/envelope/",
    "GET /settings/",
    "GET /auth/login/",
];

/// A gateway that lets in all that it can, with tables of these and of a relay.
fn wide(relay: &Upstream, tables: &str) -> Gate {
    let listen =
        "expose = [\"api\", \"ingest\", \"webhooks\", \"oauth\", \"ui\", \"relays\"]".to_owned();
    let of_relay = "health_interval = \"0s\"\n";
    let tables =
        format!("{tables}[upstream.relay]\nurls = [\"http://{}\"]\n{of_relay}", relay.address);
    let options = Options { listen, tables, stores: Some(String::new()), ..Options::default() };
    Gate::with(Upstream::start(), &options)
}

/// How somebody may present a token so that a patient reader finds it.
fn disguises(token: &str) -> Vec<(&'static str, String)> {
    vec![
        ("Authorization", format!("Bearer {token}")),
        ("Authorization", format!("bearer {token}=")),
        ("Authorization", format!("JWT {token}")),
        ("Authorization", format!("Basic {}", STANDARD.encode(format!("{token}:")))),
        ("Authorization", format!("Basic {}", STANDARD.encode(format!("x-token:{token}")))),
        ("X-Sentry-Auth", format!("Sentry sentry_version=7, sentry_key={token}")),
    ]
}

#[test]
fn a_token_of_an_issuer_is_passed_on_to_nobody() {
    let (key, relay) = (Key::made("one"), Upstream::start());
    let issuer = Issuer::of(&[&key]);
    let gate = wide(&relay, &format!("{OWN_STORE}{}", issuer.table("ci", "")));
    let token = key.sign(&issuer.claims());
    assert_eq!(told(&ask(&gate, &token)), (200, String::new()));
    gate.upstream.take();
    let foreign = key.sign(&with(issuer.claims(), "iss", json!("https://other.example")));
    for line in PASSING {
        for (name, value) in disguises(&token) {
            let reply = gate.send(line, &[(name, &value)]);
            assert_eq!(told(&reply), (401, "wrong_credential_kind".to_owned()), "{line} {name}");
        }
        let reply = gate.send(&format!("{line}?access_token={}", token.replace('.', "%2E")), &[]);
        assert_eq!(told(&reply), (401, "wrong_credential_kind".to_owned()), "{line} in the query");
        assert_eq!((gate.upstream.take().len(), relay.take().len()), (0, 0), "{line}");
        // What somebody else made is for whoever is there to judge.
        let authorization = format!("Bearer {foreign}");
        let reply = gate.send(line, &[("Authorization", &authorization)]);
        assert_eq!(reply.status, 200, "{line}");
        let seen: Vec<_> = gate.upstream.take().into_iter().chain(relay.take()).collect();
        assert_eq!(seen.len(), 1, "{line}");
        assert_eq!(seen[0].value("authorization"), Some(authorization.as_str()), "{line}");
    }
}

#[test]
fn a_token_of_an_issuer_is_shown_to_no_other_store_however_it_comes() {
    let key = Key::made("one");
    let issuer = Issuer::of(&[&key]);
    let endpoint = Upstream::answering(|_, stream| {
        ok(stream, &[], br#"{"auth":{"scopes":["event:read"]},"user":{"id":"7"}}"#);
    });
    let store = crate::introspection::sentry_store(endpoint.address, "");
    let tables = store + &issuer.table("ci", "");
    let options = Options { stores: Some(String::new()), tables, ..Options::default() };
    let gate = Gate::with(Upstream::start(), &options);
    let token = key.sign(&issuer.claims());
    // With a name twice, which some readers mind and some don't.
    let twice =
        format!("{{\"iss\":\"https://other.example\",{}", &issuer.claims().to_string()[1..]);
    let twice = key.sign_with(&json!({"alg": "ES256", "kid": "one"}), &twice);
    let basic = |text: String| format!("Basic {}", STANDARD.encode(text));
    for value in [
        format!("Bearer {token}="),
        format!("Bearer {token}."),
        format!("Bearer {twice}"),
        basic(format!("{token}:")),
        basic(format!("{twice}:")),
    ] {
        let reply = gate.send(LINE, &[("Authorization", &value)]);
        assert_eq!(told(&reply), (401, "unknown_token".to_owned()), "{value}");
        assert_eq!((endpoint.take().len(), gate.upstream.take().len()), (0, 0), "{value}");
    }
    // What is no token of its is asked about.
    let foreign = key.sign(&with(issuer.claims(), "iss", json!("https://other.example")));
    for value in [format!("Bearer {foreign}="), basic(format!("{foreign}:"))] {
        eventually("an answer of the store", || {
            gate.send(LINE, &[("Authorization", &value)]).status == 200
        });
        assert!(!endpoint.take().is_empty(), "{value}");
    }
}

/// The order of P-256, less `s` of a signature, in its place: as good, and made without the key.
fn twin(token: &str) -> String {
    const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let (message, signature) = token.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut borrowed = 0;
    for at in (0..32).rev() {
        let order = i32::from_str_radix(&ORDER[2 * at..2 * at + 2], 16).unwrap();
        let left = order - i32::from(signature[32 + at]) - borrowed;
        borrowed = i32::from(left < 0);
        signature[32 + at] = u8::try_from(left.rem_euclid(256)).unwrap();
    }
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn both_forms_of_a_signature_are_one_credential_to_the_block_list() {
    let key = Key::made("one");
    let issuer = Issuer::of(&[&key]);
    let gate = super::gate(&issuer.table("ci", ""));
    let token = key.sign(&issuer.claims());
    let other = twin(&token);
    assert_ne!(token, other);
    assert_eq!(twin(&other), token);
    for token in [&token, &other] {
        assert_eq!(told(&ask(&gate, token)), (200, String::new()));
    }
    // One look-up for both.
    gate.counts("portcullis_store_lookups_total", &["\"ci\"", "\"found\""], 1.0);
    gate.upstream.take();
    // By what the access log has, and by the digest of the text of either.
    let fingerprints = [
        Digest::of_bearer(&token).fingerprint().to_string(),
        Digest::of(&token).fingerprint().to_string(),
        Digest::of(&other).fingerprint().to_string(),
    ];
    for fingerprint in &fingerprints {
        gate.portcullis(&["block", "add", fingerprint]);
        for token in [&token, &other] {
            eventually("the list to be read", || {
                told(&ask(&gate, token)) == (401, "disabled_token".to_owned())
            });
        }
        gate.upstream.take();
        for token in [&token, &other] {
            super::refused(&gate, token, "disabled_token", "blocked");
        }
        gate.portcullis(&["block", "remove", fingerprint]);
        for token in [&token, &other] {
            eventually("the list to be read", || ask(&gate, token).status == 200);
        }
    }
}
