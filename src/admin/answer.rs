//! What the admin listener answers with.

use std::fmt;

use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, REFERRER_POLICY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// An answer. Its body may have a secret in it.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    content_type: &'static str,
    body: Vec<u8>,
    headers: HeaderMap,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Answer {
    pub(super) fn new(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Self {
        let mut headers = HeaderMap::new();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Self { status, content_type, body, headers }
    }

    /// The same with one more header.
    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// The response; to `HEAD` it has no body.
    pub(super) fn into_response(self, is_head: bool) -> Response<Vec<u8>> {
        let length = self.body.len();
        let mut response = Response::new(if is_head { Vec::new() } else { self.body });
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        *headers = self.headers;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(CONTENT_LENGTH, length.into());
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }
}

pub(super) fn text(status: StatusCode, text: &str) -> Answer {
    Answer::new(status, TEXT, format!("{text}\n").into_bytes())
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(mut body) => {
            body.push(b'\n');
            Answer::new(status, JSON, body)
        }
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the answer can't be encoded"),
    }
}

/// An error as a client of the API gets it too.
#[derive(Serialize)]
struct Detail {
    detail: String,
}

pub(super) fn detail(status: StatusCode, detail: impl Into<String>) -> Answer {
    json(status, &Detail { detail: detail.into() })
}
