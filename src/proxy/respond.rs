//! What the gateway answers itself: always JSON, never a redirect.
//!
//! Sentry's clients print `detail`, so that is where a refusal says what to do.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, EXPECT,
    RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderValue, Version};
use pingora::http::ResponseHeader;
use pingora::prelude::{Error, ErrorType, Result};
use pingora::proxy::{FailToProxy, Session};
use serde::Serialize;

use super::context::Context;
use super::limited;
use super::response::allow_origin;
use super::upstream;
use crate::forward::X_REQUEST_ID;
use crate::gateway::Gateway;
use crate::policy::decision::{Decision, Denial, Verdict};
use crate::policy::method::MethodSet;
use crate::policy::reason::Busy;
use crate::policy::scope::ScopeSet;

/// Bodies up to this size, in bytes, are read and thrown away before an answer, so that the
/// connection can be kept and HTTP/2 clients see the answer. Larger ones end the connection.
const DRAIN_LIMIT: u64 = 64 << 10;
/// How long such a body may take.
const DRAIN_TIME: Duration = Duration::from_secs(1);
/// The headers that a browser may send (`api/base.py` in Sentry).
const CORS_HEADERS: &str = "X-Sentry-Auth, X-Requested-With, Origin, Accept, Content-Type, \
    Authentication, Authorization, Content-Encoding, sentry-trace, baggage, X-CSRFToken";

/// The body of an answer.
#[derive(Serialize)]
struct Body<'a> {
    detail: &'a str,
    code: &'static str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    required: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<Vec<&'static str>>,
}

