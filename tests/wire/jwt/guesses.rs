//! Forged tokens: how many signatures are verified for them, and whom that keeps waiting.

use serde_json::json;

use super::issuer::{Issuer, with};
use super::key::Key;
use super::{LINE, gate, told};
use crate::client::{Connection, Reply, request};
use crate::gate::{Gate, OWN_STORE, Options, eventually};
use crate::upstream::Upstream;

const RATES: &str = "unknown_per_second = 8\nunknown_per_client = 4\ncooldown = \"1h\"";

/// Waits until the keys of the issuer are there.
fn with_keys(gate: Gate) -> Gate {
    eventually("keys", || {
        gate.metric("portcullis_jwks_refreshes_total", &["\"ci\"", "\"ok\""]) >= 1.0
    });
    gate
}

#[test]
fn what_is_refused_without_a_signature_takes_nothing_from_anybody() {
    let (key, evil) = (Key::made("one"), Key::made("one"));
    let issuer = Issuer::of(&[&key]);
    let gate = with_keys(gate(&issuer.table("ci", RATES)));
    let header = |kid: &str, alg: &str| json!({ "alg": alg, "kid": kid });
    for number in 0..200 {
        let claims = with(issuer.claims(), "jti", json!(number));
        let cheap = [
            evil.sign(&with(claims.clone(), "aud", json!("https://elsewhere.example"))),
            evil.sign(&with(claims.clone(), "exp", json!(null))),
            evil.sign(&with(claims.clone(), "sub", json!(7))),
            evil.sign_with(&header("other", "ES256"), &claims.to_string()),
            evil.sign_with(&header("one", "RS256"), &claims.to_string()),
            evil.sign_with(&header("one", "none"), &claims.to_string()),
        ];
        let reply = gate.bearer(LINE, &cheap[number % cheap.len()]);
        assert_eq!(told(&reply), (401, "unknown_token".to_owned()), "{number}");
    }
    assert_eq!(gate.bearer(LINE, &key.sign(&issuer.claims())).status, 200);
}

/// A request of a client behind a proxy.
fn of(connection: &mut Connection, client: &str, token: &str) -> Reply {
    let token = format!("Bearer {token}");
    connection.write(&request(
        LINE,
        &[("Authorization", &token), ("X-Forwarded-For", client)],
        b"",
    ));
    connection.read_reply("GET").unwrap()
}

#[test]
fn whoever_forges_locks_nobody_else_out() {
    let (key, evil) = (Key::made("one"), Key::made("one"));
    let issuer = Issuer::of(&[&key]);
    let options = Options {
        top: "trusted_proxies = [\"127.0.0.0/8\"]".to_owned(),
        stores: Some(String::new()),
        tables: format!("{OWN_STORE}{}", issuer.table("ci", RATES)),
        ..Options::default()
    };
    let gate = with_keys(Gate::with(Upstream::start(), &options));
    let mut connection = Connection::open(gate.address);
    let mut number = 0;
    let mut signed = |key: &Key| {
        number += 1;
        key.sign(&with(issuer.claims(), "jti", json!(number)))
    };
    for round in 0..5 {
        // Of more addresses than share what there is.
        let mut limited = 0;
        for guess in 0..60 {
            let client = format!("198.51.100.{}", guess % 6);
            let reply = of(&mut connection, &client, &signed(&evil));
            match reply.status {
                401 => {}
                429 => limited += 1,
                other => panic!("{other}: {}", reply.code()),
            }
        }
        assert!(limited > 0, "nobody was told to stop");
        let reply = of(&mut connection, &format!("203.0.113.{round}"), &signed(&key));
        assert_eq!(told(&reply), (200, String::new()), "{round}");
    }
}
