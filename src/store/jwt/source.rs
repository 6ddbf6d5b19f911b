//! Where the keys of an issuer come from: what it publishes (OpenID Connect Discovery 1.0), a URL, or a
//! file.
//!
//! **Invariants:** no redirect is followed; what is read is bounded in time and size; an issuer that is
//! asked over TLS can't send the gateway on to where there is none; the gateway's own credential is sent
//! to the URL that the config has it for, and to no other.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONNECTION, USER_AGENT};
use http::uri::Scheme;
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use serde::Deserialize;
use tokio::time::timeout;

use super::jwk::{BadJwks, Jwks};
use crate::client::{AGENT, CLOSE, HttpClient, JSON, Speaks, client, shown};
use crate::store::object::Object;
use crate::tls::ClientTls;

/// How long one answer may take, from the question on.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The largest answer and the largest file, in bytes. GitHub's keys take some 8 KiB.
const MAX_ANSWER: usize = 256 << 10;

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq)]
pub enum KeySource {
    /// Where the document says that the issuer publishes at this URL.
    Discovery(Uri),
    /// At this URL, asked with this of the gateway's own.
    Url(Uri, Option<JwksAuthorization>),
    /// In a file.
    File(PathBuf),
}

/// What the gateway presents of its own where keys are not for everybody. Prints nothing of it.
#[derive(Clone, PartialEq)]
pub enum JwksAuthorization {
    /// A token in a file that may be replaced: read whenever it is sent.
    File(PathBuf),
    /// What was read at the start, marked sensitive.
    Fixed(HeaderValue),
}

impl fmt::Debug for JwksAuthorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JwksAuthorization::File(path) => f.debug_tuple("File").field(path).finish(),
            JwksAuthorization::Fixed(_) => f.write_str("Fixed(..)"),
        }
    }
}

/// Why keys could not be read. Nothing of an answer is in it, and of a URL no query.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// It can't be reached.
    #[error("`{0}` can't be asked; check the URL, the network and the certificates")]
    Unreachable(String, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// It took too long.
    #[error("`{0}` did not answer within {TIMEOUT:?}; check its load and the network")]
    Timeout(String),
    /// It answers with another status.
    #[error("`{0}` answers {1}; keys must be there, without a redirect")]
    Status(String, u16),
    /// Its answer is broken off, or too large.
    #[error("the answer of `{0}` breaks off or is larger than {MAX_ANSWER} bytes")]
    Body(String),
    /// It publishes no document as it should.
    #[error(
        "`{0}` has no discovery document with `issuer` and `jwks_uri`; name `jwks_url` instead"
    )]
    Document(String),
    /// It says that it is another issuer.
    #[error("the document at `{0}` is of another issuer; write `issuer` exactly as it has it")]
    OtherIssuer(String),
    /// It sends on to where it must not.
    #[error(
        "the document at `{0}` names a `jwks_uri` that is no URL of the same scheme, has a user name, or is `http` elsewhere; name `jwks_url` instead"
    )]
    KeysElsewhere(String),
    /// What is there are no keys.
    #[error("what is at `{0}` {1}")]
    Keys(String, BadJwks),
    /// A file can't be read.
    #[error("`{0}` can't be read; check its path and its permissions")]
    File(PathBuf, #[source] std::io::Error),
    /// A file holds no token.
    #[error("`{0}` holds no token alone; it must be visible ASCII")]
    Token(PathBuf),
}

/// Reads the keys of one issuer.
pub(super) struct Reader {
    issuer: Box<str>,
    source: KeySource,
    https: HttpClient,
    http: HttpClient,
}

impl Reader {
    /// A reader that believes these certificates.
    ///
    /// # Errors
    /// When the certificates of the system are needed and can't be read.
    pub(super) fn new(issuer: &str, source: KeySource, tls: &ClientTls) -> std::io::Result<Self> {
        let http = client(Speaks::Http)?;
        let is_plain = match &source {
            KeySource::Discovery(uri) | KeySource::Url(uri, _) => !is_https(uri),
            KeySource::File(_) => true,
        };
        let https = if is_plain { http.clone() } else { client(Speaks::Https(tls))? };
        Ok(Self { issuer: issuer.into(), source, https, http })
    }

