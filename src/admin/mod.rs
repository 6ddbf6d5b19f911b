//! The admin listener: `/livez`, `/readyz` and `/metrics` for kubelet and Prometheus, and the rest for
//! operators.
//!
//! The first three, and `/.well-known/jwks.json` where requests are asserted, come by address and without
//! a credential, so nothing about them depends on
//! `Host` and nothing they say is secret. Everything else is 404 unless a credential is configured,
//! and then needs it as a Bearer token, which no browser sends by itself. The [status page](status)
//! and its JSON, which only read, take it as a password too. Never on the public listener.

mod answer;
mod audit;
mod credential;
mod jwks;
mod status;
mod strangers;
mod tokens;
mod visitor;

use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, Response, StatusCode};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use prometheus::proto::MetricFamily;
use prometheus::{Registry, TextEncoder};
use serde::{Deserialize, Serialize};

use answer::{Answer, detail, json, text};
use credential::{Access, access};
pub use strangers::Strangers;

use crate::explain::question::Question;
use crate::explain::{Explanation, Vouching};
use crate::proxy::{InForce, Serving};
use crate::readiness::Readiness;
use crate::reload::Reloads;
use crate::telemetry::diagnostics;
use crate::telemetry::metrics::ReloadResult;
use crate::telemetry::shown;
use crate::telemetry::unmatched::{Entry, Unmatched};

/// The application behind the admin listener.
#[derive(Debug)]
pub struct Admin {
    /// Whether the gateway is ready.
    pub readiness: Arc<Readiness>,
    /// Where the metrics are registered.
    pub registry: Registry,
    /// Which is asked, and whose cache is measured.
    pub in_force: InForce,
    /// What no rule knew.
    pub unmatched: Arc<Unmatched>,
    /// Where a reload is asked for; `None` without a file to read.
    pub reloads: Option<Arc<Reloads>>,
    /// Who asked without the credential a moment ago.
    pub strangers: Strangers,
}

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The largest body, in bytes.
const MAX_BODY: usize = 64 << 10;

/// What the cache shall forget: one of these.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum Purge {
    /// Tokens by the start of their digest.
    Fingerprint(String),
    /// What one store said.
    Store(String),
    /// Everything, if true.
    All(bool),
}

/// The answer to `/cache/purge`.
#[derive(Serialize)]
struct Purged {
    /// How many identities were forgotten.
    purged: usize,
}

/// The answer to `/unmatched`.
#[derive(Serialize)]
struct UnmatchedBody {
    unmatched: Vec<Entry>,
}

impl Admin {
    async fn answer(&self, session: &mut ServerSession) -> Answer {
        let head = session.req_header();
        let read = head.method == Method::GET || head.method == Method::HEAD;
        let post = head.method == Method::POST;
        let serving = self.in_force.load_full();
        audit::counted(&serving, &self.strangers).await;
        let granted = access(&head.headers, serving.admin_credential);
        match head.uri.path() {
            "/livez" | "/readyz" | "/metrics" if !read => {
                text(StatusCode::METHOD_NOT_ALLOWED, "this path takes GET")
            }
            "/livez" => text(StatusCode::OK, "ok"),
            "/readyz" => match self.readiness.reason() {
                None => text(StatusCode::OK, &self.ready(&serving)),
                Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, reason),
            },
            "/metrics" => match self.metrics(&serving).await {
                Ok(metrics) => Answer::new(StatusCode::OK, PROMETHEUS, metrics.into_bytes()),
                Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics can't be encoded"),
            },
            jwks::PATH if let Some(assertion) = &serving.assertion => {
                jwks::answer(assertion, serving.gateway.clock().now(), read)
            }
            _ if granted == Access::Closed => text(
                StatusCode::NOT_FOUND,
                "not found; this listener has /livez, /readyz, /metrics, and more with `admin.credential`",
            ),
            _ if let Err(stranger) = visitor::check_page(&head.headers, &serving.admin_names) => {
                stranger.answer()
            }
            "/" | "/status" if read => {
                let answer = self.status(head, &serving, granted).await;
                match answer.status {
                    StatusCode::UNAUTHORIZED => {
                        audit::refused(&serving, session, &self.strangers, answer).await
                    }
                    _ => answer,
                }
            }
            _ if granted == Access::Refused => {
                let answer = detail(
                    StatusCode::UNAUTHORIZED,
                    "send the admin credential: `Authorization: Bearer <credential>`",
                );
                audit::refused(&serving, session, &self.strangers, answer).await
            }
            "/unmatched" if read => {
                json(StatusCode::OK, &UnmatchedBody { unmatched: self.unmatched.entries() })
            }
            "/" | "/status" | "/unmatched" => {
                detail(StatusCode::METHOD_NOT_ALLOWED, "this path takes GET")
            }
            path if tokens::is_path(path) => tokens::answer(&serving, session).await,
            "/explain" if post => {
                let (answer, target) = explain(&serving, session).await;
                audit::record(&serving, session, "explain", target.as_deref(), answer).await
            }
            "/cache/purge" if post => {
                let (answer, target) = purge(&serving, session).await;
                audit::record(&serving, session, "cache.purge", target.as_deref(), answer).await
            }
            "/reload" if post => {
                let answer = self.reload().await;
                audit::record(&serving, session, "config.reload", None, answer).await
            }
            "/explain" | "/cache/purge" | "/reload" => {
                detail(StatusCode::METHOD_NOT_ALLOWED, "this path takes POST")
            }
            _ => detail(
                StatusCode::NOT_FOUND,
                "not found; this listener has /, /status, /livez, /readyz, /metrics, /explain, /tokens, /unmatched, /cache/purge, /reload",
            ),
        }
    }

    /// That it is ready, whether it enforces, and whether it has the config that is on disk.
    fn ready(&self, serving: &Serving) -> String {
        let gateway = &serving.gateway;
        let mut text = match gateway.policy().observing(gateway.clock().now()) {
            Some(until) => format!("ok, observing until {until}"),
            None => "ok".to_owned(),
        };
        if let Some(problems) = self.reloads.as_ref().and_then(|reloads| reloads.refused()) {
            text.push_str(&format!(
                ", under the config before the last one, which was refused (problems: {problems})"
            ));
        }
        text
    }

    async fn metrics(&self, serving: &Serving) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.gather(serving).await)
    }

    /// Every metric, those that are only looked at when asked for too.
    async fn gather(&self, serving: &Serving) -> Vec<MetricFamily> {
        let Serving { gateway, metrics, .. } = serving;
        metrics.observe_until(gateway.policy().observing(gateway.clock().now()));
        metrics.shadow_until(gateway.policy().rules.shadow_until(gateway.clock().now()));
        metrics.messages_dropped(diagnostics::lost());
        metrics.cache_entries(gateway.identities().entries().await);
        metrics.limit_keys(gateway.limits().keys());
        self.registry.gather()
    }

    /// Has the config read again, and says what came of it.
    async fn reload(&self) -> Answer {
        let Some(reloads) = &self.reloads else {
            return detail(StatusCode::CONFLICT, "this gateway was started without a config file");
        };
        let Some(outcome) = reloads.ask().await else {
            return detail(StatusCode::SERVICE_UNAVAILABLE, "the gateway is stopping");
        };
        let status = match outcome.result {
            ReloadResult::Loaded | ReloadResult::Unchanged => StatusCode::OK,
            ReloadResult::Refused => StatusCode::UNPROCESSABLE_ENTITY,
        };
        json(status, &outcome)
    }
}

