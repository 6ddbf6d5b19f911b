//! Who a client is by its certificate.
//!
//! **Invariant:** it comes from the TLS handshake, in which it was verified, by way of the connection;
//! nothing that a request brings can make or change one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
    believed: Arc<AtomicBool>,
}

impl ClientCertificate {
    /// One with these names, which is valid until then, and counts for as long as `believed` is true.
    pub fn new(
        names: impl IntoIterator<Item = CertificateName>,
        not_after: Timestamp,
        believed: Arc<AtomicBool>,
    ) -> Self {
        let credentials = names.into_iter().map(|name| name.credential()).collect();
        Self { credentials, not_after, believed }
    }

    /// What a request is made with; nothing where there is no certificate, or none that still counts.
    pub(super) fn credentials(session: &Session, now: Timestamp) -> &[Credential] {
        let own = Client::of(session).and_then(|client| client.certificate.as_ref());
        own.map_or(&[], |own| own.at(now))
    }

    /// It was valid and believed when the connection was made.
    fn at(&self, now: Timestamp) -> &[Credential] {
        let counts = now <= self.not_after && self.believed.load(Ordering::Acquire);
        if counts { &self.credentials } else { &[] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_until_it_ends_or_is_believed_no_longer() {
        let believed = Arc::new(AtomicBool::new(true));
        let name = CertificateName::parse("CN:ci").unwrap();
        let (at, end) = (Timestamp::from_millis, 5_000);
        let own = ClientCertificate::new([name], at(end), Arc::clone(&believed));
        assert_eq!(own.at(at(end)).len(), 1);
        assert_eq!(own.at(at(end + 1)).len(), 0);
        believed.store(false, Ordering::Release);
        assert_eq!(own.at(at(end)).len(), 0);
    }
}
