//! JWTs as they come: a JWS in its compact form (RFC 7515, section 7.1), read strictly.
//!
//! **Invariants:** nothing in here is believed before its signature was verified; of the header only
//! `alg`, `kid`, `typ` and `crit` count, so that no token names the key or the address of the key that it
//! is verified with; an object that has a name twice is none (RFC 7515 and RFC 7519, section 4); what the
//! gateway itself asserts is no credential.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::assertion::TYPE;

/// The names and values of a set of claims.
pub(super) type Claims = Map<String, Value>;

/// What of a header counts (RFC 7515, section 4.1).
struct Header {
    algorithm: Algorithm,
    kid: Option<String>,
}

impl Header {
    /// `None` for one that is none, has an algorithm that is not known here, is of an assertion, or asks
    /// for what is not understood (`crit`).
    fn read(part: &str) -> Option<Self> {
        let fields = object(part)?;
        let text = |name| fields.get(name).map(Value::as_str);
        let is_something_else = text("typ").is_some_and(|typ| typ.is_none_or(is_of_assertion));
        if is_something_else || fields.contains_key("crit") {
            return None;
        }
        let kid = match text("kid") {
            Some(kid) => Some(kid?.to_owned()),
            None => None,
        };
        Some(Self { algorithm: text("alg")??.parse().ok()?, kid })
    }
}

/// Whether a `typ` is that of an assertion: a media type, of which `application/` may be left out (RFC
/// 7515, section 4.1.9), and in which case does not count.
fn is_of_assertion(typ: &str) -> bool {
    let name = typ.split(';').next().unwrap_or_default().trim();
    match name.split_once('/') {
        Some((kind, name)) => {
            kind.eq_ignore_ascii_case("application") && name.eq_ignore_ascii_case(TYPE)
        }
        None => name.eq_ignore_ascii_case(TYPE),
    }
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
    /// Reads one; `None` for what is none, or has a header that is not taken.
    pub(super) fn read(token: &'a str) -> Option<Self> {
        let [header, payload, signature] = parts(token)?;
        let Header { algorithm, kid } = Header::read(header)?;
        Some(Self {
            algorithm,
            kid,
            message: token.get(..header.len() + 1 + payload.len())?.as_bytes(),
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
            claims: object(payload)?,
        })
    }
}

/// The claims of a token that may be anything, of which nothing was verified.
pub(super) fn peeked(token: &str) -> Option<Claims> {
    let [_, payload, _] = parts(token)?;
    object(payload)
}

fn parts(token: &str) -> Option<[&str; 3]> {
    let mut parts = token.split('.');
    let three = [parts.next()?, parts.next()?, parts.next()?];
    parts.next().is_none().then_some(three)
}

/// A part that is one JSON object.
fn object(part: &str) -> Option<Claims> {
    let part = URL_SAFE_NO_PAD.decode(part).ok()?;
    match serde_json::from_slice(&part).ok()? {
        Strict(Value::Object(fields)) => Some(fields),
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
            (r#"{"alg":"ES256","kid":null}"#, "{}", false),
            (r#"{"alg":"ES256","crit":null}"#, "{}", false),
            // A header is one object, and has each name once, whether it counts or not.
            (r#"["ES256",null,null]"#, "{}", false),
            (r#"[{"alg":"ES256"}]"#, "{}", false),
            (r#"{"alg":"ES256"}{"alg":"ES256"}"#, "{}", false),
            (r#""ES256""#, "{}", false),
            ("null", "{}", false),
            ("", "{}", false),
            (r#"{"alg":"ES256","typ":"JWT","typ":"JWT"}"#, "{}", false),
            (r#"{"alg":"ES256","x":1,"x":1}"#, "{}", false),
            (r#"{"alg":"ES256","jwk":{"kty":"EC","kty":"EC"}}"#, "{}", false),
            (r#"{"alg":"ES256","\u0061lg":"ES256"}"#, "{}", false),
            (r#"{"alg":"ES256"}"#, r#"{"iss":"a","\u0069ss":"a"}"#, false),
            // What the gateway itself asserts is no credential, however its type is written.
            (r#"{"alg":"ES256","typ":"JWT"}"#, "{}", true),
            (r#"{"alg":"ES256","typ":"at+jwt"}"#, "{}", true),
            (r#"{"alg":"ES256","typ":"my-assertion+jwt"}"#, "{}", true),
            (r#"{"alg":"ES256","typ":"assertion+jwt"}"#, "{}", false),
            (r#"{"alg":"ES256","typ":"Assertion+JWT"}"#, "{}", false),
            (r#"{"alg":"ES256","typ":"application/assertion+jwt"}"#, "{}", false),
            (r#"{"alg":"ES256","typ":"APPLICATION/assertion+jwt"}"#, "{}", false),
            (r#"{"alg":"ES256","typ":" assertion+jwt ; charset=utf-8"}"#, "{}", false),
            (r#"{"alg":"ES256","typ":["assertion+jwt"]}"#, "{}", false),
            (r#"{"alg":"ES256","typ":null}"#, "{}", false),
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
            let found = Unverified::read(&token(header, claims)).is_some();
            assert_eq!(found, *read, "{} {short}", &header[..header.len().min(60)]);
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
