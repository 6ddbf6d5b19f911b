//! The public keys of an issuer: a JWK set (RFC 7517), read for what can be used of it.
//!
//! **Invariants:** a key verifies with the algorithms of its own type alone, whatever a token says; one
//! that is shared, short, or meant for something else is not there.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations,
    PublicKeyUse,
};
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, UnparsedPublicKey,
    VerificationAlgorithm,
};
use serde::Deserialize;
use serde_json::Value;

use crate::store::object::Object;

/// How many keys a set may have.
const MAX_KEYS: usize = 64;
/// The sizes of an RSA modulus that are taken, in bits (RFC 7518, section 3.3, asks for the smaller).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Why a set can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadJwks {
    /// It is something else.
    #[error("is no JWK set: an object with `keys`, a list")]
    NoSet,
    /// It has more keys than any issuer has.
    #[error("has more than {MAX_KEYS} keys")]
    TooMany,
}

/// The keys of an issuer that verify something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Jwks(Vec<Key>);

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    kid: Option<Box<str>>,
    /// The one algorithm that it says it is for.
    only: Option<Algorithm>,
    material: Material,
}

#[derive(Clone, PartialEq, Eq)]
enum Material {
    Rsa { n: Box<[u8]>, e: Box<[u8]> },
    P256(Box<[u8]>),
    P384(Box<[u8]>),
    Ed25519(Box<[u8]>),
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Material::Rsa { .. } => "Rsa",
            Material::P256(_) => "P256",
            Material::P384(_) => "P384",
            Material::Ed25519(_) => "Ed25519",
        })
    }
}

impl Jwks {
    /// Reads a set. A key that can't be used is left out (RFC 7517, section 5).
    ///
    /// # Errors
    /// When it is no set, or too large a one.
    pub fn read(json: &[u8]) -> Result<Self, BadJwks> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let read: Result<Object<Set>, _> = serde_json::from_slice(json);
        let Object(Set { keys }) = read.map_err(|_| BadJwks::NoSet)?;
        if keys.len() > MAX_KEYS {
            return Err(BadJwks::TooMany);
        }
        Ok(Self(keys.into_iter().filter_map(Key::read).collect()))
    }

    /// How many keys it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys that a token may be signed with. One that names none may be signed with the only one
    /// that fits.
    pub(super) fn fitting(&self, kid: Option<&str>, algorithm: Algorithm) -> Vec<&Key> {
        let fits = |key: &&Key| key.fits(algorithm) && (kid.is_none() || key.kid.as_deref() == kid);
        let found: Vec<_> = self.0.iter().filter(fits).collect();
        if kid.is_none() && found.len() > 1 { Vec::new() } else { found }
    }

    /// Whether a key of it is not in `next`.
    pub(super) fn loses(&self, next: &Self) -> bool {
        self.0.iter().any(|key| !next.0.contains(key))
    }
}

impl Key {
    fn read(value: Value) -> Option<Self> {
        let Jwk { common, algorithm } = serde_json::from_value(value).ok()?;
        let (kid, only) = (common.key_id.as_deref().map(Into::into), meant_for(&common)?);
        let material = match algorithm {
            AlgorithmParameters::RSA(rsa) => {
                let (n, e) = (number(&rsa.n)?, number(&rsa.e)?);
                let bits = 8 * n.len() - n.first()?.leading_zeros() as usize;
                RSA_BITS.contains(&bits).then_some(Material::Rsa { n, e })?
            }
            AlgorithmParameters::EllipticCurve(ec) => {
                let point = |len: usize| {
                    let (x, y) = (bytes(&ec.x, len)?, bytes(&ec.y, len)?);
                    // Not compressed (SEC 1, section 2.3.3).
                    Some([[4].as_slice(), &x, &y].concat().into())
                };
                match ec.curve {
                    EllipticCurve::P256 => Material::P256(point(32)?),
                    EllipticCurve::P384 => Material::P384(point(48)?),
                    // Not our own list.
                    _ => return None,
                }
            }
            AlgorithmParameters::OctetKeyPair(pair) => match pair.curve {
                EllipticCurve::Ed25519 => Material::Ed25519(bytes(&pair.x, 32)?.into()),
                _ => return None,
            },
            _ => return None,
        };
        let key = Self { kid, only, material };
        key.only.is_none_or(|only| key.material.takes(only)).then_some(key)
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        self.material.takes(algorithm) && self.only.is_none_or(|only| only == algorithm)
    }

