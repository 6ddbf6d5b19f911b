//! Where the gateway's own errors are reported.

use super::super::problem::Problem;
use super::super::raw::RawErrors;
use super::Compiler;
use crate::policy::site::BaseUrl;
use crate::telemetry::errors::{Dsn, ErrorSettings};

impl Compiler<'_> {
    pub(super) fn errors(&mut self, raw: &RawErrors, names: &[BaseUrl]) -> Option<ErrorSettings> {
        if cfg!(not(feature = "sentry")) {
            let help = "build it with `--features sentry`, or delete the table";
            self.problem("errors", "is nothing that this binary was built for", help);
            return None;
        }
        let text = self.secret("errors.dsn", &raw.dsn)?;
        let Some(dsn) = Dsn::parse(text.trim()) else {
            // It is not repeated: it has a key.
            let help = "copy it from the project's Client Keys: `https://KEY@HOST/PROJECT`";
            self.problem("errors.dsn", "is no DSN", help);
            return None;
        };
        if names.iter().any(|name| dsn.leads_to(name)) {
            let what = "names the gateway itself, so that what keeps it from reaching Sentry is not \
                        reported";
            let help = "name Relay, or another Sentry";
            self.notes.push(Problem::new("errors.dsn", what, help));
        }
        Some(ErrorSettings { dsn, environment: raw.environment.clone() })
    }
}
