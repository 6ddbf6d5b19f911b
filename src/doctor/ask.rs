//! Asking, in bounded time, and each secret only of whom it is for.
//!
//! **Invariants:** nothing is written anywhere; the caller's token goes to the gateway alone, and the
//! upstream's credential to the configured web service alone; no redirect is followed.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONNECTION, HOST, InvalidHeaderValue, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use tokio::time::timeout;

use super::answer::Answer;
use crate::client::{AGENT, CLOSE, HttpClient, NOBODY, Speaks, client};
use crate::clock::Clock;
use crate::config::Config;
use crate::forward::{X_FORWARDED_FOR, X_FORWARDED_PROTO};
use crate::policy::exposure::Service;
use crate::policy::site::{BaseUrl, HttpScheme};
use crate::rewrite::UrlRewriter;
use crate::store::Chain;
use crate::tls::ClientTls;

/// How long one question may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// After this nothing more is asked.
const WHOLE: Duration = Duration::from_secs(60);
/// The largest answer, in bytes. Metrics are long.
const MAX_ANSWER: usize = 16 << 20;

const ANY_JSON: HeaderValue = HeaderValue::from_static("application/json, */*;q=0.5");

/// What a caller would present to the gateway. Prints nothing.
pub struct CallerToken {
    authorization: HeaderValue,
    token: String,
}

impl CallerToken {
    /// A token, or a whole `Authorization` value.
    ///
    /// # Errors
    /// When it can't be sent in a header.
    pub fn parse(text: &str) -> Result<Self, InvalidHeaderValue> {
        let text = text.trim();
        let token = text.split_once(' ').map_or(text, |(_, token)| token.trim());
        let whole = if text.contains(' ') { text.to_owned() } else { format!("Bearer {text}") };
        let mut authorization = HeaderValue::try_from(whole)?;
        authorization.set_sensitive(true);
        Ok(Self { authorization, token: token.to_owned() })
    }

    /// The token itself, to be read and not shown.
    pub(super) fn expose(&self) -> &str {
        &self.token
    }
}

impl fmt::Debug for CallerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallerToken")
    }
}

/// What an operator asks for.
#[derive(Debug, Default)]
pub struct Options {
    /// What a caller would present.
    pub token: Option<CallerToken>,
    /// Where the gateway is connected to, if not at its public names.
    pub gateway: Option<BaseUrl>,
    /// Where its admin listener is, if not at `admin.address`.
    pub admin: Option<BaseUrl>,
}

/// A question, and its answer or why there is none.
pub(super) struct Asked {
    pub(super) tried: String,
    pub(super) answer: Result<Answer, String>,
}

/// Who asks the web service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum As {
    /// Nobody in particular.
    Nobody,
    /// The gateway, with the upstream's credential.
    Gateway,
}

/// A gateway and its Sentry, and how they are asked.
pub(super) struct Patient<'a> {
    pub(super) config: &'a Config,
    pub(super) options: &'a Options,
    pub(super) clock: Arc<dyn Clock>,
    /// As the gateway that serves has it.
    pub(super) rewriter: UrlRewriter,
    /// The first address of the web service that answers.
    web: OnceLock<BaseUrl>,
    plain: HttpClient,
    tls: Result<HttpClient, String>,
    /// The same for each part of Sentry, with what its `tls` says.
    upstreams: Vec<(Service, Result<HttpClient, String>)>,
    deadline: Instant,
}

