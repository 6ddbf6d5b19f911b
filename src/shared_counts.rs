//! Counting together with other gateways: what a fleet has used of the limits that it shares.
//!
//! Each gateway counts by itself first ([`crate::limit`]) and asks here what the others have used. An
//! answer that does not come in time is none, and then the own counts go on alone: a limit is wider
//! meanwhile, by as many times as there are gateways, and nobody waits or is refused for it.

pub mod redis;
mod script;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::limit::rate::Rate;

/// What is asked of one limit.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Its name.
    pub limit: &'a str,
    /// Whose count it is, by digest.
    pub whose: [u8; 16],
    /// How often.
    pub rate: Rate,
    /// Whether it refuses; one that does not takes nothing from the others.
    pub enforce: bool,
}

/// What is said of one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// How long until there is one, where there is none now.
    pub wait: Option<Duration>,
    /// How long until nothing is used any more.
    pub used: Duration,
}

/// What a fleet counts with.
#[async_trait]
pub trait SharedCounts: fmt::Debug + Send + Sync {
    /// Takes one of each limit, or of none when one that is enforced has none; and says of each, in the
    /// same order, what is used then. `None` when nothing is known.
    async fn take(&self, asks: &[Ask<'_>]) -> Option<Vec<Told>>;
}

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It answered.
    Answered,
    /// It did not in time.
    Late,
    /// It could not.
    Failed,
    /// It was not asked, because it did not answer before.
    Skipped,
}

/// Is told of what happens.
pub trait CountsObserver: fmt::Debug + Send + Sync {
    /// It was asked once.
    fn asked(&self, asked: Asked);
    /// It can be asked from now on, or can't.
    fn can_be_asked(&self, so: bool);
}

impl CountsObserver for () {
    fn asked(&self, _: Asked) {}
    fn can_be_asked(&self, _: bool) {}
}
