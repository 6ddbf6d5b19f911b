//! The adapter to pingora: translate, apply, record.
//!
//! Each phase hands over to the modules that know: the gateway decides, [`crate::forward`] plans
//! the headers, [`crate::rewrite`] the URLs, [`respond`] writes what the gateway answers itself.
//!
//! **Invariant:** no policy in here. A request is forwarded only with a permit, and pingora's own
//! messages about a request are switched off, because they print it.

mod audit;
mod census;
mod certificate;
mod client;
mod context;
mod counted;
mod head;
mod held;
mod hold;
mod keep;
mod limited;
mod listeners;
mod pace;
mod respond;
mod response;
mod serving;
mod upstream;
mod vouch;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{HeaderMap, SET_COOKIE, TRANSFER_ENCODING};
use http::{StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::{Error, ErrorType, HttpPeer, Result};
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::H1UpgradePolicy;

use crate::forward::HeaderEdits;
use crate::policy::decision::{Denial, Forward, Permit, Verdict};
use crate::policy::frame::Body;
use crate::policy::method::Method;
use crate::policy::reason::UpstreamFailure;
use crate::policy::site::BaseUrl;
use crate::readiness::Readiness;
use crate::seats::Seats;
use crate::telemetry::unmatched::Unmatched;

pub use certificate::ClientCertificate;
pub use client::{Client, Requests};
pub use context::{Context, RequestIds};
pub use listeners::Listeners;
pub use serving::{InForce, Serving};
pub use upstream::{MAX_TRIES, Pool, Upstreams};

/// How long an idle connection of a client is kept, in seconds (as nginx has it).
pub const KEEP_ALIVE: u64 = 75;

/// Everything that serving a request takes.
#[derive(Debug)]
pub struct Proxy {
    /// What a request is served by that begins now.
    pub in_force: InForce,
    /// Makes request numbers.
    pub ids: RequestIds,
    /// Counts what no rule knew.
    pub unmatched: Arc<Unmatched>,
    /// Whether the gateway is stopping, so that connections end with their request.
    pub readiness: Arc<Readiness>,
    /// Whether there is room for connections without a request.
    pub seats: Arc<Seats>,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::new(self.in_force.load_full())
    }

    fn allow_spawning_subrequest(&self, session: &Session, _: &Context) -> bool {
        session.subrequest_ctx.is_none()
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        if session.subrequest_ctx.is_some() {
            let Some(part) = held::part(session) else {
                return Error::e_explain(ErrorType::InternalError, "a part of nothing");
            };
            *session.req_header_mut() = ctx.take_over(part);
            return Ok(false);
        }
        if self.readiness.is_stopping() || self.seats.is_tight() {
            session.set_keepalive(None);
        } else if session.req_header().version >= Version::HTTP_11 {
            session.set_keepalive(Some(KEEP_ALIVE));
        }
        ctx.identify(session, &self.ids);
        let serving = Arc::clone(&ctx.serving);
        let (framing, exposed) = (head::take(session)?, serving.listeners.exposed(session));
        let head = head::of(session, exposed, &framing, serving.gateway.clock().now());
        let admission = serving.gateway.admit(&head, ctx.client()).await;
        let admission = limited::count(&serving, &head, admission, ctx).await;
        ctx.cache = admission.cache;
        ctx.usage = admission.usage;
        ctx.canary = admission.canary;
        if ctx.is_traced() {
            ctx.steps.asked = admission.asked;
            ctx.steps.decided = Some(serving.gateway.clock().instant());
        }
        ctx.decision = Some(Arc::new(admission.decision));
        census::decided(session, ctx, ctx.canary.as_deref());
        audit::decided(session, ctx).await;
        let Some(decision) = ctx.decision.clone() else { return Ok(true) };
        match &decision.verdict {
            Verdict::Permit(_) => hold::hold(&serving, session, ctx, &self.readiness).await,
            Verdict::Deny(_) | Verdict::Options(_) => {
                respond::local(session, &decision, &ctx.request_id, &serving.gateway).await?;
                Ok(true)
            }
        }
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> Result<Box<HttpPeer>> {
        let serving = Arc::clone(&ctx.serving);
        let rule = serving.rule(permit(ctx)?);
        let pool = serving.upstreams.of(rule.service)?;
        let caller = ctx.standing();
        // What is sent again is counted again.
        (ctx.received, ctx.pace) = (0, None);
        // Pingora would answer the second in chunks, which it does not know (RFC 9112, 6.1).
        let is_old = session.req_header().version < Version::HTTP_11;
        if rule.websocket && session.is_upgrade_req() || is_old {
            ctx.attempt.needs_http1();
        }
        let mut peer = pool.peer(session, &mut ctx.attempt, caller, rule.timeout).await?;
        // To wait for a slot is the gateway's own time.
        ctx.progress.handed_over.get_or_insert_with(|| serving.gateway.clock().instant());
        if rule.websocket {
            peer.options.http_upstream_request_policy.h1_upgrade = H1UpgradePolicy::WebSocketOnly;
        }
        Ok(peer)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let origin = ctx.origin();
        let (serving, permit) = (&*ctx.serving, permit(ctx)?);
        let headers = &session.req_header().headers;
        let edits = HeaderEdits::plan(permit, headers, &serving.outbound, &origin)
            .map_err(|error| Error::because(ErrorType::InternalError, "planning headers", error))?;
        let whole = serving.rule(permit).rewrite.is_some();
        let edits = if whole { edits.for_a_whole_answer() } else { edits };
        head::apply(edits, permit.prefix_len(), permit.added(), upstream)?;
        ctx.confided = vouch::vouch(ctx, upstream)?;
        Ok(())
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        ctx: &mut Context,
    ) -> Result<()> {
        // Of a part's body the whole is told.
        if self.readiness.is_cut() && !ctx.is_part() {
            audit::refused(session, ctx, Denial::stopping());
            return Error::e_explain(ErrorType::HTTPStatus(503), "a body at a stop");
        }
        let (framing, rule) = (permit(ctx)?.body(), permit(ctx)?.rule());
        // Another protocol has no body.
        if framing == Body::None || ctx.is_part() {
            return Ok(());
        }
        pace::keeps_up(body.as_ref(), ctx)?;
        if framing != Body::Chunked {
            return Ok(());
        }
        let limit = ctx.serving.gateway.policy().max_body(rule);
        ctx.received += body.as_ref().map_or(0, |body| body.len() as u64);
        if ctx.received > limit {
            audit::refused(session, ctx, Denial::too_large(limit));
            return Error::e_explain(ErrorType::HTTPStatus(413), "a chunked body");
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let serving = Arc::clone(&ctx.serving);
        response::rewrite(response, &serving.rewriter, public(&serving, ctx), &serving.metrics)?;
        let permit = permit(ctx)?;
        ctx.confided.keep_back(response)?;
        let asked = permit.websocket() && session.is_upgrade_req();
        if response.status == StatusCode::SWITCHING_PROTOCOLS && !asked {
            let error =
                Error::explain(ErrorType::InvalidHTTPHeader, "an upgrade that nobody asked for");
            return Err(error.into_up());
        }
        if response.status.is_informational() {
            return Ok(());
        }
        if permit.method() == Method::Head && serving.rule(permit).rewrite.is_some() {
            held::headless(response);
        }
        let forward = permit.forward();
        ctx.answered(response.status.as_u16(), serving.gateway.clock().instant());
        if self.readiness.is_stopping() {
            // It was begun before, and is the last on its connection all the same.
            session.set_keepalive(None);
        }
        if session.req_header().version < Version::HTTP_11
            && response.remove_header(&TRANSFER_ENCODING).is_some()
        {
            // Chunks are unknown to it (RFC 9112, 6.1): the body ends with the connection.
            session.set_keepalive(None);
        }
        match forward {
            Forward::Session | Forward::Untouched { cookies: true, .. } => {}
            // Who sends no cookies to Sentry gets none from it.
            Forward::AsIs | Forward::Anonymous | Forward::Untouched { cookies: false, .. } => {
                response.remove_header(&SET_COOKIE);
            }
            Forward::Exchange(_) if response.status == StatusCode::UNAUTHORIZED => {
                ctx.progress.failure = Some(UpstreamFailure::CredentialRefused);
                return Error::e_explain(ErrorType::HTTPStatus(401), "of the gateway's credential");
            }
            Forward::Exchange(_) => response::exchanged(response, &session.req_header().headers)?,
        }
        if let Some(allowance) = ctx.allowance {
            limited::tell(response, allowance, serving.gateway.clock().now())?;
        }
        response.insert_header(crate::forward::X_REQUEST_ID, ctx.request_id.clone())
    }

    async fn response_trailer_filter(
        &self,
        _: &mut Session,
        trailers: &mut HeaderMap,
        ctx: &mut Context,
    ) -> Result<Option<Bytes>> {
        ctx.confided.keep_back_of(trailers);
        Ok(None)
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        ctx: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        ctx.progress.failure = Some(upstream::failure(&error));
        // Nothing was sent yet, so another address of the upstream's may be tried, whatever the method.
        let serving = Arc::clone(&ctx.serving);
        let pool =
            permit(ctx).and_then(|permit| serving.upstreams.of(serving.rule(permit).service));
        error.set_retry(pool.is_ok_and(|pool| pool.pass_over(&mut ctx.attempt, &error)));
        error
    }

    /// A kept connection may turn out to be dead, since the upstream ends it when it likes. Whether
    /// it had read the request is not known, unless it says that it has not, so only what does the same when
    /// it is done twice is sent again, whole, and once.
    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Context,
        reused: bool,
    ) -> Box<Error> {
        error.retry.decide_reuse(reused);
        if upstream::is_downgrade(&error) {
            ctx.attempt.needs_http1();
        }
        let harmless =
            session.req_header().method.is_idempotent() || upstream::is_untouched(&error);
        let dead = reused && upstream::is_cut(&error) && session.response_written().is_none();
        let again =
            (error.retry() || dead) && harmless && !session.as_ref().retry_buffer_truncated();
        error.set_retry(again && ctx.attempt.may_resend());
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Context,
    ) -> FailToProxy {
        if ctx.is_part() {
            // The whole answers.
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        }
        respond::failure(session, error, ctx).await
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Context) {
        ctx.attempt.end();
        if ctx.is_part() {
            return;
        }
        let Serving { gateway, metrics, access_log, spans, privacy, config_hash, .. } =
            &*ctx.serving;
        let (policy, clock) = (gateway.policy(), gateway.clock());
        let record = ctx.record(session, error.is_some(), clock.now(), clock.instant());
        metrics.ended(&record, policy);
        self.unmatched.ended(&record, policy);
        if let Some(log) = access_log {
            log.write(&record, policy, *privacy, config_hash);
        }
        if let Some(spans) = spans {
            spans.end(&record, policy, *privacy);
        }
    }

    fn suppress_error_log(&self, _: &Session, _: &Context, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Context,
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }

    fn request_summary(&self, _: &Session, ctx: &Context) -> String {
        format!("request {:?}", ctx.request_id)
    }
}

/// The name of the gateway that the client called.
fn public<'a>(serving: &'a Serving, ctx: &Context) -> &'a BaseUrl {
    let name = ctx.decision.as_ref().and_then(|decision| decision.name).unwrap_or_default();
    &serving.gateway.policy().site.names()[name.index()]
}

/// The permit, without which nothing is forwarded.
fn permit(ctx: &Context) -> Result<&Permit> {
    match ctx.decision.as_deref().map(|decision| &decision.verdict) {
        Some(Verdict::Permit(permit)) => Ok(permit),
        Some(Verdict::Deny(_) | Verdict::Options(_)) | None => {
            Error::e_explain(ErrorType::InternalError, "a request without a permit")
        }
    }
}
