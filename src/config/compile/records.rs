//! What is recorded of requests.

use std::path::Path;

use super::Compiler;
use crate::config::Log;
use crate::config::raw::{RawAudit, RawDetail, RawLog, RawPrivacy, Recorded, WhenFull as Raw};
use crate::telemetry::audit::{AuditSettings, Output, Selection, WhenFull};
use crate::telemetry::diagnostics::Level;
use crate::telemetry::privacy::{Detail, Privacy};

/// What stands for standard output.
const STDOUT: &str = "stdout";

/// Where audit records go.
pub(in crate::config) fn output(raw: &RawAudit, folder: &Path) -> Output {
    match raw.output.as_str() {
        STDOUT => Output::Stdout,
        path => Output::File(folder.join(path)),
    }
}

impl Compiler<'_> {
    pub(super) fn log(&mut self, raw: &RawLog) -> Option<Log> {
        let level = Level::ALL.iter().copied().find(|level| level.as_str() == raw.level);
        if level.is_none() {
            let what = format!("`{}` is not a level", raw.level);
            self.problem("log.level", what, "write `error`, `warn`, `info` or `debug`");
        }
        level.map(|level| Log { level, access: raw.access })
    }

    pub(super) fn audit(&mut self, raw: &RawAudit) -> AuditSettings {
        if raw.output.is_empty() {
            let help = "write `stdout`, or the path of a file";
            self.problem("audit.output", "is empty", help);
        }
        let when_full = match raw.when_full {
            Raw::Count => WhenFull::Count,
            Raw::Wait if raw.max_wait.0.is_zero() => {
                let what = "is zero, so every record would come too late";
                self.problem("audit.max_wait", what, "delete the line to take the default");
                WhenFull::Count
            }
            Raw::Wait => WhenFull::Wait(raw.max_wait.0),
        };
        let mut decisions = Selection::default();
        for recorded in &raw.decisions {
            match recorded {
                Recorded::Refuse => decisions.refuse = true,
                Recorded::Write => decisions.write = true,
                Recorded::Ingest => decisions.ingest = true,
                Recorded::Read => decisions.read = true,
            }
        }
        AuditSettings { output: output(raw, self.folder), decisions, when_full }
    }
}

pub(super) fn privacy(raw: &RawPrivacy) -> Privacy {
    let detail = |raw| match raw {
        RawDetail::Full => Detail::Full,
        RawDetail::Shortened => Detail::Shortened,
        RawDetail::Off => Detail::Off,
    };
    Privacy { client_address: detail(raw.client_address), user_agent: detail(raw.user_agent) }
}