impl<'a> Patient<'a> {
    pub(super) fn new(
        config: &'a Config,
        options: &'a Options,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let over = |tls: &ClientTls| {
            client(Speaks::Https(tls)).map_err(|error| {
                format!("the certificates of the system can't be read ({error}); install ca-certificates")
            })
        };
        let tls = over(&ClientTls::default());
        let upstreams = config.upstreams.iter();
        let upstreams = upstreams.map(|(service, upstream)| (service, over(&upstream.tls)));
        let upstreams = upstreams.collect();
        let deadline = clock.instant() + WHOLE;
        let (plain, web) = (client(Speaks::Http)?, OnceLock::new());
        let rewriter = config.rewriter();
        Ok(Self { config, options, clock, rewriter, web, plain, tls, upstreams, deadline })
    }

    /// The name of the gateway that Sentry is told.
    pub(super) fn public(&self) -> &'a BaseUrl {
        self.config.policy.site.public()
    }

    /// Asks a part of Sentry as the gateway does.
    pub(super) async fn upstream(&self, part: Service, address: &BaseUrl) -> Asked {
        let scheme = self.public().scheme();
        self.sentry(part, address, part.health_path(), As::Nobody, scheme).await
    }

    /// Notes that the web service answers at `address`.
    pub(super) fn found_web(&self, address: &BaseUrl) {
        self.web.get_or_init(|| address.clone());
    }

    /// Whether the web service answers anywhere.
    pub(super) fn has_web(&self) -> bool {
        self.web.get().is_some()
    }

    /// Asks the web service, where it answers, for a client that called by `scheme`.
    pub(super) async fn web(&self, path: &str, who: As, scheme: HttpScheme) -> Asked {
        let address = self.web.get().or_else(|| self.config.upstreams.web.urls.first());
        match address {
            Some(address) => self.sentry(Service::Web, address, path, who, scheme).await,
            None => Asked { tried: String::new(), answer: Err("it has no address".to_owned()) },
        }
    }

    async fn sentry(
        &self,
        part: Service,
        address: &BaseUrl,
        path: &str,
        who: As,
        scheme: HttpScheme,
    ) -> Asked {
        let host = self.public().authority();
        let mut headers = vec![
            (X_FORWARDED_FOR, NOBODY),
            (X_FORWARDED_PROTO, HeaderValue::from_static(scheme.as_str())),
        ];
        let credential = self.config.credential.as_ref().filter(|_| who == As::Gateway);
        headers.extend(credential.map(|value| (AUTHORIZATION, value.clone())));
        let with = if credential.is_some() { " with the upstream's credential" } else { "" };
        let tried = format!("GET {}{path} as `Host: {host}`{with}", origin(address));
        let answer = self.ask(Some(part), address, host, Method::GET, path, headers).await;
        Asked { tried, answer }
    }

    /// Asks the gateway by one of its names; `path` is behind its prefix.
    pub(super) async fn gateway(&self, name: &BaseUrl, method: Method, path: &str) -> Asked {
        self.called(name, method, path, Vec::new(), "").await
    }

    /// The same as the caller whose token it is. Only after it was seen to be a gateway.
    pub(super) async fn as_caller(&self, name: &BaseUrl, path: &str, who: &CallerToken) -> Asked {
        let headers = vec![(AUTHORIZATION, who.authorization.clone())];
        self.called(name, Method::GET, path, headers, " with the token").await
    }

    async fn called(
        &self,
        name: &BaseUrl,
        method: Method,
        path: &str,
        headers: Vec<(HeaderName, HeaderValue)>,
        with: &str,
    ) -> Asked {
        let path = format!("{}{path}", name.prefix());
        let (at, via) = match &self.options.gateway {
            Some(other) => (other, format!(" at {}", origin(other))),
            None => (name, String::new()),
        };
        let tried = format!("{method} {}{path}{via}{with}", origin(name));
        let answer = self.ask(None, at, name.authority(), method, &path, headers).await;
        Asked { tried, answer }
    }

    /// Asks a host that is told nothing.
    pub(super) async fn stranger(&self, base: &BaseUrl, path: &str) -> Asked {
        let path = format!("{}{path}", base.prefix());
        let tried = format!("GET {}{path}", origin(base));
        let answer = self.ask(None, base, base.authority(), Method::GET, &path, Vec::new()).await;
        Asked { tried, answer }
    }

    async fn ask(
        &self,
        part: Option<Service>,
        at: &BaseUrl,
        host: &str,
        method: Method,
        path: &str,
        headers: Vec<(HeaderName, HeaderValue)>,
    ) -> Result<Answer, String> {
        let own = self.upstreams.iter().find(|(service, _)| Some(*service) == part);
        let client = match (at.scheme(), own.map_or(&self.tls, |(_, client)| client)) {
            (HttpScheme::Http, _) => &self.plain,
            (HttpScheme::Https, Ok(client)) => client,
            (HttpScheme::Https, Err(why)) => return Err(why.clone()),
        };
        let request = Request::builder().method(method).uri(format!("{}{path}", origin(at)));
        let request = request.header(HOST, host).header(USER_AGENT, AGENT).header(ACCEPT, ANY_JSON);
        let request =
            headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        let request = request.header(CONNECTION, CLOSE).body(Full::<Bytes>::default());
        let request = request.map_err(|_| "the address can't be asked".to_owned())?;
        let left = self.deadline.saturating_duration_since(self.clock.instant());
        let asked = self.clock.now();
        let asking = async {
            let response =
                client.request(request).await.map_err(|error| Chain(&error).to_string())?;
            let (head, body) = response.into_parts();
            let came = self.clock.now();
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            let body = body.map_err(|error| format!("the answer broke off: {error}"))?.to_bytes();
            let (status, headers) = (head.status, head.headers);
            Ok(Answer { status, headers, body, asked, came })
        };
        let limit = left.min(TIMEOUT);
        timeout(limit, asking).await.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
    }
}

/// Scheme, host and port.
fn origin(base: &BaseUrl) -> String {
    format!("{}://{}", base.scheme().as_str(), base.authority())
}
