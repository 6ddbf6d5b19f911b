//! The gateway's own tokens in a PostgreSQL that several gateways share.

mod administration;
mod backup;
mod blocks;
mod both;
mod changes;
mod opening;
mod operator;
mod outage;
mod secrets;
mod serving;

use crate::gate::Gate;
use crate::outage::ask;

pub fn disabled() -> (u16, String) {
    (401, "disabled_token".to_owned())
}

pub fn unknown() -> (u16, String) {
    (401, "unknown_token".to_owned())
}

/// Waits until each of them answers this.
#[track_caller]
pub fn all_answer(gates: &[&Gate], secret: &str, wanted: &(u16, String)) {
    for gate in gates {
        gate.wait_until(|| ask(gate, secret) == *wanted);
    }
}