/// What upstreams are told of decisions.
fn vouching(serving: &Serving) -> Vouching<'_> {
    let assertion = serving.assertion.as_ref();
    Vouching {
        identity_headers: serving.identity_headers,
        assertion: assertion.map(|own| (own.header(), own.upstreams())),
    }
}

/// Says what would become of a request, and which. The question may hold a token, so it comes in a body.
async fn explain(serving: &Serving, session: &mut ServerSession) -> (Answer, Option<String>) {
    let body = match body(session).await {
        Ok(body) => body,
        Err(answer) => return (answer, None),
    };
    // An error of the parser could repeat what it read.
    let Ok(question) = serde_json::from_slice::<Question>(&body) else {
        let help = "ask with a JSON object: `method`, `path`, and if you like `headers` (a list of \
                    `Name: value`), `token` or `certificate`, or `scopes` and `organizations`";
        return (detail(StatusCode::BAD_REQUEST, help), None);
    };
    let answer = match question.decide(&serving.gateway).await {
        Ok(decision) => {
            let (gateway, vouching) = (&serving.gateway, vouching(serving));
            json(StatusCode::OK, &Explanation::of(&decision, gateway, &vouching, &question))
        }
        Err(error) => detail(StatusCode::BAD_REQUEST, error.to_string()),
    };
    (answer, Some(shown(&question.method, question.target())))
}

/// Forgets identities, so that the stores are asked anew; and says which.
async fn purge(serving: &Serving, session: &mut ServerSession) -> (Answer, Option<String>) {
    let body = match body(session).await {
        Ok(body) => body,
        Err(answer) => return (answer, None),
    };
    let identities = serving.gateway.identities();
    let (purged, target) = match serde_json::from_slice::<Purge>(&body) {
        Ok(Purge::Fingerprint(text)) => match text.parse() {
            Ok(fingerprint) => (
                identities.purge_fingerprint(fingerprint).await,
                format!("fingerprint {fingerprint}"),
            ),
            Err(error) => return (detail(StatusCode::BAD_REQUEST, format!("{error}")), None),
        },
        Ok(Purge::Store(name)) => match identities.purge_store(&name).await {
            Some(purged) => (purged, format!("store {name}")),
            None => {
                return (detail(StatusCode::NOT_FOUND, "there is no store of this name"), None);
            }
        },
        Ok(Purge::All(true)) => (identities.purge_all().await, "all".to_owned()),
        Ok(Purge::All(false)) | Err(_) => {
            let help = "send `{\"fingerprint\": \"…\"}`, `{\"store\": \"…\"}` or `{\"all\": true}`";
            return (detail(StatusCode::BAD_REQUEST, help), None);
        }
    };
    tracing::info!(purged, "identities were forgotten, as an operator asked");
    (json(StatusCode::OK, &Purged { purged }), Some(target))
}

/// The body of a request that an operator sends.
async fn body(session: &mut ServerSession) -> Result<Vec<u8>, Answer> {
    let mut body = Vec::new();
    loop {
        match session.read_request_body().await {
            Ok(Some(part)) if body.len() + part.len() <= MAX_BODY => body.extend_from_slice(&part),
            Ok(Some(_)) => {
                return Err(detail(StatusCode::PAYLOAD_TOO_LARGE, "send at most 64 KiB"));
            }
            Ok(None) => return Ok(body),
            Err(_) => {
                return Err(detail(StatusCode::BAD_REQUEST, "the body broke off; send it again"));
            }
        }
    }
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let answer = self.answer(session).await;
        let method = session.req_header().method.clone();
        let is_head = method == Method::HEAD;
        if !answer.status.is_success() && !is_head && method != Method::GET {
            // Nobody waits for a body that was not asked for.
            session.set_keepalive(None);
        }
        answer.into_response(is_head)
    }
}
