//! What a client is told of how much it may still ask for.

use std::time::Duration;

/// How much there is, and how much of it is left. Of several limits it is the one of which least is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Of what comes one after another.
    pub rate: Option<RateAllowance>,
    /// Of what is under way at once.
    pub concurrent: Option<Concurrent>,
}

/// What there is of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateAllowance {
    /// How many requests may come at once, after a while in which none did.
    pub limit: u32,
    /// How many may now.
    pub remaining: u32,
    /// How long until as many may as at first.
    pub whole_in: Duration,
}

/// What there is of requests at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrent {
    /// How many may be under way.
    pub limit: u32,
    /// How many more.
    pub remaining: u32,
}

impl Allowance {
    /// Whether nothing is told.
    pub const fn is_empty(&self) -> bool {
        self.rate.is_none() && self.concurrent.is_none()
    }

    /// What both leave.
    #[must_use]
    pub fn and(self, other: Allowance) -> Self {
        let rate = narrower(self.rate, other.rate, |a, b| {
            (a.remaining, b.whole_in) <= (b.remaining, a.whole_in)
        });
        let less = |a: &Concurrent, b: &Concurrent| a.remaining <= b.remaining;
        Self { rate, concurrent: narrower(self.concurrent, other.concurrent, less) }
    }
}

fn narrower<T>(one: Option<T>, other: Option<T>, is: impl Fn(&T, &T) -> bool) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if is(&one, &other) { one } else { other }),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_the_narrower_is_told() {
        let rate = |limit, remaining, seconds| {
            Some(RateAllowance { limit, remaining, whole_in: Duration::from_secs(seconds) })
        };
        let concurrent = |limit, remaining| Some(Concurrent { limit, remaining });
        let of = |rate, concurrent| Allowance { rate, concurrent };
        let rows = [
            (of(None, None), of(None, None), of(None, None)),
            (
                of(rate(9, 3, 1), None),
                of(None, concurrent(2, 1)),
                of(rate(9, 3, 1), concurrent(2, 1)),
            ),
            (of(rate(9, 3, 1), None), of(rate(5, 4, 9), None), of(rate(9, 3, 1), None)),
            // Of equals the one that takes longer.
            (of(rate(9, 3, 1), None), of(rate(5, 3, 9), None), of(rate(5, 3, 9), None)),
            (of(None, concurrent(9, 3)), of(None, concurrent(2, 0)), of(None, concurrent(2, 0))),
        ];
        for (one, other, wanted) in rows {
            assert_eq!(one.and(other), wanted, "{one:?} {other:?}");
            assert_eq!(other.and(one), wanted, "{other:?} {one:?}");
            assert_eq!(wanted.is_empty(), one.is_empty() && other.is_empty());
        }
    }
}
