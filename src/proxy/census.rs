//! What is told of how tokens are used, and of those that nobody is to use.

use std::fmt;

use http::header::USER_AGENT;
use pingora::proxy::Session;

use super::context::Context;
use crate::clock::Timestamp;
use crate::policy::decision::{Decision, Verdict};
use crate::policy::reason::Reason;
use crate::store::cache::Canary;
use crate::store::{Sighting, Usage};

/// Counts a request when it is decided: an upload may go on for an hour from here.
pub(super) fn decided(session: &Session, ctx: &Context, canary: Option<&Canary>) {
    let Some(decision) = &ctx.decision else { return };
    let now = ctx.serving.gateway.clock().now();
    if let Some(usage) = &ctx.usage {
        usage.decided(now, refusal(decision));
        note(usage, session, ctx, now);
    }
    if let Some(canary) = canary {
        noticed(canary, session, ctx, now);
    }
}

/// Somebody presented what nobody is to use.
fn noticed(canary: &Canary, session: &Session, ctx: &Context, now: Timestamp) {
    let Some(decision) = &ctx.decision else { return };
    let serving = &ctx.serving;
    serving.metrics.canary_used();
    canary.usage.decided(now, refusal(decision));
    note(&canary.usage, session, ctx, now);
    // The metric and the access log have every one; a flood of them is no flood of warnings.
    if !canary.usage.mark(now) {
        return;
    }
    let shown = |value: Option<&dyn fmt::Display>| value.map(ToString::to_string);
    let address = serving.privacy.shown_address(ctx.client());
    let agent = serving.privacy.shown_agent(agent(session));
    tracing::warn!(
        store = &*canary.store,
        token = &*canary.id,
        request_id = ctx.request_id.to_str().unwrap_or_default(),
        client_ip = shown(address.as_ref().map(|address| address as _)),
        user_agent = shown(agent.as_ref().map(|agent| agent as _)),
        route = route(ctx, decision),
        "a canary was presented, which only a thief has"
    );
}

fn note(usage: &Usage, session: &Session, ctx: &Context, now: Timestamp) {
    let agent = agent(session);
    if !usage.is_due(now, agent) {
        return;
    }
    let privacy = ctx.serving.privacy;
    let (agent, network) = (privacy.shown_agent(agent), privacy.network(ctx.client()));
    let sighting = Sighting {
        route: ctx.decision.as_ref().and_then(|decision| route(ctx, decision)),
        agent: agent.as_ref().map(|agent| agent as _),
        network: network.as_ref().map(|network| network as _),
    };
    usage.note(now, sighting);
}

fn agent(session: &Session) -> Option<&[u8]> {
    session.req_header().headers.get(USER_AGENT).map(|agent| agent.as_bytes())
}

/// The template, never the path.
fn route<'a>(ctx: &'a Context, decision: &Decision) -> Option<&'a str> {
    let rules = &ctx.serving.gateway.policy().rules;
    decision.rule.map(|rule| rules.rule(rule).template.as_str())
}

fn refusal(decision: &Decision) -> Option<Reason> {
    match &decision.verdict {
        Verdict::Deny(denial) => Some(denial.reason),
        Verdict::Permit(_) | Verdict::Options(_) => None,
    }
}
