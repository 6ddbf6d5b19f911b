//! The generic cell rate algorithm (ITU-T I.371): a rate with a burst, kept as one number.
//!
//! The number is the time at which nothing is used any more. Each request moves it by the interval
//! between two requests at the rate, and one is too many when that would lead further ahead of now than
//! the burst takes. So nothing has to be refilled, and what lies in the past is as good as nothing.

use std::num::NonZeroU32;

/// A second, in nanoseconds.
pub const SECOND: u64 = 1_000_000_000;

/// How often something may happen. Times are nanoseconds since a start that all of them share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    interval: u64,
    burst: NonZeroU32,
}

/// What one more leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was there.
    Granted {
        /// When nothing is used any more: what is kept.
        used_until: u64,
        /// How many more there are at once.
        remaining: u32,
    },
    /// It was not.
    Refused {
        /// How long until there is one, in nanoseconds.
        wait: u64,
    },
}

impl Rate {
    /// `count` in `period` nanoseconds, evenly, or as many as `burst` at once after a while in which
    /// nothing came. Rounded so that it is never more than that.
    pub const fn new(count: NonZeroU32, period: u64, burst: NonZeroU32) -> Self {
        Self { interval: period.div_ceil(count.get() as u64), burst }
    }

    /// Takes one at `now`, where nothing is used any more at `used_until`.
    pub const fn take(self, used_until: u64, now: u64) -> Taken {
        let before = self.used(used_until, now);
        let used = before.saturating_add(self.interval);
        let most = self.most();
        if used > most {
            return Taken::Refused { wait: used - most };
        }
        Taken::Granted { used_until: now.saturating_add(used), remaining: self.remaining(used) }
    }

    /// Gives one back that was taken.
    pub const fn give_back(self, used_until: u64) -> u64 {
        used_until.saturating_sub(self.interval)
    }

    /// How long it is from `now` until nothing is used any more, in nanoseconds. Never longer than a
    /// burst takes: what another rate, or another clock, has left behind is no more than that.
    pub const fn used(self, used_until: u64, now: u64) -> u64 {
        let used = used_until.saturating_sub(now);
        if used > self.most() { self.most() } else { used }
    }

    /// How many there are now, where so much is used, in nanoseconds.
    pub const fn remaining(self, used: u64) -> u32 {
        // It is not more than `burst`.
        (self.most().saturating_sub(used) / self.interval) as u32
    }

    /// How many may come at once.
    pub const fn burst(self) -> u32 {
        self.burst.get()
    }

    /// How long it is between two at the rate, in nanoseconds.
    pub const fn interval(self) -> u64 {
        self.interval
    }

    const fn most(self) -> u64 {
        self.interval.saturating_mul(self.burst.get() as u64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MILLI: u64 = SECOND / 1000;

    fn rate(count: u32, period: u64, burst: u32) -> Rate {
        let number = |number| NonZeroU32::new(number).unwrap();
        Rate::new(number(count), period, number(burst))
    }

    /// A rate, and when requests come, in milliseconds; of each how many are left, or how many
    /// milliseconds it is too early.
    #[test]
    fn one_more_is_there_or_is_not() {
        type Left = Result<u32, u64>;
        let (second, minute) = (SECOND, 60 * SECOND);
        let rows: &[(&str, Rate, &[(u64, Left)])] = &[
            (
                "a burst, and then the rate",
                rate(10, second, 3),
                &[
                    (0, Ok(2)),
                    (0, Ok(1)),
                    (0, Ok(0)),
                    (0, Err(100)),
                    (99, Err(1)),
                    (100, Ok(0)),
                    (100, Err(100)),
                    (350, Ok(1)),
                ],
            ),
            (
                "no burst: one at a time",
                rate(10, second, 1),
                &[(0, Ok(0)), (50, Err(50)), (100, Ok(0)), (1000, Ok(0)), (1000, Err(100))],
            ),
            (
                "what is refused costs nothing",
                rate(1, second, 1),
                &[(0, Ok(0)), (10, Err(990)), (20, Err(980)), (999, Err(1)), (1000, Ok(0))],
            ),
            (
                "time that went by unused is saved up to the burst",
                rate(2, second, 2),
                &[(0, Ok(1)), (600_000, Ok(1)), (600_000, Ok(0)), (600_000, Err(500))],
            ),
            (
                "less than one a second",
                rate(6, minute, 2),
                &[(0, Ok(1)), (0, Ok(0)), (9_999, Err(1)), (10_000, Ok(0)), (30_000, Ok(1))],
            ),
            (
                "a burst below the rate",
                rate(1000, second, 1),
                &[(0, Ok(0)), (0, Err(1)), (1, Ok(0))],
            ),
        ];
        for (name, rate, requests) in rows {
            let mut used_until = 0;
            for (at, wanted) in *requests {
                let left = match rate.take(used_until, at * MILLI) {
                    Taken::Granted { used_until: next, remaining } => {
                        used_until = next;
                        Ok(remaining)
                    }
                    Taken::Refused { wait } => Err(wait / MILLI),
                };
                assert_eq!(left, *wanted, "{name}: at {at} ms");
            }
        }
    }

    #[test]
    fn what_another_rate_or_clock_left_is_at_most_a_burst() {
        let rate = rate(1, SECOND, 2);
        assert_eq!(rate.take(1000 * SECOND, 0), Taken::Refused { wait: SECOND });
        assert_eq!(
            rate.take(u64::MAX, u64::MAX - 1),
            Taken::Granted { used_until: u64::MAX, remaining: 0 }
        );
    }

    #[test]
    fn one_that_is_given_back_was_not_taken() {
        let rate = rate(2, SECOND, 2);
        let Taken::Granted { used_until, .. } = rate.take(0, 5 * SECOND) else { panic!() };
        assert_eq!(rate.used(rate.give_back(used_until), 5 * SECOND), 0);
        assert_eq!(rate.give_back(0), 0);
    }

    proptest! {
        /// In no window, wherever it begins, are there more than the burst and what the rate gives in it;
        /// and whoever waits for as long as is said gets one.
        #[test]
        fn never_more_than_burst_and_rate(
            count in 1..2000_u32,
            period in prop_oneof![Just(SECOND), Just(60 * SECOND)],
            burst in 1..50_u32,
            steps in prop::collection::vec(0..SECOND / 4, 1..300),
        ) {
            let rate = rate(count, period, burst);
            let (mut now, mut used_until, mut granted) = (0, 0, Vec::new());
            for step in steps {
                now += step;
                match rate.take(used_until, now) {
                    Taken::Granted { used_until: next, .. } => {
                        used_until = next;
                        granted.push(now);
                    }
                    Taken::Refused { wait } => {
                        let early = rate.take(used_until, now + wait - 1);
                        prop_assert!(matches!(early, Taken::Refused { .. }), "{early:?}");
                        let then = rate.take(used_until, now + wait);
                        prop_assert!(matches!(then, Taken::Granted { .. }), "{then:?}");
                    }
                }
            }
            for (first, from) in granted.iter().enumerate() {
                for (last, to) in granted.iter().enumerate().skip(first) {
                    let many = (last - first + 1) as u128;
                    let time = u128::from(to - from);
                    let most = u128::from(burst) + time * u128::from(count) / u128::from(period);
                    prop_assert!(many <= most, "{many} in {time} ns, not {most}");
                }
            }
        }
    }
}
