//! Rewriting the head of the upstream's answer.

use std::borrow::Cow;

use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, CONTENT_LOCATION, HeaderMap,
    HeaderValue, LINK, LOCATION, ORIGIN, SET_COOKIE, VARY, WWW_AUTHENTICATE,
};
use pingora::http::ResponseHeader;
use pingora::prelude::Result;

use crate::policy::site::BaseUrl;
use crate::rewrite::{UrlRewriter, link};
use crate::telemetry::metrics::{LinkResult, Metrics};

/// Tells the address of a Sentry cell (`hybridcloud/apigateway/proxy.py`).
const PROXY_URL: &str = "x-sentry-proxy-url";

/// The headers that a script may read (`api/base.py` in Sentry).
const EXPOSED_HEADERS: &str =
    "X-Sentry-Error, X-Sentry-Direct-Hit, X-Hits, X-Max-Hits, Endpoint, Retry-After, Link";

/// Makes `Link`, `Location` and `Content-Location` name `public`.
pub(super) fn rewrite(
    response: &mut ResponseHeader,
    rewriter: &UrlRewriter,
    public: &BaseUrl,
    metrics: &Metrics,
) -> Result<()> {
    response.remove_header(PROXY_URL);
    links(response, rewriter, public, metrics)?;
    for name in [LOCATION, CONTENT_LOCATION] {
        let values: Vec<_> = response.headers.get_all(&name).iter().cloned().collect();
        let mut first = true;
        for value in &values {
            // One that became no header value is none that a client may follow.
            let value = match rewriter.rewrite(value.as_bytes(), public) {
                Cow::Owned(url) => HeaderValue::from_bytes(&url).ok(),
                Cow::Borrowed(_) => Some(value.clone()),
            };
            if std::mem::take(&mut first) {
                response.remove_header(&name);
            }
            if let Some(value) = value {
                response.append_header(&name, value)?;
            }
        }
    }
    Ok(())
}

/// Takes off what is between the upstream and the gateway's credential, and says what the
/// upstream could not: it was not told of the browser's origin, which policy has let in.
pub(super) fn exchanged(response: &mut ResponseHeader, request: &HeaderMap) -> Result<()> {
    for name in [SET_COOKIE, WWW_AUTHENTICATE] {
        response.remove_header(&name);
    }
    allow_origin(response, request)
}

/// Lets a script of the request's origin read the answer.
pub(super) fn allow_origin(response: &mut ResponseHeader, request: &HeaderMap) -> Result<()> {
    let Some(origin) = request.get(ORIGIN) else { return Ok(()) };
    response.insert_header(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone())?;
    response.insert_header(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS)?;
    response.append_header(VARY, "Origin").map(|_| ())
}

/// A `Link` that can't be read could name any host, so it goes.
fn links(
    response: &mut ResponseHeader,
    rewriter: &UrlRewriter,
    public: &BaseUrl,
    metrics: &Metrics,
) -> Result<()> {
    let mut changed = false;
    let mut values = Vec::new();
    for value in response.headers.get_all(LINK) {
        let rewritten = link::rewrite(value.as_bytes(), rewriter, public);
        let (result, value) = match rewritten.map(|new| new.map(HeaderValue::try_from)) {
            Ok(None) => (LinkResult::Unchanged, Some(value.clone())),
            Ok(Some(Ok(new))) => (LinkResult::Rewritten, Some(new)),
            Ok(Some(Err(_))) | Err(link::BadLink) => (LinkResult::Dropped, None),
        };
        metrics.link(result);
        changed |= result != LinkResult::Unchanged;
        values.extend(value);
    }
    if changed {
        response.remove_header(&LINK);
        for value in values {
            response.append_header(LINK, value)?;
        }
    }
    Ok(())
}
