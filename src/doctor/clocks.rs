//! Whether the clocks agree: expiry is judged by one of them, and written by another.

use std::time::Duration;

use super::answer::{Answer, offset};
use super::check::Check;
use crate::clock::Timestamp;

/// How far a clock may be off, in seconds.
const TOLERANCE: u64 = 5;

/// Of whoever answered.
pub(super) fn of_answer(who: &str, answer: Option<&Answer>) -> Check {
    let (check, tried) = (format!("clock.{who}"), "the `Date` of its answer");
    match answer.map(Answer::clock_offset) {
        None => Check::skipped(check, "", "there was no answer"),
        Some(None) => Check::skipped(check, tried, "the answer has none")
            .with_fix("run `date` there and here, or see that NTP runs"),
        Some(Some(seconds)) => judge(&check, tried, seconds),
    }
}

/// Of a database, in seconds.
pub(super) fn of_database(told: Timestamp, before: Timestamp, after: Timestamp) -> i64 {
    offset(told, Duration::ZERO, before, after)
}

pub(super) fn judge(check: &str, tried: &str, seconds: i64) -> Check {
    let off = seconds.unsigned_abs();
    if off <= TOLERANCE {
        return Check::ok(check, tried, "as here, within some seconds");
    }
    let way = if seconds > 0 { "ahead of" } else { "behind" };
    let seen = format!("{off} s {way} this machine: tokens expire early or late");
    Check::problem(check, tried, seen, "run NTP there and here, such as chrony")
}
