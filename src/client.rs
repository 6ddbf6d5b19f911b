//! The HTTP client with which the gateway itself asks others.
//!
//! **Invariants:** no redirect is followed, and no connection is used twice: what comes on it late, or
//! too much, would be taken for the answer to the next question.

use std::io;

use bytes::Bytes;
use http::{HeaderValue, Uri};
use http_body_util::Full;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::ServerName;

use crate::tls::{Certificates, ClientTls};

/// `User-Agent`.
pub const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("portcullis/", env!("CARGO_PKG_VERSION")));
/// `Connection`: each is for one question.
pub const CLOSE: HeaderValue = HeaderValue::from_static("close");
/// `Accept`.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Whom Sentry is told that it answers: nobody's address (RFC 5737), so nobody whom it trusts.
pub const NOBODY: HeaderValue = HeaderValue::from_static("192.0.2.1");

/// A URL as messages show it: without its query, in which there may be a secret.
pub fn shown(url: &Uri) -> String {
    let text = url.to_string();
    text.split('?').next().unwrap_or_default().to_owned()
}

/// Asks over HTTP/1.1.
pub type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// What a client speaks.
#[derive(Clone, Copy, Debug)]
pub enum Speaks<'a> {
    /// Nothing but HTTPS, and TLS like this.
    Https(&'a ClientTls),
    /// Plain HTTP; over HTTPS it believes nobody.
    Http,
}

/// A client.
///
/// # Errors
/// When the certificates of the system are needed and can't be read.
pub fn client(speaks: Speaks<'_>) -> io::Result<HttpClient> {
    let builder = HttpsConnectorBuilder::new();
    let builder = match speaks {
        Speaks::Https(tls) => {
            let builder = builder.with_tls_config(tls.config()?).https_only();
            match &tls.server_name {
                Some(name) => {
                    let name = ServerName::try_from(String::from(&**name));
                    let name = name.map_err(io::Error::other)?;
                    builder.with_server_name_resolver(FixedServerNameResolver::new(name))
                }
                None => builder,
            }
        }
        Speaks::Http => {
            let nobody =
                ClientTls { authorities: Some(Certificates::none()), ..ClientTls::default() };
            builder.with_tls_config(nobody.config()?).https_or_http()
        }
    };
    let connector = builder.enable_http1().build();
    Ok(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector))
}
