//! Values as people read them.

use maud::{Markup, html};

use super::super::figures::Spread;
use crate::clock::Timestamp;

/// What stands where there is nothing to tell.
pub(super) const NOTHING: &str = "–";

/// A count with its thousands apart.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// One, or so many.
pub(super) fn many(value: u64, one: &str, more: &str) -> String {
    format!("{} {}", count(value), if value == 1 { one } else { more })
}

/// How long something took, from seconds.
pub(super) fn took(seconds: f64) -> String {
    match seconds {
        ..0.001 => format!("{:.0} µs", seconds * 1e6),
        0.001..0.01 => format!("{} ms", (seconds * 1e4).round() / 10.0),
        0.01..1.0 => format!("{:.0} ms", seconds * 1e3),
        _ => format!("{} s", (seconds * 100.0).round() / 100.0),
    }
}

/// Its mean.
pub(super) fn mean(spread: &Spread) -> String {
    if spread.count == 0 { NOTHING.to_owned() } else { took(spread.mean_seconds) }
}

/// What 95 % of it were within.
pub(super) fn within(spread: &Spread) -> String {
    match spread.p95_at_most_seconds {
        Some(seconds) => took(seconds),
        None if spread.count == 0 => NOTHING.to_owned(),
        None => format!("over {}", took(spread.most)),
    }
}

/// A point in time, to the second.
pub(super) fn time(at: Timestamp) -> Markup {
    let full = at.to_string();
    let (day, hour) = full.split_at(full.find('T').unwrap_or(full.len()));
    let hour = hour.get(1..9).unwrap_or_default();
    html! { time datetime=(full) { (day) " " (hour) " UTC" } }
}

/// From one point in time to another, in two units at most.
pub(super) fn since(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.as_millis().saturating_sub(from.as_millis()) / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (1.., _, _) => format!("{days} d {} h", hours % 24),
        (0, 1.., _) => format!("{hours} h {} min", minutes % 60),
        (0, 0, 1..) => format!("{minutes} min {} s", seconds % 60),
        (0, 0, 0) => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_durations() {
        for (value, text) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345, "12,345"), (1_234_567, "1,234,567")]
        {
            assert_eq!(count(value), text);
        }
        assert_eq!(
            [many(1, "rule", "rules"), many(2_000, "rule", "rules")],
            ["1 rule", "2,000 rules"]
        );
        for (seconds, text) in [
            (0.0, "0 µs"),
            (0.000_01, "10 µs"),
            (0.001, "1 ms"),
            (0.002_54, "2.5 ms"),
            (0.025, "25 ms"),
            (0.75, "750 ms"),
            (1.0, "1 s"),
            (2.5, "2.5 s"),
            (61.239, "61.24 s"),
        ] {
            assert_eq!(took(seconds), text);
        }
        let spread =
            |count, p95| Spread { count, mean_seconds: 0.5, p95_at_most_seconds: p95, most: 10.0 };
        assert_eq!([within(&spread(9, Some(0.25))), mean(&spread(9, None))], ["250 ms", "500 ms"]);
        assert_eq!([within(&spread(9, None)), within(&spread(0, None))], ["over 10 s", "–"]);
    }

    #[test]
    fn times() {
        let at = Timestamp::from_millis;
        assert_eq!(
            time(at(1_700_000_000_123)).into_string(),
            "<time datetime=\"2023-11-14T22:13:20.123Z\">2023-11-14 22:13:20 UTC</time>"
        );
        for (seconds, text) in
            [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3_660, "1 h 1 min"), (90_000, "1 d 1 h")]
        {
            assert_eq!(since(at(5), at(5 + seconds * 1000)), text);
        }
        assert_eq!(since(at(5), at(0)), "0 s");
    }
}
