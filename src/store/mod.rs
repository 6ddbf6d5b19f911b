//! Token stores: who is behind a credential.
//!
//! A store answers with an [`Identity`], "not known", or an error; the [cache](cache::Identities)
//! in front of it turns that into the [`Lookup`](crate::policy::decision::Lookup) that policy
//! decides on.
//!
//! **Invariant:** nothing here decides on a request, and no error is ever taken for "not known".
//! A store sees digests; a secret only where whoever issued it is asked.

pub mod cache;
pub mod file;
pub mod introspection;
pub mod jwt;
mod narrow;
mod object;
pub mod portcullis;
pub mod postgres;
pub mod sentry;
mod usage;

use std::error::Error;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

pub use self::usage::{Sighting, Usage};
use crate::clock::Timestamp;
use crate::policy::credential::Presented;
use crate::policy::identity::{Identity, KindSet};

/// Something that knows tokens.
#[async_trait]
pub trait TokenStore: Send + Sync + fmt::Debug {
    /// Its name in logs and metrics.
    fn name(&self) -> &str;

    /// The kinds of credential that it can know; it is asked for no other.
    fn takes(&self) -> KindSet;

    /// Whether it may be asked for this one, besides its kind.
    fn concerns(&self, presented: Presented<'_>) -> bool {
        let _ = presented;
        true
    }

    /// Whether this one is its own, by its form: then no other store is asked for it, and this one if
    /// [it may be](Self::concerns).
    fn owns(&self, presented: Presented<'_>) -> bool {
        let _ = presented;
        false
    }

    /// Whether it finds out by itself, so that nobody else is burdened by a question more.
    fn asks_nobody(&self) -> bool {
        false
    }

    /// Whether what it says may be kept in a snapshot, for after a restart.
    fn is_kept_over_restarts(&self) -> bool {
        true
    }

    /// Whether it may know a client by its certificate.
    fn knows_certificates(&self) -> bool {
        false
    }

    /// Whether it has a list of credentials that are refused, whatever store knows them.
    fn has_block_list(&self) -> bool {
        false
    }

    /// Sees to it that it can be asked. Called at the start, and again until it succeeds.
    ///
    /// # Errors
    /// What is missing, for an operator.
    async fn prepare(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }

    /// Who is behind `presented`; `None` when this store does not know it. The answer must depend
    /// on the scheme and the digest alone, because it is cached under them; that a DSN names the
    /// right project is checked by policy. Disabled and expired tokens are found.
    ///
    /// # Errors
    /// When it can't tell. The caller bounds the time it takes, and may drop the future.
    async fn find(&self, presented: Presented<'_>) -> Result<Option<Found>, StoreError>;
}

/// A token that a store knows.
#[derive(Clone, Debug)]
pub struct Found {
    /// Who it is.
    pub identity: Identity,
    /// Where to mark that it was used, if the store records that.
    pub usage: Option<Usage>,
}

/// Why a store could not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It took too long.
    #[error("the token store did not answer within {0:?}; check its load and its disk or network")]
    Timeout(Duration),
    /// It can't be reached or read.
    #[error(
        "the token store can't be read; check that it is there and that the gateway may read it"
    )]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// It holds the token in a form that can't be relied on.
    #[error("the stored token `{id}` can't be read ({problem}); revoke it and create a new one")]
    Corrupt {
        /// Which token.
        id: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl StoreError {
    /// With an error of the machinery below as the cause.
    pub fn unavailable(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        StoreError::Unavailable(source.into())
    }
}

/// What one question to one store came to: a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupResult {
    /// It knows the token.
    Found,
    /// It does not.
    Unknown,
    /// It could not tell.
    Error,
}

impl LookupResult {
    /// Every result.
    pub const ALL: &'static [LookupResult] =
        &[LookupResult::Found, LookupResult::Unknown, LookupResult::Error];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            LookupResult::Found => "found",
            LookupResult::Unknown => "unknown",
            LookupResult::Error => "error",
        }
    }
}

/// Who counts what happens here. Telemetry implements it; the calls must be cheap.
pub trait Observer: Send + Sync + fmt::Debug {
    /// The store at this place in the configured order was asked.
    fn lookup(&self, store: usize, result: LookupResult, elapsed: Duration);
    /// The store at this place can be asked, or can't yet.
    fn answers(&self, store: usize, so: bool);
    /// The store at this place tells of what changes in it, or has stopped to.
    fn watched(&self, store: usize, up: bool);
    /// The keys with which the store at this place verifies were read at this time, or could not be; they
    /// are to be read again so long after they were.
    fn keys_read(&self, store: usize, at: Option<Timestamp>, every: Duration);
    /// A revocation took effect here, so long after it was made.
    fn revocation_lag(&self, lag: Duration);
    /// What is known of the use of tokens was written to the store at this place, or could not be and
    /// is kept.
    fn uses_written(&self, store: usize, so: bool) {
        let _ = (store, so);
    }
}

/// Nobody counts.
impl Observer for () {
    fn lookup(&self, _store: usize, _result: LookupResult, _elapsed: Duration) {}
    fn answers(&self, _store: usize, _so: bool) {}
    fn watched(&self, _store: usize, _up: bool) {}
    fn keys_read(&self, _store: usize, _at: Option<Timestamp>, _every: Duration) {}
    fn revocation_lag(&self, _lag: Duration) {}
}

/// Turns true when it is time to end, or its sender is gone.
pub type Shutdown = tokio::sync::watch::Receiver<bool>;

/// Ticks for work in the background, that a late one does not hurry.
fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval
}

/// An error with its causes, on one line, for people. A cause that the error repeats is left out.
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = self.0.to_string();
        f.write_str(&told)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !told.contains(&text) {
                write!(f, ": {text}")?;
                told = text;
            }
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_names_every_cause() {
        let error = StoreError::unavailable("disk on fire");
        assert!(Chain(&error).to_string().ends_with("may read it: disk on fire"));
        let twice = StoreError::unavailable(StoreError::unavailable("disk on fire"));
        assert_eq!(Chain(&twice).to_string(), Chain(&error).to_string());
    }
}