    /// Reads the keys.
    ///
    /// # Errors
    /// Why there are none.
    pub(super) async fn read(&self) -> Result<Jwks, SourceError> {
        match &self.source {
            KeySource::Discovery(document) => {
                let uri = self.discovered(document).await?;
                self.keys(&uri, None).await
            }
            KeySource::Url(uri, authorization) => {
                let authorization = match authorization {
                    Some(own) => Some(own.read().await?),
                    None => None,
                };
                self.keys(uri, authorization).await
            }
            KeySource::File(path) => {
                let json = text(path).await?;
                let keys = Jwks::read(json.as_bytes());
                keys.map_err(|bad| SourceError::Keys(path.display().to_string(), bad))
            }
        }
    }

    /// Where the document says that the keys are.
    async fn discovered(&self, document: &Uri) -> Result<Uri, SourceError> {
        #[derive(Deserialize)]
        struct Document {
            issuer: String,
            jwks_uri: String,
        }
        let body = self.ask(document, None).await?;
        let read: Result<Object<Document>, _> = serde_json::from_slice(&body);
        let Object(Document { issuer, jwks_uri }) =
            read.map_err(|_| SourceError::Document(shown(document)))?;
        // Compared byte for byte (OpenID Connect Discovery 1.0, section 4.3).
        if *issuer != *self.issuer {
            return Err(SourceError::OtherIssuer(shown(document)));
        }
        let uri = jwks_uri.parse().ok().filter(|uri| is_https(document) == is_https(uri));
        uri.filter(is_safe).ok_or_else(|| SourceError::KeysElsewhere(shown(document)))
    }

    async fn keys(
        &self,
        uri: &Uri,
        authorization: Option<HeaderValue>,
    ) -> Result<Jwks, SourceError> {
        let body = self.ask(uri, authorization).await?;
        Jwks::read(&body).map_err(|bad| SourceError::Keys(shown(uri), bad))
    }

    async fn ask(
        &self,
        uri: &Uri,
        authorization: Option<HeaderValue>,
    ) -> Result<Bytes, SourceError> {
        let unreachable = |error: Box<dyn std::error::Error + Send + Sync>| {
            SourceError::Unreachable(shown(uri), error)
        };
        let mut request = Request::builder().uri(uri.clone()).header(ACCEPT, JSON);
        request = request.header(USER_AGENT, AGENT).header(CONNECTION, CLOSE);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(Full::default()).map_err(|error| unreachable(error.into()))?;
        let client = if is_https(uri) { &self.https } else { &self.http };
        let answer = async {
            let response = client.request(request).await;
            let response = response.map_err(|error| unreachable(error.into()))?;
            if response.status() != StatusCode::OK {
                return Err(SourceError::Status(shown(uri), response.status().as_u16()));
            }
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            Ok(body.map_err(|_| SourceError::Body(shown(uri)))?.to_bytes())
        };
        timeout(TIMEOUT, answer).await.map_err(|_| SourceError::Timeout(shown(uri)))?
    }
}

impl JwksAuthorization {
    async fn read(&self) -> Result<HeaderValue, SourceError> {
        match self {
            JwksAuthorization::Fixed(value) => Ok(value.clone()),
            JwksAuthorization::File(path) => {
                let token = text(path).await?;
                bearer(token.trim()).ok_or_else(|| SourceError::Token(path.clone()))
            }
        }
    }
}

/// A token as a header, if it is one; marked sensitive.
pub fn bearer(token: &str) -> Option<HeaderValue> {
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok().filter(|_| is_token)?;
    value.set_sensitive(true);
    Some(value)
}

/// Whether keys may be asked for there: over TLS, or on this machine.
pub fn is_safe(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    let ip: Option<std::net::IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    let is_here = host == "localhost" || ip.is_some_and(|ip| ip.is_loopback());
    plain && !host.is_empty() && (is_https(uri) || uri.scheme() == Some(&Scheme::HTTP) && is_here)
}

fn is_https(uri: &Uri) -> bool {
    uri.scheme() == Some(&Scheme::HTTPS)
}

async fn text(path: &Path) -> Result<String, SourceError> {
    let unreadable = |source| SourceError::File(path.to_owned(), source);
    let size = tokio::fs::metadata(path).await.map_err(unreadable)?.len();
    if usize::try_from(size).unwrap_or(usize::MAX) > MAX_ANSWER {
        return Err(unreadable(std::io::ErrorKind::FileTooLarge.into()));
    }
    tokio::fs::read_to_string(path).await.map_err(unreadable)
}
