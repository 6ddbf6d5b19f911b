//! Time, passed in.
//!
//! **Invariant:** nothing else in the crate reads a clock; a test can therefore move time by hand.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A point in time: milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This time moved forward by `duration`; stays at the end of time rather than wrapping.
    pub fn after(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// How long it is from this time to a later one; nothing, to an earlier one.
    pub const fn until(self, later: Timestamp) -> Duration {
        Duration::from_millis(later.0.saturating_sub(self.0))
    }

    /// The same point for the standard library, as far as it can be expressed there.
    pub fn to_system_time(self) -> SystemTime {
        UNIX_EPOCH.checked_add(Duration::from_millis(self.0)).unwrap_or(UNIX_EPOCH)
    }
}

impl From<SystemTime> for Timestamp {
    /// Times before the epoch become the epoch.
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 with milliseconds, UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The formatter refuses years past 9999, which no stored time has but a bad row might.
        let last = Duration::from_secs(253_402_300_799);
        let time = UNIX_EPOCH + Duration::from_millis(self.0).min(last);
        write!(f, "{}", humantime::format_rfc3339_millis(time))
    }
}

/// Where time comes from.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock, for expiry and for log lines.
    fn now(&self) -> Timestamp;
    /// The monotonic clock, for durations.
    fn instant(&self) -> Instant;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// A clock that moves only when told to, for tests.
#[derive(Debug)]
pub struct ManualClock {
    wall: AtomicU64,
    /// How far it was moved forward, in milliseconds.
    moved: AtomicU64,
    origin: Instant,
}

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn at(now: Timestamp) -> Self {
        let (wall, moved) = (AtomicU64::new(now.as_millis()), AtomicU64::new(0));
        Self { wall, moved, origin: SystemClock.instant() }
    }

    /// Moves the clock forward.
    pub fn advance(&self, duration: Duration) {
        self.jump(self.now().after(duration));
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.moved.fetch_add(millis, Ordering::SeqCst);
    }

    /// Sets the wall clock, as an operator may: no time has passed.
    pub fn jump(&self, to: Timestamp) {
        self.wall.store(to.as_millis(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.wall.load(Ordering::SeqCst))
    }

    fn instant(&self) -> Instant {
        self.origin + Duration::from_millis(self.moved.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_rfc_3339() {
        assert_eq!(
            Timestamp::from_millis(1_700_000_000_123).to_string(),
            "2023-11-14T22:13:20.123Z"
        );
        assert_eq!(Timestamp::from_millis(u64::MAX).to_string(), "9999-12-31T23:59:59.000Z");
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::at(Timestamp::from_millis(5));
        assert_eq!(clock.now(), Timestamp::from_millis(5));
        clock.advance(Duration::from_millis(7));
        assert_eq!(clock.now(), Timestamp::from_millis(12));
        assert_eq!(clock.instant() - clock.origin, Duration::from_millis(7));
        clock.jump(Timestamp::from_millis(1));
        assert_eq!(clock.now(), Timestamp::from_millis(1));
        assert_eq!(clock.instant() - clock.origin, Duration::from_millis(7));
    }
}
