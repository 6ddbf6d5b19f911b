//! The gateway's own errors, told to a Sentry: what it logs as an error, panics among it.
//!
//! **Invariants:** a report says what the line in the log says, less what could be a secret, and
//! nothing of a request. Nothing that happens to a report is an error itself, and no place in the
//! source reports more than a few a minute: reports never make reports.

#[cfg(feature = "sentry")]
pub mod sentry;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::diagnostics::LIBRARY;
use super::metrics::{ErrorMetrics, ErrorResult};
use super::redact::WithoutSecrets;
use crate::clock::{Clock as _, SystemClock};
use crate::policy::site::{Authority, BaseUrl, HttpScheme};

/// What each place may report in a while.
const OF_A_PLACE: u32 = 3;
/// What all of them may.
const IN_ALL: u32 = 30;
/// That while.
const WHILE: Duration = Duration::from_secs(60);
/// How long the last reports of a process may take.
const LAST: Duration = Duration::from_secs(2);
/// The longest text of a report, in bytes; longer ones are cut off.
const MAX_TEXT: usize = 2048;
/// The field that says where a panic was. It is of the source and nothing else, so it is not looked
/// through: the folder of a crate would pass for a secret.
const PLACE: &str = "place";

/// Where a project of Sentry's takes events, and with which key. Prints nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Dsn {
    text: Box<str>,
    scheme: HttpScheme,
    host: Box<str>,
    port: u16,
}

impl Dsn {
    /// Reads a DSN as Sentry shows it; `None` when it is none, and without the cargo feature `sentry`.
    #[cfg(feature = "sentry")]
    pub fn parse(text: &str) -> Option<Self> {
        sentry::parse(text)
    }

    /// Without the cargo feature `sentry` there is none.
    #[cfg(not(feature = "sentry"))]
    pub fn parse(_: &str) -> Option<Self> {
        None
    }

    /// Whether events go to this name.
    pub fn leads_to(&self, name: &BaseUrl) -> bool {
        name.is_at(&Authority { host: &self.host, port: Some(self.port) }, self.scheme)
    }
}

impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dsn")
    }
}

/// Where errors are reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorSettings {
    /// The project.
    pub dsn: Dsn,
    /// The name of this installation among others (`environment`).
    pub environment: String,
}

/// An error that is reported.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    /// The words, which are the same each time but for a few.
    pub message: String,
    /// The module that they are of.
    pub target: &'static str,
    /// The line of its source.
    pub source: &'static str,
    /// What it is about.
    pub fields: Vec<(&'static str, String)>,
    /// How many of that line were too many, since the last that was not.
    pub unreported: u64,
}

impl Report {
    /// Where a panic was, which has the words of every other.
    fn place(&self) -> Option<&str> {
        let place = self.fields.iter().find(|(name, _)| *name == PLACE);
        place.map(|(_, place)| place.as_str())
    }
}

/// What takes reports, without waiting, and sends them.
pub trait ErrorSink: fmt::Debug + Send + Sync {
    /// Takes a report.
    fn take(&self, report: Report);
    /// Waits until everything is sent, but no longer than this.
    fn close(&self, within: Duration);
}

/// What is reported of the errors of this process.
#[derive(Debug)]
pub struct Errors {
    settings: ErrorSettings,
    sink: Box<dyn ErrorSink>,
    allowance: Mutex<Allowance>,
    metrics: ErrorMetrics,
}

/// Who is told of the errors of this process, if anybody is.
static TOLD: ArcSwapOption<Errors> = ArcSwapOption::const_empty();

/// From now on errors are reported so, or not at all.
pub fn report_to(errors: Option<Arc<Errors>>) {
    TOLD.store(errors);
}

/// Waits until everything that was reported is sent, but not for ever: the process is about to end.
pub fn finish() {
    if let Some(errors) = TOLD.load_full() {
        errors.sink.close(LAST);
    }
}

impl Errors {
    /// Reports to this sink.
    pub fn new(settings: ErrorSettings, sink: Box<dyn ErrorSink>, metrics: ErrorMetrics) -> Self {
        let allowance = Mutex::new(Allowance::new(SystemClock.instant()));
        Self { settings, sink, allowance, metrics }
    }

    /// Where they go.
    pub fn settings(&self) -> &ErrorSettings {
        &self.settings
    }

