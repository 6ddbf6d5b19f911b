//! Certificates of clients: whom they are believed by, and what they say of themselves.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::certificate::{BadPem, Chain, time};
use crate::clock::Timestamp;

/// The most names of one certificate that are looked at.
const MAX_NAMES: usize = 8;

/// Whose certificates of clients are believed.
#[derive(Clone, Debug)]
pub struct Authorities {
    roots: Arc<RootCertStore>,
    /// Whether a client must have one.
    required: bool,
}

impl Authorities {
    /// Those of a file, each of them.
    ///
    /// # Errors
    /// When one of them can't be believed.
    pub fn new(chain: &Chain, required: bool) -> Result<Self, BadPem> {
        let mut roots = RootCertStore::empty();
        for (index, certificate) in chain.iter().enumerate() {
            let added = roots.add(certificate.clone());
            added.map_err(|_| BadPem::Certificate(index.saturating_add(1)))?;
        }
        Ok(Self { roots: Arc::new(roots), required })
    }

    /// Checks the certificates of clients (RFC 5280): who signed them, from when until when they are
    /// valid, and that they are for clients.
    pub(super) fn verifier(
        self,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
        let builder = WebPkiClientVerifier::builder_with_provider(self.roots, provider);
        let builder = if self.required { builder } else { builder.allow_unauthenticated() };
        builder.build().map_err(|error| rustls::Error::General(error.to_string()))
    }
}

/// The same if the same are believed: who must have a certificate at all changes nothing for those who
/// have one.
impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        self.roots.roots == other.roots.roots
    }
}

impl Eq for Authorities {}

/// What a certificate says of its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientNames {
    /// Its names, with their kind in front: URIs, then host names, then the common name.
    pub names: Vec<String>,
    /// Until when it is valid.
    pub not_after: Timestamp,
}

impl ClientNames {
    /// Reads a certificate that was verified.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (_, own) = X509Certificate::from_der(certificate).ok()?;
        let alternatives = own.subject_alternative_name().ok()?;
        let alternatives = alternatives.map(|extension| extension.value.general_names.as_slice());
        let alternatives = alternatives.unwrap_or_default();
        let uris = alternatives.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(format!("URI:{uri}")),
            // Not our own list, and no name that counts.
            _ => None,
        });
        let hosts = alternatives.iter().filter_map(|name| match name {
            GeneralName::DNSName(host) => Some(format!("DNS:{host}")),
            // Nor is it here.
            _ => None,
        });
        // Two of them could be read in two ways.
        let mut common = own.subject().iter_common_name();
        let common = common.next().filter(|_| common.next().is_none());
        let common = common.and_then(|name| name.as_str().ok()).map(|name| format!("CN:{name}"));
        let names = uris.chain(hosts).chain(common).take(MAX_NAMES).collect();
        Some(Self { names, not_after: time(own.validity().not_after.timestamp()) })
    }
}
