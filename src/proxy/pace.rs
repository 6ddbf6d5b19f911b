//! How fast request bodies have to come: one that comes byte by byte holds what it was given for ever.

use std::time::{Duration, Instant};

use bytes::Bytes;
use pingora::prelude::{Error, ErrorType, Result};

use super::context::Context;
use super::permit;

/// How many bytes of a body have to come in a second, on average and after some grace.
const MIN_RATE: u64 = 16 << 10;

/// A piece of a body that is sent on as it comes. That nothing comes at all is for the upstream's
/// timeout to tell.
///
/// # Errors
/// The client's, when it comes too slowly.
pub(super) fn keeps_up(piece: Option<&Bytes>, ctx: &mut Context) -> Result<()> {
    let serving = &ctx.serving;
    let now = serving.gateway.clock().instant();
    let mut pace = match ctx.pace {
        Some(pace) => pace,
        None => {
            let rule = serving.rule(permit(ctx)?);
            Pace::new(now, serving.upstreams.of(rule.service)?.timeout(rule.timeout))
        }
    };
    pace.came(now, piece.map(|piece| piece.len() as u64))?;
    ctx.pace = Some(pace);
    Ok(())
}

/// How fast a body comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    began: Instant,
    last: Instant,
    silent: Duration,
    received: u64,
}

impl Pace {
    pub(super) const fn new(now: Instant, silent: Duration) -> Self {
        Self { began: now, last: now, silent, received: 0 }
    }

    /// So many bytes have come just now, or none.
    ///
    /// # Errors
    /// The client's, when that is too slow.
    pub(super) fn came(&mut self, now: Instant, size: Option<u64>) -> Result<()> {
        if self.goes_on(now, size) {
            return Ok(());
        }
        Err(Error::explain(ErrorType::ReadTimedout, "a body that does not come").into_down())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

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