impl Body<'_> {
    fn to_bytes(&self) -> Bytes {
        // Strings always serialise.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// Answers a request that is not forwarded.
pub(super) async fn local(
    session: &mut Session,
    decision: &Decision,
    request_id: &HeaderValue,
    gateway: &Gateway,
) -> Result<()> {
    match &decision.verdict {
        Verdict::Deny(denial) => {
            let (head, body) = refusal(session, denial, decision, request_id, gateway)?;
            settle(session, denial.closes()).await;
            write(session, head, body).await?;
        }
        Verdict::Options(methods) => {
            let head = options(session, *methods, request_id)?;
            settle(session, false).await;
            write(session, head, Bytes::new()).await?;
        }
        Verdict::Permit(_) => {
            return Error::e_explain(ErrorType::InternalError, "answering a permit");
        }
    }
    linger(session).await;
    Ok(())
}

/// Lets a client on HTTP/2 finish its body, or notice that it need not: a stream that is reset over
/// its body takes the answer with it, for some clients.
async fn linger(session: &mut Session) {
    let client = session.as_downstream_mut();
    if client.as_http2().is_some() {
        client.set_total_drain_timeout(Some(DRAIN_TIME));
        // It has its answer; whether it stops sending is its own affair.
        client.drain_request_body().await.unwrap_or_default();
    }
}

fn refusal(
    session: &Session,
    denial: &Denial,
    decision: &Decision,
    request_id: &HeaderValue,
    gateway: &Gateway,
) -> Result<(ResponseHeader, Bytes)> {
    let (rule, rules, now) = (decision.rule, &gateway.policy().rules, gateway.clock().now());
    let method = session.req_header().method.as_str();
    let required = denial.required;
    let scopes = |set: ScopeSet| set.iter().map(|scope| scope.as_str()).collect();
    let body = Body {
        detail: &denial.detail(rule, rules, method),
        code: denial.reason.code(),
        request_id: request_id.to_str().unwrap_or_default(),
        route: rule.map(|id| rules.rule(id).template.as_str()),
        required: (!required.is_empty()).then(|| scopes(required)),
        held: (!required.is_empty()).then(|| scopes(denial.held)),
    }
    .to_bytes();
    let mut head = json(denial.reason.status(), body.len(), request_id)?;
    if let Some(challenge) = denial.challenge() {
        head.insert_header(WWW_AUTHENTICATE, &*challenge)?;
    }
    if !denial.allow.is_empty() {
        head.insert_header(ALLOW, denial.allow.to_string())?;
    }
    if let Some(seconds) = denial.retry_after {
        head.insert_header(RETRY_AFTER, seconds.to_string())?;
    }
    if let Some(allowance) = &denial.allowance {
        limited::refused(&mut head, **allowance, denial.retry_after.unwrap_or_default(), now)?;
    }
    allow_origin(&mut head, &session.req_header().headers)?;
    Ok((head, body))
}

/// `OPTIONS`, as Sentry answers it, but for credentials: the gateway takes no cookies.
fn options(session: &Session, methods: MethodSet, id: &HeaderValue) -> Result<ResponseHeader> {
    let methods = methods.to_string();
    let mut head = ResponseHeader::build(200, Some(8))?;
    head.insert_header(CONTENT_LENGTH, "0")?;
    head.insert_header(ALLOW, &methods)?;
    head.insert_header("access-control-allow-methods", &methods)?;
    head.insert_header("access-control-allow-headers", CORS_HEADERS)?;
    head.insert_header("access-control-max-age", "3600")?;
    // Without an origin, whoever asks: so Sentry answers too.
    head.insert_header(ACCESS_CONTROL_ALLOW_ORIGIN, "*")?;
    allow_origin(&mut head, &session.req_header().headers)?;
    head.insert_header(X_REQUEST_ID, id.clone())?;
    Ok(head)
}

fn json(status: u16, length: usize, request_id: &HeaderValue) -> Result<ResponseHeader> {
    let mut head = ResponseHeader::build(status, Some(8))?;
    head.insert_header(CONTENT_TYPE, "application/json")?;
    head.insert_header(CONTENT_LENGTH, length.to_string())?;
    head.insert_header(CACHE_CONTROL, "no-store")?;
    head.insert_header(X_REQUEST_ID, request_id.clone())?;
    Ok(head)
}

/// Tells a client that waits for it to send the body of a permitted request. The upstream is not
/// asked: what decides is here, and uWSGI never says so.
pub(super) async fn go_on(session: &mut Session) -> Result<()> {
    let waits = session.req_header().headers.contains_key(EXPECT);
    // On HTTP/2 the body needs no leave, and HTTP/1.0 does not know it.
    let one_one = session.req_header().version == Version::HTTP_11;
    if waits && one_one && !session.as_downstream_mut().is_body_done() {
        session.as_downstream_mut().write_continue_response().await?;
    }
    Ok(())
}

/// Takes a small body off the connection, or makes this its last answer. Before the answer is
/// written: its head says whether the connection is kept.
async fn settle(session: &mut Session, close: bool) {
    let headers = &session.req_header().headers;
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    // Whoever waits for `100 Continue` has not sent its body, and need not.
    let waits = headers.contains_key(EXPECT);
    let small = length.is_some_and(|length: u64| length <= DRAIN_LIMIT);
    if session.as_downstream_mut().is_body_empty() && !close {
        return;
    }
    if close || waits || !small {
        session.set_keepalive(None);
        return;
    }
    session.as_downstream_mut().set_total_drain_timeout(Some(DRAIN_TIME));
    if session.as_downstream_mut().drain_request_body().await.is_err() {
        session.set_keepalive(None);
    }
}

/// Answers a request whose body is not read to its end, and lets the client come to read it: a
/// connection that is closed over bytes on their way takes the answer with it.
pub(super) async fn last(
    session: &mut Session,
    decision: &Decision,
    request_id: &HeaderValue,
    gateway: &Gateway,
) -> Result<()> {
    local(session, decision, request_id, gateway).await?;
    let client = session.as_downstream_mut();
    client.finish_body().await?;
    client.set_total_drain_timeout(Some(DRAIN_TIME));
    // It has its answer; whether it stops sending is its own affair.
    client.drain_request_body().await.unwrap_or_default();
    Ok(())
}

async fn write(session: &mut Session, head: ResponseHeader, body: Bytes) -> Result<()> {
    let empty = body.is_empty();
    session.write_response_header(Box::new(head), empty).await?;
    if !empty {
        session.write_response_body(Some(body), true).await?;
    }
    Ok(())
}

/// Answers a permitted request that the upstream did not. Nothing is written when an answer is on
/// its way already, or when the client has gone.
pub(super) async fn failure(
    session: &mut Session,
    error: &Error,
    ctx: &mut Context,
) -> FailToProxy {
    let started = session.response_written().is_some_and(|head| !head.status.is_informational());
    let can_reuse_downstream = false;
    // Refused for what its body turned out to be.
    if let Some(decision) = &ctx.decision
        && let Verdict::Deny(denial) = &decision.verdict
    {
        session.set_keepalive(None);
        if !started {
            let gateway = &ctx.serving.gateway;
            last(session, decision, &ctx.request_id, gateway).await.unwrap_or_default();
        }
        return FailToProxy { error_code: denial.reason.status(), can_reuse_downstream };
    }
    // The upstream, or the gateway, waits for a body that the client does not send.
    let is_silent = *error.etype() == ErrorType::ReadTimedout;
    if upstream::is_downstream(error) && !is_silent {
        ctx.unread = *error.etype() == ErrorType::WriteTimedout;
        // A body that is framed wrongly, or a client that went away.
        let bad_frame = upstream::is_bad_frame(error);
        if bad_frame && !started {
            session.respond_error(400).await.unwrap_or_default();
        }
        return FailToProxy { error_code: if bad_frame { 400 } else { 0 }, can_reuse_downstream };
    }
    if is_silent && !session.as_downstream_mut().is_body_done() {
        session.set_keepalive(None);
        if !started {
            session.respond_error(408).await.unwrap_or_default();
        }
        return FailToProxy { error_code: 408, can_reuse_downstream };
    }
    let failure = *ctx.progress.failure.get_or_insert_with(|| upstream::failure(error));
    let (id, cause) = (ctx.request_id.to_str().unwrap_or_default(), upstream::cause(error));
    let busy = upstream::busy(error);
    // A line for each request that is too many would make it worse; metrics and access log have them.
    if busy.is_none() {
        tracing::warn!(
            request_id = id,
            %cause,
            code = failure.code(),
            "a permitted request got no answer of the upstream's, or half of one"
        );
    }
    if !started {
        let body = Body {
            detail: busy.map_or(failure.detail(), Busy::detail),
            code: failure.code(),
            request_id: id,
            route: None,
            required: None,
            held: None,
        }
        .to_bytes();
        session.set_keepalive(None);
        if let Ok(mut head) = json(failure.status(), body.len(), &ctx.request_id) {
            if let Some(seconds) = failure.retry_after() {
                // Digits are a header value.
                head.insert_header(RETRY_AFTER, seconds.to_string()).unwrap_or_default();
            }
            // A client that has gone can't be told.
            write(session, head, body).await.unwrap_or_default();
            linger(session).await;
        }
    }
    FailToProxy { error_code: failure.status(), can_reuse_downstream }
}
