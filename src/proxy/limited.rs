//! Limits at work: what is too much is refused, and clients are told what they have left.

use http::HeaderValue;
use pingora::http::ResponseHeader;
use pingora::prelude::Result;

use super::context::Context;
use crate::clock::Timestamp;
use crate::gateway::{Admission, Limiting};
use crate::limit::counts::Excess;
use crate::policy::allowance::Allowance;
use crate::policy::frame::RequestHead;
use crate::proxy::Serving;
use crate::telemetry::metrics::{Excessive, LimitTerm};

/// What Sentry's API tells of its own limits (`middleware/ratelimit.py`), in every answer: how many
/// requests may come, how many are left, the Unix second at which all are there again, and the same of
/// requests at once. Clients read these names.
const LIMIT: &str = "X-Sentry-Rate-Limit-Limit";
const REMAINING: &str = "X-Sentry-Rate-Limit-Remaining";
const RESET: &str = "X-Sentry-Rate-Limit-Reset";
const CONCURRENT_LIMIT: &str = "X-Sentry-Rate-Limit-ConcurrentLimit";
const CONCURRENT_REMAINING: &str = "X-Sentry-Rate-Limit-ConcurrentRemaining";

/// Counts a request that was let through against the limits that it meets, and refuses it if it is too
/// much for one. What it has taken of what may be at once comes back with the context.
pub(super) async fn count(
    serving: &Serving,
    head: &RequestHead<'_>,
    mut admission: Admission,
    ctx: &mut Context,
) -> Admission {
    let gateway = &serving.gateway;
    let Limiting { held, allowance, over, denial } =
        gateway.limit(head, &admission.decision, ctx.client()).await;
    for (limit, excess) in over {
        serving.metrics.limited(limit, term(excess), Excessive::Told);
    }
    (ctx.held, ctx.allowance) = (held, allowance);
    if let Some((limit, excess, denial)) = denial {
        serving.metrics.limited(limit, term(excess), Excessive::Refused);
        admission.decision = admission.decision.refused(denial);
    }
    admission
}

const fn term(excess: Excess) -> LimitTerm {
    match excess {
        Excess::Rate(_) => LimitTerm::Rate,
        Excess::InFlight => LimitTerm::InFlight,
    }
}

/// Tells a client what it has left, unless the upstream does.
pub(super) fn tell(head: &mut ResponseHeader, allowance: Allowance, now: Timestamp) -> Result<()> {
    if head.headers.contains_key(LIMIT) || head.headers.contains_key(CONCURRENT_LIMIT) {
        return Ok(());
    }
    if let Some(rate) = allowance.rate {
        let reset = now.after(rate.whole_in).as_millis().div_ceil(1000);
        head.insert_header(LIMIT, HeaderValue::from(rate.limit))?;
        head.insert_header(REMAINING, HeaderValue::from(rate.remaining))?;
        head.insert_header(RESET, HeaderValue::from(reset))?;
    }
    if let Some(concurrent) = allowance.concurrent {
        head.insert_header(CONCURRENT_LIMIT, HeaderValue::from(concurrent.limit))?;
        head.insert_header(CONCURRENT_REMAINING, HeaderValue::from(concurrent.remaining))?;
    }
    Ok(())
}

/// Tells a client that is refused, which may wait for nothing else than that second.
pub(super) fn refused(
    head: &mut ResponseHeader,
    allowance: Allowance,
    retry_after: u32,
    now: Timestamp,
) -> Result<()> {
    tell(head, allowance, now)?;
    if allowance.rate.is_none() {
        let reset = now.as_millis().div_ceil(1000).saturating_add(retry_after.into());
        head.insert_header(RESET, HeaderValue::from(reset))?;
    }
    Ok(())
}
