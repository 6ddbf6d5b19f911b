//! Reports for a Sentry, in the envelopes of its own SDK for Rust, which are sent by the client that
//! the gateway has for everything it asks.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use sentry::protocol::{Event, Level, Value};
use sentry::types::Scheme;
use sentry::{Client, ClientOptions, Envelope, Transport};
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::timeout;

use super::{Dsn, ErrorSettings, ErrorSink, Report};
use crate::client::{HttpClient, Speaks, client};
use crate::clock::{Clock as _, SystemClock};
use crate::policy::site::HttpScheme;
use crate::telemetry::metrics::{ErrorMetrics, ErrorResult};
use crate::tls::ClientTls;

/// How many reports may wait to be sent.
const QUEUE: usize = 64;
/// How often it is looked whether there is room for one more.
const POLL: Duration = Duration::from_millis(10);
/// How long Sentry may take for one.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 10;
/// How long it is left alone when it says that it has too many and not for how long (as Sentry's SDKs
/// do), and the longest that it is.
const PAUSE: Duration = Duration::from_secs(60);
const MAX_PAUSE: Duration = Duration::from_secs(3600);
/// How the gateway names itself to Sentry.
const AGENT: &str = concat!("portcullis/", env!("CARGO_PKG_VERSION"));
/// What Sentry authenticates with.
const X_SENTRY_AUTH: HeaderName = HeaderName::from_static("x-sentry-auth");

/// Reads a DSN.
pub(super) fn parse(text: &str) -> Option<Dsn> {
    let dsn: sentry::types::Dsn = text.parse().ok()?;
    let scheme = match dsn.scheme() {
        Scheme::Https => HttpScheme::Https,
        Scheme::Http => HttpScheme::Http,
    };
    Some(Dsn { text: text.into(), scheme, host: dsn.host().into(), port: dsn.port() })
}

/// A project of a Sentry's.
pub struct Project {
    client: Client,
}

impl fmt::Debug for Project {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Project")
    }
}

impl Project {
    /// A project that is sent reports in the runtime that this is called in.
    ///
    /// # Errors
    /// When the certificates of the system can't be read, and the DSN needs them.
    pub fn new(settings: &ErrorSettings, metrics: ErrorMetrics) -> io::Result<Self> {
        let dsn: sentry::types::Dsn = settings.dsn.text.parse().map_err(io::Error::other)?;
        let tls = ClientTls::default();
        let http = client(match dsn.scheme() {
            Scheme::Https => Speaks::Https(&tls),
            Scheme::Http => Speaks::Http,
        })?;
        let url = dsn.envelope_api_url().as_str().parse().map_err(io::Error::other)?;
        let mut auth = HeaderValue::try_from(dsn.to_auth(Some(AGENT)).to_string())
            .map_err(io::Error::other)?;
        auth.set_sensitive(true);
        let (queue, waiting) = channel(QUEUE);
        let sending = Sending { http, url, auth, metrics: metrics.clone(), pause: None };
        Handle::current().spawn(sending.run(waiting));
        let transport = Arc::new(Queue { queue, metrics });
        let mut options = ClientOptions::new()
            .release(concat!("portcullis@", env!("CARGO_PKG_VERSION")))
            .environment(settings.environment.clone())
            .server_name(rustix::system::uname().nodename().to_string_lossy().into_owned())
            .default_integrations(false)
            .transport(transport);
        options.dsn = Some(dsn);
        Ok(Self { client: Client::with_options(options) })
    }
}

impl ErrorSink for Project {
    fn take(&self, report: Report) {
        self.client.capture_event(event(report), None);
    }

    fn close(&self, within: Duration) {
        // What is left then has its time over.
        self.client.flush(Some(within));
    }
}

