//! How much a request head may have.

use super::{Compiler, Problem};
use crate::config::raw::RawServer;
use crate::policy::frame::HeadLimits;

/// What pingora reads at most, in bytes and in fields.
const PARSER: HeadLimits = HeadLimits { bytes: 1 << 20, fields: 256 };
/// Less than any client sends.
const LEAST: HeadLimits = HeadLimits { bytes: 1 << 10, fields: 8 };
/// What uWSGI reads as Sentry runs it.
const UWSGI: usize = 32 << 10;

impl Compiler<'_> {
    pub(super) fn head(&mut self, raw: &RawServer) -> HeadLimits {
        let bytes = usize::try_from(raw.max_head.0).unwrap_or(usize::MAX);
        if !(LEAST.bytes..=PARSER.bytes).contains(&bytes) {
            let what = "is not between 1 KiB and 1 MiB, which is what the parser reads";
            self.problem("server.max_head", what, "delete the line to take the default");
        } else if bytes > UWSGI {
            let what = "is more than the 32 KiB that uWSGI reads as Sentry runs it (`buffer-size`)";
            let help = "raise that of Sentry too, or delete the line";
            self.notes.push(Problem::new("server.max_head", what, help));
        }
        let fields = raw.max_headers;
        if !(LEAST.fields..=PARSER.fields).contains(&fields) {
            let what = format!(
                "is {fields}, and must be between 8 and 256, which is what the parser reads"
            );
            self.problem("server.max_headers", what, "delete the line to take the default");
        }
        HeadLimits { bytes, fields }
    }
}
