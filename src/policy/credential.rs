//! Credentials: exactly one per request, read as Sentry reads them
//! (`StandardAuthentication`, `ApiKeyAuthentication` and `DSNAuthentication` in
//! `api/authentication.py`, `ProjectKey.from_dsn` in `models/projectkey.py`).

mod jwt;

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::str::FromStr;

use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::{Engine as _, alphabet};
use http::HeaderValue;
use sha2::{Digest as _, Sha256};

use super::identity::{IdentityKind, KindSet};
use super::token::{self, Shape};

pub use jwt::has_form_of_jwt;

/// Base64 as its most patient readers take it, in both alphabets.
const PATIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const LENIENT: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, PATIENT);
const LENIENT_URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, PATIENT);

/// The longest credential that is looked at, in bytes. Organisation tokens have about 250.
pub const MAX_CREDENTIAL_LEN: usize = 4096;
/// The longest JWT that is looked at, in bytes: some issuers claim much of whom they vouch for.
pub const MAX_JWT_LEN: usize = 16 << 10;
/// The prefix of Sentry's organisation tokens.
const ORG_TOKEN_PREFIX: &str = "sntrys_";

/// A secret as it came. Prints nothing; what leaves this module is its digest.
#[derive(Clone, Copy)]
pub struct Secret<'a>(&'a str);

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// SHA-256 of a secret: what caches and stores know it by.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of a secret, all of its bytes, prefix included.
    pub fn of(secret: &str) -> Self {
        Digest(Sha256::digest(secret.as_bytes()).into())
    }

    /// A digest that was stored.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Digest(bytes)
    }

    /// A digest in 64 hex digits.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let plain = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        let byte = |index: usize| u8::from_str_radix(hex.get(2 * index..2 * index + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..32).map(byte).collect();
        Some(Digest(bytes.filter(|_| plain)?.try_into().ok()?))
    }

    /// Its 64 hex digits.
    pub fn hex(&self) -> String {
        hex(&self.0)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first eight hex digits: enough to tell tokens apart in a log, of no use to log in.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint([self.0[0], self.0[1], self.0[2], self.0[3]])
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({}..)", self.fingerprint())
    }
}

/// Bytes in hex digits, two of each, in lower case.
pub fn hex(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string does not fail.
        write!(digits, "{byte:02x}").unwrap_or_default();
    }
    digits
}

/// The start of a [`Digest`], for logs and lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 4]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Fingerprint {
    type Err = BadFingerprint;

    fn from_str(text: &str) -> Result<Self, BadFingerprint> {
        let hex = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u32::from_str_radix(text, 16).ok().filter(|_| hex);
        number.map(|number| Fingerprint(number.to_be_bytes())).ok_or(BadFingerprint)
    }
}

/// What is not a fingerprint. It may be a secret, and so is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("that is not a fingerprint; write the 8 hex digits that the access log has as `token_fp`")]
pub struct BadFingerprint;

/// The scheme of a credential: a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Scheme {
    /// `Bearer` (RFC 6750).
    Bearer,
    /// `Basic` (RFC 7617) with a key as user name.
    Basic,
    /// `DSN`, Sentry's own; and a project key as SDKs send it.
    Dsn,
    /// A browser session of Sentry's, in a cookie.
    Session,
    /// The certificate of a client, in no header.
    Certificate,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: &'static [Scheme] =
        &[Scheme::Bearer, Scheme::Basic, Scheme::Dsn, Scheme::Session, Scheme::Certificate];

    /// The name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scheme::Bearer => "bearer",
            Scheme::Basic => "basic",
            Scheme::Dsn => "dsn",
            Scheme::Session => "session",
            Scheme::Certificate => "certificate",
        }
    }

    /// The kinds that can come by this scheme.
    pub const fn kinds(self) -> KindSet {
        let none = KindSet::EMPTY;
        match self {
            Scheme::Bearer => none.with(IdentityKind::UserToken).with(IdentityKind::OrgToken),
            Scheme::Basic => none.with(IdentityKind::ApiKey),
            Scheme::Dsn => none.with(IdentityKind::ProjectKey),
            Scheme::Session => none,
            // As a token of the gateway's own.
            Scheme::Certificate => none.with(IdentityKind::UserToken),
        }
    }
}

/// A credential that can be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// How it came.
    pub scheme: Scheme,
    /// What it is known by: the digest of the token, of the key, or of the public key of a DSN.
    pub digest: Digest,
    /// The project that a DSN names; the store's row must name the same one.
    pub project: Option<u64>,
    /// The kinds that it may turn out to be, told by its form.
    pub kinds: KindSet,
}

