//! The keys of an issuer: rotated, gone, late, broken, and asked for by a flood.

use std::time::Duration;

use serde_json::{Value, json};

use super::issuer::{Issuer, Serves};
use super::key::Key;
use super::{ask, gate, refused, told};
use crate::gate::eventually;

/// AC-073.
#[test]
fn a_flood_of_unknown_keys_makes_one_question_and_costs_no_key() {
    for serves in ["keys", "none", "an error"] {
        let key = Key::made("one");
        let issuer = Issuer::serving(match serves {
            "keys" => Serves::Keys(vec![key.jwk()]),
            "none" => Serves::Keys(vec![]),
            _ => Serves::Status("500 Internal Server Error"),
        });
        let gate = gate(&issuer.table("ci", "cooldown = \"1h\""));
        eventually("the first question", || {
            gate.metric("portcullis_jwks_refreshes_total", &["\"ci\""]) == 1.0
        });
        let claims = issuer.claims().to_string();
        for number in 0..200 {
            let header = json!({"alg": "ES256", "kid": format!("random-{number}")});
            let reply = gate.bearer(super::LINE, &key.sign_with(&header, &claims));
            assert!([401, 429, 503].contains(&reply.status), "{serves}: {}", reply.status);
        }
        assert_eq!(issuer.asked(), 1, "{serves}");
        assert_eq!(gate.upstream.take().len(), 0);
        if serves == "keys" {
            assert_eq!(told(&ask(&gate, &key.sign(&issuer.claims()))), (200, String::new()));
        }
    }
}

#[test]
fn a_new_key_is_read_when_it_comes_and_whom_an_old_one_vouched_for_is_forgotten() {
    let (old, new) = (Key::made("old"), Key::made("new"));
    let issuer = Issuer::of(&[&old]);
    let gate = gate(&issuer.table("ci", "cooldown = \"1s\"\nrefresh = \"1h\""));
    let (before, after) = (old.sign(&issuer.claims()), new.sign(&issuer.claims()));
    assert_eq!(told(&ask(&gate, &before)), (200, String::new()));
    issuer.now_serves(Serves::Keys(vec![old.jwk(), new.jwk()]));
    eventually("the new key", || ask(&gate, &after).status == 200);
    assert_eq!(told(&ask(&gate, &before)), (200, String::new()));
    // It is gone, which is seen when keys are read again: here for one that is not known.
    issuer.now_serves(Serves::Keys(vec![new.jwk()]));
    let stranger = Key::made("stranger");
    eventually("that the old key is gone", || {
        let number = gate.metric("portcullis_jwks_refreshes_total", &[]);
        let header = json!({"alg": "ES256", "kid": format!("stranger-{number}")});
        gate.bearer(super::LINE, &stranger.sign_with(&header, &issuer.claims().to_string()));
        ask(&gate, &before).code() == "unknown_token"
    });
    assert_eq!(told(&ask(&gate, &after)), (200, String::new()));
    gate.upstream.take();
    refused(&gate, &before, "unknown_token", "the old key");
}

#[test]
fn keys_that_cannot_be_read_again_go_on_and_without_any_nobody_can_tell() {
    let key = Key::made("one");
    let issuer = Issuer::of(&[&key]);
    let gate = gate(&issuer.table("ci", "cooldown = \"1s\"\nrefresh = \"1s\""));
    let read = |result: &str| gate.metric("portcullis_jwks_refreshes_total", &["\"ci\"", result]);
    eventually("keys", || read("\"ok\"") >= 1.0);
    let since = "portcullis_jwks_last_refresh_success_timestamp_seconds";
    assert!(gate.metric(since, &["\"ci\""]) > 1e9);
    let failures: Vec<Serves> = vec![
        Serves::Status("503 Service Unavailable"),
        Serves::Status("302 Found"),
        Serves::Text("<html>".to_owned()),
        Serves::Text("[]".to_owned()),
        Serves::Text(format!("{{\"keys\":[],\"pad\":\"{}\"}}", "x".repeat(300 << 10))),
        Serves::Text(json!({ "keys": vec![Value::Null; 65] }).to_string()),
    ];
    for (number, failure) in failures.into_iter().enumerate() {
        let failed = read("\"error\"");
        issuer.now_serves(failure);
        eventually("a failure", || read("\"error\"") > failed);
        // A token that is not cached, and so is verified.
        let token = key.sign(&super::with(issuer.claims(), "jti", json!(number)));
        assert_eq!(told(&ask(&gate, &token)), (200, String::new()), "{number}");
    }
    eventually("that it is told", || gate.metric("portcullis_store_up", &["\"ci\""]) == 0.0);
    let unknown = Key::made("unknown").sign(&issuer.claims());
    assert_eq!(told(&gate.bearer(super::LINE, &unknown)), (503, "store_unavailable".to_owned()));
    issuer.now_serves(Serves::Keys(vec![key.jwk()]));
    let mut number = 100;
    eventually("that it is told", || {
        // It answers again when it was asked.
        number += 1;
        ask(&gate, &key.sign(&super::with(issuer.claims(), "jti", json!(number))));
        gate.metric("portcullis_store_up", &["\"ci\""]) == 1.0
    });
}

