//! Between pingora's request head and the gateway's.

use bytes::Bytes;
use pingora::http::RequestHeader;
use pingora::prelude::Result;
use pingora::proxy::Session;

use crate::forward::HeaderEdits;
use crate::policy::exposure::Exposures;
use crate::policy::frame::RequestHead;

/// The bytes of an HTTP/1 head; empty on HTTP/2, whose frames leave nothing to guess.
pub(super) fn raw(session: &Session) -> Bytes {
    session.as_http1().map(|http1| http1.get_headers_raw_bytes()).unwrap_or_default()
}

/// The head as a decision needs it. The target is the one that pingora would forward.
pub(super) fn of<'a>(
    head: &'a RequestHeader,
    exposed: Exposures,
    raw: &'a [u8],
) -> RequestHead<'a> {
    RequestHead {
        method: head.method.as_str(),
        target: head.raw_path(),
        authority: head.uri.authority().map(|authority| authority.as_str()),
        headers: &head.headers,
        exposed,
        raw,
    }
}

/// Applies the edits to the upstream request and takes the gateway's own prefix off its target.
pub(super) fn apply(
    edits: HeaderEdits,
    prefix_len: usize,
    upstream: &mut RequestHeader,
) -> Result<()> {
    for name in &edits.remove {
        upstream.remove_header(name);
    }
    for (name, value) in edits.set {
        upstream.insert_header(name, value)?;
    }
    if prefix_len > 0 {
        let target = upstream.raw_path().get(prefix_len..).unwrap_or_default().to_vec();
        upstream.set_raw_path(&target)?;
    }
    Ok(())
}
