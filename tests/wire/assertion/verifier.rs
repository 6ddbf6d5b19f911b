//! What somebody writes who stands behind the gateway and takes nothing but what it has let through.

use std::net::SocketAddr;
use std::sync::{Mutex, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::signature::{self, Verifier as Verifies};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey, VerificationAlgorithm};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::client::send;
use crate::upstream::Seen;

/// Verifies assertions that come in `header`, for this audience.
pub struct Verifier {
    header: &'static str,
    audience: &'static str,
    /// Where the keys are published.
    published: OnceLock<SocketAddr>,
    keys: Mutex<JwkSet>,
}

impl Verifier {
    pub fn new(header: &'static str, audience: &'static str) -> Self {
        // Whoever was first has set the same.
        let _ = BY_RING.install_default();
        let keys = Mutex::new(JwkSet { keys: Vec::new() });
        Self { header, audience, published: OnceLock::new(), keys }
    }

    pub fn ask(&self, admin: SocketAddr) {
        self.published.set(admin).unwrap();
    }

    /// The claims, if this very request was authorised; why not otherwise.
    pub fn verify(&self, seen: &Seen) -> Result<Value, String> {
        let [assertion] = seen.values(self.header)[..] else {
            return Err(format!("not one assertion: {}", seen.head));
        };
        let claims = self.signed(assertion).map_err(|error| error.to_string())?;
        let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
        let query = URL_SAFE_NO_PAD.encode(Sha256::digest(query));
        for (name, own) in [("method", &*seen.method), ("path", path), ("query_sha256", &query)] {
            if claims[name] != *own {
                return Err(format!("another {name}"));
            }
        }
        Ok(claims)
    }

    fn signed(&self, assertion: &str) -> Result<Value, Error> {
        let header = decode_header(assertion)?;
        if header.typ.as_deref() != Some("assertion+jwt") {
            return Err(ErrorKind::InvalidToken.into());
        }
        let kid = header.kid.ok_or(ErrorKind::InvalidToken)?;
        let mut keys = self.keys.lock().unwrap();
        if keys.find(&kid).is_none() {
            let wire = b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n\r\n";
            let reply = send(*self.published.get().unwrap(), wire).unwrap();
            assert_eq!(reply.status, 200);
            *keys = serde_json::from_slice(&reply.body).unwrap();
        }
        let key = keys.find(&kid).ok_or(ErrorKind::InvalidSignature)?;
        // What the key is for, never what the assertion says of itself.
        let algorithm: Algorithm = key.common.key_algorithm.unwrap().try_into()?;
        let mut validation = Validation::new(algorithm);
        validation.leeway = 0;
        validation.set_audience(&[self.audience]);
        validation.set_issuer(&["http://gw.example"]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        decode(assertion, &DecodingKey::from_jwk(key)?, &validation).map(|data| data.claims)
    }
}

/// The signatures that are verified, by the library that TLS has too.
static BY_RING: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::InvalidAlgorithm.into()),
    verifier_factory: |algorithm, key| {
        let known: &'static dyn VerificationAlgorithm = match algorithm {
            Algorithm::ES256 => &ECDSA_P256_SHA256_FIXED,
            Algorithm::EdDSA => &ED25519,
            _ => return Err(ErrorKind::InvalidAlgorithm.into()),
        };
        let key = UnparsedPublicKey::new(known, key.try_get_as_bytes()?.to_vec());
        Ok(Box::new(ByRing { algorithm: *algorithm, key }))
    },
    key_utils: KeyUtils::new_unimplemented(),
};

struct ByRing {
    algorithm: Algorithm,
    key: UnparsedPublicKey<Vec<u8>>,
}

impl Verifies<Vec<u8>> for ByRing {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        self.key.verify(message, signature).map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for ByRing {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
