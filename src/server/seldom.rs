//! What may happen often and is said seldom.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::Clock;

/// How long it is quiet.
const QUIET: Duration = Duration::from_secs(60);

/// Says when something is worth a line in the log: at first, and then not before a minute is over.
pub(super) struct Seldom {
    clock: Arc<dyn Clock>,
    last: Mutex<Option<Instant>>,
}

impl Seldom {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, last: Mutex::new(None) }
    }

    /// Whether to say it now.
    pub(super) fn is_due(&self) -> bool {
        let now = self.clock.instant();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = last.is_some_and(|last| now.saturating_duration_since(last) < QUIET);
        if !quiet {
            *last = Some(now);
        }
        !quiet
    }
}

impl fmt::Debug for Seldom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seldom")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Timestamp};

    #[test]
    fn it_is_said_at_first_and_then_once_a_minute() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(0)));
        let seldom = Seldom::new(Arc::clone(&clock) as Arc<dyn Clock>);
        assert!(seldom.is_due());
        for seconds in [0, 30, 29] {
            clock.advance(Duration::from_secs(seconds));
            assert!(!seldom.is_due());
        }
        clock.advance(Duration::from_secs(1));
        assert!(seldom.is_due());
        assert!(!seldom.is_due());
    }
}
