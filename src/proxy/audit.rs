//! The records of requests for the audit.

use http::header::USER_AGENT;
use pingora::proxy::Session;

use super::context::Context;
use crate::policy::decision::Denial;
use crate::policy::reason::Reason;
use crate::telemetry::audit::{Audit, Decided, Recorded};

/// When to try again what could not be recorded, in seconds.
const TRY_AGAIN: u32 = 5;

/// Records what was decided, and lets it be forwarded or answered when it may. A decision that has to be
/// recorded and can't be is a refusal instead.
pub(super) async fn decided(session: &mut Session, ctx: &mut Context) {
    let Some(audit) = ctx.serving.audit.clone() else { return };
    let Some(recorded) = record(&audit, session, ctx) else { return };
    if !audit.settled(recorded).await {
        refused(session, ctx, Denial::new(Reason::AuditUnavailable).again_in(TRY_AGAIN));
    }
}

/// The request was let through, and is refused after all. Nobody waits for this record: what lets a
/// request through has been written.
pub(super) fn refused(session: &Session, ctx: &mut Context, denial: Denial) {
    ctx.refuse(denial);
    if let Some(audit) = &ctx.serving.audit {
        let _: Option<Recorded> = record(audit, session, ctx);
    }
}

fn record(audit: &Audit, session: &Session, ctx: &Context) -> Option<Recorded> {
    let serving = &ctx.serving;
    let head = session.req_header();
    let decided = Decided {
        at: serving.gateway.clock().now(),
        request_id: ctx.request_id.to_str().unwrap_or_default(),
        client: ctx.client(),
        user_agent: head.headers.get(USER_AGENT).map(|agent| agent.as_bytes()),
        method: head.method.as_str(),
        path: super::context::path(head),
        decision: ctx.decision.as_deref()?,
        canary: ctx.canary.as_ref().map(|canary| &*canary.id),
    };
    Some(audit.decided(&decided, serving.gateway.policy(), &serving.config_hash))
}
