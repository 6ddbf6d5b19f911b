//! What a client is told that a limit refuses.

use std::time::Duration;

use super::counts::Excess;
use super::key::By;
use super::table::Limit;
use crate::policy::allowance::Allowance;
use crate::policy::decision::Denial;
use crate::policy::reason::Reason;

/// How long to wait for others to end, who may take as long as they like.
const SOON: u32 = 1;

impl Limit {
    /// The refusal of a request that would be more than the limit takes, with what is left of that.
    pub fn refusal(&self, excess: Excess, allowance: Allowance) -> Denial {
        let (name, whose) = (&self.name, whose(self.by));
        let (note, seconds) = match excess {
            Excess::Rate(wait) => {
                let seconds = whole_seconds(wait);
                let pace = &self.pace;
                let what = format!(
                    "the limit `{name}` of the gateway is used up, which is {pace} {whose}; try again \
                     in {seconds} s"
                );
                (what, seconds)
            }
            Excess::InFlight => {
                let most = self.in_flight.map_or(0, |most| most.get());
                let what = format!(
                    "the limit `{name}` of the gateway is used up, which is {} at once {whose}; try \
                     again when one of them has ended",
                    requests(most)
                );
                (what, SOON)
            }
        };
        let allowance = Some(Box::new(allowance));
        Denial { allowance, ..Denial::new(Reason::RateLimited).note(note).again_in(seconds) }
    }
}

/// So many, in words.
pub fn requests(count: u32) -> String {
    if count == 1 { "1 request".to_owned() } else { format!("{count} requests") }
}

const fn whose(by: By) -> &'static str {
    match by {
        By::Token => "for each token",
        By::Organization => "for each organization",
        By::Client => "for each client address",
        By::RuleGroup => "for these routes, whoever calls",
    }
}

/// At least one: a client that is told to wait for none tries again at once.
fn whole_seconds(wait: Duration) -> u32 {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}
