//! What pingora can't proxy as it comes: a body that was kept, and an answer whose JSON is rewritten
//! before its head is sent.
//!
//! The exchange with the upstream runs as a request of its own (a
//! subrequest of pingora's) that is fed from here and answers to here. So headers, peers, timeouts
//! and retries are the same code for all.
//!
//! **Invariant:** the part takes over the decision, the head that was decided on and nothing else. It
//! is not decided, answered or recorded again, and it can be started from here alone.

mod answer;

use std::io;
use std::pin::pin;

use bytes::Bytes;
use http::HeaderValue;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use pingora::prelude::{Error, ErrorType, Result};
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::subrequest::server::SubrequestHandle;
use pingora::proxy::Session;
use pingora::proxy::subrequest::{BodyMode, Ctx};
use tokio::sync::mpsc::error::TrySendError;

use super::context::{Context, Part};
use super::{audit, head};
use crate::policy::decision::Denial;
use crate::readiness::Readiness;
use crate::spool::Kept;
use answer::Answer;
pub(super) use answer::{Rewriting, headless, is_obstacle};

/// The error of a body that is still on its way when the gateway ends.
const AT_A_STOP: ErrorType = ErrorType::Custom("BodyAtAStop");

/// Where the rest of a request body comes from.
#[derive(Debug)]
pub(super) enum Rest {
    /// It was kept.
    Kept(Kept),
    /// The client sends it, with its length.
    Client,
    /// There is none.
    None,
}

/// Has the exchange made with this body, and writes its answer, rewritten if it is to be.
pub(super) async fn exchange(
    session: &mut Session,
    ctx: &mut Context,
    body: Rest,
    rewriting: Option<Rewriting<'_>>,
    stops: &Readiness,
) -> Result<()> {
    head::as_http1(session.req_header_mut())?;
    let mut head = session.req_header().clone();
    if let Rest::Kept(kept) = &body {
        head.remove_header(&TRANSFER_ENCODING);
        head.insert_header(CONTENT_LENGTH, HeaderValue::from(kept.length()))?;
    }
    let Some(spawner) = session.subrequest_spawner.take() else {
        return Error::e_explain(ErrorType::InternalError, "no subrequests");
    };
    let (part, mut progress) = ctx.part(head);
    let part = Ctx::builder().body_mode(BodyMode::ExpectBody).user_ctx(Box::new(Some(part)));
    let (subrequest, handle) = spawner.create_subrequest(session.as_downstream(), part.build());
    let answer = Answer::new(rewriting, stops);
    let done = relay(session, subrequest.run(), handle, body, answer, stops).await;
    if done.as_ref().is_err_and(|error| *error.etype() == AT_A_STOP) {
        audit::refused(session, ctx, Denial::stopping());
    }
    // The part has ended, or was dropped.
    ctx.progress = progress.try_recv().unwrap_or_default();
    done
}

/// What a request that is a part takes over. `None` if something else was started.
pub(super) fn part(session: &mut Session) -> Option<Part> {
    session.subrequest_ctx.as_mut()?.user_ctx_mut()?.downcast_mut::<Option<Part>>()?.take()
}

/// Runs the part, hands it the rest of the body and writes what it answers, until both have ended or
/// the client has gone.
async fn relay(
    session: &mut Session,
    part: impl Future<Output = ()>,
    handle: SubrequestHandle,
    mut rest: Rest,
    mut answer: Answer<'_>,
    stops: &Readiness,
) -> Result<()> {
    let SubrequestHandle { tx, mut rx, subreq_proxy_error: mut failed, .. } = handle;
    let mut part = pin!(part);
    let (mut running, mut whole) = (true, false);
    loop {
        let room = tx.try_reserve();
        let full = matches!(room, Err(TrySendError::Full(())));
        tokio::select! {
            () = &mut part, if running => running = false,
            task = rx.recv() => match task {
                Some(task) => whole |= answer.take(session, task).await?,
                None => break,
            },
            // There is room again, or it needs no more.
            _ = tx.reserve(), if full => {}
            piece = next(session, &mut rest, room.is_ok(), whole) => {
                let piece = piece?;
                let client = matches!(rest, Rest::Client);
                let end = piece.is_none() || client && session.as_downstream_mut().is_body_done();
                if client && stops.is_cut() {
                    return Error::e_explain(AT_A_STOP, "a body at a stop");
                }
                if end {
                    rest = Rest::None;
                }
                if let Ok(room) = room {
                    room.send(HttpTask::Body(piece, end));
                }
            }
        }
    }
    if running {
        part.await;
    }
    whole |= answer.deliver(session).await?;
    let failed = match failed.try_recv() {
        Ok(error) => error,
        Err(_) if whole => return Ok(()),
        Err(_) => Error::explain(ErrorType::InternalError, "an answer without an end"),
    };
    answer.broken(session).await?;
    Err(failed)
}

/// The next piece of the body, `None` at its end. Without room for one, or after the end, there is
/// only the client to wait for, who may go away; once it has its whole answer, what it sends is its
/// next request. Nothing is lost when this is dropped.
async fn next(
    session: &mut Session,
    rest: &mut Rest,
    room: bool,
    whole: bool,
) -> Result<Option<Bytes>> {
    match rest {
        Rest::Kept(kept) if room => kept.next().await.map_err(|error| unread(&error)),
        Rest::Client if room => {
            let client = session.as_downstream_mut();
            client.read_body_or_idle(false).await.map_err(|error| error.into_down())
        }
        Rest::Client => std::future::pending().await,
        Rest::Kept(_) | Rest::None if whole => std::future::pending().await,
        Rest::Kept(_) | Rest::None => session
            .as_downstream_mut()
            .read_body_or_idle(true)
            .await
            .map_err(|error| error.into_down()),
    }
}

pub(super) fn unread(error: &io::Error) -> Box<Error> {
    tracing::error!(%error, "a request body that was kept can't be read again");
    Error::explain(ErrorType::FileReadError, "a body that was kept")
}
