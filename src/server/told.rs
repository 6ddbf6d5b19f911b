//! Where what the gateway tells goes: the access log, the audit, spans, and reports of errors.

use std::io;
use std::sync::Arc;

use anyhow::Context as _;

use super::AccessSink;
use super::assembly::Ground;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::audit::{Audit, AuditLog, AuditSettings};
#[cfg(feature = "sentry")]
use crate::telemetry::errors::sentry::Project;
use crate::telemetry::errors::{ErrorSettings, ErrorSink, Errors};
#[cfg(feature = "opentelemetry")]
use crate::telemetry::otlp::Collector;
use crate::telemetry::privacy::Privacy;
use crate::telemetry::spans::{Settings, SpanSink, Spans};

impl Ground {
    /// The audit of a config, to where the one before went if that is the same.
    pub(super) fn audit(&self, settings: AuditSettings, privacy: Privacy) -> anyhow::Result<Audit> {
        let same = self.audit_log.as_ref().filter(|log| *log.output() == settings.output);
        let log = match same {
            Some(log) => Arc::clone(log),
            None => Arc::new(AuditLog::start(&settings.output, self.families.audit())?),
        };
        Ok(Audit { log, settings, privacy })
    }

    /// Writes what is left of everything that is recorded.
    pub(super) fn close(&self) {
        if let Some(log) = &self.access_log {
            log.close();
        }
        if let Some(log) = &self.audit_log {
            log.close();
        }
    }

    /// The spans of a config, to where those before went if that is the same.
    pub(super) fn spans(
        &self,
        settings: Option<Settings>,
        before: Option<&Arc<Spans>>,
    ) -> anyhow::Result<Option<Arc<Spans>>> {
        let Some(settings) = settings else { return Ok(None) };
        if let Some(same) = before.filter(|before| *before.settings() == settings) {
            return Ok(Some(Arc::clone(same)));
        }
        let seed = getrandom::u64().context("the machine has no randomness")?;
        let collector = self.collector(&settings, seed).context("spans can't be sent")?;
        Ok(Some(Arc::new(Spans::new(settings, seed, collector))))
    }

    #[cfg(feature = "opentelemetry")]
    fn collector(&self, settings: &Settings, instance: u64) -> io::Result<Box<dyn SpanSink>> {
        let collector = Collector::new(settings, instance, self.families.spans().clone())?;
        Ok(Box::new(collector))
    }

    #[cfg(not(feature = "opentelemetry"))]
    fn collector(&self, _: &Settings, _: u64) -> io::Result<Box<dyn SpanSink>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The reports of errors of a config, to where those before went if that is the same.
    pub(super) fn errors(
        &self,
        settings: Option<ErrorSettings>,
        before: Option<&Arc<Errors>>,
    ) -> anyhow::Result<Option<Arc<Errors>>> {
        let Some(settings) = settings else { return Ok(None) };
        if let Some(same) = before.filter(|before| *before.settings() == settings) {
            return Ok(Some(Arc::clone(same)));
        }
        let project = self.project(&settings).context("errors can't be reported")?;
        let metrics = self.families.errors().clone();
        Ok(Some(Arc::new(Errors::new(settings, project, metrics))))
    }

    #[cfg(feature = "sentry")]
    fn project(&self, settings: &ErrorSettings) -> io::Result<Box<dyn ErrorSink>> {
        Ok(Box::new(Project::new(settings, self.families.errors().clone())?))
    }

    #[cfg(not(feature = "sentry"))]
    fn project(&self, _: &ErrorSettings) -> io::Result<Box<dyn ErrorSink>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn start_access_log(&self) -> anyhow::Result<Arc<AccessLog>> {
        let dropped = self.families.access_log_dropped().clone();
        let log = match self.sink {
            AccessSink::Stdout => AccessLog::start(io::stdout(), dropped),
            AccessSink::Stderr => AccessLog::start(io::stderr(), dropped),
        };
        Ok(Arc::new(log.context("the access log can't be started")?))
    }
}