fn event(report: Report) -> Event<'static> {
    let default = ["{{ default }}".to_owned()].into_iter();
    let fingerprint = default.chain(report.place().map(ToOwned::to_owned));
    let fingerprint: Vec<_> = fingerprint.map(Into::into).collect();
    let fields = report.fields.into_iter();
    let mut extra: sentry::protocol::Map<_, _> =
        fields.map(|(name, value)| (name.to_owned(), Value::String(value))).collect();
    if report.unreported > 0 {
        extra.insert("unreported".to_owned(), report.unreported.into());
    }
    Event {
        message: Some(report.message),
        level: Level::Error,
        logger: Some(report.target.to_owned()),
        fingerprint: fingerprint.into(),
        extra,
        ..Event::default()
    }
}

/// What is to be done, one after the other.
enum Work {
    Send(Vec<u8>),
    /// Everything before it is done.
    Say(SyncSender<()>),
}

struct Queue {
    queue: Sender<Work>,
    metrics: ErrorMetrics,
}

impl Transport for Queue {
    fn send_envelope(&self, envelope: Envelope) {
        let mut body = Vec::new();
        let written = envelope.to_writer(&mut body).is_ok();
        if !written || self.queue.try_send(Work::Send(body)).is_err() {
            self.metrics.ended(ErrorResult::Dropped, 1);
        }
    }

    fn flush(&self, timeout: Duration) -> bool {
        let until = SystemClock.instant() + timeout;
        let left = || until.saturating_duration_since(SystemClock.instant());
        let (done, is_done) = sync_channel(1);
        let mut work = Work::Say(done);
        while let Err(error) = self.queue.try_send(work) {
            match error {
                TrySendError::Full(back) if !left().is_zero() => work = back,
                TrySendError::Full(_) | TrySendError::Closed(_) => return false,
            }
            thread::sleep(POLL);
        }
        is_done.recv_timeout(left()).is_ok()
    }
}

struct Sending {
    http: HttpClient,
    url: Uri,
    auth: HeaderValue,
    metrics: ErrorMetrics,
    /// Until when Sentry is left alone.
    pause: Option<Instant>,
}

impl Sending {
    async fn run(mut self, mut waiting: Receiver<Work>) {
        let mut failing = false;
        while let Some(work) = waiting.recv().await {
            let body = match work {
                Work::Send(body) => body,
                Work::Say(done) => {
                    // Whoever asked may have waited long enough.
                    done.send(()).unwrap_or_default();
                    continue;
                }
            };
            if self.pause.is_some_and(|until| SystemClock.instant() < until) {
                self.metrics.ended(ErrorResult::Suppressed, 1);
                continue;
            }
            let sent = timeout(TIMEOUT, self.send(body)).await;
            match sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(()) => {
                    self.metrics.ended(ErrorResult::Sent, 1);
                    if std::mem::take(&mut failing) {
                        tracing::info!("Sentry takes reports of errors again");
                    }
                }
                Err(error) => {
                    self.metrics.ended(ErrorResult::Failed, 1);
                    if !std::mem::replace(&mut failing, true) {
                        // Not an error, which would be reported.
                        let help =
                            "errors are not reported; check `errors.dsn` and who takes its events";
                        tracing::warn!(%error, "{help}");
                    }
                }
            }
        }
    }

    async fn send(&mut self, body: Vec<u8>) -> io::Result<()> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.url)
            .header(CONTENT_TYPE, "application/x-sentry-envelope")
            .header(X_SENTRY_AUTH, &self.auth)
            .body(Full::new(Bytes::from(body)))
            .map_err(io::Error::other)?;
        let (head, body) = self.http.request(request).await.map_err(io::Error::other)?.into_parts();
        if head.status == StatusCode::TOO_MANY_REQUESTS {
            let seconds = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let seconds = seconds.and_then(|text| text.trim().parse().ok());
            let pause = seconds.map_or(PAUSE, Duration::from_secs).min(MAX_PAUSE);
            self.pause = Some(SystemClock.instant() + pause);
        }
        Limited::new(body, MAX_ANSWER).collect().await.map_err(io::Error::other)?;
        if head.status.is_success() {
            return Ok(());
        }
        Err(io::Error::other(format!("it answers {}", head.status)))
    }
}
