//! The frame of a request: what must be unambiguous before anything in it is believed.
//!
//! Everything that two HTTP readers could take differently is refused here, and the connection is
//! closed: what follows on it could be read as another request.

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, ORIGIN,
    TRANSFER_ENCODING,
};

use super::credential::Credential;
use super::exposure::Exposures;
use super::method::Method;
use super::reason::Reason;
use crate::clock::Timestamp;

/// The largest request head, in bytes, where the config does not say. uWSGI reads heads into 32 KiB
/// (`buffer-size`) and closes the connection without an answer beyond it; what the gateway adds must fit too.
pub const MAX_HEAD_LEN: usize = 31 * 1024;
/// The most header fields, where the config does not say. uWSGI has room for somewhat more (`max-vars`).
pub const MAX_FIELDS: usize = 100;

/// How much a request head may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// In all, in bytes.
    pub bytes: usize,
    /// Header fields.
    pub fields: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { bytes: MAX_HEAD_LEN, fields: MAX_FIELDS }
    }
}

/// The head of a request, as far as a decision needs it.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method as it came.
    pub method: &'a str,
    /// The request target exactly as it would be forwarded.
    pub target: &'a [u8],
    /// The authority of an HTTP/2 request; `None` on HTTP/1.
    pub authority: Option<&'a str>,
    /// The header fields.
    pub headers: &'a HeaderMap,
    /// What the listener lets in that the request came by.
    pub exposed: Exposures,
    /// The bytes of an HTTP/1 head before anything was dropped from it; empty on HTTP/2.
    pub raw: &'a [u8],
    /// What the client's certificate makes the request with: by each of its names, the first first.
    pub certificate: &'a [Credential],
    /// Whether a body of unknown length follows an HTTP/2 head: no field says so.
    pub streams: bool,
    /// When it came: which rules are in force.
    pub at: Timestamp,
}

impl<'a> RequestHead<'a> {
    /// A head by a listener that lets in the Web API, as HTTP/2 would bring it, when no rule is in shadow
    /// any more.
    pub const fn new(method: &'a str, target: &'a [u8], headers: &'a HeaderMap) -> Self {
        Self {
            method,
            target,
            authority: None,
            headers,
            exposed: Exposures::API,
            raw: b"",
            certificate: &[],
            streams: false,
            at: Timestamp::from_millis(u64::MAX),
        }
    }

    /// How many bytes it has; on HTTP/2, how many it is forwarded with.
    fn len(&self) -> usize {
        if !self.raw.is_empty() {
            return self.raw.len();
        }
        let line = self.method.len() + self.target.len() + " HTTP/1.1\r\n\r\n".len() + 1;
        let host = self.authority.map_or(0, |authority| "host: \r\n".len() + authority.len());
        let field = |(name, value): (&http::HeaderName, &HeaderValue)| {
            name.as_str().len() + value.len() + ": \r\n".len()
        };
        line + host + self.headers.iter().map(field).sum::<usize>()
    }
}

/// How a request body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    None,
    /// `Content-Length` bytes.
    Length(u64),
    /// Of unknown length: in chunks, or in frames of HTTP/2.
    Chunked,
}

/// A frame that has one reading.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The method.
    pub method: Method,
    /// The host that the client called, as it wrote it.
    pub host: &'a str,
    /// How the body is delimited.
    pub body: Body,
    /// The `Authorization` field, if there is one.
    pub authorization: Option<&'a HeaderValue>,
}

