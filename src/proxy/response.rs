//! Rewriting the head of the upstream's answer.

use std::borrow::Cow;

use http::HeaderValue;
use http::header::{LINK, LOCATION};
use pingora::http::ResponseHeader;
use pingora::prelude::Result;

use crate::policy::site::BaseUrl;
use crate::rewrite::{UrlRewriter, link};
use crate::telemetry::metrics::{LinkResult, Metrics};

/// Tells the address of a Sentry cell (`hybridcloud/apigateway/proxy.py`).
const PROXY_URL: &str = "x-sentry-proxy-url";

/// Makes `Link` and `Location` name `public`.
pub(super) fn rewrite(
    response: &mut ResponseHeader,
    rewriter: &UrlRewriter,
    public: &BaseUrl,
    metrics: &Metrics,
) -> Result<()> {
    response.remove_header(PROXY_URL);
    links(response, rewriter, public, metrics)?;
    let location =
        response.headers.get(LOCATION).map(|url| rewriter.rewrite(url.as_bytes(), public));
    if let Some(Cow::Owned(url)) = location
        && let Ok(value) = HeaderValue::from_bytes(&url)
    {
        response.insert_header(LOCATION, value)?;
    }
    Ok(())
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
