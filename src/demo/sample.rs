//! A sample upstream: answers as a Sentry with one organization and seven issues would.
//!
//! It names itself by a host that does not exist, as a Sentry behind a gateway does, and says in
//! `X-Sample-Authorization` which credential it was shown, by its scheme alone.

use async_trait::async_trait;
use http::header::{ALLOW, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, LINK};
use http::{HeaderValue, Method, Response, StatusCode};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use serde_json::{Value, json};

/// What the sample calls itself.
pub(super) const CANONICAL_URL: &str = "http://sentry.internal";
const ISSUES: usize = 7;
const PAGE: usize = 3;

/// The application.
#[derive(Debug)]
pub(super) struct Sample;

impl Sample {
    fn answer(method: &Method, path: &str, query: &str) -> (StatusCode, Value, Option<String>) {
        let plain = |value| (StatusCode::OK, value, None);
        match (method, path) {
            (&Method::GET, "/_health/") => plain(json!("ok")),
            (&Method::GET, "/api/0/") => {
                plain(json!({"version": "0", "auth": {"scopes": []}, "user": null}))
            }
            (&Method::GET, "/api/0/organizations/acme/") => {
                plain(json!({"id": "1", "slug": "acme", "name": "Acme"}))
            }
            (&Method::GET, "/api/0/organizations/acme/issues/") => page(path, query),
            (&Method::GET, "/api/0/organizations/acme/projects/") => {
                plain(json!([{"id": "2", "slug": "web", "name": "Web"}]))
            }
            (&Method::POST, "/api/0/projects/acme/web/user-feedback/") => plain(json!({"id": "1"})),
            (&Method::POST | &Method::PUT | &Method::DELETE, _) => plain(json!({"path": path})),
            _ => {
                let detail = json!({"detail": "The requested resource does not exist"});
                (StatusCode::NOT_FOUND, detail, None)
            }
        }
    }
}

/// A page of issues, with the two links that Sentry always sends.
fn page(path: &str, query: &str) -> (StatusCode, Value, Option<String>) {
    let cursor = query.split('&').find_map(|pair| pair.strip_prefix("cursor="));
    let offset = cursor.and_then(|cursor| cursor.split(':').nth(1)?.parse().ok());
    let offset = offset.unwrap_or(0_usize).min(ISSUES);
    let end = (offset + PAGE).min(ISSUES);
    let issues: Vec<Value> = (offset..end)
        .map(|n| json!({"id": (n + 1).to_string(), "shortId": format!("WEB-{}", n + 1)}))
        .collect();
    let link = |rel: &str, results: bool, at: usize| {
        let cursor = format!("0:{at}:{}", u8::from(rel == "previous"));
        format!(
            "<{CANONICAL_URL}{path}?&cursor={cursor}>; rel=\"{rel}\"; results=\"{results}\"; \
             cursor=\"{cursor}\""
        )
    };
    let previous = link("previous", offset > 0, offset.saturating_sub(PAGE));
    let next = link("next", end < ISSUES, end);
    (StatusCode::OK, Value::Array(issues), Some(format!("{previous}, {next}")))
}

#[async_trait]
impl ServeHttp for Sample {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        // A client that breaks off its body gets its answer all the same, or has gone.
        while let Ok(Some(_)) = session.read_request_body().await {}
        let head = session.req_header();
        let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
        let (status, body, link) = Sample::answer(&head.method, path, query);
        let body = body.to_string().into_bytes();
        let scheme = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let scheme = scheme.and_then(|value| value.split(' ').next()).unwrap_or("none");
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let length = response.body().len().into();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_LENGTH, length);
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
        if let Ok(scheme) = HeaderValue::from_str(scheme) {
            headers.insert("x-sample-authorization", scheme);
        }
        if let Some(Ok(link)) = link.map(HeaderValue::try_from) {
            headers.insert(LINK, link);
        }
        response
    }
}
