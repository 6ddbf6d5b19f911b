//! What the gateway asserts is for what stands behind it: presented to the gateway, it is no credential.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::issuer::{AUDIENCE, Issuer, Serves};
use super::{LINE, ask, refused, told};
use crate::gate::{Gate, OWN_STORE, Options};
use crate::upstream::Upstream;

fn decoded(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Even where the keys that assertions are verified by are those of an issuer who is trusted.
#[test]
fn an_assertion_of_the_gateways_own_lets_nobody_in() {
    let words = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let made = Command::new("openssl").args(words).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let pem = String::from_utf8(made.stdout).unwrap();
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, der.secret_pkcs8_der(), &random).unwrap();

    let issuer = Issuer::serving(Serves::Status("500 Internal Server Error"));
    let assertion = format!(
        "[assertion]\nkey = \"own.key\"\nissuer = \"{}\"\naudience = \"{AUDIENCE}\"\nttl = \"5m\"\n",
        issuer.url
    );
    let claims = "claims = { repository = \"acme/web\", ref = \"refs/heads/*\" }";
    let table = issuer.table("ci", "cooldown = \"1s\"");
    assert!(table.contains(claims), "{table}");
    let table = table.replace(claims, "claims = { method = \"GET\" }");
    let tables = format!("{OWN_STORE}{assertion}{table}");
    let files = vec![("own.key".to_owned(), pem)];
    let options = Options { stores: Some(String::new()), tables, files, ..Options::default() };
    let gate = Gate::with(Upstream::start(), &options);
    issuer
        .now_serves(Serves::Text(gate.admin("/.well-known/jwks.json").unwrap().json().to_string()));

    assert_eq!(gate.bearer(LINE, &gate.token("event:read")).status, 200);
    let seen = gate.upstream.take_one();
    let own = seen.value("x-portcullis-assertion").unwrap().to_owned();
    let (header, rest) = own.split_once('.').unwrap();
    let (claims, _) = rest.split_once('.').unwrap();
    assert_eq!(decoded(header)["typ"], "assertion+jwt");

    // The same claims by the same key, in tokens of other types: all that differs is the type.
    let sign = |typ: Value| {
        let mut header = decoded(header);
        header["typ"] = typ;
        let message = format!("{}.{claims}", URL_SAFE_NO_PAD.encode(header.to_string()));
        let signature = pair.sign(&random, message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    for typ in ["JWT", "at+jwt"] {
        assert_eq!(told(&ask(&gate, &sign(json!(typ)))), (200, String::new()), "{typ}");
        gate.upstream.take();
    }
    refused(&gate, &own, "unknown_token", "an assertion");
    for typ in ["assertion+jwt", "application/assertion+jwt", "ASSERTION+jwt"] {
        refused(&gate, &sign(json!(typ)), "unknown_token", typ);
    }
}
