//! The HTTP client with which the gateway itself asks others.
//!
//! **Invariants:** no redirect is followed, and no connection is used twice: what comes on it late, or
//! too much, would be taken for the answer to the next question.

use std::io;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};

/// Asks over HTTP/1.1.
pub type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// Nothing but HTTPS, checked against the certificates of this machine.
    Https,
    /// Plain HTTP; over HTTPS it believes nobody.
    Http,
}

/// A client.
///
/// # Errors
/// When the certificates of the system are needed and can't be read.
pub fn client(speaks: Speaks) -> io::Result<HttpClient> {
    let builder = HttpsConnectorBuilder::new();
    let provider = rustls::crypto::ring::default_provider();
    let builder = match speaks {
        Speaks::Https => builder.with_provider_and_native_roots(provider)?.https_only(),
        Speaks::Http => {
            let config = ClientConfig::builder_with_provider(provider.into())
                .with_safe_default_protocol_versions()
                .map_err(io::Error::other)?
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth();
            builder.with_tls_config(config).https_or_http()
        }
    };
    let connector = builder.enable_http1().build();
    Ok(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector))
}
