//! The audit: one JSON line for each decision that is worth one, for what operators do, and for every
//! change of the settings.
//!
//! A record of a request is made when it is decided, before it is forwarded or answered: what Sentry
//! answers is in the access log, by the same `request_id`. A request that is refused after it was let
//! through, for what its body turned out to be, has two records, of which the later counts.
//!
//! **Invariant:** no record is lost without being counted. Those that were made are those that are
//! written and those that were dropped.

mod file;
mod records;
mod settings;
mod trail;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus::{IntCounter, IntCounterVec};

pub use file::{FileError, try_file};
pub use records::{Actor, Administration, Decided, Kind, SettingsChange, write_decision};
pub use settings::{AuditSettings, Output, Selection, WhenFull};
pub use trail::Trail;

use super::batches::{Batches, Manner, Ticket, Unwritten};
use super::privacy::Privacy;
use crate::policy::Policy;
use file::{LogFile, Stdout};

const MANNER: Manner = Manner {
    thread: "audit",
    failing: "audit records can't be written, and are lost when there is no room for more; mend `audit.output`",
    unwritten: Unwritten::Kept,
};

/// How long an operator waits for a record.
const ANNOUNCE: Duration = Duration::from_secs(5);

/// What is counted of audits.
#[derive(Clone, Debug)]
pub struct AuditCounters {
    /// Records that were made, by kind.
    pub records: IntCounterVec,
    /// Those that were lost.
    pub dropped: IntCounter,
}

/// Where records go, for as long as it is the same place.
pub struct AuditLog {
    batches: Batches,
    output: Output,
    reopen: Arc<AtomicBool>,
    /// By kind.
    records: Vec<IntCounter>,
}

impl AuditLog {
    /// Opens the output, and starts the thread that writes to it.
    ///
    /// # Errors
    /// When either can't be done.
    pub fn start(output: &Output, counters: &AuditCounters) -> Result<Self, FileError> {
        let reopen = Arc::new(AtomicBool::new(false));
        let dropped = counters.dropped.clone();
        let batches = match output {
            Output::Stdout => {
                Stdout::open().and_then(|stdout| Batches::start(stdout, MANNER, dropped))
            }
            Output::File(path) => LogFile::open(path, Arc::clone(&reopen))
                .and_then(|file| Batches::start(file, MANNER, dropped)),
        };
        let failed = |error: io::Error| FileError { path: output.to_string().into(), error };
        let batches = batches.map_err(failed)?;
        let records =
            Kind::ALL.iter().map(|kind| counters.records.with_label_values(&[kind.as_str()]));
        Ok(Self { batches, output: output.clone(), reopen, records: records.collect() })
    }

    /// Where records go.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// Has the file opened anew, as after it was rotated.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Release);
        self.batches.wake();
    }

    /// Writes what is left, for as long as that may take.
    pub fn close(&self) {
        if !self.batches.close() {
            tracing::error!(output = %self.output, "audit records that were not written in time are lost");
        }
    }

    fn add(
        &self,
        kind: Kind,
        write: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>,
    ) -> Option<Ticket> {
        self.records[kind as usize].inc();
        self.batches.add(write)
    }
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLog").field("output", &self.output).finish_non_exhaustive()
    }
}

/// The audit of one config.
#[derive(Clone, Debug)]
pub struct Audit {
    /// Where records go.
    pub log: Arc<AuditLog>,
    /// What is recorded, and what becomes of a request whose record can't be written.
    pub settings: AuditSettings,
    /// How much of clients is recorded.
    pub privacy: Privacy,
}

/// A record that a request may have to wait for.
#[derive(Clone, Copy, Debug)]
#[must_use = "the request may have to wait for it"]
pub struct Recorded(State);

#[derive(Clone, Copy, Debug)]
enum State {
    /// There is nothing to wait for.
    Settled,
    /// This is to be written.
    Added(Ticket),
    /// It found no room.
    Lost,
}

impl Audit {
    /// Records a decision, if it is worth it.
    pub fn decided(&self, decided: &Decided<'_>, policy: &Policy, config_hash: &str) -> Recorded {
        if decided.canary.is_none() && !self.settings.decisions.contains(decided.decision, policy) {
            return Recorded(State::Settled);
        }
        let ticket = self.log.add(Kind::Decision, |line| {
            write_decision(line, decided, policy, self.privacy, config_hash)
        });
        self.recorded(ticket)
    }

    fn recorded(&self, ticket: Option<Ticket>) -> Recorded {
        Recorded(match (self.settings.when_full, ticket) {
            (WhenFull::Count, _) => State::Settled,
            (WhenFull::Wait(_), Some(ticket)) => State::Added(ticket),
            (WhenFull::Wait(_), None) => State::Lost,
        })
    }

    /// Waits for a record, if that is to be waited for. Whether its request may go on.
    pub async fn settled(&self, recorded: Recorded) -> bool {
        match (recorded.0, self.settings.when_full) {
            (State::Settled, _) | (State::Added(_), WhenFull::Count) => true,
            (State::Added(ticket), WhenFull::Wait(patience)) => {
                self.log.batches.written(ticket, patience).await
            }
            (State::Lost, _) => false,
        }
    }

    /// Records what an operator is about to do, and says whether that is written, whatever becomes of
    /// requests whose record is not.
    pub async fn announced(&self, what: &Administration<'_>) -> bool {
        let ticket = self.log.add(Kind::Administration, |line| {
            records::write_administration(line, what, self.privacy)
        });
        match ticket {
            Some(ticket) => self.log.batches.written(ticket, ANNOUNCE).await,
            None => false,
        }
    }

    /// Records what an operator did.
    pub fn administered(&self, done: &Administration<'_>) -> Recorded {
        let ticket = self.log.add(Kind::Administration, |line| {
            records::write_administration(line, done, self.privacy)
        });
        self.recorded(ticket)
    }

    /// Records what became of a config.
    pub fn changed(&self, change: &SettingsChange<'_>) {
        self.log.add(Kind::Settings, |line| records::write_settings(line, change));
    }
}

#[cfg(test)]
mod tests;