    fn report(&self, mut report: Report) {
        let mut allowance = self.allowance.lock().unwrap_or_else(PoisonError::into_inner);
        let allowed = allowance.take(&report, SystemClock.instant());
        drop(allowance);
        match allowed {
            Some(unreported) => {
                report.unreported = unreported;
                self.sink.take(report);
            }
            None => self.metrics.ended(ErrorResult::Suppressed, 1),
        }
    }
}

/// How much may still be reported.
#[derive(Debug)]
struct Allowance {
    since: Instant,
    in_all: u32,
    /// By place: how many were reported in this while, and how many were not since the last that was.
    /// There are as many places as there are in the source.
    places: BTreeMap<String, (u32, u64)>,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self { since: now, in_all: 0, places: BTreeMap::new() }
    }

    /// How many of that place were not reported; `None` when this one is not to be.
    fn take(&mut self, report: &Report, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.since) >= WHILE {
            (self.since, self.in_all) = (now, 0);
            self.places.values_mut().for_each(|(reported, _)| *reported = 0);
        }
        let place = report.place().unwrap_or(report.source).to_owned();
        let (reported, unreported) = self.places.entry(place).or_default();
        if *reported >= OF_A_PLACE || self.in_all >= IN_ALL {
            *unreported = unreported.saturating_add(1);
            return None;
        }
        *reported += 1;
        self.in_all += 1;
        Some(std::mem::take(unreported))
    }
}

/// Sees the errors that are logged.
pub(super) struct ErrorLayer;

impl<S: Subscriber> Layer<S> for ErrorLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        // What libraries call an error may be what a client does, such as half a head.
        if *metadata.level() != Level::ERROR || metadata.target() == LIBRARY {
            return;
        }
        if let Some(errors) = &*TOLD.load() {
            errors.report(report(event));
        }
    }
}

fn report(event: &Event<'_>) -> Report {
    let (target, source) = (event.metadata().target(), event.metadata().name());
    let (message, fields) = (String::new(), Vec::new());
    let mut report = Report { message, target, source, fields, unreported: 0 };
    event.record(&mut Words(&mut report));
    report
}

struct Words<'a>(&'a mut Report);

impl Words<'_> {
    fn add(&mut self, field: &Field, text: &str) {
        let shown = || WithoutSecrets { text, limit: MAX_TEXT }.to_string();
        match field.name() {
            "message" => self.0.message = shown(),
            PLACE => self.0.fields.push((PLACE, text.to_owned())),
            name => self.0.fields.push((name, shown())),
        }
    }
}

impl Visit for Words<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(source: &'static str, place: Option<&str>) -> Report {
        let fields = place.map(|place| (PLACE, place.to_owned())).into_iter().collect();
        let (message, target) = ("it broke".to_owned(), "portcullis");
        Report { message, target, source, fields, unreported: 0 }
    }

    #[test]
    fn a_place_reports_a_few_a_minute_and_says_how_many_it_did_not() {
        let start = SystemClock.instant();
        let mut allowance = Allowance::new(start);
        let mut take =
            |report: &Report, seconds| allowance.take(report, start + Duration::from_secs(seconds));
        let (one, other) = (of("a.rs:1", None), of("a.rs:2", None));
        for _ in 0..OF_A_PLACE {
            assert_eq!(take(&one, 1), Some(0));
        }
        assert_eq!((take(&one, 1), take(&one, 59)), (None, None));
        assert_eq!(take(&other, 59), Some(0));
        // All panics are logged at one line.
        for panicked in ["b.rs:1", "b.rs:2"] {
            assert_eq!(take(&of("hook.rs:1", Some(panicked)), 59), Some(0));
        }
        assert_eq!(take(&one, 60), Some(2));
        assert_eq!(take(&one, 61), Some(0));
    }

    #[test]
    fn all_places_together_report_so_many_a_minute() {
        let start = SystemClock.instant();
        let mut allowance = Allowance::new(start);
        let each = |number: u32| of("hook.rs:1", Some(&format!("a.rs:{number}")));
        let allowed = (0..2 * IN_ALL).filter(|n| allowance.take(&each(*n), start).is_some());
        assert_eq!(allowed.count(), IN_ALL as usize);
        assert_eq!(allowance.take(&each(2 * IN_ALL - 1), start + WHILE), Some(1));
    }
}
