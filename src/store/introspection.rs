//! Asking whoever issued a credential who it stands for: Sentry's `GET /api/0/` with the credential
//! itself, or an OAuth 2.0 server (RFC 7662).
//!
//! Neither says which organisations a credential reaches. So it is forwarded as it is, for Sentry to
//! judge, and never exchanged.
//!
//! **Invariants:** no redirect is followed, what is read is bounded in time and size, and only an answer
//! that is understood counts; a token that the gateway issued is sent to nobody.

mod answer;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, InvalidHeaderValue, USER_AGENT,
};
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Found, StoreError, TokenStore};
use crate::client::{AGENT, CLOSE, HttpClient, JSON, Speaks, client, shown};
use crate::policy::credential::{self, Presented};
use crate::policy::identity::{IdentityKind, KindSet};
use crate::tls::ClientTls;

/// How long one question may take, whoever waits for it.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How many questions are asked at the same time: Sentry's uWSGI has twelve workers.
const AT_ONCE: usize = 6;
/// The largest answer, in bytes. A user of Sentry's has some thousand.
const MAX_ANSWER: usize = 256 << 10;

const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// How an endpoint is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Sentry's `GET /api/0/`, with the credential itself.
    Sentry,
    /// RFC 7662, with this `Authorization` of the gateway's own. Sensitive: prints nothing.
    Rfc7662(Option<HeaderValue>),
}

impl Protocol {
    /// The kinds of credential that an endpoint can know.
    pub const fn takes(&self) -> KindSet {
        let kinds = KindSet::EMPTY.with(IdentityKind::UserToken);
        match self {
            // Of a DSN it says nothing.
            Protocol::Sentry => kinds.with(IdentityKind::OrgToken).with(IdentityKind::ApiKey),
            Protocol::Rfc7662(_) => kinds,
        }
    }

    /// What the gateway presents of its own: a token, or a client and its secret, `client:secret`, each
    /// as a form has it (RFC 6749, section 2.3.1).
    ///
    /// # Errors
    /// When it can't be sent in a header.
    pub fn authorization(own: &str) -> Result<HeaderValue, InvalidHeaderValue> {
        let text = match own.split_once(':') {
            Some((client, secret)) => {
                let pair = format!("{}:{}", form_encoded(client), form_encoded(secret));
                format!("Basic {}", STANDARD.encode(pair))
            }
            None => format!("Bearer {own}"),
        };
        let mut value = HeaderValue::try_from(text)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// An endpoint that says who a credential stands for.
pub struct IntrospectionStore {
    name: Box<str>,
    url: Uri,
    protocol: Protocol,
    client: HttpClient,
    /// Where requests run: those who wait come from several runtimes, and a connection belongs to one.
    runtime: Handle,
    places: Arc<Semaphore>,
}

impl IntrospectionStore {
    /// An endpoint that is asked in the runtime that this is called in.
    ///
    /// # Errors
    /// When the certificates of the system can't be read, and the URL needs them.
    pub fn new(name: &str, url: Uri, protocol: Protocol) -> std::io::Result<Self> {
        let https = url.scheme() == Some(&Scheme::HTTPS);
        let tls = ClientTls::default();
        let client = client(if https { Speaks::Https(&tls) } else { Speaks::Http })?;
        let (runtime, places) = (Handle::current(), Arc::new(Semaphore::new(AT_ONCE)));
        Ok(Self { name: name.into(), url, protocol, client, runtime, places })
    }

    /// The question, if it may be asked.
    fn request(&self, presented: Presented<'_>) -> Option<Request<Full<Bytes>>> {
        let authorization = presented.authorization?;
        let request = Request::builder().uri(self.url.clone());
        let request = request.header(ACCEPT, JSON).header(USER_AGENT, AGENT);
        let request = request.header(CONNECTION, CLOSE);
        let request = match &self.protocol {
            Protocol::Sentry => {
                request.method("GET").header(AUTHORIZATION, authorization).body(Full::default())
            }
            Protocol::Rfc7662(own) => {
                let mut request = request.method("POST").header(CONTENT_TYPE, FORM);
                if let Some(own) = own {
                    request = request.header(AUTHORIZATION, own);
                }
                let token = credential::bearer_token(authorization)?;
                let form = format!("token={}&token_type_hint=access_token", form_encoded(token));
                request.body(Full::from(form))
            }
        };
        request.ok()
    }
}

#[async_trait]
impl TokenStore for IntrospectionStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn takes(&self) -> KindSet {
        self.protocol.takes()
    }

    fn concerns(&self, presented: Presented<'_>) -> bool {
        !presented.authorization.is_some_and(credential::is_issued_here)
    }

    async fn find(&self, presented: Presented<'_>) -> Result<Option<Found>, StoreError> {
        if presented.authorization.is_none() {
            return Err(StoreError::unavailable("the credential is not at hand"));
        }
        // It was not to be asked.
        if !self.concerns(presented) {
            return Ok(None);
        }
        let Some(kind) = presented.credential.kinds.iter().next() else { return Ok(None) };
        let Some(request) = self.request(presented) else { return Ok(None) };
        let (client, places) = (self.client.clone(), Arc::clone(&self.places));
        let mut asked = Asked(self.runtime.spawn(timeout(TIMEOUT, async move {
            let _place = places.acquire_owned().await.map_err(StoreError::unavailable)?;
            let response = client.request(request).await.map_err(StoreError::unavailable)?;
            let (head, body) = response.into_parts();
            // Of another status nothing is read: what it comes with may be large, or never end.
            let body = match head.status {
                StatusCode::OK => {
                    let body = Limited::new(body, MAX_ANSWER).collect().await;
                    body.map_err(StoreError::unavailable)?.to_bytes()
                }
                _ => Bytes::new(),
            };
            Ok((head, body))
        })));
        let asked = (&mut asked.0).await.map_err(StoreError::unavailable)?;
        let (head, body) = asked.map_err(|_| StoreError::Timeout(TIMEOUT)).flatten()?;
        let wrong =
            |what: String| StoreError::unavailable(format!("`{}` {what}", shown(&self.url)));
        match (&self.protocol, head.status) {
            // A proxy in between may say no for itself.
            (_, StatusCode::OK | StatusCode::UNAUTHORIZED) if !is_json(&head.headers) => {
                Err(wrong("answers with something else than JSON".to_owned()))
            }
            (Protocol::Sentry, StatusCode::OK) => answer::of_sentry(&body, kind),
            (Protocol::Sentry, StatusCode::UNAUTHORIZED) => Ok(None),
            (Protocol::Rfc7662(_), StatusCode::OK) => answer::of_rfc7662(&body),
            (Protocol::Sentry | Protocol::Rfc7662(_), status) => {
                Err(wrong(format!("answers {}", status.as_u16())))
            }
        }
    }
}

/// A question that is under way. Nobody reads the answer once its caller has given up, so that it ends
/// then: the next caller's would come on top of it.
struct Asked<T>(JoinHandle<T>);

impl<T> Drop for Asked<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether a body says that it is JSON (RFC 7662, section 2.2; Sentry has no other).
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next()).map(str::trim);
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
}

impl fmt::Debug for IntrospectionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntrospectionStore").field("url", &shown(&self.url)).finish_non_exhaustive()
    }
}

/// As a form has it (`application/x-www-form-urlencoded`).
fn form_encoded(text: &str) -> String {
    let byte = |byte: u8| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'*' | b'-' | b'.' | b'_') {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(byte).collect()
}
