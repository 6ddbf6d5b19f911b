//! TLS towards clients: the certificates that the gateway has, and which of them is shown to whom.
//!
//! **Invariant:** what comes out of here can be served; whatever a file may hold is found out before.
//! A key is never printed.

mod certificate;
mod client;
mod names;

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::clock::Timestamp;

pub use certificate::{BadPem, Certificate, Chain, Key};
pub use client::{Authorities, ClientNames};
pub use names::Names;

/// What is negotiated above TLS (RFC 7301), the preferred first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// How a listener speaks TLS: 1.2 and 1.3, with HTTP/2 and HTTP/1.1 above it.
#[derive(Clone, Debug)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    shown: Arc<[Shown]>,
    authorities: Option<Authorities>,
}

/// A certificate that is served, as an operator knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its path, as it is configured.
    pub path: String,
    /// Until when it is valid.
    pub not_after: Timestamp,
}

impl ServerTls {
    /// Serves these certificates, each with its path: the first that has the name which a client asks
    /// for, and the first of all where none has it, or none is asked for. `clients` has them show
    /// certificates of their own.
    ///
    /// # Errors
    /// When the crypto provider has none of these versions, or the machine no randomness.
    pub fn new(
        certificates: Vec<(String, Certificate)>,
        clients: Option<Authorities>,
    ) -> Result<Self, rustls::Error> {
        let mut names = Names::default();
        for (index, (_, certificate)) in certificates.iter().enumerate() {
            names.add(index, certificate.names());
        }
        let shown = certificates.iter().map(|(path, certificate)| Shown {
            path: path.clone(),
            not_after: certificate.not_after(),
        });
        let shown = shown.collect();
        let keys = certificates.into_iter().map(|(_, certificate)| certificate.into_key());
        let chosen = Chosen { names, keys: keys.collect() };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let (asks, authorities) = (clients.is_some(), clients.clone());
        let config = match clients {
            Some(clients) => config.with_client_cert_verifier(clients.verifier(provider)?),
            None => config.with_no_client_auth(),
        };
        let mut config = config.with_cert_resolver(Arc::new(chosen));
        config.alpn_protocols = PROTOCOLS.iter().map(|name| name.to_vec()).collect();
        // Who comes again shows a ticket, so that nothing is kept of whom.
        if asks {
            // A ticket would outlive the certificate that it was given for.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        } else {
            config.ticketer = rustls::crypto::ring::Ticketer::new()?;
        }
        Ok(Self { config: Arc::new(config), shown, authorities })
    }

    /// The same for rustls.
    pub const fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// Whose certificates of clients are believed, if any are asked for.
    pub const fn authorities(&self) -> Option<&Authorities> {
        self.authorities.as_ref()
    }

    /// The certificates that it serves, in the order of the config.
    pub fn shown(&self) -> &[Shown] {
        &self.shown
    }
}

/// The same only if it was made once: two may hold different keys.
impl PartialEq for ServerTls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config)
    }
}

impl Eq for ServerTls {}

/// Chooses by the name that a client asks for (SNI, RFC 6066, section 3).
struct Chosen {
    names: Names,
    keys: Vec<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Chosen {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.names.find(name));
        self.keys.get(named.unwrap_or_default()).cloned()
    }
}

impl fmt::Debug for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chosen").field("names", &self.names).finish_non_exhaustive()
    }
}

/// Certificates for unit tests, made with the `openssl` command.
#[cfg(test)]
pub(crate) mod made {
    use rustls::pki_types::CertificateDer;

    use super::{Certificate, Chain, Key, ServerTls};

    /// One of its own making, for a host.
    fn certificate(host: &str) -> Certificate {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("crt"), folder.path().join("key"));
        let made = std::process::Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
            ])
            .args(["-days", "2", "-subj", "/CN=x", "-addext", "basicConstraints = CA:FALSE"])
            .arg("-addext")
            .arg(format!("subjectAltName = DNS:{host}"))
            .args(["-out".as_ref(), certificate.as_os_str(), "-keyout".as_ref(), key.as_os_str()])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let read = |path| std::fs::read_to_string(path).unwrap();
        let key = Key::from_pem(&read(key)).unwrap();
        Certificate::new(Chain::from_pem(&read(certificate)).unwrap(), key).unwrap()
    }

    /// A listener's TLS with that one, and the certificate.
    pub(crate) fn tls(path: &str, host: &str) -> (ServerTls, CertificateDer<'static>) {
        let certificate = certificate(host);
        let own = certificate.clone().into_key().cert[0].clone();
        (ServerTls::new(vec![(path.to_owned(), certificate)], None).unwrap(), own)
    }
}
