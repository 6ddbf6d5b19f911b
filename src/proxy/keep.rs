//! Keeping the body of a request before the request is sent anywhere: the upstream must be told its
//! length, or nobody knows who sends it.
//!
//! **Invariant:** a body that is being kept takes no slot of the upstream's, and ends: it comes, or it
//! is refused.

use std::time::Duration;

use pingora::prelude::Result;
use pingora::proxy::Session;

use super::pace::Pace;
use crate::clock::Clock;
use crate::policy::decision::Denial;
use crate::policy::reason::Reason;
use crate::readiness::Readiness;
use crate::spool::{Body, Kept, SpoolError};

/// When to try again to send a body that there was no room for, in seconds.
const TRY_AGAIN: u32 = 5;
/// How often it is looked whether a body still comes.
const LOOK: Duration = Duration::from_millis(100);

/// By what it is told whether a body still comes.
pub(super) struct Patience<'a> {
    pub(super) clock: &'a dyn Clock,
    /// How long the client may be silent, and how late it may be in all.
    pub(super) silent: Duration,
    pub(super) stops: &'a Readiness,
}

/// Reads a request body to its end and keeps it.
///
/// # Errors
/// The client's, who goes away, stops sending, sends too slowly or sends something else. The denial
/// says why the body can't be kept; what is left of it is not read.
pub(super) async fn keep(
    session: &mut Session,
    mut body: Body<'_>,
    patience: Patience<'_>,
) -> Result<std::result::Result<Kept, Denial>> {
    let client = session.as_downstream_mut();
    let mut look = tokio::time::interval(LOOK);
    let mut pace = Pace::new(patience.clock.instant(), patience.silent);
    loop {
        // On HTTP/2 pingora has no timeout for it, and none for the whole on HTTP/1.
        let piece = tokio::select! {
            piece = client.read_request_body() => match piece.map_err(|error| error.into_down())? {
                Some(piece) => Some(piece),
                None => return Ok(Ok(body.finish())),
            },
            _ = look.tick() => None,
        };
        if patience.stops.is_cut() {
            return Ok(Err(Denial::stopping()));
        }
        let (now, size) =
            (patience.clock.instant(), piece.as_ref().map(|piece| piece.len() as u64));
        pace.came(now, size)?;
        if let Some(piece) = piece
            && let Err(error) = body.push(&piece).await
        {
            return Ok(Err(denial(error)));
        }
    }
}

fn denial(error: SpoolError) -> Denial {
    let later = |reason| Denial::new(reason).again_in(TRY_AGAIN);
    match error {
        SpoolError::TooLarge(limit) => Denial::too_large(limit),
        SpoolError::Full => later(Reason::SpoolFull),
        SpoolError::Unwritable => later(Reason::SpoolUnavailable),
    }
}
