//! A key that signs, its public half, and how both are read from PEM.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use jsonwebtoken::Header;
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, EllipticCurveKeyParameters,
    EllipticCurveKeyType, Jwk, KeyAlgorithm, OctetKeyPairParameters, OctetKeyPairType,
    PublicKeyUse, RSAKeyParameters, RSAKeyType,
};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use x509_parser::oid_registry::{OID_EC_P256, OID_SIG_ED25519};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey as Parsed;
use x509_parser::x509::SubjectPublicKeyInfo;

/// `typ` of an assertion: what is signed for something else is none (RFC 8725, 3.11).
pub const TYPE: &str = "assertion+jwt";
/// The shortest RSA modulus in bits (RFC 7518, 3.3).
const MIN_RSA: usize = 2048;
/// Of P-256: the byte that says that it is not compressed, and two coordinates (SEC 1, 2.3.3).
const P256_POINT: usize = 65;
/// Of Ed25519 (RFC 8032, 5.1.5).
const ED25519_POINT: usize = 32;

/// How it is signed (RFC 7518, 3.1; RFC 8037, 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
    /// RSA (PKCS #1, version 1.5) with SHA-256.
    Rs256,
}

impl Algorithm {
    /// The name in a JWT.
    pub const fn as_str(self) -> &'static str {
        match self {
            Algorithm::Es256 => "ES256",
            Algorithm::EdDsa => "EdDSA",
            Algorithm::Rs256 => "RS256",
        }
    }

    const fn header(self) -> jsonwebtoken::Algorithm {
        match self {
            Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
            Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is wrong with the file of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// There is no private key, or one in another form.
    #[error("holds no private key in PEM and PKCS #8 that is not encrypted")]
    NoPrivate,
    /// There is no public key.
    #[error("holds no public key in PEM")]
    NoPublic,
    /// A private key stands where public ones are published.
    #[error("holds a private key, and what is in it is published")]
    Private,
    /// It is of no kind that is taken.
    #[error("holds a key that is neither of P-256, nor of Ed25519, nor RSA of 2048 to 4096 bits")]
    Kind,
}

/// An assertion that could not be signed, or a key that could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the machine has no randomness to sign with")]
pub struct Unsigned;

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

/// A private key. Prints the number of its public half alone.
pub struct SigningKey {
    pair: Pair,
    random: SystemRandom,
    public: PublicKey,
    /// The header of what it signs, encoded.
    header: Box<str>,
}

/// The public half of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    kid: Box<str>,
    jwk: Jwk,
}

impl SigningKey {
    /// Reads the first private key of a PEM.
    ///
    /// # Errors
    /// When there is none in PKCS #8, and when it is of no kind that is taken.
    pub fn from_pem(text: &str) -> Result<Self, BadKey> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes());
        let key = key.map_err(|_| BadKey::NoPrivate)?;
        Self::from_der(key.secret_pkcs8_der()).ok_or(BadKey::Kind)
    }

    /// Makes a key.
    ///
    /// # Errors
    /// When there is no randomness. An RSA key is never made.
    pub fn made(algorithm: Algorithm) -> Result<Self, Unsigned> {
        let random = SystemRandom::new();
        let document = match algorithm {
            Algorithm::Es256 => {
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            }
            Algorithm::EdDsa => Ed25519KeyPair::generate_pkcs8(&random),
            Algorithm::Rs256 => return Err(Unsigned),
        };
        let document = document.map_err(|_| Unsigned)?;
        Self::from_der(document.as_ref()).ok_or(Unsigned)
    }

    fn from_der(der: &[u8]) -> Option<Self> {
        let random = SystemRandom::new();
        let ecdsa = || {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random);
            pair.ok().map(Pair::Ecdsa)
        };
        // OpenSSL writes Ed25519 without its public half.
        let ed25519 = || Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok().map(Pair::Ed25519);
        let rsa = || RsaKeyPair::from_pkcs8(der).ok().map(Pair::Rsa);
        let pair = ecdsa().or_else(ed25519).or_else(rsa)?;
        let public = match &pair {
            Pair::Ecdsa(pair) => PublicKey::p256(pair.public_key().as_ref())?,
            Pair::Ed25519(pair) => PublicKey::ed25519(pair.public_key().as_ref())?,
            Pair::Rsa(pair) => {
                let PublicKeyComponents { n, e } =
                    PublicKeyComponents::<Vec<u8>>::from(pair.public());
                PublicKey::rsa(&n, &e)?
            }
        };
        let header = Header {
            typ: Some(TYPE.to_owned()),
            kid: Some(public.kid.to_string()),
            ..Header::new(algorithm(&pair).header())
        };
        let header = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header).ok()?);
        Some(Self { pair, random, public, header: header.into() })
    }

    /// How it signs.
    pub const fn algorithm(&self) -> Algorithm {
        algorithm(&self.pair)
    }

    /// Its public half.
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// A JWT with these claims (JWS Compact Serialization, RFC 7515, 7.1).
    pub(super) fn sign(&self, claims: &impl Serialize) -> Result<HeaderValue, Unsigned> {
        let claims = serde_json::to_vec(claims).map_err(|_| Unsigned)?;
        let mut text = String::with_capacity(self.header.len() + 2 * claims.len() + 128);
        text.push_str(&self.header);
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(&claims, &mut text);
        let signed = text.len();
        text.push('.');
        match &self.pair {
            Pair::Ecdsa(pair) => {
                let signature = pair.sign(&self.random, &text.as_bytes()[..signed]);
                URL_SAFE_NO_PAD.encode_string(signature.map_err(|_| Unsigned)?, &mut text);
            }
            Pair::Ed25519(pair) => {
                let signature = pair.sign(&text.as_bytes()[..signed]);
                URL_SAFE_NO_PAD.encode_string(signature, &mut text);
            }
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let bytes = &text.as_bytes()[..signed];
                pair.sign(&RSA_PKCS1_SHA256, &self.random, bytes, &mut signature)
                    .map_err(|_| Unsigned)?;
                URL_SAFE_NO_PAD.encode_string(&signature, &mut text);
            }
        }
        let mut value = HeaderValue::try_from(text).map_err(|_| Unsigned)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

