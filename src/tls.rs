//! Certificates and keys: read from PEM and checked, so that no connection is the first to meet a bad
//! one.
//!
//! **Invariant:** what comes out of here can be used, by rustls and by pingora, which may panic on what
//! can't; and nothing in here believes everybody.

use std::fmt;
use std::io;
use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt as _;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, Error, RootCertStore};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::clock::Timestamp;

/// A certificate and, after it, those that lead to its root; or certificates that are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificates(Vec<CertificateDer<'static>>);

/// A private key. Prints nothing.
#[derive(PartialEq, Eq)]
pub struct Key(PrivateKeyDer<'static>);

/// A certificate that says who one is, and its key.
#[derive(Debug, PartialEq, Eq)]
pub struct Identity {
    certificates: Certificates,
    key: Key,
}

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

impl Certificates {
    /// Reads all certificates of a PEM; whatever else is in it is left alone.
    ///
    /// # Errors
    /// When there is none, and when one can't be read.
    pub fn from_pem(text: &str) -> Result<Self, BadPem> {
        let mut certificates = Vec::new();
        let mut believed = RootCertStore::empty();
        for (index, certificate) in CertificateDer::pem_slice_iter(text.as_bytes()).enumerate() {
            let bad = BadPem::Certificate(index.saturating_add(1));
            let certificate = certificate.map_err(|_| bad)?;
            // Pingora reads it with one library and rustls with another.
            X509Certificate::from_der(&certificate).map_err(|_| bad)?;
            believed.add(certificate.clone()).map_err(|_| bad)?;
            certificates.push(certificate);
        }
        if certificates.is_empty() {
            return Err(BadPem::NoCertificate);
        }
        Ok(Self(certificates))
    }

    /// None: whoever believes in these believes nobody.
    pub(crate) const fn none() -> Self {
        Self(Vec::new())
    }

    /// Each of them, in DER.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// From when until when each of them is valid.
    pub fn validity(&self) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let time = |seconds: i64| {
            Timestamp::from_millis(u64::try_from(seconds).unwrap_or_default().saturating_mul(1000))
        };
        self.iter().filter_map(move |certificate| {
            let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
            let validity = certificate.validity();
            Some((time(validity.not_before.timestamp()), time(validity.not_after.timestamp())))
        })
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
        // Pingora tells its kind by its bytes.
        let known = PrivateKeyDer::try_from(key.secret_der());
        let provider = rustls::crypto::ring::default_provider();
        let usable = provider.key_provider.load_private_key(key.clone_key());
        match (known, usable) {
            (Ok(_), Ok(_)) => Ok(Self(key)),
            (Err(_), _) | (_, Err(_)) => Err(BadPem::Key),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Identity {
    /// The first certificate is the one whose key this is.
    ///
    /// # Errors
    /// When it is the key of another.
    pub fn new(certificates: Certificates, key: Key) -> Result<Self, BadPem> {
        let provider = rustls::crypto::ring::default_provider();
        match CertifiedKey::from_der(certificates.0.clone(), key.0.clone_key(), &provider) {
            Ok(_) => Ok(Self { certificates, key }),
            Err(Error::InconsistentKeys(_)) => Err(BadPem::OtherKey),
            // Not our own list: a certificate or a key that could be read and is still of no use.
            Err(_) => Err(BadPem::Key),
        }
    }

    /// The certificates, the own one first.
    pub const fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// The key in DER, to be handed to what signs with it.
    pub fn expose_key(&self) -> &[u8] {
        self.key.0.secret_der()
    }
}

/// How a client speaks TLS with a server: by default it believes the certificates of the machine, for the
/// name that it called.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// Whose certificates are believed instead.
    pub authorities: Option<Certificates>,
    /// The name that is asked for and that the certificate must have, instead.
    pub server_name: Option<Box<str>>,
    /// Who the client is.
    pub identity: Option<Identity>,
    /// Where its certificate is, as it is configured.
    pub certificate: Option<Box<str>>,
}

impl ClientTls {
    /// Whether a server may have this name: a host name or an IP address, that one without brackets.
    pub fn is_name(name: &str) -> bool {
        ServerName::try_from(name).is_ok()
    }

    /// Where the client's own certificate is, and until when that is valid, with those that lead to its
    /// root.
    pub fn shown(&self) -> Option<(&str, Timestamp)> {
        let validity = self.identity.as_ref()?.certificates.validity();
        Some((self.certificate.as_deref()?, validity.map(|(_, not_after)| not_after).min()?))
    }

    /// Differs where who is believed or who the client is differs: what was agreed with one must not
    /// serve another. Zero for the default.
    pub fn fingerprint(&self) -> u64 {
        if self.authorities.is_none() && self.identity.is_none() {
            return 0;
        }
        let mut hash = Sha256::new();
        let identity = self.identity.as_ref().map(Identity::certificates);
        for part in [self.authorities.as_ref(), identity] {
            let certificates: Vec<_> = part.into_iter().flat_map(Certificates::iter).collect();
            hash.update(certificates.len().to_be_bytes());
            for certificate in certificates {
                hash.update(certificate.len().to_be_bytes());
                hash.update(certificate);
            }
        }
        hash.finalize().iter().take(8).fold(0, |all, byte| (all << 8) | u64::from(*byte))
    }

    /// The same for rustls: TLS 1.2 and later.
    ///
    /// # Errors
    /// When the certificates of the machine are needed and can't be read.
    pub fn config(&self) -> io::Result<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().map_err(io::Error::other)?;
        let config = match &self.authorities {
            Some(authorities) => {
                let mut believed = RootCertStore::empty();
                believed.add_parsable_certificates(authorities.0.iter().cloned());
                config.with_root_certificates(believed)
            }
            None => config.with_native_roots()?,
        };
        match &self.identity {
            Some(Identity { certificates, key }) => config
                .with_client_auth_cert(certificates.0.clone(), key.0.clone_key())
                .map_err(io::Error::other),
            None => Ok(config.with_no_client_auth()),
        }
    }
}
