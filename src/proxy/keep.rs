//! Keeping the body of a request before the request is sent anywhere: the upstream must be told its
//! length, or nobody knows who sends it.
//!
//! **Invariant:** a body that is being kept takes no slot of the upstream's, and ends: it comes, or it
//! is refused.

use std::time::{Duration, Instant};

use pingora::prelude::{Error, ErrorType, Result};
use pingora::proxy::Session;

use crate::clock::Clock;
use crate::policy::decision::Denial;
use crate::policy::reason::Reason;
use crate::readiness::Readiness;
use crate::spool::{Body, Kept, SpoolError};

/// When to try again to send a body that there was no room for, in seconds.
const TRY_AGAIN: u32 = 5;
/// How many bytes of a body have to come in a second, on average and after some grace.
const MIN_RATE: u64 = 16 << 10;
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
        if !pace.goes_on(now, size) {
            let error = Error::explain(ErrorType::ReadTimedout, "a body that does not come");
            return Err(error.into_down());
        }
        if let Some(piece) = piece
            && let Err(error) = body.push(&piece).await
        {
            return Ok(Err(denial(error)));
        }
    }
}

/// How fast a body comes.
struct Pace {
    began: Instant,
    last: Instant,
    silent: Duration,
    received: u64,
}

impl Pace {
    const fn new(now: Instant, silent: Duration) -> Self {
        Self { began: now, last: now, silent, received: 0 }
    }

    /// Whether it comes fast enough, when so many bytes have come just now, or none.
    fn goes_on(&mut self, now: Instant, size: Option<u64>) -> bool {
        if let Some(size) = size {
            self.received += size;
            self.last = now;
        }
        let needed = Duration::from_millis(self.received.saturating_mul(1000) / MIN_RATE);
        now.saturating_duration_since(self.last) <= self.silent
            && now.saturating_duration_since(self.began) <= self.silent.saturating_add(needed)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn a_body_has_to_come_and_not_byte_by_byte() {
        const RATE: u64 = MIN_RATE;
        // The seconds between two pieces, their size, how many come, and whether they all may.
        let rows = [
            (10, 1, 1, true),
            (11, 1, 1, false),
            (1, 1, 10, true),
            (1, 1, 11, false),
            (5, 5 * RATE, 1000, true),
            (10, 10 * RATE, 1000, true),
            (11, 100 * RATE, 1, false),
            (1, RATE / 2, 19, true),
            (1, RATE / 2, 20, false),
            (9, u64::MAX, 1, true),
        ];
        for (between, size, count, wanted) in rows {
            let mut now = SystemClock.instant();
            let mut pace = Pace::new(now, Duration::from_secs(10));
            let came = (0..count).all(|_| {
                now += Duration::from_secs(between);
                pace.goes_on(now, None) && pace.goes_on(now, Some(size))
            });
            assert_eq!(came, wanted, "{size} every {between} s, {count} times");
        }
    }
}