const fn algorithm(pair: &Pair) -> Algorithm {
    match pair {
        Pair::Ecdsa(_) => Algorithm::Es256,
        Pair::Ed25519(_) => Algorithm::EdDsa,
        Pair::Rsa(_) => Algorithm::Rs256,
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.public.kid).finish_non_exhaustive()
    }
}

impl PublicKey {
    /// Reads all public keys of a PEM (SubjectPublicKeyInfo, RFC 5280, 4.1).
    ///
    /// # Errors
    /// When there is none, or a private one, and when one is of no kind that is taken.
    pub fn from_pem(text: &str) -> Result<Vec<Self>, BadKey> {
        if text.contains("PRIVATE KEY-----") {
            return Err(BadKey::Private);
        }
        let mut keys = Vec::new();
        for key in SubjectPublicKeyInfoDer::pem_slice_iter(text.as_bytes()) {
            let key = key.map_err(|error: pem::Error| match error {
                pem::Error::NoItemsFound => BadKey::NoPublic,
                // Not our own list: whatever else is wrong with it, it can't be read.
                _ => BadKey::Kind,
            })?;
            keys.push(Self::from_der(&key).ok_or(BadKey::Kind)?);
        }
        if keys.is_empty() { Err(BadKey::NoPublic) } else { Ok(keys) }
    }

    fn from_der(der: &[u8]) -> Option<Self> {
        let (_, info) = SubjectPublicKeyInfo::from_der(der).ok()?;
        match info.parsed().ok()? {
            Parsed::EC(point) => {
                let curve = info.algorithm.parameters.as_ref()?.as_oid().ok()?;
                (curve == OID_EC_P256).then(|| Self::p256(point.data()))?
            }
            Parsed::RSA(key) => Self::rsa(key.modulus, key.exponent),
            Parsed::Unknown(point) if info.algorithm.algorithm == OID_SIG_ED25519 => {
                Self::ed25519(point)
            }
            Parsed::Unknown(_)
            | Parsed::DSA(_)
            | Parsed::GostR3410(_)
            | Parsed::GostR3410_2012(_) => None,
        }
    }

    fn p256(point: &[u8]) -> Option<Self> {
        let coordinates = point.strip_prefix(&[4]).filter(|_| point.len() == P256_POINT)?;
        let (x, y) = coordinates.split_at(coordinates.len() / 2);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let (key_type, curve) = (EllipticCurveKeyType::EC, EllipticCurve::P256);
        let key = EllipticCurveKeyParameters { key_type, curve, x, y };
        Some(Self::of(AlgorithmParameters::EllipticCurve(key), KeyAlgorithm::ES256, &members))
    }

    fn ed25519(point: &[u8]) -> Option<Self> {
        let x = (point.len() == ED25519_POINT).then(|| URL_SAFE_NO_PAD.encode(point))?;
        let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let (key_type, curve) = (OctetKeyPairType::OctetKeyPair, EllipticCurve::Ed25519);
        let key = OctetKeyPairParameters { key_type, curve, x };
        Some(Self::of(AlgorithmParameters::OctetKeyPair(key), KeyAlgorithm::EdDSA, &members))
    }

    /// `modulus` and `exponent` big-endian.
    pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let [modulus, exponent] = [modulus, exponent].map(|number| {
            let zeros = number.iter().take_while(|byte| **byte == 0).count();
            &number[zeros..]
        });
        let bits = 8 * modulus.len() - modulus.first()?.leading_zeros() as usize;
        let (n, e) = (URL_SAFE_NO_PAD.encode(modulus), URL_SAFE_NO_PAD.encode(exponent));
        if bits < MIN_RSA || exponent.is_empty() {
            return None;
        }
        let members = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
        let key = RSAKeyParameters { key_type: RSAKeyType::RSA, n, e };
        Some(Self::of(AlgorithmParameters::RSA(key), KeyAlgorithm::RS256, &members))
    }

    /// A key that is numbered by its thumbprint: the digest of these members (RFC 7638, 3).
    fn of(algorithm: AlgorithmParameters, name: KeyAlgorithm, members: &str) -> Self {
        let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(members));
        let common = CommonParameters {
            public_key_use: Some(PublicKeyUse::Signature),
            key_algorithm: Some(name),
            key_id: Some(kid.clone()),
            ..CommonParameters::default()
        };
        Self { kid: kid.into(), jwk: Jwk { common, algorithm } }
    }

    /// By which a verifier finds it: its thumbprint (RFC 7638).
    pub const fn kid(&self) -> &str {
        &self.kid
    }

    /// As it is published.
    pub(super) const fn jwk(&self) -> &Jwk {
        &self.jwk
    }
}