    /// Whether it made a signature, which must be of an algorithm that fits.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let verifies = |by: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(by, key).verify(message, signature).is_ok()
        };
        if !self.fits(algorithm) {
            return false;
        }
        match &self.material {
            Material::Rsa { n, e } => rsa(algorithm).is_some_and(|by| {
                PublicKeyComponents { n, e }.verify(by, message, signature).is_ok()
            }),
            Material::P256(point) => verifies(&ECDSA_P256_SHA256_FIXED, point),
            Material::P384(point) => verifies(&ECDSA_P384_SHA384_FIXED, point),
            Material::Ed25519(point) => verifies(&ED25519, point),
        }
    }
}

impl Material {
    fn takes(&self, algorithm: Algorithm) -> bool {
        match self {
            Material::Rsa { .. } => rsa(algorithm).is_some(),
            Material::P256(_) => algorithm == Algorithm::ES256,
            Material::P384(_) => algorithm == Algorithm::ES384,
            Material::Ed25519(_) => algorithm == Algorithm::EdDSA,
        }
    }
}

/// Whether an algorithm is one of signatures that a public key verifies (RFC 8725, section 3.1).
pub(super) fn is_asymmetric(algorithm: Algorithm) -> bool {
    let others = [Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];
    rsa(algorithm).is_some() || others.contains(&algorithm)
}

fn rsa(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        Algorithm::RS256 => &RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &RSA_PSS_2048_8192_SHA512,
        // Not our own list.
        _ => return None,
    })
}

/// The algorithm that a key says it is for, if it says one; `None` when it is for something else than to
/// verify signatures.
fn meant_for(common: &CommonParameters) -> Option<Option<Algorithm>> {
    let verifies = |list: &Vec<KeyOperations>| list.contains(&KeyOperations::Verify);
    let is_for_signatures =
        common.public_key_use.as_ref().is_none_or(|to| *to == PublicKeyUse::Signature)
            && common.key_operations.as_ref().is_none_or(verifies);
    let only = match common.key_algorithm {
        None => None,
        Some(KeyAlgorithm::RS256) => Some(Algorithm::RS256),
        Some(KeyAlgorithm::RS384) => Some(Algorithm::RS384),
        Some(KeyAlgorithm::RS512) => Some(Algorithm::RS512),
        Some(KeyAlgorithm::PS256) => Some(Algorithm::PS256),
        Some(KeyAlgorithm::PS384) => Some(Algorithm::PS384),
        Some(KeyAlgorithm::PS512) => Some(Algorithm::PS512),
        Some(KeyAlgorithm::ES256) => Some(Algorithm::ES256),
        Some(KeyAlgorithm::ES384) => Some(Algorithm::ES384),
        Some(KeyAlgorithm::EdDSA) => Some(Algorithm::EdDSA),
        // Not our own list: it is for something that is not taken.
        Some(_) => return None,
    };
    is_for_signatures.then_some(only)
}

/// A number as RFC 7518, section 2, has it, without zeros in front, which ring refuses.
fn number(text: &str) -> Option<Box<[u8]>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let start = bytes.iter().position(|byte| *byte != 0)?;
    Some(bytes.get(start..)?.into())
}

/// Exactly so many bytes (RFC 7518, section 6.2.1.2).
fn bytes(text: &str, len: usize) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == len)
}