#[test]
fn keys_that_are_older_than_they_may_be_verify_nothing() {
    let key = Key::made("one");
    let issuer = Issuer::of(&[&key]);
    let lines = "cooldown = \"1s\"\nrefresh = \"1s\"\nstale_if_error = \"2s\"";
    let gate = gate(&issuer.table("ci", lines));
    let mut number = 0;
    // One that is not cached, and so is verified.
    let mut told_of_another = || {
        number += 1;
        let token = key.sign(&super::with(issuer.claims(), "jti", json!(number)));
        told(&gate.bearer(super::LINE, &token))
    };
    let (good, unsure) = ((200, String::new()), (503, "store_unavailable".to_owned()));
    eventually("keys", || told_of_another() == good);
    issuer.now_serves(Serves::Status("503 Service Unavailable"));
    eventually("that they are too old", || told_of_another() == unsure);
    gate.upstream.take();
    assert_eq!(told_of_another(), unsure);
    assert_eq!(gate.upstream.take().len(), 0);
    issuer.now_serves(Serves::Keys(vec![key.jwk()]));
    eventually("keys again", || told_of_another() == good);
}

#[test]
fn a_secret_in_the_query_of_a_url_is_in_no_message() {
    let key = Key::made("one");
    for source in ["status", "no set"] {
        let issuer = Issuer::serving(match source {
            "status" => Serves::Status("500 Internal Server Error"),
            _ => Serves::Text("[]".to_owned()),
        });
        let url = format!("jwks_url = \"{}/keys?key=SEKRET\"\ncooldown = \"1s\"", issuer.url);
        let mut gate = gate(&issuer.table("ci", &url));
        let at = format!("{}/keys`", issuer.url);
        eventually("that it is told", || gate.output().contains(&at));
        assert_eq!(gate.bearer(super::LINE, &key.sign(&issuer.claims())).status, 503);
        assert!(issuer.server.take().iter().any(|seen| seen.target == "/keys?key=SEKRET"));
        gate.stop();
        assert!(!gate.output().contains("SEKRET"), "{}", gate.output());
    }
}

#[test]
fn a_gateway_starts_without_its_issuer_and_says_that_it_cannot_tell() {
    let key = Key::made("one");
    let issuer = Issuer::serving(Serves::Status("500 Internal Server Error"));
    let gate = gate(&issuer.table("ci", "cooldown = \"1s\""));
    let token = key.sign(&issuer.claims());
    let reply = gate.bearer(super::LINE, &token);
    assert_eq!(told(&reply), (503, "store_unavailable".to_owned()));
    assert_eq!(reply.header("retry-after"), Some("1"));
    // Others are let in.
    assert_eq!(gate.bearer(super::LINE, &gate.token("event:read")).status, 200);
    issuer.now_serves(Serves::Keys(vec![key.jwk()]));
    eventually("keys", || gate.bearer(super::LINE, &token).status == 200);
}

#[test]
fn an_issuer_that_is_slow_keeps_nobody_else_waiting() {
    let key = Key::made("one");
    let issuer = Issuer::serving(Serves::Late(vec![key.jwk()], Duration::from_millis(2500)));
    let gate = gate(&issuer.table("ci", "cooldown = \"1h\""));
    let token = key.sign(&issuer.claims());
    assert_eq!(gate.bearer(super::LINE, &gate.token("event:read")).status, 200);
    eventually("keys", || gate.bearer(super::LINE, &token).status == 200);
    assert_eq!(issuer.asked(), 1);
}

#[test]
fn keys_that_are_for_something_else_are_not_used() {
    let key = Key::made("one");
    let change = |name: &str, value: Value| super::with(key.jwk(), name, value);
    let rows = [
        (change("use", json!("enc")), false),
        (change("use", Value::Null), true),
        (change("key_ops", json!(["verify"])), true),
        (change("key_ops", json!(["sign"])), false),
        (change("key_ops", json!([])), false),
        (change("alg", Value::Null), true),
        (change("alg", json!("ES384")), false),
        (change("alg", json!("ECDH-ES")), false),
        (change("crv", json!("P-384")), false),
        (change("x", json!("AAAA")), false),
        (change("kid", json!("two")), false),
        (change("kid", Value::Null), false),
    ];
    let issuer = Issuer::of(&[]);
    let table = issuer.table("ci", "jwks_file = \"keys.json\"");
    for (jwk, used) in rows {
        let keys = json!({"keys": [jwk, Key::made("other").jwk()]}).to_string();
        let options = crate::gate::Options {
            stores: Some(String::new()),
            tables: table.clone(),
            files: vec![("keys.json".to_owned(), keys)],
            ..crate::gate::Options::default()
        };
        let gate = crate::gate::Gate::with(crate::upstream::Upstream::start(), &options);
        let wanted = if used { "" } else { "unknown_token" };
        assert_eq!(told(&ask(&gate, &key.sign(&issuer.claims()))).1, wanted, "{jwk}");
    }
    assert_eq!(issuer.server.take().len(), 0);
}

#[test]
fn a_file_of_keys_is_read_again() {
    let (old, new) = (Key::made("old"), Key::made("new"));
    let issuer = Issuer::of(&[]);
    let keys = |key: &Key| json!({ "keys": [key.jwk()] }).to_string();
    let tables = issuer.table("ci", "jwks_file = \"keys.json\"\nrefresh = \"1s\"");
    let files = vec![("keys.json".to_owned(), keys(&old))];
    let options =
        crate::gate::Options { stores: Some(String::new()), tables, files, ..Default::default() };
    let gate = crate::gate::Gate::with(crate::upstream::Upstream::start(), &options);
    let (before, after) = (old.sign(&issuer.claims()), new.sign(&issuer.claims()));
    assert_eq!(ask(&gate, &before).status, 200);
    std::fs::write(gate.folder.path().join("keys.json"), keys(&new)).unwrap();
    eventually("the new key", || ask(&gate, &after).status == 200);
    eventually("the old one gone", || ask(&gate, &before).status == 401);
}
