//! What becomes of JWKs and of where they are said to be; tokens are in tests/wire/jwt.

use http::Uri;
use serde_json::json;

use super::*;

#[test]
fn only_algorithms_with_a_public_key_are_taken() {
    let named = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        Algorithms::named(&names).map(|own| own.0.len()).map_err(str::to_owned)
    };
    let all = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
    assert_eq!(named(&all), Ok(9));
    for bad in ["HS256", "HS384", "HS512", "none", "rs256", "ES512", ""] {
        assert_eq!(named(&["RS256", bad]), Err(bad.to_owned()));
    }
}

#[test]
fn keys_that_are_short_or_shared_are_left_out() {
    let n = |bytes: usize| base64_url(&[&[0xc3], vec![1; bytes - 1].as_slice()].concat());
    let rows = [
        (json!({"kty": "RSA", "n": n(256), "e": "AQAB"}), 1),
        (json!({"kty": "RSA", "n": n(255), "e": "AQAB"}), 0),
        (json!({"kty": "RSA", "n": n(1024), "e": "AQAB"}), 1),
        (json!({"kty": "RSA", "n": n(1025), "e": "AQAB"}), 0),
        (json!({"kty": "RSA", "n": n(256)}), 0),
        (json!({"kty": "RSA", "n": n(256), "e": "AQAB", "alg": "ES256"}), 0),
        (json!({"kty": "RSA", "n": n(256), "e": "AQAB", "alg": "RSA-OAEP"}), 0),
        (json!({"kty": "oct", "k": n(32)}), 0),
        (json!({"kty": "OKP", "crv": "Ed25519", "x": n(32)}), 1),
        (json!({"kty": "OKP", "crv": "Ed25519", "x": n(31)}), 0),
        (json!({"kty": "OKP", "crv": "X25519", "x": n(32)}), 0),
        (json!({"kty": "EC", "crv": "P-521", "x": n(66), "y": n(66)}), 0),
        (json!({"kty": "EC", "crv": "P-256", "x": n(32), "y": n(33)}), 0),
        (json!({"kty": "new"}), 0),
        (json!(null), 0),
    ];
    for (jwk, read) in rows {
        let set = json!({ "keys": [jwk] }).to_string();
        assert_eq!(Jwks::read(set.as_bytes()).unwrap().len(), read, "{jwk}");
    }
    let many = json!({ "keys": vec![json!(null); 65] }).to_string();
    assert_eq!(Jwks::read(many.as_bytes()), Err(BadJwks::TooMany));
    for bad in ["", "[]", "{}", r#"{"keys":{}}"#, "[[]]"] {
        assert_eq!(Jwks::read(bad.as_bytes()), Err(BadJwks::NoSet), "{bad}");
    }
}

#[test]
fn a_token_without_a_key_name_is_of_the_only_key_that_fits() {
    let ed = |kid: &str, byte: u8| json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": base64_url(&[byte; 32])});
    let set = |keys: &[Value]| Jwks::read(json!({ "keys": keys }).to_string().as_bytes()).unwrap();
    let fitting = |set: &Jwks, kid, algorithm| set.fitting(kid, algorithm).len();
    let (one, two) = (set(&[ed("a", 1)]), set(&[ed("a", 1), ed("a", 2)]));
    assert_eq!(fitting(&one, None, Algorithm::EdDSA), 1);
    assert_eq!(fitting(&one, None, Algorithm::ES256), 0);
    assert_eq!(fitting(&one, Some("b"), Algorithm::EdDSA), 0);
    assert_eq!(fitting(&two, None, Algorithm::EdDSA), 0);
    // Of two that share a name, either may be it.
    assert_eq!(fitting(&two, Some("a"), Algorithm::EdDSA), 2);
    assert!(two.loses(&one) && !one.loses(&two));
}

#[test]
fn keys_are_asked_for_over_tls_or_on_this_machine() {
    let rows = [
        ("https://login.example.com/keys", true),
        ("http://127.0.0.1:8000/keys", true),
        ("http://[::1]/keys", true),
        ("http://localhost/keys", true),
        ("http://login.example.com/keys", false),
        ("http://127.0.0.1.example.com/keys", false),
        ("http://169.254.169.254/keys", false),
        ("https://user:secret@login.example.com/keys", false),
        ("http://localhost@evil.example/keys", false),
        ("file:///etc/passwd", false),
        ("/keys", false),
    ];
    for (url, safe) in rows {
        assert_eq!(url.parse::<Uri>().is_ok_and(|uri| is_safe(&uri)), safe, "{url}");
    }
}

fn base64_url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
