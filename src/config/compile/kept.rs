//! What is kept: identities, and bodies.

use super::super::Cache;
use super::super::raw::{RawCache, RawSpool};
use super::Compiler;
use crate::spool::SpoolSettings;

impl Compiler<'_> {
    pub(super) fn cache(&mut self, raw: &RawCache) -> Cache {
        for (name, zero) in [("ttl", raw.ttl.0.is_zero()), ("capacity", raw.capacity == 0)] {
            if zero {
                let what = "is zero, so every request would ask the store";
                self.problem(format!("cache.{name}"), what, "delete the line to take the default");
            }
        }
        Cache {
            ttl: raw.ttl.0,
            unknown_ttl: raw.unknown_ttl.0,
            stale_if_error: raw.stale_if_error.0,
            capacity: raw.capacity,
            directory_ttl: raw.directory_ttl.0,
            snapshot: raw.snapshot.as_ref().map(|path| self.folder.join(path)),
        }
    }

    pub(super) fn spool(&mut self, raw: &RawSpool) -> SpoolSettings {
        if raw.max_body.0 > raw.memory.0 && raw.max_body.0 > raw.budget.0 {
            let what = "is larger than `spool.budget`, so it can't be kept";
            self.problem("spool.max_body", what, "raise `spool.budget`, or lower it");
        }
        SpoolSettings {
            folder: raw.folder.as_ref().map(|folder| self.folder.join(folder)),
            memory: raw.memory.0,
            max_body: raw.max_body.0,
            budget: raw.budget.0,
        }
    }
}
