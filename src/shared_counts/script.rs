//! What Redis does for one request, as a whole: nobody else is served in between.
//!
//! The same arithmetic as [`Rate`], in microseconds of Redis' own clock, so that the clocks of gateways
//! play no part. A count is kept until nothing is used any more, and is as good as none from then on.

use std::time::Duration;

use redis::{Script, ScriptInvocation};

use super::{Ask, Told};
use crate::limit::rate::Rate;
use crate::policy::credential::hex;

/// `KEYS` are the counts; `ARGV` has of each the interval, the burst, and whether it refuses. The answer
/// has of each how long to wait (-1 where it was taken or could have been), and what is used.
///
/// A clock that was set back leaves no more behind than a burst.
const SCRIPT: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local before, after, wait, refused = {}, {}, {}, false
for i = 1, #KEYS do
    local interval, burst = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1])
    local most = interval * burst
    local used = (tonumber(redis.call('GET', KEYS[i]) or now) or now) - now
    used = math.max(0, math.min(used, most))
    before[i], after[i], wait[i] = used, used + interval, -1
    if after[i] > most then
        wait[i] = after[i] - most
        after[i] = used
        refused = refused or ARGV[3 * i] == '1'
    end
end
local told = {}
for i = 1, #KEYS do
    local used = after[i]
    if refused then used = before[i] end
    if not refused and wait[i] < 0 then
        redis.call('SET', KEYS[i], string.format('%.0f', now + used), 'PX', math.ceil(used / 1000) + 1)
    end
    told[2 * i - 1], told[2 * i] = wait[i], used
end
return told
";

pub(super) fn script() -> Script {
    Script::new(SCRIPT)
}

/// Adds what is asked of one limit.
pub(super) fn ask(invocation: &mut ScriptInvocation<'_>, prefix: &str, ask: &Ask<'_>) {
    let whose = hex(&ask.whose);
    // What is in braces decides where a cluster keeps it: all in one place.
    invocation.key(format!("{{{prefix}}}:{}:{whose}", ask.limit));
    invocation.arg(micros(ask.rate)).arg(ask.rate.burst()).arg(u8::from(ask.enforce));
}

/// The interval, rounded up: never more than the rate.
fn micros(rate: Rate) -> u64 {
    rate.interval().div_ceil(1000)
}

/// Reads the answer to so many questions; `None` if it is no such answer.
pub(super) fn told(asks: usize, answer: &[i64]) -> Option<Vec<Told>> {
    let (pairs, rest) = answer.as_chunks::<2>();
    if !rest.is_empty() || pairs.len() != asks {
        return None;
    }
    let told = pairs.iter().map(|[wait, used]| {
        let wait = (*wait >= 0).then(|| u64::try_from(*wait).ok()).flatten();
        let used = Duration::from_micros(u64::try_from(*used).ok()?);
        Some(Told { wait: wait.map(Duration::from_micros), used })
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_whole_or_not_at_all() {
        let (second, none) = (Duration::from_secs(1), Duration::ZERO);
        let granted = Told { wait: None, used: second };
        let refused = Told { wait: Some(second), used: none };
        let rows: &[(usize, &[i64], Option<Vec<Told>>)] = &[
            (0, &[], Some(vec![])),
            (1, &[-1, 1_000_000], Some(vec![granted])),
            (2, &[1_000_000, 0, -1, 1_000_000], Some(vec![refused, granted])),
            (1, &[-1], None),
            (2, &[-1, 0], None),
            (1, &[-1, 0, -1, 0], None),
            (1, &[-1, -5], None),
        ];
        for (asks, answer, wanted) in rows {
            assert_eq!(told(*asks, answer), *wanted, "{asks} {answer:?}");
        }
    }
}
