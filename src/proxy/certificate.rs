//! Who a client is by its certificate.
//!
//! **Invariant:** it comes from the TLS handshake, in which it was verified, by way of the connection;
//! nothing that a request brings can make or change one.

use pingora::proxy::Session;

use super::client::Client;
use crate::clock::Timestamp;
use crate::policy::certificate::CertificateName;
use crate::policy::credential::Credential;

/// The client's certificate on a connection.
#[derive(Debug)]
pub struct ClientCertificate {
    /// By each of its names, the first to be looked up first.
    credentials: Vec<Credential>,
    not_after: Timestamp,
}

impl ClientCertificate {
    /// One with these names, which is valid until then.
    pub fn new(names: impl IntoIterator<Item = CertificateName>, not_after: Timestamp) -> Self {
        let credentials = names.into_iter().map(|name| name.credential()).collect();
        Self { credentials, not_after }
    }

    /// What a request is made with; nothing where there is no certificate, or none that is still valid.
    pub(super) fn credentials(session: &Session, now: Timestamp) -> &[Credential] {
        match Client::of(session).and_then(|client| client.certificate.as_ref()) {
            // It was when the connection was made.
            Some(own) if now <= own.not_after => &own.credentials,
            Some(_) | None => &[],
        }
    }
}
