//! The keys by which assertions are verified (RFC 7517, 5). Nothing of them is secret.

use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};

use super::answer::{Answer, detail, json};
use crate::assertion::Assertion;
use crate::clock::Timestamp;

pub(super) const PATH: &str = "/.well-known/jwks.json";

/// The answer at `now`; `read` where that is what the method asks for.
pub(super) fn answer(assertion: &Assertion, now: Timestamp, read: bool) -> Answer {
    if !read {
        return detail(StatusCode::METHOD_NOT_ALLOWED, "this path takes GET");
    }
    let answer = json(StatusCode::OK, &assertion.published(now));
    let lifetime = format!("public, max-age={}", Assertion::MAX_AGE.as_secs());
    match HeaderValue::try_from(lifetime) {
        Ok(lifetime) => answer.with(CACHE_CONTROL, lifetime),
        // It is kept by nobody then.
        Err(_) => answer,
    }
}
