//! The admin listener: `/livez`, `/readyz` and `/metrics`, for kubelet and Prometheus.
//!
//! They come by address and without a credential, so nothing here depends on `Host` and nothing
//! here is secret. Every other path is 404. Never on the public listener.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, Response, StatusCode};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use prometheus::{Registry, TextEncoder};

use crate::gateway::Gateway;
use crate::readiness::Readiness;
use crate::telemetry::metrics::Metrics;

/// The application behind the admin listener.
#[derive(Debug)]
pub struct Admin {
    /// Whether the gateway is ready.
    pub readiness: Arc<Readiness>,
    /// Where the metrics are registered.
    pub registry: Registry,
    /// Is told the gauges that are read rather than counted.
    pub metrics: Arc<Metrics>,
    /// Whose cache is measured.
    pub gateway: Arc<Gateway>,
}

const TEXT: &str = "text/plain; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Admin {
    async fn answer(&self, method: &Method, path: &str) -> (StatusCode, &'static str, Vec<u8>) {
        let read = *method == Method::GET || *method == Method::HEAD;
        let text = |status, text: &str| (status, TEXT, format!("{text}\n").into_bytes());
        match path {
            "/livez" | "/readyz" | "/metrics" if !read => {
                text(StatusCode::METHOD_NOT_ALLOWED, "this path takes GET")
            }
            "/livez" => text(StatusCode::OK, "ok"),
            "/readyz" => match self.readiness.reason() {
                None => text(StatusCode::OK, "ok"),
                Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, reason),
            },
            "/metrics" => match self.metrics().await {
                Ok(metrics) => (StatusCode::OK, PROMETHEUS, metrics.into_bytes()),
                Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics can't be encoded"),
            },
            _ => text(
                StatusCode::NOT_FOUND,
                "not found; this listener has /livez, /readyz, /metrics",
            ),
        }
    }

    async fn metrics(&self) -> prometheus::Result<String> {
        self.metrics.cache_entries(self.gateway.identities().entries().await);
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let head = session.req_header();
        let (status, content_type, body) = self.answer(&head.method, head.uri.path()).await;
        let is_head = head.method == Method::HEAD;
        let length = body.len();
        let mut response = Response::new(if is_head { Vec::new() } else { body });
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
        headers.insert(http::header::CONTENT_LENGTH, length.into());
        headers.insert(http::header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
        response
    }
}
