//! The adapter to pingora: translate, apply, record.
//!
//! Each phase hands over to the modules that know: the gateway decides, [`crate::forward`] plans
//! the headers, [`crate::rewrite`] the URLs, [`respond`] writes what the gateway answers itself.
//!
//! **Invariant:** no policy in here. A request is forwarded only with a permit, and pingora's own
//! messages about a request are switched off, because they print it.

mod context;
mod head;
mod listeners;
mod respond;
mod response;
mod upstream;

use std::sync::Arc;

use async_trait::async_trait;
use http::header::TRANSFER_ENCODING;
use http::{StatusCode, Version};
use ipnet::IpNet;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::{Error, ErrorType, HttpPeer, Result};
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::H1UpgradePolicy;

use crate::forward::{HeaderEdits, Outbound};
use crate::gateway::Gateway;
use crate::policy::decision::{Forward, Permit, Verdict};
use crate::policy::reason::UpstreamFailure;
use crate::readiness::Readiness;
use crate::rewrite::UrlRewriter;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::unmatched::Unmatched;

pub use context::{Context, RequestIds};
pub use listeners::Listeners;
pub use upstream::{UpstreamPeer, Upstreams};

/// How long an idle connection of a client is kept, in seconds (as nginx has it).
const KEEP_ALIVE: u64 = 75;
/// How many addresses of the upstream's are tried for one request.
const TRIES: usize = 2;

/// Everything that serving a request takes.
#[derive(Debug)]
pub struct Proxy {
    /// Decides.
    pub gateway: Arc<Gateway>,
    /// What each listener lets in.
    pub listeners: Listeners,
    /// Where permitted requests go.
    pub upstreams: Upstreams,
    /// What every upstream request gets.
    pub outbound: Outbound,
    /// Rewrites the upstream's URLs.
    pub rewriter: UrlRewriter,
    /// Whose `X-Forwarded-For` and `X-Request-Id` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Makes request numbers.
    pub ids: RequestIds,
    /// Is told of events.
    pub metrics: Arc<Metrics>,
    /// Gets a line for each request; `None` when switched off.
    pub access_log: Option<Arc<AccessLog>>,
    /// Counts what no rule knew.
    pub unmatched: Arc<Unmatched>,
    /// Whether the gateway is stopping, so that connections end with their request.
    pub readiness: Arc<Readiness>,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::new(self.gateway.clock().instant(), self.metrics.in_flight())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        if self.readiness.is_stopping() {
            session.set_keepalive(None);
        } else if session.req_header().version >= Version::HTTP_11 {
            session.set_keepalive(Some(KEEP_ALIVE));
        }
        ctx.identify(session, &self.ids, &self.trusted_proxies);
        let (exposed, raw) = (self.listeners.exposed(session), head::raw(session));
        let admission =
            self.gateway.admit(&head::of(session.req_header(), exposed, &raw), ctx.client()).await;
        ctx.cache = admission.cache;
        let decision = &*ctx.decision.insert(admission.decision);
        match &decision.verdict {
            Verdict::Permit(_) => {
                respond::go_on(session).await?;
                Ok(false)
            }
            Verdict::Deny(_) | Verdict::Options(_) => {
                respond::local(session, decision, &ctx.request_id, self.gateway.policy()).await?;
                Ok(true)
            }
        }
    }

    async fn upstream_peer(&self, _: &mut Session, ctx: &mut Context) -> Result<Box<HttpPeer>> {
        ctx.handed_over.get_or_insert_with(|| self.gateway.clock().instant());
        let rule = self.gateway.policy().rules.rule(permit(ctx)?.rule());
        let mut peer = self.upstreams.of(rule.service)?.peer(rule.timeout)?;
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
        let permit = permit(ctx)?;
        let headers = &session.req_header().headers;
        let edits = HeaderEdits::plan(permit, headers, &self.outbound, &origin)
            .map_err(|error| Error::because(ErrorType::InternalError, "planning headers", error))?;
        head::apply(edits, permit.prefix_len(), upstream)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let name = ctx.decision.as_ref().and_then(|decision| decision.name).unwrap_or_default();
        let public = &self.gateway.policy().site.names()[name.index()];
        response::rewrite(response, &self.rewriter, public, &self.metrics)?;
        if response.status.is_informational() {
            return Ok(());
        }
        ctx.answered(response.status.as_u16(), self.gateway.clock().instant());
        if session.req_header().version < Version::HTTP_11
            && response.remove_header(&TRANSFER_ENCODING).is_some()
        {
            // Chunks are unknown to it (RFC 9112, 6.1): the body ends with the connection.
            session.set_keepalive(None);
        }
        match permit(ctx)?.forward() {
            Forward::AsIs | Forward::Anonymous | Forward::Session | Forward::Untouched { .. } => {}
            Forward::Exchange if response.status == StatusCode::UNAUTHORIZED => {
                ctx.failure = Some(UpstreamFailure::CredentialRefused);
                return Error::e_explain(ErrorType::HTTPStatus(401), "of the gateway's credential");
            }
            Forward::Exchange => response::exchanged(response, &session.req_header().headers)?,
        }
        response.insert_header(crate::forward::X_REQUEST_ID, ctx.request_id.clone())
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        ctx: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        ctx.failure = Some(upstream::failure(&error));
        // Nothing was sent yet, so another address of the upstream's may be tried.
        ctx.connects += 1;
        let rule = permit(ctx).map(|permit| self.gateway.policy().rules.rule(permit.rule()));
        let upstream = rule.and_then(|rule| self.upstreams.of(rule.service));
        if ctx.connects < TRIES && upstream.is_ok_and(|upstream| upstream.pass_over()) {
            error.set_retry(true);
        }
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Context,
    ) -> FailToProxy {
        respond::failure(session, error, ctx).await
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Context) {
        let policy = self.gateway.policy();
        let clock = self.gateway.clock();
        let record = ctx.record(session, error.is_some(), clock.now(), clock.instant());
        self.metrics.ended(&record, policy);
        self.unmatched.ended(&record, policy);
        if let Some(log) = &self.access_log {
            log.write(&record, policy);
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

/// The permit, without which nothing is forwarded.
fn permit(ctx: &Context) -> Result<&Permit> {
    match ctx.decision.as_ref().map(|decision| &decision.verdict) {
        Some(Verdict::Permit(permit)) => Ok(permit),
        Some(Verdict::Deny(_) | Verdict::Options(_)) | None => {
            Error::e_explain(ErrorType::InternalError, "a request without a permit")
        }
    }
}
