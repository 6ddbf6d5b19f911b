//! Whether a token store is of use: it answers, and it tells of revocations.

use std::sync::atomic::{AtomicU8, Ordering};

use prometheus::IntGauge;

const ANSWERS: u8 = 1;
const TELLS: u8 = 2;

/// Two facts, and the gauge that is 1 while both hold.
#[derive(Debug)]
pub(super) struct Up {
    gauge: IntGauge,
    facts: AtomicU8,
}

impl Up {
    /// Until something is known, neither holds.
    pub(super) fn new(gauge: IntGauge) -> Self {
        Self { gauge, facts: AtomicU8::new(0) }
    }

    /// It was asked, and answered or did not.
    pub(super) fn answers(&self, so: bool) {
        self.set(ANSWERS, so);
    }

    /// What is revoked in it is told of, or is not.
    pub(super) fn tells(&self, so: bool) {
        self.set(TELLS, so);
    }

    fn set(&self, fact: u8, so: bool) {
        let (before, now) = if so {
            let before = self.facts.fetch_or(fact, Ordering::Relaxed);
            (before, before | fact)
        } else {
            let before = self.facts.fetch_and(!fact, Ordering::Relaxed);
            (before, before & !fact)
        };
        // It is set also where nothing changed: two that change it at once may set it in another order.
        let both = now == ANSWERS | TELLS;
        if before != now || self.gauge.get() != i64::from(both) {
            self.gauge.set(both.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_up_while_both_hold() {
        let gauge = IntGauge::new("up", "up").unwrap();
        let up = Up::new(gauge.clone());
        let seen = |change: &dyn Fn(&Up)| {
            change(&up);
            gauge.get()
        };
        assert_eq!(seen(&|up| up.answers(true)), 0);
        assert_eq!(seen(&|up| up.tells(true)), 1);
        assert_eq!(seen(&|up| up.tells(false)), 0);
        // Neither stands for the other.
        assert_eq!(seen(&|up| up.answers(true)), 0);
        assert_eq!(seen(&|up| up.answers(false)), 0);
        assert_eq!(seen(&|up| up.tells(true)), 0);
        assert_eq!(seen(&|up| up.answers(true)), 1);
    }
}
