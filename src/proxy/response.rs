//! Rewriting the head of the upstream's answer.

use std::borrow::Cow;

use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, CONTENT_LOCATION, HeaderMap,
    HeaderName, HeaderValue, LINK, LOCATION, ORIGIN, SET_COOKIE, VARY, WWW_AUTHENTICATE,
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
        replace(response, &name, |url| match rewriter.rewrite(url.as_bytes(), public) {
            Cow::Borrowed(_) => Some(url.clone()),
            // One that became no header value is none that a client may follow.
            Cow::Owned(url) => HeaderValue::from_bytes(&url).ok(),
        })?;
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
    replace(response, &LINK, |value| {
        let rewritten = link::rewrite(value.as_bytes(), rewriter, public);
        let (result, value) = match rewritten.map(|new| new.map(HeaderValue::try_from)) {
            Ok(None) => (LinkResult::Unchanged, Some(value.clone())),
            Ok(Some(Ok(new))) => (LinkResult::Rewritten, Some(new)),
            Ok(Some(Err(_))) | Err(link::BadLink) => (LinkResult::Dropped, None),
        };
        metrics.link(result);
        value
    })
}

/// Puts what becomes of each value of a field in its place, or nothing.
fn replace(
    response: &mut ResponseHeader,
    name: &HeaderName,
    becomes: impl FnMut(&HeaderValue) -> Option<HeaderValue>,
) -> Result<()> {
    let own = response.headers.get_all(name);
    let values: Vec<_> = own.iter().map(becomes).collect();
    if own.iter().map(Some).eq(values.iter().map(Option::as_ref)) {
        return Ok(());
    }
    response.remove_header(name);
    for value in values.into_iter().flatten() {
        response.append_header(name, value)?;
    }
    Ok(())
}