/// Why a frame was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// Another method, or one of ours in another letter case.
    #[error(
        "the method must be one of `GET`, `HEAD`, `POST`, `PUT`, `PATCH`, `DELETE`, `OPTIONS`, in capitals"
    )]
    Method,
    /// Not origin-form.
    #[error("the request target must be a path that starts with `/`")]
    Target,
    /// What was sent is not what would be forwarded: a fragment.
    #[error("the request line has a fragment (`#`) in its target; leave it out")]
    RequestLine,
    /// None, several, empty, or not a host.
    #[error("the request must have exactly one `Host` header that names a host")]
    Host,
    /// More than one `Authorization`.
    #[error("the request has more than one `Authorization` header; send one")]
    SeveralAuthorizations,
    /// More than one `Origin`.
    #[error("the request has more than one `Origin` header; send one")]
    SeveralOrigins,
    /// A body that no route reads, and that a server may take for the next request.
    #[error("a `GET` or `HEAD` request has a body; send none")]
    UnexpectedBody,
    /// Both ways of delimiting a body.
    #[error("the request has both `Content-Length` and `Transfer-Encoding`; send one")]
    LengthAndEncoding,
    /// Several lengths, or one that is not a number.
    #[error("the request has a `Content-Length` that is not one number; send one")]
    Length,
    /// Anything but `chunked`.
    #[error("the request has a `Transfer-Encoding` other than `chunked`; send `Content-Length`")]
    Encoding,
    /// An encoding that HTTP/1.0 does not have.
    #[error("an HTTP/1.0 request has a `Transfer-Encoding`; send `Content-Length`")]
    OldEncoding,
    /// It would take off a field that belongs to the request, not to the connection.
    #[error("the `Connection` header names a field that is not of one connection; leave it out")]
    Connection,
    /// A line that ends with a line feed alone: to some readers it goes on.
    #[error("the request head has a line that ends without a carriage return; end each with CR LF")]
    LineEnd,
    /// Over [`HeadLimits::bytes`].
    #[error("the request head is larger than {0} bytes; send less, or raise `server.max_head`")]
    TooLarge(usize),
    /// Over [`HeadLimits::fields`].
    #[error(
        "the request has more than {0} header fields; send fewer, or raise `server.max_headers`"
    )]
    TooManyFields(usize),
}

impl BadFrame {
    /// The reason that it is refused for.
    pub const fn reason(self) -> Reason {
        match self {
            BadFrame::SeveralAuthorizations => Reason::MultipleCredentials,
            BadFrame::Method
            | BadFrame::Target
            | BadFrame::RequestLine
            | BadFrame::Host
            | BadFrame::SeveralOrigins
            | BadFrame::UnexpectedBody
            | BadFrame::LengthAndEncoding
            | BadFrame::Length
            | BadFrame::Encoding
            | BadFrame::OldEncoding
            | BadFrame::Connection
            | BadFrame::LineEnd
            | BadFrame::TooLarge(_)
            | BadFrame::TooManyFields(_) => Reason::MalformedRequest,
        }
    }
}

impl<'a> Frame<'a> {
    /// Reads the frame.
    ///
    /// # Errors
    /// [`BadFrame`] when it could be read in two ways.
    pub fn parse(head: &RequestHead<'a>, limits: HeadLimits) -> Result<Self, BadFrame> {
        let method = Method::from_name(head.method).ok_or(BadFrame::Method)?;
        if head.target.first() != Some(&b'/') {
            return Err(BadFrame::Target);
        }
        if head.len() > limits.bytes {
            return Err(BadFrame::TooLarge(limits.bytes));
        }
        if head.headers.len() > limits.fields {
            return Err(BadFrame::TooManyFields(limits.fields));
        }
        if !head.raw.is_empty() {
            request_line(head)?;
            line_ends(head.raw)?;
        }
        let host = host(head)?;
        let authorization = at_most_one(head.headers, &AUTHORIZATION)
            .map_err(|Several| BadFrame::SeveralAuthorizations)?;
        at_most_one(head.headers, &ORIGIN).map_err(|Several| BadFrame::SeveralOrigins)?;
        connection(head.headers)?;
        let body = body(head)?;
        match (method, body) {
            (Method::Get | Method::Head, Body::Length(_) | Body::Chunked) => {
                Err(BadFrame::UnexpectedBody)
            }
            (Method::Get | Method::Head, Body::None)
            | (
                Method::Post | Method::Put | Method::Patch | Method::Delete | Method::Options,
                Body::None | Body::Length(_) | Body::Chunked,
            ) => Ok(Self { method, host, body, authorization }),
        }
    }
}

/// Fields that `Connection` may not name: without them the request would be another one.
const END_TO_END: &[&str] = &[
    "authorization",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "origin",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
];

/// Every proxy on the way takes off what `Connection` names (RFC 9110, 7.6.1).
fn connection(headers: &HeaderMap) -> Result<(), BadFrame> {
    let values = headers.get_all(CONNECTION).iter();
    let mut names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let refused = names.any(|name| {
        let name = name.trim_ascii();
        !name.iter().all(token)
            || END_TO_END.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(name))
    });
    if refused { Err(BadFrame::Connection) } else { Ok(()) }
}

