//! How much there may be: of a request head, and of connections.

use ipnet::IpNet;

use super::{Compiler, Problem};
use crate::config::raw::RawServer;
use crate::policy::frame::HeadLimits;
use crate::seats::SeatLimits;

/// What pingora reads at most, in bytes and in fields.
const PARSER: HeadLimits = HeadLimits { bytes: 1 << 20, fields: 256 };
/// Less than any client sends.
const LEAST: HeadLimits = HeadLimits { bytes: 1 << 10, fields: 8 };
/// What uWSGI reads as Sentry runs it.
const UWSGI: usize = 32 << 10;
/// As few connections as there may be in all.
const FEWEST: usize = 16;

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

    pub(super) fn seats(&mut self, raw: &RawServer, trusted_proxies: &[IpNet]) -> SeatLimits {
        let (total, per_client) = (raw.max_connections, raw.max_connections_per_client);
        if total < FEWEST {
            let what = format!("is below {FEWEST}, so a browser or two would fill it");
            self.problem("server.max_connections", what, "raise it, or delete the line");
        }
        if per_client == 0 {
            let help = "raise it, or delete the line";
            self.problem("server.max_connections_per_client", "lets nobody connect", help);
        }
        SeatLimits { total, per_client, exempt: trusted_proxies.to_vec() }
    }
}
