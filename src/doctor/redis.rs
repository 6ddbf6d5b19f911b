//! The Redis that shared limits are counted in.

use std::sync::Arc;

use super::ask::Patient;
use super::check::Check;
use crate::shared_counts::redis::{RedisCounts, RedisFault};

/// Asks it what a request does, about no limit: nothing is written.
pub(super) async fn look_at(patient: &Patient<'_>) -> Option<Check> {
    let settings = patient.config.redis.as_ref()?;
    let tried = format!("a script without keys at {}", settings.server());
    let deadline = settings.timeout;
    let fault = match RedisCounts::new(settings.clone(), Arc::new(())) {
        Ok(counts) => match counts.examine().await {
            Ok(()) => {
                let seen = format!("it answers within {deadline:?}, and the user may run scripts");
                return Some(Check::ok("redis", &tried, seen));
            }
            Err(fault) => fault,
        },
        Err(error) => RedisFault::Tls(settings.server(), error),
    };
    let said = fault.to_string();
    let (what, fix) = said.rsplit_once("; ").unwrap_or((&said, "see its log"));
    let fix = format!("{fix}: until then each gateway counts for itself");
    Some(Check::problem("redis", &tried, what, fix))
}
