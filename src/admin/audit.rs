//! What operators ask of the admin listener, for the audit.

use std::net::IpAddr;

use http::StatusCode;
use pingora::protocols::http::ServerSession;

use super::strangers::Strangers;
use super::{Answer, detail};
use crate::proxy::Serving;
use crate::telemetry::audit::{Actor, Administration};

/// Names whoever the operator's program acts for. The credential is all that is checked, so the audit has
/// it as a claim.
const CLAIMED: &str = "x-portcullis-actor";
/// What somebody is recorded for who has not the credential.
const ACCESS: &str = "admin.access";
/// The longest name, in bytes.
const MAX_CLAIM: usize = 100;

/// What is said of what is done and not recorded.
pub(super) const UNRECORDED: &str =
    "it is done, and the audit does not say so: it can't be written; mend `audit.output`";

/// Records what an operator asked for and what came of it, and gives the answer: that it was not
/// recorded, where that has to be waited for.
pub(super) async fn record(
    serving: &Serving,
    session: &mut ServerSession,
    action: &'static str,
    target: Option<&str>,
    answer: Answer,
) -> Answer {
    if recorded(serving, session, action, target, answer.status).await
        || !answer.status.is_success()
    {
        return answer;
    }
    detail(StatusCode::SERVICE_UNAVAILABLE, UNRECORDED)
}

/// Records the same, and says whether that has succeeded as far as it has to be waited for.
pub(super) async fn recorded(
    serving: &Serving,
    session: &ServerSession,
    action: &'static str,
    target: Option<&str>,
    status: StatusCode,
) -> bool {
    let Some(audit) = &serving.audit else { return true };
    let result = match status {
        status if status.is_success() => "done",
        StatusCode::UNAUTHORIZED => "refused",
        // Not our own list: whatever else there is, it was not done.
        _ => "failed",
    };
    let recorded = audit.administered(&of(serving, session, action, result, target));
    audit.settled(recorded).await
}

/// Records that somebody without the credential asked, unless that is recorded of this client already: then
/// it is counted.
pub(super) async fn refused(
    serving: &Serving,
    session: &mut ServerSession,
    strangers: &Strangers,
    answer: Answer,
) -> Answer {
    if strangers.note(client(session), serving.gateway.clock().instant()) {
        return record(serving, session, ACCESS, None, answer).await;
    }
    answer
}

/// Records what was counted of those, where it is time.
pub(super) async fn counted(serving: &Serving, strangers: &Strangers) {
    let (Some(audit), clock) = (&serving.audit, serving.gateway.clock()) else { return };
    for (client, left_out) in strangers.due(clock.instant()) {
        let recorded = audit.administered(&Administration {
            at: clock.now(),
            action: ACCESS,
            result: "refused",
            target: None,
            actor: Actor::Admin { client, claimed: None },
            config_hash: Some(&serving.config_hash),
            left_out: Some(left_out),
        });
        audit.settled(recorded).await;
    }
}

/// Records that something is about to be done, and says whether that is written.
pub(super) async fn announced(
    serving: &Serving,
    session: &ServerSession,
    action: &'static str,
    target: &str,
) -> bool {
    let Some(audit) = &serving.audit else { return true };
    audit.announced(&of(serving, session, action, "begun", Some(target))).await
}

/// For whom an operator's program says that it acts.
///
/// # Errors
/// When what it says is no name.
pub(super) fn claimed(session: &ServerSession) -> Result<Option<&str>, ()> {
    let mut values = session.req_header().headers.get_all(CLAIMED).iter();
    let (first, second) = (values.next(), values.next());
    let Some(value) = first else { return Ok(None) };
    let name = value.to_str().map_err(|_| ())?.trim();
    let plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    let fits = (1..=MAX_CLAIM).contains(&name.len()) && name.bytes().all(plain);
    if fits && second.is_none() { Ok(Some(name)) } else { Err(()) }
}

fn client(session: &ServerSession) -> Option<IpAddr> {
    let client = session.client_addr().and_then(|address| address.as_inet());
    client.map(|address| address.ip().to_canonical())
}

fn of<'a>(
    serving: &'a Serving,
    session: &'a ServerSession,
    action: &'static str,
    result: &'static str,
    target: Option<&'a str>,
) -> Administration<'a> {
    let client = client(session);
    Administration {
        at: serving.gateway.clock().now(),
        action,
        result,
        target,
        actor: Actor::Admin { client, claimed: claimed(session).ok().flatten() },
        config_hash: Some(&serving.config_hash),
        left_out: None,
    }
}
