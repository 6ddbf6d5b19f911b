//! A certificate and its key, read from PEM and checked.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::clock::Timestamp;

/// What is wrong with a certificate or a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPem {
    /// There is no certificate.
    #[error("holds no certificate in PEM")]
    NoCertificate,
    /// One of them is none; the first has the number 1.
    #[error("holds a certificate that can't be read, the {0}. of it")]
    Certificate(usize),
    /// There is no key.
    #[error("holds no key in PEM, or an encrypted one")]
    NoKey,
    /// The key is of no kind that can be used.
    #[error("holds a key that can't be used")]
    Key,
    /// The key is of another certificate.
    #[error("is the key of another certificate")]
    OtherKey,
}

/// A certificate, and after it those that lead to its root.
#[derive(Clone, Debug)]
pub struct Chain(Vec<CertificateDer<'static>>);

/// A private key. Prints nothing.
#[derive(Clone)]
pub struct Key(Arc<dyn SigningKey>);

/// A certificate with its key, and what it says of itself.
#[derive(Clone)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Chain {
    /// Reads all certificates of a PEM; whatever else is in it is left alone.
    ///
    /// # Errors
    /// When there is none, and when one can't be read.
    pub fn from_pem(text: &str) -> Result<Self, BadPem> {
        let mut certificates = Vec::new();
        for (index, certificate) in CertificateDer::pem_slice_iter(text.as_bytes()).enumerate() {
            let bad = BadPem::Certificate(index.saturating_add(1));
            let certificate = certificate.map_err(|_| bad)?;
            X509Certificate::from_der(&certificate).map_err(|_| bad)?;
            certificates.push(certificate);
        }
        if certificates.is_empty() { Err(BadPem::NoCertificate) } else { Ok(Self(certificates)) }
    }

    /// Each of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.0.iter()
    }
}

impl Key {
    /// Reads the first key of a PEM: PKCS #8, PKCS #1 or SEC 1.
    ///
    /// # Errors
    /// When there is none, and when it can't be used.
    pub fn from_pem(text: &str) -> Result<Self, BadPem> {
        let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| match error {
            pem::Error::NoItemsFound => BadPem::NoKey,
            // Not our own list: whatever else is wrong with it, it can't be read.
            _ => BadPem::Key,
        })?;
        rustls::crypto::ring::sign::any_supported_type(&key).map(Self).map_err(|_| BadPem::Key)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Certificate {
    /// The first of the chain, whose key this is.
    ///
    /// # Errors
    /// When it is the key of another, and when the certificate can't be read.
    pub fn new(chain: Chain, key: Key) -> Result<Self, BadPem> {
        let first = chain.0.first().ok_or(BadPem::NoCertificate)?.clone();
        let (_, own) = X509Certificate::from_der(&first).map_err(|_| BadPem::Certificate(1))?;
        let key = CertifiedKey::new(chain.0, key.0);
        // A key that does not tell its public half can't be checked, and is not taken.
        key.keys_match().map_err(|_| BadPem::OtherKey)?;
        let names = own.subject_alternative_name().map_err(|_| BadPem::Certificate(1))?;
        let names = names.map(|extension| extension.value.general_names.as_slice());
        let names = names.unwrap_or_default();
        let dns = names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            // Not our own list, and no name that a client asks for.
            _ => None,
        });
        let addresses = names.iter().filter_map(|name| match name {
            GeneralName::IPAddress(bytes) => address(bytes),
            // Nor an address.
            _ => None,
        });
        let validity = own.validity();
        Ok(Self {
            key: Arc::new(key),
            names: dns.collect(),
            addresses: addresses.collect(),
            not_before: time(validity.not_before.timestamp()),
            not_after: time(validity.not_after.timestamp()),
        })
    }

    /// The host names that it is for, lower-case; a wildcard as `*.example.com`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// The IP addresses that it is for.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// From when on it is valid.
    pub const fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// Until when it is valid.
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// What rustls shows and signs with.
    pub(super) fn into_key(self) -> Arc<CertifiedKey> {
        self.key
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("names", &self.names).finish_non_exhaustive()
    }
}

/// An address as a certificate has it (RFC 5280, 4.2.1.6).
fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    v4.or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok())
}

/// Seconds since the epoch; what is before it is the epoch.
pub(super) fn time(seconds: i64) -> Timestamp {
    Timestamp::from_millis(u64::try_from(seconds).unwrap_or_default().saturating_mul(1000))
}
