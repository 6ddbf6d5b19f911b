//! Asking for the config to be read again, and what came of it last.

use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::config::Problem;
use crate::telemetry::metrics::ReloadResult;

/// How many may ask at once.
const ASKING: usize = 16;

/// What came of reading the config again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Whether it is in force.
    #[serde(serialize_with = "label")]
    pub result: ReloadResult,
    /// The hash of the config that is in force now.
    pub config_hash: String,
    /// Why it was refused; empty when it was not.
    pub problems: Vec<Problem>,
    /// What an operator should know.
    pub notes: Vec<Problem>,
}

fn label<S: serde::Serializer>(result: &ReloadResult, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(result.as_str())
}

/// Whoever waits for an outcome.
pub type Asking = oneshot::Sender<Outcome>;

/// Where a reload is asked for, and how the last one ended.
#[derive(Debug)]
pub struct Reloads {
    asking: mpsc::Sender<Asking>,
    last: Mutex<Option<Outcome>>,
}

impl Reloads {
    /// None so far. The receiver is for whoever reads the config.
    pub fn new() -> (Self, mpsc::Receiver<Asking>) {
        let (asking, asked) = mpsc::channel(ASKING);
        (Self { asking, last: Mutex::default() }, asked)
    }

    /// Has the config read again and waits for what comes of it; nothing, when the gateway stops
    /// meanwhile.
    pub async fn ask(&self) -> Option<Outcome> {
        let (answer, outcome) = oneshot::channel();
        self.asking.send(answer).await.ok()?;
        outcome.await.ok()
    }

    /// The config was read.
    pub fn ended(&self, outcome: Outcome) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }

    /// What came of the config that was read last, at the start or since.
    pub fn last(&self) -> Option<Outcome> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many problems the config has that was read last, if it was refused.
    pub fn refused(&self) -> Option<usize> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = last.as_ref().filter(|outcome| outcome.result == ReloadResult::Refused);
        refused.map(|outcome| outcome.problems.len())
    }
}
