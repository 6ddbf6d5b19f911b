//! The keys by which assertions are verified (RFC 7517, 5). Nothing of them is secret.

use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};

use super::answer::{Answer, detail, json};
use crate::assertion::Assertion;
use crate::proxy::Serving;

pub(super) const PATH: &str = "/.well-known/jwks.json";

/// The answer; `read` where that is what the method asks for.
pub(super) fn answer(serving: &Serving, read: bool) -> Answer {
    let Some(assertion) = serving.assertion.as_ref() else {
        return detail(StatusCode::NOT_FOUND, "requests are not asserted; add `[assertion]`");
    };
    if !read {
        return detail(StatusCode::METHOD_NOT_ALLOWED, "this path takes GET");
    }
    let answer = json(StatusCode::OK, &assertion.published(serving.gateway.clock().now()));
    let lifetime = format!("public, max-age={}", Assertion::MAX_AGE.as_secs());
    match HeaderValue::try_from(lifetime) {
        Ok(lifetime) => answer.with(CACHE_CONTROL, lifetime),
        Err(_) => answer,
    }
}
