//! What Sentry says of names: which id a slug has at the moment, and what a release or an issue belongs
//! to. Tokens are bound to ids, and requests have names.
//!
//! **Invariant:** what is not certain is not an answer: anything but the object that was asked for, under the
//! name that was asked for, is "no such thing" or "can't be asked".

mod answer;
mod sentry;

use std::fmt;

use async_trait::async_trait;

use crate::policy::question::{Learnt, Question};
pub use sentry::{SentryDirectory, Settings};

/// Who is asked.
#[async_trait]
pub trait Directory: Send + Sync + fmt::Debug {
    /// What is known, or can be learnt now. Bounded in time.
    async fn learn(&self, question: &Question) -> Learnt;
}

/// Nobody, where no Sentry is at hand.
#[derive(Debug)]
pub struct NoDirectory;

#[async_trait]
impl Directory for NoDirectory {
    async fn learn(&self, _: &Question) -> Learnt {
        Learnt::Unavailable
    }
}
