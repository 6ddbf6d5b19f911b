//! What is audited, where it goes, and what happens when it can't go there.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::policy::Policy;
use crate::policy::decision::{Decision, Verdict};
use crate::policy::exposure::Exposure;
use crate::policy::rules::RuleId;

/// The settings of an audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// Where records go.
    pub output: Output,
    /// The decisions that are worth one. Administration and settings always are.
    pub decisions: Selection,
    /// What becomes of a request whose record can't be written.
    pub when_full: WhenFull,
}

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output, between the access lines.
    Stdout,
    /// A file, which is appended to.
    File(PathBuf),
}

impl Output {
    /// The file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Output::Stdout => None,
            Output::File(path) => Some(path),
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Output::Stdout => f.write_str("stdout"),
            Output::File(path) => path.display().fmt(f),
        }
    }
}

/// What becomes of a request whose record can't be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// It goes on; a record that finds no room is lost and counted.
    Count,
    /// It waits for its record to be written, at most for so long, and is refused without.
    ///
    /// It waits before it is forwarded or answered. Later would be too late: what Sentry has done can't
    /// be taken back, and a refusal that nobody can read of is a guess that nobody sees. Written is what
    /// the operating system has taken; a record outlives the gateway from then on, not yet the machine.
    Wait(Duration),
}

/// Decisions by what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Refusals, made or only observed.
    pub refuse: bool,
    /// What was let through and may change something at Sentry: any method that is not safe (RFC 9110,
    /// 9.2.1), but for what SDKs and Relays send.
    pub write: bool,
    /// The same of SDKs and Relays: events.
    pub ingest: bool,
    /// Everything else that was let through, and answers to `OPTIONS`.
    pub read: bool,
}

impl Selection {
    /// Whether a decision is one of these.
    pub(super) fn contains(self, decision: &Decision, policy: &Policy) -> bool {
        match &decision.verdict {
            Verdict::Deny(_) => self.refuse,
            Verdict::Options(_) => self.read,
            Verdict::Permit(permit) => {
                let allowed = if permit.method().is_safe() {
                    self.read
                } else if is_ingestion(policy, permit.rule()) {
                    self.ingest
                } else {
                    self.write
                };
                let told = permit.observed().is_some() || decision.shadowed().is_some();
                allowed || self.refuse && told
            }
        }
    }
}

fn is_ingestion(policy: &Policy, rule: RuleId) -> bool {
    match policy.rules.rule(rule).exposure {
        Exposure::Ingest | Exposure::Relays => true,
        Exposure::Api | Exposure::Webhooks | Exposure::Oauth | Exposure::Ui => false,
    }
}
