//! What must not get in, and what must not get out.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

use super::issuer::{Issuer, Serves, now, with};
use super::key::Key;
use super::{ask, gate, refused, told};
use crate::client::Reply;
use crate::gate::{Gate, Options, eventually};
use crate::upstream::{Upstream, ok};

/// A token with the key of an issuer's as the key that is shared.
fn hmac_token(header: &Value, claims: &Value, key: &[u8]) -> String {
    let parts = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let message = parts.join(".");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// AC-069.
#[test]
fn a_public_key_is_no_shared_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let openssl = |words: &[&str]| {
        let output =
            Command::new("openssl").args(words).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    openssl(&["genrsa", "-out", "key.pem", "2048"]);
    openssl(&["rsa", "-in", "key.pem", "-pubout", "-out", "public.pem"]);
    let modulus =
        String::from_utf8(openssl(&["rsa", "-in", "key.pem", "-noout", "-modulus"])).unwrap();
    let hex = modulus.trim().strip_prefix("Modulus=").unwrap();
    let n: Vec<u8> = (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let jwk = json!({"kty": "RSA", "kid": "rsa", "n": URL_SAFE_NO_PAD.encode(&n), "e": "AQAB"});
    let issuer = Issuer::serving(Serves::Keys(vec![jwk]));
    let gate =
        gate(&issuer.table("ci", "").replace("\"ES256\"", "\"RS256\", \"PS256\", \"ES256\""));
    let sign = |alg: &str, claims: &Value, options: &[&str]| {
        let header = json!({"alg": alg, "kid": "rsa"});
        let parts = [&header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        std::fs::write(path("message"), parts.join(".")).unwrap();
        let mut words = vec!["dgst", "-sha256", "-sign", "key.pem"];
        words.extend(options);
        words.push("message");
        format!("{}.{}", parts.join("."), URL_SAFE_NO_PAD.encode(openssl(&words)))
    };
    let claims = issuer.claims();
    let pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"];
    let good = sign("RS256", &claims, &[]);
    assert_eq!(told(&ask(&gate, &good)), (200, String::new()));
    assert_eq!(told(&ask(&gate, &sign("PS256", &claims, &pss))), (200, String::new()));
    gate.upstream.take();

    // Each of these is of the right key, and says that it is of another algorithm.
    for alg in ["PS256", "RS512", "ES256", "none", "rs256", "HS256"] {
        refused(&gate, &sign(alg, &claims, &[]), "unknown_token", alg);
    }
    let header = json!({"alg": "HS256", "kid": "rsa"});
    let pem = std::fs::read(path("public.pem")).unwrap();
    for key in [pem.as_slice(), pem.trim_ascii_end(), &n] {
        refused(&gate, &hmac_token(&header, &claims, key), "unknown_token", "HS256");
    }
    let (message, _) = good.rsplit_once('.').unwrap();
    let unsigned = URL_SAFE_NO_PAD.encode(json!({"alg": "none"}).to_string());
    let (_, payload) = message.split_once('.').unwrap();
    for signature in ["", "AA", &URL_SAFE_NO_PAD.encode([0; 64])] {
        refused(&gate, &format!("{message}.{signature}"), "unknown_token", signature);
        refused(&gate, &format!("{unsigned}.{payload}.{signature}"), "unknown_token", signature);
    }
}

/// AC-071.
#[test]
fn times_that_are_texts_are_no_times() {
    let key = Key::made("one");
    let issuer = Issuer::of(&[&key]);
    let gate = gate(&issuer.table("ci", ""));
    let claims = |changes: &[(&str, Value)]| {
        changes
            .iter()
            .fold(issuer.claims(), |claims, (name, value)| with(claims, name, value.clone()))
    };
    let (past, future) = (now() - 600, now() + 600);
    let rows: &[(&[(&str, Value)], &str)] = &[
        (&[("exp", json!(future)), ("nbf", json!(past))], ""),
        (&[("exp", json!("9999999999")), ("nbf", json!("9999999999"))], "unknown_token"),
        (&[("exp", json!("9999999999"))], "unknown_token"),
        (&[("exp", json!(future.to_string()))], "unknown_token"),
        (&[("nbf", json!(past.to_string()))], "unknown_token"),
        (&[("nbf", json!(""))], "unknown_token"),
        (&[("nbf", Value::Array(vec![]))], "unknown_token"),
        (&[("exp", json!([future]))], "unknown_token"),
        (&[("exp", json!({"exp": future}))], "unknown_token"),
        (&[("exp", json!(true))], "unknown_token"),
        (&[("exp", json!(1e300))], "unknown_token"),
    ];
    for (changes, code) in rows {
        let reply = ask(&gate, &key.sign(&claims(changes)));
        let code = if code.is_empty() { (200, "") } else { (401, *code) };
        assert_eq!(told(&reply), (code.0, code.1.to_owned()), "{changes:?}");
        assert_eq!(gate.upstream.take().len(), usize::from(code.0 == 200), "{changes:?}");
    }
    // `null` is not the absence of a time.
    for name in ["exp", "nbf"] {
        let mut claims = issuer.claims();
        claims[name] = Value::Null;
        refused(&gate, &key.sign(&claims), "unknown_token", name);
    }
}

/// AC-072.
#[test]
fn a_token_names_no_key_and_no_place_of_one() {
    let (key, evil) = (Key::made("one"), Key::made("evil"));
    let issuer = Issuer::of(&[&key]);
    let elsewhere = Upstream::start();
    let gate = gate(&issuer.table("ci", "cooldown = \"1h\""));
    let claims = issuer.claims().to_string();
    let at = format!("http://{}/keys", elsewhere.address);
    let headers = [
        json!({"alg": "ES256", "kid": "one", "jwk": evil.jwk()}),
        json!({"alg": "ES256", "kid": "evil", "jwk": evil.jwk(), "jku": at, "x5u": at}),
        json!({"alg": "ES256", "kid": at, "jku": at}),
        json!({"alg": "ES256", "kid": "../../dev/null"}),
        json!({"alg": "ES256", "kid": "' OR 1=1 --"}),
        json!({"alg": "ES256", "kid": ""}),
        json!({"alg": "ES256", "jwk": evil.jwk()}),
        json!({"alg": "ES256", "kid": ["one"]}),
        json!({"alg": "ES256", "kid": "one", "crit": ["b64"], "b64": false}),
    ];
    for header in headers {
        refused(&gate, &evil.sign_with(&header, &claims), "unknown_token", &header.to_string());
    }
    // What is ignored does no harm to a good one.
    let header = json!({"alg": "ES256", "kid": "one", "jku": at, "jwk": evil.jwk()});
    assert_eq!(told(&ask(&gate, &key.sign_with(&header, &claims))), (200, String::new()));
    assert_eq!(elsewhere.take().len(), 0);
}

/// AC-075.
#[test]
fn a_key_is_its_own_issuers_alone() {
    let (one, other) = (Key::made("same"), Key::made("same"));
    let (first, second) = (Issuer::of(&[&one]), Issuer::of(&[&other]));
    let gate = gate(&(first.table("first", "") + &second.table("second", "")));
    for _ in 0..2 {
        assert_eq!(told(&ask(&gate, &one.sign(&first.claims()))), (200, String::new()));
        assert_eq!(told(&ask(&gate, &other.sign(&second.claims()))), (200, String::new()));
        gate.upstream.take();
        refused(&gate, &other.sign(&first.claims()), "unknown_token", "the second's key");
        refused(&gate, &one.sign(&second.claims()), "unknown_token", "the first's key");
    }
}

/// AC-077.
#[test]
fn what_is_too_long_or_too_deep_is_refused() {
    let key = Key::made("one");
    let issuer = Issuer::of(&[&key]);
    let gate = gate(&issuer.table("ci", ""));
    let padded = |len: usize| key.sign(&with(issuer.claims(), "pad", json!("x".repeat(len))));
    // More than Sentry's own tokens ever have.
    let long = padded(5000);
    assert!(long.len() > 4096 && long.len() < 8192, "{}", long.len());
    assert_eq!(told(&ask(&gate, &long)), (200, String::new()));
    gate.upstream.take();
    refused(&gate, &padded(8000), "unknown_token", "longer than the issuer's may be");
    refused(&gate, &padded(15_000), "malformed_credential", "longer than any may be");
    let deep =
        format!("{{\"iss\":\"{}\",\"a\":{}{}}}", issuer.url, "[".repeat(1000), "]".repeat(1000));
    let header = json!({"alg": "ES256", "kid": "one"});
    refused(&gate, &key.sign_with(&header, &deep), "unknown_token", "deep");
    let twice =
        format!("{{\"iss\":\"https://other.example\",{}", &issuer.claims().to_string()[1..]);
    refused(&gate, &key.sign_with(&header, &twice), "unknown_token", "`iss` twice");
    let huge = format!("Bearer {}", padded(1 << 20));
    if let Some(reply) = crate::client::send(
        gate.address,
        &crate::client::request(super::LINE, &[("Authorization", &huge)], b""),
    ) {
        assert!(reply.status >= 400, "{}", reply.status);
    }
    assert_eq!(gate.upstream.take().len(), 0);
    assert_eq!(told(&ask(&gate, &key.sign(&issuer.claims()))), (200, String::new()));
}

/// AC-078.
#[test]
fn scopes_are_members_of_a_claim_and_never_more_than_the_policy_has() {
    let key = Key::made("one");
    let issuer = Issuer::of(&[&key]);
    for name in ["scope", "scp"] {
        let claim = format!("scopes = [\"event:read\"]\nscopes_claim = \"{name}\"");
        let table = issuer.table("ci", "").replace("scopes = [\"event:read\"]", &claim);
        let gate = gate(&table);
        let rows: &[(Value, &str)] = &[
            (json!("event:read"), ""),
            (json!("org:read event:read"), ""),
            (json!(["org:read", "event:read"]), ""),
            (json!("event:readonly-ish"), "missing_scope"),
            (json!("xevent:read"), "missing_scope"),
            (json!("event:read,org:read"), "missing_scope"),
            (json!(["event:readonly-ish"]), "missing_scope"),
            (json!({"event:read": true}), "missing_scope"),
            (json!(""), "missing_scope"),
            (Value::Null, "missing_scope"),
        ];
        for (value, code) in rows {
            let token = key.sign(&with(issuer.claims(), name, value.clone()));
            let reply = ask(&gate, &token);
            assert_eq!(told(&reply).1, *code, "{name} {value}");
        }
        gate.upstream.take();
        // What the policy does not have, no claim gives.
        let token = key.sign(&with(issuer.claims(), name, json!("event:admin event:read")));
        let reply = gate.bearer("DELETE /api/0/organizations/acme/issues/", &token);
        assert_eq!(told(&reply), (403, "missing_scope".to_owned()));
        assert_eq!(gate.upstream.take().len(), 0);
    }
}

/// AC-082.
#[test]
fn nothing_that_is_claimed_comes_back_and_no_token_is_logged() {
    let (key, evil) = (Key::made("one"), Key::made("one"));
    let issuer = Issuer::of(&[&key]);
    let mut gate = gate(&issuer.table("ci", ""));
    let markup = "<script>alert('m4rkup')</script>";
    let claims = |sub: &str| {
        ["sub", "repository", "ref", "jti", "scope", markup]
            .iter()
            .fold(issuer.claims(), |claims, name| with(claims, name, json!(sub)))
    };
    let header =
        |kid: &str, extra: &str| json!({"alg": "ES256", "kid": kid, "jku": extra, "x": extra});
    let (marked, plain) = (claims(markup), claims("somebody"));
    // A signature of nobody's, by a key that is known by name and by one that is not; and, for the
    // body, one that is good, of somebody for whom no policy is.
    let rows = [
        ("unknown_token", evil.sign(&marked), evil.sign(&plain)),
        (
            "unknown_token",
            evil.sign_with(&header(markup, markup), &marked.to_string()),
            evil.sign_with(&header("x", "x"), &plain.to_string()),
        ),
        ("no_trust_policy", key.sign(&with(marked, "sub", json!("job"))), key.sign(&plain)),
    ];
    for (code, token, other) in &rows {
        let (reply, other) = (ask(&gate, token), ask(&gate, other));
        assert_eq!((reply.code(), other.code()), ((*code).to_owned(), (*code).to_owned()));
        assert!(reply.header("content-type").unwrap().starts_with("application/"));
        let request_id = reply.header("x-request-id").unwrap().to_owned();
        let unique = |reply: &Reply| {
            let mut fields = reply.json();
            fields.as_object_mut().unwrap().remove("request_id").unwrap();
            fields
        };
        // Whatever is claimed, the body is the same.
        assert_eq!(unique(&reply), unique(&other), "{code}");
        let body = String::from_utf8(reply.body.clone()).unwrap();
        let whole = format!("{:?}\n{body}", reply.headers);
        for part in [markup, "script", "m4rkup", "<", &token[..20], &token[token.len() - 20..]] {
            assert!(!whole.contains(part), "{part} in {whole}");
        }
        eventually("an access line", || gate.output().contains(&request_id));
    }
    assert_eq!(gate.upstream.take().len(), 0);
    gate.stop();
    let log = gate.output();
    for (_, token, _) in &rows {
        let parts = token.split('.').chain([&token[..20]]);
        for part in parts.chain([markup, "script", "m4rkup"]) {
            assert!(!log.contains(part), "{part} in {log}");
        }
    }
}

/// A token of an issuer is shown to nobody else.
#[test]
fn no_other_store_is_asked_for_a_token_of_an_issuer() {
    let (key, evil) = (Key::made("one"), Key::made("one"));
    let issuer = Issuer::of(&[&key]);
    let endpoint = Upstream::answering(|_, stream| {
        ok(stream, &[], br#"{"active":true,"scope":"event:read","sub":"x"}"#);
    });
    let url = format!("http://{}/introspect", endpoint.address);
    let store =
        format!("[[store]]\nkind = \"introspection\"\nprotocol = \"rfc7662\"\nurl = \"{url}\"\n");
    let tables = store + &issuer.table("ci", "");
    let options = Options { stores: Some(String::new()), tables, ..Options::default() };
    let gate = Gate::with(Upstream::start(), &options);
    let cases = [
        (evil.sign(&issuer.claims()), "unknown_token"),
        (key.sign(&with(issuer.claims(), "aud", json!("x"))), "unknown_token"),
        (key.sign(&with(issuer.claims(), "repository", json!("x"))), "no_trust_policy"),
    ];
    for (token, code) in cases {
        refused(&gate, &token, code, code);
    }
    assert_eq!(endpoint.take().len(), 0);
    // One of nobody whom the gateway trusts is for the others.
    let token = key.sign(&with(issuer.claims(), "iss", json!("https://other.example")));
    assert_eq!(ask(&gate, &token).status, 200);
    assert_eq!(endpoint.take().len(), 1);
}