/// A credential as a request presents it.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    /// What it is known by.
    pub credential: &'a Credential,
    /// The header that it came in, if it is at hand: the secret, and so for nobody but who issued it.
    pub authorization: Option<&'a HeaderValue>,
    /// The client that it came from.
    pub client: Option<IpAddr>,
}

impl Presented<'_> {
    /// What a JWT may be known by besides: [`Digest::of_other_form`].
    pub fn other_form(&self) -> Option<Digest> {
        Digest::of_other_form(bearer_token(self.authorization?)?)
    }
}

impl<'a> From<&'a Credential> for Presented<'a> {
    fn from(credential: &'a Credential) -> Self {
        Self { credential, authorization: None, client: None }
    }
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.credential.fmt(f)
    }
}

/// Why an `Authorization` value is not a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCredential {
    /// A scheme and nothing behind it.
    #[error("the `Authorization` header has a scheme and no credential; send `Bearer <token>`")]
    Missing,
    /// Blanks inside.
    #[error("the credential has blanks inside; send exactly one token")]
    Blanks,
    /// Control characters or bytes over 0x7E.
    #[error("the credential has characters that are not visible ASCII; copy it again")]
    NotVisibleAscii,
    /// Over [`MAX_CREDENTIAL_LEN`], and no JWT, or over [`MAX_JWT_LEN`].
    #[error("the credential is longer than {MAX_CREDENTIAL_LEN} bytes; send the token alone")]
    TooLong,
    /// The gateway's prefix with a checksum that does not fit.
    #[error("the token is damaged (its checksum does not fit); copy it again, whole")]
    Checksum,
    /// Not base64, or no colon in it.
    #[error("the Basic credential is not base64 of `<key>:`; encode the key and a colon")]
    NotBase64,
    /// A password where Sentry takes none.
    #[error(
        "a Basic credential has the key as user name and an empty password; leave the password out"
    )]
    Password,
    /// No key.
    #[error("the Basic credential has no key; send the key as user name")]
    NoKey,
    /// Not a DSN.
    #[error(
        "the DSN is not `<scheme>://<public key>@<host>/<project id>`; copy it from the project's settings"
    )]
    NotDsn,
}

/// What an `Authorization` value holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// A credential of a scheme that Sentry knows.
    Credential(Credential),
    /// One of those schemes, unusable.
    Malformed(Scheme, BadCredential),
    /// Another scheme, or none: Sentry treats it as if there were no header.
    Unrecognized,
}

impl Authorization {
    /// Reads the value of an `Authorization` header: parts split at runs of blanks, the scheme in
    /// any letter case, exactly one part behind it.
    pub fn parse(value: &[u8]) -> Self {
        let mut parts = value.split(|byte| matches!(byte, b' ' | b'\t')).filter(|p| !p.is_empty());
        let Some(scheme) = parts.next().and_then(scheme) else { return Self::Unrecognized };
        let credential = match (parts.next(), parts.next()) {
            (None, _) => Err(BadCredential::Missing),
            (Some(_), Some(_)) => Err(BadCredential::Blanks),
            (Some(part), None) => visible(part).and_then(|secret| match scheme {
                Scheme::Bearer => bearer(secret),
                Scheme::Basic => basic(secret),
                Scheme::Dsn => dsn(secret),
                Scheme::Session | Scheme::Certificate => Err(BadCredential::Missing),
            }),
        };
        match credential {
            Ok(credential) => Self::Credential(credential),
            Err(error) => Self::Malformed(scheme, error),
        }
    }
}

/// The token in a Bearer header, for who issued it.
pub fn bearer_token(authorization: &HeaderValue) -> Option<&str> {
    let mut parts = authorization.to_str().ok()?.split([' ', '\t']).filter(|part| !part.is_empty());
    let is_bearer = scheme(parts.next()?.as_bytes()) == Some(Scheme::Bearer);
    parts.next().filter(|_| is_bearer && parts.next().is_none())
}

/// Whether a credential has the form of those that the gateway issues, and so is for nobody else.
/// Rather one too many: what of a header is the credential does not count.
pub fn is_issued_here(authorization: &HeaderValue) -> bool {
    let own = |text: &[u8]| {
        let prefix = token::PREFIX.as_bytes();
        text.windows(prefix.len()).any(|window| window == prefix)
    };
    // The parts of a JWT are no tokens.
    let between = |byte: &u8| *byte != b'.' && is_between(byte);
    let text = authorization.as_bytes();
    let mut parts = text.split(between).filter(|part| !part.is_empty());
    own(text) || parts.any(|part| patiently_decoded(part).any(|pair| own(&pair)))
}

