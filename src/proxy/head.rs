//! Between pingora's request head and the gateway's.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, COOKIE, HOST};
use http::{HeaderValue, Version};
use pingora::http::RequestHeader;
use pingora::prelude::{Error, ErrorType, Result};
use pingora::proxy::Session;

use super::certificate::ClientCertificate;
use crate::clock::Timestamp;
use crate::forward::HeaderEdits;
use crate::gateway::with_query;
use crate::policy::exposure::Exposures;
use crate::policy::frame::RequestHead;

/// What is known of a request besides its head.
pub(super) struct Framing {
    /// The bytes of an HTTP/1 head; empty on HTTP/2, whose frames leave nothing to guess.
    raw: Bytes,
    /// Whether a body of unknown length follows an HTTP/2 head.
    streams: bool,
}

/// Takes up a request that has come, in whatever version: from here on its head means the same.
pub(super) fn take(session: &mut Session) -> Result<Framing> {
    if let Some(http1) = session.as_http1() {
        return Ok(Framing { raw: http1.get_headers_raw_bytes(), streams: false });
    }
    join_cookies(session.req_header_mut())?;
    let streams = !session.req_header().headers.contains_key(CONTENT_LENGTH)
        && !session.as_downstream_mut().is_body_empty();
    Ok(Framing { raw: Bytes::new(), streams })
}

/// HTTP/2 may spread cookies over several fields; nothing else may (RFC 9113, 8.2.3).
fn join_cookies(head: &mut RequestHeader) -> Result<()> {
    let cookies = head.headers.get_all(COOKIE);
    if cookies.iter().nth(1).is_none() {
        return Ok(());
    }
    let cookies: Vec<&[u8]> = cookies.iter().map(HeaderValue::as_bytes).collect();
    let joined = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
        .map_err(|error| Error::because(ErrorType::InvalidHTTPHeader, "joining cookies", error))?;
    head.insert_header(COOKIE, joined)
}

/// The head as a decision needs it. The target is the one that pingora would forward.
pub(super) fn of<'a>(
    session: &'a Session,
    exposed: Exposures,
    framing: &'a Framing,
    now: Timestamp,
) -> RequestHead<'a> {
    let head = session.req_header();
    RequestHead {
        method: head.method.as_str(),
        target: head.raw_path(),
        authority: head.uri.authority().map(|authority| authority.as_str()),
        headers: &head.headers,
        exposed,
        raw: &framing.raw,
        certificate: ClientCertificate::credentials(session, now),
        streams: framing.streams,
        at: now,
    }
}

/// Writes an HTTP/2 head as HTTP/1.1 has it, for a subrequest: pingora reads that from bytes.
pub(super) fn as_http1(head: &mut RequestHeader) -> Result<()> {
    if head.version != Version::HTTP_2 {
        return Ok(());
    }
    if let Some(authority) = head.uri.authority()
        && !head.headers.contains_key(HOST)
    {
        let host = authority.to_string();
        head.insert_header(HOST, host)?;
    }
    let target = head.raw_path().to_vec();
    head.set_raw_path(&target)?;
    head.set_version(Version::HTTP_11);
    Ok(())
}

/// Applies the edits to the upstream request, takes the gateway's own prefix off its target, and adds to
/// its query what was decided on with it.
pub(super) fn apply(
    edits: HeaderEdits,
    prefix_len: usize,
    added: Option<&str>,
    upstream: &mut RequestHeader,
) -> Result<()> {
    for name in &edits.remove {
        upstream.remove_header(name);
    }
    for (name, value) in edits.set {
        upstream.insert_header(name, value)?;
    }
    let own = upstream.raw_path().get(prefix_len..).unwrap_or_default();
    match added {
        None if prefix_len == 0 => {}
        None => {
            let target = own.to_vec();
            upstream.set_raw_path(&target)?;
        }
        Some(added) => {
            let target = with_query(own, added);
            upstream.set_raw_path(&target)?;
        }
    }
    Ok(())
}
