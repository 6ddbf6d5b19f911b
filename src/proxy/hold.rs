//! Which requests pingora can't proxy as they come, and what is done with them: their body is kept
//! first, or their answer is.

use pingora::prelude::Result;
use pingora::proxy::Session;

use super::context::Context;
use super::serving::Serving;
use super::{audit, held, keep, permit, public, respond};
use crate::peek::{self, Unreadable};
use crate::policy::bound::BodyCheck;
use crate::policy::decision::{Denial, Standing};
use crate::policy::exposure::Service;
use crate::policy::frame::Body;
use crate::policy::method::Method;
use crate::policy::rules::RuleId;
use crate::readiness::Readiness;
use crate::spool::Kept;

/// Has a request exchanged for an answer by hand, if pingora can't proxy it as it comes. Says
/// whether that was so.
pub(super) async fn hold(
    serving: &Serving,
    session: &mut Session,
    ctx: &mut Context,
    stops: &Readiness,
) -> Result<bool> {
    let permit = permit(ctx)?;
    let rule = serving.rule(permit);
    // The answer to `HEAD` has no body, and another protocol no answer.
    let upgrades = permit.websocket() && session.is_upgrade_req();
    let plain = permit.method() == Method::Head || upgrades;
    let rewrite = rule.rewrite.as_ref().filter(|_| !plain);
    let takes_chunks = serving.upstreams.of(rule.service)?.takes_chunks();
    let stranger = is_stranger(ctx, rule.service);
    let checked = permit.body_check().is_some();
    if checked && let Some(limit) = too_long(permit.body()) {
        return refuse(serving, session, ctx, Denial::too_large(limit)).await;
    }
    let keeps = match permit.body() {
        Body::None | Body::Length(0) if checked => {
            let denial = BodyCheck::unreadable("is empty");
            return refuse(serving, session, ctx, denial).await;
        }
        Body::None | Body::Length(0) => false,
        Body::Length(length) if stranger && !upgrades => {
            let limit = serving.spool.settings().max_body;
            if length > limit {
                return refuse(serving, session, ctx, Denial::too_large(limit)).await;
            }
            true
        }
        Body::Length(_) => checked,
        Body::Chunked => checked || rewrite.is_some() || !takes_chunks || stranger,
    };
    // A client that does not read would keep what the upstream has for it for ever.
    let timeout = serving.upstreams.of(rule.service)?.timeout(rule.timeout);
    session.as_downstream_mut().set_write_timeout(Some(timeout));
    respond::go_on(session).await?;
    if !keeps && rewrite.is_none() {
        return Ok(false);
    }
    let body = if keeps {
        match kept(serving, permit.rule(), session, ctx, stops).await? {
            Some(kept) if checked => match named(serving, session, ctx, kept).await? {
                Some(kept) => held::Rest::Kept(kept),
                None => return Ok(true),
            },
            Some(kept) => held::Rest::Kept(kept),
            None => return Ok(true),
        }
    } else if session.as_downstream_mut().is_body_empty() {
        held::Rest::None
    } else {
        held::Rest::Client
    };
    let Serving { rewriter, metrics, held: room, .. } = serving;
    let public = public(serving, ctx);
    let rewriting =
        rewrite.map(|rewrite| held::Rewriting { rewrite, rewriter, public, room, metrics });
    held::exchange(session, ctx, body, rewriting, stops).await.map(|()| true)
}

/// Whether a caller whom nobody knows asks for what those who are known need room for. The body of such
/// a request is waited for before a slot of the upstream's is taken, which somebody could hold for as
/// long as he likes. Ingestion has no such neighbours, and streams.
fn is_stranger(ctx: &Context, service: Service) -> bool {
    let shared = match service {
        Service::Web | Service::Assets => true,
        Service::Relay => false,
    };
    shared && ctx.standing() == Standing::Stranger
}

/// The most that a body may have whose names are looked at, if it has more.
fn too_long(body: Body) -> Option<u64> {
    match body {
        Body::Length(length) if length > BodyCheck::MAX_SIZE => Some(BodyCheck::MAX_SIZE),
        Body::None | Body::Length(_) | Body::Chunked => None,
    }
}

/// The body, if it names nothing but what its sender is bound to; otherwise the request is refused.
async fn named(
    serving: &Serving,
    session: &mut Session,
    ctx: &mut Context,
    kept: Kept,
) -> Result<Option<Kept>> {
    let body = kept.whole().await.map_err(|error| held::unread(&error))?;
    let identity = ctx.decision.as_ref().and_then(|decision| decision.caller.identity.as_deref());
    let denial = match (permit(ctx)?.body_check(), identity) {
        (Some(check), Some(who)) => match peek::names(&body) {
            Ok(names) => serving.gateway.admit_body(check, who.identity(), &names).await.err(),
            Err(Unreadable(what)) => Some(BodyCheck::unreadable(&what)),
        },
        (None, _) | (Some(_), None) => Some(BodyCheck::unreadable("can't be read")),
    };
    let Some(denial) = denial else { return Ok(Some(kept)) };
    refuse(serving, session, ctx, denial).await?;
    Ok(None)
}

/// Refuses a request that was let through, before its body is sent anywhere.
async fn refuse(
    serving: &Serving,
    session: &mut Session,
    ctx: &mut Context,
    denial: Denial,
) -> Result<bool> {
    audit::refused(session, ctx, denial);
    if let Some(decision) = &ctx.decision {
        respond::local(session, decision, &ctx.request_id, &serving.gateway).await?;
    }
    Ok(true)
}

/// Keeps the body of a request; or refuses the request, when it can't be kept.
async fn kept(
    serving: &Serving,
    rule: RuleId,
    session: &mut Session,
    ctx: &mut Context,
    stops: &Readiness,
) -> Result<Option<Kept>> {
    let (policy, clock) = (serving.gateway.policy(), serving.gateway.clock());
    let most = if permit(ctx)?.body_check().is_some() { BodyCheck::MAX_SIZE } else { u64::MAX };
    let (since, limit) = (clock.instant(), policy.max_body(rule).min(most));
    let rule = policy.rules.rule(rule);
    let silent = serving.upstreams.of(rule.service)?.timeout(rule.timeout);
    let body = match ctx.standing() {
        Standing::Known => serving.spool.body(limit),
        Standing::Stranger => serving.spool.body_of_a_stranger(limit),
    };
    let patience = keep::Patience { clock, silent, stops };
    let kept = keep::keep(session, body, patience).await?;
    ctx.waited = clock.instant().saturating_duration_since(since);
    match kept {
        Ok(kept) => Ok(Some(kept)),
        Err(denial) => {
            audit::refused(session, ctx, denial);
            if let Some(decision) = &ctx.decision {
                respond::last(session, decision, &ctx.request_id, &serving.gateway).await?;
            }
            Ok(None)
        }
    }
}
