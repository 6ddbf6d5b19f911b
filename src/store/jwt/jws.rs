//! JWTs as they come: a JWS in its compact form (RFC 7515, section 7.1), read strictly.
//!
//! **Invariants:** nothing in here is believed before its signature was verified; of the header only
//! `alg`, `kid` and `crit` count, so that no token names the key or the address of the key that it is
//! verified with; an object that has a name twice is none (RFC 7519, section 4).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::store::object::Object;

/// The names and values of a set of claims.
pub(super) type Claims = Map<String, Value>;

/// What of a header counts (RFC 7515, section 4.1).
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// A JWT whose signature was not verified.
pub(super) struct Unverified<'a> {
    /// How it says that it is signed.
    pub(super) algorithm: Algorithm,
    /// The key that it names.
    pub(super) kid: Option<String>,
    /// What is signed.
    pub(super) message: &'a [u8],
    /// The signature.
    pub(super) signature: Vec<u8>,
    /// What it claims.
    pub(super) claims: Claims,
}

impl<'a> Unverified<'a> {
    /// Reads one; `None` for what is none, has an algorithm that is not known here, or asks for what is
    /// not understood (`crit`).
    pub(super) fn read(token: &'a str) -> Option<Self> {
        let [header, payload, signature] = parts(token)?;
        let Object(Header { alg, kid, crit }) =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        if crit.is_some() {
            return None;
        }
        Some(Self {
            algorithm: alg.parse().ok()?,
            kid,
            message: token.get(..header.len() + 1 + payload.len())?.as_bytes(),
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
            claims: claims(payload)?,
        })
    }
}

/// The claims of a token that may be anything, of which nothing was verified.
pub(super) fn peeked(token: &str) -> Option<Claims> {
    let [_, payload, _] = parts(token)?;
    claims(payload)
}

fn parts(token: &str) -> Option<[&str; 3]> {
    let mut parts = token.split('.');
    let three = [parts.next()?, parts.next()?, parts.next()?];
    parts.next().is_none().then_some(three)
}

fn claims(payload: &str) -> Option<Claims> {
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    match serde_json::from_slice(&payload).ok()? {
        Strict(Value::Object(claims)) => Some(claims),
        Strict(_) => None,
    }
}

/// JSON in which no object has a name twice. How deep it may be nested is serde's to bound.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any).map(Strict)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some((name, Strict(value))) = map.next_entry::<String, Strict>()? {
            if values.insert(name, value).is_some() {
                return Err(A::Error::custom("a name comes twice"));
            }
        }
        Ok(values.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, claims: &str) -> String {
        let [header, claims] = [header, claims].map(|text| URL_SAFE_NO_PAD.encode(text));
        format!("{header}.{claims}.c2ln")
    }

    #[test]
    fn what_has_two_readings_is_none() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        let rows: &[(&str, &str, bool)] = &[
            (r#"{"alg":"ES256","kid":"k"}"#, r#"{"iss":"a"}"#, true),
            (r#"{"alg":"ES256"}"#, r#"{"a":{"b":[{"c":1.5}],"d":null}}"#, true),
            // What names a key, or where one is, is as if it were not there.
            (r#"{"alg":"ES256","jku":"https://evil.example/","jwk":{"kty":"oct"}}"#, "{}", true),
            (r#"{"alg":"ES256","crit":["exp"]}"#, "{}", false),
            (r#"{"alg":"ES256","crit":[]}"#, "{}", false),
            (r#"{"alg":"none"}"#, "{}", false),
            (r#"{"alg":"es256"}"#, "{}", false),
            (r#"{"alg":["ES256"]}"#, "{}", false),
            (r#"{"kid":"k"}"#, "{}", false),
            (r#"{"alg":"none","alg":"ES256"}"#, "{}", false),
            (r#"{"alg":"ES256","kid":"a","kid":"b"}"#, "{}", false),
            (r#"{"alg":"ES256","kid":7}"#, "{}", false),
            (r#"["ES256",null,null]"#, "{}", false),
            (r#"{"alg":"ES256"}"#, r#"{"iss":"a","iss":"b"}"#, false),
            (r#"{"alg":"ES256"}"#, r#"{"a":{"b":1,"b":2}}"#, false),
            (r#"{"alg":"ES256"}"#, r#"[{"iss":"a"}]"#, false),
            (r#"{"alg":"ES256"}"#, "null", false),
            (r#"{"alg":"ES256"}"#, r#"{"iss":"a"} {}"#, false),
            (r#"{"alg":"ES256"}"#, &deep, false),
            (&deep, "{}", false),
        ];
        for (header, claims, read) in rows {
            let short = &claims[..claims.len().min(60)];
            assert_eq!(Unverified::read(&token(header, claims)).is_some(), *read, "{short}");
        }
        let good = token(r#"{"alg":"ES256"}"#, r#"{"iss":"a"}"#);
        let cut = &good[..good.len() - 5];
        for bad in
            [&format!("{good}.c2ln"), &format!("{good}="), &format!("{good}+"), cut, "", ".."]
        {
            assert!(Unverified::read(bad).is_none(), "{bad}");
        }
        let read = Unverified::read(&good).unwrap();
        assert_eq!(read.message, good.rsplit_once('.').unwrap().0.as_bytes());
        assert_eq!((read.signature, peeked(&good)), (b"sig".to_vec(), Some(read.claims)));
    }
}
