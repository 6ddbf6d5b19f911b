//! Sentry's web service as the directory, asked with the gateway's own credential.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONNECTION, HOST, USER_AGENT};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use moka::Expiry;
use moka::future::Cache;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Directory, answer};
use crate::client::{AGENT, CLOSE, HttpClient, JSON, NOBODY, Speaks, client};
use crate::forward::{X_FORWARDED_FOR, X_FORWARDED_PROTO};
use crate::policy::question::{Learnt, Question};
use crate::tls::ClientTls;

/// How long a question may take, with all addresses of Sentry's that are tried.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer that is read, in bytes. A release with many projects is long.
const MAX_ANSWER: usize = 4 << 20;
/// How many questions are asked at once, so that they leave Sentry its few workers.
const AT_ONCE: usize = 4;
/// How many answers are kept.
const CAPACITY: u64 = 10_000;
/// How long it is believed that there is no such thing.
const NOTHING_TTL: Duration = Duration::from_secs(5);

/// Where Sentry is, and how it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The addresses of the web service, each `scheme://host:port`.
    pub urls: Vec<String>,
    /// How TLS is spoken with `https` ones.
    pub tls: Arc<ClientTls>,
    /// `Host`: what Sentry is called by its clients.
    pub host: HeaderValue,
    /// The scheme that they call.
    pub proto: HeaderValue,
    /// The `Authorization` of the gateway. Marked sensitive.
    pub credential: HeaderValue,
    /// How long an answer is believed.
    pub ttl: Duration,
}

/// Sentry's web service.
pub struct SentryDirectory {
    asker: Arc<Asker>,
    known: Cache<Question, Learnt>,
    /// Where requests run: those who wait come from several runtimes, and a connection belongs to one.
    runtime: Handle,
}

struct Asker {
    settings: Settings,
    plain: HttpClient,
    tls: HttpClient,
    places: Semaphore,
}

/// How long each answer is believed.
struct Believed(Duration);

impl Expiry<Question, Learnt> for Believed {
    fn expire_after_create(
        &self,
        question: &Question,
        learnt: &Learnt,
        _: std::time::Instant,
    ) -> Option<Duration> {
        let all = match question {
            // A release gains projects whenever somebody adds one.
            Question::Release { .. } => Duration::ZERO,
            Question::Organization(_) | Question::Project { .. } | Question::Issue { .. } => self.0,
        };
        Some(match learnt {
            Learnt::Ids(_) => all,
            Learnt::Nothing => all.min(NOTHING_TTL),
            Learnt::Unavailable => Duration::ZERO,
        })
    }
}

impl SentryDirectory {
    /// A directory that is asked in the runtime that this is called in.
    ///
    /// # Errors
    /// When the certificates of the system can't be read, and a URL needs them.
    pub fn new(settings: Settings) -> std::io::Result<Self> {
        let plain = client(Speaks::Http)?;
        let https = settings.urls.iter().any(|url| url.starts_with("https:"));
        let tls = if https { client(Speaks::Https(&settings.tls))? } else { plain.clone() };
        let known =
            Cache::builder().max_capacity(CAPACITY).expire_after(Believed(settings.ttl)).build();
        let asker = Asker { settings, plain, tls, places: Semaphore::new(AT_ONCE) };
        Ok(Self { asker: Arc::new(asker), known, runtime: Handle::current() })
    }

    /// How it asks.
    pub fn settings(&self) -> &Settings {
        &self.asker.settings
    }
}

#[async_trait]
impl Directory for SentryDirectory {
    async fn learn(&self, question: &Question) -> Learnt {
        if let Some(learnt) = self.known.get(question).await {
            return learnt;
        }
        // What can't be named in a path is not asked for, and is not there.
        let Some(path) = answer::path(question) else { return Learnt::Ids(Box::new([])) };
        let (asker, asked) = (Arc::clone(&self.asker), question.clone());
        let ask = async {
            let asking =
                self.runtime.spawn(timeout(TIMEOUT, async move { asker.ask(&asked, &path).await }));
            match asking.await {
                Ok(Ok(learnt)) => learnt,
                Ok(Err(_)) | Err(_) => {
                    tracing::warn!("Sentry does not answer what a name stands for");
                    Learnt::Unavailable
                }
            }
        };
        // Those who ask the same at the same time wait for one answer.
        self.known.get_with_by_ref(question, ask).await
    }
}

impl Asker {
    async fn ask(&self, question: &Question, path: &str) -> Learnt {
        let Ok(_place) = self.places.acquire().await else { return Learnt::Unavailable };
        for url in &self.settings.urls {
            match self.answer(url, path).await {
                Ok((status, body)) => return answer::read(question, status, &body),
                Err(error) => {
                    tracing::warn!(%error, url, "Sentry can't be asked what a name stands for");
                }
            }
        }
        Learnt::Unavailable
    }

    async fn answer(
        &self,
        url: &str,
        path: &str,
    ) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let uri: Uri = format!("{url}{path}").parse()?;
        let Settings { host, proto, credential, .. } = &self.settings;
        let request = Request::get(uri)
            .header(HOST, host)
            .header(X_FORWARDED_PROTO, proto)
            .header(X_FORWARDED_FOR, NOBODY)
            .header(AUTHORIZATION, credential)
            .header(ACCEPT, JSON)
            .header(USER_AGENT, AGENT)
            .header(CONNECTION, CLOSE)
            .body(Full::default())?;
        let client = if url.starts_with("https:") { &self.tls } else { &self.plain };
        let response = client.request(request).await?;
        let status = response.status();
        let body = match status {
            StatusCode::OK => {
                Limited::new(response.into_body(), MAX_ANSWER).collect().await?.to_bytes()
            }
            // Of another status nothing is read: what it comes with may be large, or never end.
            _ => Bytes::new(),
        };
        Ok((status, body))
    }
}

impl fmt::Debug for SentryDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentryDirectory")
            .field("urls", &self.asker.settings.urls)
            .finish_non_exhaustive()
    }
}