/// The parser cuts fragments; only a line that it left alone is taken. (It also escapes blanks in
/// a target, in the raw bytes too: what is decided on is what is forwarded.)
fn request_line(head: &RequestHead<'_>) -> Result<(), BadFrame> {
    let start = head.raw.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or(0);
    let rest = head.raw[start..].strip_prefix(head.method.as_bytes());
    let rest = rest.and_then(|rest| rest.strip_prefix(b" "));
    let rest = rest.and_then(|rest| rest.strip_prefix(head.target));
    match rest {
        Some([b' ', b'H', ..]) => Ok(()),
        Some(_) | None => Err(BadFrame::RequestLine),
    }
}

/// The parser takes a bare line feed for the end of a line, and others take it for a blank or a letter.
fn line_ends(raw: &[u8]) -> Result<(), BadFrame> {
    let whole = |end: usize| end.checked_sub(1).is_some_and(|before| raw[before] == b'\r');
    if memchr::memchr_iter(b'\n', raw).all(whole) { Ok(()) } else { Err(BadFrame::LineEnd) }
}

fn host<'a>(head: &RequestHead<'a>) -> Result<&'a str, BadFrame> {
    let field = at_most_one(head.headers, &HOST).map_err(|Several| BadFrame::Host)?;
    let field = field.map(|value| value.to_str().map_err(|_| BadFrame::Host)).transpose()?;
    let host = match (head.authority, field) {
        (Some(authority), Some(field)) if authority != field => return Err(BadFrame::Host),
        (Some(authority), _) => authority,
        (None, Some(field)) => field,
        (None, None) => return Err(BadFrame::Host),
    };
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']')
    };
    if host.is_empty() || !host.bytes().all(plain) { Err(BadFrame::Host) } else { Ok(host) }
}

fn body(head: &RequestHead<'_>) -> Result<Body, BadFrame> {
    let length = at_most_one(head.headers, &CONTENT_LENGTH).map_err(|Several| BadFrame::Length)?;
    let encoding =
        at_most_one(head.headers, &TRANSFER_ENCODING).map_err(|Several| BadFrame::Encoding)?;
    match (length, encoding) {
        (None, None) if head.streams => Ok(Body::Chunked),
        (None, None) => Ok(Body::None),
        (Some(length), None) => parse_length(length.as_bytes()),
        (Some(_), Some(_)) => Err(BadFrame::LengthAndEncoding),
        (None, Some(encoding)) => {
            // The parser drops a Content-Length beside Transfer-Encoding before we see the fields.
            if names_content_length(head.raw) {
                Err(BadFrame::LengthAndEncoding)
            } else if is_old(head.raw) {
                // A reader of that time takes the body for the next request (RFC 9112, 6.1).
                Err(BadFrame::OldEncoding)
            } else if encoding.as_bytes().eq_ignore_ascii_case(b"chunked") {
                Ok(Body::Chunked)
            } else {
                Err(BadFrame::Encoding)
            }
        }
    }
}

fn parse_length(value: &[u8]) -> Result<Body, BadFrame> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let length = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|t| t.parse().ok());
    match length {
        Some(0) => Ok(Body::None),
        Some(length) => Ok(Body::Length(length)),
        None => Err(BadFrame::Length),
    }
}

/// Whether the request line is of a version before HTTP/1.1.
fn is_old(raw: &[u8]) -> bool {
    let mut lines = raw.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.find(|line| !line.is_empty()).is_some_and(|line| !line.ends_with(b"HTTP/1.1"))
}

fn names_content_length(raw: &[u8]) -> bool {
    let name = CONTENT_LENGTH.as_str().as_bytes();
    raw.split(|byte| *byte == b'\n').skip(1).any(|line| {
        line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
            && matches!(line.get(name.len()), Some(b':' | b' ' | b'\t'))
    })
}

/// More than one field of a name.
#[derive(Debug)]
struct Several;

fn at_most_one<'a>(
    headers: &'a HeaderMap,
    name: &http::HeaderName,
) -> Result<Option<&'a HeaderValue>, Several> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() { Err(Several) } else { Ok(first) }
}

#[cfg(test)]
mod tests;
