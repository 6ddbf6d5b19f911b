//! What operators ask of the admin listener, for the audit.

use http::StatusCode;
use pingora::protocols::http::ServerSession;

use super::{Answer, detail};
use crate::proxy::Serving;
use crate::telemetry::audit::{Actor, Administration};

/// Records what an operator asked for and what came of it, and gives the answer: that it was not
/// recorded, where that has to be waited for.
pub(super) async fn record(
    serving: &Serving,
    session: &mut ServerSession,
    action: &'static str,
    target: Option<&str>,
    answer: Answer,
) -> Answer {
    let Some(audit) = &serving.audit else { return answer };
    let client = session.client_addr().and_then(|address| address.as_inet());
    let result = match answer.status {
        status if status.is_success() => "done",
        StatusCode::UNAUTHORIZED => "refused",
        // Not our own list: whatever else there is, it was not done.
        _ => "failed",
    };
    let done = Administration {
        at: serving.gateway.clock().now(),
        action,
        result,
        target,
        actor: Actor::Admin { client: client.map(|address| address.ip().to_canonical()) },
        config_hash: Some(&serving.config_hash),
    };
    let recorded = audit.administered(&done);
    if audit.settled(recorded).await || !answer.status.is_success() {
        return answer;
    }
    detail(
        StatusCode::SERVICE_UNAVAILABLE,
        "it is done, and the audit does not say so: it can't be written; mend `audit.output`",
    )
}