/// Whether a byte is no base64, as some readers take it: quoted, listed, padded or not.
pub(super) fn is_between(byte: &u8) -> bool {
    !byte.is_ascii_alphanumeric() && !b"+/-_".contains(byte)
}

/// What a part of a text may be the base64 of, in each alphabet.
pub(super) fn patiently_decoded(part: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    // A character too many says nothing.
    let part = &part[..part.len() - usize::from(part.len() % 4 == 1)];
    [LENIENT, LENIENT_URL_SAFE].into_iter().filter_map(move |engine| engine.decode(part).ok())
}

fn scheme(name: &[u8]) -> Option<Scheme> {
    let named = |scheme: &Scheme| name.eq_ignore_ascii_case(scheme.as_str().as_bytes());
    [Scheme::Bearer, Scheme::Basic, Scheme::Dsn].into_iter().find(named)
}

fn visible(part: &[u8]) -> Result<Secret<'_>, BadCredential> {
    if part.len() > MAX_CREDENTIAL_LEN {
        let text = std::str::from_utf8(part).unwrap_or_default();
        if part.len() > MAX_JWT_LEN || !has_form_of_jwt(text) {
            return Err(BadCredential::TooLong);
        }
    }
    if !part.iter().all(u8::is_ascii_graphic) {
        return Err(BadCredential::NotVisibleAscii);
    }
    std::str::from_utf8(part).map(Secret).map_err(|_| BadCredential::NotVisibleAscii)
}

fn bearer(Secret(token): Secret<'_>) -> Result<Credential, BadCredential> {
    match token::shape(token) {
        Shape::Foreign | Shape::Intact => {}
        Shape::Damaged => return Err(BadCredential::Checksum),
    }
    let kind = if token.starts_with(ORG_TOKEN_PREFIX) {
        IdentityKind::OrgToken
    } else {
        IdentityKind::UserToken
    };
    let kinds = KindSet::EMPTY.with(kind);
    let (scheme, digest) = (Scheme::Bearer, Digest::of_bearer(token));
    Ok(Credential { scheme, digest, project: None, kinds })
}

fn basic(Secret(encoded): Secret<'_>) -> Result<Credential, BadCredential> {
    let decoded = STANDARD.decode(encoded).map_err(|_| BadCredential::NotBase64)?;
    let colon = decoded.iter().position(|byte| *byte == b':').ok_or(BadCredential::NotBase64)?;
    if colon + 1 != decoded.len() {
        return Err(BadCredential::Password);
    }
    let Secret(key) = visible(&decoded[..colon])?;
    if key.is_empty() {
        return Err(BadCredential::NoKey);
    }
    match token::shape(key) {
        Shape::Foreign | Shape::Intact => {}
        Shape::Damaged => return Err(BadCredential::Checksum),
    }
    let (scheme, digest) = (Scheme::Basic, Digest::of(key));
    Ok(Credential { scheme, digest, project: None, kinds: scheme.kinds() })
}

/// Sentry takes the user name as the public key and what follows the last slash as the project;
/// host, port and the old secret are not looked at.
fn dsn(Secret(text): Secret<'_>) -> Result<Credential, BadCredential> {
    let parse = || {
        let (scheme, rest) = text.split_once("://")?;
        let (authority, path) = rest.split_once('/')?;
        let (user, host) = authority.split_once('@')?;
        let (key, _secret) = user.split_once(':').unwrap_or((user, ""));
        let project = path.rsplit('/').next()?;
        let plain = matches!(scheme, "http" | "https")
            && !host.is_empty()
            && !host.contains('@')
            && !text.contains(['?', '#', '\\', '%'])
            && !key.is_empty()
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && !project.starts_with('0')
            && project.bytes().all(|byte| byte.is_ascii_digit());
        if plain { Some((key, project.parse::<u64>().ok()?)) } else { None }
    };
    let (key, project) = parse().ok_or(BadCredential::NotDsn)?;
    let (scheme, digest) = (Scheme::Dsn, Digest::of(key));
    Ok(Credential { scheme, digest, project: Some(project), kinds: scheme.kinds() })
}

#[cfg(test)]
mod tests;
